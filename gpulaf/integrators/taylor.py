"""Truncated Taylor series of v(T) = T φ(TA) B with an a-priori bound, and the gradient from its moments."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, factorial
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

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
        starts: list[Any] = []
        series: list[list[Any]] = []
        for step in range(substeps):
            if step:
                b = flow.A(v) + flow.B
            starts.append(v)
            if keep_basis:
                terms = _powers(flow.A, b, degree)
                v = _add(v, _coefficients(h, degree), terms)
                series.append(terms)
            else:
                for k, c in enumerate(_coefficients(h, degree)):
                    b = flow.A(b) if k else b
                    v = v + c * b
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
        h, mu, mean = steps.length, g, namespace(g).zeros_like(g)
        left: list[Any] = []
        right: list[Any] = []
        cores: list[np.ndarray] = []
        for step in reversed(range(len(steps.series))):
            a = steps.series[step]
            p = _powers(flow.At, mu, len(a))
            core = _moments(h, len(p), len(a))
            if step:  # v starts from 0 in the first substep only
                a, core = [steps.starts[step], *a], np.column_stack([_coefficients(h, len(p)), core])
            mean = _add(mean, _coefficients(h, len(p)), p)
            if step:
                mu = _add(mu, _coefficients(h, len(p)), [*p[1:], flow.At(p[-1])])  # e^{hAᵀ} μ
            left, right, cores = left + p, right + a, [*cores, core]
        xp = namespace(g)
        return _compress(xp.stack(left), scipy.linalg.block_diag(*cores), xp.stack(right), mean, rank, tol)


def _moments(h: float, rows: int, columns: int) -> np.ndarray:
    """h^{l+k+2}/(l+k+2)! = ∫₀ʰ (h−t)^l/l! t^{k+1}/(k+1)! dt: (rows, columns) array."""
    table = np.array([h**n / factorial(n) for n in range(rows + columns + 1)])
    return table[np.add.outer(np.arange(rows), np.arange(columns)) + 2]


def _coefficients(h: float, count: int) -> list[float]:
    """h^{k+1}/(k+1)! for k < count: the coefficients of h φ(hA)."""
    return [h ** (k + 1) / factorial(k + 1) for k in range(count)]


def _add(x: Any, coefficients: list[float], terms: list[Any]) -> Any:
    """x + Σ_k c_k terms_k, pixel by pixel in this order."""
    for c, term in zip(coefficients, terms, strict=True):
        x = x + c * term
    return x


def _powers(apply: Any, x: Any, count: int) -> list[Any]:
    """x, Ax, …, A^{count−1} x."""
    terms = [x]
    while len(terms) < count:
        terms.append(apply(terms[-1]))
    return terms


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


def _compress(left: Any, core: np.ndarray, right: Any, mean: Any, rank: int | None, tol: float) -> Sensitivity:
    """Truncate left · core · rightᵀ by its singular values, through the Gram matrices of both bases."""
    (root_l, basis_l), (root_r, basis_r) = _gram_root(left), _gram_root(right)
    Y, sigma, Zt = svd(root_l @ core @ root_r.T)
    r = choose_rank(sigma, rank, tol)
    u = combine((basis_l @ (Y[:, :r] * sigma[:r])).T, left)
    v = combine((basis_r @ Zt[:r].T).T, right)
    return Sensitivity(mean, u, v, sigma)


def _gram_root(fields: Any) -> tuple[np.ndarray, np.ndarray]:
    """R and K with fields = U R and U = fields · K, U orthonormal, from the Gram matrix scaled to unit diagonal."""
    gram = inner_products(fields, fields)
    scale = np.sqrt(np.diag(gram))
    scale[scale == 0] = 1.0
    values, vectors = eigh(gram / np.outer(scale, scale))
    kept = values > max(values[-1], 0.0) * 1e-14
    root, vectors = np.sqrt(values[kept]), vectors[:, kept]
    return (vectors * root).T * scale, vectors / root / scale[:, None]
