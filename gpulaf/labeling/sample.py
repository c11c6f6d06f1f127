"""A sample of the pixels of an image that depends on its shape and its mask alone, wherever the image is stored.

Images of up to a million pixels are looked at as a whole. Of larger ones a window is read in each of 256 cells of equal
size: it is as good as one of single pixels, and from a file a few stored chunks are read. Where the windows hold few
valid pixels, bands of the whole image are read until there are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..backend.array import namespace
from ..backend.validation import Pixels

__all__ = ["Window", "sampled_pixels", "sampled_values"]

#: A part of an image, on each of its axes.
Window = tuple[slice, ...]

#: Windows, and pixels of each; valid pixels that they have to hold.
CELLS, PIXELS, FEWEST = 256, 4096, 16384


def sampled_values(shape: tuple[int, ...], read: Callable[[list[Window]], Iterable[Any]], *, seed: int = 0) -> Any:
    """Sample the valid pixels of an image of any number of axes: (n, C), at most about a million.

    Parameters
    ----------
    shape : tuple of int
        The size of the image in pixels.
    read : callable
        Reads windows: the values at the valid pixels of each, (n, C), in the order of the pixels.
    seed : int
        Of the places of the windows.
    """
    rng = np.random.default_rng(seed)
    if prod(shape) <= CELLS * PIXELS:
        found = list(read([tuple(slice(0, n) for n in shape)]))
    else:
        found = list(read(_windows(shape, rng)))
        if sum(map(len, found)) < FEWEST:
            found = _from_bands(shape, read, rng)
    values = found[0] if len(found) == 1 else namespace(found[0]).concat(found)
    return values[: min(values.shape[0], CELLS * PIXELS), ...]


def sampled_pixels(pixels: Pixels, *, seed: int = 0) -> Pixels:
    """Sample an image in memory: features (n, C) of valid pixels; the image itself where it is small and has no mask.

    Parameters
    ----------
    pixels : Pixels
        Features (H, W, C), (D, H, W, C) of a volume, (n, C) on a graph.
    seed : int
    """
    features, valid = pixels.features, pixels.valid
    shape = tuple(features.shape[:-1])
    if valid is None and prod(shape) <= CELLS * PIXELS:
        return pixels

    def read(windows: list[Window]) -> Iterable[Any]:
        xp = namespace(features)
        for window in windows:
            part = features[(*window, slice(None))]
            yield xp.reshape(part, (-1, part.shape[-1])) if valid is None else part[valid[window]]

    return Pixels(sampled_values(shape, read, seed=seed), pixels.range)


def _windows(shape: tuple[int, ...], rng: np.random.Generator) -> list[Window]:
    """A window in each cell of an image; those of cells side by side have the same place on the first axis."""
    sides, counts, area, left = [1] * len(shape), [1] * len(shape), PIXELS, CELLS
    for rest, axis in zip(range(len(shape), 0, -1), np.argsort(shape, kind="stable"), strict=True):  # narrow axes first
        sides[axis] = min(int(area ** (1 / rest) + 1e-9), shape[axis])
        counts[axis] = max(1, min(int(left ** (1 / rest) + 1e-9), shape[axis] // sides[axis]))
        area, left = area // sides[axis], left // counts[axis]

    def place(axis: int, cell: int) -> slice:
        start, stop = (shape[axis] * k // counts[axis] for k in (cell, cell + 1))
        at = int(rng.integers(start, stop - sides[axis] + 1))
        return slice(at, at + sides[axis])

    cells = list(product(*map(range, counts[1:])))
    bands = ((place(0, band), cells) for band in range(counts[0]))
    return [(first, *(place(k, c) for k, c in enumerate(cell, 1))) for first, row in bands for cell in row]


def _from_bands(
    shape: tuple[int, ...], read: Callable[[list[Window]], Iterable[Any]], rng: np.random.Generator
) -> list[Any]:
    """Valid pixels of bands of an image, in any order, until there are as many as in the windows of a full one."""
    rows = max(1, CELLS * PIXELS // prod(shape[1:]))
    found: list[Any] = []
    count = 0
    for band in rng.permutation(-(-shape[0] // rows)).tolist():
        found += read([(slice(rows * band, min(shape[0], rows * (band + 1))), *(slice(0, n) for n in shape[1:]))])
        count += len(found[-1])
        if count >= CELLS * PIXELS:
            break
    return found
