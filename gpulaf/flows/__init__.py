"""Assignment flows, linearized and nonlinear, in sequence and in networks, and closed-form gradients.

v' = Av + B (`linear`), the nonlinear flow (`assignment`), layers (`deep`), networks of flows (`network`) and their
system of one exponential (`joint`), the same flow in the similarities (`s_flow`), Theorem 3.8 (`gradient`), the
derivative of v in a direction (`tangent`), and the labels that hold whatever is left out or changes (`certificate`).
Imports averaging, integrators, simplex and backend.
"""

from .assignment import AssignmentFlow, FlowResult
from .certificate import Certificate, certificate
from .deep import DeepFlow, DeepGradient, DeepSolution, Stage
from .gradient import WeightGradient, exact_gradient, weight_gradient
from .linear import LinearFlow
from .network import FlowNetwork, NetworkGradient, NetworkSolution
from .s_flow import SFlowSolution, s_flow_solution
from .tangent import Tangent

__all__ = [
    "AssignmentFlow", "Certificate", "DeepFlow", "DeepGradient", "DeepSolution", "FlowNetwork", "FlowResult",
    "LinearFlow", "NetworkGradient", "NetworkSolution", "SFlowSolution", "Stage", "Tangent", "WeightGradient",
    "certificate", "exact_gradient", "s_flow_solution", "weight_gradient",
]  # fmt: skip
