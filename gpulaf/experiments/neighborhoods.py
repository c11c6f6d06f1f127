"""What larger neighborhoods bring and cost: weights on 3×3, 5×5 and 7×7 pixels, predicted for unseen images."""

from __future__ import annotations

import time as clock
from typing import Any

import numpy as np

from ..plots.style import COLORS, DASHES, canvas, plain
from ..prediction.predictor import WeightPredictor
from ..scenes import Scene
from .learning import TIME
from .result import Drawing, ExperimentResult, Row, Setting, select
from .unseen import BATCH, REPEATS, SCENES, UNIFORM, baselines, compared, judged, sets, trained

RADII = (1, 2, 3)
#: How often each unseen image is labeled.
LOOKS = 5
STEP, LABEL, UNIFORM_WRONG = "training step seconds", "labeling seconds", "uniform wrong %"


def run(setting: Setting) -> ExperimentResult:
    """Train predictors of every radius; nothing else differs."""
    repeats = setting.pick(*REPEATS)
    rows: list[Row] = []
    for name in SCENES:
        for repeat in range(repeats):
            scenes = sets(name, setting, repeat)
            for radius in RADII:
                side = 2 * radius + 1
                setting.tell(f"{name}, {side}×{side} weights, training {repeat + 1} of {repeats}")
                predictor = trained(scenes, setting, repeat, radius=radius)
                uniform = 100 * baselines(scenes.unseen, TIME, radius=radius)[UNIFORM]
                about = {"scene": name, "side": side, "repeat": repeat, UNIFORM_WRONG: uniform}
                rows.append(about | judged(predictor, scenes.unseen) | seconds(predictor, scenes.unseen))
    size = scenes.unseen[0].truth.shape
    caption = (
        f"Weights on 3×3, 5×5 and 7×7 pixels, predicted from 3×3 pixels, T = {TIME:g}. Left: wrong pixels of "
        f"{len(scenes.unseen)} unseen images, mean (line) and range (band) over {repeats} trainings on "
        f"{len(scenes.known)} other images each; dotted, uniform weights on as many pixels. Middle and right: the "
        f"fastest training step, of {BATCH} images, and the fastest labeling of one, of {size[0]}×{size[1]} pixels; "
        "least (line) and range (band) over the trainings."
    )
    return ExperimentResult({"neighborhoods": Drawing(_draw(rows), caption)}, {"neighborhoods": rows}, finding(rows))


def seconds(predictor: WeightPredictor, unseen: list[Scene]) -> Row:
    """Seconds of the fastest step and of the fastest labeling of an image: others wait for compilers and neighbors."""
    spent = []
    for scene in unseen * LOOKS:
        began = clock.perf_counter()
        predictor.label(scene.image.astype(np.float32))
        spent.append(clock.perf_counter() - began)
    steps = np.diff([row.seconds for row in predictor.history_])
    return {STEP: float(steps.min()), LABEL: min(spent)}


def finding(rows: list[Row]) -> str:
    """For every scene, whether 5×5 and 7×7 help over 3×3, and how much longer they take."""
    words = []
    for scene in dict.fromkeys(row["scene"] for row in rows):
        mine = select(rows, scene=scene)
        small, *others = dict.fromkeys(row["side"] for row in mine)
        base, parts = _values(mine, "wrong %", small), []
        for side in others:
            wrong = _values(mine, "wrong %", side)
            slower = [
                _values(mine, column, side).min() / _values(mine, column, small).min() for column in (STEP, LABEL)
            ]
            parts.append(
                f"{side}×{side} {compared(base, wrong)} ({wrong.mean():.2f} % wrong, uniform weights "
                f"{_values(mine, UNIFORM_WRONG, side)[0]:.2f} %; a training step takes {slower[0]:.1f} times as long, "
                f"labeling {slower[1]:.1f} times)"
            )
        uniform = _values(mine, UNIFORM_WRONG, small)[0]
        words.append(
            f"On unseen {scene}, {small}×{small} weights leave {base.mean():.2f} % wrong, uniform ones "
            f"{uniform:.2f} %; {' and '.join(parts)}."
        )
    return " ".join(words)


def _values(rows: list[Row], column: str, side: int) -> np.ndarray:
    """A column of one side of the patch, one number for each training."""
    return np.array([row[column] for row in select(rows, side=side)])


def _draw(rows: list[Row]) -> Any:
    figure, (line,) = canvas(1, 3, width=3.3)
    scenes, sides = (list(dict.fromkeys(row[name] for row in rows)) for name in ("scene", "side"))
    panels: tuple[tuple[str, str, str, float, Any], ...] = (
        ("wrong pixels of unseen images", "wrong %", "% of pixels", 1, np.mean),
        ("a training step", STEP, "milliseconds", 1000, np.min),
        ("labeling an image", LABEL, "milliseconds", 1000, np.min),
    )
    for axis, (title, column, unit, scale, middle) in zip(line, panels, strict=True):
        for k, scene in enumerate(scenes):
            mine = select(rows, scene=scene)
            values = [scale * _values(mine, column, side) for side in sides]
            shown, low, high = ([f(v) for v in values] for f in (middle, np.min, np.max))
            axis.plot(sides, shown, marker="o", color=COLORS[k], ls=DASHES[k], lw=2, ms=4, label=scene)
            axis.fill_between(sides, low, high, color=COLORS[k], alpha=0.15, lw=0)
            if column == "wrong %":
                uniform = [_values(mine, UNIFORM_WRONG, side)[0] for side in sides]
                axis.plot(sides, uniform, color=COLORS[k], ls=DASHES[2], lw=1.2, label=f"{scene}, uniform weights")
        plain(axis, title, "weight patches", unit)
        axis.set_xticks(sides, [f"{side}×{side}" for side in sides])
        axis.set_ylim(bottom=0)
    figure.legend(*line[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    return figure
