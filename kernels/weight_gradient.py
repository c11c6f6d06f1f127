"""∂Ω: the closed-form gradient of the loss in the weight patches, Theorem 3.8, both terms in one pass.

For the splitting M = ∫ μ(t) v(t)ᵀ dt = Σ_r u_r v_rᵀ and m̄ = ∫ μ(t) dt, with x_r = Ω v_r:

    c     = m̄ + Σ_r [ u_r∘x_r − ⟨S, x_r⟩ u_r − ⟨u_r, S⟩ x_r ]         (derivative in S)
    ∂ω_ik = Σ_r ⟨(R_S u_r)_i, (v_r)_k⟩ + ⟨z_i, ℓ_k⟩,   z = R_S c       (k ∈ N_i)

R_S kills constants over labels, so x_r − ⟨S, x_r⟩ may stand for x_r, and S∘(x_r − ⟨S, x_r⟩) = A v_r: with the products
A v_r at hand no average is taken,

    z = w − S Σ_j w_j,   w = S∘m̄ + Σ_r (u_r − ⟨u_r, S⟩)∘(A v_r)

Layout: S, ℓ, m̄ and z (…, H, J, W), u, v and Av (R, …, H, J, W), ∂Ω (…, H, N, W), one for each image of a batch; of the
weights only the shape counts. Border: ∂ω of a neighbor outside is 0. Both results are linear in (m̄, {u_r v_rᵀ}): a
long splitting may be passed in pieces and the results added. Least traffic per pixel, in floats: 3RJ + 4J + N.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._memory import empty, empty_like
from ._numba import in_blocks, kernel
from .rows import MARGIN, canonical, correlate, emit, find, inner, lines, load, pitch, project, strip
from .stencil import check_shapes, neighborhood, neighbors


def reference(
    weights: Any, similarity: Any, log_likelihood: Any, mean: Any, left: Any, right: Any, image: Any, *,
    periodic: bool = False,
) -> Any:  # fmt: skip
    """The definition, in array API code: (∂Ω, z)."""
    xp = array_namespace(weights, similarity)
    w = similarity * mean
    pairs = []
    for r in range(left.shape[0]):
        u = left[r, ...]
        difference = u - xp.sum(similarity * u, axis=-2, keepdims=True)
        w = w + difference * image[r, ...]
        pairs.append((similarity * difference, right[r, ...]))
    z = w - similarity * xp.sum(w, axis=-2, keepdims=True)
    gradient = xp.zeros((*mean.shape[:-2], *weights.shape[-2:]), dtype=mean.dtype)
    for factor, field in [*pairs, (z, log_likelihood)]:
        for index, _, neighbor in neighbors(field, weights, periodic):
            gradient[..., index, :] += xp.sum(factor * neighbor, axis=-2)
    return gradient, z


def cpu(weights: Any, similarity: Any, log_likelihood: Any, mean: Any, left: Any, right: Any, image: Any) -> Any:
    """The same with Numba: all terms of one row while its sums are in cache."""
    check_shapes(weights, mean, stacks=(left, right, image))
    N, rank = weights.shape[-2], len(left)
    radius, axes = neighborhood(weights)
    gradient, z = empty((*mean.shape[:-2], N, mean.shape[-1]), mean.dtype), empty_like(mean)
    G, m, S, l, c = canonical(gradient, mean, similarity, log_likelihood, z)
    u, v, Av = (np.ascontiguousarray(x).reshape(rank, *m.shape) for x in (left, right, image))
    _, depth, height, J, width = m.shape
    planes, side = 2 * radius + 1 if axes > 2 else 1, 2 * radius + 1
    columns = strip(width, J * ((rank + 1) * planes * side + 4) + N, radius, m.itemsize)
    size = np.array([columns, pitch(min(width, columns + 2 * radius), m.itemsize), radius, planes])
    work = m.size * N * (1 + rank)
    in_blocks(_rows, len(m) * depth * height, work, S, l, m, u, v, Av, size, G, c)
    return gradient, z


@kernel
def _rows(first, last, similarity, log_likelihood, mean, left, right, image, size, gradient, derivative):
    _, depth, height, J, width = mean.shape
    columns, line, radius, planes = size
    rank, side, N = left.shape[0], 2 * radius + 1, gradient.shape[3]
    rings = lines((rank + 1) * planes * side * J, line, mean).reshape(rank + 1, planes, side, J, line)
    scratch, sums = lines(2 * J, line, mean).reshape(2, J, line), lines(N, line, mean).reshape(N, line)
    w, factor, dot, slots = scratch[0], scratch[1], lines(1, line, mean), np.empty(side, np.intp)
    for plane in range(first // height, -(-last // height)):  # rows are counted through all images and planes
        i, z = plane // depth, plane % depth
        top, bottom = max(0, first - plane * height), min(height, last - plane * height)
        for x0 in range(0, width, columns):
            x1 = min(width, x0 + columns)
            lo, hi = max(0, x0 - radius), min(width, x1 + radius)
            n = hi - lo
            rings[:] = 0
            for front in range(top - radius, bottom + radius):
                for p in range(planes):
                    at = z + p - planes // 2
                    for r in range(rank + 1):
                        row = rings[r, p, front % side]
                        if 0 <= at < depth and 0 <= front < height:
                            field = right[r, i, at, front] if r < rank else log_likelihood[i, at, front]
                            load(field, lo, row, n)
                        else:
                            row[:] = 0
                y = front - radius
                if y < top:
                    continue
                find(y, radius, side, slots)
                s = similarity[i, z, y]
                sums[:] = 0
                for j in range(J):
                    t, a, m = w[j][MARGIN:], s[j][lo:], mean[i, z, y, j][lo:]
                    for x in range(n):
                        t[x] = a[x] * m[x]
                for r in range(rank):
                    own = left[r, i, z, y]
                    inner(s, lo, own, lo, dot, n)
                    for j in range(J):
                        t, f, u, a = w[j][MARGIN:], factor[j][MARGIN:], own[j][lo:], s[j][lo:]
                        Av = image[r, i, z, y, j][lo:]
                        for x in range(n):
                            difference = u[x] - dot[x]
                            t[x] += difference * Av[x]
                            f[x] = a[x] * difference
                    correlate(factor, rings[r], slots, sums, n)
                project(s, lo, w, dot, n)
                correlate(w, rings[rank], slots, sums, n)
                emit(w, x0 - lo, derivative[i, z, y], x0, x1 - x0)
                emit(sums, x0 - lo, gradient[i, z, y], x0, x1 - x0)


def gpu(
    weights: Any, similarity: Any, log_likelihood: Any, mean: Any, left: Any, right: Any, image: Any, *,
    out: Any = None,
) -> Any:  # fmt: skip
    """The same with CUDA (``weight_gradient.cu``)."""
    arrays = _cuda.contiguous(similarity, log_likelihood, mean, left, right, image)
    patches = (*mean.shape[:-2], *weights.shape[-2:])
    gradient, z = out or (_cuda.empty(patches, weights), _cuda.empty(mean.shape, weights))
    check_shapes(weights, mean, similarity, log_likelihood, z, stacks=(left, right, image))
    arguments = (*arrays, *_cuda.sizes(left.shape[0]), gradient, z)
    _cuda.stencil("weight_gradient", weights, mean, *arguments, arrays=(gradient, left))
    return gradient, z
