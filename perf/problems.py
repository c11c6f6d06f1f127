"""Images that are learned from and unseen ones, of every part of `quality.py`, as cases with a cost of every label."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from baselines import Case
from judging import Problem
from learning import probabilities

import gpulaf
from gpulaf.fields import to_rows
from gpulaf.io import read_image
from gpulaf.io.truth import read_values

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


class Sizes(NamedTuple):
    """How much is measured."""

    #: Of scenes: their side, how many are learned from and unseen, and on how many settings are chosen.
    side: int = 128
    scenes: int = 90
    unseen: int = 10
    tuning: int = 5
    #: Of real images: the side of the middle that is used, of that on which settings are chosen, and of how many.
    whole: int | None = None
    middle: int = 192
    middles: int = 10


QUICK = Sizes(32, 3, 2, 2, 96, 32, 2)


def noisy(name: str, make: Callable[..., gpulaf.scenes.Scene], noise: float, sizes: Sizes) -> Problem:
    """Scenes; the seeds of those to learn from are below 100, those of unseen ones from 500."""
    seeds = [*range(sizes.scenes), *range(500, 500 + sizes.unseen)]
    scenes = [make(sizes.side, noise=noise, seed=seed) for seed in seeds]
    images = [scene.image.astype(np.float32) for scene in scenes]
    cases = normal(images, [scene.truth for scene in scenes], sizes.scenes)
    known = cases[: sizes.scenes]
    return Problem(name, known, known[: sizes.tuning], cases[sizes.scenes :])


def normal(images: Sequence[np.ndarray], truths: Sequence[np.ndarray], known: int) -> list[Case]:
    """Costs of normal noise, ‖f − mean of the label‖²/2σ², with means and σ² of the images to learn from."""
    pixels, labels = (np.concatenate([x.reshape(-1, *x.shape[2:]) for x in xs[:known]]) for xs in (images, truths))
    means = np.array([pixels[labels == j].mean(axis=0) for j in range(labels.max() + 1)])
    variance = float(np.mean((pixels - means[labels]) ** 2))
    distances = gpulaf.labeling.distances
    costs = [(distances(x, means, "sqeuclidean") / (2 * variance)).astype(np.float32) for x in images]
    return [Case(*each) for each in zip(images, truths, costs, strict=True)]


def real(folder: str, ending: str, count: int, known: int, sizes: Sizes) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Images (H, W, 1) and truths; a class that those to learn from do not have is no truth."""
    if not (DATA / folder).is_dir():
        sys.exit(f"{DATA / folder} does not exist. Put the folder of real images beside the checkout, or run others.")
    paths = [(DATA / folder / f"image_{k:02d}.{ending}", DATA / folder / f"truth_{k:02d}.png") for k in range(count)]
    images = [read_image(image).astype(np.float32)[..., None] / 255 for image, _ in paths]
    values = [read_values(truth) for _, truth in paths]
    if sizes.whole is not None:
        images, values = ([middle(x, sizes.whole) for x in xs] for xs in (images, values))
    classes = np.unique(np.concatenate(values[:known]))
    at = [np.searchsorted(classes, x).clip(0, len(classes) - 1) for x in values]
    return images, [np.where(classes[k] == x, k, -1).astype(np.int32) for k, x in zip(at, values, strict=True)]


def middle(array: np.ndarray, side: int) -> np.ndarray:
    """The square in the middle of an image (H, W, …)."""
    y, x = ((n - side) // 2 for n in array.shape[:2])
    return array[y : y + side, x : x + side]


def middles(cases: Sequence[Case], sizes: Sizes) -> list[Case]:
    """The cases on which settings are chosen."""
    return [case.middle(sizes.middle) for case in cases[: sizes.middles]]


def micrographs(sizes: Sizes) -> Problem:
    """Learned on 00 … 09, told of 10 … 14, from the grey value."""
    cases = normal(*real("em", "png", 15, 10, sizes), known=10)
    return Problem("em", cases[:10], middles(cases[:10], sizes), cases[10:], cells=True)


def classified(name: str, sizes: Sizes, submit: Callable[..., Any]) -> Problem:
    """The same, or 04, 05 of vnc learned on 00 … 03, behind a classifier that has not seen the image."""
    of_em = name == "soft"
    folder, ending, count, known = ("em", "png", 15, 10) if of_em else ("vnc", "tif", 6, 4)
    images, truths = real(folder, ending, count, known, sizes)
    first, last = list(range(known // 2)), list(range(known // 2, known))
    sources = ((last, first), (first, last), (first + last, list(range(known, count))))
    labels = 1 + max(int(truth.max()) for truth in truths)
    futures = [
        submit(probabilities, name, [images[k] for k in a], [truths[k] for k in a], [images[k] for k in b], labels)
        for a, b in sources
    ]
    found = [p for future in futures for p in future.result()]
    costs = [-np.log(to_rows(p)) for p in found]
    cases = [Case(*each) for each in zip(images, truths, costs, strict=True)]
    return Problem(name, cases[:known], middles(cases[:known], sizes), cases[known:], soft=True, cells=of_em)
