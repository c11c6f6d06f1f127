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
from ._blocks import (
    BLOCK,
    STRETCH,
    as_volumes,
    emit,
    exceeds_cache,
    find_slots,
    load_rows,
    new_ring,
    new_scratch,
    pack,
)
from ._exponential import constants, exponential, new_powers
from ._memory import empty_like
from ._numba import in_blocks, inline, kernel
from ._sums import average
from ._vectors import fence, filled, lanes_of, load, maximum, place, store
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
    streaming = exceeds_cache(weights, log_likelihood, result)
    weights, log_likelihood, target = as_volumes(weights, log_likelihood, result)
    operands = (weights, log_likelihood, radius, constants(result.dtype), target, bound, streaming)
    in_blocks(_rows, len(bound), work, *operands)
    return result, bound


@kernel
def _rows(first, last, weights, log_likelihood, radius, constants, result, bound, streaming):
    labels, _, height, width = result.shape
    ring, slots = new_ring(labels, len(weights), radius, result), np.empty(len(weights) // (2 * radius + 1), np.intp)
    packed, column = new_scratch(len(weights), result), new_scratch(labels, result)
    powers = new_powers(constants, labels * BLOCK)
    for z in range(first // height, -(-last // height)):  # rows are counted through all planes
        top, bottom = max(0, first - z * height), min(height, last - z * height)
        for x0 in range(0, width, STRETCH):
            n = min(STRETCH, width - x0)
            for y in range(top - radius, bottom + radius):
                load_rows(log_likelihood, radius, z, y, x0, n, ring)
                done = y - radius
                if done < top:
                    continue
                find_slots(done, radius, slots)
                for x in range(0, n, BLOCK):
                    count = min(BLOCK, n - x)
                    pack(weights, (z, done, x0 + x), count, packed)
                    average(packed, ring, slots, radius, x, count, column)
                    _softmax(column, constants, powers)
                    row = z * height + done
                    bound[row] = max(bound[row], _largest(column, count, packed))
                    for j in range(labels):
                        emit(place(column, j), None, 0, result, (j, z, done, x0 + x), count, streaming)
    if streaming:
        fence()


@inline
def _softmax(column, constants, powers):
    """column = e^{column − its maximum} / the sum of these, over labels."""
    labels, own = column.shape
    lanes, one = lanes_of(column), filled(column, 1)
    for x in range(0, own, lanes):
        p = place(column, (0, x))
        highest = load(p, 0)
        for j in range(1, labels):
            highest = maximum(highest, load(p, j * own))
        for j in range(labels):
            store(p, j * own, load(p, j * own) - highest)
    exponential(column.reshape(labels * own), constants, powers)
    for x in range(0, own, lanes):
        p = place(column, (0, x))
        total = load(p, 0)
        for j in range(1, labels):
            total = total + load(p, j * own)
        factor = one / total
        for j in range(labels):
            store(p, j * own, load(p, j * own) * factor)


@inline
def _largest(column, count, scratch):
    """max 2S(1 − S) of the first `count` pixels."""
    labels, own = column.shape
    lanes, one = lanes_of(column), filled(column, 1)
    end, highest = count // lanes * lanes, filled(column, 0)
    for x in range(0, end, lanes):
        p = place(column, (0, x))
        for j in range(0, labels * own, own):
            highest = maximum(highest, load(p, j) * (one - load(p, j)))
    store(place(scratch, 0), 0, highest)
    largest = column.dtype.type(0)
    for x in range(lanes):
        largest = max(largest, scratch[0, x])
    for j in range(labels):
        for x in range(end, count):
            largest = max(largest, column[j, x] * (1 - column[j, x]))
    return 2 * largest


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
