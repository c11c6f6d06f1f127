"""How far a labeling v agrees with the truth: the sums over labeled pixels that losses and error rates are made of.

    [Σ_i c_i v_{i,truth(i)}, Σ_ij c_i v_ij,  Σ_ij c_i v_ij²,  Σ_i c_i,  #{i : argmax_j v_ij ≠ truth(i)},  #{i}]

over the pixels i with truth(i) ≥ 0, each counting c_i = class_weights[truth(i)] times in the first four.
Layout: v (B, R, J, W), R rows of each of B images, truth (B, R, W) int32, −1 where there is none, class_weights (J);
the sums (B, 6) float64. The J numbers of a pixel add up in the dtype of v, pixels in float64 and in one fixed order.
Least traffic per pixel, in floats: J + 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._numba import in_blocks, kernel, reassociating
from .rows import clear
from .stencil import check_dtypes, check_flat

#: Pixels that are worked on together.
STRETCH = 1024

#: How many sums there are.
SUMS = 6


def reference(v: Any, truth: Any, class_weights: Any) -> Any:
    """The definition, in array API code."""
    xp = array_namespace(v, truth)
    labeled = truth >= 0
    hit = xp.reshape(xp.arange(v.shape[2], dtype=truth.dtype), (-1, 1)) == truth[:, :, None, :]
    wide, zero = xp.astype(v, xp.float64), xp.asarray(0.0, dtype=xp.float64)
    counts = xp.sum(xp.where(hit, xp.astype(class_weights, xp.float64)[:, None], zero), axis=2)
    wrong = labeled & (xp.argmax(v, axis=2) != xp.astype(truth, xp.int64))
    each = counts[:, :, None, :]
    parts = (
        each * xp.where(hit, wide, zero), each * wide, each * wide**2, counts,
        xp.astype(wrong, xp.float64), xp.astype(labeled, xp.float64),
    )  # fmt: skip
    return xp.stack([xp.sum(xp.reshape(part, (v.shape[0], -1)), axis=1) for part in parts], axis=1)


def check(v: Any, truth: Any, class_weights: Any) -> None:
    """Raise an error for operands of other shapes and dtypes than those above; no label leads out of an array."""
    check_dtypes(v, class_weights)
    if v.ndim != 4 or 0 in v.shape:
        raise ValueError(f"v has shape {tuple(v.shape)}; accepted is (B, R, J, W), with at least one pixel and label.")
    check_flat(truth=(truth, (*v.shape[:2], v.shape[3])), class_weights=(class_weights, v.shape[2:3]))
    if truth.dtype != np.int32:
        raise TypeError(f"truth has dtype {truth.dtype}; accepted is int32. Convert it first.")


def cpu(v: np.ndarray, truth: np.ndarray, class_weights: np.ndarray) -> np.ndarray:
    """The same with Numba."""
    check(v, truth, class_weights)
    images, rows, _, width = v.shape
    stretches = -(-width // STRETCH)
    partial = np.empty((images * rows * stretches, SUMS))
    in_blocks(_stretches, len(partial), 4 * v.size, np.ascontiguousarray(v), truth, class_weights, partial)
    return partial.reshape(images, -1, SUMS).sum(axis=1)


@kernel
def _stretches(first, last, v, truth, class_weights, partial):
    _, rows, J, width = v.shape
    columns = np.empty((5, STRETCH), v.dtype)  # per pixel: v at the truth, its sum, of squares, what it counts, maximum
    winner, stretches, zero = np.empty(STRETCH, np.int32), -(-width // STRETCH), v.dtype.type(0)
    true, total, squares, counts, highest = columns[0], columns[1], columns[2], columns[3], columns[4]
    for s in range(first, last):
        image, y, a = s // stretches // rows, s // stretches % rows, s % stretches * STRETCH
        n, labels = min(STRETCH, width - a), truth[image, y, a:]
        for k in range(4):
            clear(columns[k], n)
        highest[:] = -np.inf
        for label in range(J):
            row, weight, j = v[image, y, label, a:], class_weights[label], np.int32(label)
            for i in range(n):
                true[i] += row[i] if labels[i] == j else zero
                counts[i] += weight if labels[i] == j else zero
                total[i] += row[i]
                squares[i] += row[i] * row[i]
            for i in range(n):
                better = row[i] > highest[i]
                highest[i] = row[i] if better else highest[i]
                winner[i] = j if better else winner[i]
        partial[s, 0], partial[s, 1] = _dot(true, counts, n), _dot(total, counts, n)
        partial[s, 2], partial[s, 3] = _dot(squares, counts, n), _sum(counts, n)
        wrong, labeled = 0, 0
        for i in range(n):
            wrong += (labels[i] >= 0) & (labels[i] != winner[i])
            labeled += labels[i] >= 0
        partial[s, 4], partial[s, 5] = wrong, labeled


@reassociating
def _dot(row, counts, n):
    total = 0.0
    for i in range(n):
        total += np.float64(row[i]) * np.float64(counts[i])
    return total


@reassociating
def _sum(row, n):
    total = 0.0
    for i in range(n):
        total += np.float64(row[i])
    return total


#: The most blocks of the GPU that share the pixels.
BLOCKS = 1024


def scratch_shape(v: Any) -> tuple[int, int, int]:
    """Shape of the float64 scratch of ``gpu``: it depends on the sizes only, and so do the bits of the result."""
    images, rows, _, width = v.shape
    return images, SUMS, max(1, min(BLOCKS, _cuda.tiles(rows, width)))


def gpu(v: Any, truth: Any, class_weights: Any, *, out: Any = None, scratch: Any = None) -> Any:
    """The same with CUDA (``agreement.cu``): the sums stay on the device."""
    check(v, truth, class_weights)
    v, truth = _cuda.contiguous(v, truth)
    shape = scratch_shape(v)
    partial = _cuda.empty(shape, v, np.float64) if scratch is None else scratch
    (images, rows, labels, width), blocks = v.shape, shape[-1]
    result = _cuda.empty((images, SUMS), v, np.float64) if out is None else out
    constants = {"dtype": v.dtype, "SUMS": SUMS, "INDEX": _cuda.index_type(v)}
    sizes = _cuda.sizes(labels, rows, width, _cuda.tiles(rows, width))
    _cuda.launch("agreement", blocks, v, truth, class_weights, partial, *sizes, images=images, **constants)
    _cuda.launch("agreement", images * SUMS, partial, result, *_cuda.sizes(blocks), entry="sum", **constants)
    return result
