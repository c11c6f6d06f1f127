"""Training of a prediction: images to weights to labelings to a loss, its derivative back, and Adam."""

from __future__ import annotations

import time as clock
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from itertools import islice
from math import cos, pi
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import reused
from ..integrators.base import Integrator
from ..io.tensors import digest, qualified_name, read_tensors, write_tensors
from ..learning.fitting import Checkpoint
from ..learning.loss import Loss, cosine_loss
from .dataset import Reader, Samples, batches, is_path
from .model import Parameters
from .objective import Outcome, Work, packed, unpacked

__all__ = ["Training", "TrainingStep"]

#: Decay of Adam's moments, and what is added to the root of the second.
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class TrainingStep(NamedTuple):
    """One row of the history: the state of the predictor before the step is taken."""

    #: Steps taken so far.
    step: int
    #: Mean loss over the images of the step.
    loss: float
    #: Wrong pixels in percent of the labeled ones, mean over the images of the step.
    wrong: float
    #: The same over all validation images; None where they were not looked at.
    validation_loss: float | None
    validation_wrong: float | None
    #: Seconds since the training began, over all its runs.
    seconds: float


@dataclass(frozen=True)
class Training:
    """How a :class:`gpulaf.WeightPredictor` is trained.

    Parameters
    ----------
    steps : int
        The most steps to take.
    step_size : float
        Of Adam, for the prototypes in units of the features, for the tangent vectors and for log σ.
    decay : bool
        Let the step size fall to 0 over the steps, along half a cosine: worth most with batches and crops.
    batch : int, optional
        Images per step, in one random order after the other; None takes every image each step.
    crop : int, optional
        Side in pixels of the random square of each image that a step looks at; None takes whole images.
    loss : callable
        ``loss(v, truth)``: :func:`gpulaf.cosine_loss`, :func:`gpulaf.cross_entropy_loss` or your own.
    balanced : bool
        Every class counts alike, however rare: ``loss(v, truth, class_weights=…)`` with weights inverse to the number
        of pixels.
    validate : int
        Steps between two looks at the validation images.
    patience : int, optional
        Stop after so many steps without a smaller validation loss.
    checkpoint : Checkpoint, optional
        Save the state on the way; a training that was killed and resumed ends in the same parameters bit for bit.
    seed : int
        Of batches and crops.
    """

    steps: int = 60
    step_size: float = 0.05
    decay: bool = False
    batch: int | None = None
    crop: int | None = None
    loss: Callable[..., Loss] = cosine_loss
    balanced: bool = False
    validate: int = 1
    patience: int | None = None
    checkpoint: Checkpoint | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("batch", 1), ("crop", 1), ("validate", 1), ("patience", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is None and name in ("batch", "crop", "patience"):
                continue
            if isinstance(value, bool) or int(value) != value or value < least:
                none = ", or None" if name in ("batch", "crop", "patience") else ""
                raise ValueError(f"{name} is {value}; accepted are whole numbers from {least}{none}.")
        if not 0 < self.step_size < float("inf"):
            raise ValueError(f"step_size is {self.step_size}; accepted are positive numbers. 0.05 is usual.")
        if self.balanced and "class_weights" not in signature(self.loss).parameters:
            raise TypeError(
                f"loss {qualified_name(self.loss)} takes no class_weights, which balanced asks for. "
                "Add that keyword, or leave balanced out."
            )

    def size(self, count: int) -> float:
        """The step size of step `count`, from 0."""
        return self.step_size * (0.5 * (1 + cos(pi * count / self.steps)) if self.decay else 1.0)


@dataclass(frozen=True, eq=False)
class Course:
    """Everything that stays the same during one training."""

    samples: Samples
    validation: Samples | None
    reader: Reader
    training: Training
    time: float
    integrator: Integrator
    #: How many linearized flows, and whether they share their tangent vectors.
    depth: tuple[int, bool]
    class_weights: np.ndarray
    #: Names and values that a checkpoint must agree with.
    fingerprint: dict[str, str]
    cluster: Any = None

    @property
    def work(self) -> Work:
        """What each image needs."""
        loss = self.training.loss
        if self.training.balanced:
            loss = partial(loss, class_weights=self.class_weights)
        return Work(self.reader, self.time, self.integrator, loss, *self.depth)

    def unpacked(self, vector: np.ndarray, K: int, F: int) -> Parameters:
        """The parameters in a vector."""
        layers, shared = self.depth
        return unpacked(vector, K, F, 1 if shared else layers)


@dataclass(eq=False)
class State:
    """Where a training stands: p, ν and log σ as one vector, Adam's moments, and the best vector so far."""

    vector: np.ndarray
    first: np.ndarray
    second: np.ndarray
    best: np.ndarray
    history: list[TrainingStep] = field(default_factory=list)

    @classmethod
    def start(cls, parameters: Parameters) -> State:
        """Moments of zero."""
        vector = packed(parameters._replace(sigma=float(np.log(parameters.sigma))))
        return cls(vector, np.zeros_like(vector), np.zeros_like(vector), vector)

    def step(self, derivative: np.ndarray, size: float, count: int) -> None:
        """The `count`-th step of Adam, from 0."""
        self.first = BETA1 * self.first + (1 - BETA1) * derivative
        self.second = BETA2 * self.second + (1 - BETA2) * derivative**2
        root = np.sqrt(self.second / (1 - BETA2 ** (count + 1)))
        self.vector = self.vector - size * self.first / (1 - BETA1 ** (count + 1)) / (root + EPSILON)


def train(
    course: Course,
    start: Parameters,
    callback: Callable[[TrainingStep, Parameters], object] | None = None,
    progress: bool | None = None,
) -> tuple[Parameters, list[TrainingStep], str]:
    """Learn the parameters: those of the smallest validation loss, or the last ones; the history; why it stopped."""
    from tqdm import tqdm

    from ..kernels._numba import compiling

    training, (K, F) = course.training, start.prototypes.shape
    state = _load(course, start) or State.start(start)
    history, steps = state.history, training.steps
    began = clock.perf_counter() - (history[-1].seconds if history else 0.0)
    first, reason = len(history), f"All {steps} steps were taken."
    turns = islice(batches(len(course.samples), training.batch, training.seed), first, None)
    hidden = None if progress is None else not progress
    bar = tqdm(total=steps, initial=first, desc="training", unit="step", disable=hidden)
    with bar, reused(), compiling(lambda _: bar.set_description("compiling kernels")):
        for count in range(first, steps + 1):
            row, derivative = _evaluate(course, state, (K, F), next(turns), count)
            row = row._replace(seconds=clock.perf_counter() - began)
            history.append(row)
            bar.set_description("training", refresh=False)
            bar.set_postfix_str(f"loss {row.loss:.4f}, wrong {row.wrong:.2f} %")
            if _best(history) == count:
                state.best = state.vector
            if callback is not None and callback(row, course.unpacked(state.vector, K, F)):
                reason = f"The callback ended the training after {count} steps."
                break
            if training.patience is not None and count - (_best(history) or 0) >= training.patience:
                reason = f"The validation loss did not fall for {training.patience} steps."
                break
            if count == steps:
                break
            state.step(derivative, training.size(count), count)
            bar.update()
            if training.checkpoint is not None and (count + 1) % training.checkpoint.every == 0:
                _save(course, state)
    best = _best(history)
    if best is None:
        return course.unpacked(state.vector, K, F), history, reason
    return course.unpacked(state.best, K, F), history, f"{reason} The parameters are those of step {best}."


def _best(history: list[TrainingStep]) -> int | None:
    """The step with the smallest validation loss, the first of them; None where none was computed."""
    looked = [row for row in history if row.validation_loss is not None]
    return min(looked, key=lambda row: row.validation_loss or 0.0).step if looked else None


def _evaluate(
    course: Course, state: State, size: tuple[int, int], turn: list[int], count: int
) -> tuple[TrainingStep, np.ndarray]:
    """Loss and derivative, means over the images of a turn, summed in their order; and the validation."""
    training, (K, _) = course.training, size
    crops = ((training.crop, (training.seed, count, k), True) for k in turn)
    values, wrong, derivative = [], [], np.zeros_like(state.vector)
    for outcome in _outcomes(course, state.vector, K, course.samples, zip(turn, crops, strict=True)):
        values.append(outcome.loss)
        wrong.append(outcome.wrong)
        derivative += outcome.derivative
    if not (np.isfinite(values).all() and np.isfinite(derivative).all()):
        raise FloatingPointError(
            f"the loss is {np.mean(values)} after {count} steps. Take a shorter time or a smaller step_size."
        )
    row = TrainingStep(count, float(np.mean(values)), float(np.mean(wrong)), None, None, 0.0)
    if course.validation is not None and (count % training.validate == 0 or count == training.steps):
        everything = ((k, (None, (), False)) for k in range(len(course.validation)))
        looked = list(_outcomes(course, state.vector, K, course.validation, everything))
        means = [float(np.mean([outcome[i] for outcome in looked])) for i in (0, 1)]
        row = row._replace(validation_loss=means[0], validation_wrong=means[1])
    return row, derivative / len(turn)


def _outcomes(
    course: Course, vector: np.ndarray, K: int, samples: Samples, tasks: Iterable[tuple[int, tuple[Any, ...]]]
) -> Iterator[Outcome]:
    """The outcomes of images in their order, one image at a time, or on the workers of a cluster."""
    work = course.work
    if course.cluster is None:
        for k, options in tasks:
            yield work(vector, K, samples[k], *options)
        return
    waiting: deque[Any] = deque()
    most = 2 * max(1, len(course.cluster.nthreads()))
    for k, options in tasks:
        if len(waiting) == most:
            yield waiting.popleft().result()
        item: Any = samples[k]
        if not all(x is None or is_path(x) for x in item[:3]):  # paths are read by the workers
            item = course.cluster.scatter([item], hash=False)[0]
        waiting.append(course.cluster.submit(work, vector, K, item, *options, pure=False))
    while waiting:
        yield waiting.popleft().result()


def fingerprint(course_options: dict[str, Any], training: Training, start: Parameters) -> dict[str, str]:
    """What a checkpoint must agree with, by name."""
    named = {name: getattr(training, name) for name in ("step_size", "batch", "crop", "balanced", "validate", "seed")}
    own = {"loss": qualified_name(training.loss), "start": digest(packed(start))}
    own["decay"] = f"over {training.steps} steps" if training.decay else "none"
    return {k: v if isinstance(v, str) else repr(v) for k, v in (course_options | named).items()} | own


def _save(course: Course, state: State) -> None:
    arrays = {name: getattr(state, name) for name in ("vector", "first", "second", "best")}
    metadata = {"fingerprint": course.fingerprint, "history": [list(row) for row in state.history]}
    assert course.training.checkpoint is not None
    write_tensors(course.training.checkpoint.path, "training", arrays, metadata)


def _load(course: Course, start: Parameters) -> State | None:
    checkpoint = course.training.checkpoint
    if checkpoint is None or not Path(checkpoint.path).exists():
        return None
    if not checkpoint.resume:
        raise FileExistsError(f"{checkpoint.path} exists. Resume from it, or name another checkpoint.")
    arrays, metadata = read_tensors(checkpoint.path, "training")
    different = [name for name, value in course.fingerprint.items() if metadata["fingerprint"].get(name) != value]
    if different:
        raise ValueError(
            f"{checkpoint.path} belongs to a training with other {', '.join(different)}. "
            "Resume with the same images and options, or name another checkpoint."
        )
    history = [TrainingStep(*row) for row in metadata["history"]]
    if len(history) > course.training.steps:
        raise ValueError(
            f"{checkpoint.path} has taken {len(history)} steps, not {course.training.steps}. "
            f"Ask for {len(history)} steps or more."
        )
    return State(**{name: arrays[name] for name in ("vector", "first", "second", "best")}, history=history)
