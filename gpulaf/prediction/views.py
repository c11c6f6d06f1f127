"""What a step of a training sees of an image: a part of it, turned over in a way that keeps distances."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import namespace

__all__ = ["View", "Way", "ways"]


class View(NamedTuple):
    """What a step sees of an image: a square at a random place or all of it, turned over at random or as it is.

    Of a volume it is a cube. Some of its pixels may be hidden (:mod:`gpulaf.prediction.hiding`).
    """

    #: Side in pixels; None for the whole image.
    side: int | None = None
    #: Whether it is mirrored, and transposed where that changes no distance: one way of eight for square pixels.
    flips: bool = False
    #: Side of the cells in which one pixel each is hidden; None: all are seen.
    hidden: int | None = None

    def choose(
        self, truth: np.ndarray, seed: Sequence[int], spacing: Sequence[float] | None = None
    ) -> tuple[tuple[slice, ...], Way]:
        """The window, and the way it is turned, of a seed."""
        rng, axes = np.random.default_rng(seed), truth.ndim
        window = (slice(None),) * axes if self.side is None else _window(truth, self.side, rng)
        every = ways(spacing or (1.0,) * axes)
        return window, every[int(rng.integers(len(every)))] if self.flips else every[0]


class Way(NamedTuple):
    """A way to turn an image: mirrored on some axes, then with its axes in another order."""

    mirrored: tuple[bool, ...]
    order: tuple[int, ...]

    def __call__(self, x: Any, *, fields: bool = False) -> Any:
        """Turn an image (H, W) or (H, W, C), or `fields` (H, J, W); of a volume with D before H."""
        xp, axes = namespace(x), len(self.order)
        places = [k if k < axes - 1 or not fields else axes for k in range(axes)]
        for place, flip in zip(places, self.mirrored, strict=True):
            x = xp.flip(x, axis=place) if flip else x
        if self.order == tuple(range(axes)):
            return x
        order = list(range(x.ndim))
        for place, axis in zip(places, self.order, strict=True):
            order[place] = places[axis]
        return xp.permute_dims(x, tuple(order))


def ways(spacing: Sequence[float]) -> list[Way]:
    """All ways to turn an image that change no distance of its pixels, the image as it is first."""
    axes = len(spacing)
    orders = [order for order in permutations(range(axes)) if [spacing[axis] for axis in order] == list(spacing)]
    flips = [tuple(bool(k >> axis & 1) for axis in range(axes)) for k in range(2**axes)]
    return [Way(mirrored, order) for order, mirrored in product(orders, flips)]


def _window(values: np.ndarray, side: int, rng: np.random.Generator) -> tuple[slice, ...]:
    """A random square of the image, or cube of the volume, that holds a labeled pixel."""
    shape = values.shape
    for corner in rng.integers(0, [max(1, n - side + 1) for n in shape], (10, len(shape))):
        window = tuple(slice(int(i), int(min(i + side, n))) for i, n in zip(corner, shape, strict=True))
        if (values[window] != -1).any():
            return window
    at = np.flatnonzero(values != -1)  # labels are rare: around one of them
    centre = np.unravel_index(at[rng.integers(len(at))], shape)
    corner = [min(max(0, int(i) - side // 2), max(0, n - side)) for i, n in zip(centre, shape, strict=True)]
    return tuple(slice(i, min(i + side, n)) for i, n in zip(corner, shape, strict=True))
