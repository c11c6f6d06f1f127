"""Krylov approximation of v(T) = T φ(TA) B (2.28) and the low-rank gradient in the same basis (3.45)–(3.47)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..backend.dense import svd
from ..backend.numbers import check_count
from ..backend.products import combine
from .base import Sensitivity, Solution, check_time, check_tol, choose_rank, with_rounding
from .krylov_space import MOST, KrylovSpace, arnoldi, powers
from .phi import coupled_integral, phi1, phi_columns, tail

#: The largest dimension that is tried when it is chosen by the estimate.
MAX_DIMENSION = 80

#: The largest that may be asked for: the flow needs none so large at any time.
LARGEST = 1000


@dataclass(frozen=True)
class Krylov:
    """Krylov subspace method: v ≈ ‖B‖ Q_m [T φ(T H_m) e₁] with A Q_m ≈ Q_m H_m from (A, B) (2.28).

    Parameters
    ----------
    dimension : int, optional
        m, the dimension of the Krylov spaces of A and of Aᵀ, up to 1000. None chooses each from `tol`, up to 80.
    tol : float
        Accepted error of v relative to v, 2-norm over the image. A batch of images is refused: each has its own space.

    Notes
    -----
    ``error`` of a solution is the a posteriori estimate ‖B‖ h_{m+1,m} |[T² φ₂(T H_m)]_{m,1}| over ‖v‖₂, usually
    within 10 % of the true error and never a bound; what rounding adds is counted as four units in the last place.
    """

    dimension: int | None = None
    tol: float = 1e-4

    def __post_init__(self) -> None:
        check_count(self.dimension, "dimension", 1, LARGEST, "10 suits T up to 5.", optional=True)
        check_tol(self.tol)

    def solve(self, flow: Any, time: float, *, keep_basis: bool = True) -> Solution:
        """Integrate to `time`; `keep_basis` keeps the Krylov space, (m, H, J, W), for the gradient."""
        time = check_time(time)
        flow.averaging.check_one_image(flow.B, "a Krylov space is built")
        space = self._space(flow, flow.B, time)
        coefficients, error = _phi_coefficients(space, time)
        v = _combine(coefficients, space)
        error = with_rounding(error, flow.B.dtype)
        m = len(space.hessenberg)
        converged = bool(error <= self.tol)
        if m == 0:
            reason = "The source B is 0, and so is the solution."
        elif space.residual == 0:
            reason = f"The Krylov space of dimension {m} is invariant: the result is exact up to rounding."
        elif self.dimension is not None:
            reason = f"Dimension {m} was asked for; the estimated error is {error:.1e}."
        elif converged:
            reason = f"Dimension {m} meets the tolerance {self.tol:.1e}."
        else:
            reason = f"Dimension {m} is the largest that is tried; shorten the time or raise the tolerance."
        return Solution(v, error, m, converged, reason, time, self, space if keep_basis else None)

    def sensitivity(
        self, flow: Any, solution: Solution, g: Any, *, rank: int | None = None, tol: float | None = None
    ) -> Sensitivity:
        """M ≈ P C Qᵀ with P from (Aᵀ, g), compressed by the singular values of the small core C (3.45)–(3.47)."""
        forward = solution.basis or self._space(flow, flow.B, solution.time)
        backward = self._space(flow, g, solution.time, transposed=True)
        m, n = len(backward.hessenberg), len(forward.hessenberg)
        core = (
            coupled_integral(backward.hessenberg, forward.hessenberg, backward.norm, forward.norm, solution.time)
            if m
            else np.zeros((0, n + 1))
        )
        Y, sigma, Zt = svd(core[:, :n])
        r = choose_rank(sigma, rank, 1e-3 if tol is None else tol)
        return Sensitivity(
            _combine(core[:, n], backward),
            _combine((Y[:, :r] * sigma[:r]).T, backward),
            _combine(Zt[:r], forward),
            sigma,
        )

    def fields(self, time: float) -> int:
        """Fields (H, J, W) that a solution holds at once besides ℓ, S and B, at most."""
        return self._largest_dimension(time) + 5

    def gradient_fields(self, time: float, wave_rows: int | None) -> float:
        """Fields that the gradient holds, at most: both bases and their combinations."""
        return 4 * self._largest_dimension(time) + 4

    def _largest_dimension(self, time: float) -> int:
        """No dimension above the degree of a Taylor series of the same error, for ‖A‖ = 1/2, is needed."""
        reach = min(0.5 * time, 2.0 * MAX_DIMENSION)
        needed = (k for k in range(1, MAX_DIMENSION) if tail(reach, k) <= self.tol * phi1(reach))
        return self.dimension or next(needed, MAX_DIMENSION)

    def _space(self, flow: Any, b: Any, time: float, *, transposed: bool = False) -> KrylovSpace:
        """By plain powers where few are needed and they differ enough, else by Arnoldi iteration; of A or Aᵀ."""

        def extend(x: Any, out: Any) -> None:
            flow.chain(x, None, np.zeros(out.shape[0]), out=out, transposed=transposed)

        def accurate(hessenberg: np.ndarray, residual: float, beta: float) -> bool:
            return _phi_coefficients(KrylovSpace(None, hessenberg, beta, residual), time)[1] <= self.tol

        stop, m = accurate if self.dimension is None else None, min(self._largest_dimension(time), prod(b.shape))
        space = powers(extend, b, m, stop=stop) if m <= MOST else None
        most = min(MAX_DIMENSION, prod(b.shape)) if stop else m
        return space or arnoldi(flow.At if transposed else flow.A, b, most, stop=stop)


def _combine(coefficients: np.ndarray, space: KrylovSpace) -> Any:
    """Σ_k c_k q_k for coefficients (m) or (R, m) in the orthonormal basis of a space."""
    return combine(coefficients if space.coordinates is None else coefficients @ space.coordinates.T, space.basis)


def _phi_coefficients(space: KrylovSpace, time: float) -> tuple[np.ndarray, float]:
    """‖b‖ T φ(TH) e₁ and the estimated error of that vector relative to its norm (2.28)–(2.29)."""
    if len(space.hessenberg) == 0:
        return np.zeros(0), 0.0
    first, second = phi_columns(space.hessenberg, time)
    return space.norm * first, float(space.residual * abs(second[-1]) / np.linalg.norm(first))
