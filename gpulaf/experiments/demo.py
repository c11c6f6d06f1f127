"""The whole method on a synthetic scene: pixelwise labels, uniform weights, learned weights."""

from __future__ import annotations

import time as clock
from typing import Any, NamedTuple

import numpy as np

from ..averaging.grid import Grid
from ..averaging.patches import uniform_weights
from ..backend.array import device_array, host_array
from ..flows.linear import LinearFlow
from ..integrators import Krylov
from ..labeling.likelihood import distances, log_likelihood
from ..learning.descent import RiemannianGradient
from ..learning.fitting import FitOptions, FitResult, fit_weights
from ..scenes import Scene, voronoi_colors, voronoi_lines

__all__ = ["SCENES", "Demo", "run_demo"]

#: Scene and step size per pixel that suits it.
SCENES = {"colors": (voronoi_colors, 1.0), "lines": (voronoi_lines, 0.1)}


class Demo(NamedTuple):
    """The result of :func:`run_demo`."""

    scene: Scene
    #: Title to (H, W) labels.
    panels: dict[str, np.ndarray]
    fit: FitResult
    #: Seconds of the fit, the first use of every kernel included.
    seconds: float

    def wrong(self, title: str) -> float:
        """Share of the pixels of a panel that are wrong, 0 to 1."""
        return float(np.mean(self.panels[title] != self.scene.truth))


def run_demo(
    name: str, *, size: int = 128, seed: int = 0, steps: int = 50, device: str = "auto", progress: bool | None = None
) -> Demo:
    """Make a scene, label it in three ways and learn its weights.

    Parameters
    ----------
    name : "colors" or "lines"
    size : int
        Pixels on a side.
    seed : int
    steps : int
        Descent steps.
    device : "auto", "cpu" or "gpu"
    progress : bool, optional
        Progress bar on standard error; None shows it where that is a terminal.
    """
    make, step = SCENES[name]
    scene = make(size, seed=seed)
    D = distances(scene.image.astype(np.float32), scene.prototypes)
    likelihood = device_array(log_likelihood(D, 0.1), device)
    time, solver = 3.0, Krylov(10)

    def labels(weights: Any) -> np.ndarray:
        flow = LinearFlow(Grid(device_array(weights, device)), likelihood)
        return host_array(solver.solve(flow, time, keep_basis=False).v).argmax(axis=-2)

    began = clock.perf_counter()
    result = fit_weights(
        likelihood,
        scene.truth,
        time=time,
        solver=solver,
        descent=RiemannianGradient(step),
        steps=steps,
        options=FitOptions(rank=1, progress=progress),
    )
    seconds = clock.perf_counter() - began
    panels = {
        "pixelwise": D.argmin(axis=-2),
        "uniform weights": labels(uniform_weights((size, size))),
        "learned weights": labels(result.weights),
    }
    return Demo(scene, panels, result, seconds)
