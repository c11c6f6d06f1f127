"""Time-stepping schemes of the nonlinear flow v' = Π₀ softmax(Ω(ℓ + v)), with step control.

In the flat coordinates of the lifting map the geometric Euler method is the explicit Euler method, any explicit scheme
keeps W = softmax(v) on the simplex, and a sequence of linearized flows (1.5)–(1.6) is an exponential integrator of
second order.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ..backend.array import empty, namespace, scalar
from ..backend.numbers import check_number
from ..backend.products import combine
from .base import Integrator, check_integrator, check_tol
from .taylor import Taylor

__all__ = ["DormandPrince", "GeometricEuler", "LinearizedFlows", "Scheme"]


class Step(NamedTuple):
    """One accepted step of a scheme."""

    v: Any
    #: The length of the step, and of the next one to try.
    length: float
    following: float
    evaluations: int


@runtime_checkable
class Scheme(Protocol):
    """A time-stepping scheme of the nonlinear flow."""

    @property
    def accuracy(self) -> float:
        """The accepted error of a step in the maximum norm, relative to 1 + ‖v‖_∞; NaN where steps are fixed."""
        ...

    def step(self, flow: Any, v: Any, length: float) -> Step:
        """From v over at most `length` with an :class:`gpulaf.flows.AssignmentFlow`."""
        ...

    def fields(self, time: float) -> int:
        """Fields (H, J, W) that are held at once besides ℓ, S and B, at most."""
        ...


@dataclass(frozen=True)
class GeometricEuler:
    """W ← Exp_W(h R_W S(W)), the geometric Euler method: in flat coordinates v ← v + h v'.

    Parameters
    ----------
    length : float
        h.
    """

    length: float = 0.1

    def __post_init__(self) -> None:
        check_number(self.length, "length", usual="0.1 is usual.")

    @property
    def accuracy(self) -> float:
        """NaN: nothing is estimated."""
        return nan

    def fields(self, time: float) -> int:
        """Fields (H, J, W) that are held at once besides ℓ, S and B, at most."""
        return 3

    def step(self, flow: Any, v: Any, length: float) -> Step:
        """One step."""
        h = min(self.length, length)
        return Step(v + h * flow.rate(v), h, self.length, 1)


#: The Dormand–Prince pair of orders 5 and 4: rows of stages, the last one the solution, and the weights of the error.
TABLEAU = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


@dataclass(frozen=True)
class DormandPrince:
    """The explicit Runge–Kutta pair of orders 5 and 4 with step control, in flat coordinates.

    Parameters
    ----------
    tol : float
        Accepted error of a step in the maximum norm, relative to 1 + ‖v‖_∞.

    Notes
    -----
    J. R. Dormand, P. J. Prince, A family of embedded Runge–Kutta formulae, J. Comput. Appl. Math. 6 (1980).
    """

    tol: float = 1e-4

    def __post_init__(self) -> None:
        check_tol(self.tol)

    @property
    def accuracy(self) -> float:
        """The tolerance of a step."""
        return self.tol

    def fields(self, time: float) -> int:
        """Fields (H, J, W) that are held at once besides ℓ, S and B, at most."""
        return len(TABLEAU) + 5

    def step(self, flow: Any, v: Any, length: float) -> Step:
        """One accepted step, after as many shorter tries as it takes."""
        h, evaluations = length, 1
        k = empty((len(TABLEAU) + 1, *v.shape), v)
        k[0, ...] = flow.rate(v)
        while True:
            for stage, row in enumerate(TABLEAU, 1):
                x = combine(h * np.array(row), k[:stage, ...], v)
                k[stage, ...] = flow.rate(x)
            evaluations += len(TABLEAU)
            error = _largest(combine(h * np.array(ERROR), k)) / (_reachable(self.tol, v) * (1 + _largest(v)))
            following = h * min(5.0, max(0.2, 0.9 * error**-0.2 if error else 5.0))
            if error <= 1 or not np.isfinite(error):
                return Step(x, h, following, evaluations)
            h = following


@dataclass(frozen=True)
class LinearizedFlows:
    """The flow linearized again and again (1.5)–(1.6): every step solves v' = Av + B at the present point; order 2.

    Parameters
    ----------
    tol : float
        Accepted error of a step in the maximum norm, relative to 1 + ‖v‖_∞, by which the step length is chosen.
    length : float, optional
        A fixed step length instead.
    solver : Integrator, optional
        Of the linear flows; Taylor with a tenth of the tolerance if None.

    Notes
    -----
    What the linear flow leaves out grows with the square of time: from the defect δ = v'(h) − (Av + B) at the end of a
    step, its error is h δ/3 up to higher terms. The defect costs one evaluation, which the next step uses.
    """

    tol: float = 1e-3
    length: float | None = None
    solver: Integrator | None = None

    def __post_init__(self) -> None:
        check_tol(self.tol, "1e-3")
        if self.length is not None:
            check_number(self.length, "length", usual="1 is usual.")
        if self.solver is not None:
            check_integrator(self.solver, "None takes Taylor.")

    @property
    def accuracy(self) -> float:
        """The tolerance of a step; NaN where the length is fixed."""
        return self.tol if self.length is None else nan

    def fields(self, time: float) -> int:
        """Fields (H, J, W) that are held at once besides ℓ, S and B, at most."""
        own = 6 if self.length is None else 3
        return own + self._linear_solver.fields(min(time, self.length or time))

    def step(self, flow: Any, v: Any, length: float) -> Step:
        """One accepted step, after as many shorter tries as it takes."""
        linear, evaluations = flow.linearized(v), 1
        h = length if self.length is None else min(length, self.length)
        while True:
            solution = self._linear_solver.solve(linear, h, keep_basis=False)
            x, evaluations = v + solution.v, evaluations + solution.products
            if self.length is not None:
                return Step(x, h, self.length, evaluations)
            defect = flow.rate(x) - linear.A(solution.v, linear.B)
            evaluations += 2
            error = h / 3 * _largest(defect) / (_reachable(self.tol, v) * (1 + _largest(v)))
            following = h * min(5.0, max(0.2, 0.9 * error ** (-1 / 3) if error else 5.0))
            if error <= 1 or not np.isfinite(error):
                return Step(x, h, following, evaluations)
            h = following

    @property
    def _linear_solver(self) -> Integrator:
        return self.solver or Taylor(tol=self.tol / 10)


def _reachable(tol: float, v: Any) -> float:
    """The tolerance, not under what rounding leaves: steps would shrink for ever."""
    return max(tol, 16 * float(namespace(v).finfo(v.dtype).eps))


def _largest(x: Any) -> float:
    """max |x|."""
    xp = namespace(x)
    return scalar(xp.max(xp.abs(x)))
