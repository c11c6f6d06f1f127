"""How far around a pixel its labeling looks: the halo that makes a tile exact, and the tile that fits in memory.

A Taylor series of n substeps of degree d makes D = n·d steps from pixel to neighbor, D steps of explicit Euler as many;
the steps of layers, linearized flows one after the other, add up. With patches of radius r the result at a pixel
depends on ℓ within D·r pixels, on the weights within (D − 1)·r, and on what those weights were made of, s pixels
farther: a tile with a halo of (D − 1)·r + max(r, s) pixels holds everything. With a mask, what weights are made of goes
on into invalid pixels from valid ones as far as s away: s counts twice. Nothing else about the image enters: a
series is planned by the time alone, kernels add up in the order of the neighbors at every pixel, and all other
operations work on single pixels. Krylov spaces need inner products over the whole image, and the step control of
nonlinear flows looks at all of it: they have no halo.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..averaging.sources import WeightSource
from ..backend.memory import TILE_STEP, memory_estimate
from ..integrators import Euler, Taylor
from ..labeling.labeler import Labeler

__all__ = ["check_labeler", "largest_tile", "tile_halo"]


def tile_halo(labeler: Labeler, *, masked: bool = False) -> int:
    """Pixels around a tile that its labeling depends on: (D − 1)·r + max(r, s), see :mod:`gpulaf.tiling.halo`.

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
        If the solver or the weights depend on the whole image, or do not say how far they look.

    Examples
    --------
    >>> import gpulaf
    >>> bilateral = gpulaf.Labeler(weights=gpulaf.averaging.BilateralWeights(radius=2))
    >>> gpulaf.tiling.tile_halo(gpulaf.Labeler()), gpulaf.tiling.tile_halo(bilateral)
    (8, 16)
    """
    check_labeler(labeler)
    if labeler.on_graph:
        raise TypeError("weights are a Graph; accepted in tiles are those of pixels. Label the nodes at once.")
    if isinstance(labeler.weights, WeightSource):
        radius, reach = (_whole_number(labeler.weights, name, least) for name, least in (("radius", 1), ("reach", 0)))
    else:
        radius, reach = int(labeler.radius), 0
    reach *= 1 + masked
    return (sum(_steps(labeler.solver, time) for time in labeler.times) - 1) * radius + max(radius, reach)


def check_labeler(labeler: Any) -> None:
    """Raise TypeError for what is no Labeler."""
    if not isinstance(labeler, Labeler):
        raise TypeError(f"labeler is {labeler!r}; accepted is a gpulaf.Labeler, or what predictor.labeler() gives.")


def largest_tile(memory: float, labeler: Labeler, labels: int, *, channels: int = 1, dtype: Any = np.uint8) -> int:
    """The side of the largest square tile that can be labeled in `memory` bytes, a multiple of 64.

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

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If not even a tile of 64×64 pixels fits; the message says what it takes.

    Examples
    --------
    >>> import gpulaf
    >>> gpulaf.tiling.largest_tile(1e9, gpulaf.Labeler(), labels=8, channels=3)
    1472
    """
    number = np.dtype(np.float64 if np.dtype(dtype) == np.float64 else np.float32).itemsize
    # what the solution takes; the tile, and the nine chunks that it is cut from
    window = number * _floats(labeler, labels, channels) + channels * (number + 9 * np.dtype(dtype).itemsize)
    halo, result = tile_halo(labeler, masked=True), number * (labels + 1)

    def needed(side: int) -> int:
        return window * (side + 2 * halo) ** 2 + result * side**2

    side = 0
    while needed(side + TILE_STEP) <= memory:
        side += TILE_STEP
    if not side:
        raise ValueError(
            f"memory is {memory:.4g} bytes; a tile of {TILE_STEP}×{TILE_STEP} pixels with a halo of {halo} takes "
            f"{needed(TILE_STEP):.4g}. Give at least as much, or take a shorter time or a looser tol."
        )
    return side


def _floats(labeler: Labeler, labels: int, channels: int) -> int:
    """Numbers per pixel of a tile that are held at once, while its weights are made or after that, at most."""
    solving = memory_estimate((1, 1), labels, dtype=np.uint8, **labeler.memory_options)  # of one byte: their count
    if isinstance(labeler.weights, WeightSource):
        return max(solving, labeler.weights.workspace(channels))
    given = sum(x is not None for x in labeler.layers) * (2 * int(labeler.radius) + 1) ** 2
    return solving + 11 * given  # nine chunks that the tile is cut from, a copy, what its check takes


def _steps(solver: Any, time: float) -> int:
    """D of one layer, the steps from pixel to neighbor."""
    if isinstance(solver, Taylor):
        substeps, degree, _ = solver.plan(time)
        return int(substeps * degree)
    if isinstance(solver, Euler):
        return int(solver.steps)
    raise TypeError(
        f"solver is {solver!r}; accepted in tiles are Taylor and Euler: others take from the whole image what a tile "
        "does not know, inner products of Krylov spaces, step control of nonlinear flows. Leave solver out."
    )


def _whole_number(source: WeightSource, name: str, least: int) -> int:
    """The radius or the reach that a source of weights tells."""
    value = getattr(source, name)
    if value is None or isinstance(value, bool) or int(value) != value or value < least:
        raise ValueError(
            f"the {name} of the weights {source!r} is {value}; accepted are whole numbers from {least}: a tile needs "
            f"to know how far they look. Set {name} on them, or on the features of a predictor, to that many pixels."
        )
    return int(value)
