"""How far around a pixel its labeling looks: the halo that makes a tile exact, and the tile that fits in memory.

A Taylor series of n substeps of degree d makes D = n·d steps from pixel to neighbor, D steps of explicit Euler as many.
With patches of radius r the result at a pixel depends on ℓ within D·r pixels, on the weights within (D − 1)·r, and on
what those weights were made of, s pixels farther: a tile with a halo of (D − 1)·r + max(r, s) pixels holds everything.
The steps of layers, linearized flows one after the other, add up. Nothing else about the image enters: the plan is made
for α = 1/2 (``Taylor.fixed``), kernels add up in the order of the neighbors at every pixel, and all other operations
work on single pixels. Krylov spaces need inner products over the whole image, and the step control of nonlinear flows
looks at all of it: they have no halo.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..averaging.sources import BilateralWeights
from ..backend.memory import TILE_STEP, memory_estimate
from ..integrators import Euler, Taylor
from ..integrators.base import Integrator, layer_times
from ..kernels.stencil import radius_of

__all__ = ["fixed", "surroundings", "tile_halo", "tile_side"]


def tile_halo(time: float | Sequence[float] = 3.0, *, integrator: Integrator | None = None, weights: Any = None) -> int:
    """Pixels around a tile that its labeling depends on: (D − 1)·r + max(r, s), see :mod:`gpulaf.tiling.halo`.

    Parameters
    ----------
    time : float, or sequence of float
        T, or that of each layer; weights of several layers share one T equally.
    integrator : Taylor or Euler, optional
        D is substeps · degree of ``Taylor.fixed(time)``, or the steps of Euler, times the layers; Taylor() if None.
    weights : (N, H, W) array or sequence of them, BilateralWeights, WeightPredictor or callable, optional
        r is the ``radius`` of their patches (1 for a callable that does not say it), s their ``reach``, the pixels that
        the weights of a pixel look around (0 for arrays). 3×3 patches if None.

    Returns
    -------
    int
        A square tile of side t takes (1 + 2·halo/t)² times the work of its own pixels.

    Raises
    ------
    ValueError, TypeError
        If the integrator or the weights depend on the whole image, or do not say how far they look.

    Examples
    --------
    >>> import gpulaf
    >>> gpulaf.tiling.tile_halo(3.0), gpulaf.tiling.tile_halo(3.0, weights=gpulaf.averaging.BilateralWeights(radius=2))
    (8, 16)
    """
    time = layer_times(time, weights)
    radius, reach = surroundings(weights)
    return (fixed(integrator, time)[1] - 1) * radius + max(radius, reach)


def tile_side(
    memory: float,
    labels: int,
    *,
    channels: int = 1,
    dtype: Any = np.uint8,
    weights: Any = None,
    time: float | Sequence[float] = 3.0,
    integrator: Integrator | None = None,
) -> int:
    """The side of the largest square tile that can be labeled in `memory` bytes, a multiple of 64.

    Parameters
    ----------
    memory : float
        Bytes for one tile at a time, besides what the interpreter and the libraries take; every further tile that is
        worked on at the same time takes as much again.
    labels, channels : int
        J and C; for :func:`gpulaf.tiling.refine_array` C + J.
    dtype : dtype
        Of the image, or of the probabilities.
    weights, time, integrator
        As in :func:`tile_halo`. A callable may tell by a method ``floats(channels)`` how many numbers per pixel it
        holds; as many as bilateral weights are assumed otherwise.

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
    >>> gpulaf.tile_side(1e9, labels=8, channels=3)
    1472
    """
    number = np.dtype(np.float64 if np.dtype(dtype) == np.float64 else np.float32).itemsize
    time = layer_times(time, weights)
    working = number * _floats(labels, channels, weights, time, fixed(integrator, time)[0])
    working += channels * (number + 9 * np.dtype(dtype).itemsize)  # the tile, and the nine chunks that it is cut from
    halo, result = tile_halo(time, integrator=integrator, weights=weights), number * (labels + 1)

    def needed(side: int) -> int:
        return working * (side + 2 * halo) ** 2 + result * side**2

    side = 0
    while needed(side + TILE_STEP) <= memory:
        side += TILE_STEP
    if not side:
        raise ValueError(
            f"memory is {memory:.4g} bytes; a tile of {TILE_STEP}×{TILE_STEP} pixels with a halo of {halo} takes "
            f"{needed(TILE_STEP):.4g}. Give at least as much, or take a shorter time or a looser tol."
        )
    return side


def _floats(labels: int, channels: int, weights: Any, time: float | Sequence[float], integrator: Integrator) -> int:
    """Numbers per pixel of a tile that are held at once, while its weights are made or after that, at most."""
    radius, layers = surroundings(weights)[0], np.size(time)
    patch = layers * (2 * radius + 1) ** 2
    solving = memory_estimate((1, 1), labels, integrator=integrator, time=time, dtype=np.uint8, radius=radius)
    solving += patch - patch // layers
    if weights is None:
        return solving
    if not hasattr(weights, "reach"):
        return solving + 11 * patch  # nine chunks that the tile is cut from, a copy, what its check takes
    return max(solving, getattr(weights, "floats", BilateralWeights(radius=radius).floats)(channels))


def fixed(integrator: Integrator | None, time: float | Sequence[float]) -> tuple[Integrator, int]:
    """An integrator that solves every tile and layer alike, and D, the steps from pixel to neighbor that it makes."""
    integrator, times = integrator or Taylor(), np.atleast_1d(layer_times(time, None)).tolist()
    if isinstance(integrator, Taylor):
        plan = integrator.fixed(max(times))
        return plan, len(times) * int(plan.substeps or 1) * int(plan.degree or 1)
    if isinstance(integrator, Euler):
        return integrator, len(times) * int(integrator.steps)
    raise TypeError(
        f"integrator is {integrator!r}; accepted in tiles are Taylor and Euler: others take from the whole image what "
        "a tile does not know, inner products of Krylov spaces, step control of nonlinear flows. Leave integrator out."
    )


def surroundings(weights: Any) -> tuple[int, int]:
    """r, the radius of weight patches, and s, the pixels that each was made of; of layers the largest."""
    if weights is None:
        return 1, 0
    if isinstance(weights, (list, tuple)):
        every = [surroundings(layer) for layer in weights]
        return max(radius for radius, _ in every), max(reach for _, reach in every)
    reach = getattr(weights, "reach", None)
    if reach is None and hasattr(weights, "ndim"):
        return radius_of(weights), 0
    radius = getattr(weights, "radius", 1)
    for name, value, least in (("reach", reach, 0), ("radius", radius, 1)):
        if value is None or isinstance(value, bool) or int(value) != value or value < least:
            raise ValueError(
                f"the {name} of the weights {weights!r} is {value}; accepted are whole numbers from {least}: a tile "
                f"needs to know how far they look. Set weights.{name} to that many pixels."
            )
    return int(radius), int(reach or 0)
