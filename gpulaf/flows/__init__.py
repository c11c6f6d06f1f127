"""Assignment flows, linearized and nonlinear, in sequence and coupled, and the closed-form gradient in their weights.

v' = Av + B (`linear`), the nonlinear flow (`assignment`), layers (`deep`), flows that change the data of later ones
(`coupled`, `couplings`), the same flow in the similarities (`s_flow`), Theorem 3.8 (`gradient`). Imports averaging,
integrators, simplex and backend.
"""

from .assignment import AssignmentFlow, FlowResult
from .coupled import CoupledFlow, CoupledGradient, CoupledSolution
from .couplings import LabelMap, LinearMap
from .deep import DeepFlow, DeepGradient, DeepSolution, Stage
from .gradient import WeightGradient, exact_gradient, weight_gradient
from .linear import LinearFlow
from .s_flow import SFlowSolution, s_flow_solution

__all__ = [
    "AssignmentFlow", "CoupledFlow", "CoupledGradient", "CoupledSolution", "DeepFlow", "DeepGradient",
    "DeepSolution", "FlowResult", "LabelMap", "LinearFlow", "LinearMap", "SFlowSolution", "Stage", "WeightGradient",
    "exact_gradient", "s_flow_solution", "weight_gradient",
]  # fmt: skip
