"""The noise of an image: how large it is, and samples of it that tell the variance of a labeling in few runs.

A sample has ±σ at every value of the image. Its sign is a random one, the same in all samples, times an entry of a
Hadamard matrix: the row is that of the sample, the column that of the place of the pixel in a lattice. Products of two
pixels of different columns cancel in the sum over all samples, so that the variance of anything linear is exact but for
pixels which share a column; these are as far from each other as the number of columns allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from math import prod
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import host_array, like
from ..backend.validation import Pixels

__all__ = ["Probe", "SignPatterns", "check_sigma", "noise_deviation", "noise_level", "noisy_pairs"]

#: Differences of pixels that are looked at, at most.
SAMPLE = 2**20
#: The median of |x| of normal x over their standard deviation.
NORMAL = 0.6745


class Probe(NamedTuple):
    """A window of an image with noise."""

    #: ℓ, (h, J, w).
    log_likelihood: Any
    #: What is added to the features that weights are made of, (h, w, C); 0.0 where predictions have the noise.
    noise: Any


def noise_level(pixels: Pixels) -> float:
    """Standard deviation of the noise of an image, in scaled image units; see :func:`noise_deviation`.

    Parameters
    ----------
    pixels : Pixels
        Of an image (H, W, C) or a volume (D, H, W, C).

    Raises
    ------
    ValueError
        If the image shows no noise, or the pixels have no neighbors on two axes.
    """
    x = pixels.features
    if x.ndim < 3 or min(x.shape[-3:-1]) < 2:
        raise ValueError(
            f"the noise of features of shape {tuple(x.shape)} cannot be read off neighbors. Pass "
            "uncertainty=gpulaf.Uncertainty(sigma=…)."
        )
    level = noise_deviation(x, pixels.valid)
    if not level > 0:
        raise ValueError(
            "the image shows no noise: most of its pixels differ from their neighbors by nothing. Say how large it is: "
            "uncertainty=gpulaf.Uncertainty(sigma=…), in image units from 0 to 1."
        )
    return level


def check_sigma(sigma: float, bounds: tuple[float, float], name: str) -> None:
    """Raise ValueError for a standard deviation in the units of an image, whose `bounds` are scaled to 0 and 1."""
    low, high = bounds
    if bounds != (0, 1) and sigma > 1:
        raise ValueError(
            f"{name} is {sigma:g}; accepted beside images of the range {low:g} to {high:g} are numbers up to 1, as it "
            f"is scaled like them. {sigma:g} of {high - low:g} are {sigma / (high - low):.3g}."
        )


def noise_deviation(features: Any, valid: Any = None) -> float:
    """Standard deviation of normal noise that is independent between pixels, from differences of neighbors.

    The median of |x₀₀ − x₀₁ − x₁₀ + x₁₁|/2 over 0.6745, of all channels together: shading does not count, edges and
    thin lines hardly do. Noise that is correlated between neighbors is taken for smaller than it is, and so is noise of
    which the image cuts off a part.

    Parameters
    ----------
    features : (H, W, C) floating array; (D, H, W, C) of a volume
    valid : (H, W) array of bool, optional

    Returns
    -------
    float
        NaN where no four valid pixels are neighbors.
    """
    found = [np.empty(0)]
    for row in range(0, features.shape[-3] - 1, max(1, prod(features.shape) // SAMPLE)):
        pair = slice(row, row + 2)
        part = host_array(features[..., pair, :, :]).astype(np.float64)
        difference = np.diff(np.diff(part, axis=-3), axis=-2)[..., 0, :, :] / 2
        if valid is not None:
            known = host_array(valid[..., pair, :])
            difference = difference[(known[..., 1:] & known[..., :-1]).all(axis=-2)]
        found.append(np.abs(difference).ravel())
    values = np.concatenate(found)
    return float(np.median(values)) / NORMAL if len(values) else float("nan")


class SignPatterns:
    """Signs (…, C) for samples of the noise of an image.

    Parameters
    ----------
    shape : tuple of int
        (H, W, C), (D, H, W, C) of a volume, (n, C) on a graph.
    count : int
        Samples, a power of two.
    seed : int
        Of the signs that all samples have in common.
    """

    def __init__(self, shape: tuple[int, ...], count: int, seed: int = 0) -> None:
        from scipy.linalg import hadamard

        *pixels, channels = shape
        self.base = np.random.default_rng(seed).integers(0, 2, shape, dtype=np.int8) * 2 - 1
        grids = np.indices(pixels, dtype=np.int32, sparse=True)
        place = sum(stride * grid for stride, grid in zip(lattice(count, len(pixels)), grids, strict=True))
        self.columns = np.broadcast_to(place % count, pixels).astype(np.uint8)
        self.shifts = (count // 2 - 1) * np.arange(channels)
        self.matrix = hadamard(count, dtype=np.int8)

    def __call__(self, number: int, window: tuple[slice, ...] | EllipsisType = ...) -> np.ndarray:
        """Signs of a sample in a window of the image, int8."""
        columns = (self.columns[window][..., None] + self.shifts) % len(self.matrix)
        return self.base[window] * self.matrix[number][columns]


def noisy_pairs(
    fields: Callable[[Any, Any], Any], patterns: SignPatterns, sigma: float, array: Any, *, soft: bool = False
) -> Callable[[Any], Iterator[tuple[Probe, Probe]]]:
    """Pairs of ℓ at noise of opposite signs, of a window of the image.

    Parameters
    ----------
    fields : callable
        ℓ of a window and of noise (h, w, C) that is added there.
    patterns : SignPatterns
    sigma : float
        Standard deviation of the noise.
    array : array
        The noise has its library and dtype.
    soft : bool
        It is that of predictions.
    """

    def pairs(window: Any) -> Iterator[tuple[Probe, Probe]]:
        for number in range(len(patterns.matrix)):
            noise = like(sigma * patterns(number, window), array)
            one, other = (Probe(fields(window, x), 0.0 if soft else x) for x in (noise, -noise))
            yield one, other

    return pairs


@lru_cache
def lattice(count: int, axes: int) -> tuple[int, ...]:
    """Strides s for the columns Σ_a s_a i_a mod `count` whose pixels of one column are farthest from each other."""
    side = range(-6, 7)
    steps = np.array([step for step in product(side, repeat=axes) if any(step)])
    lengths = (steps**2).sum(axis=1)

    def shortest(strides: tuple[int, ...]) -> int:
        return int(lengths[steps @ strides % count == 0].min(initial=37))

    return max(((1, *rest) for rest in product(range(1, count), repeat=axes - 1)), key=shortest)
