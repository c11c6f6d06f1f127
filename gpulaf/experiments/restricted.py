"""Learning in a subspace: the weights of an image, log Ω = log Ω₀ + P z, and what a predictor learns, θ = θ₀ + P z.

Both have the closed-form gradient ∂z = Pᵀ ∂θ, where ∂θ = Ω∘(∂Ω − ⟨Ω, ∂Ω⟩) for log-weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..averaging.grid import Grid
from ..flows.deep import DeepFlow, DeepGradient
from ..integrators import Taylor
from ..integrators.base import Integrator
from ..learning.problem import ClosedForm, Gradient
from ..prediction.fitted import FittedPredictor
from ..prediction.model import BoundMap, WeightMap
from ..prediction.training import Training
from ..scenes import Scene
from ..simplex import replicator, softmax
from .learning import SceneProblem
from .random_subspace import Subspace
from .result import Row

#: Decay of the two means of the descent.
BETA1, BETA2 = 0.9, 0.99


@dataclass(frozen=True, eq=False)
class LogWeights:
    """The weights of an image as a function of z, (d,), and a loss of theirs.

    Parameters
    ----------
    problem : SceneProblem
        Where z = 0 is, its start, and the data.
    gradient : callable
        Loss and ∂Ω.
    subspace : Subspace
        In the space of the HNW log-weights, where those outside the image count for nothing; None is all of it.
    """

    problem: SceneProblem
    gradient: Gradient
    subspace: Subspace | None = None

    @property
    def dimension(self) -> int:
        """d."""
        return self.problem.uniform_weights.size if self.subspace is None else self.subspace.dimension

    def shift(self, z: np.ndarray) -> np.ndarray:
        """P z, (n,)."""
        return z if self.subspace is None else self.subspace.lift(z)

    def weights(self, z: np.ndarray) -> np.ndarray:
        """Ω, (H, N, W) in the dtype of the problem."""
        start = self.problem.uniform_weights
        outside = np.where(start > 0, 0.0, -np.inf)
        logs = np.log(np.where(start > 0, start, 1.0)) + self.shift(z).reshape(start.shape)
        return softmax(logs + outside).astype(start.dtype)

    def evaluate(self, z: np.ndarray) -> tuple[float, np.ndarray, float]:
        """Loss, its derivative in z, and wrong pixels in percent."""
        weights = self.weights(z)
        found = self.gradient(self.problem, [Grid(weights)])
        slope = replicator(weights, found.weights[0]).astype(np.float64).ravel()
        wrong = 100 * float(np.mean(found.v.argmax(axis=-2) != self.problem.truth))
        return found.loss, slope if self.subspace is None else self.subspace.project(slope), wrong


def descend(logs: LogWeights, step: float, steps: int) -> tuple[np.ndarray, list[Row]]:
    """Adam with one second moment for all numbers: z ← z − h m̂/√ŝ, s the mean of ‖∂z‖²/d; z of every state, and rows.

    The same descent in any orthonormal coordinates, since it only knows lengths: all dimensions of a random basis give
    what log-weights themselves give. h is the change of a log-weight in a step, in the root mean square.
    """
    z = first = np.zeros(logs.dimension)
    second, path, rows = 0.0, [], list[Row]()
    for count in range(steps + 1):
        loss, slope, wrong = logs.evaluate(z)
        path.append(z)
        rows.append({"step": count, "loss": loss, "wrong %": wrong})
        first = BETA1 * first + (1 - BETA1) * slope
        second = BETA2 * second + (1 - BETA2) * float(np.mean(slope * slope))
        root = (second / (1 - BETA2 ** (count + 1))) ** 0.5 or 1.0
        z = z - step / (1 - BETA1 ** (count + 1)) / root * first
    return np.array(path), rows


class Trained(NamedTuple):
    """One training."""

    #: Loss and wrong pixels in percent, at the start and at the end.
    start: tuple[float, float]
    end: tuple[float, float]
    #: z of every state, (steps + 1, d).
    path: np.ndarray


def train_weights(p: SceneProblem, steps: int, space: Subspace | None, step: float) -> Trained:
    """The weights of an image, from uniform ones."""
    path, rows = descend(LogWeights(p, ClosedForm(Taylor(10)), space), step, steps)
    start, end = ((row["loss"], row["wrong %"]) for row in (rows[0], rows[-1]))
    return Trained(start, end, path)


class RestrictedMap:
    """A map from features to weights whose numbers move in a subspace, as training moves it.

    Parameters
    ----------
    start : WeightMap
        The map at z = 0.
    subspace : Subspace
        In the space of its vector.
    vector : (d,) float64 array, optional
        z.
    """

    def __init__(self, start: WeightMap, subspace: Subspace, vector: np.ndarray | None = None) -> None:
        self._start, self._subspace = start, subspace
        self.vector = np.zeros(subspace.dimension) if vector is None else vector
        self.whole = start.moved(start.vector + subspace.lift(self.vector))

    @property
    def radius(self) -> int:
        """Of the weight patches."""
        return self.whole.radius

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """Those of the whole map."""
        return self.whole.tensors

    def moved(self, vector: np.ndarray) -> RestrictedMap:
        """The map with another z."""
        return RestrictedMap(self._start, self._subspace, vector)

    def bound(self, features: Any, valid: Any = None) -> RestrictedBound:
        """The map on an image with features (H, F, W)."""
        return RestrictedBound(self.whole.bound(features, valid), self._subspace)

    def reach_with(self, reach: int) -> int:
        """Pixels that the weights of a pixel look around."""
        return self.whole.reach_with(reach)

    def workspace(self) -> int:
        """Numbers per pixel that are held while the weights are made."""
        return self.whole.workspace()


@dataclass(frozen=True, eq=False)
class RestrictedBound:
    """A map on one image, and the derivative in z."""

    whole: BoundMap
    subspace: Subspace

    @property
    def layers(self) -> Any:
        """Weights or stages."""
        return self.whole.layers

    @property
    def learns_times(self) -> bool:
        """Whether the derivative needs those in the times."""
        return self.whole.learns_times

    def flow(self, times: Sequence[float], solver: Integrator) -> DeepFlow:
        """The flow with these weights."""
        return self.whole.flow(times, solver)

    def keep(self) -> RestrictedBound:
        """Let it keep what the derivative needs."""
        return RestrictedBound(self.whole.keep(), self.subspace)

    def derivative(self, gradient: DeepGradient) -> np.ndarray:
        """∂z = Pᵀ ∂θ."""
        return self.subspace.project(self.whole.derivative(gradient))


def in_subspace(predictor: FittedPredictor, subspace: Callable[[int], Subspace]) -> FittedPredictor:
    """The same predictor, which learns in a subspace that is made for the length of its vector."""

    class Restricted(type(predictor)):  # type: ignore[misc]
        """Learns z of θ = θ₀ + P z."""

        def starting_map(self, *images: Any) -> tuple[RestrictedMap, np.ndarray]:
            """The same start, z = 0."""
            start, scale = super().starting_map(*images)
            return RestrictedMap(start, subspace(len(start.vector))), scale

    return Restricted(**predictor.get_params(deep=False))


def train_predictor(
    make: Callable[..., FittedPredictor],
    known: list[Scene],
    unseen: list[Scene],
    steps: int,
    space: Subspace | None,
    step: float,
) -> Trained:
    """A predictor of noisy lines: its loss on the images that it learns from, its wrong pixels on unseen ones."""
    training = Training(steps=steps, step_size=step, decay=True, validate=max(1, steps))
    predictor: FittedPredictor = make(solver=Taylor(10), training=training)
    path: list[np.ndarray] = []
    if space is not None:
        predictor = in_subspace(predictor, lambda _: space)
    predictor.fit(
        *_data(known), validation=_data(unseen), progress=False, callback=lambda _, found: path.append(found.vector)
    )
    start, end = ((row.loss, 100 * (row.validation_wrong or 0.0)) for row in (predictor.history_[i] for i in (0, -1)))
    return Trained(start, end, np.array(path) - path[0])


def _data(scenes: list[Scene]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [scene.image.astype(np.float32) for scene in scenes], [scene.truth for scene in scenes]
