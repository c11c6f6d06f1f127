"""The look of all figures: colors for the color-blind, axes with units, few lines. Without global state."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "ALARM", "COLORS", "DASHES", "GRID", "INK", "RAMP", "band", "canvas", "error_axis", "frame", "logarithmic", "plain",
    "show_image",
]  # fmt: skip

#: Colors that stay apart for color-blind readers (P. Tol, Colour schemes, SRON 2021, "bright" and "muted"): blue, red,
#: green, yellow, cyan, purple, grey first.
COLORS = (
    "#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB",
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255",
)  # fmt: skip
#: Errors; lines and words; lines of the grid.
ALARM, INK, GRID = "#CC3311", "#444444", "#E4E4E4"
DASHES = ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)), (0, (9, 3)), (0, (3, 3)))
#: Light to dark for parameters that grow.
RAMP = ("#E3A63B", "#D4722E", "#A63A50", "#5C2A72", "#1B1B4B")


def canvas(rows: int, columns: int, *, width: float = 3.6, height: float = 3.0) -> tuple[Any, Any]:
    """Return a figure and its (rows, columns) array of axes; `width` and `height` in inches per panel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def plain(axis: Any, title: str, x: str, y: str) -> None:
    """Set title and names of the axes; draw horizontal grid lines and no box."""
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color=GRID, lw=0.6)
    axis.set_axisbelow(True)
    if x.endswith("step"):
        axis.xaxis.get_major_locator().set_params(integer=True)


def logarithmic(axis: Any, *, least: float | None = None) -> None:
    """Make the y axis logarithmic, with plain numbers; `least`, which stands for 0, is a line called none."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    if least is not None and low < least:
        low = 0.8 * least
        axis.set_ylim(low, high)
        axis.axhline(least, color="#999999", lw=0.8, zorder=0)
        axis.annotate("none", (1, least), (0, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", fontsize=8, color="#777777")  # fmt: skip
    shown = "1" if high > 2e3 * low else "15" if high > 30 * low else "123468" if high < 6 * low else "1235"
    plain_numbers(axis.yaxis, shown)
    axis.tick_params(which="both", labelsize=8)


def plain_numbers(scale: Any, shown: str, unit: str = "") -> None:
    """Label the ticks of a logarithmic axis whose first digit is among `shown`, without exponents."""
    for which in (scale.set_major_formatter, scale.set_minor_formatter):
        which(lambda value, _: f"{value:g}{unit}" if f"{value:e}"[0] in shown else "")


def error_axis(axis: Any, wrong: list[float], steps: str) -> None:
    """Set the axes of a curve of wrong pixels over `steps`, in percent; logarithmic where there are any."""
    if max(wrong) > 0:
        axis.set_yscale("log")
    axis.set_xlabel(steps)
    plain_numbers(axis.yaxis, "12357", " %")
    axis.set_box_aspect(1)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", which="both", color=GRID, lw=0.6)


def band(axis: Any, x: np.ndarray, values: np.ndarray, least: float = 0.0, **line: Any) -> None:
    """Draw the mean over images as a line, smallest to largest as a band: `values` (images, steps)."""
    mean, low, high = (np.maximum(f(values, axis=0), least) for f in (np.mean, np.min, np.max))
    axis.plot(x, mean, **line)
    if len(values) > 1:
        axis.fill_between(x, low, high, color=line.get("color"), alpha=0.15, lw=0)


def show_image(axis: Any, image: np.ndarray, title: str) -> None:
    """Show an (H, W, 1) or (H, W, 3) image with values in [0, 1]."""
    axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    frame(axis, title)


def frame(axis: Any, title: str) -> None:
    """Set the title and remove the ticks."""
    axis.set_title(title, fontsize=10)
    axis.set_xticks([])
    axis.set_yticks([])
