"""Learning linearized assignment flows for image labeling.

Every pixel's label probabilities follow a linear ODE v' = Av + B; A averages over each pixel's neighborhood with weight
patches that are learned by Riemannian descent with a closed-form, low-rank gradient.

Names load on first use: ``import gpulaf`` is fast, Numba and CuPy come when work begins.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .averaging.graph import Graph
    from .averaging.graph_builders import nearest_neighbor_graph, region_graph, region_means
    from .averaging.grid import Grid
    from .averaging.patches import bilateral_weights, check_weights, normalize_weights, spaced_weights, uniform_weights
    from .averaging.sources import BilateralWeights
    from .backend.memory import memory_estimate
    from .flows.assignment import AssignmentFlow, FlowResult
    from .flows.coupled import CoupledFlow, CoupledGradient, CoupledSolution
    from .flows.couplings import LabelMap, LinearMap
    from .flows.deep import DeepFlow, DeepGradient, DeepSolution, Layers
    from .flows.gradient import WeightGradient, exact_gradient, weight_gradient
    from .flows.linear import LinearFlow
    from .flows.s_flow import SFlowSolution, s_flow_solution
    from .integrators.base import Solution
    from .integrators.euler import Euler
    from .integrators.krylov import Krylov
    from .integrators.nonlinear import DormandPrince, GeometricEuler, LinearizedFlows
    from .integrators.taylor import Taylor
    from .io.tensors import read_tensors, write_tensors
    from .labeling.label import Labeling, label, refine, refine_logits
    from .labeling.likelihood import distances, kmeans_prototypes, log_likelihood
    from .labeling.nodes import NodeLabeling, label_nodes, refine_nodes
    from .learning.descent import Adam, AdaMax, RiemannianAdam, RiemannianGradient
    from .learning.fitting import Checkpoint, FitResult, fit_weights
    from .learning.loss import cosine_loss, cross_entropy_loss
    from .plots.predictor import confusion_figure, predictor_figure
    from .prediction.evaluation import Evaluation, evaluate
    from .prediction.features import Features, gaussian_features, patch_features
    from .prediction.model import Parameters, predict_weights, prediction_gradient
    from .prediction.predictor import WeightPredictor
    from .prediction.training import Training, TrainingStep
    from .scenes import voronoi_colors, voronoi_lines
    from .tiling.dask_array import LabelArrays, label_array, refine_array
    from .tiling.halo import tile_halo, tile_side
    from .tiling.job import Labeler
    from .tiling.label_file import label_file
    from .tiling.sizing import Tiling
    from .tiling.source import open_image


# Python started in a checkout finds this folder before an installed gpulaf; its kernels are one level up.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isfile(os.path.join(_ROOT, "kernels", "stencil.py")):
    __path__.append(_ROOT)

_HOMES = {
    "averaging.graph": ["Graph"],
    "averaging.graph_builders": ["nearest_neighbor_graph", "region_graph", "region_means"],
    "averaging.grid": ["Grid"],
    "averaging.patches": [
        "bilateral_weights",
        "check_weights",
        "normalize_weights",
        "spaced_weights",
        "uniform_weights",
    ],
    "averaging.sources": ["BilateralWeights"],
    "backend.memory": ["memory_estimate"],
    "flows.assignment": ["AssignmentFlow", "FlowResult"],
    "flows.coupled": ["CoupledFlow", "CoupledGradient", "CoupledSolution"],
    "flows.couplings": ["LabelMap", "LinearMap"],
    "flows.deep": ["DeepFlow", "DeepGradient", "DeepSolution", "Layers"],
    "flows.gradient": ["WeightGradient", "exact_gradient", "weight_gradient"],
    "flows.linear": ["LinearFlow"],
    "flows.s_flow": ["SFlowSolution", "s_flow_solution"],
    "integrators.base": ["Solution"],
    "integrators.euler": ["Euler"],
    "integrators.krylov": ["Krylov"],
    "integrators.nonlinear": ["DormandPrince", "GeometricEuler", "LinearizedFlows"],
    "integrators.taylor": ["Taylor"],
    "io.tensors": ["read_tensors", "write_tensors"],
    "labeling.label": ["Labeling", "label", "refine", "refine_logits"],
    "labeling.likelihood": ["distances", "kmeans_prototypes", "log_likelihood"],
    "labeling.nodes": ["NodeLabeling", "label_nodes", "refine_nodes"],
    "learning.descent": ["Adam", "AdaMax", "RiemannianAdam", "RiemannianGradient"],
    "learning.fitting": ["Checkpoint", "FitResult", "fit_weights"],
    "learning.loss": ["cosine_loss", "cross_entropy_loss"],
    "plots.predictor": ["confusion_figure", "predictor_figure"],
    "prediction.evaluation": ["Evaluation", "evaluate"],
    "prediction.features": ["Features", "gaussian_features", "patch_features"],
    "prediction.model": ["Parameters", "predict_weights", "prediction_gradient"],
    "prediction.predictor": ["WeightPredictor"],
    "prediction.training": ["Training", "TrainingStep"],
    "scenes": ["voronoi_colors", "voronoi_lines"],
    "tiling.dask_array": ["LabelArrays", "label_array", "refine_array"],
    "tiling.halo": ["tile_halo", "tile_side"],
    "tiling.job": ["Labeler"],
    "tiling.label_file": ["label_file"],
    "tiling.sizing": ["Tiling"],
    "tiling.source": ["open_image"],
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
