"""Memory of every gradient over the size of the image, measured, beside what it has to keep by its formula.

What counts is what one gradient holds at once beside its input, ℓ, Ω and the truth: bytes of arrays (``tracemalloc``),
of the baselines those of PyTorch's tensors (its profiler). Kernels are compiled before.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..flows.gradient import exact_gradient, weight_gradient
from ..flows.linear import LinearFlow
from ..integrators import Euler, Krylov, Taylor
from ..integrators.base import Integrator
from ..learning.loss import cosine_loss
from ..plots.style import COLORS, DASHES, canvas, logarithmic, plain
from ..scenes import voronoi_lines
from . import missing
from .kronecker import dense_derivative
from .learning import TIME, SceneProblem, scene_problem
from .result import Drawing, ExperimentResult, Row, Setting, only, select

#: Krylov dimension m, degree d, nodes q of the quadrature and steps n of Euler that backpropagation goes through.
DIMENSION, DEGREE, NODES, STEPS = 10, 10, 16, 20
#: What every gradient that stores no matrix holds: S, v and the derivative of the loss, and ∂Ω.
FIELDS, PATCH = 3, 9
KEPT, NEEDED = "floats per pixel", "floats per pixel by formula"


class Method(NamedTuple):
    """A gradient, and the floats per pixel that it has to keep."""

    #: From a problem to ∂Ω.
    gradient: Callable[[SceneProblem], Any]
    #: Of J labels and a number of pixels.
    formula: Callable[[int, int], float]
    #: The formula in letters.
    text: str
    dense: bool = False
    torch: bool = False


def methods() -> dict[str, Method]:
    """Every gradient by its name."""

    def kept(fields: float) -> Callable[[int, int], float]:
        return lambda labels, pixels: labels * (fields + FIELDS) + PATCH

    found = {
        "dense, Kronecker sum": Method(_dense, lambda labels, pixels: (labels * pixels + 1) ** 4 / pixels, "k⁴", True),
        f"exact, {NODES} nodes": Method(_exact, kept(2 * NODES), "2qJ"),
        f"Krylov, m = {DIMENSION}, rank 1": Method(_closed(Krylov(DIMENSION), rank=1), kept(2 * DIMENSION), "2mJ"),
        f"moments, d = {DEGREE}, rank 1": Method(_closed(Taylor(DEGREE), rank=1), kept(2 * DEGREE), "2dJ"),
        f"reverse Horner, d = {DEGREE}": Method(_horner, kept(2 * DEGREE), "2dJ"),
        f"the same in a wave, d = {DEGREE}": Method(_closed(Taylor(DEGREE)), kept(0), "no series"),
    }
    if missing("fig2") is None:  # what needs PyTorch
        # a step of the baseline keeps v with a border, its average and the average without its mean
        euler, krylov = 3 * STEPS, 3 * DIMENSION + DIMENSION * (DIMENSION + 1) / 2
        found |= {
            f"autodiff of Euler, {STEPS} steps": Method(_auto(Euler(STEPS)), kept(euler), "3nJ", torch=True),
            f"autodiff of Krylov, m = {DIMENSION}": Method(
                _auto(Krylov(DIMENSION)), kept(krylov), "(3m + m(m + 1)/2)J", torch=True
            ),
        }
    return found


def run(setting: Setting) -> ExperimentResult:
    """Measure every gradient on noisy lines of growing size, the dense one on a handful of pixels."""
    rows: list[Row] = []
    for name, method in methods().items():
        sides = [*range(2, setting.pick(5, 4))] if method.dense else [k * setting.size // 4 for k in (1, 2, 4, 6)]
        for side in sides:
            setting.tell(f"{name}, {side}×{side}")
            rows.append({"gradient": name, "keeps": method.text, "side": side} | measured(method, side, setting.seed))
    caption = (
        "Memory of one gradient of the loss on noisy lines (two labels, T = 3) beside its input. Left: measured (dots, "
        "lines) and by the formula (crosses), float32, the dense one float64. Right: floats per pixel of the largest "
        "image, measured (bars) and by the formula (marks); J labels, k = JHW + 1, and what each keeps beside S, v, "
        "the derivative of the loss and ∂Ω."
    )
    return ExperimentResult({"space": Drawing(_draw(rows), caption)}, {"space": rows}, finding(rows))


def measured(method: Method, side: int, seed: int) -> Row:
    """Bytes and floats per pixel of one gradient, beside the formula."""
    dtype = np.dtype(np.float64 if method.dense else np.float32)
    scene = voronoi_lines(side, sites=max(2, round(30 * (side / 128) ** 2)), seed=seed)
    p = scene_problem(scene, dtype=dtype)
    taken = (_tensor_bytes if method.torch else _array_bytes)(lambda: method.gradient(p))
    labels, pixels = p.log_likelihood.shape[-2], side * side
    needed = method.formula(labels, pixels)
    return {"labels": labels, "bytes": taken, KEPT: taken / (pixels * dtype.itemsize), NEEDED: needed}


def finding(rows: list[Row]) -> str:
    """Which gradient takes least and most at the largest size, and how far formulas are from what is measured."""
    side = max(row["side"] for row in rows)
    large = sorted(select(rows, side=side), key=lambda row: row[KEPT])
    ratios = [row[KEPT] / row[NEEDED] for row in large]
    dense = [row for row in rows if row["side"] < min(r["side"] for r in rows if r["gradient"] == large[0]["gradient"])]
    words = ", ".join(f"{row['gradient']}: {row[KEPT]:.0f}" for row in large)
    tail = ""
    if dense:
        last = max(dense, key=lambda row: row["side"])
        tail = f" The dense form takes {last['bytes'] / 1e6:.3g} MB for {last['side']}×{last['side']} pixels."
    return (
        f"At {side}×{side} pixels and {large[0]['labels']} labels a gradient holds, in floats per pixel, {words}; "
        f"{min(ratios):.2g} to {max(ratios):.2g} times what the formulas say.{tail}"
    )


def _array_bytes(task: Callable[[], Any]) -> int:
    """Bytes of NumPy arrays that a task holds at once; it runs once before."""
    task()
    tracemalloc.start()
    try:
        kept = task()
        del kept
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _tensor_bytes(task: Callable[[], Any]) -> int:
    """Bytes of PyTorch's tensors that a task holds at once; it runs once before."""
    from torch.profiler import ProfilerActivity, profile

    task()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = task()
    del kept
    events = (e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]")
    changes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return int(np.cumsum([0, *changes]).max())


def _closed(solver: Integrator, **options: Any) -> Callable[[SceneProblem], Any]:
    """The closed-form gradient by an integrator."""

    def gradient(p: SceneProblem) -> Any:
        flow = p.flow(p.uniform_weights)
        solution = solver.solve(flow, TIME)
        return weight_gradient(flow, solution, cosine_loss(solution.v, p.truth).derivative, **options).weights

    return gradient


def _horner(p: SceneProblem) -> Any:
    """Reverse Horner's scheme with both series stored."""
    flow, solver = p.flow(p.uniform_weights), Taylor(DEGREE)
    solution = solver.solve(flow, TIME)
    split = solver.sensitivity(flow, solution, cosine_loss(solution.v, p.truth).derivative)
    return flow.derivative(split.mean, split.left, split.right, split.image)[0]


def _exact(p: SceneProblem) -> Any:
    flow = p.flow(p.uniform_weights)
    g = cosine_loss(Taylor(tol=1e-12).solve(flow, TIME, keep_basis=False).v, p.truth).derivative
    return exact_gradient(flow, TIME, g, nodes=NODES).weights


def _dense(p: SceneProblem) -> Any:
    flow: LinearFlow = p.flow(p.uniform_weights)
    g = cosine_loss(Taylor(tol=1e-12).solve(flow, TIME, keep_basis=False).v, p.truth).derivative
    M, mean = dense_derivative(flow, TIME, g)
    n, shape = len(mean), flow.S.shape
    return flow.derivative(mean.reshape(shape), M.T.reshape(n, *shape), np.eye(n).reshape(n, *shape))[0]


def _auto(solver: Euler | Krylov) -> Callable[[SceneProblem], Any]:
    """Backpropagation through a solver."""

    def gradient(p: SceneProblem) -> Any:
        from .autodiff import derivative

        return derivative(solver, p.uniform_weights, p.log_likelihood, p.truth, TIME).weights

    return gradient


def _draw(rows: list[Row]) -> Any:
    figure, ((left, right),) = canvas(1, 2, width=5.0, height=3.8)
    names = list(dict.fromkeys(row["gradient"] for row in rows))
    for k, name in enumerate(names):
        mine = select(rows, gradient=name)
        pixels = np.array([row["side"] ** 2 for row in mine])
        scale = np.array([row["bytes"] / row[KEPT] for row in mine]) / 1e6
        style = {"color": COLORS[k], "lw": 2, "ls": DASHES[k % len(DASHES)]}
        left.plot(pixels, [row["bytes"] / 1e6 for row in mine], marker="o", ms=4, label=name, **style)
        left.plot(pixels, scale * [row[NEEDED] for row in mine], "x", color=COLORS[k], ms=7)
    left.set_xscale("log")
    plain(left, "memory of a gradient", "pixels", "MB")
    logarithmic(left)
    side = max(row["side"] for row in rows)
    shown = [name for name in names if select(rows, gradient=name, side=side)]
    for k, name in enumerate(shown):
        at, color = len(shown) - k, COLORS[names.index(name)]
        right.barh(at, only(rows, KEPT, gradient=name, side=side), color=color, height=0.6)
        right.plot([only(rows, NEEDED, gradient=name, side=side)], [at], "x", color="#222222", ms=8, mew=2)
    texts = [f"{name}\nkeeps {only(rows, 'keeps', gradient=name, side=side)}" for name in shown]
    plain(right, f"at {side}×{side} pixels", "floats per pixel", "")
    right.set_yticks(range(len(shown), 0, -1), texts)
    right.grid(axis="y", visible=False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure
