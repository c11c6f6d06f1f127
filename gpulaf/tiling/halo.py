"""The halo that makes a tile exact, and the tile that fits in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..averaging.sources import WeightSource
from ..backend.memory import STEPS, largest_multiple, memory_estimate
from ..labeling.halo import label_halo
from ..labeling.labeler import Labeler
from ..labeling.prior import of_pixels

__all__ = ["check_labeler", "largest_tile", "tile_halo"]


def tile_halo(labeler: Labeler, *, masked: bool = False) -> int:
    """Pixels around a tile that its labeling depends on: (D − 1)·r + max(r, s), see :mod:`gpulaf.labeling.halo`.

    Parameters
    ----------
    labeler : Labeler
        With Taylor or Euler as its solver. r and s are the `radius` and `reach` of a WeightSource; s of arrays is 0.
    masked : bool
        Whether there is a mask, with which s counts twice.

    Returns
    -------
    int
        A square tile of side t takes (1 + 2·halo/t)² times the work of its own pixels.

    Raises
    ------
    ValueError, TypeError
        If the solver or the weights depend on the whole image, or do not say how far they look, the prior is one of
        every pixel, or uncertainty is asked for.

    Examples
    --------
    >>> import gpulaf
    >>> bilateral = gpulaf.Labeler(weights=gpulaf.averaging.BilateralWeights(radius=2))
    >>> gpulaf.tiling.tile_halo(gpulaf.Labeler()), gpulaf.tiling.tile_halo(bilateral)
    (8, 16)
    """
    check_labeler(labeler)
    if of_pixels(labeler.prior):
        raise ValueError(
            f"prior has shape {np.shape(labeler.prior)}, values of every pixel; accepted in tiles is one for each "
            "label, (J,). Refine predictions that hold the prior, or label the image in memory."
        )
    if labeler.uncertainty is not None:
        raise ValueError(
            "uncertainty is asked for; accepted in tiles are labels and probabilities. Label the image in memory, or "
            "leave uncertainty out."
        )
    return label_halo(labeler, masked=masked)


def check_labeler(labeler: Any) -> None:
    """Raise TypeError for what is no Labeler."""
    if not isinstance(labeler, Labeler):
        raise TypeError(f"labeler is {labeler!r}; accepted is a gpulaf.Labeler, or what predictor.labeler() gives.")


def largest_tile(
    memory: float,
    labeler: Labeler,
    labels: int,
    *,
    channels: int = 1,
    dtype: Any = np.uint8,
    device: str = "cpu",
    axes: int = 2,
) -> int:
    """The side of the largest square tile that can be labeled in `memory` bytes, a multiple of 64.

    Of a volume that of the largest cube, a multiple of 16.

    Parameters
    ----------
    memory : float
        Bytes for one tile at a time, besides what the interpreter and the libraries take; every further tile that is
        labeled at the same time takes as much again.
    labeler : Labeler
    labels, channels : int
        J and C; for :func:`gpulaf.tiling.refine_array` C + J.
    dtype : dtype
        Of the image, or of the probabilities.
    device : "cpu" or "gpu"
        The CPU labels a large tile in blocks, a GPU at once.
    axes : int
        2 of images, 3 of volumes.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If not even the smallest tile fits; the message says what it takes.

    Examples
    --------
    >>> import gpulaf
    >>> gpulaf.tiling.largest_tile(1e9, gpulaf.Labeler(), labels=8, channels=3)
    2688
    """
    number = np.dtype(np.float64 if np.dtype(dtype) == np.float64 else np.float32)
    halo, result = tile_halo(labeler, masked=True), number.itemsize * (labels + 1)
    made = isinstance(labeler.weights, WeightSource)
    given = 0 if made else sum(x is not None for x in labeler.layers)
    options = labeler.memory_options | {"given": given, "masked": True, "channels": channels}
    options |= {"dtype": number, "device": device}
    options["workspace"] = labeler.weights.workspace(channels) if made else 0
    # the chunks that the tile is cut from; of given weights, too, a copy, and what its check takes
    window = 3**axes * channels * np.dtype(dtype).itemsize
    window += 11 * number.itemsize * given * (2 * int(labeler.radius) + 1) ** axes

    def needed(side: int) -> int:
        outer = side + 2 * halo
        return memory_estimate((outer,) * axes, labels, **options) + window * outer**axes + result * side**axes

    side = largest_multiple(STEPS[axes], lambda side: needed(side) <= memory)
    if not side:
        smallest = "×".join([str(STEPS[axes])] * axes)
        raise ValueError(
            f"memory is {memory:.4g} bytes; a tile of {smallest} pixels with a halo of {halo} takes "
            f"{needed(STEPS[axes]):.4g}. Give at least as much, or take a shorter time or a looser tol."
        )
    return side
