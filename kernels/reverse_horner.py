"""∂Ω of a loss of the truncated Taylor solution v = Σ_{k<d} c_k A^k B, from its derivative g: all in one wave.

    a_0 = S − 1/J, a_q = A a_{q−1};   y_{d−2} = c_{d−1} g, y_{q−1} = c_q g + Aᵀ y_q;   m̄ = c_0 g + Aᵀ y_0
    ∂Ω and z = R_S c as in ``weight_gradient``, of m̄ and M = Σ_{q<d−1} y_q a_qᵀ

Layout: S, ℓ, g and z (…, H, J, W), Ω and ∂Ω (…, H, N, W), the coefficients c (d) on the host. Border: that of
``operator``.

On the CPU neither the series nor its adjoint is ever stored: while a row of a_q is computed, a_{q−1} is r rows ahead of
it and y_{d−2−q} goes beside it; what the sum over the neighborhood needs of each stays in rings of some rows, about
(d + 2)² of them for r = 1. Each thread repeats the (d − 1) r rows around its own. Least traffic per pixel, in floats:
4J + 2N, what ``weight_gradient`` alone reads (3d + 1)J for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import adjoint, operator, weight_gradient
from ._memory import empty, empty_like
from ._numba import in_blocks, kernel
from .rows import (
    MARGIN,
    add,
    average,
    canonical,
    clear,
    correlate,
    emit,
    find,
    inner,
    lines,
    load,
    pitch,
    project,
    replicate,
    strip,
    transpose,
)  # fmt: skip
from .stencil import axes_of, check_shapes, lowered, neighborhood, scaled


def reference(
    weights: Any, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any, *, periodic: bool = False
) -> Any:
    """The definition, in array API code: (∂Ω, z)."""
    return _one_by_one("reference", weights, similarity, log_likelihood, g, coefficients, periodic=periodic)


def cpu(weights: Any, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any) -> Any:
    """The same with Numba; on volumes one product after the other."""
    if np.ndim(coefficients) != 1 or not len(coefficients):
        raise ValueError(f"coefficients of shape {np.shape(coefficients)}; accepted is (d,), at least one.")
    if axes_of(weights) > 2:
        return _one_by_one("cpu", weights, similarity, log_likelihood, g, coefficients)
    N, c = weights.shape[-2], np.asarray(coefficients, g.dtype)
    gradient, z = empty((*g.shape[:-2], N, g.shape[-1]), g.dtype), empty_like(g)
    fields = [*canonical(weights, g, similarity, log_likelihood, z), *canonical(gradient)]
    (images, _, height, J, width), radius, terms = fields[1].shape, neighborhood(weights)[0], len(c) - 1
    side, most = 2 * radius + 1, (terms + 1) * radius + 1
    numbers = J * (terms * (most + radius + side) + side + 6) + N * (terms * radius + 3)
    columns = strip(width, numbers, len(c) * radius, g.itemsize)
    size = np.array([columns, pitch(min(width, columns + 2 * len(c) * radius), g.itemsize), radius])
    in_blocks(_wave, images * height, 3 * g.size * N * len(c), c, size, *fields)
    return gradient, z


@kernel
def _wave(first, last, c, size, weights, g, similarity, log_likelihood, z, gradient):
    """Rows first … last, counted through all images."""
    terms, (_, _, height, J, width), N = c.size - 1, g.shape, weights.shape[3]
    columns, line, radius = size
    side, most, mean = 2 * radius + 1, (terms + 1) * radius + 1, g.dtype.type(1.0 / J)
    # of a_q (terms + 1 − q) r + 1 rows are used, of y − ⟨S, y⟩ r fewer, of R_S y and ℓ the neighbors
    ahead = terms * radius + 1  # rows of which the transposed weights are used again
    series = lines(terms * most * J, line, g).reshape(terms, 1, most, J, line)
    differences = lines(terms * most * J, line, g).reshape(terms, most, J, line)
    replicas = lines(terms * side * J, line, g).reshape(terms, 1, side, J, line)
    evidence = lines(side * J, line, g).reshape(1, side, J, line)
    turned, sums = lines(ahead * N, line, weights).reshape(ahead, N, line), lines(N, line, g).reshape(N, line)
    scratch, dot, slots = lines(3 * J, line, g).reshape(3, J, line), lines(1, line, g), np.empty(side, np.intp)
    adjoint, product, factor = scratch[0], scratch[1], scratch[2]
    for image in range(first // height, -(-last // height)):
        top, bottom = max(0, first - image * height), min(height, last - image * height)
        own, S = weights[image % weights.shape[0]], similarity[image, 0]
        for left in range(0, width, columns):
            right = min(width, left + columns)
            lo, hi = max(0, left - c.size * radius), min(width, right + c.size * radius)
            n = hi - lo
            series[:] = 0
            replicas[:] = 0
            evidence[:] = 0
            for front in range(top - max(2, terms) * radius, bottom + terms * radius):
                if terms and 0 <= front < height:
                    transpose(own, 0, front, lo, radius, n, turned[front % ahead])
                y = front - (terms - 1) * radius
                if y >= top - radius:
                    row = evidence[0, y % side]
                    row[:] = 0
                    if 0 <= y < height:
                        load(log_likelihood[image, 0, y], lo, row, n)
                for q in range(terms + 1):  # a_q = A a_{q−1} and y_{d−1−q}; the last ones are those of the gradient
                    y, reach = front - q * radius, (terms - q) * radius
                    if not top - reach <= y < bottom + reach:
                        continue
                    row = series[q, 0, y % (reach + radius + 1)] if q < terms else product
                    if not 0 <= y < height:
                        row[:] = 0
                        replicas[q, 0, y % side][:] = 0
                        continue
                    s, origin = S[y], lo - lo  # `average` would be compiled once more for a literal 0
                    if q == 0:
                        for j in range(J):
                            a, p = s[j][lo:], row[j][MARGIN:]
                            for x in range(n):
                                p[x] = a[x] - mean
                            clear(adjoint[j][MARGIN:], n)
                    else:
                        find(y, radius, reach + 2 * radius + 1, slots)
                        average(own[0, y], lo, series[q - 1], slots, row, n)
                        replicate(s, lo, row, dot, n)
                        find(y, radius, side, slots)
                        average(turned[y % ahead], origin, replicas[q - 1], slots, adjoint, n)
                    add(c[terms - q], g[image, 0, y], lo, adjoint, n)
                    if q < terms:
                        inner(s, lo, adjoint, MARGIN, dot, n)
                        difference, replica = differences[q, y % (reach + 1)], replicas[q, 0, y % side]
                        for j in range(J):
                            u, a, d, r = adjoint[j][MARGIN:], s[j][lo:], difference[j][MARGIN:], replica[j][MARGIN:]
                            for x in range(n):
                                d[x] = u[x] - dot[x]
                                r[x] = a[x] * d[x]
                        continue
                    for j in range(J):
                        u, a = adjoint[j][MARGIN:], s[j][lo:]
                        for x in range(n):
                            u[x] *= a[x]
                    sums[:] = 0
                    for p in range(terms):
                        kept = (terms - p) * radius + 1
                        difference = differences[terms - 1 - p, y % ((p + 1) * radius + 1)]
                        Aa = series[p + 1, 0, y % kept] if p + 1 < terms else product
                        for j in range(J):
                            t, f = adjoint[j][MARGIN:], factor[j][MARGIN:]
                            d, a, m = difference[j][MARGIN:], s[j][lo:], Aa[j][MARGIN:]
                            for x in range(n):
                                t[x] += d[x] * m[x]
                                f[x] = a[x] * d[x]
                        find(y, radius, kept + radius, slots)
                        correlate(factor, series[p], slots, sums, n)
                    project(s, lo, adjoint, dot, n)
                    find(y, radius, side, slots)
                    correlate(adjoint, evidence, slots, sums, n)
                    emit(adjoint, left - lo, z[image, 0, y], left, right - left)
                    emit(sums, left - lo, gradient[image, 0, y], left, right - left)


def gpu(weights: Any, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any) -> Any:
    """The same with CUDA, one launch for each product and one for ∂Ω."""
    return _one_by_one("gpu", weights, similarity, log_likelihood, g, coefficients)


def _one_by_one(
    which: str, weights: Any, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any, **options: Any
) -> Any:
    check_shapes(weights, g, similarity, log_likelihood)
    xp = array_namespace(similarity)
    product, transposed, gradient = (getattr(m, which) for m in (operator, adjoint, weight_gradient))
    a, y = (xp.empty((len(coefficients), *g.shape), dtype=g.dtype) for _ in range(2))  # y_{q−1} in slot q, m̄ in slot 0
    lowered(similarity, 1.0 / similarity.shape[-2], a[0, ...])
    scaled(g, float(coefficients[-1]), y[-1, ...])
    for q in range(1, len(coefficients)):
        product(weights, similarity, a[q - 1, ...], out=a[q, ...], **options)
    for q in range(len(coefficients) - 2, -1, -1):
        transposed(weights, similarity, y[q + 1, ...], g, float(coefficients[q]), out=y[q, ...], **options)
    terms = (y[1:, ...], a[:-1, ...], a[1:, ...])
    return gradient(weights, similarity, log_likelihood, y[0, ...], *terms, **options)
