"""y = s·source + Ωᵀ R_S u: one product with the transpose of A, in gather form.

    y_k = s source_k + Σ_o ω_o[k − o] z[k − o],   z_i = S_i ∘ (u_i − ⟨S_i, u_i⟩)

The sum runs over the pixels i = k − o inside the image that have k as their neighbor o: no atomics, no scatter.
Layout: u, S and y (J, H, W), Ω (N, H, W). With S = None the replicator is left out;
source = None adds nothing. Least traffic per pixel, in floats: 3J + N, J more with a source.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _cuda
from ._memory import empty_like
from ._numba import in_blocks, inline, kernel
from ._rows import (
    COLUMNS,
    add_scaled,
    average,
    clear,
    load,
    multiply_add,
    new_packed,
    new_ring,
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
    in_blocks(_rows, field.shape[1], work, weights, similarity, field, source, scale, radius_of(weights), result)
    return result


@kernel
def _rows(first, last, weights, similarity, field, source, scale, radius, result):
    labels, _, width = field.shape
    ring, packed = new_ring(labels, radius, field.dtype), new_packed(radius, field.dtype)
    dot = np.empty(COLUMNS + 2 * radius, field.dtype)
    for x0 in range(0, width, COLUMNS):
        n = min(COLUMNS, width - x0)
        for y in range(first - radius, last + radius):
            load(field, radius, y, x0, n, ring)
            if similarity is not None:
                _replicate_slot(similarity, radius, y, x0, n, dot, ring)
            done = y - radius
            if done >= first:
                pack_transposed(weights, radius, done, x0, n, packed)
                average(packed, ring, radius, done, x0, n, done, result)
                if source is not None:
                    for j in range(labels):
                        add_scaled(source[j, done, x0 : x0 + n], scale, result[j, done, x0 : x0 + n])


@inline
def _replicate_slot(similarity, radius, y, x0, n, dot, ring):
    """z = R_S u in the slot of row y, on the pixels inside the image."""
    labels, height, width = similarity.shape
    if 0 <= y < height:
        lo, hi = max(0, x0 - radius), min(width, x0 + n + radius)
        at, slot = lo - (x0 - radius), (y + radius) % (2 * radius + 1)
        total = dot[: hi - lo]
        clear(total)
        for j in range(labels):
            multiply_add(similarity[j, y, lo:hi], ring[slot, j, at : at + hi - lo], total)
        for j in range(labels):
            row = ring[slot, j, at : at + hi - lo]
            replicated(similarity[j, y, lo:hi], row, total, row)


def gpu(weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
    """y = scale·source + Ωᵀ R_S u with CUDA (``adjoint.cu``); None leaves the source or the replicator out."""
    return _cuda.product("adjoint", weights, similarity, field, source, scale, out)
