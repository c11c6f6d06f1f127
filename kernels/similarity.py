"""S = softmax(Ω ℓ): the similarity map at the linearization point, (2.17), and a bound of ‖A‖ with it.

    S_ij = exp((Ωℓ)_ij) / Σ_l exp((Ωℓ)_il),   (Ωℓ)_i = Σ_{k ∈ N_i} ω_ik ℓ_k

Layout: ℓ and S (…, H, J, W), Ω (…, H, N, W). Border: neighbors outside the image are skipped.
Also returned: numbers whose maximum is α = max 2S(1 − S), one for each row, block or image.
The maximum over labels is taken out before the exponential, so no log-likelihood overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._memory import empty_like
from ._numba import helper, in_blocks, kernel
from .exponential import constants, exponential, new_powers
from .rows import MARGIN, canonical, clear, emit, find, lines, load, pitch, strip
from .rows import average as average_row
from .stencil import average, neighborhood


def reference(weights: Any, log_likelihood: Any, *, periodic: bool = False) -> tuple[Any, Any]:
    """The definition, in array API code: S and the largest 2S(1 − S) of the image."""
    xp = array_namespace(weights, log_likelihood)
    averaged = average(weights, log_likelihood, periodic)
    exponential = xp.exp(averaged - xp.max(averaged, axis=-2, keepdims=True))
    S = exponential / xp.sum(exponential, axis=-2, keepdims=True)
    return S, xp.max(2 * S * (1 - S))


def cpu(weights: np.ndarray, log_likelihood: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same with Numba: S and the largest 2S(1 − S) of every row."""
    result = empty_like(log_likelihood)
    radius, axes = neighborhood(weights)
    w, l, S = canonical(weights, log_likelihood, result)
    images, depth, height, J, width = S.shape
    planes = 2 * radius + 1 if axes > 2 else 1
    columns = strip(width, J * (planes * (2 * radius + 1) + 2) + w.shape[-2], radius, S.itemsize)
    size = np.array([columns, pitch(min(width, columns + 2 * radius), S.itemsize), radius, planes])
    bound = np.zeros(images * depth * height, S.dtype)
    in_blocks(_rows, len(bound), 3 * S.size * w.shape[-2], w, l, constants(S.dtype), size, S, bound)
    return result, bound


@kernel
def _rows(first, last, weights, log_likelihood, constants, size, result, bound):
    _, depth, height, J, width = result.shape
    columns, line, radius, planes = size
    side = 2 * radius + 1
    ring, slots = lines(planes * side * J, line, result).reshape(planes, side, J, line), np.empty(side, np.intp)
    value, column = lines(J, line, result).reshape(J, line), lines(2, line, result).reshape(2, line)
    powers = new_powers(constants, line)
    for plane in range(first // height, -(-last // height)):  # rows are counted through all images and planes
        image, z = plane // depth, plane % depth
        top, bottom = max(0, first - plane * height), min(height, last - plane * height)
        for left in range(0, width, columns):
            right = min(width, left + columns)
            lo, hi = max(0, left - radius), min(width, right + radius)
            ring[:] = 0
            for front in range(top - radius, bottom + radius):
                for p in range(planes):
                    at, row = z + p - planes // 2, ring[p, front % side]
                    row[:] = 0
                    if 0 <= at < depth and 0 <= front < height:
                        load(log_likelihood[image, at, front], lo, row, hi - lo)
                y = front - radius
                if y < top:
                    continue
                find(y, radius, side, slots)
                average_row(weights[image % weights.shape[0], z, y], lo, ring, slots, value, hi - lo)
                start, n = left - lo, right - left
                highest = softmax(value, column, constants, powers, MARGIN + start, n)
                bound[plane * height + y] = max(bound[plane * height + y], highest)
                emit(value, start, result[image, z, y], left, n)


@helper
def softmax(value, column, constants, powers, first, n):
    """Softmax over labels in place of n pixels of value (J, …) from `first` on; their largest 2S(1 − S)."""
    J, highest, total, largest = value.shape[0], column[0], column[1], value.dtype.type(0)
    row = value[0][first:]
    for x in range(n):
        highest[x] = row[x]
    for j in range(1, J):
        row = value[j][first:]
        for x in range(n):
            highest[x] = max(highest[x], row[x])
    clear(total, n)
    for j in range(J):
        row = value[j][first:]
        for x in range(n):
            row[x] -= highest[x]
        exponential(row, constants, powers, n)
        for x in range(n):
            total[x] += row[x]
    for x in range(n):
        total[x] = 1 / total[x]
    clear(highest, n)
    for j in range(J):
        row = value[j][first:]
        for x in range(n):
            row[x] *= total[x]
            highest[x] = max(highest[x], row[x] * (1 - row[x]))
    for x in range(n):
        largest = max(largest, highest[x])
    return 2 * largest


def gpu(weights: Any, log_likelihood: Any, *, out: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """S and the largest 2S(1 − S) of every block, (…, blocks), with CUDA (``similarity.cu``)."""
    weights, log_likelihood = _cuda.contiguous(weights, log_likelihood)
    blocks = (*_cuda.batch(weights, log_likelihood), _cuda.blocks_of(weights, log_likelihood))
    result, bound = out or (_cuda.empty(log_likelihood.shape, weights), _cuda.empty(blocks, weights))
    arguments = (weights, log_likelihood, result, bound, _cuda.apart(weights, log_likelihood, result))
    _cuda.stencil("similarity", weights, log_likelihood, *arguments)
    return result, bound
