"""The derivative of the cosine loss 1 − ⟨v*, v⟩/(‖v*‖‖v‖), v* = Π₀W*, from the sums of ``agreement`` (3.4).

    ∂f = c_i (⟨v*, v⟩ v / (‖v*‖‖v‖³) − v*/(‖v*‖‖v‖)) at labeled pixels, else 0;   v*_ij = [j = truth(i)] − 1/J

In inner products and norms a pixel counts c_i = class_weights[truth(i)] times. With the sums (t, s, q, m, …):
⟨v*, v⟩ = t − s/J,  ‖v‖² = q,  ‖v*‖² = m (1 − 1/J). For v = 0 the derivative is 0.
Layout: v (J, n), truth (n) int32, −1 where there is none. Least traffic per pixel, in floats: 2J + 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._memory import empty_like
from ._numba import in_blocks, inline, kernel
from .agreement import STRETCH


def reference(v: Any, truth: Any, class_weights: Any, sums: Any) -> Any:
    """The definition, in array API code."""
    xp = array_namespace(v, truth)
    hit = xp.reshape(xp.arange(v.shape[0], dtype=truth.dtype), (-1, 1)) == truth[None, :]
    along, toward = factors(v.shape[0], [float(s) for s in sums])
    target = xp.astype(hit, v.dtype) - 1 / v.shape[0]
    counts = xp.sum(xp.where(hit, class_weights[:, None], xp.zeros_like(v[:1, :])), axis=0)
    return counts * (along * v - toward * target)


def factors(labels: int, sums: Any) -> tuple[float, float]:
    """⟨v*, v⟩/(‖v*‖‖v‖³) and 1/(‖v*‖‖v‖), on the host."""
    share = 1 / labels
    lengths = (sums[3] * (1 - share) * sums[2]) ** 0.5
    if lengths == 0:
        return 0.0, 0.0
    return (sums[0] - share * sums[1]) / (lengths * sums[2]), 1 / lengths


def cpu(v: np.ndarray, truth: np.ndarray, class_weights: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The same with Numba."""
    result = empty_like(v)
    along, toward = (v.dtype.type(x) for x in factors(len(v), sums))
    in_blocks(_stretches, -(-v.shape[1] // STRETCH), 2 * v.size, v, truth, class_weights, along, toward, result)
    return result


@kernel
def _stretches(first, last, v, truth, class_weights, along, toward, result):
    share, counts = v.dtype.type(1 / v.shape[0]), np.empty(STRETCH, v.dtype)
    for s in range(first, last):
        a, b = s * STRETCH, min(v.shape[1], (s + 1) * STRETCH)
        labels = truth[a:b]
        for i in range(b - a):
            counts[i] = class_weights[labels[i]] if labels[i] >= 0 else 0
        for j in range(v.shape[0]):
            _derivative(v[j, a:b], labels, np.int32(j), counts, along, toward, share, result[j, a:b])


@inline
def _derivative(v, truth, j, counts, along, toward, share, result):
    zero, one = v.dtype.type(0), v.dtype.type(1)
    for i in range(v.size):
        target = (one if truth[i] == j else zero) - share
        result[i] = counts[i] * (along * v[i] - toward * target)


def gpu(v: Any, truth: Any, class_weights: Any, sums: Any, *, out: Any = None) -> Any:
    """The same with CUDA (``cosine.cu``); the sums are read on the device."""
    v, truth = _cuda.contiguous(v, truth)
    result = _cuda.empty(v.shape, v) if out is None else out
    pixels = v.shape[1]
    _cuda.launch(
        "cosine",
        -(-pixels // _cuda.threads()),
        v,
        truth,
        class_weights,
        sums,
        result,
        *_cuda.sizes(v.shape[0]),
        np.int64(pixels),
        dtype=v.dtype,
        INDEX=_cuda.index_type(v),
    )
    return result
