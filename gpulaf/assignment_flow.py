"""The assignment flow itself (2.9), nonlinear: v' = Π₀ softmax(Ω(ℓ + v)) in the flat coordinates of the lifting map.

In these coordinates the geometric Euler method is the explicit Euler method, any explicit scheme keeps W = softmax(v)
on the simplex, and a sequence of linearized flows (1.5)–(1.6) is an exponential integrator of second order.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log
from typing import Any, NamedTuple, Protocol

import numpy as np

from .array import empty, namespace, reused, scalar, total
from .flow import LinearFlow
from .integrators import Taylor
from .integrators.solution import Integrator, check_time
from .simplex import entropy, softmax
from .vectors import combine

__all__ = ["AssignmentFlow", "DormandPrince", "FlowResult", "GeometricEuler", "LinearizedFlows", "Scheme"]


#: The first step that is tried: rates are below 1.
FIRST = 1.0


class FlowResult(NamedTuple):
    """Where an assignment flow ended, and why."""

    #: v at the end, (J, H, W); W = softmax(v).
    v: Any
    #: The time that was reached.
    time: float
    #: Mean entropy of W over the pixels, as a share of log J.
    entropy: float
    #: Accepted steps, and evaluations of the right-hand side or products with its linearization.
    steps: int
    evaluations: int
    #: Whether the flow came to rest: its entropy fell under the threshold.
    converged: bool
    #: Why it stopped, in one sentence.
    reason: str


class Step(NamedTuple):
    """One accepted step of a scheme."""

    v: Any
    #: The length of the step, and of the next one to try.
    length: float
    following: float
    evaluations: int


class Scheme(Protocol):
    """A way to go on in time."""

    def step(self, flow: AssignmentFlow, v: Any, length: float) -> Step:
        """From v over at most `length`."""
        ...


class AssignmentFlow:
    """v' = Π₀ softmax(Ω(ℓ + v)), v(0) = 0: the assignment flow from the barycenter (2.9), W = softmax(v).

    Parameters
    ----------
    averaging : Grid or Graph
        Ω.
    log_likelihood : (J, H, W) floating array
        ℓ = −D/ρ, in the library, on the device and in the dtype of the weights.
    """

    def __init__(self, averaging: Any, log_likelihood: Any) -> None:
        self.averaging = averaging
        self.log_likelihood = log_likelihood

    def rate(self, v: Any) -> Any:
        """v' = Π₀ S with S = softmax(Ω(ℓ + v)), (J, H, W)."""
        S, _ = self.averaging.similarity(self.log_likelihood + v)
        return S - 1.0 / v.shape[0]

    def linearized(self, v: Any) -> LinearFlow:
        """The flow linearized at v; its solution over h is added to v (1.5)–(1.6)."""
        return LinearFlow(self.averaging, self.log_likelihood + v)

    def solve(self, scheme: Scheme | None = None, *, time: float = 50.0, threshold: float = 1e-3) -> FlowResult:
        """Integrate until W is nearly integral, or to `time`.

        Parameters
        ----------
        scheme : GeometricEuler, DormandPrince or LinearizedFlows, optional
            LinearizedFlows() if None.
        time : float
            The longest time T.
        threshold : float
            The flow ends when the mean entropy of W over log J falls under it; 0 goes on to `time`.

        Returns
        -------
        FlowResult

        Raises
        ------
        ValueError
            If `time` is not positive or `threshold` negative.
        FloatingPointError
            If v overflows.
        """
        scheme, time = scheme or LinearizedFlows(), check_time(time)
        if not threshold >= 0:
            raise ValueError(f"threshold is {threshold}; accepted are numbers from 0. 1e-3 is usual.")
        v, now, length = namespace(self.log_likelihood).zeros_like(self.log_likelihood), 0.0, FIRST
        steps = evaluations = 0
        level, reason = 1.0, f"The time {time:g} was reached."
        with reused():
            while time - now > 1e-12 * time:
                v, taken, length, spent = scheme.step(self, v, min(length, time - now))
                now, steps, evaluations = now + taken, steps + 1, evaluations + spent
                level = self.entropy(v)
                if not np.isfinite(level):
                    raise FloatingPointError(f"v overflows at time {now:.3g}. Take a shorter time or smaller steps.")
                if level < threshold:
                    reason = f"The mean entropy fell under {threshold:g} at time {now:.4g}."
                    break
        return FlowResult(v, now, level, steps, evaluations, level < threshold, reason)

    def entropy(self, v: Any) -> float:
        """Mean entropy of W = softmax(v) as a share of log J."""
        pixels = v.size // v.shape[0]
        return total(entropy(softmax(v))) / (pixels * log(v.shape[0]))


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
        _check_positive("length", self.length, 0.1)

    def step(self, flow: AssignmentFlow, v: Any, length: float) -> Step:
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
        _check_positive("tol", self.tol, 1e-4)

    def step(self, flow: AssignmentFlow, v: Any, length: float) -> Step:
        """One accepted step, after as many shorter tries as it takes."""
        h, evaluations = length, 1
        k = empty((len(TABLEAU) + 1, *v.shape), v)
        k[0, ...] = flow.rate(v)
        while True:
            for stage, row in enumerate(TABLEAU, 1):
                x = combine(h * np.array(row), k[:stage, ...], v)
                k[stage, ...] = flow.rate(x)
            evaluations += len(TABLEAU)
            error = _largest(combine(h * np.array(ERROR), k)) / (self.tol * (1 + _largest(v)))
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
    integrator : Integrator, optional
        Of the linear flows; Taylor with a tenth of the tolerance if None.

    Notes
    -----
    What the linear flow leaves out grows with the square of time: from the defect δ = v'(h) − (Av + B) at the end of a
    step, its error is h δ/3 up to higher terms. The defect costs one evaluation, which the next step uses.
    """

    tol: float = 1e-3
    length: float | None = None
    integrator: Integrator | None = None

    def __post_init__(self) -> None:
        _check_positive("tol", self.tol, 1e-3)
        if self.length is not None:
            _check_positive("length", self.length, 1.0)

    def step(self, flow: AssignmentFlow, v: Any, length: float) -> Step:
        """One accepted step, after as many shorter tries as it takes."""
        linear, evaluations = flow.linearized(v), 1
        integrator = self.integrator or Taylor(tol=self.tol / 10)
        h = length if self.length is None else min(length, self.length)
        while True:
            solution = integrator.solve(linear, h, keep_basis=False)
            x, evaluations = v + solution.v, evaluations + solution.products
            if self.length is not None:
                return Step(x, h, self.length, evaluations)
            defect = flow.rate(x) - linear.A(solution.v, linear.B)
            evaluations += 2
            error = h / 3 * _largest(defect) / (self.tol * (1 + _largest(v)))
            following = h * min(5.0, max(0.2, 0.9 * error ** (-1 / 3) if error else 5.0))
            if error <= 1 or not np.isfinite(error):
                return Step(x, h, following, evaluations)
            h = following


def _largest(x: Any) -> float:
    """max |x|."""
    xp = namespace(x)
    return scalar(xp.max(xp.abs(x)))


def _check_positive(name: str, value: float, usual: float) -> None:
    if not 0 < value < inf:
        raise ValueError(f"{name} is {value}; accepted are positive numbers. {usual:g} is usual.")
