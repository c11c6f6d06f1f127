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
from ._blocks import (
    BLOCK,
    STRETCH,
    as_volumes,
    emit,
    exceeds_cache,
    fetch_columns,
    find_slots,
    load_rows,
    new_ring,
    new_scratch,
)
from ._memory import empty, empty_like
from ._numba import in_blocks, inline, kernel
from ._sums import correlate
from ._vectors import fence, filled, lanes_of, load, multiply_add, place, store
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
    """The same with Numba: all terms of one block while its sums are in cache."""
    gradient, z = empty(weights.shape, mean.dtype), empty_like(mean)
    work = mean.size * weights.shape[0] * (1 + len(left))
    radius, rows = radius_of(weights), prod(mean.shape[1:-1])
    fields = (similarity, log_likelihood, mean, left, right, image, gradient, z)
    streaming = exceeds_cache(*fields)
    _, *fields = as_volumes(weights, *fields)
    in_blocks(_rows, rows, work, *fields, radius, streaming)
    return gradient, z


@kernel
def _rows(
    first, last, similarity, log_likelihood, mean, left, right, image, gradient, derivative, radius, streaming
):  # fmt: skip
    rank, (labels, _, height, width), count = left.shape[0], mean.shape, len(gradient)
    rings = [new_ring(labels, count, radius, mean) for _ in range(rank + 1)]  # of every v_r and of ℓ
    slots, sums = np.empty(count // (2 * radius + 1), np.intp), new_scratch(count, mean)
    s, w, u, Av = (
        new_scratch(labels, mean),
        new_scratch(labels, mean),
        new_scratch(labels, mean),
        new_scratch(labels, mean),
    )
    for z in range(first // height, -(-last // height)):  # rows are counted through all planes
        top, bottom = max(0, first - z * height), min(height, last - z * height)
        for x0 in range(0, width, STRETCH):
            n = min(STRETCH, width - x0)
            for y in range(top - radius, bottom + radius):
                for r in range(rank):
                    load_rows(right[r], radius, z, y, x0, n, rings[r])
                load_rows(log_likelihood, radius, z, y, x0, n, rings[rank])
                done = y - radius
                if done < top:
                    continue
                find_slots(done, radius, slots)
                for x in range(0, n, BLOCK):
                    at, size = (z, done, x0 + x), min(BLOCK, n - x)
                    sums[:] = 0
                    fetch_columns(similarity, at, size, s)
                    fetch_columns(mean, at, size, w)
                    product(s, w, w)
                    for r in range(rank):
                        fetch_columns(left[r], at, size, u)
                        fetch_columns(image[r], at, size, Av)
                        add_term(s, Av, u, w)
                        correlate(u, rings[r], slots, radius, x, size, sums)
                    project(s, w)
                    correlate(w, rings[rank], slots, radius, x, size, sums)
                    for j in range(labels):
                        emit(place(w, j), None, 0, derivative, (j, z, done, x0 + x), size, streaming)
                    for o in range(count):
                        emit(place(sums, o), None, 0, gradient, (o, z, done, x0 + x), size, streaming)
    if streaming:
        fence()


@inline(always=True)
def product(s, u, w):
    """w = S∘u of a block."""
    p, q, result = place(s, 0), place(u, 0), place(w, 0)
    for x in range(0, s.size, lanes_of(s)):
        store(result, x, load(p, x) * load(q, x))


@inline(always=True)
def add_term(s, Av, u, w):
    """w += (u − ⟨u, S⟩)∘Av, then u = R_S u, of a block."""
    labels, own = s.shape
    for x in range(0, own, lanes_of(s)):
        S, A, U, W = place(s, (0, x)), place(Av, (0, x)), place(u, (0, x)), place(w, (0, x))
        mean = filled(s, 0)
        for j in range(0, labels * own, own):
            mean = multiply_add(load(S, j), load(U, j), mean)
        for j in range(0, labels * own, own):
            difference = load(U, j) - mean
            store(W, j, multiply_add(difference, load(A, j), load(W, j)))
            store(U, j, load(S, j) * difference)


@inline(always=True)
def project(s, w):
    """w − S Σ w in place of w, of a block."""
    labels, own = s.shape
    for x in range(0, own, lanes_of(s)):
        S, W, total = place(s, (0, x)), place(w, (0, x)), filled(s, 0)
        for j in range(0, labels * own, own):
            total = total - load(W, j)
        for j in range(0, labels * own, own):
            store(W, j, multiply_add(load(S, j), total, load(W, j)))


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
