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
from ._memory import empty_like
from ._numba import in_blocks, kernel
from ._rows import (
    PITCH,
    add_scaled,
    as_volumes,
    average,
    dot_labels,
    load,
    new_ring,
    new_rows,
    pack,
    replicated,
)
from .stencil import average as average_field
from .stencil import radius_of, replicate, store


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
    product = averaged if similarity is None else replicate(similarity, averaged)
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
    """The same with Numba: averages of one stretch of a row stay in cache until they are replicated."""
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
    averaged, dot = np.empty((labels, 1, 1, PITCH), field.dtype), np.empty(PITCH, field.dtype)
    for z in range(first // height, -(-last // height)):  # rows are counted through all planes
        top, bottom = max(0, first - z * height), min(height, last - z * height)
        for x0 in range(0, width, PITCH - 2 * radius):
            n = min(PITCH - 2 * radius, width - x0)
            for y in range(top - radius, bottom + radius):
                load(field, radius, z, y, x0, n, ring)
                done = y - radius
                if done < top:
                    continue
                pack(weights, z, done, x0, n, packed)
                if similarity is None:
                    average(packed, ring, done, n, result, (z, done, x0))
                else:
                    average(packed, ring, done, n, averaged, (0, 0, 0))
                    dot_labels(similarity, averaged, z, done, x0, n, dot)
                    for j in range(labels):
                        s = similarity[j, z, done, x0 : x0 + n]
                        replicated(s, averaged[j, 0, 0, :n], dot, result[j, z, done, x0 : x0 + n])
                if source is not None:
                    for j in range(labels):
                        add_scaled(source[j, z, done, x0 : x0 + n], scale, result[j, z, done, x0 : x0 + n])


def gpu(weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
    """y = scale·source + R_S Ω v with CUDA (``operator.cu``); None leaves the source or the replicator out."""
    return _cuda.product("operator", weights, similarity, field, source, scale, out)
