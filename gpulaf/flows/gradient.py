"""The closed-form gradient of a loss in the weight patches (Theorem 3.8), without backpropagation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..averaging.coupled import CoupledLabels
from ..backend.array import namespace
from ..backend.numbers import check_count, check_number
from ..integrators.base import Sensitivity, Solution, check_time
from ..integrators.taylor import Taylor
from .linear import LinearFlow, derivative_like

__all__ = ["WeightGradient", "exact_gradient", "weight_gradient"]


@dataclass(frozen=True, eq=False)
class WeightGradient:
    """The derivative of a loss f(v(T)) in the weights and in the log-likelihood.

    Attributes
    ----------
    weights : (H, N, W) array, (nnz,) of a graph
        ∂Ω: the Euclidean derivative in each weight; 0 for neighbors outside the image. Of a batch (B, H, N, W), that of
        each image even where they share their weights.
    singular_values : (m,) float64 array
        Singular values of M = ∫ μ(t) v(t)ᵀ dt as far as they are known, largest first, on the host.
    rank : int
        Terms of M that were used.
    labels : (J, J) float64 array, optional
        ∂C of :class:`gpulaf.averaging.CoupledLabels`, on the host.
    """

    weights: Any
    singular_values: np.ndarray
    rank: int
    _flow: LinearFlow = field(repr=False)
    _z: Any = field(repr=False)
    labels: np.ndarray | None = None

    @cached_property
    def log_likelihood(self) -> Any:
        """∂ℓ = Ωᵀ R_S c, (H, J, W): what a layer below needs; one more product, on first use."""
        return self._flow.log_likelihood_derivative(self._z)

    def added_to(self, g: Any) -> Any:
        """g + ∂ℓ, (H, J, W), in one pass: the adjoint of the layer below."""
        return self._flow.log_likelihood_derivative(self._z, g)


def weight_gradient(
    flow: LinearFlow, solution: Solution, g: Any, *, rank: int | None = None, tol: float | None = None
) -> WeightGradient:
    """Gradient of a loss in the weights, by the integrator that made the solution.

    A Taylor solution gives the exact derivative of its truncated series by reverse Horner's scheme, on the CPU in one
    wave through the image; an Euler solution the discrete adjoint, equal to what backpropagation through its steps
    gives; a Krylov solution the low-rank Krylov gradient (3.47).

    Parameters
    ----------
    flow : LinearFlow
    solution : Solution
        Of this flow.
    g : (H, J, W) array
        The derivative of the loss in v(T).
    rank : int, optional
        Terms of M that are kept, of a Krylov solution or of the moments of a Taylor solution.
    tol : float, optional
        The part of M that may be left out instead, relative, in the Frobenius norm. None: nothing of a Taylor or Euler
        solution, 1e-3 of a Krylov solution.

    Returns
    -------
    WeightGradient
        Its singular values are empty where nothing is compressed.

    Raises
    ------
    ValueError
        If `g` or the solution has another shape than the fields of the flow, or `rank` or `tol` is not positive or
        given for a batch.
    """
    if not isinstance(solution, Solution):
        raise TypeError(f"solution is a {type(solution).__name__}; accepted is what an integrator makes of the flow.")
    g = derivative_like(g, flow.S)
    if solution.v is not None and tuple(solution.v.shape) != tuple(flow.S.shape):
        raise ValueError(
            f"the solution has shape {tuple(solution.v.shape)}, the fields of the flow {tuple(flow.S.shape)}; accepted "
            "is a solution of this flow."
        )
    check_count(rank, "rank", usual="None chooses it by tol.", optional=True)
    if tol is not None:
        check_number(tol, "tol", 0, 1, "1e-3 is usual, 0 drops nothing.")
    if rank is not None or tol:
        flow.averaging.check_one_image(flow.S, "a splitting in few terms is chosen")
    integrator = solution.integrator
    if rank is None and not tol and isinstance(integrator, Taylor) and integrator.in_one_wave(flow, solution.time):
        c = integrator.coefficients(solution.time)
        weights, z = flow.averaging.series_gradient(flow.S, flow.log_likelihood, g, c)
        return WeightGradient(weights, np.empty(0), len(c) - 1, flow, z)
    return _assemble(flow, integrator.sensitivity(flow, solution, g, rank=rank, tol=tol))


def exact_gradient(flow: LinearFlow, time: float, g: Any, *, nodes: int = 16) -> WeightGradient:
    """The gradient to rounding: Gauss–Legendre quadrature of M in time, v(t) and μ(t) by Taylor series.

    Twelve nodes reach machine precision for T ≤ 10. Costs some 20 products per node and holds two fields per node.

    Parameters
    ----------
    flow : LinearFlow
    time : float
        T.
    g : (H, J, W) array
        The derivative of the loss in v(T).
    nodes : int
        Quadrature nodes.

    Returns
    -------
    WeightGradient
        Its singular values are empty: nothing is compressed.

    Raises
    ------
    ValueError
        If `time` or `nodes` is not positive or `g` has another shape.
    """
    time = check_time(time)
    check_count(nodes, "nodes", 1, 1000, "16 suits times up to 10.")
    g = derivative_like(g, flow.B)
    xp = namespace(g)
    points, quadrature = np.polynomial.legendre.leggauss(nodes)
    times, quadrature = time * (points + 1) / 2, time * quadrature / 2
    v = _at_times(flow.A, flow.B, xp.zeros_like(g), times)
    mu = _at_times(flow.At, xp.zeros_like(g), g, time - times[::-1])[::-1]
    left = xp.stack([float(q) * m for q, m in zip(quadrature, mu, strict=True)])
    return _assemble(flow, Sensitivity(xp.sum(left, axis=0), left, xp.stack(v), np.empty(0)))


def _at_times(apply: Any, source: Any, x: Any, times: np.ndarray) -> list[Any]:
    """x(t) of x' = Ax + source at increasing times, each from the one before by Taylor series to rounding."""
    eps = float(namespace(x).finfo(x.dtype).eps)
    values, before = [], 0.0
    for now in times:
        substeps, degree, _ = Taylor(tol=eps / 8).plan(float(now - before))
        h = float(now - before) / substeps
        for _ in range(substeps):
            term = h * (apply(x) + source)
            x = x + term
            for k in range(2, degree + 1):
                term = (h / k) * apply(term)
                x = x + term
        values.append(x)
        before = now
    return values


def _assemble(flow: LinearFlow, sensitivity: Sensitivity) -> WeightGradient:
    mean, left, right, singular_values, image = sensitivity
    weights, z = flow.derivative(mean, left, right, image)
    labels = flow.averaging.label_gradient(flow.S, left, right) if isinstance(flow.averaging, CoupledLabels) else None
    return WeightGradient(weights, singular_values, int(left.shape[0]), flow, z, labels)
