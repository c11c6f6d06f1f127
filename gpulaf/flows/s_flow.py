"""The S-flow: the assignment flow in the similarities S instead of the assignments W.

    W-flow   v' = Π₀ softmax(Ω(ℓ + v)),   v(0) = 0,   W = softmax(v)          linearized   v' = R_S(Ωv) + B
    S-flow   S' = R_S(ΩS),   S = softmax(Ωℓ + y),   y(0) = 0                   linearized   y' = Ω R_S y + ΩB

Both are the same flow: Ω has rows that sum to 1 and acts on every label alike, so y = Ωv turns the left equations into
the right ones, with S = softmax(Ωℓ) and B = Π₀S as in :class:`gpulaf.flows.LinearFlow`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backend.operands import check_like
from ..simplex import project

__all__ = ["SFlowSolution", "s_flow_solution"]


class SFlowSolution(NamedTuple):
    """The S-flow at time T."""

    #: y(T) = Π₀Ωv(T), (H, J, W): the solution in flat coordinates.
    y: Any
    #: S(T) = exp_{S(0)}(y(T)) = softmax(Ωℓ + y(T)), (H, J, W).
    S: Any


def s_flow_solution(flow: Any, v: Any) -> SFlowSolution:
    """The solution of the S-flow from that of the W-flow: y = Π₀Ωv; two averages, nothing is integrated again.

    Exact for the linearized flow, where y solves y' = Ω R_S y + ΩB, and for the nonlinear flow, where
    S = softmax(Ωℓ + y) solves S' = R_S(ΩS).

    Parameters
    ----------
    flow : LinearFlow or AssignmentFlow
        On a Grid or a Graph.
    v : (H, J, W) array
        Its solution at time T, v(0) = 0, in the library and dtype of the flow.

    Returns
    -------
    SFlowSolution

    Raises
    ------
    ValueError, TypeError
        If `v` has another shape, dtype or library than the log-likelihoods of the flow.

    Notes
    -----
    F. Savarino, C. Schnörr, Continuous-domain assignment flows, Eur. J. Appl. Math. 32 (2021).

    Examples
    --------
    >>> import gpulaf, numpy as np
    >>> flow = gpulaf.flows.LinearFlow(gpulaf.Grid(gpulaf.uniform_weights((4, 5))), np.zeros((4, 3, 5), np.float32))
    >>> gpulaf.flows.s_flow_solution(flow, gpulaf.Krylov().solve(flow, time=3.0).v).S.shape
    (4, 3, 5)
    """
    check_like(v, "v", flow.log_likelihood)
    S, _ = flow.averaging.similarity(flow.log_likelihood + v)
    return SFlowSolution(project(flow.averaging.apply(v)), S)
