"""The subspace in which the weights move: singular values, leading pair and its angles over training.

M = ∫ μ(t) v(t)ᵀ dt has the leading left field P y₁ and right field Q z₁ (3.45); the rank-1 gradient is made of them and
of the mean of the adjoint.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..averaging.base import Averaging
from ..backend.products import norm
from ..flows.gradient import weight_gradient
from ..flows.linear import LinearFlow
from ..integrators import Krylov
from ..learning.descent import RiemannianGradient
from ..learning.loss import cosine_loss
from ..learning.problem import Evaluation, FitProblem, Gradient
from ..plots.figures import patch_glyphs
from ..plots.style import COLORS, DASHES, RAMP, logarithmic, plain, show_image
from ..scenes import voronoi_lines
from .learning import SceneProblem, descend, scene_problem
from .result import Drawing, ExperimentResult, Row, Setting

#: Singular values that are kept, Krylov dimension and step size per pixel.
COUNT, DIMENSION, STEP = 5, 10, 0.1
#: Degrees per step under which the subspace is said to rest.
REST = 1.0


def run(setting: Setting) -> ExperimentResult:
    """Train on noisy lines by the rank-1 gradient and look at every step's core."""
    setting.tell("lines")
    scene = voronoi_lines(setting.size, sites=setting.sites(30), seed=setting.seed)
    p = scene_problem(scene, dtype=np.float64)
    pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    steps = setting.pick(50, 20)
    fit = descend(p, _recorded(pairs), RiemannianGradient(STEP), steps, watch=lambda *_: _angles(pairs))
    caption = (
        f"Training on noisy lines of {setting.size}×{setting.size} pixels, T = 3, m = {DIMENSION}, h = {STEP} per "
        "pixel. Above: singular values of the core, and the angles of the leading fields to those of the step before; "
        "learned patches of the boxed pixels. Below: leading pair after the first and the last step, label 1 of 2 "
        "(the other is its negative), scaled to its largest value."
    )
    drawing = Drawing(_draw(p, fit.rows, pairs, fit.weights), caption)
    return ExperimentResult({"subspace": drawing}, {"subspace": fit.rows}, finding(fit.rows))


def finding(rows: list[Row]) -> str:
    """Whether the first singular value leads by ten times throughout, and how much its fields turn."""
    ratios = np.array([row["sigma 1"] / row["sigma 2"] for row in rows])
    leads = (
        "leads the second by over ten times" if ratios.min() > 10 else "does not always lead the second by ten times"
    )
    left, right = ([row[f"{side} angle"] for row in rows[1:]] for side in ("left", "right"))
    late_left, late_right = (float(np.median(turns[-5:])) for turns in (left, right))
    calm = "comes to rest" if max(late_left, late_right) < REST else "still turns"
    return (
        f"The first singular value {leads} (ratios {ratios.min():.3g} to {ratios.max():.3g}). The subspace {calm}: "
        f"from step to step its left field turns by {left[0]:.2g} degrees at first and {late_left:.2g} in the last "
        f"steps, its right field by {right[0]:.2g} and {late_right:.2g}; "
        f"over all steps by {rows[-1]['left angle to start']:.3g} and {rows[-1]['right angle to start']:.3g}."
    )


def angle(x: np.ndarray, y: np.ndarray) -> float:
    """Angle between the lines spanned by two fields, in degrees: 0 to 90."""
    x, y = x / norm(x), y / norm(y)
    # by the chord, which keeps small angles that the cosine loses
    return float(np.degrees(2 * np.arcsin(min(1.0, min(norm(x - y), norm(x + y)) / 2))))


def _recorded(pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Gradient:
    """The rank-1 gradient; keeps the leading pair and the singular values of every evaluation."""

    def gradient(problem: FitProblem, averagings: list[Averaging]) -> Evaluation:
        flow = LinearFlow(averagings[0], problem.log_likelihood)
        solution = Krylov(DIMENSION).solve(flow, problem.times[0])
        value, g = cosine_loss(solution.v, problem.truth)
        split = solution.integrator.sensitivity(flow, solution, g, rank=1)
        pairs.append((split.left[0] / norm(split.left[0]), split.right[0], split.singular_values[:COUNT]))
        return Evaluation(value, solution.v, [weight_gradient(flow, solution, g, rank=1).weights], 1)

    return gradient


def _angles(pairs: list[Any]) -> Row:
    """Singular values of the last step, and the angles of its pair to the pair before and to the first."""
    row: Row = {f"sigma {k + 1}": float(value) for k, value in enumerate(pairs[-1][2])}
    for side, name in enumerate(("left", "right")):
        last = pairs[-1][side]
        row[f"{name} angle"] = angle(last, pairs[-2][side]) if len(pairs) > 1 else float("nan")
        row[f"{name} angle to start"] = angle(last, pairs[0][side])
    return row


def _draw(p: SceneProblem, rows: list[Row], pairs: list[Any], weights: np.ndarray) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.2, 6.6), layout="constrained")
    axes = figure.subplots(2, 4)
    steps = [row["step"] for row in rows]
    for k in range(COUNT):
        values = [row[f"sigma {k + 1}"] for row in rows]
        axes[0, 0].plot(steps, values, color=RAMP[k], ls=DASHES[-k % 4], lw=2)
        axes[0, 0].annotate(f" σ{'₁₂₃₄₅'[k]}", (steps[-1], values[-1]), va="center", fontsize=10, color=RAMP[k])
    plain(axes[0, 0], "singular values of the core", "descent step", "singular value")
    for k, (which, name) in enumerate({"left": "left, P y₁", "right": "right, Q z₁"}.items()):
        turns = [row[f"{which} angle"] for row in rows[1:]]
        axes[0, 1].plot(steps[1:], turns, color=COLORS[k], ls=DASHES[k], lw=2, label=name)
    plain(axes[0, 1], "turn of the leading fields", "descent step", "degrees from the step before")
    for axis in axes[0, :2]:
        logarithmic(axis)
    axes[0, 1].legend(fontsize=8, frameon=False)
    show_image(axes[0, 2], p.scene.clean, "ground truth")
    patch_glyphs(axes[0, 3], axes[0, 2], p.scene, weights)
    for column, (when, side, name) in zip(
        range(4), ((0, 0, "P y₁"), (0, 1, "Q z₁"), (-1, 0, "P y₁"), (-1, 1, "Q z₁")), strict=True
    ):
        field = pairs[when][side][:, 1]
        field = field * np.sign(field.sum() or 1.0) / abs(field).max()
        axis = axes[1, column]
        shade = axis.imshow(field, cmap="PuOr", vmin=-1, vmax=1, interpolation="nearest")
        axis.set_title(f"{name}, {'first' if when == 0 else 'last'} step", fontsize=10)
        axis.set(xticks=[], yticks=[])
    figure.colorbar(shade, ax=list(axes[1]), shrink=0.8, aspect=30)
    return figure
