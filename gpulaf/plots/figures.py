"""The figure of the demo, weight patches of a window, the roofline of a profile."""

from __future__ import annotations

from typing import Any

import numpy as np

from .style import ALARM, COLORS, GRID, INK, error_axis, frame, plain_numbers, show_image

__all__ = ["demo_figure", "patch_glyphs", "roofline_figure"]

#: Where a name may stand beside its dot, in points, near places first: shift and alignment.
PLACES = [
    (x * far, y * far, side)
    for far in (1, 2.4, 4, 6)
    for x, y, side in ((9, 0, "left"), (-9, 0, "right"), (9, 10, "left"), (-9, 10, "right"), (9, -10, "left"),
                       (-9, -10, "right"), (0, 14, "center"), (0, -14, "center"))
]  # fmt: skip


def demo_figure(scene: Any, panels: dict[str, np.ndarray], weights: np.ndarray, wrong: list[float]) -> Any:
    """Draw labelings without and with learned weights; truth, errors, learned patches and the curve of errors below.

    Parameters
    ----------
    scene : Scene
    panels : dict of (H, W) labels
        By title: pixelwise, uniform weights, learned weights.
    weights : (H, 9, W) array
        The learned patches.
    wrong : list of float
        Share of wrong pixels after each step, 0 to 1.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 6.6), layout="constrained")
    axes = figure.subplot_mosaic(
        [["noisy", *panels], ["truth", "errors", "patches", "curve"]], gridspec_kw={"wspace": 0.04, "hspace": 0.04}
    )
    show_image(axes["noisy"], scene.image.clip(0, 1), "noisy image")
    for title, labels in panels.items():
        share = 100 * np.mean(labels != scene.truth)
        show_image(axes[title], scene.prototypes[labels], f"{title}: {share:.2f} % wrong")
    show_image(axes["truth"], scene.clean, "ground truth")
    title = list(panels)[1]
    colors = ListedColormap(["#F0F0F0", ALARM])
    axes["errors"].imshow(panels[title] != scene.truth, cmap=colors, interpolation="nearest")
    frame(axes["errors"], f"wrong with {title} (red)")
    patch_glyphs(axes["patches"], axes["truth"], scene, weights)
    _curve(axes["curve"], wrong)
    return figure


def patch_glyphs(axis: Any, overview: Any, scene: Any, weights: np.ndarray, side: int = 9) -> None:
    """Draw the patches of a window of `side`² pixels, each by its (2r+1)² weights, and the borders of the true labels.

    Parameters
    ----------
    axis, overview : matplotlib axes
        Where the patches are drawn, and the image in which their window is marked.
    scene : Scene
    weights : (H, N, W) array
    """
    truth = scene.truth
    radius = (round(weights.shape[-2] ** 0.5) - 1) // 2
    span = 2 * radius + 1
    y0, x0 = _busiest_window(truth, side)
    window = weights[y0 : y0 + side, :, x0 : x0 + side].reshape(side, span, span, side)
    # a glyph has its (2r+1)² weights and a frame of one cell around them
    cells = np.full((side, span + 1, side, span + 1), np.nan)
    cells[:, :span, :, :span] = window.swapaxes(2, 3)
    glyphs = cells.reshape(side * (span + 1), side * (span + 1))
    axis.imshow(glyphs, cmap="Greys", vmin=0, vmax=0.5, interpolation="nearest")
    crop, step = truth[y0 : y0 + side, x0 : x0 + side], span + 1
    for y in range(side):
        for x in range(side):
            top, left = y * step - 1, x * step - 1
            if x and crop[y, x] != crop[y, x - 1]:
                axis.plot([left, left], [top, top + step], color=ALARM, lw=1.6, solid_capstyle="butt")
            if y and crop[y, x] != crop[y - 1, x]:
                axis.plot([left, left + step], [top, top], color=ALARM, lw=1.6, solid_capstyle="butt")
    frame(axis, f"learned weights of the boxed pixels\n(a {span}×{span} glyph each; red: true borders)")
    overview.add_patch(_box(x0, y0, side))


def _box(x: int, y: int, side: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), side, side, fill=False, edgecolor=ALARM, lw=1.6)


def _busiest_window(truth: np.ndarray, side: int) -> tuple[int, int]:
    """Return the corner (y, x) of the window of two labels whose smaller part is largest, off the border."""
    height, width = truth.shape
    best, corner = -1, (0, 0)
    for y in range(2, max(3, height - side - 1), 3):
        for x in range(2, max(3, width - side - 1), 3):
            counts = np.unique(truth[y : y + side, x : x + side], return_counts=True)[1]
            score = int(counts.min()) if len(counts) == 2 else 0
            if score > best:
                best, corner = score, (y, x)
    return corner


def _curve(axis: Any, wrong: list[float]) -> None:
    percent = [100 * share for share in wrong]
    axis.plot(range(len(percent)), percent, color=COLORS[0], lw=2)
    error_axis(axis, percent, "descent step")
    axis.set_title(f"wrong pixels, learning: {percent[0]:.2f} → {percent[-1]:.2f} %", fontsize=10)


def roofline_figure(profile: Any) -> Any:
    """Draw operations per second of every stage over its operations per byte, under the roof of the machine.

    Parameters
    ----------
    profile : Profile
        The roof is the fastest of its copies and, where there is one, the peak of arithmetic.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    x, y = (np.array([getattr(stage, name) for stage in profile.stages]) for name in ("intensity", "rate"))
    copy = max(stage.copy for stage in profile.stages)
    edges = [*x, *([] if profile.peak is None else [profile.peak / copy])]
    span = np.geomspace(min(edges) / 2.5, 2.5 * max(edges), 200)
    roof = np.minimum(span * copy, profile.peak or np.inf) / 1e9
    figure = Figure(figsize=(7.6, 4.8), layout="constrained")
    axis = figure.subplots()
    axis.plot(span, roof, color=INK, lw=1.6)
    axis.scatter(x, y / 1e9, s=30, color=COLORS[: len(x)], zorder=3)
    bottom, top = min(roof[0], y.min() / 1e9) / 2, 2.2 * max(roof.max(), y.max() / 1e9)
    axis.set(xscale="log", yscale="log", xlim=span[[0, -1]], ylim=(bottom, top))
    axis.set(xlabel="floating-point operations per byte", ylabel="Gflop/s")
    size = f"{profile.size}×{profile.size} pixels, {profile.labels} labels, {profile.dtype}"
    axis.set_title(f"one learning step, {size}\n{profile.machine}", fontsize=10)
    for scale in (axis.xaxis, axis.yaxis):
        plain_numbers(scale, "125")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(which="both", length=3)
    axis.grid(color=GRID, lw=0.6)
    _name_roof(axis, span, copy, profile.peak)
    names = [stage.name for stage in profile.stages]
    _name_dots(figure, axis, dict(zip(names, zip(x, y / 1e9, strict=True), strict=True)), np.stack([span, roof], 1))
    return figure


def _name_roof(axis: Any, span: np.ndarray, copy: float, peak: float | None) -> None:
    """Write bandwidth and peak at the roof."""
    slope = span[span < (peak or np.inf) / copy]
    at, how = slope[(4 * len(slope)) // 5], {"fontsize": 9, "color": INK, "va": "bottom", "ha": "right"}
    axis.annotate(f"copy: {copy / 1e9:.3g} GB/s", (at, at * copy / 1e9), (-6, 2), textcoords="offset points", **how)
    if peak is not None:
        text = f"multiply-adds in cache: {peak / 1e9:.3g} Gflop/s"
        axis.annotate(text, (span[-1], peak / 1e9), (-4, 4), textcoords="offset points", **how)


def _name_dots(figure: Any, axis: Any, dots: dict[str, Any], line: np.ndarray) -> None:
    """Write the names beside their dots: none on another, on a dot or on the line, as far as there is room."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # the layout is known from here on
    taken = [text.get_window_extent() for text in axis.texts]
    for points, free in ((list(dots.values()), 9), (line, 4)):
        taken += [Bbox([at - free, at + free]) for at in axis.transData.transform(points)]
    for name, point in sorted(dots.items(), key=lambda dot: -dot[1][1]):
        note = axis.annotate(name, point, (0, 0), textcoords="offset points", fontsize=9, va="center")
        for x, y, side in PLACES:
            note.xyann = (x, y)
            note.set_ha(side)
            box = note.get_window_extent()
            if axis.bbox.contains(*box.min) and axis.bbox.contains(*box.max) and not box.count_overlaps(taken):
                break
        taken.append(box)
        if abs(x) + abs(y) > 10:
            leader = {"arrowstyle": "-", "color": "#888888", "lw": 0.6, "shrinkA": 0, "shrinkB": 4}
            axis.annotate("", point, (x, y), textcoords="offset points", arrowprops=leader)
