"""∂Ω: the closed-form gradient of the loss in the weight patches, Theorem 3.8, both terms in one pass.

For the splitting M = ∫ μ(t) v(t)ᵀ dt = Σ_r u_r v_rᵀ and m̄ = ∫ μ(t) dt, with x_r = Ω v_r:

    c     = m̄ + Σ_r [ u_r∘x_r − ⟨S, x_r⟩ u_r − ⟨u_r, S⟩ x_r ]         (derivative in S)
    ∂ω_ik = Σ_r ⟨(R_S u_r)_i, (v_r)_k⟩ + ⟨(R_S c)_i, ℓ_k⟩             (k ∈ N_i)

Layout: S, ℓ, m̄ and c (J, H, W), u and v (R, J, H, W), Ω and ∂Ω (N, H, W). Border: ∂ω of a neighbor outside is 0.
Both results are linear in (m̄, {u_r v_rᵀ}): a long splitting may be passed in pieces and the results added.
Least traffic per pixel, in floats: 2RJ + 4J + 2N.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._numba import in_blocks, inline, kernel
from ._rows import (
    COLUMNS,
    average,
    clear,
    copy,
    correlate,
    dot_labels,
    load,
    multiply_add,
    new_packed,
    pack,
    replicated,
)
from .stencil import average as average_field
from .stencil import neighbors, radius_of, replicate


def reference(
    weights: Any, similarity: Any, log_likelihood: Any, mean: Any, left: Any, right: Any, *, periodic: bool = False
) -> tuple[Any, Any]:
    """The definition, in array API code: (∂Ω, c)."""
    xp = array_namespace(weights, similarity)
    c = mean
    pairs = []
    for r in range(left.shape[0]):
        u, v = left[r, ...], right[r, ...]
        x = average_field(weights, v, periodic)
        Sx = xp.sum(similarity * x, axis=0, keepdims=True)
        uS = xp.sum(similarity * u, axis=0, keepdims=True)
        c = c + u * x - Sx * u - uS * x
        pairs.append((replicate(similarity, u), v))
    pairs.append((replicate(similarity, c), log_likelihood))
    gradient = xp.zeros_like(weights)
    for z, x in pairs:
        for index, _, neighbor in neighbors(x, weights, periodic):
            gradient[index, ...] += xp.sum(z * neighbor, axis=0)
    return gradient, c


def cpu(
    weights: np.ndarray,
    similarity: np.ndarray,
    log_likelihood: np.ndarray,
    mean: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The same with Numba: all terms of one stretch of a row while its patches are in cache."""
    gradient, c = np.empty_like(weights), np.empty_like(mean)
    work = mean.size * weights.shape[0] * (1 + len(left))
    operands = (weights, similarity, log_likelihood, mean, left, right, radius_of(weights), gradient, c)
    in_blocks(_rows, mean.shape[1], work, *operands)
    return gradient, c


@kernel
def _rows(first, last, weights, similarity, log_likelihood, mean, left, right, radius, gradient, c):
    rank, (labels, _, width), dtype = left.shape[0], mean.shape, mean.dtype
    side = 2 * radius + 1
    rings = np.empty((rank + 1, side, labels, COLUMNS + 2 * radius), dtype)  # of every v_r and of ℓ
    packed, sums = new_packed(radius, dtype), new_packed(radius, dtype)
    total, x = np.empty((labels, COLUMNS), dtype), np.empty((labels, COLUMNS), dtype)
    z = np.empty((labels, COLUMNS), dtype)
    Sx, uS = np.empty(COLUMNS, dtype), np.empty(COLUMNS, dtype)
    for x0 in range(0, width, COLUMNS):
        n = min(COLUMNS, width - x0)
        for y in range(first - radius, last + radius):
            for r in range(rank):
                load(right[r], radius, y, x0, n, rings[r])
            load(log_likelihood, radius, y, x0, n, rings[rank])
            done = y - radius
            if done < first:
                continue
            pack(weights, radius, done, x0, n, packed)
            clear(sums)
            for j in range(labels):
                copy(mean[j, done, x0 : x0 + n], total[j, :n])
            for r in range(rank):
                for j in range(labels):
                    average(packed, rings[r], radius, done, j, n, x[j, :n])
                dot_labels(similarity, x, done, x0, n, Sx)
                _dot_fields(similarity, left[r], done, x0, n, uS)
                for j in range(labels):
                    u = left[r, j, done, x0 : x0 + n]
                    _derivative(u, x[j, :n], Sx, uS, total[j, :n])
                    replicated(similarity[j, done, x0 : x0 + n], u, uS, z[j, :n])
                correlate(z, rings[r], radius, done, n, sums)
            dot_labels(similarity, total, done, x0, n, Sx)
            for j in range(labels):
                copy(total[j, :n], c[j, done, x0 : x0 + n])
                replicated(similarity[j, done, x0 : x0 + n], total[j, :n], Sx, z[j, :n])
            correlate(z, rings[rank], radius, done, n, sums)
            for o in range(side * side):
                copy(sums[o * COLUMNS : o * COLUMNS + n], gradient[o, done, x0 : x0 + n])


@inline
def _dot_fields(similarity, field, y, x0, n, result):
    clear(result[:n])
    for j in range(field.shape[0]):
        multiply_add(similarity[j, y, x0 : x0 + n], field[j, y, x0 : x0 + n], result[:n])


@inline
def _derivative(u, x, Sx, uS, total):
    """total += u∘x − ⟨S, x⟩ u − ⟨u, S⟩ x."""
    for i in range(total.size):
        total[i] += u[i] * x[i] - Sx[i] * u[i] - uS[i] * x[i]


def gpu(
    weights: Any,
    similarity: Any,
    log_likelihood: Any,
    mean: Any,
    left: Any,
    right: Any,
    *,
    out: tuple[Any, Any] | None = None,
) -> tuple[Any, Any]:
    """The same with CUDA (``weight_gradient.cu``)."""
    arrays = _cuda.contiguous(weights, similarity, log_likelihood, mean, left, right)
    terms, (labels, height, width) = left.shape[0], mean.shape
    gradient, c = out or (_cuda.empty(weights.shape, weights), _cuda.empty(mean.shape, weights))
    _cuda.launch(
        "weight_gradient",
        _cuda.tiles(height, width),
        *arrays,
        *_cuda.sizes(terms),
        gradient,
        c,
        *_cuda.sizes(labels, height, width),
        dtype=weights.dtype,
        **_cuda.stencil_constants("weight_gradient", weights, labels, mean, left, right),
    )
    return gradient, c
