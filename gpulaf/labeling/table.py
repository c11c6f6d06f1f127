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
    """

    values: Sequence[int]
    pixels: np.ndarray
    prototypes: np.ndarray | None = None
    names: Sequence[str] | None = None
    heading: str = "prototype"

    def lines(self) -> list[str]:
        """A heading and a line for each label; of many labels for the first ones."""
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
        return [f"  {line}" for line in text]


def label_pixels(labels: Any, valid: Any, count: int) -> np.ndarray:
    """Number of the valid pixels of each label 0 … count−1, (count,) int64 on the host."""
    found = host_array(labels)  # synchronize
    found = found.ravel() if valid is None else found[host_array(valid)]
    return np.bincount(found, minlength=count)[:count].astype(np.int64)


def _row(prototype: np.ndarray) -> str:
    shown = " ".join(f"{x:.4g}" for x in prototype[:CHANNELS].tolist())
    return shown + (" …" if len(prototype) > CHANNELS else "")
