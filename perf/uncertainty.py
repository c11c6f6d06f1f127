"""Does the flip probability of 16 runs order pixels as 200 draws of noise do, and how much less time does it take?

On the paper's scenes with the paper's noise (0.3 on lines, 0.55 on colors), T = 3. A draw adds another noise of that
size to the noisy image and labels it as a user would; what counts is the share of draws in which a pixel changes its
label. Beside `Uncertainty(sigma)` of 16 runs and of 8: 16 probes of J = ∂v/∂ℓ at the image, which is exact for small
noise; the normal distribution by the mean and variance of ten draws; and 200 other draws. Weights are uniform, learned
on this very image, or those of a predictor, which are made anew in every draw and every run; probes of J keep them.
Rank correlation (Spearman) over all pixels, and over those that flip in some draw: where most never do, ties bound the
first one, and that of the other draws shows how far. Mean of the probability, and of the share of draws, in %.
Processor seconds of the draws over those of the method, on one thread, all in one process.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from measure import Rows, command, one_thread, save
from scipy.stats import norm, spearmanr

import gpulaf
from gpulaf.flows import DeepFlow, Tangent
from gpulaf.labeling import distances, log_likelihood
from gpulaf.labeling.noise import SignPatterns, noise_level
from gpulaf.prediction import Training

NOISE = {"lines": 0.3, "colors": 0.55}
SCENES = {"lines": gpulaf.scenes.voronoi_lines, "colors": gpulaf.scenes.voronoi_colors}
TIME = 3.0


class Case(NamedTuple):
    """A labeling whose uncertainty is found."""

    name: str
    weights: str
    rho: float
    make: Callable[[Any], gpulaf.Labeler]


def scene(name: str, side: int, seed: int) -> Any:
    return SCENES[name](side, sites=max(16, side * side // (550 if name == "lines" else 330)), seed=seed)


def learned(name: str, rho: float, steps: int, scene: Any) -> gpulaf.Labeler:
    """Weights of this image, by its truth."""
    field = log_likelihood(distances(scene.image.astype(np.float32), scene.prototypes), rho)
    fit = gpulaf.fit_weights(field, scene.truth, time=TIME, steps=steps)
    return gpulaf.Labeler(scene.prototypes, fit.weights, rho, TIME)


def cases(asked: Any) -> list[Case]:
    found = []
    for name in SCENES:
        for rho in (0.1, 0.5):
            make = lambda s, rho=rho: gpulaf.Labeler(s.prototypes, None, rho, TIME)  # noqa: E731
            found.append(Case(name, "uniform", rho, make))
        found.append(Case(name, "of the image", 0.1, partial(learned, name, 0.1, asked.steps)))
        known = [scene(name, asked.side, seed) for seed in range(asked.train)]
        predictor = gpulaf.WeightPredictor(rho=0.1, time=TIME, training=Training(steps=asked.steps))
        predictor.fit([s.image.astype(np.float32) for s in known], [s.truth for s in known], progress=False)
        labeler = predictor.labeler()
        found.append(Case(name, "predicted", 0.1, lambda s, labeler=labeler: labeler))
    return found


def by_tangent(labeler: Any, image: np.ndarray, sigma: float) -> np.ndarray:
    """Flip probabilities by 16 directions of J at the image, weights as they are."""
    field = lambda x: log_likelihood(distances(x, labeler.prototypes), labeler.rho)  # noqa: E731
    weights = gpulaf.uniform_weights(image.shape[:2]) if labeler.weights is None else labeler.weights
    weights = weights(image) if callable(weights) else weights
    flow, l, patterns = DeepFlow(weights, TIME), field(image), SignPatterns(image.shape, 16)
    tangent, v = Tangent(flow, l), flow.solve(l, keep_basis=False).v
    labels, square, step = v.argmax(axis=-2)[:, None, :], 0.0, np.float32(0.1 * sigma)
    for number in range(16):
        signs = step * patterns(number)
        change = tangent((field(image + signs) - field(image - signs)) * 5)
        square = square + (np.take_along_axis(change, labels, -2) - change) ** 2 / 16
    margin = np.take_along_axis(v, labels, -2) - v
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(np.arange(v.shape[-2])[:, None] == labels, np.inf, margin / np.sqrt(square))
    return norm.sf(ratio.min(axis=-2))


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    return call(), time.process_time() - began


def measured(case: Case, asked: Any, seed: int) -> tuple[Rows, dict[str, Any]]:
    """Rows of all methods on one scene, and what a figure shows of it."""
    example, sigma = scene(case.name, asked.side, seed), NOISE[case.name]
    image, rng, labeler = example.image.astype(np.float32), np.random.default_rng(seed), case.make(example)
    labels = labeler(image).labels

    def draws(count: int) -> tuple[np.ndarray, list[np.ndarray]]:
        share, some = np.zeros(labels.shape), []
        for k in range(count):
            found = labeler(image + np.float32(sigma) * rng.standard_normal(image.shape).astype(np.float32))
            share += (found.labels != labels) / count
            if k < 10:
                W = found.probabilities.astype(float)
                own = np.take_along_axis(W, labels[..., None].astype(int), -1)
                rest = np.where(np.arange(W.shape[-1]) == labels[..., None], 0, W).max(axis=-1)
                some.append(np.log(own[..., 0] + 1e-30) - np.log(rest + 1e-30))
        return share, some

    (share, _), seconds = timed(lambda: draws(asked.draws))
    other, margins = draws(asked.draws)
    few = norm.sf(np.mean(margins, axis=0) / (np.std(margins, axis=0, ddof=1) + 1e-9))
    runs = {}
    for probes in (16, 8):
        uncertain = replace(labeler, uncertainty=gpulaf.Uncertainty(sigma, probes))
        uncertain(image)  # compiles
        repeated = [timed(partial(uncertain, image)) for _ in range(5)]
        runs[probes] = repeated[0][0].uncertainty, seconds / float(np.median([s for _, s in repeated]))
    by_tangent(labeler, image, sigma)
    linear, slow = timed(lambda: by_tangent(labeler, image, sigma))
    flipped, wrong = share > 0, labels != example.truth
    rows: Rows = []
    for method, values, times in (
        ("16 runs", *runs[16]),
        ("8 runs", *runs[8]),
        ("16 probes of J", linear, seconds / slow),
        ("10 draws", few, asked.draws / 10),
        (f"{asked.draws} other draws", other, 1.0),
    ):
        rows.append({
            "scene": case.name, "weights": case.weights, "rho": case.rho, "method": method,
            "rank": float(spearmanr(values.ravel(), share.ravel())[0]),
            "rank, flipped": float(spearmanr(values[flipped], share[flipped])[0]),
            "mean %": 100 * float(values.mean()), "% of draws": 100 * float(share.mean()),
            "% never": 100 * float((~flipped).mean()), "times faster": float(times),
            "% wrong": 100 * float(wrong.mean()),
            "% wrong of the fifth with the largest": share_of_wrong(values, wrong),
            "noise read": float(noise_level(gpulaf.backend.validation.image_features(image, -1))),
        })  # fmt: skip
    return rows, {"image": image, "labels": labels, "probability": runs[16][0], "share": share, "wrong": wrong}


def share_of_wrong(values: np.ndarray, wrong: np.ndarray) -> float:
    """% of the wrong pixels that are among the fifth of the pixels with the largest values."""
    chosen = np.argsort(-values, axis=None, kind="stable")[: values.size // 5]
    return 100 * float(wrong.ravel()[chosen].sum() / max(1, wrong.sum()))


def main() -> None:
    sizes = {"side": (128, 24), "draws": (200, 10), "scenes": (3, 1), "steps": (50, 2), "train": (5, 3)}
    asked = command(__doc__, **sizes)
    warnings.simplefilter("ignore", gpulaf.DataWarning)
    rows: Rows = []
    shown: dict[str, dict[str, Any]] = {}
    for case in cases(asked):
        with one_thread():
            runs = [measured(case, asked, 500 + k) for k in range(asked.scenes)]
        if case.weights == "uniform" and case.rho == 0.5:
            shown[case.name] = runs[0][1]
        for same in zip(*(found for found, _ in runs), strict=True):
            numbers = [key for key, value in same[0].items() if isinstance(value, float) and key != "rho"]
            rows.append(same[0] | {key: float(np.nanmean([row[key] for row in same])) for key in numbers})
    told = []
    for row in rows:
        if row["method"] == "16 runs":
            best = next(
                x for x in rows if "other" in x["method"] and all(x[k] == row[k] for k in ("scene", "weights", "rho"))
            )
            told.append(
                f"{row['scene']}, {row['weights']} weights, ρ = {row['rho']:g}: "
                f"{row['rank']:.2f} of {best['rank']:.2f}, "
                f"{row['rank, flipped']:.2f} of {best['rank, flipped']:.2f} where labels flip, "
                f"{row['times faster']:.0f} times faster"
            )
    size = f"{asked.scenes} scenes of {asked.side}²"
    answer = f"Rank correlation with {asked.draws} draws, of that of {asked.draws} others, on {size}"
    save(rows, f"{answer}: {'; '.join(told)}.", partial(figure, shown))


def figure(shown: dict[str, dict[str, Any]], rows: Rows) -> Any:
    """Image, labels, flip probability, share of the draws, and wrong labels, of a scene of each kind."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 2.35 * len(shown)), dpi=150, layout="constrained")
    for axes, one in zip(drawing.subplots(len(shown), 5, squeeze=False), shown.values(), strict=True):
        grey = one["image"].shape[-1] == 1
        axes[0].imshow(one["image"].clip(0, 1), cmap="gray" if grey else None)
        axes[1].imshow(one["labels"], cmap="gray" if grey else "tab10", interpolation="nearest")
        for axis, name in ((axes[2], "probability"), (axes[3], "share")):
            last = axis.imshow(one[name], cmap="magma", vmin=0, vmax=0.6, interpolation="nearest")
        axes[4].imshow(one["wrong"], cmap="gray_r", interpolation="nearest")
        drawing.colorbar(last, ax=axes[3], shrink=0.9)
        titles = ("image", "labels", "flip probability, 16 runs", "flips in the draws", "wrong labels")
        for axis, title in zip(axes, titles, strict=True):
            axis.set_title(title, fontsize=9)
            axis.set_axis_off()
    return drawing


if __name__ == "__main__":
    main()
