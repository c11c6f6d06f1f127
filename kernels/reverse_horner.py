"""∂Ω of a loss of the truncated Taylor solution v = Σ_{k<d} c_k A^k B, from its derivative g: all in one wave.

    a_0 = S − 1/J, a_q = A a_{q−1};   y_{d−2} = c_{d−1} g, y_{q−1} = c_q g + Aᵀ y_q;   m̄ = c_0 g + Aᵀ y_0
    ∂Ω and z = R_S c as in ``weight_gradient``, of m̄ and M = Σ_{q<d−1} y_q a_qᵀ

Layout: S, ℓ, g and z (J, H, W), Ω and ∂Ω (N, H, W), the coefficients c (d) on the host. Border: as in ``operator``.

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
from ._memory import empty_like
from ._numba import in_blocks, inline, kernel
from ._rings import (
    STRETCH,
    average_ring,
    correlate_ring,
    dot_row,
    load_row,
    new_packed,
    pack_row,
    pack_row_transposed,
)
from ._rows import clear, copy, multiply_add
from .stencil import radius_of


def reference(
    weights: Any, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any, *, periodic: bool = False
) -> tuple[Any, Any]:
    """The definition, in array API code: (∂Ω, z)."""
    options = {"periodic": periodic}
    return _one_by_one("reference", weights, similarity, log_likelihood, g, coefficients, options)


def cpu(
    weights: np.ndarray, similarity: np.ndarray, log_likelihood: np.ndarray, g: np.ndarray, coefficients: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The same with Numba."""
    gradient, z = empty_like(weights), empty_like(g)
    c = np.asarray(coefficients, g.dtype)
    work = 3 * g.size * weights.shape[0] * len(c)
    operands = (weights, similarity, log_likelihood, g, c, radius_of(weights), gradient, z)
    in_blocks(_rows, g.shape[1], work, *operands)
    return gradient, z


@kernel
def _rows(first, last, weights, similarity, log_likelihood, g, c, radius, gradient, z):
    terms, (labels, height, width), dtype = c.size - 1, g.shape, g.dtype
    padded, side, most = width + 2 * radius, 2 * radius + 1, (terms + 1) * radius + 1
    # of a_q (terms + 1 − q) r + 1 rows are used, of y − ⟨S, y⟩ r fewer, of R_S y and ℓ the neighbors
    series = np.zeros((terms, most, labels, padded), dtype)
    differences = np.empty((terms, most, labels, padded), dtype)
    replicas, evidence = np.zeros((terms, side, labels, padded), dtype), np.empty((side, labels, padded), dtype)
    fields, rings = (weights, similarity, g, c), (series, differences, replicas, evidence)
    stretches = np.empty((4, labels, STRETCH), dtype)
    scratch = (stretches, np.empty(STRETCH, dtype), new_packed(radius, dtype), new_packed(radius, dtype))
    for front in range(first - max(2, terms) * radius, last + terms * radius):
        for q in range(terms):
            y, reach = front - q * radius, (terms - q) * radius
            if not first - reach <= y < last + reach:
                continue
            if 0 <= y < height:
                _series_row(q, y, radius, fields, rings, scratch)
            else:
                power, replica = series[q, y % (reach + radius + 1)], replicas[q, y % side]
                for j in range(labels):
                    clear(power[j])
                    clear(replica[j])
        y = front - terms * radius
        if y + radius >= first - radius:
            load_row(log_likelihood, radius, y + radius, evidence)
        if first <= y < last:
            _gradient_row(y, radius, fields, rings, scratch, gradient, z)


@inline
def _series_row(q, y, radius, fields, rings, scratch):
    """Row y of a_q, and of y_{d−2−q} what the chain rule and the next adjoint need."""
    (weights, similarity, g, c), (series, differences, replicas, _) = fields, rings
    stretches, dot, packed, _ = scratch
    averaged, terms = stretches[0], c.size - 1
    reach = (terms - q) * radius
    power, difference = series[q, y % (reach + radius + 1)], differences[q, y % (reach + 1)]
    replica = replicas[q, y % (2 * radius + 1)]
    for x0 in range(0, g.shape[2], STRETCH):
        n = min(STRETCH, g.shape[2] - x0)
        if q == 0:
            _source(similarity, y, x0, n, radius, power)
            _scaled(g, c[terms], y, x0, n, averaged)
        else:
            before = series[q - 1, : reach + 2 * radius + 1]
            pack_row(weights, y, x0, n, packed)
            average_ring(packed, before, radius, y, x0, n, averaged)
            _replicate(similarity, averaged, y, x0, n, dot, power, x0 + radius)
            _adjoint(weights, replicas[q - 1], g, c[terms - q], y, x0, n, radius, packed, averaged)
        _difference(similarity, averaged, y, x0, n, dot, difference, replica, radius)


@inline
def _gradient_row(y, radius, fields, rings, scratch, gradient, z):
    """Row y of ∂Ω and z, once every series and adjoint is there."""
    (_, similarity, g, c), (_, _, _, evidence) = fields, rings
    stretches, dot, _, sums = scratch
    factor, w, labels = stretches[2], stretches[3], len(g)
    for x0 in range(0, g.shape[2], STRETCH):
        n = min(STRETCH, g.shape[2] - x0)
        clear(sums)
        _mean_and_image(y, x0, n, radius, fields, rings, scratch)
        for q in range(c.size - 1):
            _term(q, y, x0, n, radius, fields, rings, scratch)
        clear(dot[:n])
        for j in range(labels):
            _add(w[j, :n], dot)
        for j in range(labels):
            _subtract(w[j, :n], similarity[j, y, x0 : x0 + n], dot, factor[j, :n])
            copy(factor[j, :n], z[j, y, x0 : x0 + n])
        correlate_ring(factor, evidence, radius, y, x0, n, sums)
        for o in range(len(gradient)):
            copy(sums[o * STRETCH : o * STRETCH + n], gradient[o, y, x0 : x0 + n])


@inline
def _mean_and_image(y, x0, n, radius, fields, rings, scratch):
    """w = S∘m̄, and A a_{d−2}, the one product whose neighbors nobody needs."""
    (weights, similarity, g, c), (series, _, replicas, _) = fields, rings
    stretches, dot, packed, _ = scratch
    averaged, image, w, terms = stretches[0], stretches[1], stretches[3], c.size - 1
    if terms == 0:
        _scaled(g, c[0], y, x0, n, averaged)
    else:
        _adjoint(weights, replicas[terms - 1], g, c[0], y, x0, n, radius, packed, averaged)
    for j in range(len(g)):
        _product(similarity[j, y, x0 : x0 + n], averaged[j, :n], w[j, :n])
    if terms:
        pack_row(weights, y, x0, n, packed)
        average_ring(packed, series[terms - 1, : 2 * radius + 1], radius, y, x0, n, averaged)
        _replicate(similarity, averaged, y, x0, n, dot, image, 0)


@inline
def _term(q, y, x0, n, radius, fields, rings, scratch):
    """w += (y_q − ⟨S, y_q⟩)∘(A a_q) and the correlation of R_S y_q with a_q."""
    (_, similarity, g, c), (series, differences, _, _) = fields, rings
    stretches, _, _, sums = scratch
    image, factor, w, terms = stretches[1], stretches[2], stretches[3], c.size - 1
    difference = differences[terms - 1 - q, y % ((q + 1) * radius + 1)]
    following = series[min(q + 1, terms - 1), y % ((terms - q) * radius + 1)]
    for j in range(len(g)):
        d, at = difference[j, x0 : x0 + n], x0 + radius
        Aa = image[j, :n] if q == terms - 1 else following[j, at : at + n]
        multiply_add(d, Aa, w[j, :n])
        _product(similarity[j, y, x0 : x0 + n], d, factor[j, :n])
    correlate_ring(factor, series[q, : (terms - q + 1) * radius + 1], radius, y, x0, n, sums)


@inline
def _source(similarity, y, x0, n, radius, row):
    """S − 1/J."""
    labels = similarity.shape[0]
    mean = row.dtype.type(1.0 / labels)
    for j in range(labels):
        s, target = similarity[j, y, x0 : x0 + n], row[j, x0 + radius : x0 + radius + n]
        for x in range(n):
            target[x] = s[x] - mean


@inline
def _scaled(g, scale, y, x0, n, result):
    for j in range(g.shape[0]):
        source, target = g[j, y, x0 : x0 + n], result[j, :n]
        for x in range(n):
            target[x] = scale * source[x]


@inline
def _adjoint(weights, ring, g, scale, y, x0, n, radius, packed, result):
    """scale·g + Ωᵀ z of the rows of z in a ring."""
    pack_row_transposed(weights, radius, y, x0, n, packed)
    average_ring(packed, ring, radius, y, x0, n, result)
    for j in range(g.shape[0]):
        source, target = g[j, y, x0 : x0 + n], result[j, :n]
        for x in range(n):
            target[x] += scale * source[x]


@inline
def _replicate(similarity, x, y, x0, n, dot, result, at):
    """R_S x, from `at` on in the rows of the result."""
    dot_row(similarity, x, y, x0, n, dot)
    for j in range(similarity.shape[0]):
        s, row, target = similarity[j, y, x0 : x0 + n], x[j, :n], result[j, at : at + n]
        for k in range(n):
            target[k] = s[k] * (row[k] - dot[k])


@inline
def _difference(similarity, u, y, x0, n, dot, difference, replica, radius):
    """u − ⟨S, u⟩, and S times that into a padded row."""
    dot_row(similarity, u, y, x0, n, dot)
    for j in range(similarity.shape[0]):
        s, row = similarity[j, y, x0 : x0 + n], u[j, :n]
        d, z = difference[j, x0 : x0 + n], replica[j, x0 + radius : x0 + radius + n]
        for x in range(n):
            d[x] = row[x] - dot[x]
            z[x] = s[x] * d[x]


@inline
def _product(a, b, result):
    for x in range(result.size):
        result[x] = a[x] * b[x]


@inline
def _add(row, total):
    for x in range(row.size):
        total[x] += row[x]


@inline
def _subtract(w, s, total, result):
    """w − S Σ w."""
    for x in range(result.size):
        result[x] = w[x] - s[x] * total[x]


def gpu(weights: Any, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any) -> tuple[Any, Any]:
    """The same with CUDA, one launch for each product and one for ∂Ω."""
    return _one_by_one("gpu", weights, similarity, log_likelihood, g, coefficients, {})


def _one_by_one(
    which: str, weights: Any, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any, options: dict[str, Any]
) -> tuple[Any, Any]:
    xp = array_namespace(similarity)
    product, transposed, gradient = (getattr(m, which) for m in (operator, adjoint, weight_gradient))
    a, y = [similarity - 1.0 / similarity.shape[0]], [float(coefficients[-1]) * g]
    for c in coefficients[-2::-1]:
        a.append(product(weights, similarity, a[-1], **options))
        y.append(transposed(weights, similarity, y[-1], g, float(c), **options))
    shape, (*y, mean) = (0, *g.shape), y
    right, image, left = (xp.stack(x) if x else xp.zeros(shape, dtype=g.dtype) for x in (a[:-1], a[1:], y[::-1]))
    return gradient(weights, similarity, log_likelihood, mean, left, right, image, **options)
