"""The interface of an integrator, its solution, the times of layers, and the choice of a rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np

from ..backend.numbers import check_number


@dataclass(frozen=True, eq=False)
class Solution:
    """The solution v(T) = T φ(TA) B of a linearized flow (2.24).

    Attributes
    ----------
    v : (H, J, W) array
        The solution; W(T) = softmax(log W₀ + v). None where it was not kept.
    error : float
        Error of v relative to v, in the norm and with the certainty that the integrator states (NaN where it
        has none to offer).
    products : int
        Products with A that were spent.
    converged : bool
        Whether the tolerance of the integrator was met.
    reason : str
        Why the integration stopped, in one sentence.
    time : float
        The integration time T.
    integrator : Integrator
        The integrator that solved the flow; it makes the gradient.
    basis : Any
        Basis that the integrator keeps for the gradient; None where it keeps none.
    """

    v: Any
    error: float
    products: int
    converged: bool
    reason: str
    time: float
    integrator: Integrator = field(repr=False)
    basis: Any = field(default=None, repr=False)


class Sensitivity(NamedTuple):
    """A splitting M = ∫₀ᵀ μ(t) v(t)ᵀ dt ≈ Σ_r u_r v_rᵀ with m̄ = ∫₀ᵀ μ(t) dt, where μ(t) = e^{(T−t)Aᵀ} g."""

    #: m̄, (H, J, W).
    mean: Any
    #: u_r, (R, H, J, W).
    left: Any
    #: v_r, (R, H, J, W).
    right: Any
    #: Singular values of M as far as they are known, largest first, float64 on the host.
    singular_values: np.ndarray
    #: A v_r, (R, H, J, W), where the integrator has them; None else.
    image: Any = None


@runtime_checkable
class Integrator(Protocol):
    """A time integrator of the linearized flow."""

    def solve(self, flow: Any, time: float, *, keep_basis: bool = True) -> Solution:
        """Integrate the flow to `time`."""
        ...

    def sensitivity(
        self, flow: Any, solution: Solution, g: Any, *, rank: int | None = None, tol: float | None = None
    ) -> Sensitivity:
        """Split M for the derivative g of a loss in v(T), in `rank` terms or as many as the error `tol` asks for.

        None for both takes the exact splitting where the integrator has one, else an error of 1e-3.
        """
        ...

    def fields(self, time: float) -> int:
        """Fields (H, J, W) that a solution holds at once besides ℓ, S and B, at most."""
        ...

    def reach(self, time: float) -> int | None:
        """Steps from a pixel to its neighbors that its value depends on; None where it does on the whole image."""
        ...

    def gradient_fields(self, time: float, wave_rows: int | None) -> float:
        """Fields that the gradient holds, at most; of `wave_rows` rows, where a kernel computes that of a series."""
        ...


def choose_rank(singular_values: np.ndarray, rank: int | None, tol: float) -> int:
    """Return the given rank, or the smallest whose discarded singular values are at most `tol` of all, in 2-norm."""
    if rank is not None:
        return min(rank, len(singular_values))
    squared = np.asarray(singular_values, dtype=float) ** 2
    discarded = np.append(np.cumsum(squared[::-1])[::-1], 0.0)
    return int(np.argmax(discarded <= tol**2 * discarded[0]))


def check_time(time: float) -> float:
    """Return the integration time as a Python number; raise an error unless it is a positive number up to 10⁴."""
    return check_number(time, "time", high=1e4, usual="Times of 1 to 5 are usual; a list holds those of layers.")


def check_tol(tol: float, usual: str = "1e-4") -> None:
    """Raise an error for a relative error that asks for nothing, or is none."""
    check_number(tol, "tol", 1e-300, 1.0, f"{usual} is usual.")


def check_integrator(solver: Any, step: str) -> None:
    """Raise TypeError for a solver that integrates no linear flow; `step` is what to do instead."""
    if isinstance(solver, type) or not isinstance(solver, Integrator):
        raise TypeError(f"solver is {solver!r}; accepted are Taylor, Krylov and Euler. {step}")


def layer_times(time: float | Sequence[float], weights: Any = None) -> list[float]:
    """Integration time of every layer, [T] of a single flow.

    A list of weights holds those of layers: it has as many entries as there are times, or shares one number in equal
    parts. A sequence of times without such a list belongs to layers, too.

    Raises
    ------
    ValueError, TypeError
        If a time is no positive number, there is none, or the numbers of weights and times differ.
    """
    listed = isinstance(time, (list, tuple)) or np.ndim(time) > 0
    given = [check_time(t) for t in cast("Sequence[float]", time if listed else [time])]
    layers = len(weights) if isinstance(weights, (list, tuple)) else len(given)
    times = [given[0] / max(layers, 1)] * layers if not listed else given
    if not times or len(times) != layers:
        raise ValueError(
            f"there are {layers} weights and {len(given)} times; accepted are as many, one of each for every layer, or "
            "one array of weights that the layers share."
        )
    return times


def with_rounding(error: float, dtype: Any) -> float:
    """An estimate or bound of the truncation error, not smaller than what rounding does to a solution anyway."""
    return max(float(error), 4 * float(np.finfo(str(dtype).rsplit(".", 1)[-1]).eps)) if error else 0.0
