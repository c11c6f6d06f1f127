"""Label prototypes of an image file, in scaled image units: found in a sample of its pixels, or given and checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import groupby

import numpy as np

from ..backend.array import is_device_array
from ..backend.validation import Pixels, image_features
from ..io.failures import Unreadable
from ..labeling.labeler import Labeler
from ..labeling.prototypes import prototype_array
from ..labeling.sample import Window, sampled_values
from .source import Source

__all__ = ["sample_pixels", "sample_prototypes", "value_range", "with_prototypes"]


def sample_prototypes(
    source: Source, labels: int, *, range: tuple[float, float] | None = None, seed: int = 0
) -> np.ndarray:
    """Label prototypes of an image file by k-means: (J, C) in scaled image units, those of the same image in memory.

    Pixels without data are left out; `range` as of a :class:`gpulaf.Labeler`.
    """
    pixels = sample_pixels(source, range, seed)
    return prototype_array(labels, pixels.features, pixels.range, seed=seed)


def with_prototypes(labeler: Labeler, source: Source) -> tuple[Labeler, bool]:
    """The labeler with its prototypes in the scaled units of an image file, found in a sample where it has a number.

    Also whether there was a warning about the values of the image.

    Raises
    ------
    ValueError, TypeError
        If the prototypes do not fit the image, or it has no pixel with data.
    """
    prototypes, channels = labeler.prototypes, source.layout.channels or 1
    if np.ndim(prototypes) == 2 and np.shape(prototypes)[1] != channels:
        raise ValueError(
            f"{source.path} has {channels} channel(s), the prototypes have {np.shape(prototypes)[1]}; accepted are as "
            "many. Take an image like those of the prototypes or the model."
        )
    if prototypes is not None and np.ndim(prototypes) == 0 and not is_device_array(prototypes):
        values, told = labeler.looked_at(sample_pixels(source, labeler.range))
    else:
        pixel = np.zeros((1, 1, channels), np.float64 if source.dtype == np.float64 else np.float32)
        bounds = (0.0, 1.0) if labeler.scaled else value_range(source, labeler)
        values = prototype_array(prototypes, pixel, bounds)
        told = False
        with suppress(Unreadable, OSError):  # what cannot be read is told by its tiles
            _, told = labeler.looked_at(sample_pixels(source, labeler.range))
    return replace(labeler, prototypes=values, scaled=True), told


def value_range(source: Source, labeler: Labeler) -> tuple[float, float]:
    """The values of an image file that are 0 and 1 to a labeler."""
    return image_features(np.zeros((1, 1, 1), source.dtype), range=labeler.range).range


def sample_pixels(source: Source, bounds: tuple[float, float] | None, seed: int = 0) -> Pixels:
    """Scaled valid pixels of an image file, (1, n, C), as they are sampled of an image in memory."""
    values = sampled_values(source.pixels, partial(_read, source), seed=seed)
    if not len(values):
        raise ValueError(
            f"{source.path} has no pixel with data: all are NaN, transparent or of the value for none. Check the file."
        )
    return image_features(values[None], 2, range=bounds)


def _read(source: Source, windows: list[Window]) -> Iterator[np.ndarray]:
    """Values at the valid pixels of windows, (n, C); of many side by side the rows that they lie in are read once."""
    for window in windows if source.axes == 3 else ():
        pixels, valid = source.read(window)
        yield (
            pixels.reshape(-1, source.layout.channels or 1)
            if valid is None
            else pixels[valid].reshape(-1, source.layout.channels or 1)
        )
    for rows, group in groupby(windows if source.axes == 2 else (), key=lambda window: window[0]):
        beside = [columns for _, columns in group]
        spans = beside
        if len(beside) * source.chunks[1] >= source.shape[1]:
            spans = [slice(beside[0].start, beside[-1].stop)]
        read = [(span, *source.read((rows, span))) for span in spans]
        for k, columns in enumerate(beside):
            span, pixels, valid = read[k % len(read)]
            at = np.s_[:, columns.start - span.start : columns.stop - span.start]
            found = pixels[at].reshape(-1, source.layout.channels or 1)
            yield found if valid is None else found[valid[at].ravel()]
