"""In how many dimensions does learning happen? The weights of an image, and two predictors, in subspaces.

The intrinsic dimension is the smallest d of random subspaces θ = θ₀ + P z in which as many steps keep 90 % of what all
numbers gain (C. Li et al., Measuring the intrinsic dimension of objective landscapes, ICLR 2018). The rank of the core
of M = ∫ μ vᵀ (3.45) is another thing: M is a matrix over pairs of pixels and labels, from which one gradient is made.
So is the number of directions of a path, those in which one training went.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..flows.gradient import weight_gradient
from ..integrators import Krylov, Taylor
from ..learning.loss import cosine_loss
from ..learning.problem import ClosedForm
from ..prediction.fitted import FittedPredictor
from ..prediction.predictor import WeightPredictor
from ..prediction.weight_network import WeightNetwork
from ..scenes import voronoi_colors, voronoi_lines
from ..simplex import replicator
from .dimension_figure import draw
from .learning import SceneProblem, scene_problem
from .random_subspace import RandomSubspace, Span, Subspace
from .restricted import LogWeights, Trained, train_predictor, train_weights
from .result import Drawing, ExperimentResult, Row, Setting, select
from .subspace import DIMENSION

#: Scenes whose weights are learned: maker and sites at 128×128.
SCENES = {"lines": (voronoi_lines, 30), "colors": (voronoi_colors, 50)}
#: Predictors of noisy lines.
PREDICTORS: dict[str, Callable[..., FittedPredictor]] = {
    "WeightPredictor": partial(WeightPredictor, 50),
    "WeightNetwork": partial(WeightNetwork, (16,), features="patch:2", correction=False),
}
#: Step sizes of the weights, the change of a log-weight in a step, and that of the predictors' Adam; their noise.
STEPS, PREDICTOR_STEP, NOISE = (0.05, 0.3), 0.05, 0.5
#: The share of the gain that counts, in percent, and of the squares of singular values.
KEPT, HELD = 90.0, 0.99
#: Numbers of chosen directions; terms of the core, the next of which are rounding.
CHOSEN, TERMS = (1, 2, 3, 5, 10), 3
RANDOM, PATH, CORE, FULL = "random", "of the path", "of the core", "all numbers"
LOSS, WRONG = "loss kept %", "wrong kept %"


#: Train in a subspace, or all numbers, and with a step size.
Train = Callable[[Subspace | None, float], Trained]


def run(setting: Setting) -> ExperimentResult:
    """Learn weights of images of two sizes and two predictors, all numbers and in subspaces of every dimension."""
    rows: list[Row] = []
    directions: list[Row] = []
    for about, train, steps, core in _tasks(setting):
        setting.tell(f"{about['learned']}, {about['side']}×{about['side']}")
        more, values = _measured(train, steps, setting, core)
        rows += [about | row for row in more]
        directions += [about | row for row in values]
    caption = (
        "What learning in d dimensions keeps of the gain of learning all numbers, in as many steps: random subspaces "
        f"(mean and range over {setting.pick(3, 2)} of them; dashed, images of half the side), the first directions of "
        "the path of the full training, and those that the first terms of the core give at the start. Weights are "
        "learned on the image, with the better of two step sizes; the loss of predictors is that of the images they "
        f"learn from, their wrong pixels are those of unseen ones. Dotted: {KEPT:g} %. Below: singular values of the "
        "path, and of the core before and after training."
    )
    drawing = Drawing(draw(rows, directions, {LOSS: "loss", WRONG: "wrong pixels"}, KEPT), caption)
    tables = {"dimension": rows, "dimension-directions": directions}
    return ExperimentResult({"dimension": drawing}, tables, finding(rows, directions))


def _tasks(setting: Setting) -> Any:
    """What is learned, its training, step sizes, and where there is one the core."""
    for name, (make, sites) in SCENES.items():
        for side in (setting.size // 2, setting.size):
            p = scene_problem(make(side, sites=_cells(sites, side), seed=setting.seed))
            core = partial(_core, p) if side == setting.size else None
            about = {"learned": f"weights of {name}", "side": side}
            yield about, partial(train_weights, p, setting.pick(50, 20)), STEPS, core
    side = setting.size // 2
    known, unseen = (
        [
            voronoi_lines(side, sites=_cells(30, side), noise=NOISE, seed=setting.seed + first + k)
            for k in range(setting.pick(4, 2))
        ]
        for first in (0, 500)
    )
    for name, maker in PREDICTORS.items():
        about = {"learned": name, "side": side}
        yield about, partial(train_predictor, maker, known, unseen, setting.pick(50, 20)), (PREDICTOR_STEP,), None


def _cells(sites: int, side: int) -> int:
    return max(4, round(sites * (side / 128) ** 2))


def _measured(train: Train, steps: tuple[float, ...], setting: Setting, core: Any) -> tuple[list[Row], list[Row]]:
    """Rows of all numbers and of every subspace, and the singular values of the path and of the core."""
    step, full = _best(train, None, steps)
    n = full.path.shape[1]
    _, sigma, right = np.linalg.svd(full.path[1:], full_matrices=False)
    chosen, values = {PATH: right}, {"path": sigma}
    if core is not None:
        chosen[CORE], values["core at the start"], values["core at the end"] = core(full.path[-1])
    spaces: list[tuple[str, int, Subspace]] = [
        (RANDOM, seed, RandomSubspace(n, d, seed))
        for d in dimensions(n)[:: setting.pick(1, 2)]
        for seed in range(setting.pick(3, 2))
    ]
    spaces += [(kind, 0, Span(found[:r])) for kind, found in chosen.items() for r in CHOSEN if r <= len(found)]
    rows = [{"n": n, "kind": FULL, "d": n, "seed": 0, "step size": step} | _gain(full, full)]
    for kind, seed, space in spaces:
        step, found = _best(train, space, steps)
        about = {"n": n, "kind": kind, "d": space.dimension, "seed": seed, "step size": step}
        rows.append(about | _gain(found, full))
    return rows, [
        {"of": name, "k": k + 1, "singular value": float(x)}
        for name, found in values.items()
        for k, x in enumerate(found[:DIMENSION])
    ]


def dimensions(n: int) -> list[int]:
    """Powers of 2 from 4 to n/2, and n."""
    return [2**k for k in range(2, n.bit_length()) if 2 * 2**k <= n] + [n]


def _best(train: Train, space: Subspace | None, steps: tuple[float, ...]) -> tuple[float, Trained]:
    """The step size whose training ends at the smallest loss, and that training."""
    found = {step: train(space, step) for step in steps}
    step = min(found, key=lambda h: found[h].end[0])
    return step, found[step]


def _gain(found: Trained, full: Trained) -> Row:
    """Both ends of a training, and what it keeps of the gain of the full one."""
    (loss, wrong), (start_loss, start_wrong) = found.end, found.start
    kept = [
        100 * (s - e) / (s - f) if s != f else float("nan")
        for s, e, f in zip(found.start, found.end, full.end, strict=True)
    ]
    ends = {"start loss": start_loss, "loss": loss, "start wrong %": start_wrong, "wrong %": wrong}
    return ends | dict(zip((LOSS, WRONG), kept, strict=True))


def _core(p: SceneProblem, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The directions of log-weights that its terms give at the start; its singular values there and at the end."""
    p = scene_problem(p.scene, dtype=np.float64)
    logs, values = LogWeights(p, ClosedForm(Taylor(10))), []
    slopes = [np.zeros(len(end))]
    for z in (np.zeros(len(end)), end):
        weights = logs.weights(z)
        flow = p.flow(weights)
        solution = Krylov(DIMENSION).solve(flow, p.time)
        g = cosine_loss(solution.v, p.truth).derivative
        values.append(solution.integrator.sensitivity(flow, solution, g, rank=1).singular_values)
        for rank in range(1, TERMS + 1) if len(values) == 1 else ():
            found = weight_gradient(flow, solution, g, rank=rank).weights
            slopes.append(replicator(weights, found).ravel())
    return np.diff(slopes, axis=0), values[0], values[1]


def finding(rows: list[Row], directions: list[Row]) -> str:
    """How many dimensions of random and of chosen subspaces keep the gain, and whether they grow with the image."""
    words = []
    for name in dict.fromkeys(row["learned"] for row in rows):
        mine, side = select(rows, learned=name), max(row["side"] for row in select(rows, learned=name))
        words.append(_said(name, select(mine, side=side), select(directions, learned=name, side=side)))
    for name in dict.fromkeys(row["learned"] for row in rows):
        few, many = (select(rows, learned=name, kind=RANDOM, side=s) for s in sorted({row["side"] for row in rows}))
        if few and many and smallest(few, LOSS) and smallest(many, LOSS):
            factor = np.median(smallest(many, LOSS)) / np.median(smallest(few, LOSS))
            words.append(f"With four times the pixels, {name} take {factor:.2g} times as many random directions.")
    return " ".join(words)


def _said(name: str, mine: list[Row], directions: list[Row]) -> str:
    (full,) = select(mine, kind=FULL)
    n, side = full["n"], full["side"]
    needs = [smallest(select(mine, kind=RANDOM), column) for column in (LOSS, WRONG)]
    loss, wrong = (f"{np.median(d):.0f} ({100 * np.median(d) / n:.2g} %)" if d else "more than all" for d in needs)
    parts = [
        f"{name[0].upper()}{name[1:]} ({side}×{side} pixels, {n} numbers): {KEPT:g} % of the gain in loss takes {loss} "
        f"random directions, that in wrong pixels ({full['start wrong %']:.3g} to {full['wrong %']:.3g} %) {wrong}"
    ]
    for kind in (PATH, CORE):
        chosen = select(mine, kind=kind)
        if chosen:
            enough = [row for row in chosen if row[LOSS] >= KEPT]
            row = enough[0] if enough else max(chosen, key=lambda row: row[LOSS])
            count = "one direction" if row["d"] == 1 else f"{row['d']} directions"
            parts.append(f"{row[LOSS]:.0f} % in loss is kept in {count} {kind}")
    held = {
        of: held_in([row["singular value"] for row in select(directions, of=of)]) for of in _names(directions, "of")
    }
    listed = ", ".join(f"{count} of the {of}" for of, count in held.items())
    return f"{'; '.join(parts)}; {100 * HELD:g} % of the squares are in {listed}."


def _names(rows: list[Row], column: str) -> list[str]:
    return list(dict.fromkeys(row[column] for row in rows))


def smallest(rows: list[Row], column: str) -> list[int]:
    """The smallest d that keeps the share, for each seed that has one."""
    found = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        own = [row["d"] for row in select(rows, seed=seed) if row[column] >= KEPT]
        found += [min(own)] if own else []
    return found


def held_in(values: list[float]) -> int:
    """How many of the first singular values hold the share of the squares."""
    squares = np.cumsum(np.square(values))
    return 1 + int(np.searchsorted(squares / squares[-1], HELD))
