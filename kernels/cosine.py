"""The derivative of the cosine loss 1 − ⟨v*, v⟩/(‖v*‖‖v‖), v* = Π₀W*, from the sums of ``agreement`` (3.4).

    ∂f = c_i (⟨v*, v⟩ v / (‖v*‖‖v‖³) − v*/(‖v*‖‖v‖)) at labeled pixels, else 0;   v*_ij = [j = truth(i)] − 1/J

In inner products and norms a pixel counts c_i = class_weights[truth(i)] times. With the sums (t, s, q, m, …):
⟨v*, v⟩ = t − s/J,  ‖v‖² = q,  ‖v*‖² = m (1 − 1/J). For v = 0 the derivative is 0.
Layout: v (B, R, J, W), truth (B, R, W) int32, −1 where there is none, sums (B, 6), one row for each image.
Least traffic per pixel, in floats: 2J + 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._memory import empty_like
from ._numba import in_blocks, kernel
from .agreement import STRETCH, SUMS, check
from .stencil import check_flat


def reference(v: Any, truth: Any, class_weights: Any, sums: Any) -> Any:
    """The definition, in array API code."""
    xp = array_namespace(v, truth)
    hit = xp.reshape(xp.arange(v.shape[2], dtype=truth.dtype), (-1, 1)) == truth[:, :, None, :]
    target = xp.astype(hit, v.dtype) - 1 / v.shape[2]
    counts = xp.sum(xp.where(hit, class_weights[:, None], xp.zeros_like(v[:, :, :1, :])), axis=2, keepdims=True)
    parts = []
    for b in range(v.shape[0]):
        along, toward = factors(v.shape[2], [float(s) for s in sums[b, :]])
        parts.append(counts[b, ...] * (along * v[b, ...] - toward * target[b, ...]))
    return xp.stack(parts)


def factors(labels: int, sums: Any) -> tuple[float, float]:
    """⟨v*, v⟩/(‖v*‖‖v‖³) and 1/(‖v*‖‖v‖), on the host."""
    share = 1 / labels
    lengths = (sums[3] * (1 - share) * sums[2]) ** 0.5
    if lengths == 0:
        return 0.0, 0.0
    return (sums[0] - share * sums[1]) / (lengths * sums[2]), 1 / lengths


def cpu(v: np.ndarray, truth: np.ndarray, class_weights: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The same with Numba."""
    check(v, truth, class_weights)
    check_flat(sums=(sums, (len(v), SUMS)))
    result, (images, rows, J, width) = empty_like(v), v.shape
    scales = np.array([factors(J, row) for row in sums], v.dtype)
    stretches = images * rows * -(-width // STRETCH)
    in_blocks(_stretches, stretches, 2 * v.size, np.ascontiguousarray(v), truth, class_weights, scales, result)
    return result


@kernel
def _stretches(first, last, v, truth, class_weights, scales, result):
    _, rows, J, width = v.shape
    zero, one, share = v.dtype.type(0), v.dtype.type(1), v.dtype.type(1 / J)
    counts, stretches = np.empty(STRETCH, v.dtype), -(-width // STRETCH)
    for s in range(first, last):
        image, y, a = s // stretches // rows, s // stretches % rows, s % stretches * STRETCH
        n, labels, (along, toward) = min(STRETCH, width - a), truth[image, y, a:], scales[image]
        for i in range(n):
            counts[i] = class_weights[labels[i]] if 0 <= labels[i] < J else zero
        for label in range(J):
            row, out, j = v[image, y, label, a:], result[image, y, label, a:], np.int32(label)
            for i in range(n):
                out[i] = counts[i] * (along * row[i] - toward * ((one if labels[i] == j else zero) - share))


def gpu(v: Any, truth: Any, class_weights: Any, sums: Any, *, out: Any = None) -> Any:
    """The same with CUDA (``cosine.cu``); the sums are read on the device."""
    check(v, truth, class_weights)
    check_flat(sums=(sums, (v.shape[0], SUMS)), out=(out, v.shape))
    v, truth = _cuda.contiguous(v, truth)
    result, (images, rows, labels, width) = _cuda.empty(v.shape, v) if out is None else out, v.shape
    arguments = (v, truth, class_weights, sums, result, *_cuda.sizes(labels, rows, width))
    options = {"dtype": v.dtype, "images": images, "SUMS": SUMS, "INDEX": _cuda.index_type(v)}
    _cuda.launch("cosine", _cuda.tiles(rows, width), *arguments, **options)
    return result
