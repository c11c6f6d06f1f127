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
from ._blocks import (
    BLOCK,
    as_volumes,
    columns_of,
    emit,
    exceeds_cache,
    fetch_columns,
    fill,
    find_slots,
    load_rows,
    margin,
    new_rows,
    new_scratch,
    pack,
    pack_transposed,
)
from ._memory import empty, empty_like
from ._numba import in_blocks, inline, kernel
from ._sums import average, correlate, replicate
from ._vectors import fence, filled, further, lanes_of, load, multiply_add, place, store
from .stencil import radius_of
from .weight_gradient import product, project


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
    gradient, z = empty(weights.shape, g.dtype), empty_like(g)
    c, radius = np.asarray(coefficients, g.dtype), radius_of(weights)
    work = 3 * g.size * weights.shape[0] * len(c)
    operands = (weights, similarity, log_likelihood, g, gradient, z)
    streaming = exceeds_cache(*operands)
    in_blocks(_rows, g.shape[1], work, c, radius, streaming, *as_volumes(*operands))
    return gradient, z


@kernel
def _rows(first, last, c, radius, streaming, weights, similarity, log_likelihood, g, gradient, z):
    terms, (labels, _, height, width), count = c.size - 1, g.shape, len(weights)
    side, most, columns = 2 * radius + 1, (terms + 1) * radius + 1, columns_of(width, radius, g)
    # of a_q (terms + 1 − q) r + 1 rows are used, of y − ⟨S, y⟩ r fewer, of R_S y and ℓ the neighbors
    series = new_rows(terms * most * labels, columns, g).reshape((terms, most, labels, columns))
    differences = new_rows(terms * most * labels, columns, g).reshape((terms, most, labels, columns))
    replicas = new_rows(terms * side * labels, columns, g).reshape((terms, side, labels, columns))
    evidence = new_rows(side * labels, columns, g).reshape((side, labels, columns))
    fields, rings = (weights, similarity, g, c), (series, differences, replicas, evidence)
    blocks = (new_scratch(labels, g), new_scratch(labels, g), new_scratch(labels, g), new_scratch(labels, g))
    scratch = (blocks, new_scratch(count, g), new_scratch(count, g), np.empty(side, np.intp))
    for front in range(first - max(2, terms) * radius, last + terms * radius):
        for q in range(terms):
            y, reach = front - q * radius, (terms - q) * radius
            if not first - reach <= y < last + reach:
                continue
            power, replica = series[q, y % (reach + radius + 1)], replicas[q, y % side]
            outside = 0 if y < 0 or y >= height else width
            if outside:
                _series_row(q, y, radius, fields, rings, scratch)
            for j in range(labels):  # and what a vector left behind the last pixel
                fill(place(power, j), margin(radius) + outside, columns, 0)
                fill(place(replica, j), margin(radius) + outside, columns, 0)
        y = front - terms * radius
        if y + radius >= first - radius:
            load_rows(log_likelihood, radius, 0, y + radius, 0, width, evidence)
        if first <= y < last:
            _gradient_row(y, radius, fields, rings, scratch, gradient, z, streaming)
    if streaming:
        fence()


@inline
def _series_row(q, y, radius, fields, rings, scratch):
    """Row y of a_q, and of y_{d−2−q} what the chain rule and the next adjoint need."""
    (weights, similarity, g, c), (series, differences, replicas, _) = fields, rings
    (s, column, _, _), packed, _, slots = scratch
    (labels, _, _, width), columns, terms = g.shape, series.shape[3], c.size - 1
    reach = (terms - q) * radius
    power = place(series, (q, y % (reach + radius + 1), 0, margin(radius)))
    difference = place(differences, (q, y % (reach + 1), 0, margin(radius)))
    replica = place(replicas, (q, y % (2 * radius + 1), 0, margin(radius)))
    for x in range(0, width, BLOCK):
        at, n = (0, y, x), min(BLOCK, width - x)
        fetch_columns(similarity, at, n, s)
        if q == 0:
            _source(s, further(power, x), columns, n)
            fetch_columns(g, at, n, column)
            _scale(column, c[terms])
        else:
            _find_rows(y, radius, reach + 2 * radius + 1, slots)
            pack(weights, at, n, packed)
            average(packed, series[q - 1], slots, radius, x, n, column)
            own = column.shape[1]
            replicate(place(s, 0), own, place(column, 0), own, further(power, x), columns, labels, n)
            _adjoint(weights, replicas[q - 1], g, c[terms - q], radius, at, n, scratch)
        _split(s, column, further(difference, x), further(replica, x), columns, n)


@inline
def _gradient_row(y, radius, fields, rings, scratch, gradient, z, streaming):
    """Row y of ∂Ω and z, once every series and adjoint is there."""
    (weights, similarity, g, c), (series, differences, replicas, evidence) = fields, rings
    (s, image, w, factor), packed, sums, slots = scratch
    (labels, _, _, width), (_, own), columns, terms = g.shape, s.shape, series.shape[3], c.size - 1
    for x in range(0, width, BLOCK):
        at, n = (0, y, x), min(BLOCK, width - x)
        fetch_columns(similarity, at, n, s)
        if terms:
            _adjoint(weights, replicas[terms - 1], g, c[0], radius, at, n, scratch)
        else:
            fetch_columns(g, at, n, image)
            _scale(image, c[0])
        product(s, image, w)
        if terms:  # A a_{d−2}, the one product whose neighbors nobody needs
            _find_rows(y, radius, 2 * radius + 1, slots)
            pack(weights, at, n, packed)
            average(packed, series[terms - 1], slots, radius, x, n, image)
            replicate(place(s, 0), own, place(image, 0), own, place(image, 0), own, labels, own)
        sums[:] = 0
        for q in range(terms):
            Aa, step = place(image, 0), own
            if q < terms - 1:
                Aa = place(series, (q + 1, y % ((terms - q) * radius + 1), 0, margin(radius) + x))
                step = columns
            row = y % ((q + 1) * radius + 1)
            difference = place(differences, (terms - 1 - q, row, 0, margin(radius) + x))
            _add_term(s, difference, columns, Aa, step, w, factor, n)
            _find_rows(y, radius, (terms - q + 1) * radius + 1, slots)
            correlate(factor, series[q], slots, radius, x, n, sums)
        project(s, w)
        find_slots(y, radius, slots)
        correlate(w, evidence, slots, radius, x, n, sums)
        for j in range(labels):
            emit(place(w, j), None, 0, z, (j, 0, y, x), n, streaming)
        for o in range(len(gradient)):
            emit(place(sums, o), None, 0, gradient, (o, 0, y, x), n, streaming)


@inline(always=True)
def _find_rows(y, radius, count, slots):
    """slots[k] = where a ring of `count` rows has the k-th row of the neighborhood of row y."""
    for k in range(slots.size):
        slots[k] = (y - radius + k) % count


@inline(always=True)
def _adjoint(weights, ring, g, scale, radius, at, n, scratch):
    """scale·g + Ωᵀ z of the rows of z in a ring, in the second block of the scratch; the third one is overwritten."""
    (_, column, given, _), packed, _, slots = scratch
    _find_rows(at[1], radius, 2 * radius + 1, slots)
    pack_transposed(weights, radius, at, n, packed)
    average(packed, ring, slots, radius, at[2], n, column)
    fetch_columns(g, at, n, given)
    p, q, factor = place(given, 0), place(column, 0), filled(given, scale)
    for x in range(0, column.size, lanes_of(p)):
        store(q, x, multiply_add(factor, load(p, x), load(q, x)))


@inline(always=True)
def _source(s, result, step, n):
    """S − 1/J of a block, in rows of a ring; up to a vector too many."""
    labels = len(s)
    mean = filled(s, s.dtype.type(1.0 / labels))
    for j in range(labels):
        for x in range(0, n, lanes_of(s)):
            store(result, j * step + x, load(place(s, j), x) - mean)


@inline(always=True)
def _scale(column, scale):
    p, factor = place(column, 0), filled(column, scale)
    for x in range(0, column.size, lanes_of(p)):
        store(p, x, factor * load(p, x))


@inline(always=True)
def _split(s, u, difference, replica, step, n):
    """u − ⟨S, u⟩ of a block, and S times that, in rows of rings; up to a vector too many."""
    labels, own = s.shape
    for x in range(0, n, lanes_of(s)):
        S, U, d, z = place(s, (0, x)), place(u, (0, x)), further(difference, x), further(replica, x)
        mean = filled(s, 0)
        for j in range(labels):
            mean = multiply_add(load(S, j * own), load(U, j * own), mean)
        for j in range(labels):
            value = load(U, j * own) - mean
            store(d, j * step, value)
            store(z, j * step, load(S, j * own) * value)


@inline(always=True)
def _add_term(s, difference, columns, Aa, step, w, factor, n):
    """w += (y_q − ⟨S, y_q⟩)∘(A a_q) and R_S y_q of a block."""
    labels = len(s)
    for j in range(labels):
        d, A = further(difference, j * columns), further(Aa, j * step)
        S, W, f = place(s, j), place(w, j), place(factor, j)
        for x in range(0, n, lanes_of(s)):
            store(W, x, multiply_add(load(d, x), load(A, x), load(W, x)))
            store(f, x, load(S, x) * load(d, x))


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
