"""The steps of a fit: weights are evaluated, then moved, kernel by kernel or as a recorded sequence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from ..averaging.base import Averaging
from ..averaging.grid import Grid
from ..backend.array import is_device_array, like, total
from ..backend.dispatch import is_observed
from ..flows.deep import DeepFlow
from ..integrators.base import Integrator
from ..io.tensors import digest, qualified_name
from .cuda_graph import CapturedStep, FixedStep, fixed_degree
from .descent import Descent, squared_norms
from .loop import check_finite
from .loss import Loss, cosine_loss, weight_regularizer, wrong_share

__all__ = ["Fit", "FitProblem", "FitStep", "Recorded", "StepByStep", "recordable", "start_fit"]


class FitStep(NamedTuple):
    """One row of the history: the state of the weights before the step is taken."""

    #: Steps taken so far.
    step: int
    #: Loss, regularizer included.
    loss: float
    #: Share of the labeled pixels that are wrong, 0 to 1.
    wrong: float
    #: Fisher–Rao norm of the gradient over the whole image.
    gradient_norm: float
    #: Rank of the gradient.
    rank: int
    #: Seconds since the fit began, over all its runs.
    seconds: float


@dataclass(frozen=True, eq=False)
class FitProblem:
    """What stays the same during a fit; see :func:`gpulaf.fit_weights`.

    Attributes
    ----------
    log_likelihood : (J, H, W) array; (J, n) on a graph
    truth : (H, W) int32 array; (n,) on a graph
    start : list of Averaging
        Where the descent starts: that of every layer, or one that all layers share.
    times : list of float
        T of every layer.
    own : bool
        Whether every layer has weights of its own.
    """

    log_likelihood: Any
    truth: Any
    start: list[Averaging]
    times: list[float]
    own: bool
    solver: Integrator
    loss: Callable[[Any, Any], Loss]
    descent: Any
    rank: int | None = None
    tau: float = 0.0

    def averagings(self, patches: list[Any]) -> list[Averaging]:
        """Ω of these patches, of every layer or of all."""
        return [start.with_patches(x) for start, x in zip(self.start, patches, strict=True)]

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with, by name."""
        arrays = {"log_likelihood": [self.log_likelihood], "truth": [self.truth]}
        arrays["weights"] = [array for start in self.start for array in start.arrays]
        named = {"time": self.times} | {name: getattr(self, name) for name in ("solver", "descent", "rank", "tau")}
        digests = {name: " ".join(map(digest, found)) for name, found in arrays.items()}
        return digests | {name: repr(value) for name, value in named.items()} | {"loss": qualified_name(self.loss)}


class Fit(ABC):
    """Weights that are learned, for :func:`gpulaf.learning.loop.run`.

    Attributes
    ----------
    weights : list of (N, …) arrays
        The present patches, of every layer or of all; they are never overwritten.
    states : list of dict of arrays
        Those of the descent.
    """

    kind, row, watched = "fit", FitStep, "loss"
    weights: list[Any]
    states: list[dict[str, Any]]

    def __init__(self, problem: FitProblem) -> None:
        self.problem = problem
        self.weights = [x.patches for x in problem.start]
        self.states = [problem.descent.start(x) for x in self.weights]

    @abstractmethod
    def evaluate(self, count: int) -> FitStep:
        """Loss, error and gradient of the present weights, after `count` steps."""

    @abstractmethod
    def advance(self, count: int) -> None:
        """Take the `count`-th step, from 0."""

    @property
    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with, by name."""
        return self.problem.fingerprint

    def presented(self) -> Any:
        """The weights as users know them, arrays or graphs; in a list where every layer has its own."""
        found = [x.as_given for x in self.problem.averagings(self.weights)]
        return found if self.problem.own else found[0]

    def state(self) -> dict[str, Any]:
        """The arrays of a checkpoint: weights and states of the descent, numbered where there are several."""
        arrays: dict[str, Any] = {}
        for end, weights, state in zip(self._ends(), self.weights, self.states, strict=True):
            arrays |= {f"weights{end}": weights} | {f"state{end}.{name}": x for name, x in state.items()}
        return arrays

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the arrays of a checkpoint."""
        own = {name: like(array, self.problem.log_likelihood) for name, array in state.items()}
        self.weights = [own[f"weights{end}"] for end in self._ends()]
        starts = [f"state{end}." for end in self._ends()]
        self.states = [{k.removeprefix(s): x for k, x in own.items() if k.startswith(s)} for s in starts]

    def _ends(self) -> list[str]:
        """What the names of each layer's arrays end in; nothing where there is one."""
        count = len(self.problem.start)
        return [""] if count == 1 else [f"[{s}]" for s in range(count)]


class StepByStep(Fit):
    """Any layers, integrator, loss and descent, kernel by kernel."""

    def evaluate(self, count: int) -> FitStep:
        """Loss, error and gradient of the present weights, after `count` steps."""
        problem = self.problem
        averagings = problem.averagings(self.weights)
        flow = DeepFlow(averagings if problem.own else averagings[0], problem.times, solver=problem.solver)
        solution = flow.solve(problem.log_likelihood)
        value, g = problem.loss(solution.v, problem.truth)
        value = float(value)
        check_finite(value, count)  # before a gradient is made of it
        gradient = flow.gradient(solution, g, rank=problem.rank)
        derivatives = [x.patch_gradient(w) for x, w in zip(averagings, gradient.weights, strict=True)]
        if problem.tau:
            regularizers = [weight_regularizer(x, problem.tau / problem.truth.size) for x in self.weights]
            value += sum(regularizer.value for regularizer in regularizers)
            derivatives = [x + y.derivative for x, y in zip(derivatives, regularizers, strict=True)]
        size = sum(total(squared_norms(x, y)) for x, y in zip(self.weights, derivatives, strict=True)) ** 0.5
        self._derivatives = derivatives
        return FitStep(count, value, wrong_share(solution.v, problem.truth), size, gradient.rank, 0.0)

    def advance(self, count: int) -> None:
        """Take the `count`-th step, from 0, in every layer."""
        update = self.problem.descent.update
        steps = [update(*x, count) for x in zip(self.weights, self._derivatives, self.states, strict=True)]
        self.weights, self.states = [weights for weights, _ in steps], [state for _, state in steps]


class Recorded(Fit):
    """A step of fixed shape, replayed from a CUDA graph that is recorded at the first evaluation."""

    def __init__(self, problem: FitProblem, degree: int) -> None:
        super().__init__(problem)
        self._fixed = FixedStep(problem.log_likelihood, problem.truth, problem.times[0], degree, problem.descent)
        self._captured: CapturedStep | None = None

    def evaluate(self, count: int) -> FitStep:
        """Loss, error and gradient of the present weights; the step from them is made ready."""
        self._captured = self._captured or CapturedStep(self._fixed, self.weights[0], self.states[0])
        loss, wrong, size = self._captured.evaluate(count)
        return FitStep(count, loss, wrong, size, self._fixed.degree - 1, 0.0)

    def advance(self, count: int) -> None:
        """Take the step that was made ready."""
        assert self._captured is not None
        self._captured.advance()

    def presented(self) -> Any:
        """The weights as users know them, a copy."""
        self._read()
        return super().presented()

    def state(self) -> dict[str, Any]:
        """The arrays of a checkpoint, copies."""
        self._read()
        return super().state()

    def _read(self) -> None:
        """Copy the arrays of the recorded step."""
        if self._captured is not None:
            self.weights, self.states = [self._captured.weights], [self._captured.state]


def start_fit(problem: FitProblem) -> Fit:
    """Return the fit of a problem: recorded on a GPU where the step has a fixed shape, else kernel by kernel."""
    degree = recordable(problem)
    return StepByStep(problem) if degree is None else Recorded(problem, degree)


def recordable(problem: FitProblem) -> int | None:
    """The degree of the recorded Taylor series; None where the steps have to be taken kernel by kernel."""
    grid = problem.start[0]
    if len(problem.times) > 1 or not isinstance(grid, Grid) or grid.periodic or is_observed():
        return None  # a recorded kernel cannot be observed
    fixed = problem.loss is cosine_loss and problem.rank is None and problem.tau == 0
    if not (fixed and isinstance(problem.descent, Descent) and is_device_array(problem.log_likelihood)):
        return None
    return fixed_degree(problem.solver, problem.times[0])
