"""An image in blocks that are labeled one after the other: the same numbers, in less memory and time than all at once.

A block with a halo as wide as anything that its labels depend on (:mod:`gpulaf.labeling.halo`) equals that part of the
whole image bit for bit, and its fields stay in cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..averaging.sources import WeightSource
from ..backend.array import contiguous, empty, is_host_array
from ..backend.memory import block_counts, block_side, check_memory, memory_estimate
from ..backend.workers import in_order
from ..fields import field_shape, from_rows, pixel_shape
from ..kernels._numba import threads
from .halo import label_halo
from .noise import Probe
from .prior import log_prior, of_pixels, part_of_prior
from .result import Labeling
from .solve import label_by, weights_of_layers
from .uncertainty import Uncertainty

if TYPE_CHECKING:
    from .labeler import Labeler

__all__ = ["Block", "Window", "blocks", "label_blocks", "label_parts"]

#: Rows and columns of a part of an image, or all of it.
Window = tuple[slice, slice] | EllipsisType
#: Pairs of probes of noise of opposite signs, of a window.
Probes = Callable[[Window], Iterator[tuple[Probe, Probe]]]
#: Blocks that are labeled at the same time, at most, where weights are made from the image.
AT_ONCE = 4


class Block(NamedTuple):
    """Rows and columns of a part of an image, and of the same part with its halo."""

    inner: tuple[slice, slice]
    outer: tuple[slice, slice]

    @property
    def core(self) -> tuple[slice, slice]:
        """Where the part lies in itself with its halo."""
        rows, columns = (
            slice(i.start - o.start, i.stop - o.start) for i, o in zip(self.inner, self.outer, strict=True)
        )
        return rows, columns

    def cuts(self, shape: tuple[int, ...]) -> list[bool]:
        """Whether the part with its halo ends inside the image above, below, on the left and on the right."""
        return [end for o, n in zip(self.outer, shape, strict=True) for end in (o.start > 0, o.stop < n)]


def blocks(counts: Iterable[int], shape: tuple[int, int], halo: int) -> Iterator[Block]:
    """Blocks of an image (H, W), as many below and beside each other as `counts` say, all of about one size."""
    rows, columns = (
        list(pairwise(n * k // count for k in range(count + 1))) for count, n in zip(counts, shape, strict=True)
    )
    for top, bottom in rows:
        for left, right in columns:
            outer = (
                slice(max(0, top - halo), min(shape[0], bottom + halo)),
                slice(max(0, left - halo), min(shape[1], right + halo)),
            )
            yield Block((slice(top, bottom), slice(left, right)), outer)


def label_blocks(
    label: Callable[[Block], Labeling], parts: Sequence[Block], shape: tuple[int, int], *, workers: int = 1
) -> Labeling:
    """Label every block with its halo, as many at a time as there are workers, and put together what lies inside.

    The error is the largest one of a block, relative to its own v, and the reason that of the same block.
    """
    whole: dict[str, Any] = {}
    worst: Any = None
    for block, found in zip(parts, in_order(label, parts, workers), strict=True):
        if worst is None:
            W = empty(field_shape(shape, found.probabilities.shape[-1]), found.probabilities)
            whole = {"probabilities": from_rows(W)}
            for name in ("labels", "uncertainty", "radius"):
                if (part := getattr(found, name)) is not None:
                    whole[name] = empty(shape, part)
        for name, array in whole.items():
            array[block.inner] = getattr(found, name)[block.core]
        worst = found if worst is None or found.error > worst.error else worst
    return worst._replace(**whole)


def label_parts(
    labeler: Labeler,
    fields: Callable[[Window], Any],
    array: Any,
    labels: int,
    features: Any,
    valid: Any,
    spacing: Any,
    *,
    probes: Probes | None = None,
    soft: bool = False,
) -> Labeling:
    """Label an image at once, or in blocks where that takes less memory.

    Parameters
    ----------
    labeler : Labeler
    fields : callable
        ℓ (h, J, w) of a window of the image; of all of it for ``...``.
    array : array
        The pixels, in the library and dtype of the fields: features (H, W, C), or where `soft` predictions (H, J, W).
    labels : int
        J.
    features : (H, W, C) array, optional
        What weights are made from.
    valid : (H, W) array of bool, optional
    spacing : (sy, sx), optional
    probes : callable, optional
        Pairs of probes of noise of opposite signs, of a window, for the uncertainty.
    soft : bool
        Whether the labels are those of predictions.

    Raises
    ------
    MemoryError
        If not even that fits.
    """
    shape = pixel_shape(array) if soft else tuple(array.shape[:-1])
    source = labeler.weights
    made = isinstance(source, WeightSource)
    channels = 0 if features is None else features.shape[-1]
    certified = isinstance(labeler.uncertainty, Uncertainty) and labeler.uncertainty.radius
    options = labeler.memory_options | {
        "given": 0 if made else sum(x is not None for x in labeler.layers),
        "workspace": source.workspace(channels) if made else 0,
        "masked": valid is not None,
        "channels": channels,
        "soft": soft,
        "prior": of_pixels(labeler.prior),
        "blocks": _at_once(labeler),
        "probes": probes is not None,
        "certified": certified,
    }
    check_memory(array, shape, labels, **options)
    # the series of a certificate looks farther than that of the labels
    halo = _halo(labeler, valid) if len(shape) == 2 and is_host_array(array) and not certified else None
    if halo is not None:
        height, width = shape
        side = block_side(memory_estimate((1, 1), labels, dtype=array.dtype, **options), halo)
        counts = block_counts((height, width), side)
        if max(counts) > 1:
            parts = list(blocks(counts, (height, width), halo))
            return _label_in_blocks(labeler, parts, fields, features if made else None, valid, spacing, probes)
    of_all = None if probes is None else partial(probes, ...)
    return label_by(labeler, fields(...), features, valid=valid, spacing=spacing, probes=of_all)


def _halo(labeler: Labeler, valid: Any) -> int | None:
    """Pixels around a block that its labels depend on; None where they look at the whole image."""
    try:
        return label_halo(labeler, masked=valid is not None)
    except (TypeError, ValueError):
        return None


def _label_in_blocks(
    labeler: Labeler, parts: Sequence[Block], fields: Callable[[Window], Any], features: Any, valid: Any, spacing: Any,
    probes: Probes | None,
) -> Labeling:  # fmt: skip
    """Label an image block by block, by ℓ of each of them and features that weights are made from."""
    shape = (parts[-1].inner[0].stop, parts[-1].inner[1].stop)
    layers: list[Any] = []
    start: Any = None

    def labeled(block: Block) -> Labeling:
        nonlocal start
        field = fields(block.outer)
        if labeler.prior is not None and start is None:
            whole = np.broadcast_to(field[:1, :, :1], field_shape(shape, field.shape[1]))
            start = log_prior(labeler.prior, whole, valid)
        if not layers and not isinstance(labeler.weights, WeightSource):
            whole = np.broadcast_to(field[:1, :1, :1], field_shape(shape, 1))
            layers.extend(weights_of_layers(labeler, whole, None, None))
        cut = [None if x is None else x.part(*block.outer, block.cuts(shape)) for x in layers]
        return label_by(
            labeler, field, None if features is None else contiguous(features[block.outer]),
            valid=None if valid is None else valid[block.outer], spacing=spacing, layers=cut or None,
            start=part_of_prior(start, block.outer), probes=None if probes is None else partial(probes, block.outer),
        )  # fmt: skip

    return label_blocks(labeled, parts, shape, workers=_at_once(labeler))._replace(valid=valid)


def _at_once(labeler: Labeler) -> int:
    """Blocks that are labeled at the same time: kernels have threads of their own, features have none."""
    return min(AT_ONCE, threads()) if getattr(labeler.weights, "concurrent", False) else 1
