"""Fig. 2: training by the closed-form gradient and by automatic differentiation of Euler and of Krylov; four descents.

Everything but the gradient is the same: scene, start, loss, regularizer, descent. Seconds are those of gradients and
steps on this machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..integrators import Euler, Krylov
from ..learning.descent import Adam, AdaMax, RiemannianAdam, RiemannianGradient
from ..learning.problem import Gradient
from ..plots.style import COLORS, DASHES, band, canvas, logarithmic, plain
from ..scenes import voronoi_colors
from .learning import RANK_ONE, TAU, SceneProblem, descend, scene_problem
from .result import Drawing, ExperimentResult, Row, Setting, select

OURS = "closed form (rank 1)"
LOSS = "cosine loss + regularizer"
#: h per pixel of the comparison of gradients.
STEP = 0.3
#: Largest relative difference of two mean losses, at any step, that counts as the same curve.
ALIKE = 0.1
#: Descents by name, with the step sizes that are tried.
DESCENTS = {
    "Riemannian descent": (RiemannianGradient, (0.3, 1.0, 3.0)),
    "Riemannian Adam": (RiemannianAdam, (0.1, 0.3, 1.0)),
    "Adam on log-weights": (Adam, (0.1, 0.3, 1.0)),
    "AdaMax on log-weights": (AdaMax, (0.1, 0.3, 1.0)),
}


def run(setting: Setting) -> ExperimentResult:
    """Train on scenes of colors, noisy and noiseless, by three gradients; on the noisy ones by four descents."""
    from .autodiff import autodiff

    gradients: dict[str, Gradient] = {
        OURS: RANK_ONE,
        "autodiff of Euler (20 steps)": autodiff(Euler(20)),
        "autodiff of Krylov (m = 10)": autodiff(Krylov(10)),
    }
    scenes = [
        voronoi_colors(setting.size, sites=setting.sites(50), seed=setting.seed + k)
        for k in range(setting.pick(5, 2))
    ]  # fmt: skip
    steps = setting.pick(50, 20)
    rows: list[Row] = []
    for noise in ("noisy", "noiseless"):
        problems = [scene_problem(scene, clean=noise == "noiseless") for scene in scenes]
        for name, gradient in gradients.items():
            setting.tell(f"{noise}, {name}")
            gradient(problems[0], problems[0].start)  # compiles, fills caches
            for k, p in enumerate(problems):
                fit = descend(p, gradient, RiemannianGradient(STEP), steps, tau=TAU)
                rows += [{"image": noise, "gradient": name, "seed": setting.seed + k} | row for row in fit.rows]
    descents = _descents([scene_problem(scene) for scene in scenes], steps, setting)
    means = f"Mean (line) and range (band) over {len(scenes)} scenes of colors of {setting.size}×{setting.size} pixels"
    best = ", ".join(f"{row['descent']} {row['step size']:g}" for row in _last(_best(descents)))
    drawings = {
        "fig2": Drawing(
            _draw_gradients(rows),
            f"{means}, {steps} steps of plain Riemannian descent, h = {STEP} per pixel, τ = {TAU}. "
            "Left and middle: against steps. Right: against time, steps times the median seconds of one, from the "
            "first step on.",
        ),
        "fig2-descent": Drawing(
            _draw_descents(_best(descents)),
            f"{means}, with noise; the closed-form rank-1 gradient in four descents, each with the best of three step "
            f"sizes by its final loss: {best}.",
        ),
    }
    return ExperimentResult(drawings, {"fig2": rows, "fig2-descent": descents}, finding(rows, descents))


def finding(rows: list[Row], descents: list[Row]) -> str:
    """Whether the three gradients train alike, how long each takes, and which descent ends lowest."""
    words = []
    names = _names(rows)
    for noise in dict.fromkeys(row["image"] for row in rows):
        losses = {name: curve(select(rows, image=noise, gradient=name), "loss").mean(axis=0) for name in names}
        gaps = {name: float(abs(losses[name] / losses[OURS] - 1).max()) for name in names if name != OURS}
        alike = "train alike" if max(gaps.values()) <= ALIKE else "do not train alike"
        listed = ", ".join(f"{100 * gap:.2g} % for {name}" for name, gap in gaps.items())
        wrong = ", ".join(f"{_last_wrong(rows, noise, name):.3f} %" for name in names)
        words.append(
            f"On {noise} images the three gradients {alike} (largest difference of the mean loss to the closed "
            f"form: {listed}; wrong pixels at the end: {wrong})."
        )
    ours, *others = (step_seconds(select(rows, image="noisy", gradient=name)) for name in names)
    ratios = " and one of ".join(
        f"{name} takes {other / ours:.1f} times as long" for other, name in zip(others, names[1:], strict=True)
    )
    words.append(f"A step of {ratios} as one of the closed form, in the median.")
    ends = {row["descent"]: row["loss"] for row in _last(_best(descents))}
    low = min(ends, key=lambda name: ends[name])
    lows = ", ".join(f"{name} {loss:.3g}" for name, loss in ends.items())
    words.append(f"{low} ends at the smallest mean loss ({lows}).")
    return " ".join(words)


def step_seconds(rows: list[Row]) -> float:
    """Median seconds of a step."""
    return float(np.median(np.diff(curve(rows, "seconds"), axis=1)))


def curve(rows: list[Row], column: str) -> np.ndarray:
    """A column as (images, steps)."""
    seeds = dict.fromkeys(row["seed"] for row in rows)
    return np.array([[row[column] for row in select(rows, seed=seed)] for seed in seeds])


def _names(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["gradient"] for row in rows))


def _last_wrong(rows: list[Row], noise: str, name: str) -> float:
    return float(curve(select(rows, image=noise, gradient=name), "wrong %")[:, -1].mean())


def _descents(problems: list[SceneProblem], steps: int, setting: Setting) -> list[Row]:
    rows = []
    for name, (make, sizes) in DESCENTS.items():
        for size in sizes:
            setting.tell(f"{name}, step size {size:g}")
            for k, p in enumerate(problems):
                fit = descend(p, RANK_ONE, make(size), steps, tau=TAU)
                about = {"descent": name, "step size": size, "seed": setting.seed + k}
                rows += [about | row for row in fit.rows]
    return rows


def _best(descents: list[Row]) -> list[Row]:
    """The rows of the step size of each descent that ends at the smallest mean loss."""
    kept = []
    for name in dict.fromkeys(row["descent"] for row in descents):
        own = select(descents, descent=name)
        sizes = dict.fromkeys(row["step size"] for row in own)
        ends = {size: curve(select(own, **{"step size": size}), "loss")[:, -1].mean() for size in sizes}
        kept += select(own, **{"step size": min(ends, key=lambda size: ends[size])})
    return kept


def _last(descents: list[Row]) -> list[Row]:
    """One row for each descent: its step size and the mean of its last losses."""
    names = dict.fromkeys((row["descent"], row["step size"]) for row in descents)
    return [
        {"descent": name, "step size": size, "loss": float(curve(select(descents, descent=name), "loss")[:, -1].mean())}
        for name, size in names
    ]


def _draw_gradients(rows: list[Row]) -> Any:
    figure, axes = canvas(2, 3)
    for line, noise in zip(axes, ("noisy", "noiseless"), strict=True):
        own = select(rows, image=noise)
        least = _floor(own)
        timed, column = ("wrong pixels", "wrong %") if noise == "noisy" else ("loss", "loss")
        for k, name in enumerate(_names(rows)):
            mine = select(own, gradient=name)
            style: dict[str, Any] = {"color": COLORS[k], "ls": DASHES[k], "lw": 3.2 if k == 0 else 1.6, "label": name}
            values = {"wrong %": curve(mine, "wrong %"), "loss": curve(mine, "loss")}
            steps = np.arange(values["loss"].shape[1])
            seconds = steps * step_seconds(mine)
            band(line[0], steps, values["wrong %"], least, **style)
            band(line[1], steps, values["loss"], **style)
            band(line[2], seconds[1:], values[column][:, 1:], least if column == "wrong %" else 0.0, **style)
        plain(line[0], f"{noise}: wrong pixels", "descent step", "% of pixels")
        plain(line[1], f"{noise}: loss", "descent step", LOSS)
        plain(line[2], f"{noise}: {timed} in time", "seconds", LOSS if column == "loss" else "% of pixels")
        for axis, bottom in zip(line, (least, None, least if column == "wrong %" else None), strict=True):
            logarithmic(axis, least=bottom)
        line[2].set_xscale("log")
    axes[0, 1].legend(fontsize=8, frameon=False)
    return figure


def _floor(rows: list[Row]) -> float:
    """Half of the smallest share that is not 0: where no wrong pixel is drawn."""
    return 0.5 * min((row["wrong %"] for row in rows if row["wrong %"]), default=1.0)


def _draw_descents(descents: list[Row]) -> Any:
    figure, axes = canvas(1, 2)
    least = _floor(descents)
    for k, name in enumerate(dict.fromkeys(row["descent"] for row in descents)):
        own = select(descents, descent=name)
        style: dict[str, Any] = {
            "color": COLORS[k],
            "ls": DASHES[k],
            "lw": 2,
            "label": f"{name}, h = {own[0]['step size']:g}",
        }
        wrong, loss = curve(own, "wrong %"), curve(own, "loss")
        band(axes[0, 0], np.arange(wrong.shape[1]), wrong, least, **style)
        band(axes[0, 1], np.arange(wrong.shape[1]), loss, **style)
    plain(axes[0, 0], "noisy: wrong pixels", "descent step", "% of pixels")
    plain(axes[0, 1], "noisy: loss", "descent step", LOSS)
    logarithmic(axes[0, 0], least=least)
    logarithmic(axes[0, 1])
    axes[0, 1].legend(fontsize=8, frameon=False)
    return figure
