"""∂Ω of a loss of the truncated Taylor solution v = Σ_{k<d} c_k A^k B, from its derivative g: all in one wave.

    a_0 = S − 1/J, a_q = A a_{q−1};   y_{d−2} = c_{d−1} g, y_{q−1} = c_q g + Aᵀ y_q;   m̄ = c_0 g + Aᵀ y_0
    ∂Ω and z = R_S c as in ``weight_gradient``, of m̄ and M = Σ_{q<d−1} y_q a_qᵀ

Layout: S, ℓ, g and z (…, H, J, W), Ω and ∂Ω (…, H, N, W), the coefficients c (d) on the host. Border: as in ``operator``.

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
from ._numba import helper, in_blocks, kernel
from .rows import add, average, canonical, correlate, emit, inner, load, pitch, replicate, strip, transpose
from .stencil import neighborhood
from .weight_gradient import project


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
    N, c = weights.shape[-2], np.asarray(coefficients, g.dtype)
    gradient, z = empty((*g.shape[:-2], N, g.shape[-1]), g.dtype), empty_like(g)
    fields = canonical(weights, similarity, log_likelihood, g, gradient, z)
    (images, _, height, J, width), radius, terms = fields[3].shape, neighborhood(N)[0], len(c) - 1
    side, most = 2 * radius + 1, (terms + 1) * radius + 1
    numbers = J * (terms * (most + radius + side) + side + 6) + N * (terms * radius + 3)
    columns = strip(width, numbers, len(c) * radius, g.itemsize)
    size = np.array([columns, pitch(min(width, columns + 2 * len(c) * radius), radius, g.itemsize), radius])
    in_blocks(_wave, images * height, 3 * g.size * N * len(c), c, size, *fields)
    return gradient, z


@kernel
def _wave(first, last, c, size, weights, similarity, log_likelihood, g, gradient, z):
    """Rows first … last, counted through all images."""
    terms, (_, _, height, J, width), N = c.size - 1, g.shape, weights.shape[3]
    columns, line, radius = size
    side, most, halo = 2 * radius + 1, (terms + 1) * radius + 1, c.size * radius
    # of a_q (terms + 1 − q) r + 1 rows are used, of y − ⟨S, y⟩ r fewer, of R_S y and ℓ the neighbors
    series = np.zeros((terms, 1, most, J, line), g.dtype)
    differences = np.empty((terms, most, J, line), g.dtype)
    replicas = np.zeros((terms, 1, side, J, line), g.dtype)
    evidence = np.zeros((1, side, J, line), g.dtype)
    turned = np.empty((terms * radius + 1, N, line), g.dtype)
    scratch = np.empty((3, J, line), g.dtype)
    sums, dot, slots = np.empty((N, line), g.dtype), np.empty(line, g.dtype), np.empty(side, np.intp)
    for image in range(first // height, -(-last // height)):
        top, bottom = max(0, first - image * height), min(height, last - image * height)
        own = weights[image % weights.shape[0]]
        for left in range(0, width, columns):
            right = min(width, left + columns)
            lo, hi = max(0, left - halo), min(width, right + halo)
            series[:] = 0
            replicas[:] = 0
            evidence[:] = 0
            for front in range(top - max(2, terms) * radius, bottom + terms * radius):
                if terms and 0 <= front < height:
                    transpose(own, 0, front, lo, radius, hi - lo, turned[front % len(turned)])
                for q in range(terms):
                    y, reach = front - q * radius, (terms - q) * radius
                    if not top - reach <= y < bottom + reach:
                        continue
                    if 0 <= y < height:
                        s, w = similarity[image, 0, y], own[0, y]
                        _series_row(q, y, lo, hi - lo, s, w, g[image, 0, y], c, radius, series, differences, replicas,
                                    turned, scratch, dot, slots)  # fmt: skip
                    else:
                        series[q, 0, y % (reach + radius + 1)][:] = 0
                        replicas[q, 0, y % side][:] = 0
                y = front - terms * radius
                if y + radius >= top - radius:
                    if 0 <= y + radius < height:
                        load(
                            log_likelihood[image, 0, y + radius], lo, radius, hi - lo, evidence[0, (y + radius) % side]
                        )
                    else:
                        evidence[0, (y + radius) % side][:] = 0
                if top <= y < bottom:
                    s, w = similarity[image, 0, y], own[0, y]
                    _gradient_row(y, lo, hi - lo, s, w, g[image, 0, y], c, radius, series, differences, replicas,
                                  evidence, turned, scratch, sums, dot, slots)  # fmt: skip
                    emit(scratch[2], left - lo, z[image, 0, y], left, right - left)
                    emit(sums, left - lo, gradient[image, 0, y], left, right - left)


@helper
def _find(y, radius, count, slots):
    """Where a ring of `count` rows has the neighbors of row y."""
    for d in range(slots.size):
        slots[d] = (y - radius + d) % count


@helper
def _adjoint(y, n, lo, scale, g, radius, ring, turned, out, slots):
    """scale·g + Ωᵀ z, with the rows of z in a ring."""
    _find(y, radius, ring.shape[1], slots)
    average(turned[y % len(turned)], 0, ring, slots, out, n)
    add(scale, g, lo, out, n)


@helper
def _scaled(g, lo, scale, out, n):
    for j in range(out.shape[0]):
        row, own = out[j], g[j][lo:]
        for x in range(n):
            row[x] = scale * own[x]


@helper
def _series_row(
    q, y, lo, n, s, w, g, c, radius, series, differences, replicas, turned, scratch, dot, slots
):  # fmt: skip
    """Row y of a_q, and of y_{d−2−q} what the chain rule and the next adjoint need."""
    terms, (_, J, _), side = c.size - 1, scratch.shape, replicas.shape[2]
    kept = (terms - q) * radius + 1  # rows of a_q and of the difference that are used again
    power, adjoint = scratch[0], scratch[1]
    if q == 0:
        mean = s.dtype.type(1.0 / J)
        for j in range(J):
            row, own = power[j], s[j][lo:]
            for x in range(n):
                row[x] = own[x] - mean
        _scaled(g, lo, c[terms], adjoint, n)
    else:
        _find(y, radius, kept + 2 * radius, slots)
        average(w, lo, series[q - 1], slots, power, n)
        replicate(s, lo, power, dot, n)
        _adjoint(y, n, lo, c[terms - q], g, radius, replicas[q - 1], turned, adjoint, slots)
    load(power, 0, radius, n, series[q, 0, y % (kept + radius)])
    inner(s, lo, adjoint, dot, n)
    difference, replica = differences[q, y % kept], replicas[q, 0, y % side]
    for j in range(J):
        u, own, d, r = adjoint[j], s[j][lo:], difference[j], replica[j][radius:]
        for x in range(n):
            value = u[x] - dot[x]
            d[x] = value
            r[x] = own[x] * value


@helper
def _gradient_row(
    y, lo, n, s, w, g, c, radius, series, differences, replicas, evidence, turned, scratch, sums, dot, slots
):  # fmt: skip
    """Row y of ∂Ω in the sums and of z in the third scratch, once every series and adjoint is there."""
    terms, (_, J, _) = c.size - 1, scratch.shape
    image, factor, total = scratch[0], scratch[1], scratch[2]
    if terms:
        _adjoint(y, n, lo, c[0], g, radius, replicas[terms - 1], turned, total, slots)
        _find(y, radius, 2 * radius + 1, slots)  # A a_{d−2}, the one product whose neighbors nobody needs
        average(w, lo, series[terms - 1], slots, image, n)
        replicate(s, lo, image, dot, n)
    else:
        _scaled(g, lo, c[0], total, n)
    for j in range(J):
        row, own = total[j], s[j][lo:]
        for x in range(n):
            row[x] *= own[x]
    sums[:] = 0
    for q in range(terms):
        for j in range(J):
            d, t, f, own = differences[terms - 1 - q, y % ((q + 1) * radius + 1), j], total[j], factor[j], s[j][lo:]
            A = series[q + 1, 0, y % ((terms - q) * radius + 1), j][radius:] if q < terms - 1 else image[j][0:]
            for x in range(n):
                t[x] += d[x] * A[x]
                f[x] = own[x] * d[x]
        _find(y, radius, (terms - q + 1) * radius + 1, slots)
        correlate(factor, series[q], slots, sums, n)
    project(s, lo, total, dot, n)
    _find(y, radius, evidence.shape[1], slots)
    correlate(total, evidence, slots, sums, n)


def gpu(weights: Any, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any) -> tuple[Any, Any]:
    """The same with CUDA, one launch for each product and one for ∂Ω."""
    return _one_by_one("gpu", weights, similarity, log_likelihood, g, coefficients, {})


def _one_by_one(
    which: str, weights: Any, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any, options: dict[str, Any]
) -> tuple[Any, Any]:
    xp = array_namespace(similarity)
    product, transposed, gradient = (getattr(m, which) for m in (operator, adjoint, weight_gradient))
    a, y = [similarity - 1.0 / similarity.shape[-2]], [float(coefficients[-1]) * g]
    for c in coefficients[-2::-1]:
        a.append(product(weights, similarity, a[-1], **options))
        y.append(transposed(weights, similarity, y[-1], g, float(c), **options))
    shape, (*y, mean) = (0, *g.shape), y
    right, image, left = (xp.stack(x) if x else xp.zeros(shape, dtype=g.dtype) for x in (a[:-1], a[1:], y[::-1]))
    return gradient(weights, similarity, log_likelihood, mean, left, right, image, **options)
