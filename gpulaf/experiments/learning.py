"""One descent loop for every gradient: what differs between two curves is the gradient or the step, nothing else."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..averaging.grid import Grid
from ..averaging.patches import uniform_weights
from ..flows.gradient import weight_gradient
from ..flows.linear import LinearFlow
from ..integrators import Krylov
from ..labeling.likelihood import distances, log_likelihood
from ..learning.loss import cosine_loss, weight_regularizer, wrong_share
from ..scenes import Scene
from .outcome import Row

#: Integration time T, scale ρ of the data, and strength τ of the regularizer per pixel.
TIME, RHO, TAU = 3.0, 0.1, 0.01


class Problem(NamedTuple):
    """A scene as the flow sees it."""

    scene: Scene
    #: ℓ, (J, H, W).
    likelihood: np.ndarray
    #: T.
    time: float = TIME


class Derivative(NamedTuple):
    """One evaluation at given weights."""

    #: Loss without regularizer.
    loss: float
    #: v(T), (J, H, W).
    v: np.ndarray
    #: ∂Ω, (N, H, W).
    weights: np.ndarray


#: From weights and problem to loss, solution and gradient.
Gradient = Callable[[np.ndarray, Problem], Derivative]


class Course(NamedTuple):
    """Where a descent ended, and a row for each state on the way."""

    weights: np.ndarray
    rows: list[Row]


def problem(scene: Scene, *, time: float = TIME, dtype: Any = np.float32, clean: bool = False) -> Problem:
    """The log-likelihood of a scene's noisy image, or of its clean one."""
    image = (scene.clean if clean else scene.image).astype(dtype)
    return Problem(scene, log_likelihood(distances(image, scene.prototypes), RHO), time)


def start(p: Problem) -> np.ndarray:
    """Uniform weights for a problem."""
    return uniform_weights(p.scene.truth.shape, dtype=p.likelihood.dtype)


def closed_form(integrator: Any = None, **options: Any) -> Gradient:
    """The closed-form gradient; rank 1 in a Krylov space of dimension 10 if nothing else is asked for."""
    integrator, options = integrator or Krylov(10), options or {"rank": 1}

    def gradient(weights: np.ndarray, p: Problem) -> Derivative:
        flow = LinearFlow(Grid(weights), p.likelihood)
        solution = integrator.solve(flow, p.time)
        value, g = cosine_loss(solution.v, p.scene.truth)
        return Derivative(value, solution.v, weight_gradient(flow, solution, g, **options).weights)

    return gradient


def labels(weights: np.ndarray, p: Problem) -> np.ndarray:
    """The labeling of a problem with given weights, (H, W)."""
    flow = LinearFlow(Grid(weights), p.likelihood)
    return Krylov(tol=1e-5).solve(flow, p.time, keep_basis=False).v.argmax(axis=0)


def descend(
    p: Problem,
    gradient: Gradient,
    descent: Any,
    steps: int,
    *,
    tau: float = 0.0,
    watch: Callable[[int, np.ndarray], Row] | None = None,
) -> Course:
    """Learn the weights of one problem from uniform ones, as :func:`gpulaf.fit_weights` does but with any gradient.

    Seconds count the gradients and the steps, not what is only looked at; `watch` adds columns to the rows.
    """
    weights = start(p)
    state, rows, seconds = descent.start(weights), [], 0.0
    for count in range(steps + 1):
        began = clock.perf_counter()
        loss, v, derivative = gradient(weights, p)
        if tau:
            penalty = weight_regularizer(weights, tau / p.scene.truth.size)
            loss, derivative = loss + penalty.value, derivative + penalty.derivative
        spent = clock.perf_counter() - began
        wrong = 100 * wrong_share(v, p.scene.truth)
        rows.append({"step": count, "loss": loss, "wrong %": wrong, "seconds": seconds})
        rows[-1] |= watch(count, weights) if watch else {}
        if count == steps:
            break
        began = clock.perf_counter()
        weights, state = descent.update(weights, derivative, state, count)
        seconds += spent + clock.perf_counter() - began
    return Course(weights, rows)
