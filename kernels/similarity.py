"""S = softmax(Ω ℓ): the similarity map at the linearization point, (2.17), and a bound of ‖A‖ with it.

    S_ij = exp((Ωℓ)_ij) / Σ_l exp((Ωℓ)_il),   (Ωℓ)_i = Σ_{k ∈ N_i} ω_ik ℓ_k

Layout: ℓ and S (J, H, W), Ω (N, H, W). Border: neighbors outside the image are skipped.
Also returned: numbers whose maximum is α = max 2S(1 − S), one for each row, block or image.
The maximum over labels is taken out before the exponential, so no log-likelihood overflows.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._exponential import constants, exponential, new_powers
from ._memory import empty_like
from ._numba import in_blocks, inline, kernel
from ._rows import PITCH, as_volumes, average, clear, copy, load, new_ring, new_rows, pack
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
    bound = np.zeros(prod(result.shape[1:-1]), result.dtype)
    work, radius = result.size * weights.shape[0], radius_of(weights)
    weights, log_likelihood, target = as_volumes(weights, log_likelihood, result)
    operands = (weights, log_likelihood, radius, constants(result.dtype), target, bound)
    in_blocks(_rows, len(bound), work, *operands)
    return result, bound


@kernel
def _rows(first, last, weights, log_likelihood, radius, constants, result, bound):
    labels, _, height, width = result.shape
    ring, packed = new_ring(labels, len(weights), radius, result.dtype), new_rows(len(weights), result.dtype)
    averaged = np.empty((labels, 1, 1, PITCH), result.dtype)
    highest, total = np.empty(PITCH, result.dtype), np.empty(PITCH, result.dtype)
    powers = new_powers(constants)
    for z in range(first // height, -(-last // height)):  # rows are counted through all planes
        top, bottom = max(0, first - z * height), min(height, last - z * height)
        for x0 in range(0, width, PITCH - 2 * radius):
            n = min(PITCH - 2 * radius, width - x0)
            for y in range(top - radius, bottom + radius):
                load(log_likelihood, radius, z, y, x0, n, ring)
                done = y - radius
                if done < top:
                    continue
                pack(weights, z, done, x0, n, packed)
                average(packed, ring, done, n, averaged, (0, 0, 0))
                _softmax(averaged, highest[:n], total[:n], constants, powers)
                for j in range(labels):
                    row = result[j, z, done, x0 : x0 + n]
                    for x in range(n):
                        row[x] = averaged[j, 0, 0, x] * total[x]
                    bound[z * height + done] = max(bound[z * height + done], _largest(row))


@inline
def _softmax(values, highest, total, constants, powers):
    """values = e^{values − highest}, total = 1 / their sum over labels."""
    labels, n = len(values), highest.size
    copy(values[0, 0, 0, :n], highest)
    clear(total)
    for j in range(1, labels):
        row = values[j, 0, 0, :n]
        for x in range(n):
            highest[x] = max(highest[x], row[x])
    for j in range(labels):
        row = values[j, 0, 0, :n]
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
    blocks = _cuda.tiles(*log_likelihood.shape[1:])
    result, bound = out or (_cuda.empty(log_likelihood.shape, weights), _cuda.empty((blocks,), weights))
    _cuda.launch(
        "similarity",
        blocks,
        weights,
        log_likelihood,
        result,
        bound,
        *_cuda.grid(log_likelihood),
        dtype=weights.dtype,
        **_cuda.stencil_constants("similarity", weights, len(log_likelihood), log_likelihood),
    )
    return result, bound
