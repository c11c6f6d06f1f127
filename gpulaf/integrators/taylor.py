"""Truncated Taylor series of v(T) = T φ(TA) B with an a-priori bound, and the gradient from its moments."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, factorial
from typing import Any, NamedTuple

import numpy as np

from ..array import namespace, scalar
from ..dense import eigh, svd
from ..vectors import combine, inner_products
from .solution import Sensitivity, Solution, check_time, choose_rank

#: The largest T·α that one series takes on; longer times are split, so that no digits cancel.
MAX_REACH = 2.5

#: The largest degree that is ever needed for that reach, in float64.
MAX_DEGREE = 40


class Steps(NamedTuple):
    """The substeps of a Taylor solution, for the gradient: their length and the series of each."""

    length: float
    #: v at the beginning of each substep, (J, H, W) each.
    starts: list[Any]
    #: a_k = A^k (A v + B), k < degree, of each substep.
    series: list[list[Any]]


@dataclass(frozen=True)
class Taylor:
    """Taylor series v_d = Σ_{k<d} T^{k+1}/(k+1)! A^k B: no inner products, an error bound before any work.

    Parameters
    ----------
    degree : int, optional
        d, the number of terms of each series; d − 1 products with A. None takes the smallest that keeps the bound
        under `tol`.
    tol : float
        Accepted truncation error in the maximum norm, relative to the largest |v| that the flow can reach,
        T φ(Tα) ‖B‖_∞.

    Notes
    -----
    ``error`` of a solution bounds ‖v − v(T)‖_∞/‖v‖_∞ up to rounding: ‖B‖_∞ Σ_{k≥d} T^{k+1} α^k/(k+1)! over ‖v‖_∞.
    With one series (T·α ≤ 2.5) the value at a pixel depends on nothing farther than d pixels: tiles with a halo of
    d pixels equal the whole image bit for bit.
    """

    degree: int | None = None
    tol: float = 1e-4

    def __post_init__(self) -> None:
        d = self.degree
        if d is not None and (int(d) != d or d < 1):
            raise ValueError(f"degree is {d}; accepted are whole numbers from 1, or None. 10 suits T up to 5.")
        if not self.tol > 0:
            raise ValueError(f"tol is {self.tol}; accepted are positive numbers. 1e-4 is usual.")

    def plan(self, reach: float) -> tuple[int, int, float]:
        """Substeps, degree of each, and the bound relative to T φ(Tα)‖B‖_∞, for ``reach`` = T·α.

        The bound of n substeps of reach ρ/n sums what each one truncates, carried to the end by the growth e^{ρ−t}.
        """
        substeps = max(1, ceil(reach / MAX_REACH))
        degrees = range(1, MAX_DEGREE + 1) if self.degree is None else (self.degree,)
        for degree in degrees:
            bound = substeps_bound(reach, substeps, degree)
            if bound <= self.tol:
                break
        return substeps, degree, bound

    def solve(self, flow: Any, time: float, *, keep_basis: bool = True) -> Solution:
        """Integrate to `time`; `keep_basis` keeps the terms A^k B, (d, J, H, W), for the gradient."""
        check_time(time)
        reach = time * flow.alpha
        substeps, degree, bound = self.plan(reach)
        h, xp = time / substeps, namespace(flow.B)
        v, b = xp.zeros_like(flow.B), flow.B
        starts, series = [], []
        for step in range(substeps):
            if step:
                b = flow.A(v) + flow.B
            starts.append(v)
            v, terms = _series(flow, v, b, h, degree, keep_basis)
            series.append(terms)
        largest, source = (scalar(xp.max(xp.abs(x))) for x in (v, flow.B))
        error = bound * time * phi1(reach) * source / largest if largest else 0.0
        converged = bound <= self.tol or error == 0
        reason = f"Degree {degree} in {substeps} substep(s) bounds the error by {bound:.1e} of the flow's reach."
        if not converged:
            reason += f" The tolerance {self.tol:.1e} asks for a higher degree."
        basis = Steps(h, starts, series) if keep_basis else None
        return Solution(v, error, substeps * degree - 1, converged, reason, time, self, basis)

    def sensitivity(
        self, flow: Any, solution: Solution, g: Any, *, rank: int | None = None, tol: float = 1e-3
    ) -> Sensitivity:
        """Moments: M = Σ_{l,k} T^{l+k+2}/(l+k+2)! (Aᵀ)^l g (A^k B)ᵀ, compressed through two small Gram matrices."""
        steps = solution.basis or self.solve(flow, solution.time).basis
        h, xp = steps.length, namespace(g)
        left, right, cores, mean, mu = [], [], [], xp.zeros_like(g), g
        for start, a in zip(reversed(steps.starts), reversed(steps.series), strict=True):
            p = [mu]
            while len(p) < len(a):
                p.append(flow.At(p[-1]))
            for order, term in enumerate(p):
                mean = mean + h ** (order + 1) / factorial(order + 1) * term
            core = _moments(h, len(p), len(a))
            if start is not steps.starts[0]:  # v starts from 0 in the first substep
                a, core = [start, *a], np.column_stack([core.first_moment, core.matrix])
            else:
                core = core.matrix
            mu = sum((h**order / factorial(order) * term for order, term in enumerate(p[1:], 1)), start=p[0])
            mu = mu + h ** len(p) / factorial(len(p)) * flow.At(p[-1])
            left, right = left + p, right + a
            cores.append(core)
        return _compress(xp.stack(left), _block_diagonal(cores), xp.stack(right), mean, rank, tol)


class _Moments(NamedTuple):
    matrix: np.ndarray
    first_moment: np.ndarray


def _moments(h: float, rows: int, columns: int) -> _Moments:
    """h^{l+k+2}/(l+k+2)! for the pairs of terms, and h^{l+1}/(l+1)! for the constant."""
    l, k = np.ogrid[:rows, :columns]  # noqa: E741
    table = np.array([float(h) ** n / factorial(n) for n in range(rows + columns + 1)])
    return _Moments(table[l + k + 2], table[1 : rows + 1])


def _series(flow: Any, v: Any, b: Any, h: float, degree: int, keep: bool) -> tuple[Any, list[Any]]:
    """v + h φ(hA) b up to `degree` terms, and the terms A^k b if they are to be kept."""
    term, terms = b, []
    for k in range(degree):
        if k:
            term = flow.A(term)
        if keep:
            terms.append(term)
        v = v + h ** (k + 1) / factorial(k + 1) * term
    return v, terms


def phi1(z: float) -> float:
    """(e^z − 1)/z, 1 at z = 0."""
    return float(np.expm1(z) / z) if z else 1.0


def tail(reach: float, degree: int) -> float:
    """Σ_{k≥d} ρ^k/(k+1)!: what d terms of φ(ρ) leave out."""
    term = 1.0
    for k in range(1, degree + 1):
        term *= reach / (k + 1)
    rest, k = 0.0, degree
    while term > 1e-17 * rest:
        rest += term
        k += 1
        term *= reach / (k + 1)
    return rest


def substeps_bound(reach: float, substeps: int, degree: int) -> float:
    """Truncation error of all substeps over T φ(Tα)‖B‖_∞.

    Substep s starts from a source of norm at most e^{sρ/n}‖B‖_∞, leaves out a share tail(ρ/n, d) of T/n times that,
    and the rest of the flow stretches the error by at most e^{(n−1−s)ρ/n}: together n equal shares.
    """
    share = tail(reach / substeps, degree)
    return float(share * np.exp(reach * (1 - 1 / substeps)) / phi1(reach))


def _block_diagonal(blocks: list[np.ndarray]) -> np.ndarray:
    from scipy.linalg import block_diag

    return block_diag(*blocks)


def _compress(left: Any, core: np.ndarray, right: Any, mean: Any, rank: int | None, tol: float) -> Sensitivity:
    """Truncate left · core · rightᵀ by its singular values, through the Gram matrices of both bases."""
    (root_l, basis_l), (root_r, basis_r) = _gram_root(left), _gram_root(right)
    Y, sigma, Zt = svd(root_l @ core @ root_r.T)
    r = choose_rank(sigma, rank, tol)
    u = combine((basis_l @ (Y[:, :r] * sigma[:r])).T, left)
    v = combine((basis_r @ Zt[:r].T).T, right)
    return Sensitivity(mean, u, v, sigma)


def _gram_root(fields: Any) -> tuple[np.ndarray, np.ndarray]:
    """R and K with (fields as columns) = U R and U = fields · K, U orthonormal: from the Gram matrix scaled to unit diagonal."""
    gram = inner_products(fields, fields)
    scale = np.sqrt(np.diag(gram))
    scale[scale == 0] = 1.0
    values, vectors = eigh(gram / np.outer(scale, scale))
    kept = values > max(values[-1], 0.0) * 1e-14
    root, vectors = np.sqrt(values[kept]), vectors[:, kept]
    return (vectors * root).T * scale, vectors / root / scale[:, None]
