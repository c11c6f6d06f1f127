"""Pixels that a step of a training does not see, so that their own values can stand in for the truth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

__all__ = ["SIDE", "hidden_pixels"]

#: On each axis every so many-th pixel is hidden.
SIDE = 4


def hidden_pixels(valid: np.ndarray, side: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Choose pixels to hide, and for each of them a neighbor whose value is shown in the place of its own.

    Parameters
    ----------
    valid : (H, W) array of bool; (D, H, W) of a volume
        Pixels that hold data; others are neither hidden nor shown elsewhere.
    side : int
        2 or more: one pixel of each cell of so many on each axis is hidden, all at the same random place of their
        cells. No two of them are neighbors.
    seed : sequence of int

    Returns
    -------
    hidden : (H, W) array of bool
        At least one pixel, if any is valid.
    source : (H, W) int64 array
        The flat index of the pixel whose value is shown: a random one of the neighbors, also across corners, of a
        hidden pixel; itself of any other.
    """
    rng, shape = np.random.default_rng(seed), valid.shape
    hidden = np.zeros(shape, bool)
    hidden[tuple(slice(int(rng.integers(min(side, n))), None, side) for n in shape)] = True
    at, shown = _with_neighbor(np.argwhere(hidden & valid), valid, rng)
    if not len(at):  # few pixels are valid: one of them
        at, shown = (x[:1] for x in _with_neighbor(rng.permutation(np.argwhere(valid)), valid, rng))
    if not len(at):
        at = shown = np.argwhere(valid)[:1]
    hidden[...] = False
    hidden[tuple(at.T)] = True
    source = np.arange(valid.size).reshape(shape)
    source[tuple(at.T)] = np.ravel_multi_index(tuple(shown.T), shape)
    return hidden, source


def _with_neighbor(at: np.ndarray, valid: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Those of some pixels (n, A) that have a valid neighbor, and a random one of each."""
    steps = np.array([step for step in product((-1, 0, 1), repeat=valid.ndim) if any(step)])
    beside = at[:, None] + steps
    inside = ((beside >= 0) & (beside < valid.shape)).all(axis=-1)
    there = inside & valid[tuple(np.moveaxis(np.where(inside[..., None], beside, 0), -1, 0))]
    chances = np.where(there, rng.random(there.shape), -1.0)
    some = there.any(axis=1)
    return at[some], beside[np.arange(len(at)), chances.argmax(axis=1)][some]
