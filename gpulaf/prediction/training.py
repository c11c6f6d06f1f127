"""Training of a predictor by Adam: batches of images, their loss and its derivative, validation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from inspect import signature
from math import cos, inf, pi
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import is_device_array
from ..backend.numbers import check_count, check_number
from ..backend.workers import in_order
from ..io.tensors import digest, qualified_name
from ..kernels._numba import threads
from ..learning.loop import Checkpoint, check_checkpoint, check_finite
from ..learning.loss import Loss, cosine_loss
from .model import WeightMap
from .objective import ImageLoss, Objective
from .prepared import PreparedImages
from .samples import Samples, batch_of, is_path
from .views import View

__all__ = ["PredictorTraining", "Training", "TrainingStep"]

#: Decay of Adam's moments, and what is added to the root of the second.
BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-8
#: Images that are worked on at the same time, at most.
AT_ONCE = 4


class TrainingStep(NamedTuple):
    """One row of the history: the state of the predictor before the step is taken."""

    #: Steps taken so far.
    step: int
    #: Mean loss over the images of the step.
    loss: float
    #: Share of the labeled pixels that are wrong, 0 to 1, mean over the images of the step. Without ground truth the
    #: share of the hidden pixels whose own value says another label, which noise alone makes positive.
    wrong: float
    #: Mean loss over all validation images; None in steps without validation.
    validation_loss: float | None
    #: Share of their labeled pixels that are wrong, mean over the images; without ground truth as `wrong`.
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
        Of Adam, for prototypes in units of the features, tangent vectors and log σ, or all numbers of a network.
    decay : bool
        Let the step size fall to 0 over the steps, along half a cosine: worth most with batches and crops.
    batch : int, optional
        Images per step, in one random order after the other; None takes every image each step.
    crop : int, optional
        Side in pixels of the random square of each image that a step looks at; None takes whole images.
    flips : bool
        Show each image mirrored and transposed, in one of eight ways at random: for images without an upright.
    warmup : int
        Steps over which the step size grows to its full value.
    loss : callable
        ``loss(v, truth)``: :func:`gpulaf.cosine_loss`, :func:`gpulaf.cross_entropy_loss` or your own. Without truths
        it is :class:`gpulaf.learning.NoisyLabelLoss` of the hidden pixels.
    balanced : bool
        Every class counts alike, however rare: ``loss(v, truth, class_weights=…)`` with weights inverse to the number
        of pixels.
    validate : int
        Steps from one validation to the next.
    patience : int, optional
        Stop after so many steps without a smaller validation loss.
    checkpoint : Checkpoint, optional
        Save the state on the way; a training that was killed and resumed ends in the same parameters bit for bit.
    seed : int
        Of batches and crops.
    memory : int, optional
        Bytes of prepared images to keep between steps, a quarter of the free memory if None; images that do not fit
        are read at every step. Results do not depend on it. The workers of a cluster keep none.
    """

    steps: int = 60
    step_size: float = 0.05
    decay: bool = False
    batch: int | None = None
    crop: int | None = None
    flips: bool = False
    warmup: int = 0
    loss: Callable[..., Loss] = cosine_loss
    balanced: bool = False
    validate: int = 1
    patience: int | None = None
    checkpoint: Checkpoint | None = None
    seed: int = 0
    memory: int | None = None

    def __post_init__(self) -> None:
        optional = {"batch": 1, "crop": 1, "patience": 1, "memory": 0}
        for name, least in ({"steps": 0, "validate": 1, "seed": 0, "warmup": 0} | optional).items():
            check_count(getattr(self, name), name, least, 2**63 - 1, optional=name in optional)
        check_checkpoint(self.checkpoint)
        check_number(self.step_size, "step_size", high=1e3, usual="0.003 of networks and 0.05 of prototypes are usual.")
        if not callable(self.loss):
            raise TypeError(f"loss is {self.loss!r}; accepted is a callable, as gpulaf.cross_entropy_loss.")
        if self.balanced and "class_weights" not in signature(self.loss).parameters:
            raise TypeError(
                f"loss {qualified_name(self.loss)} takes no class_weights, which balanced asks for. "
                "Add that keyword, or leave balanced out."
            )

    def size(self, count: int) -> float:
        """The step size of step `count`, from 0."""
        size = self.step_size * (0.5 * (1 + cos(pi * count / self.steps)) if self.decay else 1.0)
        return size * min(1.0, (count + 1) / (self.warmup + 1))

    def fingerprint(self) -> dict[str, str]:
        """Names and values that a checkpoint must agree with."""
        named = ("step_size", "batch", "crop", "flips", "warmup", "balanced", "validate", "seed")
        decay = f"over {self.steps} steps" if self.decay else "none"
        return {name: repr(getattr(self, name)) for name in named} | {
            "loss": qualified_name(self.loss),
            "decay": decay,
        }


class PredictorTraining:
    """A map from features to weights under Adam, for :func:`gpulaf.learning.loop.run`.

    Parameters
    ----------
    start : WeightMap
        Where it starts, on the host.
    objective : Objective
    samples, validation : Samples
        Images to learn from; images to choose the parameters by, or None.
    training : Training
    fingerprint : dict of str
        What a checkpoint must agree with besides `training` and `start`, by name.
    cluster : distributed.Client, optional
        Its workers evaluate the objective.
    hidden : int, optional
        Side of the cells in which a step hides one pixel each; validation images hide the same ones every time.

    Attributes
    ----------
    vector, first, second : (n,) float64 arrays
        The vector of the map, and the moments of Adam.
    kept, lowest : (n,) float64 array, float
        The vector of the smallest validation loss, and that loss; the start and ∞ without validation.
    """

    kind, row, watched = "training", TrainingStep, "validation_loss"

    def __init__(
        self,
        start: WeightMap,
        objective: Objective,
        samples: Samples,
        validation: Samples | None,
        training: Training,
        fingerprint: dict[str, str],
        cluster: Any = None,
        hidden: int | None = None,
    ) -> None:
        self.hidden = hidden
        self.share = "wrong" if hidden is None else "differs"
        self.objective, self.samples, self.validation = objective, samples, validation
        self.training, self.cluster, self._start = training, cluster, start
        self.vector = self.kept = start.vector
        self.first, self.second, self.lowest = np.zeros_like(self.vector), np.zeros_like(self.vector), inf
        self.fingerprint = fingerprint | training.fingerprint() | {"start": digest(start.vector)}
        self.prepared, self._workers = PreparedImages(objective.reader, training.memory), 1

    def evaluate(self, count: int) -> TrainingStep:
        """Loss and derivative, means over the images of the step in their order, and the validation."""
        training = self.training
        batch = batch_of(count, len(self.samples), training.batch, training.seed)
        view: View | None = View(training.crop, training.flips, self.hidden)
        view = None if view == View() else view
        views = ((k, view, (training.seed, count, k)) for k in batch)
        loss, wrong, derivative = self._mean(self.samples, views, gradient=True)
        check_finite(loss, count)
        check_finite(float(np.abs(derivative).sum()), count, "derivative of the loss")
        self._derivative = derivative
        row = TrainingStep(count, loss, wrong, None, None, 0.0)
        if self.validation is None or (count % training.validate and count != training.steps):
            return row
        held = None if self.hidden is None else View(hidden=self.hidden)
        whole = ((k, held, (k,)) for k in range(len(self.validation)))
        loss, wrong, _ = self._mean(self.validation, whole, gradient=False)
        if loss < self.lowest:
            self.kept, self.lowest = self.vector, loss
        return row._replace(validation_loss=loss, validation_wrong=wrong)

    def advance(self, count: int) -> None:
        """Take the `count`-th step of Adam, from 0."""
        self.first = BETA1 * self.first + (1 - BETA1) * self._derivative
        self.second = BETA2 * self.second + (1 - BETA2) * self._derivative**2
        root = np.sqrt(self.second / (1 - BETA2 ** (count + 1)))
        size = self.training.size(count)
        self.vector = self.vector - size * self.first / (1 - BETA1 ** (count + 1)) / (root + EPSILON)

    def presented(self) -> WeightMap:
        """The present map."""
        return self._start.moved(self.vector)

    def best(self) -> WeightMap:
        """The map of the smallest validation loss; the present one without validation."""
        return self._start.moved(self.kept) if np.isfinite(self.lowest) else self.presented()

    def state(self) -> dict[str, Any]:
        """The arrays of a checkpoint."""
        return {name: np.asarray(getattr(self, name)) for name in ("vector", "first", "second", "kept", "lowest")}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the arrays of a checkpoint."""
        self.vector, self.first, self.second, self.kept = (state[k] for k in ("vector", "first", "second", "kept"))
        self.lowest = float(state["lowest"])

    def _mean(
        self, samples: Samples, tasks: Iterable[tuple[int, View | None, tuple[int, ...]]], *, gradient: bool
    ) -> tuple[float, float, Any]:
        """Means of loss, error and derivative over the images k of tasks (k, view, seed)."""
        losses = self._on_workers if self.cluster is not None else self._here
        found = list(losses(samples, tasks, gradient))
        derivative = sum(x.derivative for x in found) / len(found) if gradient else None
        return float(np.mean([x.loss for x in found])), float(np.mean([x.wrong for x in found])), derivative

    def _here(self, samples: Samples, tasks: Iterable[Any], gradient: bool) -> Iterator[ImageLoss]:
        """Losses of images in their order; kept ones on the host as many at a time as there are cores, up to four."""
        weights = self.presented()

        def evaluate(task: Any) -> ImageLoss:
            k, view, seed = task
            prepared = self.prepared.get(samples, k, view, seed)
            alone = is_device_array(prepared.image) or self.prepared.spent
            self._workers = 1 if alone else min(AT_ONCE, threads())
            return self.objective(weights, prepared, gradient)

        return in_order(evaluate, tasks, self._workers)  # as many as were found last

    def _on_workers(self, samples: Samples, tasks: Iterable[Any], gradient: bool) -> Iterator[ImageLoss]:
        """Losses of images in their order, on the workers of the cluster, which read paths themselves."""
        weights, waiting = self.presented(), deque[Any]()
        most = 2 * max(1, len(self.cluster.nthreads()))
        for k, view, seed in tasks:
            if len(waiting) == most:
                yield waiting.popleft().result()
            item: Any = samples[k]
            if not all(x is None or is_path(x) for x in (*item[:3], item.mask)):
                item = self.cluster.scatter([item], hash=False)[0]
            task = (self.objective.of_item, weights, item, view, seed, gradient)
            waiting.append(self.cluster.submit(*task, pure=False))
        while waiting:
            yield waiting.popleft().result()
