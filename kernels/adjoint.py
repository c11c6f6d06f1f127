"""y = Ωᵀ R_S u: one product with the transpose of A, in gather form.

    y_k = Σ_o ω_o[k − o] z[k − o],   z_i = S_i ∘ (u_i − ⟨S_i, u_i⟩)

The sum runs over the pixels i = k − o inside the image that have k as their neighbor o: no atomics, no scatter.
Layout: u, S and y (J, H, W), Ω (N, H, W). With S = None the replicator is left out and y = Ωᵀ u.
Least traffic per pixel, in floats: 3J + N.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _cuda
from ._numba import COLUMNS, clear, inline, kernel, multiply_add, prange, replicate_rows, rows_per_task
from .stencil import offsets, radius_of, replicate, shifted


def reference(weights: Any, similarity: Any, field: Any, *, periodic: bool = False) -> Any:
    """The definition, in array API code."""
    z = field if similarity is None else replicate(similarity, field)
    total = None
    for index, offset in enumerate(offsets(radius_of(weights), weights.ndim - 1)):
        term = shifted(weights[index, ...] * z, tuple(-o for o in offset), periodic)
        total = term if total is None else total + term
    return total


def cpu(weights: np.ndarray, similarity: np.ndarray | None, field: np.ndarray) -> np.ndarray:
    """The same with Numba: a ring of 2r+1 rows of z moves down the image with the output row."""
    result = np.empty_like(field)
    _adjoint(weights, similarity, field, radius_of(weights), rows_per_task(field.shape[1]), result)
    return result


@kernel
def _adjoint(weights, similarity, field, radius, rows, result):
    labels, height, width = field.shape
    ring_rows = 2 * radius + 1
    for task in prange((height + rows - 1) // rows):
        ring = np.empty((ring_rows, labels, width), field.dtype)
        dot = np.empty(width, field.dtype)
        first, last = task * rows, min(height, (task + 1) * rows)
        for y in range(max(0, first - radius), min(height, first + radius)):
            _ring_row(similarity, field, dot, y, ring[y % ring_rows])
        for y in range(first, last):
            if y + radius < height:
                _ring_row(similarity, field, dot, y + radius, ring[(y + radius) % ring_rows])
            for x0 in range(0, width, COLUMNS):
                x1 = min(width, x0 + COLUMNS)
                for j in range(labels):
                    _gather_row(weights, ring, radius, j, y, x0, x1, result[j, y, x0:x1])


@inline
def _ring_row(similarity, field, dot, y, z):
    if similarity is None:
        z[:] = field[:, y]
    else:
        replicate_rows(similarity, field[:, y], dot, y, 0, z)


@inline
def _gather_row(weights, ring, radius, j, y, x0, x1, result):
    ring_rows, _, width = ring.shape
    height = weights.shape[1]
    clear(result)
    for dy in range(-radius, radius + 1):
        source = y - dy
        if 0 <= source < height:
            for dx in range(-radius, radius + 1):
                o = (dy + radius) * (2 * radius + 1) + dx + radius
                lo, hi = max(x0, dx), min(x1, width + dx)
                if lo < hi:
                    w = weights[o, source, lo - dx : hi - dx]
                    multiply_add(w, ring[source % ring_rows, j, lo - dx : hi - dx], result[lo - x0 : hi - x0])


def gpu(weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
    """y = scale·source + Ωᵀ R_S u with CUDA (``adjoint.cu``); None leaves the source or the replicator out."""
    return _cuda.product("adjoint", weights, similarity, field, source, scale, out)
