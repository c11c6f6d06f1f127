"""Does depth help? One to six linearized flows (1.5)–(1.6) of the same time together.

Weights are learned on the image itself and its truth, which shows what layers can do; and they are predicted for images
that nothing was learned from, which shows what of it can be foreseen from features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..averaging.patches import uniform_weights
from ..learning.descent import RiemannianAdam
from ..learning.fitting import FitOptions, fit_weights
from ..plots.style import COLORS, DASHES, canvas, logarithmic, plain
from ..scenes import Scene
from .learning import scene_likelihood
from .result import Drawing, ExperimentResult, Row, Setting, select
from .unseen import PIXELS, REPEATS, SCENES, SOLVER, UNIFORM, Sets, baselines, compared, judged, sets, trained

LAYERS, TIMES = (1, 2, 3, 4, 6), (3.0, 12.0)
OWN, SHARED = "own weights", "shared weights"
LEARNED, PREDICTED = "learned on the image", "predicted for unseen images"


def run(setting: Setting) -> ExperimentResult:
    """Learn weights of single images and train predictors, of every depth, with and without shared weights."""
    repeats = setting.pick(*REPEATS)
    rows: list[Row] = []
    for name in SCENES:
        for repeat in range(repeats):
            scenes = sets(name, setting, repeat)
            for time in TIMES:
                setting.tell(f"{name}, T = {time:g}, training {repeat + 1} of {repeats}")
                for count in LAYERS[:: setting.pick(1, 2)]:
                    about = {"scene": name, "T": time, "layers": count, "repeat": repeat}
                    rows += _baselines(about, scenes) if repeat == 0 else []
                    rows += _trainings(about, scenes, setting)
    size = scenes.unseen[0].truth.shape
    caption = (
        f"Wrong pixels of images of {size[0]}×{size[1]} pixels against the number of layers: linearized flows, each "
        "over T divided by their number. Left: weights learned on each image and its truth, mean (line) and range "
        f"(band) over {repeats} images. Right: weights predicted for {len(scenes.unseen)} unseen images, mean and "
        f"range over {repeats} trainings, each on {len(scenes.known)} other images. Grey: uniform weights in as many "
        "layers, on the unseen images."
    )
    return ExperimentResult({"depth": Drawing(_draw(rows), caption)}, {"depth": rows}, finding(rows))


def _baselines(about: Row, scenes: Sets) -> list[Row]:
    """What needs no learning, on the unseen scenes."""
    rest = {"how": "no learning", "validation wrong %": float("nan")}
    found = baselines(scenes.unseen, about["T"], about["layers"])
    return [{**about, "weights": name, **rest, "wrong %": 100 * share} for name, share in found.items()]


def _trainings(about: Row, scenes: Sets, setting: Setting) -> list[Row]:
    """A predictor and the weights of one unseen scene, with weights of their own in each layer and with shared ones."""
    rows, steps, times = [], setting.pick(30, 10), [about["T"] / about["layers"]] * about["layers"]
    for weights in (OWN, SHARED) if about["layers"] > 1 else (OWN,):
        shared = weights == SHARED
        predictor = trained(scenes, setting, about["repeat"], time=times, shared_layers=shared)
        rows.append({**about, "weights": weights, "how": PREDICTED} | judged(predictor, scenes.unseen))
        wrong = 100 * learned(scenes.unseen[about["repeat"]], times, steps, shared=shared)
        found = {"validation wrong %": float("nan"), "wrong %": wrong}
        rows.append({**about, "weights": weights, "how": LEARNED} | found)
    return rows


def learned(scene: Scene, times: list[float], steps: int, *, shared: bool) -> float:
    """Share of wrong pixels of an image after so many steps of learning its weights, from uniform ones."""
    start = uniform_weights(scene.truth.shape)
    fit = fit_weights(
        scene_likelihood(scene),
        scene.truth,
        weights=start if shared else [start] * len(times),
        time=times,
        solver=SOLVER,
        descent=RiemannianAdam(0.2),
        steps=steps,
        options=FitOptions(progress=False),
    )
    return fit.history[-1].wrong


def finding(rows: list[Row]) -> str:
    """Whether depth helps weights learned on an image, and those predicted for unseen ones, for scenes and times."""
    words = []
    names, times = (list(dict.fromkeys(row[name] for row in rows)) for name in ("scene", "T"))
    for name in names:
        mine, said = select(rows, scene=name, how=LEARNED), []
        for time in times:
            one, *_, deep = cases(mine, time, OWN)
            said.append(_said(f"at T = {time:g}", one, deep))
        words.append(f"Weights learned on images of {name}: {'; '.join(said)}.")
    for name in names:
        mine, said = select(rows, scene=name, how=PREDICTED), []
        for time in times:
            said.append(_said(f"at T = {time:g}", best(mine, [time], deep=False), best(mine, [time], deep=True)))
        flat, deep = (best(mine, times, deep=deep) for deep in (False, True))
        said.append(_said(f"each at its best time, {flat.time:g} and {deep.time:g},", flat, deep))
        words.append(f"Weights predicted for unseen {name}: {'; '.join(said)}. {_beside(rows, name, deep)}")
    return " ".join([*words, "For unseen images, validation images chose layers, sharing and time."])


def _said(where: str, one: Case, deep: Case) -> str:
    means = f"{one.wrong.mean():.3g} % wrong with one layer, {deep.wrong.mean():.3g} % with {deep.layers}"
    return f"{where} depth {compared(one.wrong, deep.wrong)} ({means}, {deep.weights})"


def _beside(rows: list[Row], name: str, deep: Case) -> str:
    """The best deep case beside uniform weights, and own weights beside shared ones, in as many layers."""
    mine = select(rows, scene=name, T=deep.time, layers=deep.layers)
    uniform = select(mine, weights=UNIFORM)[0]["wrong %"]
    own, shared = (
        np.array([row["wrong %"] for row in select(mine, weights=weights, how=PREDICTED)]) for weights in (OWN, SHARED)
    )
    better = "better" if (deep.wrong < uniform).all() and deep.wrong.mean() < 0.95 * uniform else "no better"
    return (
        f"That is {better} than uniform weights ({uniform:.3g} %), and having own weights instead of shared ones "
        f"{compared(shared, own)} ({own.mean():.3g} % and {shared.mean():.3g} %)."
    )


class Case(NamedTuple):
    """One way to have weights, several times."""

    time: float
    layers: int
    weights: str
    #: Wrong pixels in percent, one number for each image that was learned or each training.
    wrong: np.ndarray
    #: Those of the validation images, mean.
    validation: float


def cases(rows: list[Row], time: float, weights: str) -> list[Case]:
    """Every number of layers, fewest first."""
    found = []
    for count in sorted({row["layers"] for row in rows}):
        own = select(rows, T=time, weights=weights, layers=count)
        if own:
            wrong, validation = (np.array([row[name] for row in own]) for name in ("wrong %", "validation wrong %"))
            found.append(Case(time, count, weights, wrong, float(validation.mean())))
    return found


def best(rows: list[Row], times: list[float], *, deep: bool) -> Case:
    """One layer, or several with own or shared weights: what is best on validation images."""
    every = [case for time in times for weights in (OWN, SHARED) for case in cases(rows, time, weights)]
    return min((case for case in every if (case.layers > 1) == deep), key=lambda case: case.validation)


def _draw(rows: list[Row]) -> Any:
    scenes, times = (list(dict.fromkeys(row[name] for row in rows)) for name in ("scene", "T"))
    figure, axes = canvas(len(scenes), 2 * len(times), width=3.1, height=2.9)
    for line, name in zip(axes, scenes, strict=True):
        mine = select(rows, scene=name)
        pixels, shown = select(mine, weights=PIXELS)[0]["wrong %"], [r for r in mine if r["weights"] != PIXELS]
        values = [row["wrong %"] for row in shown]
        repeats = 1 + max(row["repeat"] for row in mine)
        least = min([value for value in values if value > 0]) / repeats / 2  # stands for 0, less than any mean
        for k, axis in enumerate(line):
            how, time = (LEARNED, PREDICTED)[k // len(times)], times[k % len(times)]
            for case in ((OWN, 0), (SHARED, 1), (UNIFORM, 6)):
                _curve(axis, [r for r in shown if r["T"] == time and r["how"] in (how, "no learning")], case, least)
            plain(
                axis, f"{name}, T = {time:g} (pixelwise {pixels:.0f} %)\nweights {how}", "layers", "% of pixels wrong"
            )
            axis.set_xticks(sorted({row["layers"] for row in mine}))
            axis.set_xlim(0.6, 1.15 * max(LAYERS))
            if how == LEARNED:
                axis.set_ylim(0.7 * least, 1.3 * max(values))
                logarithmic(axis, least=least)
            else:
                axis.set_ylim(0, 1.08 * max(row["wrong %"] for row in shown if row["how"] != LEARNED))
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=3, fontsize=9, frameon=False
    )
    return figure


def _curve(axis: Any, rows: list[Row], case: tuple[str, int], least: float) -> None:
    """Mean and range; shared weights begin at one layer, where all are the same."""
    weights, color = case
    found = {}
    for count in sorted({row["layers"] for row in rows}):
        own = select(rows, layers=count, weights=OWN if count == 1 and weights == SHARED else weights)
        found[count] = [row["wrong %"] for row in own]
    name = "uniform weights" if weights == UNIFORM else f"{weights.split()[0]} weights in each layer"
    name = "weights that the layers share" if weights == SHARED else name
    style = {
        "color": COLORS[color],
        "ls": DASHES[min(color, 2)],
        "mfc": "white" if weights == SHARED else COLORS[color],
    }
    mean, low, high = ([max(f(w), least) for w in found.values()] for f in (np.mean, np.min, np.max))
    axis.plot(list(found), mean, marker="o", ms=4.5, lw=1.8, label=name, **style)
    axis.fill_between(list(found), low, high, color=COLORS[color], alpha=0.15, lw=0)
