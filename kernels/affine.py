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
STRETCH = 1024


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
            for o in range(0, outputs - 3, 4):  # four outputs read an input once
                _four(matrix[o : o + 4], offset[o : o + 4], x[h], start, n, y[h, o : o + 4])
            for o in range(outputs // 4 * 4, outputs):
                _one(matrix[o], offset[o], x[h], start, n, y[h, o])
            if rectified:
                for o in range(outputs):
                    out = y[h, o][start : start + n]
                    for i in range(n):
                        out[i] = max(out[i], 0 * out[i])


@helper
def _four(m, offset, x, start, n, y):
    """Four outputs of n pixels from `start` on, four inputs at a time."""
    stop, inputs = start + n, m.shape[1]
    s, t, u, v = y[0][start:stop], y[1][start:stop], y[2][start:stop], y[3][start:stop]
    for k in range(4):
        y[k][start:stop] = offset[k]
    whole = inputs // 4 * 4
    for f in range(0, whole, 4):
        a, b, c, d = x[f][start:stop], x[f + 1][start:stop], x[f + 2][start:stop], x[f + 3][start:stop]
        sa, sb, sc, sd = m[0, f], m[0, f + 1], m[0, f + 2], m[0, f + 3]
        ta, tb, tc, td = m[1, f], m[1, f + 1], m[1, f + 2], m[1, f + 3]
        ua, ub, uc, ud = m[2, f], m[2, f + 1], m[2, f + 2], m[2, f + 3]
        va, vb, vc, vd = m[3, f], m[3, f + 1], m[3, f + 2], m[3, f + 3]
        for i in range(n):
            p, q, r, w = a[i], b[i], c[i], d[i]
            s[i] = s[i] + sa * p + sb * q + sc * r + sd * w
            t[i] = t[i] + ta * p + tb * q + tc * r + td * w
            u[i] = u[i] + ua * p + ub * q + uc * r + ud * w
            v[i] = v[i] + va * p + vb * q + vc * r + vd * w
    for f in range(whole, inputs):
        for k in range(4):
            _added(m[k, f], x[f][start:stop], y[k][start:stop])


@helper
def _one(m, offset, x, start, n, y):
    """One output of n pixels from `start` on."""
    stop = start + n
    y[start:stop] = offset
    for f in range(len(m)):
        _added(m[f], x[f][start:stop], y[start:stop])


@helper
def _added(factor, x, y):
    """y ← y + factor·x."""
    for i in range(len(y)):
        y[i] = y[i] + factor * x[i]
