"""Explicit Euler: v ← v + h(Av + B), the paper's baseline (3.49), and its discrete adjoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend.array import namespace
from ..backend.numbers import check_count
from ..backend.products import norm
from .base import Sensitivity, Solution, check_time


@dataclass(frozen=True)
class Euler:
    """Explicit Euler with equal steps (3.49); its gradient is the one that backpropagation through it gives.

    Parameters
    ----------
    steps : int
        Number of steps; one product with A each.

    Notes
    -----
    ``error`` of a solution estimates ‖v − v(T)‖₂/‖v‖₂ by the leading error term ½hT‖A v'‖₂ at the end, which is of
    the right size for small steps and no bound. There is no tolerance: ``converged`` is always True.
    """

    steps: int = 100

    def __post_init__(self) -> None:
        check_count(self.steps, "steps", 1, 10**6, "Take 100 for T = 3.")

    def solve(self, flow: Any, time: float, *, keep_basis: bool = True) -> Solution:
        """Integrate from 0 to `time`; `keep_basis` keeps v at every step, as the gradient needs it."""
        time = check_time(time)
        h, xp = time / self.steps, namespace(flow.B)
        v, trajectory = xp.zeros_like(flow.B), []
        for _ in range(self.steps):
            if keep_basis:
                trajectory.append(v)
            v = v + h * (flow.A(v) + flow.B)
        size = norm(v)
        error = 0.5 * h * time * norm(flow.A(flow.A(v) + flow.B)) / size if size else 0.0
        return Solution(
            v, error, self.steps + 2, True, f"{self.steps} steps were asked for.", time, self, trajectory or None
        )

    def fields(self, time: float) -> int:
        """Fields (H, J, W) that a solution holds at once besides ℓ, S and B, at most."""
        return 5

    def gradient_fields(self, time: float, wave_rows: int | None) -> float:
        """Fields that the gradient holds, at most: v and μ of every step, and their products."""
        return 4 * self.steps + 14

    def sensitivity(
        self, flow: Any, solution: Solution, g: Any, *, rank: int | None = None, tol: float | None = None
    ) -> Sensitivity:
        """M = h Σ_k μ_{k+1} v_kᵀ with μ_k = μ_{k+1} + hAᵀμ_{k+1}, μ_K = g: every step is a term, none is dropped.

        `rank` and `tol` have no meaning here: the discrete adjoint is exact for the discrete solution.
        """
        h, xp = solution.time / self.steps, namespace(g)
        trajectory = solution.basis or self.solve(flow, solution.time).basis
        mu, left = g, []
        for _ in range(self.steps):
            left.append(h * mu)
            mu = mu + h * flow.At(mu)
        left.reverse()
        u, v = xp.stack(left), xp.stack(trajectory)
        return Sensitivity(xp.sum(u, axis=0), u, v, np.empty(0))
