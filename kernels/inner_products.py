"""G_kp = ⟨q_k, x_p⟩: inner products over the whole image, accumulated in float64, every row read once.

Layout: q (K, n) and x (P, n), rows contiguous; G (K, P) float64. Sums over stretches of fixed length add up in order:
the result does not depend on the number of threads. The GPU multiplies in the dtype of the rows and adds a few products
in it before it goes on in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._numba import in_blocks, kernel, reassociating
from .stencil import check_dtypes, check_flat

#: Elements of one stretch.
STRETCH = 1024


def reference(rows: Any, others: Any) -> Any:
    """The definition, in array API code: (K, P) array in the library of the rows."""
    xp = array_namespace(rows, others)
    return xp.matmul(xp.astype(rows, xp.float64), xp.permute_dims(xp.astype(others, xp.float64), (1, 0)))


def check(rows: Any, others: Any) -> None:
    """Raise an error for operands of other shapes and dtypes than those above."""
    check_dtypes(rows, others)
    if rows.ndim != 2:
        raise ValueError(f"rows have shape {tuple(rows.shape)}; accepted is (K, n).")
    check_flat(others=(others, (*others.shape[:1], rows.shape[1])))


def cpu(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The same with Numba."""
    check(rows, others)
    stretches = -(-rows.shape[1] // STRETCH)
    partial = np.empty((stretches, rows.shape[0], others.shape[0]))
    in_blocks(_stretches, stretches, rows.size * len(others), rows, others, partial)
    return partial.sum(axis=0)


@kernel
def _stretches(first, last, rows, others, partial):
    for s in range(first, last):
        a, b = s * STRETCH, min(rows.shape[1], (s + 1) * STRETCH)
        for k in range(rows.shape[0]):
            for p in range(others.shape[0]):
                partial[s, k, p] = _dot(rows[k, a:b], others[p, a:b])


@reassociating
def _dot(a, b):
    total = 0.0
    for i in range(a.size):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


#: Rows and others of one tile of G: with a single other, all of a tile's sums share its loads.
TILE, TILE_ONE = (4, 4), (8, 1)

#: Elements that a thread sums in the dtype of the rows, and the largest number of blocks that share one tile of G.
STEPS, BLOCKS = 16, 1024


def scratch_shape(rows: Any, others: Any) -> tuple[int, int, int]:
    """Shape of the float64 scratch of ``gpu``: it depends on the sizes only, and so do the bits of the result."""
    stretches = -(-rows.shape[1] // (STEPS * _cuda.threads()))
    return rows.shape[0], others.shape[0], max(1, min(BLOCKS, stretches))


def gpu(rows: Any, others: Any, *, out: Any = None, scratch: Any = None) -> Any:
    """The same with CUDA (``inner_products.cu``): G stays on the device."""
    check(rows, others)
    rows, others = _cuda.contiguous(rows, others)
    (K, n), P = rows.shape, others.shape[0]
    shape = scratch_shape(rows, others)
    partial = _cuda.empty(shape, rows, np.float64) if scratch is None else scratch
    result = _cuda.empty((K, P), rows, np.float64) if out is None else out
    if K * P == 0:
        return result
    tile = TILE_ONE if P == 1 else TILE
    constants = {"ROWS": tile[0], "OTHERS": tile[1], "STEPS": STEPS, "INDEX": _cuda.index_type(rows, others)}
    constants["dtype"] = rows.dtype
    stretches = _cuda.sizes(shape[2])
    blocks = -(-K // tile[0]) * -(-P // tile[1]) * shape[2]
    arguments = (rows, others, partial, *_cuda.sizes(K, P), np.int64(n), *stretches)
    _cuda.launch("inner_products", blocks, *arguments, **constants)
    _cuda.launch("inner_products", K * P, partial, result, *stretches, entry="sum", **constants)
    return result
