"""∂Ω: the closed-form gradient of the loss in the weight patches, Theorem 3.8, both terms in one pass.

For the splitting M = ∫ μ(t) v(t)ᵀ dt = Σ_r u_r v_rᵀ and m̄ = ∫ μ(t) dt, with x_r = Ω v_r:

    c     = m̄ + Σ_r [ u_r∘x_r − ⟨S, x_r⟩ u_r − ⟨u_r, S⟩ x_r ]         (derivative in S)
    ∂ω_ik = Σ_r ⟨(R_S u_r)_i, (v_r)_k⟩ + ⟨z_i, ℓ_k⟩,   z = R_S c       (k ∈ N_i)

R_S kills constants over labels, so x_r − ⟨S, x_r⟩ may stand for x_r, and S∘(x_r − ⟨S, x_r⟩) = A v_r: with the products
A v_r at hand no average is taken,

    z = w − S Σ_j w_j,   w = S∘m̄ + Σ_r (u_r − ⟨u_r, S⟩)∘(A v_r)

Layout: S, ℓ, m̄ and z (J, H, W), u, v and Av (R, J, H, W), ∂Ω (N, H, W); of the weights only the shape counts.
Border: ∂ω of a neighbor outside is 0. Both results are linear in (m̄, {u_r v_rᵀ}): a long splitting may be passed in
pieces and the results added. Least traffic per pixel, in floats: 3RJ + 4J + N.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._memory import empty_like
from ._numba import in_blocks, inline, kernel
from ._rows import PITCH, as_volumes, clear, copy, correlate, load, multiply_add, new_ring, new_rows
from .stencil import neighbors, radius_of


def reference(
    weights: Any,
    similarity: Any,
    log_likelihood: Any,
    mean: Any,
    left: Any,
    right: Any,
    image: Any,
    *,
    periodic: bool = False,
) -> tuple[Any, Any]:
    """The definition, in array API code: (∂Ω, z)."""
    xp = array_namespace(weights, similarity)
    w = similarity * mean
    pairs = []
    for r in range(left.shape[0]):
        u = left[r, ...]
        difference = u - xp.sum(similarity * u, axis=0, keepdims=True)
        w = w + difference * image[r, ...]
        pairs.append((similarity * difference, right[r, ...]))
    z = w - similarity * xp.sum(w, axis=0, keepdims=True)
    gradient = xp.zeros_like(weights)
    for factor, field in [*pairs, (z, log_likelihood)]:
        for index, _, neighbor in neighbors(field, weights, periodic):
            gradient[index, ...] += xp.sum(factor * neighbor, axis=0)
    return gradient, z


def cpu(
    weights: np.ndarray,
    similarity: np.ndarray,
    log_likelihood: np.ndarray,
    mean: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    image: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The same with Numba: all terms of one stretch of a row while its sums are in cache."""
    gradient, z = empty_like(weights), empty_like(mean)
    work = mean.size * weights.shape[0] * (1 + len(left))
    radius, rows = radius_of(weights), prod(mean.shape[1:-1])
    _, *fields, target, derivative = as_volumes(
        weights, similarity, log_likelihood, mean, left, right, image, gradient, z
    )
    in_blocks(_rows, rows, work, *fields, radius, target, derivative)
    return gradient, z


@kernel
def _rows(first, last, similarity, log_likelihood, mean, left, right, image, radius, gradient, derivative):
    rank, (labels, _, height, width), dtype = left.shape[0], mean.shape, mean.dtype
    count = len(gradient)
    rings = [new_ring(labels, count, radius, dtype) for _ in range(rank + 1)]  # of every v_r and of ℓ
    sums, total = new_rows(count, dtype), np.empty(PITCH, dtype)
    w, factor = new_rows(labels, dtype), new_rows(labels, dtype)
    for z in range(first // height, -(-last // height)):  # rows are counted through all planes
        top, bottom = max(0, first - z * height), min(height, last - z * height)
        for x0 in range(0, width, PITCH - 2 * radius):
            n = min(PITCH - 2 * radius, width - x0)
            for y in range(top - radius, bottom + radius):
                for r in range(rank):
                    load(right[r], radius, z, y, x0, n, rings[r])
                load(log_likelihood, radius, z, y, x0, n, rings[rank])
                done = y - radius
                if done < top:
                    continue
                clear(sums)
                for j in range(labels):
                    at = slice(j * PITCH, j * PITCH + n)
                    _product(similarity[j, z, done, x0 : x0 + n], mean[j, z, done, x0 : x0 + n], w[at])
                for r in range(rank):
                    clear(total[:n])
                    for j in range(labels):
                        s, u = similarity[j, z, done, x0 : x0 + n], left[r, j, z, done, x0 : x0 + n]
                        multiply_add(s, u, total[:n])
                    for j in range(labels):
                        s, u = similarity[j, z, done, x0 : x0 + n], left[r, j, z, done, x0 : x0 + n]
                        at = slice(j * PITCH, j * PITCH + n)
                        _term(s, u, image[r, j, z, done, x0 : x0 + n], total, w[at], factor[at])
                    correlate(factor, labels, rings[r], done, n, sums)
                clear(total[:n])
                for j in range(labels):
                    _sum(w[j * PITCH : j * PITCH + n], total)
                for j in range(labels):
                    at = slice(j * PITCH, j * PITCH + n)
                    _subtract(w[at], similarity[j, z, done, x0 : x0 + n], total, factor[at])
                    copy(factor[at], derivative[j, z, done, x0 : x0 + n])
                correlate(factor, labels, rings[rank], done, n, sums)
                for o in range(count):
                    copy(sums[o * PITCH : o * PITCH + n], gradient[o, z, done, x0 : x0 + n])


@inline
def _product(a, b, result):
    for i in range(result.size):
        result[i] = a[i] * b[i]


@inline
def _term(s, u, Av, uS, w, factor):
    """w += (u − ⟨u, S⟩)∘Av and factor = R_S u."""
    for i in range(w.size):
        difference = u[i] - uS[i]
        w[i] += difference * Av[i]
        factor[i] = s[i] * difference


@inline
def _sum(row, total):
    for i in range(row.size):
        total[i] += row[i]


@inline
def _subtract(w, s, total, z):
    """z = w − S Σ w."""
    for i in range(z.size):
        z[i] = w[i] - s[i] * total[i]


def gpu(
    weights: Any,
    similarity: Any,
    log_likelihood: Any,
    mean: Any,
    left: Any,
    right: Any,
    image: Any,
    *,
    out: tuple[Any, Any] | None = None,
) -> tuple[Any, Any]:
    """The same with CUDA (``weight_gradient.cu``)."""
    arrays = _cuda.contiguous(similarity, log_likelihood, mean, left, right, image)
    gradient, z = out or (_cuda.empty(weights.shape, weights), _cuda.empty(mean.shape, weights))
    _cuda.launch(
        "weight_gradient",
        _cuda.tiles(*mean.shape[1:]),
        *arrays,
        *_cuda.sizes(left.shape[0]),
        gradient,
        z,
        *_cuda.grid(mean),
        dtype=weights.dtype,
        **_cuda.stencil_constants("weight_gradient", weights, mean.shape[0], mean, left, right),
    )
    return gradient, z
