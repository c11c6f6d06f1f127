"""Linearized assignment flows as layers of PyTorch, with the closed-form gradient in weights, data and time.

The function (`flow`) and the modules (`modules`), weight patches from logits and under masks (`patches`), the pair of
operators that torch differentiates and compiles around (`operators`), tensors as arrays of the kernels (`arrays`), the
same flow in plain operations for export (`plain`), the flows of a fitted :class:`gpulaf.WeightNetwork` (`network`).
Needs the extra ``torch``; ``import gpulaf`` does not import it. Imports prediction, flows, integrators and backend.
"""

from .flow import linear_flow
from .modules import DeepAssignmentFlow, LinearizedAssignmentFlow
from .network import NetworkFlow
from .patches import weights_from_logits
from .plain import plain_flow

__all__ = [
    "DeepAssignmentFlow", "LinearizedAssignmentFlow", "NetworkFlow", "linear_flow", "plain_flow", "weights_from_logits",
]  # fmt: skip
