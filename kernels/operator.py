"""y = R_S Ω v: one product with the matrix A of the linearized assignment flow, (2.22).

    y_i = S_i ∘ (x_i − ⟨S_i, x_i⟩),   x_i = Σ_{k ∈ N_i} ω_ik v_k

Layout: v, S and y (J, H, W), Ω (N, H, W). Border: neighbors outside the image are skipped.
With S = None the replicator is left out and y = Ω v.
Least traffic per pixel, in floats: 3J + N (v, S and Ω read once, y written once).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _cuda
from ._numba import COLUMNS, average_row, kernel, prange, replicate_rows, rows_per_task
from .stencil import average, radius_of, replicate


def reference(weights: Any, similarity: Any, field: Any, *, periodic: bool = False) -> Any:
    """The definition, in array API code."""
    averaged = average(weights, field, periodic)
    return averaged if similarity is None else replicate(similarity, averaged)


def cpu(weights: np.ndarray, similarity: np.ndarray | None, field: np.ndarray) -> np.ndarray:
    """The same with Numba: averages of one stretch of a row stay in cache until they are replicated."""
    result = np.empty_like(field)
    _operator(weights, similarity, field, radius_of(weights), rows_per_task(field.shape[1]), result)
    return result


@kernel
def _operator(weights, similarity, field, radius, rows, result):
    labels, height, width = field.shape
    for task in prange((height + rows - 1) // rows):
        averaged = np.empty((labels, COLUMNS), field.dtype)
        dot = np.empty(COLUMNS, field.dtype)
        for y in range(task * rows, min(height, (task + 1) * rows)):
            for x0 in range(0, width, COLUMNS):
                x1 = min(width, x0 + COLUMNS)
                n = x1 - x0
                if similarity is None:
                    for j in range(labels):
                        average_row(weights, field[j], radius, y, x0, x1, result[j, y, x0:x1])
                else:
                    for j in range(labels):
                        average_row(weights, field[j], radius, y, x0, x1, averaged[j, :n])
                    replicate_rows(similarity, averaged[:, :n], dot[:n], y, x0, result[:, y, x0:x1])


def gpu(weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
    """y = scale·source + R_S Ω v with CUDA (``operator.cu``); None leaves the source or the replicator out."""
    return _cuda.product("operator", weights, similarity, field, source, scale, out)
