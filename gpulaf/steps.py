"""The steps of a fit: weights are evaluated, then moved, kernel by kernel or as a recorded sequence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from .array import is_device_array, total
from .averaging import Grid
from .captured import CapturedStep, FixedStep, fixed_degree
from .checkpoint import digest, qualified_name
from .descent import squared_norms
from .dispatch import is_observed
from .flow import LinearFlow
from .gradient import weight_gradient
from .integrators import Taylor
from .loss import cosine_loss, weight_regularizer, wrong_share

__all__ = ["FitStep", "Options", "Problem", "Stepper", "stepper"]


class FitStep(NamedTuple):
    """One row of the history: the state of the weights before the step is taken."""

    #: Steps taken so far.
    step: int
    #: Loss, regularizer included.
    loss: float
    #: Wrong pixels in percent of the labeled ones.
    wrong: float
    #: Fisher–Rao norm of the gradient over the whole image.
    gradient_norm: float
    #: Rank of the gradient.
    rank: int
    #: Seconds since the fit began, over all its runs.
    seconds: float


class Options(NamedTuple):
    """How a fit evaluates weights and moves them; see :func:`gpulaf.fit_weights`."""

    time: float
    integrator: Any
    loss: Any
    descent: Any
    rank: int | None
    tau: float


@dataclass(frozen=True, eq=False)
class Problem:
    """What stays the same during a fit: (J, H, W) log-likelihood, (H, W) int32 truth, the first weights, options."""

    log_likelihood: Any
    truth: Any
    start: Any
    options: Options

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with, by name."""
        arrays = {"log_likelihood": self.log_likelihood, "truth": self.truth, "weights": self.start}
        named = self.options._asdict() | {"loss": qualified_name(self.options.loss)}
        return {k: digest(x) for k, x in arrays.items()} | {k: v if k == "loss" else repr(v) for k, v in named.items()}


class Stepper(Protocol):
    """Weights on their way, and the state of the descent."""

    @property
    def weights(self) -> Any:
        """The present weights, (N, H, W); they are never overwritten."""
        ...

    @property
    def state(self) -> dict[str, Any]:
        """The state of the descent."""
        ...

    def evaluate(self, count: int) -> FitStep:
        """The row of the history for the present weights, after `count` steps."""
        ...

    def advance(self, count: int) -> None:
        """Take the `count`-th step, from 0."""
        ...


def stepper(problem: Problem, weights: Any, state: dict[str, Any]) -> Stepper:
    """The way to take the steps: recorded on a GPU where the problem has a fixed shape, else kernel by kernel."""
    degree = recordable(problem)
    return StepByStep(problem, weights, state) if degree is None else Recorded(problem, degree, weights, state)


def recordable(problem: Problem) -> int | None:
    """The degree of the recorded Taylor series; None where the steps have to be taken kernel by kernel."""
    options = problem.options
    fits = options.loss is cosine_loss and options.rank is None and options.tau == 0
    if not (fits and hasattr(options.descent, "step_by") and is_device_array(problem.log_likelihood)):
        return None
    if is_observed():  # a recorded kernel cannot be watched
        return None
    return fixed_degree(options.integrator, options.time)


class StepByStep:
    """Any integrator, loss and descent, kernel by kernel."""

    def __init__(self, problem: Problem, weights: Any, state: dict[str, Any]) -> None:
        self.problem, self.weights, self.state = problem, weights, state
        self._derivative: Any = None

    def evaluate(self, count: int) -> FitStep:
        """Loss, error and gradient of the present weights."""
        time, integrator, loss, _, rank, tau = self.problem.options
        flow = LinearFlow(Grid(self.weights), self.problem.log_likelihood)
        solution = integrator.solve(flow, time)
        value, g = loss(solution.v, self.problem.truth)
        value = _finite(float(value), count)
        # a Taylor solution has its exact gradient at the lowest cost; a Krylov solution is compressed
        tol = 0.0 if isinstance(integrator, Taylor) else 1e-3
        gradient = weight_gradient(flow, solution, g, rank=rank, tol=tol)
        derivative = gradient.weights
        if tau:
            regularizer = weight_regularizer(self.weights, tau / self.problem.truth.size)
            value, derivative = value + regularizer.value, derivative + regularizer.derivative
        size = total(squared_norms(self.weights, derivative)) ** 0.5
        self._derivative = derivative
        return FitStep(count, value, 100 * wrong_share(solution.v, self.problem.truth), size, gradient.rank, 0.0)

    def advance(self, count: int) -> None:
        """One step of the descent."""
        update = self.problem.options.descent.update
        self.weights, self.state = update(self.weights, self._derivative, self.state, count)


class Recorded:
    """A step of fixed shape, replayed from a CUDA graph."""

    def __init__(self, problem: Problem, degree: int, weights: Any, state: dict[str, Any]) -> None:
        options = problem.options
        fixed = FixedStep(problem.log_likelihood, problem.truth, options.time, degree, options.descent)
        self._step, self._rank = CapturedStep(fixed, weights, state), degree - 1

    @property
    def weights(self) -> Any:
        """A copy of the present weights."""
        return self._step.weights

    @property
    def state(self) -> dict[str, Any]:
        """A copy of the state of the descent."""
        return self._step.state

    def evaluate(self, count: int) -> FitStep:
        """Loss, error and gradient of the present weights; the step from them is made ready."""
        loss, wrong, size = self._step.evaluate(count)
        return FitStep(count, _finite(loss, count), 100 * wrong, size, self._rank, 0.0)

    def advance(self, count: int) -> None:
        """Take the step that was made ready."""
        self._step.advance()


def _finite(loss: float, count: int) -> float:
    if not np.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss} after {count} steps. Take a shorter time or a smaller step.")
    return loss
