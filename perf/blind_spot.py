"""How good are weights that were learned without ground truth, from noisy images alone?

Wrong pixels of ten unseen scenes of 128² (seeds from 500), by weights learned on other scenes (seeds below 100) with
their truth and without it, beside pixelwise labels and uniform weights. Prototypes are known; the noise is estimated.
Few images are four of 80², many sixteen of 128², of colors of 80². What is learned on the unseen images themselves,
without their truth, is told of them. "noise × 1.5" is told a standard deviation that is too large by so much, "labels
found" the number of labels alone. Blurred noise is as strong, and neighbors share it. em: the middles
of electron micrographs, learned on 00 … 09, told of 10 … 14, with the mean values of the truth as prototypes, which
helps all methods.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from measure import Rows, command, save
from problems import DATA, Sizes, real
from scipy.ndimage import gaussian_filter

import gpulaf
from gpulaf.labeling.noise import noise_deviation
from gpulaf.prediction import WeightNetwork, WeightPredictor

#: What a network of many alike labels sees, and blurs in pixels.
COLORS, BLURS = {"label_state": 4}, (0.5, 0.7, 1.0)


class Part(NamedTuple):
    """Images to learn from and unseen ones of one kind."""

    name: str
    images: list[np.ndarray]
    truths: list[np.ndarray]
    unseen: list[np.ndarray]
    unseen_truths: list[np.ndarray]
    prototypes: np.ndarray


def scenes(
    name: str, make: Any, noise: float, sides: tuple[int, int], counts: tuple[int, int], blur: float = 0
) -> Part:
    """Scenes of the paper, with noise that is independent or blurred."""
    seeds = [range(counts[0]), range(500, 500 + counts[1])]
    found = [[make(side, noise=noise, seed=k) for k in some] for side, some in zip(sides, seeds, strict=True)]
    images = [[blurred(x, blur) if blur else x.image.astype(np.float32) for x in some] for some in found]
    truths = [[x.truth for x in some] for some in found]
    return Part(name, images[0], truths[0], images[1], truths[1], found[0][0].prototypes)


def blurred(scene: Any, blur: float) -> np.ndarray:
    """The scene with its noise blurred and as strong as before."""
    noise = scene.image - scene.clean
    smooth = gaussian_filter(noise, (blur, blur, 0))
    return (scene.clean + smooth * (noise.std() / smooth.std())).astype(np.float32)


def micrographs(side: int, count: int) -> Part:
    """Middles of electron micrographs."""
    images, truths = real("em", "png", 15, 10, Sizes(whole=side))
    pixels, labels = (np.concatenate([np.ravel(x) for x in xs[:10]]) for xs in (images, truths))
    means = np.array([[pixels[labels == j].mean()] for j in range(2)])
    return Part("em", images[:count], truths[:count], images[10:], truths[10:], means)


def row(part: Part, method: str, labels: list[np.ndarray], seconds: float = 0.0, **more: Any) -> dict[str, Any]:
    """Wrong pixels of the unseen images."""
    each = [100 * float(np.mean((x != truth)[truth >= 0])) for x, truth in zip(labels, part.unseen_truths, strict=True)]
    told = {"images": "", "seed": "", "steps": "", "sigma": "", "warned": "", "found": ""} | more
    spelled = " ".join(f"{x:.2f}" for x in each)
    return {"part": part.name, "method": method, "wrong %": float(np.mean(each)), **told, "each": spelled, "s": seconds}


def plain(part: Part) -> Rows:
    """What does not learn."""
    pixels = [gpulaf.labeling.distances(x, part.prototypes).argmin(axis=-2) for x in part.unseen]
    uniform = [gpulaf.label(x, part.prototypes).labels for x in part.unseen]
    return [row(part, "pixelwise", pixels), row(part, "uniform weights", uniform)]


def learned(
    part: Part, method: str, predictor: Any, steps: int, seed: int = 0, **fit: Any
) -> tuple[Any, dict[str, Any]]:
    """A predictor trained without the truth, or with it where it is in `fit`, and its row."""
    own = type(predictor)(**predictor.get_params(deep=False) | {"seed": seed})
    own.training = replace(own.training, steps=steps, seed=seed)
    options = fit or {"prototypes": part.prototypes}
    began = time.process_time()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        own.fit(part.images, progress=False, **options)
    seconds = time.process_time() - began
    labels = [own.label(x).labels for x in part.unseen]
    found = ""
    if isinstance(options.get("prototypes"), int):  # found ones have an order of their own
        found = " ".join(f"{x:.3f}" for x in np.ravel(own.label_prototypes_))
        near = np.abs(own.label_prototypes_[:, None] - part.prototypes).sum(axis=-1).argmin(axis=1)
        labels = [near[x] for x in labels]
    more = {"images": len(part.images), "seed": seed, "steps": steps, "found": found}
    if "truths" not in options:
        more["warned"] = "yes" if any("correlation" in str(warning) for warning in told) else "no"
        if "noise" not in options:
            more["sigma"] = float(np.mean([noise_deviation(x) ** 2 for x in part.images])) ** 0.5
    return own, row(part, method, labels, seconds, **more)


def main() -> None:
    asked = command(__doc__, steps=(300, 2), few=(4, 1), many=(16, 2), unseen=(10, 1), sides=((80, 128), (24, 32)))
    small, large = asked.sides
    steps, counts = asked.steps, (asked.few, asked.unseen)
    lines = gpulaf.scenes.voronoi_lines
    network, prototypes = WeightNetwork(), WeightPredictor()
    few = scenes("lines 0.3", lines, 0.3, (small, large), counts)
    many = scenes("lines 0.3", lines, 0.3, (large, large), (asked.many, asked.unseen))
    rows, shown = plain(few), []

    def learn(part: Part, method: str, predictor: Any = network, taken: int = steps, seed: int = 0, **fit: Any) -> Any:
        own, found = learned(part, method, predictor, taken, seed, **fit)
        rows.append(found)
        print(f"{found['part']}, {method}: {found['wrong %']:.2f} % ({found['s']:.0f} s)", flush=True)
        return own

    for seed in (0, 1):
        learn(few, "few, without truth", seed=seed)
        learn(few, "few, with truth", seed=seed, truths=few.truths)
        learn(few, "few, prototypes, without truth", prototypes, steps // 5, seed)
        learn(few, "few, prototypes, with truth", prototypes, steps // 5, seed, truths=few.truths)
    learn(few, "few, without truth, noise × 1.5", prototypes=few.prototypes, noise=0.45)
    learn(few, "few, without truth, labels found", prototypes=2)
    pair = [learn(many, "many, without truth"), learn(many, "many, with truth", truths=many.truths)]
    shown.append((many, pair))
    itself = many._replace(images=many.unseen, truths=many.unseen_truths)
    learn(itself, "unseen images themselves, without truth")
    for blur in BLURS:
        part = scenes(f"lines 0.3, noise blurred by {blur:g}", lines, 0.3, (small, large), counts, blur)
        rows += plain(part)
        learn(part, "few, without truth", taken=2 * steps // 3)
        learn(part, "few, with truth", taken=2 * steps // 3, truths=part.truths)
    colors = scenes("colors 0.55", gpulaf.scenes.voronoi_colors, 0.55, (small, large), (asked.many, asked.unseen))
    rows += plain(colors)
    single = WeightNetwork(**COLORS)
    pair = [learn(colors, "many, without truth", single)]
    pair.append(learn(colors, "many, with truth", single, truths=colors.truths))
    shown.append((colors, pair))
    if (DATA / "em").is_dir():
        em = micrographs(large, 10 if asked.many > 10 else 2)
        rows += plain(em)
        learn(em, "without truth")
        learn(em, "with truth", truths=em.truths)
    save(rows, answer(rows), partial(figure, shown))


def answer(rows: Rows) -> str:
    """What the parts say in one sentence each."""

    def mean(part: str, method: str) -> str:
        return f"{np.mean([r['wrong %'] for r in rows if (r['part'], r['method']) == (part, method)]):.2f}"

    said = []
    for part in dict.fromkeys(r["part"] for r in rows):
        methods = dict.fromkeys(r["method"] for r in rows if r["part"] == part)
        said.append(f"{part}: " + ", ".join(f"{mean(part, m)} % by {m}" for m in methods))
    return "Wrong pixels of unseen images. " + "; ".join(said) + "."


def figure(shown: list[tuple[Part, list[Any]]], rows: Rows) -> Any:
    """An unseen scene of lines and of colors with its labelings."""
    from matplotlib.figure import Figure

    names = ("uniform weights", "learned without truth", "learned with truth")
    drawing = Figure(figsize=(13, 2.75 * len(shown)), dpi=130, layout="constrained")
    axes = drawing.subplots(len(shown), 5, squeeze=False)
    for line, (part, predictors) in zip(axes, shown, strict=True):
        image, truth = part.unseen[0], part.unseen_truths[0]
        labels = [gpulaf.label(image, part.prototypes).labels, *(own.label(image).labels for own in predictors)]
        colors = part.prototypes if part.prototypes.shape[1] == 3 else np.array([[0.0] * 3, [1.0] * 3])
        panels = [(f"unseen: {part.name}", np.broadcast_to(image.clip(0, 1), (*truth.shape, 3)))]
        for name, found in zip(names, labels, strict=True):
            panels.append((f"{name}: {100 * np.mean(found != truth):.2f} % wrong", colors[found]))
        for axis, (title, picture) in zip(line, [*panels, ("truth", colors[truth])], strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_title(title, fontsize=10)
            axis.set(xticks=[], yticks=[])
    return drawing


if __name__ == "__main__":
    main()
