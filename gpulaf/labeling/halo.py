"""How far around a pixel its labeling looks: the halo that makes a part of an image exact.

A Taylor series of n substeps of degree d makes D = n·d steps from pixel to neighbor, D steps of explicit Euler as many;
the steps of layers, linearized flows one after the other, add up. With patches of radius r the result at a pixel
depends on ℓ within D·r pixels, on the weights within (D − 1)·r, and on what those weights were made of, s pixels
farther: a part with a halo of (D − 1)·r + max(r, s) pixels holds everything. With a mask, what weights are made of goes
on into invalid pixels from valid ones as far as s away: s counts twice. Nothing else about the image enters: a
series is planned by the time alone, kernels add up in the order of the neighbors at every pixel, and all other
operations work on single pixels. Krylov spaces need inner products over the whole image, and the step control of
nonlinear flows looks at all of it: they have no halo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..averaging.sources import WeightSource

if TYPE_CHECKING:
    from .labeler import Labeler

__all__ = ["label_halo"]


def label_halo(labeler: Labeler, *, masked: bool = False) -> int:
    """Pixels around a part of an image that its labeling depends on; see :func:`gpulaf.tiling.tile_halo`."""
    if labeler.on_graph:
        raise TypeError("weights are a Graph; accepted in tiles are those of pixels. Label the nodes at once.")
    if any(getattr(x, "periodic", False) for x in labeler.layers):
        raise TypeError("weights wrap around at the border; accepted in tiles are those that end there.")
    if isinstance(labeler.weights, WeightSource):
        radius, reach = (_whole_number(labeler.weights, name, least) for name, least in (("radius", 1), ("reach", 0)))
    else:
        radius, reach = int(labeler.radius), 0
    reach *= 1 + masked
    return (sum(_steps(labeler.solver, time) for time in labeler.times) - 1) * radius + max(radius, reach)


def _steps(solver: object, time: float) -> int:
    """D of one layer, the steps from pixel to neighbor."""
    steps = solver.reach(time)  # type: ignore[attr-defined]
    if steps is None:
        raise TypeError(
            f"solver is {solver!r}; accepted in tiles are Taylor and Euler: others take from the whole image what a "
            "tile does not know, inner products of Krylov spaces, step control of nonlinear flows. Leave solver out."
        )
    return int(steps)


def _whole_number(source: WeightSource, name: str, least: int) -> int:
    """The radius or the reach that a source of weights tells."""
    value = getattr(source, name)
    if value is None or isinstance(value, bool) or int(value) != value or value < least:
        raise ValueError(
            f"the {name} of the weights {source!r} is {value}; accepted are whole numbers from {least}: a tile needs "
            f"to know how far they look. Set {name} on them, or on the features of a predictor, to that many pixels."
        )
    return int(value)
