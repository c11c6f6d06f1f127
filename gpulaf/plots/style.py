"""The look of the figures: few lines, colors for the color-blind, axes with units."""

from __future__ import annotations

from typing import Any

import numpy as np

from .figures import QUALITATIVE

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
    if x.endswith("step"):
        axis.xaxis.get_major_locator().set_params(integer=True)


def logarithmic(axis: Any, *, least: float | None = None) -> None:
    """A logarithmic y axis with plain numbers; values of `least`, which stand for 0, lie on a line called none."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    if least is not None and low < least:
        low = 0.8 * least
        axis.set_ylim(low, high)
        axis.axhline(least, color="#999999", lw=0.8, zorder=0)
        axis.annotate("none", (1, least), (0, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", fontsize=8, color="#777777")  # fmt: skip
    shown = "1" if high > 2e3 * low else "15" if high > 30 * low else "123468" if high < 6 * low else "1235"
    for which in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        which(lambda value, _: f"{value:g}" if f"{value:e}"[0] in shown else "")
    axis.tick_params(which="both", labelsize=8)


def band(axis: Any, x: np.ndarray, values: np.ndarray, least: float = 0.0, **line: Any) -> None:
    """Mean over images as a line, smallest to largest as a band: values (images, steps)."""
    mean, low, high = (np.maximum(f(values, axis=0), least) for f in (np.mean, np.min, np.max))
    axis.plot(x, mean, **line)
    if len(values) > 1:
        axis.fill_between(x, low, high, color=line.get("color"), alpha=0.15, lw=0)
