"""y = s·source + R_S Ω v: one product with the matrix A of the linearized assignment flow, (2.22).

    y_i = s source_i + S_i ∘ (x_i − ⟨S_i, x_i⟩),   x_i = Σ_{k ∈ N_i} ω_ik v_k

Layout: v, S and y (J, H, W), Ω (N, H, W). Border: neighbors outside the image are skipped.
With S = None the replicator is left out; source = None adds nothing. With a source the kernel is one step of Horner's
scheme. Least traffic per pixel, in floats: 3J + N (v, S and Ω read once, y written once), J more with a source.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from . import _cuda
from ._blocks import (
    BLOCK,
    STRETCH,
    as_volumes,
    emit,
    exceeds_cache,
    find_slots,
    load_rows,
    new_ring,
    new_scratch,
    pack,
)
from ._memory import empty_like
from ._numba import in_blocks, inline, kernel
from ._sums import average, replicate
from ._vectors import fence, place
from .stencil import average as average_field
from .stencil import radius_of, store
from .stencil import replicate as replicate_field


def reference(
    weights: Any,
    similarity: Any,
    field: Any,
    source: Any = None,
    scale: float = 1.0,
    *,
    out: Any = None,
    periodic: bool = False,
) -> Any:
    """The definition, in array API code."""
    averaged = average_field(weights, field, periodic)
    product = averaged if similarity is None else replicate_field(similarity, averaged)
    return store(product if source is None else scale * source + product, out)


def cpu(
    weights: np.ndarray,
    similarity: np.ndarray | None,
    field: np.ndarray,
    source: np.ndarray | None = None,
    scale: float = 1.0,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The same with Numba: averages of a block stay in cache until they are replicated."""
    result = empty_like(field) if out is None else out
    scale = field.dtype.type(scale)
    work = field.size * weights.shape[0]
    radius, rows = radius_of(weights), prod(field.shape[1:-1])
    streaming = exceeds_cache(weights, similarity, field, source, result)
    weights, similarity, field, source, target = as_volumes(weights, similarity, field, source, result)
    in_blocks(_rows, rows, work, weights, similarity, field, source, scale, radius, target, streaming)
    return result


@kernel
def _rows(first, last, weights, similarity, field, source, scale, radius, result, streaming):
    labels, _, height, width = field.shape
    ring, slots = new_ring(labels, len(weights), radius, field), np.empty(len(weights) // (2 * radius + 1), np.intp)
    packed, column = new_scratch(len(weights), field), new_scratch(labels, field)
    for z in range(first // height, -(-last // height)):  # rows are counted through all planes
        top, bottom = max(0, first - z * height), min(height, last - z * height)
        for x0 in range(0, width, STRETCH):
            n = min(STRETCH, width - x0)
            for y in range(top - radius, bottom + radius):
                load_rows(field, radius, z, y, x0, n, ring)
                done = y - radius
                if done < top:
                    continue
                find_slots(done, radius, slots)
                for x in range(0, n, BLOCK):
                    at, count = (z, done, x0 + x), min(BLOCK, n - x)
                    pack(weights, at, count, packed)
                    average(packed, ring, slots, radius, x, count, column)
                    _finish(similarity, column, source, scale, at, count, result, streaming)
    if streaming:
        fence()


@inline(always=True)
def _finish(similarity, column, source, scale, at, count, result, streaming):
    """The result from `at` = (z, y, x) on, of the averages in the column."""
    z, y, x = at
    labels, own = len(column), column.shape[1]
    if similarity is not None:
        s, plane = place(similarity, (0, z, y, x)), similarity.strides[0] // similarity.itemsize
        replicate(s, plane, place(column, 0), own, place(column, 0), own, labels, count)
    for j in range(labels):
        emit(place(column, j), source, scale, result, (j, z, y, x), count, streaming)


def gpu(weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
    """y = scale·source + R_S Ω v with CUDA (``operator.cu``); None leaves the source or the replicator out."""
    return _cuda.product("operator", weights, similarity, field, source, scale, out)
