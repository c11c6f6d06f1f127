"""Does depth help? Predicted weights in one to six linearized flows (1.5)–(1.6) of the same time together."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .outcome import Drawing, Outcome, Row, Setting, select
from .style import COLORS, DASHES, canvas, plain
from .unseen import SCENES, baselines, compared, judged, sets, trained

LAYERS, TIMES = (1, 2, 3, 4, 6), (3.0, 12.0)
OWN, SHARED, UNIFORM, PIXELS = "own weights", "shared weights", "uniform weights", "pixelwise"


def run(setting: Setting) -> Outcome:
    """Train predictors of every depth, with weights of their own in each layer and with shared ones."""
    layers, repeats = LAYERS[:: setting.pick(1, 2)], setting.pick(3, 2)
    rows: list[Row] = []
    for scene in SCENES:
        for repeat in range(repeats):
            scenes = sets(scene, setting, repeat)
            for time in TIMES:
                setting.tell(f"{scene}, T = {time:g}, training {repeat + 1} of {repeats}")
                for count in layers:
                    about = {"scene": scene, "T": time, "layers": count}
                    if repeat == 0:
                        rows += _baselines(about, baselines(scenes.unseen, time, count))
                    for weights in (OWN, SHARED) if count > 1 else (OWN,):
                        options = {"time": time, "layers": count, "shared_layers": weights == SHARED}
                        found = judged(trained(scenes, setting, repeat, **options), scenes.unseen)
                        rows.append({**about, "weights": weights, "repeat": repeat} | found)
    size = scenes.unseen[0].truth.shape
    caption = (
        f"Wrong pixels of {len(scenes.unseen)} unseen images of {size[0]}×{size[1]} pixels against the number of "
        f"layers: linearized flows, each over T divided by their number. Mean (line) and range (band) over {repeats} "
        f"trainings, each on {len(scenes.known)} other images."
    )
    return Outcome({"depth": Drawing(_draw(rows), caption)}, {"depth": rows}, finding(rows))


def finding(rows: list[Row]) -> str:
    """For every scene and time, whether the depth that validation images choose helps; and the best of all times."""
    words = []
    for scene in dict.fromkeys(row["scene"] for row in rows):
        mine = select(rows, scene=scene)
        times = list(dict.fromkeys(row["T"] for row in mine))
        said = []
        for time in times:
            one, deep = best(mine, time, deep=False), best(mine, time, deep=True)
            said.append(
                f"at T = {time:g} depth {compared(one.wrong, deep.wrong)} ({one.wrong.mean():.2f} % wrong with one "
                f"layer, {deep.wrong.mean():.2f} % with {deep.layers} layers of {deep.weights})"
            )
        flat, deep = (
            min((best(mine, time, deep=deep) for time in times), key=lambda c: c.validation) for deep in (False, True)
        )
        said.append(
            f"with the time free, too, depth {compared(flat.wrong, deep.wrong)} ({flat.wrong.mean():.2f} % at "
            f"T = {flat.time:g}, {deep.wrong.mean():.2f} % at T = {deep.time:g})"
        )
        words.append(f"On unseen {scene}, {'; '.join(said)}.")
    return " ".join([*words, "Layers, weights and times were chosen on validation images."])


class Case(NamedTuple):
    """One way to predict, trained several times."""

    time: float
    layers: int
    weights: str
    #: Wrong pixels of unseen images in percent, one number for each training.
    wrong: np.ndarray
    #: Those of the validation images, mean.
    validation: float


def best(rows: list[Row], time: float, *, deep: bool) -> Case:
    """One layer, or the number of layers and the weights that are best on validation images."""
    cases = []
    for weights in (OWN, SHARED):
        for count in dict.fromkeys(row["layers"] for row in rows):
            found = select(rows, T=time, weights=weights, layers=count)
            if found and (count > 1) == deep:
                wrong, validation = (
                    np.array([row[name] for row in found]) for name in ("wrong %", "validation wrong %")
                )
                cases.append(Case(time, count, weights, wrong, float(validation.mean())))
    return min(cases, key=lambda case: case.validation)


def _baselines(about: Row, wrong: dict[str, float]) -> list[Row]:
    return [
        {**about, "weights": name, "repeat": 0, "validation wrong %": float("nan"), "wrong %": value}
        for name, value in wrong.items()
    ]


def _draw(rows: list[Row]) -> Any:
    scenes, times = (list(dict.fromkeys(row[name] for row in rows)) for name in ("scene", "T"))
    figure, axes = canvas(len(scenes), len(times), width=3.7, height=2.9)
    for line, scene in zip(axes, scenes, strict=True):
        for axis, time in zip(line, times, strict=True):
            mine = select(rows, scene=scene, T=time)
            for k, weights in enumerate((OWN, SHARED, UNIFORM)):
                _curve(axis, mine, weights, color=COLORS[(0, 1, 6)[k]], ls=DASHES[k], zorder=3 - k)
            pixels = select(mine, weights=PIXELS)[0]["wrong %"]
            plain(axis, f"{scene}, T = {time:g} (pixelwise {pixels:.1f} %)", "layers", "% of unseen pixels wrong")
            axis.set_xticks(list(dict.fromkeys(row["layers"] for row in mine)))
        top = 1.08 * max(row["wrong %"] for row in rows if row["scene"] == scene and row["weights"] != PIXELS)
        for axis in line:
            axis.set_ylim(0, top)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=3, fontsize=9, frameon=False
    )
    return figure


def _curve(axis: Any, rows: list[Row], weights: str, **line: Any) -> None:
    """Mean and range over trainings; shared weights begin at one layer, where all are the same."""
    found = {}
    for count in dict.fromkeys(row["layers"] for row in rows):
        own = select(rows, layers=count, weights=OWN if count == 1 and weights == SHARED else weights)
        found[count] = [row["wrong %"] for row in own]
    label = weights if weights == UNIFORM else f"predicted, {weights}"
    axis.plot(list(found), [np.mean(w) for w in found.values()], "o", ms=4, lw=2, label=label, **{"ls": "-"} | line)
    axis.fill_between(
        list(found), [min(w) for w in found.values()], [max(w) for w in found.values()], color=line["color"],
        alpha=0.15, lw=0,
    )  # fmt: skip
