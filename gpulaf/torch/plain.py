"""The Taylor solution in plain torch operations: pad, slice, multiply, softmax. It runs wherever an export of it does.

Autograd differentiates it step by step and keeps every step: :mod:`gpulaf.torch.operators` is for training.
"""

from __future__ import annotations

from typing import Any

import torch

from ..integrators.base import check_time
from ..integrators.taylor import Taylor
from .patches import as_rows, from_rows, neighborhood, neighbors

__all__ = ["exporting", "plain_flow"]


def plain_flow(
    weights: Any, log_likelihood: Any, time: Any, *, solver: Taylor = Taylor(), layout: str = "planes"
) -> Any:
    """v(T) of :func:`gpulaf.torch.linear_flow`, by the same series in plain torch operations.

    Parameters
    ----------
    weights : (B or 1, N, H, W) or (B or 1, N, D, H, W) floating tensor
    log_likelihood : (B, J, H, W) or (B, J, D, H, W) tensor of the same dtype
    time : float, or tensor of one number
        T; a tensor asks for a solver with both a degree and substeps, since their number is fixed in an export.
    solver : Taylor
    layout : "planes" or "rows"

    Returns
    -------
    Tensor of the shape of `log_likelihood`.

    Raises
    ------
    ValueError
        If the number of terms depends on the value of a tensor.
    """
    if isinstance(time, torch.Tensor):
        if solver.degree is None or solver.substeps is None:
            raise ValueError(
                f"time is a tensor, and {solver} chooses the number of terms by its value; accepted is a fixed number. "
                "Take Taylor(degree=8, substeps=1), or a time that is not learned."
            )
        substeps, degree, T = solver.substeps, solver.degree, time
    else:
        T = float(time)
        substeps, degree = _terms(solver, T)
    weights, l = as_rows(weights, layout), as_rows(log_likelihood, layout)
    S = torch.softmax(_average(weights, l), dim=-2)
    B = S - 1 / l.shape[-2]

    def A(v: Any) -> Any:
        x = _average(weights, v)
        return S * (x - (S * x).sum(dim=-2, keepdim=True))

    c = [T / substeps]
    for k in range(1, degree):
        c.append(c[-1] * (T / substeps) / (k + 1))
    v = None
    for _ in range(substeps):
        b = B if v is None else A(v) + B
        change = c[-1] * b
        for k in reversed(range(degree - 1)):
            change = c[k] * b + A(change)
        v = change if v is None else v + change
    return from_rows(v, layout)


@torch.compiler.assume_constant_result  # NumPy, which torch does not trace
def _terms(solver: Taylor, time: float) -> tuple[int, int]:
    """Substeps, and the degree of each."""
    return solver.plan(check_time(time))[:2]


def _average(weights: Any, x: Any) -> Any:
    """Ω x of rows."""
    total = None
    for o, view in enumerate(neighbors(x, *neighborhood(weights))):
        weight = weights.narrow(-2, o, 1)
        total = weight * view if total is None else torch.addcmul(total, weight, view)
    return total


def exporting() -> bool:
    """Whether torch writes down a program for elsewhere, by ``torch.export`` or ``torch.onnx.export``."""
    return bool(torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting())
