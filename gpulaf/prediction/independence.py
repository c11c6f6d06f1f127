"""Whether noise is independent between pixels, which learning without ground truth relies on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple
from warnings import warn

import numpy as np

from ..backend.array import host_array
from ..backend.validation import calling_level
from ..labeling.hints import DataWarning
from .objective import Objective
from .samples import Samples
from .summary import uniform_fields
from .views import View

__all__ = ["Correlation", "noise_correlation", "warn_of_correlated_noise"]

#: Images that are looked at, at most, and the side of the square that is taken of each; of volumes a cube of as many
#: pixels.
LOOKED_AT, SIDE = 4, 256
#: Correlations that matter, and how many standard deviations they are above those of independent noise.
STRONG, SURE = 0.12, 5.0


class Correlation(NamedTuple):
    """How much the noise of pixels at a distance from each other has in common."""

    #: The distance, in pixels on each axis.
    lag: tuple[int, ...]
    #: Of normal noise with as many equal signs.
    value: float
    #: That of independent noise, over as many pairs of pixels.
    deviation: float


def noise_correlation(images: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> list[Correlation]:
    """Correlation of the noise of pixels of one label, at the distances (0, 1), (1, 0), (1, 1) and so on, and (0, 2).

    Noise is what an image differs from the median of its label by. Of pairs of pixels the share of equal signs is
    taken, which is 1/2 + arcsin(r)/π for normal noise of the correlation r: few wrong labels do not change it much.

    Parameters
    ----------
    images : sequence of (H, W, C) arrays on the host, of volumes with D before H
    labels : sequence of (H, W) integer arrays
        From 0; negative where a pixel does not count.

    Returns
    -------
    list of Correlation
        NaN where no two such pixels have one label.
    """
    axes = labels[0].ndim
    lags = [lag for lag in product((0, 1), repeat=axes) if any(lag)]
    lags += [tuple(2 * (axis == k) for axis in range(axes)) for k in range(axes)]
    equal, pairs = np.zeros(len(lags)), np.zeros(len(lags))
    for image, own in zip(images, labels, strict=True):
        signs = _signs(image, own)
        for place, lag in enumerate(lags):
            here = tuple(slice(0, n - step) for n, step in zip(own.shape, lag, strict=True))
            there = tuple(slice(step, None) for step in lag)
            same = (own[here] == own[there]) & (own[here] >= 0)
            equal[place] += (signs[here] * signs[there])[same].sum()
            pairs[place] += same.sum() * signs.shape[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        share, deviation = equal / pairs, np.pi / 2 / np.sqrt(pairs)
    return [
        Correlation(lag, float(np.sin(np.pi / 2 * r)), float(d))
        for lag, r, d in zip(lags, share, deviation, strict=True)
    ]


def warn_of_correlated_noise(objective: Objective, samples: Samples) -> None:
    """Warn where the noise of neighbors within the labels of uniform weights is correlated by more than chance."""
    side = round(SIDE ** (2 / samples.axes))
    found, labels = [], []
    for k in range(min(LOOKED_AT, len(samples))):
        prepared = objective.reader(samples[k], View(side), (k,))
        own = host_array(uniform_fields(objective, prepared)).argmax(axis=-2)
        found.append(host_array(prepared.image))
        labels.append(np.where(host_array(prepared.truth) >= 0, own, -1))
    seen = [c for c in noise_correlation(found, labels) if c.value > max(STRONG, SURE * c.deviation)]
    if not seen:
        return
    largest = max(seen, key=lambda c: c.value)
    told = ", ".join(map(str, largest.lag))
    warn(
        f"what the images differ from their labels by has a correlation of {largest.value:.2f} between pixels at a "
        f"distance of ({told}), that of independent noise is 0 ± {largest.deviation:.2g}: noise that neighbors share, "
        "texture and shading are learned as if they were labels. Learn from pixels further apart, as "
        "image[::3, ::3], or from ground truth.",
        DataWarning,
        stacklevel=calling_level(),
    )


def _signs(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Signs of what (H, W, C) differs from the median of its label by; those of a median itself are 0."""
    signs = np.zeros(image.shape)
    for label in np.unique(labels[labels >= 0]):
        own = labels == label
        signs[own] = np.sign(image[own] - np.median(image[own], axis=0))
    return signs
