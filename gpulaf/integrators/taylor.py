"""Truncated Taylor series of v(T) = T φ(TA) B with an a-priori bound, and the gradient from its moments."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from ..backend.array import empty, host_array, namespace, scaled
from ..backend.dense import eigh, svd
from ..backend.numbers import check_count
from ..backend.products import combine, inner_products
from .base import Sensitivity, Solution, check_time, check_tol, choose_rank, with_rounding
from .phi import phi1, tail

#: max ‖A‖_∞ over all weight patches and data: α = max 2S(1 − S) ≤ 1/2.
LARGEST_NORM = 0.5

#: The largest T‖A‖ that one series takes on; longer times are split, so that no digits cancel.
MAX_REACH = 2.5

#: The largest degree that is ever needed for that reach, in float64.
MAX_DEGREE = 40


class Steps(NamedTuple):
    """The substeps of a Taylor solution, for the gradient: their length and the series of each."""

    length: float
    #: v at the beginning of each substep, (H, J, W) each; None for 0, where the first one starts.
    starts: list[Any]
    #: a_k = A^k (A v + B), k < degree, of each substep: (degree, H, J, W) each.
    series: list[Any]

    @property
    def end(self) -> Any:
        """v after the last substep."""
        return combine(coefficients(self.length, self.series[-1].shape[0]), self.series[-1], self.starts[-1])


@dataclass(frozen=True)
class Taylor:
    """Taylor series v_d = Σ_{k<d} T^{k+1}/(k+1)! A^k B: no inner products, an error bound before any work.

    Parameters
    ----------
    degree : int, optional
        d, the number of terms of each series; d − 1 products with A. None takes the smallest that keeps the bound
        under `tol`.
    tol : float
        Accepted truncation error in the maximum norm, relative to the largest |v| that a flow can reach,
        T φ(T/2) ‖B‖_∞.
    substeps : int, optional
        n, the number of series in succession. None takes as many as keep T/2n under 2.5.

    Notes
    -----
    Degree and substeps depend on T alone: they are those that ‖A‖_∞ = 1/2 asks for, the largest norm there is. Every
    image, and every tile of one, is solved by the same operations, and the value at a pixel depends on nothing farther
    than n·d patch radii: tiles with a halo of n·d·r pixels equal the whole image bit for bit.

    ``error`` of a solution bounds ‖v − v(T)‖_∞/‖v‖_∞ up to rounding: ‖B‖_∞ Σ_{k≥d} T^{k+1} α^k/(k+1)! over ‖v‖_∞ with
    the α of the flow.
    """

    degree: int | None = None
    tol: float = 1e-4
    substeps: int | None = None

    def __post_init__(self) -> None:
        for name, n, most, usual in (("degree", self.degree, 1000, 10), ("substeps", self.substeps, 10**6, 1)):
            check_count(n, name, 1, most, f"{usual} suits T up to 5.", optional=True)
        check_tol(self.tol)

    def plan(self, time: float) -> tuple[int, int, float]:
        """Substeps, degree of each, and the bound relative to T φ(T/2)‖B‖_∞, of any flow over `time`.

        The bound of n substeps of reach ρ/n, ρ = T/2, sums what each one truncates, carried to the end by the growth
        e^{ρ−t}.

        Examples
        --------
        >>> from gpulaf import Taylor
        >>> substeps, degree, bound = Taylor(tol=1e-4).plan(3.0)
        >>> substeps, degree, bound <= 1e-4
        (1, 8, True)
        """
        reach = LARGEST_NORM * time
        substeps = self.substeps or max(1, ceil(reach / MAX_REACH))
        degrees = range(1, MAX_DEGREE + 1) if self.degree is None else (self.degree,)
        with np.errstate(over="ignore", invalid="ignore"):  # of absurd times
            for degree in degrees:
                bound = substeps_bound(reach, substeps, degree)
                if bound <= self.tol:
                    break
        return substeps, degree, bound

    def solve(self, flow: Any, time: float, *, keep_basis: bool = True) -> Solution:
        """Integrate to `time`; `keep_basis` keeps the terms A^k B, (d, H, J, W), where the gradient uses them."""
        time = check_time(time)
        substeps, degree, bound = self.plan(time)
        if keep_basis and not self.in_one_wave(flow, time):
            basis = _steps(flow, time / substeps, substeps, degree)
            v = basis.end
        else:
            basis, v = None, self.value(flow, time)
        source, largest = _largest(flow.B if basis is None else basis.series[0][0, ...], v)
        reach = time * flow.alpha
        share = substeps_bound(reach, substeps, degree) * time * phi1(reach)
        error = with_rounding(share * source / largest if largest else 0.0, v.dtype)
        converged = bound <= self.tol or error == 0
        reason = f"Degree {degree} in {substeps} substep(s) bounds the error by {bound:.1e} of the flow's reach."
        if not converged:
            reason += f" The tolerance {self.tol:.1e} asks for a higher degree."
        return Solution(v, error, substeps * degree - 1, converged, reason, time, self, basis)

    def value(self, flow: Any, time: float) -> Any:
        """v at `time` alone, (H, J, W), by Horner's scheme: no basis, no estimate, and no wait for one series."""
        substeps, degree, _ = self.plan(check_time(time))
        v, c = None, coefficients(time / substeps, degree)
        for _ in range(substeps):  # v ← c_k b + A v, one product for each term of a series after the first
            b = flow.B if v is None else flow.A(v, flow.B)
            change = float(c[-1]) * b
            if degree > 1:  # degree − 1 results in turns
                change = flow.chain(change, b, c[-2::-1], out=empty((2, *b.shape), b))[degree % 2, ...]
            v = change if v is None else v + change
            if substeps > 1 and not np.isfinite(_largest(change)[0]):  # an absurd time overflows
                break
        return v

    def in_one_wave(self, flow: Any, time: float) -> bool:
        """Whether the exact gradient is computed faster without a stored basis, in one wave through the image."""
        return bool(flow.in_one_wave and self.plan(time)[0] == 1)

    def coefficients(self, time: float) -> np.ndarray:
        """T^{k+1}/(k+1)! of the series of each substep, (degree) float64."""
        substeps, degree, _ = self.plan(time)
        return coefficients(time / substeps, degree)

    def fields(self, time: float) -> int:
        """Fields (H, J, W) that a solution holds at once besides ℓ, S and B, at most."""
        return 5 if self.plan(time)[0] == 1 else 8

    def reach(self, time: float) -> int:
        """Steps from a pixel to its neighbors that its value depends on: products with A, and those in B."""
        substeps, degree, _ = self.plan(time)
        return int(substeps * degree)

    def gradient_fields(self, time: float, wave_rows: int | None) -> float:
        """Fields that the exact gradient holds, at most; a wave keeps about (d + 2)² rows on each thread."""
        substeps, degree, _ = self.plan(time)
        if substeps > 1:
            return 6 * substeps * degree + 8
        if wave_rows is None:
            return 2 * degree + 13
        return self.fields(time) + 1 + (os.cpu_count() or 1) * (degree + 2) ** 2 / wave_rows

    def sensitivity(
        self, flow: Any, solution: Solution, g: Any, *, rank: int | None = None, tol: float | None = None
    ) -> Sensitivity:
        """Split M: by reverse Horner, exact and fast; or by moments in few terms, where a rank or tol > 0 is given."""
        steps = solution.basis
        if steps is None:  # v is known: the series alone
            substeps, degree, _ = self.plan(solution.time)
            steps = _steps(flow, solution.time / substeps, substeps, degree)
        if rank is None and not tol:
            return reverse_horner(flow, steps, g)
        return _by_moments(flow, steps, g, rank, tol or 0.0)


def reverse_horner(flow: Any, steps: Steps, g: Any) -> Sensitivity:
    """The exact derivative of the truncated series: M = Σ_q y_q a_qᵀ, y_q = c_{q+1} μ + Aᵀ y_{q+1}, a_q = A^q b.

    The product A a_q is the next term of the series, so no other product is needed.
    """
    xp = namespace(g)
    mu, mean = g, None
    left: list[Any] = []
    right: list[Any] = []
    image: list[Any] = []
    for step in reversed(range(len(steps.series))):
        a = steps.series[step]
        degree = a.shape[0]
        c = coefficients(steps.length, degree)
        y = empty((degree, *g.shape), g)  # y_{q−1} in slot q, the change of m̄ in slot 0
        scaled(mu, float(c[-1]), y[-1, ...])
        flow.chain(y[-1, ...], mu, c[-2::-1], out=y[:-1, ...], transposed=True, backward=True)
        change = y[0, ...]
        left, right, image = [*left, y[1:, ...]], [*right, a[:-1, ...]], [*image, a[1:, ...]]
        if step:  # b = A v + B at the start of the substep
            v = steps.starts[step]
            left, right = [*left, change[None, ...]], [*right, v[None, ...]]
            image = [*image, flow.A(v)[None, ...]]
            mu = flow.At(change, mu)
        mean = change if mean is None else mean + change
    u, v, Av = (x[0] if len(x) == 1 else xp.concat(x) for x in (left, right, image))
    return Sensitivity(mean, u, v, np.empty(0), Av)


def _by_moments(flow: Any, steps: Steps, g: Any, rank: int | None, tol: float) -> Sensitivity:
    """M = Σ_{l,k} T^{l+k+2}/(l+k+2)! (Aᵀ)^l g (A^k B)ᵀ, compressed through two small Gram matrices."""
    xp = namespace(g)
    h, mu, mean = steps.length, g, None
    left: list[Any] = []
    right: list[Any] = []
    cores: list[np.ndarray] = []
    for step in reversed(range(len(steps.series))):
        a = steps.series[step]
        p = series(flow, mu, a.shape[0], transposed=True)
        core = _moments(h, p.shape[0], a.shape[0])
        left, right = [*left, p], [*right, a]
        if step:  # v starts from 0 in the first substep only
            right.append(steps.starts[step][None, ...])
            core = np.column_stack([core, coefficients(h, p.shape[0])])
        change = combine(coefficients(h, p.shape[0]), p)
        mean = change if mean is None else mean + change
        if step:
            mu = flow.At(change, mu)  # e^{hAᵀ} μ
        cores.append(core)
    p, a = (x[0] if len(x) == 1 else xp.concat(x) for x in (left, right))
    return _compress(p, scipy.linalg.block_diag(*cores), a, mean, rank, tol)


def _moments(h: float, rows: int, columns: int) -> np.ndarray:
    """h^{l+k+2}/(l+k+2)! = ∫₀ʰ (h−t)^l/l! t^{k+1}/(k+1)! dt: (rows, columns) array."""
    table = np.concatenate([[1.0], coefficients(h, rows + columns)])
    return table[np.add.outer(np.arange(rows), np.arange(columns)) + 2]


def coefficients(h: float, count: int) -> np.ndarray:
    """h^{k+1}/(k+1)! for k < count: the coefficients of h φ(hA)."""
    return np.cumprod(h / np.arange(1, count + 1))


def series(flow: Any, x: Any, count: int, *, transposed: bool = False) -> Any:
    """x, Ax, …, A^{count−1} x, stacked, of B where x is None; or with Aᵀ."""
    first = flow.S if x is None else x
    terms = empty((count, *first.shape), first)
    if x is None:
        flow.source(terms[0, ...])
    else:
        terms[0, ...] = x
    flow.chain(terms[0, ...], None, np.zeros(count - 1), out=terms[1:, ...], transposed=transposed)
    return terms


def _steps(flow: Any, h: float, substeps: int, degree: int) -> Steps:
    """The series of every substep, and v where they start."""
    steps = Steps(h, [None], [series(flow, None, degree)])
    for _ in range(1, substeps):
        v = steps.end
        steps.starts.append(v)
        steps.series.append(series(flow, flow.A(v, flow.B), degree))
    return steps


def _largest(*fields: Any) -> list[float]:
    """max |x| of every field, read together."""
    xp = namespace(fields[0])
    ends = xp.stack([end for x in fields for end in (xp.max(x), -xp.min(x))])
    return [float(max(pair)) for pair in host_array(ends).reshape(-1, 2)]  # synchronize


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
