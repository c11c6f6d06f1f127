"""y_r = s_r + Σ_k c_rk q_k: linear combinations of fields, every field read once.

Layout: q (K, n), s and y (R, n), rows contiguous; c (R, K) on the host. With s = None the sum starts at 0. The order of
summation is that of k at every element: equal inputs give equal bits wherever they lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._memory import empty
from ._numba import in_blocks, kernel
from .stencil import check_dtypes, check_flat

#: Elements that are worked on together.
STRETCH = 1024


def reference(coefficients: np.ndarray, rows: Any, start: Any = None) -> Any:
    """The definition, in array API code."""
    xp = array_namespace(rows)
    c = xp.asarray(coefficients, dtype=rows.dtype)
    result = xp.zeros((c.shape[0], rows.shape[1]), dtype=rows.dtype) if start is None else start
    for k in range(rows.shape[0]):
        result = result + c[:, k : k + 1] * rows[k : k + 1, :]
    return result


def check(coefficients: Any, rows: Any, start: Any) -> None:
    """Raise an error for operands of other shapes and dtypes than those above."""
    check_dtypes(rows, start)
    if rows.ndim != 2:
        raise ValueError(f"rows have shape {tuple(rows.shape)}; accepted is (K, n).")
    (R, *_), (K, n) = coefficients.shape, rows.shape
    check_flat(coefficients=(coefficients, (R, K)), start=(start, (R, n)))


def cpu(coefficients: np.ndarray, rows: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """The same with Numba."""
    check(coefficients, rows, start)
    coefficients = np.ascontiguousarray(coefficients, dtype=rows.dtype)
    result = empty((coefficients.shape[0], rows.shape[1]), rows.dtype)
    stretches, given = -(-rows.shape[1] // STRETCH), result if start is None else start
    operands = (coefficients, rows, given, start is not None, result)
    in_blocks(_stretches, stretches, coefficients.size * rows.shape[1], *operands)
    return result


@kernel
def _stretches(first, last, coefficients, rows, start, started, result):
    for s in range(first, last):
        a, b = s * STRETCH, min(rows.shape[1], (s + 1) * STRETCH)
        for r in range(result.shape[0]):
            y, begin = result[r, a:b], start[r, a:b]
            for i in range(y.size):
                y[i] = begin[i] if started else y.dtype.type(0)
            for k in range(rows.shape[0]):
                c, q = coefficients[r, k], rows[k, a:b]
                for i in range(y.size):
                    y[i] += c * q[i]


#: Results that one thread of the GPU sums at most: every row is read once for that many.
MOST_RESULTS = 8


def gpu(coefficients: Any, rows: Any, start: Any = None, *, out: Any = None) -> Any:
    """The same with CUDA (``combination.cu``); coefficients on the host are copied to the device first."""
    check(coefficients, rows, start)
    rows, start = _cuda.contiguous(rows, start)
    coefficients = _cuda.like(coefficients, rows)
    (R, K), n = coefficients.shape, rows.shape[1]
    result = _cuda.empty((R, n), rows) if out is None else out
    if R * n == 0:
        return result
    tile = min(R, MOST_RESULTS)
    options = {"dtype": rows.dtype, "ROWS": tile, "INDEX": _cuda.index_type(rows, start, result)}
    arguments = (coefficients, rows, start, result, *_cuda.sizes(R, K), np.int64(n))
    _cuda.launch("combination", -(-R // tile) * -(-n // _cuda.threads()), *arguments, **options)
    return result
