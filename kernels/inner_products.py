"""G_kp = ⟨q_k, x_p⟩: inner products over the whole image, accumulated in float64, every row read once.

Layout: q (K, n) and x (P, n), rows contiguous; G (K, P) float64 on the host. Products run in the dtype of the rows over
stretches of fixed length, the sums of the stretches in float64 and in order: the result does not depend on the number
of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ._numba import in_blocks, inline, kernel

#: Elements of one stretch.
STRETCH = 1024


def reference(rows: Any, others: Any) -> Any:
    """The definition, in array API code: (K, P) array in the library of the rows."""
    xp = array_namespace(rows, others)
    return xp.matmul(xp.astype(rows, xp.float64), xp.permute_dims(xp.astype(others, xp.float64), (1, 0)))


def cpu(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The same with Numba."""
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


@inline(reassociate=True)
def _dot(a, b):
    total = a[0] * b[0]
    for i in range(1, a.size):
        total += a[i] * b[i]
    return total
