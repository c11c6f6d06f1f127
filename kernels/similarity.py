"""S = softmax(Ω ℓ): the similarity map at the linearization point, (2.17).

    S_ij = exp((Ωℓ)_ij) / Σ_l exp((Ωℓ)_il),   (Ωℓ)_i = Σ_{k ∈ N_i} ω_ik ℓ_k

Layout: ℓ and S (J, H, W), Ω (N, H, W). Border: neighbors outside the image are skipped.
The maximum over labels is taken out before the exponential, so no log-likelihood overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._numba import COLUMNS, average_row, inline, kernel, prange, rows_per_task
from .stencil import average, radius_of


def reference(weights: Any, log_likelihood: Any, *, periodic: bool = False) -> Any:
    """The definition, in array API code."""
    xp = array_namespace(weights, log_likelihood)
    averaged = average(weights, log_likelihood, periodic)
    exponential = xp.exp(averaged - xp.max(averaged, axis=0, keepdims=True))
    return exponential / xp.sum(exponential, axis=0, keepdims=True)


def cpu(weights: np.ndarray, log_likelihood: np.ndarray) -> np.ndarray:
    """The same with Numba."""
    result = np.empty_like(log_likelihood)
    _similarity(weights, log_likelihood, radius_of(weights), rows_per_task(result.shape[1]), result)
    return result


@kernel
def _similarity(weights, log_likelihood, radius, rows, result):
    labels, height, width = result.shape
    for task in prange((height + rows - 1) // rows):
        highest = np.empty(COLUMNS, result.dtype)
        for y in range(task * rows, min(height, (task + 1) * rows)):
            for x0 in range(0, width, COLUMNS):
                x1 = min(width, x0 + COLUMNS)
                for j in range(labels):
                    average_row(weights, log_likelihood[j], radius, y, x0, x1, result[j, y, x0:x1])
                _softmax(result[:, y, x0:x1], highest[: x1 - x0])


@inline
def _softmax(values, highest):
    labels, n = values.shape
    for x in range(n):
        highest[x] = values[0, x]
    for j in range(1, labels):
        for x in range(n):
            highest[x] = max(highest[x], values[j, x])
    total = np.zeros(n, values.dtype)
    for j in range(labels):
        for x in range(n):
            values[j, x] = np.exp(values[j, x] - highest[x])
            total[x] += values[j, x]
    for j in range(labels):
        for x in range(n):
            values[j, x] /= total[x]


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
