"""The steps of a fit: weights are evaluated, then moved, kernel by kernel or as a recorded sequence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from ..averaging.grid import Grid
from ..backend.array import is_device_array, like, total
from ..backend.dispatch import is_observed
from .cuda_graph import CapturedStep, FixedStep, fixed_degree
from .descent import Descent, squared_norms
from .loop import check_finite
from .loss import cosine_loss, weight_regularizer, wrong_share
from .problem import ClosedForm, Evaluation, FitProblem, Gradient

__all__ = ["Fit", "FitStep", "Recorded", "StepByStep", "recordable", "start_fit"]


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


class Fit(ABC):
    """Weights that are learned, for :func:`gpulaf.learning.loop.run`.

    Parameters
    ----------
    problem : FitProblem
    gradient : Gradient
    descent : RiemannianGradient, RiemannianAdam, Adam or AdaMax
    tau : float
        Strength of the regularizer (3.5) per pixel.

    Attributes
    ----------
    weights : list of (H, N, W) arrays, (K, n) of a graph
        The present patches, of every layer or of all; they are never overwritten.
    states : list of dict of arrays
        Those of the descent.
    """

    kind, row, watched, share = "fit", FitStep, "loss", "wrong"

    def __init__(self, problem: FitProblem, gradient: Gradient, descent: Any, tau: float = 0.0) -> None:
        self.problem, self.gradient, self.descent, self.tau = problem, gradient, descent, tau
        self.weights = [x.patches for x in problem.start]
        self.states = [descent.start(x) for x in self.weights]

    @abstractmethod
    def evaluate(self, count: int) -> FitStep:
        """Loss, error and gradient of the present weights, after `count` steps."""

    @abstractmethod
    def advance(self, count: int) -> None:
        """Take the `count`-th step, from 0."""

    @property
    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with, by name."""
        gradient = self.gradient
        own = gradient.fingerprint if isinstance(gradient, ClosedForm) else {"gradient": repr(gradient)}
        return self.problem.fingerprint | own | {"descent": repr(self.descent), "tau": repr(self.tau)}

    def presented(self) -> Any:
        """The weights as users know them, arrays or graphs; in a list where every layer has its own."""
        found = [x.as_given for x in self.problem.averagings(self.weights[: len(self.problem.start)])]
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
    """Any layers, gradient and descent, kernel by kernel."""

    def evaluate(self, count: int) -> FitStep:
        """Loss, error and gradient of the present weights, after `count` steps."""
        loss, v, derivatives, rank, _ = self._evaluated()
        check_finite(loss, count)
        if self.tau:
            layers, tau = len(self.problem.start), self.tau / max(1, self.problem.count)
            regularizers = [weight_regularizer(x, tau) for x in self.weights[:layers]]
            loss += sum(regularizer.value for regularizer in regularizers)
            own = zip(derivatives[:layers], regularizers, strict=True)
            derivatives = [x + y.derivative for x, y in own] + derivatives[layers:]
        size = sum(total(squared_norms(x, y)) for x, y in zip(self.weights, derivatives, strict=True)) ** 0.5
        self._derivatives = derivatives
        return FitStep(count, loss, wrong_share(v, self.problem.truth), size, rank, 0.0)

    def _evaluated(self) -> Evaluation:
        """Loss and the derivatives in the patches."""
        averagings = self.problem.averagings(self.weights)
        found = self.gradient(self.problem, averagings)
        patches = [x.patch_gradient(w) for x, w in zip(averagings, found.weights, strict=bool(found.weights))]
        return found._replace(weights=patches)

    def advance(self, count: int) -> None:
        """Take the `count`-th step, from 0, in every layer."""
        layers = zip(self.weights, self._derivatives, self.states, strict=True)
        steps = [self.descent.update(*layer, count) for layer in layers]
        self.weights, self.states = [weights for weights, _ in steps], [state for _, state in steps]


class Recorded(Fit):
    """A step of fixed shape, replayed from a CUDA graph that is recorded at the first evaluation."""

    def __init__(self, problem: FitProblem, gradient: ClosedForm, descent: Descent, degree: int) -> None:
        super().__init__(problem, gradient, descent)
        self._fixed = FixedStep(problem.log_likelihood, problem.truth, problem.times[0], degree, descent)
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


def start_fit(problem: FitProblem, gradient: ClosedForm, descent: Any, tau: float = 0.0) -> Fit:
    """Return the fit of a problem: recorded on a GPU where the step has a fixed shape, else kernel by kernel."""
    degree = recordable(problem, gradient, descent, tau)
    if degree is None:
        return StepByStep(problem, gradient, descent, tau)
    return Recorded(problem, gradient, descent, degree)


def recordable(problem: FitProblem, gradient: ClosedForm, descent: Any, tau: float = 0.0) -> int | None:
    """The degree of the recorded Taylor series; None where the steps have to be taken kernel by kernel."""
    grid, (solver, loss, rank) = problem.start[0], (gradient.solver, gradient.loss, gradient.rank)
    if len(problem.times) > 1 or not isinstance(grid, Grid) or grid.periodic or is_observed():
        return None  # a recorded kernel cannot be observed
    fixed = loss is cosine_loss and rank is None and tau == 0 and isinstance(descent, Descent)
    return fixed_degree(solver, problem.times[0]) if fixed and is_device_array(problem.log_likelihood) else None
