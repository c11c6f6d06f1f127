"""Learning linearized assignment flows for image labeling.

Every pixel's label probabilities follow a linear ODE v' = Av + B; A averages over each pixel's neighborhood with weight
patches that are learned by Riemannian descent with a closed-form, low-rank gradient.

Names load on first use: ``import gpulaf`` is fast, Numba and CuPy come when work begins.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assignment_flow import AssignmentFlow, FlowResult
    from .averaging import Graph, Grid
    from .checkpoint import read_tensors, write_tensors
    from .coupled_flow import CoupledFlow, CoupledGradient, CoupledSolution
    from .deep_flow import DeepFlow, DeepGradient, DeepSolution, Layers
    from .descent import Adam, AdaMax, RiemannianAdam, RiemannianGradient
    from .distance import distances, kmeans_prototypes, log_likelihood
    from .evaluation import Evaluation, evaluate
    from .features import Features, gaussian_features, patch_features
    from .fitting import Checkpoint, FitResult, fit_weights
    from .flow import LinearFlow
    from .gradient import WeightGradient, exact_gradient, weight_gradient
    from .graphs import nearest_neighbor_graph, region_graph, region_means
    from .halo import BilateralWeights, tile_halo, tile_side
    from .integrators import Euler, Krylov, Solution, Taylor
    from .labeling import Labeling, label, refine, refine_logits
    from .large import Labeler, Tiling, label_file, open_image
    from .linear_maps import LabelMap, LinearMap
    from .loss import cosine_loss, cross_entropy_loss
    from .memory import memory_estimate
    from .model_plots import confusion_figure, predictor_figure
    from .node_labeling import NodeLabeling, label_nodes, refine_nodes
    from .overlap import LabelArrays
    from .patches import bilateral_weights, check_weights, normalize_weights, spaced_weights, uniform_weights
    from .prediction import Parameters, predict_weights, prediction_gradient
    from .predictor import WeightPredictor
    from .s_flow import SFlowSolution, s_flow_solution
    from .scenes import voronoi_colors, voronoi_lines
    from .schemes import DormandPrince, GeometricEuler, LinearizedFlows
    from .tiles import label_array, refine_array
    from .training import Training, TrainingStep

__version__ = "0.1.0"

# Python started in a checkout finds this folder before an installed gpulaf; its kernels are one level up.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isfile(os.path.join(_ROOT, "kernels", "stencil.py")):
    __path__.append(_ROOT)

_HOMES = {
    "assignment_flow": ["AssignmentFlow", "FlowResult"],
    "averaging": ["Graph", "Grid"],
    "checkpoint": ["read_tensors", "write_tensors"],
    "coupled_flow": ["CoupledFlow", "CoupledGradient", "CoupledSolution"],
    "deep_flow": ["DeepFlow", "DeepGradient", "DeepSolution", "Layers"],
    "descent": ["Adam", "AdaMax", "RiemannianAdam", "RiemannianGradient"],
    "distance": ["distances", "kmeans_prototypes", "log_likelihood"],
    "evaluation": ["Evaluation", "evaluate"],
    "features": ["Features", "gaussian_features", "patch_features"],
    "fitting": ["Checkpoint", "FitResult", "fit_weights"],
    "flow": ["LinearFlow"],
    "gradient": ["WeightGradient", "exact_gradient", "weight_gradient"],
    "graphs": ["nearest_neighbor_graph", "region_graph", "region_means"],
    "halo": ["BilateralWeights", "tile_halo", "tile_side"],
    "integrators": ["Euler", "Krylov", "Solution", "Taylor"],
    "labeling": ["Labeling", "label", "refine", "refine_logits"],
    "large": ["Labeler", "Tiling", "label_file", "open_image"],
    "linear_maps": ["LabelMap", "LinearMap"],
    "loss": ["cosine_loss", "cross_entropy_loss"],
    "memory": ["memory_estimate"],
    "model_plots": ["confusion_figure", "predictor_figure"],
    "node_labeling": ["NodeLabeling", "label_nodes", "refine_nodes"],
    "overlap": ["LabelArrays"],
    "patches": ["bilateral_weights", "check_weights", "normalize_weights", "spaced_weights", "uniform_weights"],
    "prediction": ["Parameters", "predict_weights", "prediction_gradient"],
    "predictor": ["WeightPredictor"],
    "s_flow": ["SFlowSolution", "s_flow_solution"],
    "scenes": ["voronoi_colors", "voronoi_lines"],
    "schemes": ["DormandPrince", "GeometricEuler", "LinearizedFlows"],
    "tiles": ["label_array", "refine_array"],
    "training": ["Training", "TrainingStep"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gpulaf' has no attribute {name!r}")
    value = getattr(import_module(f"gpulaf.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
