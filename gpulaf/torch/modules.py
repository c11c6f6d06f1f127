"""The flows as modules: one linearized flow, or several one after the other, with times that may be learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..integrators.base import check_time, layer_times
from ..integrators.taylor import Taylor
from .flow import check_tensors, linear_flow
from .patches import as_rows, from_rows

__all__ = ["DeepAssignmentFlow", "LinearizedAssignmentFlow"]


class DeepAssignmentFlow(torch.nn.Module):
    """Linearized flows one after the other (1.5)–(1.6): ℓ_{s+1} = ℓ_s + v_s, and v = Σ_s v_s.

    Parameters
    ----------
    times : sequence of float
        T_s of each flow, positive.
    learn_time : bool
        Whether the times are parameters; what is stored is ``log_times``, so that steps keep them positive.
    solver : Taylor
    layout : "planes" or "rows"
        As of :func:`gpulaf.torch.linear_flow`.

    Raises
    ------
    ValueError
        If there is no time, or one is not positive.

    Notes
    -----
    ``forward(weights, log_likelihood, mask=None)`` takes weights (B, N, H, W) that all flows share, or a sequence of
    those of each, and gives v, (B, J, H, W) in the dtype of the log-likelihood: W = softmax(v, dim=1). For the backward
    pass each flow keeps its ℓ_s and weights.

    Examples
    --------
    >>> import torch
    >>> from gpulaf.torch import DeepAssignmentFlow, weights_from_logits
    >>> flow = DeepAssignmentFlow([1.0, 2.0], learn_time=True)
    >>> v = flow(weights_from_logits(torch.zeros(1, 9, 8, 8)), torch.randn(1, 2, 8, 8))
    >>> v.sum().backward()
    >>> v.shape, flow.log_times.grad.shape
    (torch.Size([1, 2, 8, 8]), torch.Size([2]))
    """

    def __init__(
        self,
        times: Sequence[float],
        *,
        learn_time: bool = False,
        solver: Taylor = Taylor(),
        layout: str = "planes",
    ) -> None:
        super().__init__()
        self.start = layer_times(times)
        self.solver, self.layout = solver, layout
        logs = torch.tensor([math.log(time) for time in self.start])
        self.log_times = torch.nn.Parameter(logs) if learn_time else None

    @property
    def times(self) -> Any:
        """T_s: numbers, or a tensor where they are learned."""
        return self.start if self.log_times is None else self.log_times.exp()

    def forward(self, weights: Any, log_likelihood: Any, mask: Any = None) -> Any:
        """Weights and ℓ to v."""
        count = len(self.start)
        own = list(weights) if isinstance(weights, (list, tuple)) else [weights] * count
        if len(own) != count:
            raise ValueError(
                f"there are {len(own)} weights and {count} times; accepted are as many, or one tensor of weights that "
                "the flows share."
            )
        check_tensors(own[0], log_likelihood, self.solver)
        wide = torch.promote_types(log_likelihood.dtype, torch.float32)
        l = as_rows(log_likelihood.to(wide), self.layout)
        total: Any = None
        rows = {id(x): as_rows(x, self.layout) for x in own}  # once, where they share them
        for x, time in zip(own, self.times, strict=True):
            v = linear_flow(rows[id(x)], l, time, solver=self.solver, mask=mask, layout="rows")
            l, total = l + v, v if total is None else total + v
        return from_rows(total.to(log_likelihood.dtype), self.layout)

    def extra_repr(self) -> str:
        """What ``repr`` shows in brackets."""
        times = [round(time, 4) for time in torch.as_tensor(self.times).tolist()]
        learned = "" if self.log_times is None else ", learned"
        return f"times={times}{learned}, solver={self.solver}, layout={self.layout!r}"


class LinearizedAssignmentFlow(DeepAssignmentFlow):
    """One linearized assignment flow (2.22): :func:`gpulaf.torch.linear_flow` as a layer.

    Parameters
    ----------
    time : float
        T, positive.
    learn_time : bool
        Whether it is a parameter.
    solver : Taylor
    layout : "planes" or "rows"

    Notes
    -----
    ``forward(weights, log_likelihood, mask=None)`` as of :class:`DeepAssignmentFlow`.

    Examples
    --------
    >>> from gpulaf.torch import LinearizedAssignmentFlow
    >>> LinearizedAssignmentFlow(3.0)
    LinearizedAssignmentFlow(times=[3.0], solver=Taylor(degree=None, tol=0.0001, substeps=None), layout='planes')
    """

    def __init__(
        self, time: float = 3.0, *, learn_time: bool = False, solver: Taylor = Taylor(), layout: str = "planes"
    ) -> None:
        super().__init__([check_time(time)], learn_time=learn_time, solver=solver, layout=layout)
