"""y_i = M x_i + b at every pixel, rectified where asked for: one layer of a perceptron.

Layout: inputs x (H, I, W), matrix M (O, I), offset b (O,), outputs (H, O, W). Nothing crosses pixels, and there is no
border. The library of matrix products is faster than ``cpu``, but the order of its sums depends on the place of a pixel
in the matrix; ``cpu`` sums over the inputs in their order at every pixel, so that tiles equal the whole image bit for
bit. There is no ``gpu``: device arrays take ``reference``, the products of cuBLAS.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ._memory import empty
from ._numba import in_blocks, kernel
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
    (outputs, inputs), width = matrix.shape, x.shape[2]
    for h in range(first, last):
        for start in range(0, width, STRETCH):
            n = min(STRETCH, width - start)
            for o in range(outputs):
                m, out = matrix[o], y[h, o][start : start + n]
                for i in range(n):
                    out[i] = offset[o]
                whole = inputs // 4 * 4
                for f in range(0, whole, 4):
                    a, b, c, d = m[f], m[f + 1], m[f + 2], m[f + 3]
                    p, q = x[h, f][start : start + n], x[h, f + 1][start : start + n]
                    r, s = x[h, f + 2][start : start + n], x[h, f + 3][start : start + n]
                    for i in range(n):
                        out[i] = out[i] + a * p[i] + b * q[i] + c * r[i] + d * s[i]
                for f in range(whole, inputs):
                    a, p = m[f], x[h, f][start : start + n]
                    for i in range(n):
                        out[i] = out[i] + a * p[i]
                if rectified:
                    for i in range(n):
                        out[i] = max(out[i], 0 * out[i])
