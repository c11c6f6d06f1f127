"""y_i = M x_i + b at every pixel, rectified where asked for: one layer of a perceptron.

Layout: inputs x (H, I, W), matrix M (O, I), offset b (O,), outputs (H, O, W). Nothing crosses pixels, and there is no
border. In a library of matrix products the order of the sums depends on the place of a pixel in the matrix; ``cpu``
sums over the inputs in their order at every pixel, so that tiles equal the whole image bit for bit. There is no
``gpu``: device arrays take ``reference``, the products of cuBLAS.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ._memory import empty
from ._numba import helper, in_blocks, kernel
from .stencil import check_dtypes, check_flat

#: Pixels that ``cpu`` works on together.
STRETCH = 256


def reference(matrix: Any, offset: Any, x: Any, rectified: bool) -> Any:
    """The definition, in array API code."""
    xp = array_namespace(x)
    y = xp.matmul(matrix, x) + offset[:, None]
    return xp.where(y > 0, y, xp.zeros_like(y)) if rectified else y


def cpu(matrix: Any, offset: Any, x: Any, rectified: bool) -> Any:
    """The same with Numba, row by row."""
    check_dtypes(x, matrix, offset)
    (height, inputs, width), outputs = x.shape, len(offset)
    check_flat(matrix=(matrix, (outputs, inputs)), offset=(offset, (outputs,)))
    y = empty((height, outputs, width), x.dtype)
    in_blocks(_rows, height, height * width * outputs * inputs, matrix, offset, np.ascontiguousarray(x), rectified, y)
    return y


@kernel
def _rows(first, last, matrix, offset, x, rectified, y):
    outputs, width = matrix.shape[0], x.shape[2]
    for h in range(first, last):
        for start in range(0, width, STRETCH):
            n = min(STRETCH, width - start)
            for o in range(0, outputs - 1, 2):  # two outputs read an input once
                _two(matrix[o], matrix[o + 1], offset[o], offset[o + 1], x[h], start, n, y[h, o], y[h, o + 1])
            if outputs % 2:
                _one(matrix[outputs - 1], offset[outputs - 1], x[h], start, n, y[h, outputs - 1])
            if rectified:
                for o in range(outputs):
                    out = y[h, o][start : start + n]
                    for i in range(n):
                        out[i] = max(out[i], 0 * out[i])


@helper
def _two(m, k, offset, other, x, start, n, one, two):
    """Two outputs of n pixels from `start` on, four inputs at a time."""
    inputs, u, v = len(m), one[start : start + n], two[start : start + n]
    for i in range(n):
        u[i] = offset
    for i in range(n):
        v[i] = other
    whole = inputs // 4 * 4
    for f in range(0, whole, 4):
        p, q = x[f][start : start + n], x[f + 1][start : start + n]
        r, s = x[f + 2][start : start + n], x[f + 3][start : start + n]
        a, b, c, d = m[f], m[f + 1], m[f + 2], m[f + 3]
        e, g, h, j = k[f], k[f + 1], k[f + 2], k[f + 3]
        for i in range(n):
            u[i] = u[i] + a * p[i] + b * q[i] + c * r[i] + d * s[i]
            v[i] = v[i] + e * p[i] + g * q[i] + h * r[i] + j * s[i]
    for f in range(whole, inputs):
        p, a, e = x[f][start : start + n], m[f], k[f]
        for i in range(n):
            u[i] = u[i] + a * p[i]
            v[i] = v[i] + e * p[i]


@helper
def _one(m, offset, x, start, n, one):
    """One output of n pixels from `start` on."""
    u = one[start : start + n]
    for i in range(n):
        u[i] = offset
    for f in range(len(m)):
        p, a = x[f][start : start + n], m[f]
        for i in range(n):
            u[i] = u[i] + a * p[i]
