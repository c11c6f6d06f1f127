"""S = softmax(Ω ℓ): the similarity map at the linearization point, (2.17), and a bound of ‖A‖ with it.

    S_ij = exp((Ωℓ)_ij) / Σ_l exp((Ωℓ)_il),   (Ωℓ)_i = Σ_{k ∈ N_i} ω_ik ℓ_k

Layout: ℓ and S (J, H, W), Ω (N, H, W). Border: neighbors outside the image are skipped.
Also returned: numbers whose maximum is α = max 2S(1 − S), one for each row, block or image.
The maximum over labels is taken out before the exponential, so no log-likelihood overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._exponential import constants, exponential, new_powers
from ._memory import empty_like
from ._numba import in_blocks, inline, kernel
from ._rows import COLUMNS, average, clear, copy, load, new_packed, new_ring, pack
from .stencil import average as average_field
from .stencil import radius_of


def reference(weights: Any, log_likelihood: Any, *, periodic: bool = False) -> tuple[Any, Any]:
    """The definition, in array API code: S and the largest 2S(1 − S) of the image."""
    xp = array_namespace(weights, log_likelihood)
    averaged = average_field(weights, log_likelihood, periodic)
    exponential = xp.exp(averaged - xp.max(averaged, axis=0, keepdims=True))
    S = exponential / xp.sum(exponential, axis=0, keepdims=True)
    return S, xp.max(2 * S * (1 - S))


def cpu(weights: np.ndarray, log_likelihood: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same with Numba: S and the largest 2S(1 − S) of every row."""
    result = empty_like(log_likelihood)
    bound = np.zeros(result.shape[1], result.dtype)
    work = result.size * weights.shape[0]
    operands = (weights, log_likelihood, radius_of(weights), constants(result.dtype), result, bound)
    in_blocks(_rows, result.shape[1], work, *operands)
    return result, bound


@kernel
def _rows(first, last, weights, log_likelihood, radius, constants, result, bound):
    labels, _, width = result.shape
    ring, packed = new_ring(labels, radius, result.dtype), new_packed(radius, result.dtype)
    averaged = np.empty((labels, 1, COLUMNS), result.dtype)
    highest, total = np.empty(COLUMNS, result.dtype), np.empty(COLUMNS, result.dtype)
    powers = new_powers(constants)
    for x0 in range(0, width, COLUMNS):
        n = min(COLUMNS, width - x0)
        for y in range(first - radius, last + radius):
            load(log_likelihood, radius, y, x0, n, ring)
            done = y - radius
            if done >= first:
                pack(weights, radius, done, x0, n, packed)
                average(packed, ring, radius, done, 0, n, 0, averaged)
                _softmax(averaged, highest[:n], total[:n], constants, powers)
                for j in range(labels):
                    row = result[j, done, x0 : x0 + n]
                    for x in range(n):
                        row[x] = averaged[j, 0, x] * total[x]
                    bound[done] = max(bound[done], _largest(row))


@inline
def _softmax(values, highest, total, constants, powers):
    """values = e^{values − highest}, total = 1 / their sum over labels."""
    labels, n = values.shape[0], highest.size
    copy(values[0, 0, :n], highest)
    clear(total)
    for j in range(1, labels):
        row = values[j, 0, :n]
        for x in range(n):
            highest[x] = max(highest[x], row[x])
    for j in range(labels):
        row = values[j, 0, :n]
        for x in range(n):
            row[x] -= highest[x]
        exponential(row, constants, powers)
        for x in range(n):
            total[x] += row[x]
    for x in range(n):
        total[x] = 1 / total[x]


@inline(reassociate=True)
def _largest(row):
    """max 2S(1 − S)."""
    highest = 2 * row[0] * (1 - row[0])
    for x in range(row.size):
        highest = max(highest, 2 * row[x] * (1 - row[x]))
    return highest


def gpu(weights: Any, log_likelihood: Any, *, out: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """S and the largest 2 S (1 − S) of every block with CUDA (``similarity.cu``); their maximum bounds ‖A‖."""
    weights, log_likelihood = _cuda.contiguous(weights, log_likelihood)
    labels, height, width = log_likelihood.shape
    blocks = _cuda.tiles(height, width)
    result, bound = out or (_cuda.empty(log_likelihood.shape, weights), _cuda.empty((blocks,), weights))
    _cuda.launch(
        "similarity",
        blocks,
        weights,
        log_likelihood,
        result,
        bound,
        *_cuda.sizes(labels, height, width),
        dtype=weights.dtype,
        **_cuda.stencil_constants("similarity", weights, labels, log_likelihood),
    )
    return result, bound
