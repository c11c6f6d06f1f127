"""What larger neighborhoods bring and cost: weights on 3×3, 5×5 and 7×7 pixels, predicted for unseen images."""

from __future__ import annotations

import time as clock
from typing import Any

import numpy as np

from ..predictor import WeightPredictor
from ..scenes import Scene
from .learning import TIME
from .outcome import Drawing, Outcome, Row, Setting, select
from .style import COLORS, DASHES, canvas, plain
from .unseen import BATCH, SCENES, baselines, compared, judged, sets, trained

RADII = (1, 2, 3)
STEP, LABEL = "training step seconds", "labeling seconds"


def run(setting: Setting) -> Outcome:
    """Train predictors of every radius; nothing else differs."""
    repeats = setting.pick(3, 2)
    rows: list[Row] = []
    for name in SCENES:
        for repeat in range(repeats):
            scenes = sets(name, setting, repeat)
            pixels = baselines(scenes.unseen, TIME, 1)["pixelwise"]
            for radius in RADII:
                side = 2 * radius + 1
                setting.tell(f"{name}, {side}×{side} weights, training {repeat + 1} of {repeats}")
                predictor = trained(scenes, setting, repeat, radius=radius)
                about = {"scene": name, "side": side, "repeat": repeat, "pixelwise wrong %": pixels}
                rows.append(about | judged(predictor, scenes.unseen) | seconds(predictor, scenes.unseen))
    size = scenes.unseen[0].truth.shape
    caption = (
        f"Weights on 3×3, 5×5 and 7×7 pixels, predicted from 3×3 pixels, T = {TIME:g}. Left: wrong pixels of "
        f"{len(scenes.unseen)} unseen images, mean (line) and range (band) over {repeats} trainings on "
        f"{len(scenes.known)} other images each. Middle and right: median time of a training step, of {BATCH} images, "
        f"and of labeling one image, of {size[0]}×{size[1]} pixels; median and range over the trainings."
    )
    return Outcome({"neighborhoods": Drawing(_draw(rows), caption)}, {"neighborhoods": rows}, finding(rows))


def seconds(predictor: WeightPredictor, unseen: list[Scene]) -> Row:
    """Median seconds of a step and of labeling an image: medians leave out what is compiled on the way."""
    spent = []
    for scene in [unseen[0], *unseen]:
        began = clock.perf_counter()
        predictor.label(scene.image.astype(np.float32))
        spent.append(clock.perf_counter() - began)
    steps = np.diff([row.seconds for row in predictor.history_])
    return {STEP: float(np.median(steps)), LABEL: float(np.median(spent[1:]))}


def finding(rows: list[Row]) -> str:
    """For every scene, whether 5×5 and 7×7 help over 3×3, and how much longer they take."""
    words = []
    for scene in dict.fromkeys(row["scene"] for row in rows):
        mine = select(rows, scene=scene)
        small, *others = dict.fromkeys(row["side"] for row in mine)
        base, parts = _values(mine, "wrong %", small), []
        for side in others:
            wrong = _values(mine, "wrong %", side)
            slower = [np.median(_values(mine, column, side) / _values(mine, column, small)) for column in (STEP, LABEL)]
            parts.append(
                f"{side}×{side} {compared(base, wrong)} ({wrong.mean():.2f} % wrong; a training step takes "
                f"{slower[0]:.1f} times as long, labeling {slower[1]:.1f} times)"
            )
        words.append(f"On unseen {scene}, 3×3 weights leave {base.mean():.2f} % wrong; {' and '.join(parts)}.")
    return " ".join(words)


def _values(rows: list[Row], column: str, side: int) -> np.ndarray:
    """A column of one side of the patch, one number for each training."""
    return np.array([row[column] for row in select(rows, side=side)])


def _draw(rows: list[Row]) -> Any:
    figure, (line,) = canvas(1, 3, width=3.3)
    sides = list(dict.fromkeys(row["side"] for row in rows))
    titles = ("wrong pixels of unseen images", "a training step", "labeling an image")
    columns, units = ("wrong %", STEP, LABEL), ("% of pixels", "milliseconds", "milliseconds")
    for axis, title, column, unit in zip(line, titles, columns, units, strict=True):
        for k, scene in enumerate(dict.fromkeys(row["scene"] for row in rows)):
            values = [
                _values(select(rows, scene=scene), column, side) * (1 if unit[0] == "%" else 1e3) for side in sides
            ]
            middle = [v.mean() if unit[0] == "%" else np.median(v) for v in values]
            axis.plot(sides, middle, "o", color=COLORS[k], ls=DASHES[k], lw=2, ms=4, label=scene)
            axis.fill_between(
                sides, [v.min() for v in values], [v.max() for v in values], color=COLORS[k], alpha=0.15, lw=0
            )
        plain(axis, title, "side of the weight patches", unit)
        axis.set_xticks(sides, [f"{side}×{side}" for side in sides])
        axis.set_ylim(bottom=0)
    line[0].legend(fontsize=9, frameon=False)
    return figure
