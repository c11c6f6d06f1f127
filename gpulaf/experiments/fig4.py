"""Fig. 4: what the Krylov dimension, the rank of the gradient and the integration time do to learning."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..averaging.grid import Grid
from ..backend.products import norm
from ..flows.gradient import exact_gradient
from ..flows.linear import LinearFlow
from ..integrators import Krylov, Taylor
from ..learning.descent import RiemannianGradient
from ..learning.loss import cosine_loss
from ..learning.problem import ClosedForm, Gradient
from ..plots.style import DASHES, RAMP, band, canvas, logarithmic, plain, show_image
from ..scenes import Scene, voronoi_colors
from .learning import TIME, SceneFit, SceneProblem, descend, labels, scene_problem
from .result import Drawing, ExperimentResult, Row, Setting, select

DIMENSIONS, RANKS, TIMES = (2, 3, 5, 10), (1, 2, 10), (1.0, 3.0, 6.0, 10.0)
#: Times at which the dimension is varied.
DIMENSION_TIMES = (3.0, 6.0)
#: h per pixel.
STEP = 0.3
#: Relative differences of losses: the first is the width of a line in the figure, from the second on curves differ.
SAME, VISIBLE = 0.04, 0.1
#: Steps between two measurements of the error of the gradient.
EVERY = 10
ERROR = "gradient error"


def run(setting: Setting) -> ExperimentResult:
    """Train on noisy colors with every dimension, rank and time; measure each gradient against the exact one."""
    scenes = [
        voronoi_colors(setting.size, sites=setting.sites(50), seed=setting.seed + k) for k in range(setting.pick(3, 1))
    ]
    cases: list[tuple[str, float, float, Gradient]] = []
    cases += [("m", m, time, ClosedForm(Krylov(m), rank=m)) for time in DIMENSION_TIMES for m in DIMENSIONS]
    cases += [("rank", rank, TIME, ClosedForm(Krylov(10), rank=rank)) for rank in RANKS]
    cases += [("T", time, time, ClosedForm(Krylov(tol=1e-6), rank=1)) for time in TIMES]
    rows: list[Row] = []
    needed: list[Row] = []
    shown: dict[float, tuple[np.ndarray, np.ndarray]] = {}
    for varied, value, time, gradient in cases:
        setting.tell(f"{varied} = {value:g}, T = {time:g}")
        for k, scene in enumerate(scenes):
            p = scene_problem(scene, time=time)
            fit = _train(p, gradient, setting.pick(50, 20))
            about = {"varied": varied, "value": value, "T": time, "seed": setting.seed + k}
            rows += [about | row for row in fit.rows]
            if varied == "T":
                needed += [{"T": time, "seed": setting.seed + k} | row for row in _dimensions(p, fit.weights)]
                shown.setdefault(time, (labels(p.uniform_weights, p), labels(fit.weights, p)))
    return ExperimentResult(
        _drawings(rows, needed, scenes, shown),
        {"fig4": rows, "fig4-dimension-needed": needed},
        finding(rows, needed),
    )


def finding(rows: list[Row], needed: list[Row]) -> str:
    """Whether m = 5 and m = 10 train alike and m = 2 worse, whether rank 1 trains as full rank, what T does."""
    words = []
    for time in DIMENSION_TIMES:
        two, five, ten = (mean(rows, "loss", varied="m", value=m, T=time) for m in (2, 5, 10))
        gap, excess = float(abs(five / ten - 1).max()), float(two[-1] / ten[-1] - 1)
        same = "cannot be told apart" if gap <= SAME else "can be told apart"
        worse = "visibly worse" if excess >= VISIBLE else "not visibly worse"
        words.append(
            f"At T = {time:g}, m = 5 and m = 10 {same} (losses within {100 * gap:.2g} %), "
            f"and m = 2 is {worse} (last loss {100 * excess:+.0f} %)."
        )
    one, full = (mean(rows, "loss", varied="rank", value=rank) for rank in (RANKS[0], RANKS[-1]))
    gap = float(abs(one / full - 1).max())
    verdict = "trains as full rank does" if gap <= SAME else "does not train as full rank does"
    words.append(f"Rank 1 {verdict} (losses within {100 * gap:.2g} %).")
    ends = [mean(rows, "loss", varied="T", value=time)[-1] for time in TIMES]
    best = TIMES[int(np.argmin(ends))]
    order = "and the larger T from there on, the slower" if _rises(ends) else "but larger T is not slower throughout"
    listed = ", ".join(f"{end:.2g} at T = {time:g}" for time, end in zip(TIMES, ends, strict=True))
    least, most = (_needed(needed, time, "learned").mean() for time in (TIMES[0], TIMES[-1]))
    words.append(f"T = {best:g} trains best, {order} (last losses {listed}).")
    words.append(f"With learned weights, the dimension for 1e-4 goes from {least:.1f} to {most:.1f} over these T.")
    return " ".join(words)


def _rises(ends: list[float]) -> bool:
    """Whether the values rise from the smallest on."""
    tail = ends[int(np.argmin(ends)) :]
    return tail == sorted(tail)


def mean(rows: list[Row], column: str, **which: Any) -> np.ndarray:
    """A column over the steps, mean over the scenes."""
    return _curves(select(rows, **which), column).mean(axis=0)


def _curves(rows: list[Row], column: str) -> np.ndarray:
    """(scenes, steps)."""
    return np.array([[row[column] for row in select(rows, seed=s)] for s in dict.fromkeys(row["seed"] for row in rows)])


def _train(p: SceneProblem, gradient: Gradient, steps: int) -> SceneFit:
    def watch(step: int, weights: np.ndarray) -> Row:
        return {ERROR: gradient_error(p, weights, gradient) if step % EVERY == 0 else float("nan")}

    return descend(p, gradient, RiemannianGradient(STEP), steps, watch=watch)


def gradient_error(p: SceneProblem, weights: np.ndarray, gradient: Gradient) -> float:
    """‖∂Ω − exact‖/‖exact‖, the exact one in float64 from the exact v(T)."""
    flow = LinearFlow(Grid(weights.astype(np.float64)), p.log_likelihood.astype(np.float64))
    g = cosine_loss(Taylor(tol=1e-12).solve(flow, p.time, keep_basis=False).v, p.truth).derivative
    exact = exact_gradient(flow, p.time, g).weights
    return norm(gradient(p, [Grid(weights)]).weights[0] - exact) / norm(exact)


def _dimensions(p: SceneProblem, learned: np.ndarray) -> list[Row]:
    """The Krylov dimension that a relative error of 1e-4 in v takes, with uniform and with learned weights."""
    rows = []
    for name, weights in (("uniform", p.uniform_weights), ("learned", learned)):
        solution = Krylov(tol=1e-4).solve(p.flow(weights), p.time)
        rows.append({"weights": name, "dimension": len(solution.basis.hessenberg)})
    return rows


def _needed(needed: list[Row], time: float, weights: str) -> np.ndarray:
    return np.array([row["dimension"] for row in select(needed, T=time, weights=weights)])


def _drawings(rows: list[Row], needed: list[Row], scenes: list[Scene], shown: dict[float, Any]) -> dict[str, Drawing]:
    steps, size = max(row["step"] for row in rows), len(scenes[0].truth)
    count = f"{len(scenes)} noisy scenes" if len(scenes) > 1 else "A noisy scene"
    about = (
        f"{count} of colors of {size}×{size} pixels, {steps} steps of plain Riemannian descent, "
        f"h = {STEP} per pixel; mean (line) and range (band). "
    )
    figure, axes = canvas(2, 2)
    for line, time in zip(axes, DIMENSION_TIMES, strict=True):
        _pair(line, select(rows, varied="m", T=time), f"T = {time:g}", "m = {:g}")
    ranks, (line,) = canvas(1, 2)
    _pair(line, select(rows, varied="rank"), f"T = {TIME:g}, m = 10", "rank {:g}")
    return {
        "fig4-dimension": Drawing(figure, f"{about}Krylov dimension m, gradient of full rank."),
        "fig4-rank": Drawing(ranks, f"{about}Rank of the gradient."),
        "fig4-time": Drawing(
            _draw_times(rows, needed),
            f"{about}Integration time T; rank 1. Right: Krylov dimension for a relative error of 1e-4 in v.",
        ),
        "fig4-labelings": Drawing(
            _draw_labelings(scenes[0], shown),
            f"Labelings of one scene by T, with uniform weights (above) and after {steps} steps of learning (below).",
        ),
    }


def _pair(line: Any, rows: list[Row], where: str, name: str) -> None:
    """Loss on the left, error of the gradient on the right, a line for each value."""
    for k, value in enumerate(dict.fromkeys(row["value"] for row in rows)):
        own = select(rows, value=value)
        style: dict[str, Any] = {"color": RAMP[k], "ls": DASHES[-k % 4], "lw": 2, "label": name.format(value)}
        loss, error = _curves(own, "loss"), _curves(own, ERROR)
        band(line[0], np.arange(loss.shape[1]), loss, **style)
        at = np.arange(0, loss.shape[1], EVERY)
        band(line[1], at, error[:, at], marker="o", ms=4, **style)
    plain(line[0], f"{where}: loss", "descent step", "cosine loss")
    plain(line[1], f"{where}: error of the gradient", "descent step", "relative to the exact gradient")
    for axis in line[:2]:
        logarithmic(axis)
    line[0].legend(fontsize=8, frameon=False)


def _draw_times(rows: list[Row], needed: list[Row]) -> Any:
    figure, (line,) = canvas(1, 3)
    _pair(line, select(rows, varied="T"), "rank 1", "T = {:g}")
    for name, color, marker in (("uniform", RAMP[0], "o"), ("learned", RAMP[3], "s")):
        dimensions = np.array([_needed(needed, time, name) for time in TIMES]).T
        band(line[2], np.array(TIMES), dimensions, color=color, marker=marker, lw=2, label=f"{name} weights")
    plain(line[2], "Krylov dimension for 1e-4", "T", "dimension m")
    line[2].set_ylim(bottom=0)
    line[2].set_xticks(TIMES)
    line[2].legend(fontsize=8, frameon=False)
    return figure


def _draw_labelings(scene: Scene, shown: dict[float, tuple[np.ndarray, np.ndarray]]) -> Any:
    figure, axes = canvas(2, len(shown) + 1, width=2.2, height=2.4)
    show_image(axes[0, 0], scene.image.clip(0, 1), "noisy image")
    show_image(axes[1, 0], scene.clean, "ground truth")
    for column, (time, pair) in zip(axes.T[1:], shown.items(), strict=True):
        for axis, name, found in zip(column, ("uniform", "learned"), pair, strict=True):
            wrong = 100 * np.mean(found != scene.truth)
            show_image(axis, scene.prototypes[found], f"T = {time:g}, {name}\n{wrong:.2f} % wrong")
    return figure
