"""Work on an image tile by tile, each with a halo of the pixels around it; Dask moves the pixels.

Labels and probabilities of a tile come from one solution, packed into one block of an array that both are read from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from .array import empty, floating_dtype, namespace
from .labeling import Labeling, smallest_unsigned

__all__ = ["Cuts", "LabelArrays", "dask_array", "label_tiles"]

#: Whether a tile ends inside the image above, below, on the left and on the right.
Cuts = Sequence[bool]


class LabelArrays(NamedTuple):
    """A labeled image that is computed on demand; computed together, both arrays take one solution of every tile."""

    #: (H, W) Dask array of label indices, in the smallest unsigned type that holds them.
    labels: Any
    #: (H, W, J) Dask array: the probability of every label, W(T).
    probabilities: Any


def label_tiles(solve: Callable[..., Labeling], arrays: Sequence[Any], labels: int, halo: int) -> LabelArrays:
    """Solve tile by tile; the tiles are the chunks of the first array, joined where they are smaller than the halo.

    Parameters
    ----------
    solve : callable
        ``solve(cuts, *tiles)`` labels one tile with its halo, (h, w, …) of every array.
    arrays : sequence of (H, W, …) Dask arrays
    labels : int
        J.
    halo : int
        Pixels around each tile.
    """
    da, shape, first = dask_array(), arrays[0].shape[:2], arrays[0]
    for x in arrays[1:]:
        if x.shape[:2] != shape:
            raise ValueError(f"the arrays have {shape} and {x.shape[:2]} pixels; accepted are as many. Check the pair.")
    sizes = [_joined(chunks, min(halo, n)) for chunks, n in zip(first.chunks[:2], shape, strict=True)]
    edges = [list(pairwise(accumulate(parts, initial=0))) for parts in sizes]
    depth = {axis: halo if len(parts) > 1 else 0 for axis, parts in enumerate(sizes)} | {2: 0}
    dtype, unsigned = floating_dtype(first._meta), smallest_unsigned(labels)
    field, plane = (da.utils.meta_from_array(first._meta, n, dtype=d) for n, d in ((3, dtype), (2, unsigned)))
    packed = da.map_overlap(
        partial(_packed, solve=solve, edges=edges, halo=halo),
        *(x.rechunk({0: sizes[0], 1: sizes[1], 2: -1}) for x in arrays),
        depth=depth, boundary="none", trim=False, align_arrays=False, allow_rechunk=False,
        chunks=(*sizes, (labels + 1,)), dtype=dtype, meta=field,
    )  # fmt: skip
    return LabelArrays(
        packed.map_blocks(_labels, unsigned.name, drop_axis=2, dtype=unsigned, meta=plane),
        packed.map_blocks(_probabilities, chunks=(*sizes, (labels,)), dtype=dtype, meta=field),
    )


def _packed(
    *tiles: Any, solve: Callable[..., Labeling], edges: list[list[tuple[int, int]]], halo: int, block_id: Any = None
) -> Any:
    """W(T) and the label of each pixel of a tile, side by side, (h, w, J + 1): a label is exact in any float."""
    (top, bottom), (left, right) = (edges[axis][block_id[axis]] for axis in (0, 1))
    cuts = [end for axis in (0, 1) for end in (block_id[axis] > 0, block_id[axis] + 1 < len(edges[axis]))]
    y, x = halo * cuts[0], halo * cuts[2]
    try:
        result = solve(cuts, *tiles)
    except (ValueError, TypeError, MemoryError) as error:
        kind = next(kind for kind in (ValueError, TypeError, MemoryError) if isinstance(error, kind))
        whole = f"{top - y}:{bottom + halo * cuts[1]}, {left - x}:{right + halo * cuts[3]}"
        raise kind(f"tile [{top}:{bottom}, {left}:{right}], with its halo [{whole}]: {error}") from error
    core = np.s_[y : y + bottom - top, x : x + right - left]
    probabilities = result.probabilities[core]
    packed = empty((*probabilities.shape[:2], probabilities.shape[2] + 1), probabilities)
    packed[..., :-1] = probabilities
    packed[..., -1] = result.labels[core]
    return packed


def _labels(packed: Any, dtype: str) -> Any:
    xp = namespace(packed)
    return xp.astype(packed[..., -1], getattr(xp, dtype))


def _probabilities(packed: Any) -> Any:
    return packed[..., :-1]


def _joined(chunks: Sequence[int], least: int) -> tuple[int, ...]:
    """Chunk sizes with those smaller than `least` joined to their neighbors."""
    sizes: list[int] = []
    for size in chunks:
        if sizes and sizes[-1] < least:
            sizes[-1] += size
        elif size:
            sizes.append(size)
    if len(sizes) > 1 and sizes[-1] < least:
        last = sizes.pop()
        sizes[-1] += last
    return tuple(int(size) for size in sizes)


def dask_array() -> Any:
    """The module ``dask.array``, or how to install it."""
    try:
        import dask.array
    except ImportError as error:
        raise ImportError(
            "tiles need Dask, which is not installed. Install it with: python -m pip install 'gpulaf[large]'."
        ) from error
    return dask.array
