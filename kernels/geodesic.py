"""Exp_p(R_p x) = p∘e^x / ⟨p, e^x⟩: a step along the e-geodesic of the simplex, kept inside it, (3.7).

    x ← s (x − ⟨p, x⟩) cut to ±bound,   q = p∘e^x / ⟨p, e^x⟩,   q ← max(q, floor) where p > 0, else 0, normalized

Layout: p and x (R, N, W), the simplex along N; s = factor · scale, with one number `scale` (R, W) per column where
there is. Least traffic per column, in floats: 3N, 1 more with a scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._memory import empty_like
from ._numba import in_blocks, kernel
from .exponential import constants, exponential, new_powers
from .rows import clear
from .stencil import check_dtypes, check_flat

#: Columns that are worked on together.
STRETCH = 1024


def reference(
    p: Any, x: Any, factor: float = 1.0, scale: Any = None, *, bound: float = 5.0, floor: float = 1e-10
) -> Any:
    """The definition, in array API code."""
    xp = array_namespace(p, x)
    centred = factor * (x - xp.sum(p * x, axis=1, keepdims=True))
    if scale is not None:
        centred = centred * scale[:, None, :]
    moved = p * xp.exp(xp.clip(centred, -bound, bound))
    moved = moved / xp.sum(moved, axis=1, keepdims=True)
    kept = xp.where(p > 0, xp.clip(moved, floor, 1.0), xp.zeros_like(p))
    return kept / xp.sum(kept, axis=1, keepdims=True)


def check(p: Any, x: Any, scale: Any = None) -> None:
    """Raise an error for operands of other shapes and dtypes than those above."""
    check_dtypes(p, x, scale)
    if p.ndim != 3:
        raise ValueError(f"p has shape {tuple(p.shape)}; accepted is (R, N, W).")
    check_flat(x=(x, p.shape), scale=(scale, p.shape[::2]))


def cpu(p: Any, x: Any, factor: float = 1.0, scale: Any = None, *, bound: float = 5.0, floor: float = 1e-10) -> Any:
    """The same with Numba."""
    check(p, x, scale)
    result, (rows, _, width) = empty_like(p), p.shape
    rates = np.ones((rows, width), p.dtype) if scale is None else scale
    operands = (*map(np.ascontiguousarray, (p, x, rates)), np.array([factor, bound, floor], p.dtype))
    in_blocks(_stretches, rows * -(-width // STRETCH), 20 * p.size, *operands, constants(p.dtype), result)
    return result


@kernel
def _stretches(first, last, p, x, rates, numbers, constants, result):
    _, N, width = p.shape
    factor, bound, floor = numbers
    powers, stretches, zero = new_powers(constants, STRETCH), -(-width // STRETCH), p.dtype.type(0)
    mean, total = np.empty(STRETCH, p.dtype), np.empty(STRETCH, p.dtype)
    for s in range(first, last):
        y, a = s // stretches, s % stretches * STRETCH
        n, rate = min(STRETCH, width - a), rates[y, a:]
        clear(mean, n)
        for o in range(N):
            q, d = p[y, o, a:], x[y, o, a:]
            for i in range(n):
                mean[i] += q[i] * d[i]
        clear(total, n)
        for o in range(N):
            q, d, row = p[y, o, a:], x[y, o, a:], result[y, o, a:]
            for i in range(n):
                row[i] = min(max(factor * (d[i] - mean[i]) * rate[i], -bound), bound)
            exponential(row, constants, powers, n)
            for i in range(n):
                row[i] *= q[i]
                total[i] += row[i]
        clear(mean, n)  # now the sum of what is kept
        for o in range(N):
            q, row = p[y, o, a:], result[y, o, a:]
            for i in range(n):
                row[i] = max(row[i] / total[i], floor) if q[i] > 0 else zero
                mean[i] += row[i]
        for o in range(N):
            row = result[y, o, a:]
            for i in range(n):
                row[i] /= mean[i]


def gpu(
    p: Any, x: Any, factor: float = 1.0, scale: Any = None, *, bound: float = 5.0, floor: float = 1e-10, out: Any = None
) -> Any:
    """The same with CUDA (``geodesic.cu``)."""
    check(p, x, scale)
    p, x, scale = _cuda.contiguous(p, x, scale)
    (rows, count, width), real = p.shape, p.dtype.type
    result = _cuda.empty(p.shape, p) if out is None else out
    arguments = (p, x, scale, real(factor), real(bound), real(floor), result, *_cuda.sizes(count, rows, width))
    _cuda.launch("geodesic", _cuda.tiles(rows, width), *arguments, dtype=p.dtype, INDEX=_cuda.index_type(p))
    return result
