"""Exp_p(R_p x) = p∘e^x / ⟨p, e^x⟩: a step along the e-geodesic of the simplex, kept inside it, (3.7).

    x ← s (x − ⟨p, x⟩) cut to ±bound,   q = p∘e^x / ⟨p, e^x⟩,   q ← max(q, floor) where p > 0, else 0, normalized

Layout: p and x (N, n), the simplex along N; s = factor · scale, with one number `scale` (n) per column where there is.
Least traffic per column, in floats: 3N, 1 more with a scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._exponential import constants, exponential, new_powers
from ._memory import empty_like
from ._numba import in_blocks, inline, kernel
from ._rows import clear, multiply_add

#: Columns that are worked on together.
STRETCH = 1024


def reference(
    p: Any, x: Any, factor: float = 1.0, scale: Any = None, *, bound: float = 5.0, floor: float = 1e-10
) -> Any:
    """The definition, in array API code."""
    xp = array_namespace(p, x)
    centred = factor * (x - xp.sum(p * x, axis=0, keepdims=True))
    if scale is not None:
        centred = centred * scale
    moved = p * xp.exp(xp.clip(centred, -bound, bound))
    moved = moved / xp.sum(moved, axis=0, keepdims=True)
    kept = xp.where(p > 0, xp.clip(moved, floor, 1.0), xp.zeros_like(p))
    return kept / xp.sum(kept, axis=0, keepdims=True)


def cpu(
    p: np.ndarray,
    x: np.ndarray,
    factor: float = 1.0,
    scale: np.ndarray | None = None,
    *,
    bound: float = 5.0,
    floor: float = 1e-10,
) -> np.ndarray:
    """The same with Numba."""
    result = empty_like(p)
    numbers = tuple(p.dtype.type(number) for number in (factor, bound, floor))
    operands = (p, x, scale, *numbers, constants(p.dtype), result)
    in_blocks(_stretches, -(-p.shape[1] // STRETCH), 20 * p.size, *operands)
    return result


@kernel
def _stretches(first, last, p, x, scale, factor, bound, floor, constants, result):
    count, powers = p.shape[0], new_powers(constants, STRETCH)
    columns = np.empty((2, STRETCH), p.dtype)
    for s in range(first, last):
        a, b = s * STRETCH, min(p.shape[1], (s + 1) * STRETCH)
        mean, total = columns[0, : b - a], columns[1, : b - a]
        clear(mean)
        for o in range(count):
            multiply_add(p[o, a:b], x[o, a:b], mean)
        clear(total)
        for o in range(count):
            row = result[o, a:b]
            if scale is None:
                _centred(x[o, a:b], mean, factor, bound, row)
            else:
                _centred_scaled(x[o, a:b], mean, factor, scale[a:b], bound, row)
            exponential(row, constants, powers)
            _weigh(p[o, a:b], row, total)
        clear(mean)  # now the sum of what is kept
        for o in range(count):
            _keep(p[o, a:b], total, floor, result[o, a:b], mean)
        for o in range(count):
            row = result[o, a:b]
            for i in range(row.size):
                row[i] /= mean[i]


@inline
def _centred(x, mean, factor, bound, result):
    for i in range(x.size):
        result[i] = min(max(factor * (x[i] - mean[i]), -bound), bound)


@inline
def _centred_scaled(x, mean, factor, scale, bound, result):
    for i in range(x.size):
        result[i] = min(max(factor * (x[i] - mean[i]) * scale[i], -bound), bound)


@inline
def _weigh(p, row, total):
    for i in range(row.size):
        row[i] *= p[i]
        total[i] += row[i]


@inline
def _keep(p, total, floor, row, kept):
    for i in range(row.size):
        row[i] = max(row[i] / total[i], floor) if p[i] > 0 else row.dtype.type(0)
        kept[i] += row[i]


def gpu(
    p: Any,
    x: Any,
    factor: float = 1.0,
    scale: Any = None,
    *,
    bound: float = 5.0,
    floor: float = 1e-10,
    out: Any = None,
) -> Any:
    """The same with CUDA (``geodesic.cu``)."""
    p, x, scale = _cuda.contiguous(p, x, scale)
    (count, columns), real = p.shape, p.dtype.type
    result = _cuda.empty(p.shape, p) if out is None else out
    _cuda.launch(
        "geodesic",
        -(-columns // _cuda.threads()),
        p,
        x,
        scale,
        *(real(number) for number in (factor, bound, floor)),
        result,
        *_cuda.sizes(count),
        np.int64(columns),
        dtype=p.dtype,
        INDEX=_cuda.index_type(p),
    )
    return result
