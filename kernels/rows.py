"""Loops over rows of labels (J, n) that the ``cpu`` kernels share; the compiler fills vector lanes by itself.

A row of a ring stands in a line of `pitch` numbers per label, its pixel x at x + r with zeros on both sides: neighbors
outside the image are zeros, and no loop asks where it is. What a loop writes is scratch that nothing else reads
meanwhile; indices run x, x + 1, x + 2, since x − 1 might be negative and Numba would test for it. Sums have one order,
that of the neighbors, whatever the row is part of: a pixel has the same bits on every tile and thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._numba import helper
from .stencil import neighborhood

#: Bytes that the rows of one strip of columns may take: most of a second-level cache.
STRIP = 3 * 2**18


def pitch(width: int, radius: int, itemsize: int) -> int:
    """Numbers of a line that holds `width` pixels and `radius` more on both sides: whole vectors, and no power of two.

    Lines whose distance is a multiple of 4096 bytes would share the sets of a cache.
    """
    numbers = -(-(width + 2 * radius) // 16) * 16
    return numbers + 16 if numbers * itemsize % 1024 == 0 else numbers


def strip(width: int, numbers: int, halo: int, itemsize: int) -> int:
    """Columns that are worked on together where a column takes so many numbers; with less to gain, all of them."""
    most = max(4 * halo, STRIP // (numbers * itemsize), 64)
    return width if width <= most + most // 2 else -(-width // -(-width // most))


def canonical(weights: np.ndarray, *fields: Any) -> list[Any]:
    """C-contiguous (batch, D, H, N, W) weights and (batch, D, H, J, W) fields; None stays None."""
    axes = 1 + neighborhood(weights.shape[-2])[1]

    def five(x: Any) -> Any:
        if x is None:
            return None
        grid = x.shape[-4:] if axes > 3 else (1, *x.shape[-3:])
        return np.ascontiguousarray(x).reshape(-1, *grid)

    return [five(weights), *map(five, fields)]


@helper
def clear(row, n):
    for x in range(n):
        row[x] = 0


@helper
def load(field, first, radius, n, row):
    """n pixels of a row (J, W) from `first` on to a row of a ring; its margins keep their zeros."""
    for j in range(field.shape[0]):
        source, target = field[j][first:], row[j][radius:]
        for x in range(n):
            target[x] = source[x]


@helper
def average(weights, first, rows, slots, out, n):
    """Ω x of n pixels: weights (N, W) from `first` on, rows (planes, slots, J, pitch), out (J, n)."""
    planes, side, J = rows.shape[0], slots.size, rows.shape[2]
    if planes == 1 and side == 3:
        above, here, below = rows[0, slots[0]], rows[0, slots[1]], rows[0, slots[2]]
        for j in range(0, J - 1, 2):  # labels in pairs share the weights that are loaded
            average_pair(weights, first, above, here, below, j, out, n)
        if J % 2:
            average_one(weights, first, above, here, below, J - 1, out, n)
        return
    for j in range(J):
        total = out[j]
        clear(total, n)
        for k in range(planes * side):
            row, o = rows[k // side, slots[k % side], j], k * side
            if side == 3:
                a, b, c = weights[o][first:], weights[o + 1][first:], weights[o + 2][first:]
                for x in range(n):
                    total[x] += a[x] * row[x] + b[x] * row[x + 1] + c[x] * row[x + 2]
            elif side == 5:
                a, b, c = weights[o][first:], weights[o + 1][first:], weights[o + 2][first:]
                d, e = weights[o + 3][first:], weights[o + 4][first:]
                for x in range(n):
                    total[x] += (
                        (a[x] * row[x] + b[x] * row[x + 1])
                        + (c[x] * row[x + 2] + d[x] * row[x + 3])
                        + e[x] * row[x + 4]
                    )
            else:
                for d in range(side):
                    w, moved = weights[o + d][first:], row[d:]
                    for x in range(n):
                        total[x] += w[x] * moved[x]


@helper
def average_pair(w, first, above, here, below, j, out, n):
    """Labels j and j + 1 of a 3×3 average."""
    a, m, b, y = above[j], here[j], below[j], out[j]
    c, k, d, z = above[j + 1], here[j + 1], below[j + 1], out[j + 1]
    u0, u1, u2, u3, u4 = w[0][first:], w[1][first:], w[2][first:], w[3][first:], w[4][first:]
    u5, u6, u7, u8 = w[5][first:], w[6][first:], w[7][first:], w[8][first:]
    for x in range(n):
        w0, w1, w2, w3, w4, w5, w6, w7, w8 = u0[x], u1[x], u2[x], u3[x], u4[x], u5[x], u6[x], u7[x], u8[x]
        y[x] = (
            (w0 * a[x] + w1 * a[x + 1] + w2 * a[x + 2])
            + (w3 * m[x] + w4 * m[x + 1] + w5 * m[x + 2])
            + (w6 * b[x] + w7 * b[x + 1] + w8 * b[x + 2])
        )
        z[x] = (
            (w0 * c[x] + w1 * c[x + 1] + w2 * c[x + 2])
            + (w3 * k[x] + w4 * k[x + 1] + w5 * k[x + 2])
            + (w6 * d[x] + w7 * d[x + 1] + w8 * d[x + 2])
        )


@helper
def average_one(w, first, above, here, below, j, out, n):
    """Label j of a 3×3 average."""
    a, m, b, y = above[j], here[j], below[j], out[j]
    u0, u1, u2, u3, u4 = w[0][first:], w[1][first:], w[2][first:], w[3][first:], w[4][first:]
    u5, u6, u7, u8 = w[5][first:], w[6][first:], w[7][first:], w[8][first:]
    for x in range(n):
        y[x] = (
            (u0[x] * a[x] + u1[x] * a[x + 1] + u2[x] * a[x + 2])
            + (u3[x] * m[x] + u4[x] * m[x + 1] + u5[x] * m[x + 2])
            + (u6[x] * b[x] + u7[x] * b[x + 1] + u8[x] * b[x + 2])
        )


@helper
def transpose(weights, z, y, first, radius, n, out):
    """The weights that look at n pixels of row (z, y) from `first` on, in the order of their averages: out (N, n).

    weights (D, H, N, W). The pixel's neighbor at offset −d has the pixel as its own neighbor at offset d.
    """
    D, H, N, W = weights.shape
    side = 2 * radius + 1
    planes = N // (side * side)
    for o in range(N):
        row = out[N - 1 - o]
        clear(row, n)
        at, up = z - (o // (side * side) - planes // 2), y - (o // side % side - radius)
        dx = o % side - radius
        if 0 <= at < D and 0 <= up < H:
            lo, hi = max(0, dx - first), min(n, W + dx - first)
            source, target = weights[at, up, o][first + lo - dx :], row[lo:]
            for x in range(hi - lo):
                target[x] = source[x]


@helper
def inner(similarity, first, u, dot, n):
    """⟨S, u⟩ of n pixels: similarity (J, W) from `first` on, u (J, n)."""
    clear(dot, n)
    for j in range(u.shape[0]):
        s, row = similarity[j][first:], u[j]
        for x in range(n):
            dot[x] += s[x] * row[x]


@helper
def replicate(similarity, first, u, dot, n):
    """R_S u in place of u (J, n)."""
    inner(similarity, first, u, dot, n)
    for j in range(u.shape[0]):
        s, row = similarity[j][first:], u[j]
        for x in range(n):
            row[x] = s[x] * (row[x] - dot[x])


@helper
def correlate(factor, rows, slots, sums, n):
    """sums (N, n) += ⟨factor_i, x_k⟩ over labels for every neighbor k: factor (J, n), rows (planes, slots, J, pitch)."""
    side, J = slots.size, factor.shape[0]
    for k in range(rows.shape[0] * side):
        row = rows[k // side, slots[k % side]]
        if side == 3:
            a, b, c = sums[3 * k], sums[3 * k + 1], sums[3 * k + 2]
            for j in range(0, J - 1, 2):
                f, g, p, q = factor[j], factor[j + 1], row[j], row[j + 1]
                for x in range(n):
                    a[x] += f[x] * p[x] + g[x] * q[x]
                    b[x] += f[x] * p[x + 1] + g[x] * q[x + 1]
                    c[x] += f[x] * p[x + 2] + g[x] * q[x + 2]
            if J % 2:
                f, p = factor[J - 1], row[J - 1]
                for x in range(n):
                    a[x] += f[x] * p[x]
                    b[x] += f[x] * p[x + 1]
                    c[x] += f[x] * p[x + 2]
        else:
            for j in range(J):
                f, p = factor[j], row[j]
                for d in range(side):
                    total, moved = sums[k * side + d], p[d:]
                    for x in range(n):
                        total[x] += f[x] * moved[x]


@helper
def add(scale, field, first, out, n):
    """out (J, n) += scale·field of a row (J, W) from pixel `first` on."""
    for j in range(out.shape[0]):
        row, own = out[j], field[j][first:]
        for x in range(n):
            row[x] += scale * own[x]


@helper
def emit(rows, skipped, result, first, n):
    """n pixels of rows (K, …), without the first `skipped`, to a result (K, W) from pixel `first` on."""
    for k in range(rows.shape[0]):
        row, target = rows[k][skipped:], result[k][first:]
        for x in range(n):
            target[x] = row[x]
