"""Scenes as problems of a fit, and their descents: between two curves only the gradient or the step differs."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..averaging.grid import Grid
from ..averaging.patches import uniform_weights
from ..flows.linear import LinearFlow
from ..integrators import Krylov
from ..labeling.likelihood import distances, log_likelihood
from ..learning.loop import run
from ..learning.problem import ClosedForm, FitProblem, Gradient
from ..learning.stepper import FitStep, StepByStep
from ..scenes import Scene
from .result import Row

#: Integration time T, scale ρ of the data, and strength τ of the regularizer per pixel.
TIME, RHO, TAU = 3.0, 0.1, 0.01

#: The closed-form gradient of rank 1 in a Krylov space of dimension 10.
RANK_ONE = ClosedForm(Krylov(10), rank=1)


@dataclass(frozen=True, eq=False, kw_only=True)
class SceneProblem(FitProblem):
    """A scene whose weights are learned from uniform ones, in one layer."""

    scene: Scene

    @property
    def time(self) -> float:
        """T."""
        return self.times[0]

    @property
    def uniform_weights(self) -> np.ndarray:
        """The weights that the descent starts from, (H, 9, W)."""
        return self.start[0].weights

    def flow(self, weights: np.ndarray) -> LinearFlow:
        """The linearized flow with given weights."""
        return LinearFlow(Grid(weights), self.log_likelihood)


class SceneFit(NamedTuple):
    """The weights at the end of a descent, and a row for each state on the way."""

    weights: np.ndarray
    rows: list[Row]


def scene_likelihood(scene: Scene, dtype: Any = np.float32, *, clean: bool = False) -> np.ndarray:
    """ℓ of a scene's noisy image, or of its clean one, (H, J, W)."""
    image = (scene.clean if clean else scene.image).astype(dtype)
    return log_likelihood(distances(image, scene.prototypes), RHO)


def scene_problem(scene: Scene, *, time: float = TIME, dtype: Any = np.float32, clean: bool = False) -> SceneProblem:
    """The problem of a scene's noisy image, or of its clean one."""
    start = Grid(uniform_weights(scene.truth.shape, dtype=np.dtype(dtype)))
    likelihood = scene_likelihood(scene, dtype, clean=clean)
    return SceneProblem(likelihood, scene.truth.astype(np.int32), [start], [time], scene=scene)


def labels(weights: np.ndarray, p: SceneProblem) -> np.ndarray:
    """The labeling of a problem with given weights, (H, W)."""
    return Krylov(tol=1e-5).solve(p.flow(weights), p.time, keep_basis=False).v.argmax(axis=-2)


def descend(
    p: SceneProblem,
    gradient: Gradient,
    descent: Any,
    steps: int,
    *,
    tau: float = 0.0,
    watch: Callable[[int, np.ndarray], Row] | None = None,
) -> SceneFit:
    """Learn the weights of a problem, as :func:`gpulaf.fit_weights` does but with any gradient.

    Seconds count from the first gradient on, without what is only looked at; `watch` adds columns to the rows.
    """
    rows: list[Row] = []
    looked = 0.0

    def tell(row: FitStep, weights: np.ndarray) -> None:
        nonlocal looked
        began, looked = clock.perf_counter(), looked if rows else row.seconds
        seen = watch(row.step, weights) if watch else {}
        numbers = {"step": row.step, "loss": row.loss, "wrong %": 100 * row.wrong, "seconds": row.seconds - looked}
        rows.append(numbers | seen)
        looked += clock.perf_counter() - began

    fit = StepByStep(p, gradient, descent, tau)
    run(fit, steps=steps, callback=tell, progress=False)
    return SceneFit(fit.presented(), rows)
