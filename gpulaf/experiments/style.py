"""The look of the figures: few lines, colors for the color-blind, axes with units."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..plots import QUALITATIVE

#: Blue, red, green, yellow, cyan, purple, grey.
COLORS = QUALITATIVE
DASHES = ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)), (0, (9, 3)), (0, (3, 3)))
#: Light to dark for parameters that grow.
RAMP = ("#E3A63B", "#D4722E", "#A63A50", "#5C2A72", "#1B1B4B")


def canvas(rows: int, columns: int, *, width: float = 3.6, height: float = 3.0) -> tuple[Any, Any]:
    """A figure and its (rows, columns) array of axes; sizes in inches per panel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def plain(axis: Any, title: str, x: str, y: str) -> None:
    """Title, named axes, a quiet grid, no box."""
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#E4E4E4", lw=0.6)


def logarithmic(axis: Any, *, least: float) -> None:
    """A logarithmic y axis that starts no lower than `least`, the smallest value that can be seen; plain numbers."""
    axis.set_yscale("log")
    axis.set_ylim(bottom=max(axis.get_ylim()[0], 0.7 * least))
    low, high = axis.get_ylim()
    shown = "1" if high > 3e3 * low else "15" if high > 1e2 * low else "1235"
    for which in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        which(lambda value, _: f"{value:g}" if f"{value:e}"[0] in shown else "")


def band(axis: Any, x: np.ndarray, values: np.ndarray, least: float = 0.0, **line: Any) -> None:
    """Mean over images as a line, smallest to largest as a band: values (images, steps)."""
    mean, low, high = (np.maximum(f(values, axis=0), least) for f in (np.mean, np.min, np.max))
    axis.plot(x, mean, **line)
    if len(values) > 1:
        axis.fill_between(x, low, high, color=line.get("color"), alpha=0.15, lw=0)
