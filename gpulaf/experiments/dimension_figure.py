"""The figure of the experiment on dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..plots.style import COLORS, DASHES, canvas, plain
from .result import Row, select

#: Kinds of subspaces and what has singular values: color and name.
KINDS = {
    "random": (COLORS[0], "random directions"),
    "of the path": (COLORS[1], "first directions of the path"),
    "of the core": (COLORS[2], "first terms of the core at the start"),
}
VALUES = {
    "path": (COLORS[1], None),
    "core at the start": (COLORS[2], None),
    "core at the end": (COLORS[3], "core at the end"),
}


def draw(rows: list[Row], directions: list[Row], shares: dict[str, str], level: float) -> Any:
    """A column for everything that is learned; shares kept over d above, singular values below.

    Parameters
    ----------
    rows, directions : list of dict
        The tables of the experiment.
    shares : dict of str
        Names of the upper rows by their column.
    level : float
        The share in percent that is marked.
    """
    names = list(dict.fromkeys(row["learned"] for row in rows))
    figure, axes = canvas(len(shares) + 1, len(names), width=3.0, height=2.5)
    for column, name in zip(axes.T, names, strict=True):
        mine = select(rows, learned=name)
        for axis, (share, of) in zip(column, shares.items(), strict=False):
            _shares(axis, mine, share)
            axis.axhline(level, color="#777777", lw=1, ls=DASHES[2])
            plain(axis, f"{name}: {of}", "dimensions d", "% of the gain")
        _values(column[-1], select(directions, learned=name))
    named = {label: h for axis in axes.flat for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named, loc="outside lower center", ncols=len(named), fontsize=9, frameon=False)
    return figure


def _shares(axis: Any, rows: list[Row], share: str) -> None:
    """Mean and range over seeds of what is kept; dashed where the image is smaller."""
    large = max(row["side"] for row in rows)
    for side in sorted({row["side"] for row in rows}):
        for kind, (color, name) in KINDS.items():
            mine = select(rows, side=side, kind=kind)
            if mine and (side == large or kind == "random"):
                values = {d: [row[share] for row in select(mine, d=d)] for d in sorted({row["d"] for row in mine})}
                mean, low, high = ([f(v) for v in values.values()] for f in (np.mean, np.min, np.max))
                style = (
                    {"label": name, "lw": 2} if side == large else {"label": "random, half the side", "ls": DASHES[1]}
                )
                axis.plot(list(values), mean, color=color, marker="o", ms=3, **style)
                axis.fill_between(list(values), low, high, color=color, alpha=0.15, lw=0)
    axis.set_xscale("log")
    axis.set_ylim(-8, 132)
    axis.set_yticks([0, 30, 60, 90, 120])


def _values(axis: Any, rows: list[Row]) -> None:
    """Singular values relative to the first, of the largest image."""
    side = max(row["side"] for row in rows)
    for of, (color, name) in VALUES.items():
        mine = select(rows, of=of, side=side)
        if mine:
            values = np.array([row["singular value"] for row in mine])
            axis.plot([row["k"] for row in mine], values / values[0], color=color, marker="o", ms=3, lw=1.5, label=name)
    axis.set_yscale("log")
    axis.set_ylim(1e-7, 2)
    plain(axis, "singular values", "number k", "relative to the first")
