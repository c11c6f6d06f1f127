"""The steps of a fit: weights are evaluated, then moved, kernel by kernel or as a recorded sequence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..backend.array import is_device_array, total
from ..backend.dispatch import is_observed
from ..flows.deep import DeepFlow, Layers, as_layers
from ..io.tensors import digest, qualified_name
from .cuda_graph import CapturedStep, FixedStep, fixed_degree
from .descent import squared_norms
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

    time: float | Layers
    integrator: Any
    loss: Any
    descent: Any
    rank: int | None
    tau: float


@dataclass(frozen=True, eq=False)
class Problem:
    """What stays the same during a fit.

    Attributes
    ----------
    log_likelihood : (J, H, W) array; (J, n) on a graph
    truth : (H, W) int32 array; (n,) on a graph
    start : list of Grid or Graph
        Where the descent starts: one for every layer, or one alone that they share.
    options : Options
    """

    log_likelihood: Any
    truth: Any
    start: list[Any]
    options: Options

    @property
    def layers(self) -> Layers:
        """The layers; a number as time is one."""
        return as_layers(self.options.time)

    def averagings(self, patches: list[Any]) -> list[Any]:
        """What these patches stand for, as what the descent started from."""
        return [start.with_patches(x) for start, x in zip(self.start, patches, strict=True)]

    def presented(self, patches: list[Any]) -> Any:
        """Weights as users know them: arrays, or graphs; in a list where every layer has its own."""
        found = [x if hasattr(x, "matrix") else x.weights for x in self.averagings(patches)]
        alone = not isinstance(self.options.time, Layers) or self.layers.shared
        return found[0] if alone else found

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with, by name."""
        arrays = {"log_likelihood": [self.log_likelihood], "truth": [self.truth]}
        arrays["weights"] = [array for start in self.start for array in start.arrays]
        named = self.options._asdict() | {"loss": qualified_name(self.options.loss)}
        digests = {k: " ".join(map(digest, x)) for k, x in arrays.items()}
        return digests | {k: v if k == "loss" else repr(v) for k, v in named.items()}


class Stepper(Protocol):
    """Weights on their way, and the states of their descents: lists with an entry for each of `Problem.start`."""

    @property
    def weights(self) -> list[Any]:
        """The present patches, (N, …) each; they are never overwritten."""
        ...

    @property
    def state(self) -> list[dict[str, Any]]:
        """The states of the descent."""
        ...

    def evaluate(self, count: int) -> FitStep:
        """The row of the history for the present weights, after `count` steps."""
        ...

    def advance(self, count: int) -> None:
        """Take the `count`-th step, from 0."""
        ...


def stepper(problem: Problem, weights: list[Any], state: list[dict[str, Any]]) -> Stepper:
    """The way to take the steps: recorded on a GPU where the problem has a fixed shape, else kernel by kernel."""
    degree = recordable(problem)
    return StepByStep(problem, weights, state) if degree is None else Recorded(problem, degree, weights, state)


def recordable(problem: Problem) -> int | None:
    """The degree of the recorded Taylor series; None where the steps have to be taken kernel by kernel."""
    options = problem.options
    if isinstance(options.time, Layers) or problem.log_likelihood.ndim < 3:  # one layer, on a grid
        return None
    fits = options.loss is cosine_loss and options.rank is None and options.tau == 0
    if not (fits and hasattr(options.descent, "step_by") and is_device_array(problem.log_likelihood)):
        return None
    if is_observed():  # a recorded kernel cannot be watched
        return None
    return fixed_degree(options.integrator, options.time)


class StepByStep:
    """Any layers, integrator, loss and descent, kernel by kernel."""

    def __init__(self, problem: Problem, weights: list[Any], state: list[dict[str, Any]]) -> None:
        self.problem, self.weights, self.state = problem, weights, state
        self._derivatives: list[Any] = []

    def evaluate(self, count: int) -> FitStep:
        """Loss, error and gradient of the present weights."""
        problem, (_, integrator, loss, _, rank, tau) = self.problem, self.problem.options
        averagings, layers = problem.averagings(self.weights), problem.layers
        flow = DeepFlow(averagings[0] if layers.shared else averagings, layers.times, integrator=integrator)
        solution = flow.solve(problem.log_likelihood)
        value, g = loss(solution.v, problem.truth)
        value = _finite(float(value), count)
        gradient = flow.gradient(solution, g, rank=rank)
        derivatives = [x.patch_gradient(w) for x, w in zip(averagings, gradient.weights, strict=True)]
        if tau:
            regularizers = [weight_regularizer(x, tau / problem.truth.size) for x in self.weights]
            value += sum(regularizer.value for regularizer in regularizers)
            derivatives = [x + y.derivative for x, y in zip(derivatives, regularizers, strict=True)]
        size = sum(total(squared_norms(x, y)) for x, y in zip(self.weights, derivatives, strict=True)) ** 0.5
        self._derivatives = derivatives
        return FitStep(count, value, 100 * wrong_share(solution.v, problem.truth), size, gradient.rank, 0.0)

    def advance(self, count: int) -> None:
        """One step of the descent in every layer."""
        update = self.problem.options.descent.update
        steps = [update(*x, count) for x in zip(self.weights, self._derivatives, self.state, strict=True)]
        self.weights, self.state = [weights for weights, _ in steps], [state for _, state in steps]


class Recorded:
    """A step of fixed shape, replayed from a CUDA graph."""

    def __init__(self, problem: Problem, degree: int, weights: list[Any], state: list[dict[str, Any]]) -> None:
        options = problem.options
        fixed = FixedStep(problem.log_likelihood, problem.truth, problem.layers.times[0], degree, options.descent)
        self._step, self._rank = CapturedStep(fixed, weights[0], state[0]), degree - 1

    @property
    def weights(self) -> list[Any]:
        """A copy of the present weights."""
        return [self._step.weights]

    @property
    def state(self) -> list[dict[str, Any]]:
        """A copy of the state of the descent."""
        return [self._step.state]

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
