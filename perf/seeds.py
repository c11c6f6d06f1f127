"""Do seeds grow into better labels than by a random walker, and how long does each take?

`gpulaf.label_seeds` beside `skimage.segmentation.random_walker` (exact, mode "bf", and by conjugate gradients, "cg_j")
on the same markers: thin lines and cells of eight colors with markers at random pixels, and cells between lines with
five marked pixels each, which all look alike. Settings of both are chosen on one scene and told on others; beside them
the defaults. Wrong pixels in %, of those without a marker; processor seconds of one image.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from measure import Rows, command, save
from scipy.ndimage import binary_erosion, label

import gpulaf
from gpulaf.averaging import BilateralWeights


class Seeded(NamedTuple):
    """An image with marked pixels; label j is j + 1 in the markers, and −1 no truth."""

    image: np.ndarray
    truth: np.ndarray
    markers: np.ndarray


def at_random(scene: Any, share: float, rng: np.random.Generator) -> Seeded:
    """Markers at this share of the pixels, and at one pixel of each label at least."""
    markers = np.where(rng.random(scene.truth.shape) < share, scene.truth + 1, 0)
    for j in np.unique(scene.truth):
        markers.flat[rng.choice(np.flatnonzero(scene.truth == j))] = j + 1
    return Seeded(scene.image.astype(np.float32), scene.truth, markers)


def in_cells(scene: Any, rng: np.random.Generator) -> Seeded:
    """Each cell between lines is an object of its own, with markers at five pixels inside."""
    cells, count = label(scene.truth)
    markers = np.zeros_like(cells)
    for cell in range(1, count + 1):
        inside = binary_erosion(cells == cell, iterations=2)
        places = np.flatnonzero(inside if inside.any() else cells == cell)
        markers.flat[rng.choice(places, min(5, len(places)), replace=False)] = cell
    return Seeded(scene.image.astype(np.float32), cells - 1, markers)


def problems(side: int, seed: int) -> Iterator[tuple[str, Seeded]]:
    rng, cells = np.random.default_rng(seed), max(4, side * side // 800)
    lines = gpulaf.scenes.voronoi_lines(side, sites=cells, seed=seed)
    yield "lines, 3 % marked", at_random(lines, 0.03, rng)
    yield "colors, 1 % marked", at_random(gpulaf.scenes.voronoi_colors(side, noise=0.3, seed=seed), 0.01, rng)
    yield "cells, 5 pixels each", in_cells(lines, rng)


def seeds(case: Seeded, rho: float | None = 0.1, contrast: float | None = 0.1, sigma: float | None = None) -> Any:
    weights = None if sigma is None else BilateralWeights(sigma)
    return gpulaf.label_seeds(case.image, case.markers, rho=rho, contrast=contrast, weights=weights).labels


def walker(case: Seeded, mode: str, beta: float = 130) -> Any:
    from skimage.segmentation import random_walker

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of probabilities that are not quite
        return random_walker(case.image, case.markers, beta=beta, mode=mode, channel_axis=-1)


Settings = list[dict[str, Any]]
SCALES = ((0.1, 0.05), (0.1, 0.1), (0.1, 0.3), (0.1, None), (None, 0.1), (None, 0.3))
OURS: Settings = [{"rho": r, "contrast": c, "sigma": s} for (r, c), s in product(SCALES, (None, 0.2))]
BETAS: Settings = [{"beta": beta} for beta in (10, 50, 130, 500)]
METHODS: dict[str, tuple[Callable[..., Any], Settings]] = {
    "label_seeds": (seeds, OURS),
    "random walker, bf": (lambda case, **chosen: walker(case, "bf", **chosen), BETAS),
    "random walker, cg_j": (lambda case, **chosen: walker(case, "cg_j", **chosen), BETAS),
}


def tried(call: Callable[..., Any], case: Seeded, settings: dict[str, Any]) -> tuple[float, float]:
    """Wrong pixels in %, of those that are not marked, and processor seconds."""
    began = time.process_time()
    labels = call(case, **settings)
    known = (case.truth >= 0) & (case.markers == 0)
    return 100 * float(np.mean((labels - 1 != case.truth)[known])), time.process_time() - began


def main() -> None:
    asked = command(__doc__, needs=("skimage",), side=(96, 24), scenes=(3, 1))
    known = dict(problems(asked.side, 1000))
    unseen = [dict(problems(asked.side, seed)) for seed in range(asked.scenes)]
    rows: Rows = []
    for problem, case in known.items():
        for name, (call, grid) in METHODS.items():
            best = min(grid, key=lambda chosen, call=call, case=case: tried(call, case, chosen)[0])
            found = np.array([[tried(call, scenes[problem], x) for scenes in unseen] for x in (best, {})]).mean(axis=1)
            said = ", ".join(f"{key} {value}" for key, value in best.items())
            rows.append({
                "markers": problem, "method": name, "% wrong": found[0, 0], "s": found[0, 1], "chosen": said,
                "% wrong, defaults": found[1, 0],
            })  # fmt: skip
    told = []
    for problem in known:
        ours, *walkers = (row for row in rows if row["markers"] == problem)
        theirs = min(walkers, key=lambda row: row["% wrong"])
        errors, seconds = (f"{ours[key]:.2f} against {theirs[key]:.2f}" for key in ("% wrong", "s"))
        told.append(f"{problem}: {errors} % in {seconds} s")
    save(rows, f"Wrong pixels at {asked.side}² by label_seeds against the better random walker: {'; '.join(told)}.")


if __name__ == "__main__":
    main()
