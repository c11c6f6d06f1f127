"""y = s·source + R_S Ω v: one product with the matrix A of the linearized assignment flow, (2.22).

    y_i = s source_i + S_i ∘ (x_i − ⟨S_i, x_i⟩),   x_i = Σ_{k ∈ N_i} ω_ik v_k

Layout: v, S and y (J, H, W), Ω (N, H, W). Border: neighbors outside the image are skipped.
With S = None the replicator is left out; source = None adds nothing. With a source the kernel is one step of Horner's
scheme. Least traffic per pixel, in floats: 3J + N (v, S and Ω read once, y written once), J more with a source.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _cuda
from ._memory import empty_like
from ._numba import in_blocks, kernel
from ._rows import COLUMNS, add_scaled, average, dot_labels, load, new_packed, new_ring, pack, replicated
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
    in_blocks(_rows, field.shape[1], work, weights, similarity, field, source, scale, radius_of(weights), result)
    return result


@kernel
def _rows(first, last, weights, similarity, field, source, scale, radius, result):
    labels, _, width = field.shape
    ring, packed = new_ring(labels, radius, field.dtype), new_packed(radius, field.dtype)
    averaged, dot = np.empty((labels, 1, COLUMNS), field.dtype), np.empty(COLUMNS, field.dtype)
    for x0 in range(0, width, COLUMNS):
        n = min(COLUMNS, width - x0)
        for y in range(first - radius, last + radius):
            load(field, radius, y, x0, n, ring)
            done = y - radius
            if done >= first:
                pack(weights, radius, done, x0, n, packed)
                if similarity is None:
                    average(packed, ring, radius, done, x0, n, done, result)
                else:
                    average(packed, ring, radius, done, 0, n, 0, averaged)
                    dot_labels(similarity, averaged, done, x0, n, dot)
                    for j in range(labels):
                        s = similarity[j, done, x0 : x0 + n]
                        replicated(s, averaged[j, 0, :n], dot[:n], result[j, done, x0 : x0 + n])
                if source is not None:
                    for j in range(labels):
                        add_scaled(source[j, done, x0 : x0 + n], scale, result[j, done, x0 : x0 + n])


def gpu(weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
    """y = scale·source + R_S Ω v with CUDA (``operator.cu``); None leaves the source or the replicator out."""
    return _cuda.product("operator", weights, similarity, field, source, scale, out)
