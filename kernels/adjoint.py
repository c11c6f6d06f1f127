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
from ._memory import empty_like
from ._numba import in_blocks, inline, kernel
from ._rows import (
    PITCH,
    add_scaled,
    as_volumes,
    average,
    clear,
    load,
    multiply_add,
    new_ring,
    new_rows,
    pack_transposed,
    replicated,
)
from .stencil import offsets, radius_of, replicate, shifted, store


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
    z = field if similarity is None else replicate(similarity, field)
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
    weights, similarity, field, source, target = as_volumes(weights, similarity, field, source, result)
    in_blocks(_rows, rows, work, weights, similarity, field, source, scale, radius, target)
    return result


@kernel
def _rows(first, last, weights, similarity, field, source, scale, radius, result):
    labels, _, height, width = field.shape
    ring, packed = new_ring(labels, len(weights), radius, field.dtype), new_rows(len(weights), field.dtype)
    dot = np.empty(PITCH, field.dtype)
    for z in range(first // height, -(-last // height)):  # rows are counted through all planes
        top, bottom = max(0, first - z * height), min(height, last - z * height)
        for x0 in range(0, width, PITCH - 2 * radius):
            n = min(PITCH - 2 * radius, width - x0)
            for y in range(top - radius, bottom + radius):
                load(field, radius, z, y, x0, n, ring)
                if similarity is not None:
                    _replicate_slots(similarity, radius, z, y, x0, n, dot, ring)
                done = y - radius
                if done < top:
                    continue
                pack_transposed(weights, radius, z, done, x0, n, packed)
                average(packed, ring, done, n, result, (z, done, x0))
                if source is not None:
                    for j in range(labels):
                        add_scaled(source[j, z, done, x0 : x0 + n], scale, result[j, z, done, x0 : x0 + n])


@inline
def _replicate_slots(similarity, radius, z, y, x0, n, dot, ring):
    """z = R_S u in the slots of row y, on the pixels inside the image."""
    labels, depth, height, width = similarity.shape
    planes, side = ring.shape[:2]
    lo, hi = max(0, x0 - radius), min(width, x0 + n + radius)
    at, total = lo - (x0 - radius), dot[: hi - lo]
    for p in range(planes):
        plane = z + p - planes // 2
        if 0 <= plane < depth and 0 <= y < height:
            rows = ring[p, (y + radius) % side]
            clear(total)
            for j in range(labels):
                row = rows[j * PITCH + at : j * PITCH + at + hi - lo]
                multiply_add(similarity[j, plane, y, lo:hi], row, total)
            for j in range(labels):
                row = rows[j * PITCH + at : j * PITCH + at + hi - lo]
                replicated(similarity[j, plane, y, lo:hi], row, total, row)


def gpu(weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
    """y = scale·source + Ωᵀ R_S u with CUDA (``adjoint.cu``); None leaves the source or the replicator out."""
    return _cuda.product("adjoint", weights, similarity, field, source, scale, out)
