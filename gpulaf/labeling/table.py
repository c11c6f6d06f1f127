"""The table of the labels of an image: what stands for each of them, its share of the pixels and its prototype."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend.array import host_array

__all__ = ["LabelTable", "label_pixels"]

#: Labels and channels that a printed table shows.
ROWS, CHANNELS = 16, 8


@dataclass(frozen=True, eq=False)
class LabelTable:
    """The labels of one image or of several.

    Parameters
    ----------
    values : (J,) sequence of int
        What stands for each label in label images and ground truth.
    pixels : (J,) integer array
        How many pixels have it.
    prototypes : (J, C) array, optional
        In the units of the image.
    names : (J,) sequence of str, optional
    heading : str
        Of the prototypes.
    colors : (J, 3) uint8 array, optional
        Of the labels in a picture of them.
    """

    values: Sequence[int]
    pixels: np.ndarray
    prototypes: np.ndarray | None = None
    names: Sequence[str] | None = None
    heading: str = "prototype"
    colors: np.ndarray | None = None

    def lines(self, *, swatches: bool = False) -> list[str]:
        """A heading and a line for each label; of many labels for the first ones.

        With `swatches` a line begins with the color of its label, in the codes of a terminal (24 bits).
        """
        total = max(int(self.pixels.sum()), 1)
        columns = [["label", *(str(value) for value in self.values[:ROWS])]]
        columns += [["name", *self.names[:ROWS]]] if self.names is not None else []
        columns += [["pixels", *(str(n) for n in self.pixels[:ROWS].tolist())]]
        columns += [["share", *(f"{100 * n / total:.1f} %" for n in self.pixels[:ROWS].tolist())]]
        if self.prototypes is not None:
            columns += [[self.heading, *map(_row, self.prototypes[:ROWS])]]
        left = {"name", self.heading}
        widths = [max(map(len, column)) for column in columns]
        text = [
            "  ".join(
                cell.ljust(width) if column[0] in left else cell.rjust(width)
                for cell, width, column in zip(row, widths, columns, strict=True)
            ).rstrip()
            for row in zip(*columns, strict=True)
        ]
        more = len(self.values) - ROWS
        if more > 0:
            share = 100 * int(self.pixels[ROWS:].sum()) / total
            text.append(f"and {more} more, {share:.1f} % of the pixels")
        if not swatches or self.colors is None:
            return [f"  {line}" for line in text]
        shown = ["  ", *("\033[48;2;{};{};{}m  \033[0m".format(*color) for color in self.colors[:ROWS].tolist()), "  "]
        return [f"  {swatch} {line}" for swatch, line in zip(shown, text, strict=False)]


def label_pixels(labels: Any, valid: Any, count: int) -> np.ndarray:
    """Number of the valid pixels of each label 0 … count−1, (count,) int64 on the host."""
    found = host_array(labels)  # synchronize
    found = found.ravel() if valid is None else found[host_array(valid)]
    return np.bincount(found, minlength=count)[:count].astype(np.int64)


def _row(prototype: np.ndarray) -> str:
    shown = " ".join(f"{x:.4g}" for x in prototype[:CHANNELS].tolist())
    return shown + (" …" if len(prototype) > CHANNELS else "")
