"""y = s·source + Ωᵀ R_S u: one product with the transpose of A, in gather form.

    y_k = s source_k + Σ_o ω_o[k − o] z[k − o],   z_i = S_i ∘ (u_i − ⟨S_i, u_i⟩)

The sum runs over the pixels i = k − o inside the image that have k as their neighbor o: no atomics, no scatter.
Layout: u, S and y (J, H, W), Ω (N, H, W). With S = None the replicator is left out;
source = None adds nothing. Least traffic per pixel, in floats: 3J + N, J more with a source.
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
    margin,
    new_ring,
    new_scratch,
    pack_transposed,
)
from ._memory import empty_like
from ._numba import in_blocks, inline, kernel
from ._sums import average, replicate
from ._vectors import fence, further, place
from .stencil import offsets, radius_of, shifted, store
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
    z = field if similarity is None else replicate_field(similarity, field)
    total = None
    for index, offset in enumerate(offsets(radius_of(weights), weights.ndim - 1)):
        term = shifted(weights[index, ...] * z, tuple(-o for o in offset), periodic)
        total = term if total is None else total + term
    return store(total if source is None else scale * source + total, out)


def cpu(
    weights: np.ndarray,
    similarity: np.ndarray | None,
    field: np.ndarray,
    source: np.ndarray | None = None,
    scale: float = 1.0,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The same with Numba: a ring of 2r+1 rows of z moves down the image with the output row."""
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
                if similarity is not None:
                    _replicate_rows(similarity, radius, z, y, x0, n, ring)
                done = y - radius
                if done < top:
                    continue
                find_slots(done, radius, slots)
                for x in range(0, n, BLOCK):
                    at, count = (z, done, x0 + x), min(BLOCK, n - x)
                    pack_transposed(weights, radius, at, count, packed)
                    average(packed, ring, slots, radius, x, count, column)
                    for j in range(labels):
                        emit(place(column, j), source, scale, result, (j, z, done, x0 + x), count, streaming)
    if streaming:
        fence()


@inline(always=True)
def _replicate_rows(similarity, radius, z, y, x0, n, ring):
    """z = R_S u in place of u in the slots of row y, on the pixels inside the image."""
    labels, depth, height, width = similarity.shape
    side, plane, columns = 2 * radius + 1, similarity.strides[0] // similarity.itemsize, ring.shape[2]
    planes, lo, hi = len(ring) // side, max(0, x0 - radius), min(width, x0 + n + radius)
    for p in range(planes):
        at = z + p - planes // 2
        if 0 <= at < depth and 0 <= y < height:
            row = further(place(ring, p * side + (y + radius) % side), margin(radius) - x0)
            for x in range(lo, hi, BLOCK):
                u = further(row, x)
                replicate(place(similarity, (0, at, y, x)), plane, u, columns, u, columns, labels, min(BLOCK, hi - x))


def gpu(weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
    """y = scale·source + Ωᵀ R_S u with CUDA (``adjoint.cu``); None leaves the source or the replicator out."""
    return _cuda.product("adjoint", weights, similarity, field, source, scale, out)
