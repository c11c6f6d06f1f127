"""Label prototypes of an image file, in scaled image units: found in sampled windows, or given and checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..backend.array import is_device_array
from ..backend.validation import image_features
from ..labeling.labeler import Labeler
from ..labeling.likelihood import prototype_array
from .source import Source

__all__ = ["sample_prototypes", "with_prototypes"]

#: Windows that prototypes are found from, and their side in pixels.
SAMPLES, SAMPLE_SIDE = 64, 128


def sample_prototypes(source: Source, labels: int, *, seed: int = 0) -> np.ndarray:
    """Label prototypes by k-means of sampled windows: (J, C) in scaled image units, the same for the same image."""
    return prototype_array(labels, _sample_features(source, seed), seed=seed)


def with_prototypes(labeler: Labeler, source: Source) -> Labeler:
    """The labeler with its prototypes in the scaled units of an image file; a number of them is found in samples.

    Raises
    ------
    ValueError, TypeError
        If the prototypes do not fit the image.
    """
    prototypes, channels = labeler.prototypes, source.layout.channels or 1
    if prototypes is not None and np.ndim(prototypes) == 0 and not is_device_array(prototypes):
        return replace(labeler, prototypes=sample_prototypes(source, prototypes), scaled=True)
    if np.ndim(prototypes) == 2 and np.shape(prototypes)[1] != channels:
        raise ValueError(
            f"{source.path} has {channels} channel(s), the prototypes have {np.shape(prototypes)[1]}; accepted are as "
            "many. Take an image like those of the prototypes or the model."
        )
    pixels = image_features(np.zeros((1, 1, channels), source.dtype), range=labeler.range)
    values = prototype_array(prototypes, pixels.features, (0.0, 1.0) if labeler.scaled else pixels.range)
    return replace(labeler, prototypes=values, scaled=True)


def _sample_features(source: Source, seed: int) -> Any:
    """Scaled (H, W, C) features of windows here and there; of the whole image where it is not larger than those."""
    height, width = source.shape[:2]
    if height * width <= SAMPLES * SAMPLE_SIDE**2:
        return image_features(source[:, :])[0]
    rng = np.random.default_rng(seed)
    sides = min(SAMPLE_SIDE, height), min(SAMPLE_SIDE, width)
    corners = [rng.integers(0, n - side + 1, SAMPLES) for n, side in zip((height, width), sides, strict=True)]
    windows = [source[y : y + sides[0], x : x + sides[1]] for y, x in zip(*corners, strict=True)]
    return image_features(np.concatenate([window.reshape(1, -1, *source.shape[2:]) for window in windows]))[0]
