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
from ._numba import COLUMNS, average_row, clear, inline, kernel, multiply_add, prange, replicate_rows, rows_per_task
from .stencil import average, neighbors, radius_of, replicate


def reference(
    weights: Any, similarity: Any, log_likelihood: Any, mean: Any, left: Any, right: Any, *, periodic: bool = False
) -> tuple[Any, Any]:
    """The definition, in array API code: (∂Ω, c)."""
    xp = array_namespace(weights, similarity)
    c = mean
    pairs = []
    for r in range(left.shape[0]):
        u, v = left[r, ...], right[r, ...]
        x = average(weights, v, periodic)
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
    rows = rows_per_task(mean.shape[1])
    _weight_gradient(weights, similarity, log_likelihood, mean, left, right, radius_of(weights), rows, gradient, c)
    return gradient, c


@kernel
def _weight_gradient(weights, similarity, log_likelihood, mean, left, right, radius, rows, gradient, c):
    labels, height, width = mean.shape
    for task in prange((height + rows - 1) // rows):
        x = np.empty((labels, COLUMNS), mean.dtype)
        z = np.empty((labels, COLUMNS), mean.dtype)
        dot = np.empty((2, COLUMNS), mean.dtype)
        for y in range(task * rows, min(height, (task + 1) * rows)):
            for x0 in range(0, width, COLUMNS):
                x1 = min(width, x0 + COLUMNS)
                n = x1 - x0
                for o in range(weights.shape[0]):
                    clear(gradient[o, y, x0:x1])
                c[:, y, x0:x1] = mean[:, y, x0:x1]
                for r in range(left.shape[0]):
                    for j in range(labels):
                        average_row(weights, right[r, j], radius, y, x0, x1, x[j, :n])
                    _derivative_in_similarity(similarity, left[r], x, z, dot, y, x0, x1, c)
                    _correlate(z, right[r], radius, y, x0, x1, gradient)
                replicate_rows(similarity, c[:, y, x0:x1], dot[0, :n], y, x0, z[:, :n])
                _correlate(z, log_likelihood, radius, y, x0, x1, gradient)


@inline
def _derivative_in_similarity(similarity, u, x, z, dot, y, x0, x1, c):
    """c += u∘x − ⟨S, x⟩ u − ⟨u, S⟩ x and z = R_S u on one stretch of row y."""
    n = x1 - x0
    replicate_rows(similarity, u[:, y, x0:x1], dot[0, :n], y, x0, z[:, :n])
    clear(dot[1, :n])
    for j in range(u.shape[0]):
        multiply_add(similarity[j, y, x0:x1], x[j, :n], dot[1, :n])
    for j in range(u.shape[0]):
        u_j, x_j, c_j, uS, Sx = u[j, y, x0:x1], x[j, :n], c[j, y, x0:x1], dot[0, :n], dot[1, :n]
        for i in range(n):
            c_j[i] += u_j[i] * x_j[i] - Sx[i] * u_j[i] - uS[i] * x_j[i]


@inline
def _correlate(z, field, radius, y, x0, x1, gradient):
    """gradient_o += Σ_j z_j · (neighbor o of field_j) on one stretch of row y."""
    labels, height, width = field.shape
    for dy in range(-radius, radius + 1):
        if 0 <= y + dy < height:
            for dx in range(-radius, radius + 1):
                o = (dy + radius) * (2 * radius + 1) + dx + radius
                lo, hi = max(x0, -dx), min(x1, width - dx)
                if lo < hi:
                    row = gradient[o, y, lo:hi]
                    for j in range(labels):
                        multiply_add(z[j, lo - x0 : hi - x0], field[j, y + dy, lo + dx : hi + dx], row)


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
