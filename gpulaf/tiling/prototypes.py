"""Label prototypes of an image file, in scaled image units: found in sampled windows, or given and checked."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from ..backend.array import is_device_array
from ..backend.validation import Pixels, image_features
from ..io.failures import Unreadable
from ..labeling.hints import warn_of_values
from ..labeling.labeler import Labeler
from ..labeling.likelihood import prototype_array
from .source import Source

__all__ = ["sample_pixels", "sample_prototypes", "value_range", "with_prototypes"]

#: Windows that prototypes are found from, their side in pixels, and how often as many are tried where data are rare.
SAMPLES, SAMPLE_SIDE, ROUNDS = 64, 128, 16
#: Windows that given prototypes are compared with.
COMPARED = 8


def sample_prototypes(
    source: Source, labels: int, *, range: tuple[float, float] | None = None, seed: int = 0
) -> np.ndarray:
    """Label prototypes by k-means of sampled windows: (J, C) in scaled image units, the same for the same image.

    Pixels without data are left out; `range` as of a :class:`gpulaf.Labeler`.
    """
    pixels = sample_pixels(source, range, SAMPLES, seed)
    return prototype_array(labels, pixels.features, pixels.range, valid=pixels.valid, seed=seed)


def with_prototypes(labeler: Labeler, source: Source) -> tuple[Labeler, bool]:
    """The labeler with its prototypes in the scaled units of an image file, found in samples where it has a number.

    Also whether there was a warning about the values of the image.

    Raises
    ------
    ValueError, TypeError
        If the prototypes do not fit the image.
    """
    prototypes, channels = labeler.prototypes, source.layout.channels or 1
    if np.ndim(prototypes) == 2 and np.shape(prototypes)[1] != channels:
        raise ValueError(
            f"{source.path} has {channels} channel(s), the prototypes have {np.shape(prototypes)[1]}; accepted are as "
            "many. Take an image like those of the prototypes or the model."
        )
    if prototypes is not None and np.ndim(prototypes) == 0 and not is_device_array(prototypes):
        pixels = sample_pixels(source, labeler.range, SAMPLES)
        values = prototype_array(prototypes, pixels.features, pixels.range, valid=pixels.valid)
        told = _warn(labeler, pixels, values)
    else:
        pixel = np.zeros((1, 1, channels), np.float64 if source.dtype == np.float64 else np.float32)
        bounds = (0.0, 1.0) if labeler.scaled else value_range(source, labeler)
        values = prototype_array(prototypes, pixel, bounds)
        told = False
        with suppress(Unreadable, OSError):  # what cannot be read is told by its tiles
            told = _warn(labeler, sample_pixels(source, labeler.range, COMPARED), values)
    return replace(labeler, prototypes=values, scaled=True), told


def value_range(source: Source, labeler: Labeler) -> tuple[float, float]:
    """The values of an image file that are 0 and 1 to a labeler."""
    return image_features(np.zeros((1, 1, 1), source.dtype), range=labeler.range).range


def _warn(labeler: Labeler, pixels: Pixels, prototypes: np.ndarray) -> bool:
    """Warn where sampled values do not go with the labeler; whether it did."""
    ranged = labeler.range is not None or pixels.range != (0, 1)
    return warn_of_values(pixels, prototypes, labeler.rho, ranged=ranged, learned=labeler.scaled)


def sample_pixels(source: Source, bounds: tuple[float, float] | None, count: int = SAMPLES, seed: int = 0) -> Pixels:
    """Scaled pixels of windows here and there, more where data are rare; of the whole image if it is not larger."""
    height, width = source.shape[:2]
    if height * width <= SAMPLES * SAMPLE_SIDE**2:
        pixels, valid = source.read(np.s_[:, :])
        return image_features(pixels, -1 if pixels.ndim < 3 else 2, mask=valid, range=bounds)
    rng, found, masks = np.random.default_rng(seed), [], []
    sides = min(SAMPLE_SIDE, height), min(SAMPLE_SIDE, width)
    for _ in range(ROUNDS):
        corners = [rng.integers(0, n - side + 1, count) for n, side in zip((height, width), sides, strict=True)]
        for y, x in zip(*corners, strict=True):
            pixels, valid = source.read(np.s_[y : y + sides[0], x : x + sides[1]])
            found.append(pixels.reshape(1, -1, source.layout.channels or 1))
            masks.append(np.ones((1, found[-1].shape[1]), bool) if valid is None else valid.reshape(1, -1))
        if np.sum([mask.sum() for mask in masks]) >= SAMPLE_SIDE**2:
            break
    mask = None if all(mask.all() for mask in masks) else np.concatenate(masks)
    return image_features(np.concatenate(found), 2, mask=mask, range=bounds)
