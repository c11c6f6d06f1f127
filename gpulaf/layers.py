"""Linearized flows one after the other, (1.5)–(1.6), solved without a basis: what labeling with layers needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .averaging import Grid
from .flow import LinearFlow
from .integrators.solution import Integrator, Solution

__all__ = ["solve_layers"]


def solve_layers(weights: Any, log_likelihood: Any, times: Sequence[float], integrator: Integrator) -> Solution:
    """v = Σ_s v_s, where v_s solves the flow linearized at ℓ_s = ℓ + v_0 + … + v_{s−1} over h_s.

    Parameters
    ----------
    weights : (N, H, W) array, or list of them
        Those that all layers share, or those of each layer; they are trusted.
    log_likelihood : (J, H, W) array
        ℓ.
    times : sequence of float
        h_s of each layer.
    integrator : Krylov, Taylor or Euler

    Returns
    -------
    Solution
        Its error is the sum of those of the layers, its time and products are theirs together.
    """
    layers = weights if isinstance(weights, (list, tuple)) else [weights] * len(times)
    whole: Solution | None = None
    for omega, time in zip(layers, times, strict=True):
        l = log_likelihood if whole is None else log_likelihood + whole.v
        part = integrator.solve(LinearFlow(Grid(omega), l), time, keep_basis=False)
        whole = part if whole is None else _after(whole, part)
    assert whole is not None
    return whole


def _after(before: Solution, last: Solution) -> Solution:
    """One solution after another."""
    return Solution(
        before.v + last.v, before.error + last.error, before.products + last.products,
        before.converged and last.converged, last.reason if before.converged else before.reason,
        before.time + last.time, last.integrator,
    )  # fmt: skip
