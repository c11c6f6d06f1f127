"""Loops over rows of labels (J, n) that the ``cpu`` kernels share; the compiler fills vector lanes by itself.

Scratch rows have a line of `pitch` numbers per label, with pixel x of n at MARGIN + x and zeros on both sides:
neighbors outside the image are zeros, no loop asks where it is, and pixel 0 lies at a line of cache. Rows of a field
(J, W) are read from a first pixel on, by a slice taken before the loop: of an index first + x Numba would test whether
it is negative, and fill no lane. Sums have one order, that of the neighbors, whatever the row is part of: a pixel has
the same bits on every tile and thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._numba import helper
from .stencil import check_shapes, neighborhood

#: Bytes that the scratch rows of one strip of columns may take: a share of the last cache. Strips for the second level
#: are slower, as each repeats the columns that its neighbors reach.
STRIP = 2**22


#: Numbers of a scratch row before its first pixel and behind its last one: a line of cache, and no less than r.
MARGIN = 16


def pitch(width: int, itemsize: int) -> int:
    """Numbers of a line that holds `width` pixels and both margins: whole vectors, and no power of two.

    Lines whose distance is a multiple of 4096 bytes would share the sets of a cache.
    """
    numbers = -(-width // 16) * 16 + 2 * MARGIN
    return numbers + 16 if numbers * itemsize % 1024 == 0 else numbers


def strip(width: int, numbers: int, halo: int, itemsize: int) -> int:
    """Columns that are worked on together where a column takes so many numbers; with less to gain, all of them."""
    most = max(4 * halo, STRIP // (numbers * itemsize), 64)
    return width if width <= most + most // 2 else -(-width // -(-width // most))


def canonical(weights: np.ndarray, *fields: Any, stacks: tuple[Any, ...] = ()) -> list[Any]:
    """C-contiguous (batch, D, H, N, W) weights and (batch, D, H, J, W) fields of one shape; None stays None.

    Stacks (R, …) of such fields are checked with them.
    """
    if fields:
        check_shapes(weights, *fields, stacks=stacks)
    radius, axes = neighborhood(weights)
    if radius > MARGIN:
        raise ValueError(f"weights of shape {weights.shape} have radius {radius}; accepted here is up to {MARGIN}.")

    def five(x: Any) -> Any:
        if x is None:
            return None
        grid = x.shape[-4:] if axes > 2 else (1, *x.shape[-3:])
        return np.ascontiguousarray(x).reshape(-1, *grid)

    return [five(weights), *map(five, fields)]


@helper
def clear(row, n):
    """The first n numbers of a line to 0."""
    for x in range(n):
        row[x] = 0


@helper
def lines(count, pitch, like):
    """Zeros for `count` lines of scratch rows, (count · pitch,) as `like`, from the beginning of a line of cache on."""
    memory = np.zeros(count * pitch + 16, like.dtype)
    first = -memory.ctypes.data % 64 // like.itemsize
    return memory[first : first + count * pitch]


@helper
def load(field, first, row, n):
    """n pixels of a row (J, W) from `first` on to a scratch row."""
    for j in range(field.shape[0]):
        a, b = field[j][first:], row[j][MARGIN:]
        for x in range(n):
            b[x] = a[x]


@helper
def emit(row, skipped, out, first, n):
    """n pixels of a scratch row, without the first `skipped`, to a row (J, W) from pixel `first` on."""
    for j in range(row.shape[0]):
        a, b = row[j][MARGIN + skipped :], out[j][first:]
        for x in range(n):
            b[x] = a[x]


@helper
def find(y, radius, count, slots):
    """Where a ring of `count` rows has the neighbors of row y."""
    for d in range(slots.size):
        slots[d] = (y - radius + d) % count


@helper
def average(weights, first, ring, slots, out, n):
    """Ω x of n pixels to a scratch row: weights (N, W) from `first` on, ring (planes, rows, J, pitch)."""
    planes, side, J = ring.shape[0], slots.size, ring.shape[2]
    before = MARGIN - side // 2  # where the first neighbor of pixel 0 is
    if planes == 1 and side == 3:
        u0, u1, u2 = weights[0][first:], weights[1][first:], weights[2][first:]
        u3, u4, u5 = weights[3][first:], weights[4][first:], weights[5][first:]
        u6, u7, u8 = weights[6][first:], weights[7][first:], weights[8][first:]
        above, here, below = ring[0, slots[0]], ring[0, slots[1]], ring[0, slots[2]]
        for j in range(0, J - 1, 2):  # labels in pairs share the weights that are loaded
            a, m, b, y = above[j][before:], here[j][before:], below[j][before:], out[j][MARGIN:]
            c, k, d, z = above[j + 1][before:], here[j + 1][before:], below[j + 1][before:], out[j + 1][MARGIN:]
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
        for j in range(J - J % 2, J):
            a, m, b, y = above[j][before:], here[j][before:], below[j][before:], out[j][MARGIN:]
            for x in range(n):
                y[x] = (
                    (u0[x] * a[x] + u1[x] * a[x + 1] + u2[x] * a[x + 2])
                    + (u3[x] * m[x] + u4[x] * m[x + 1] + u5[x] * m[x + 2])
                    + (u6[x] * b[x] + u7[x] * b[x + 1] + u8[x] * b[x + 2])
                )
        return
    for j in range(J):
        total = out[j][MARGIN:]
        clear(total, n)
        for k in range(planes * side):
            row, o = ring[k // side, slots[k % side], j][before:], k * side
            a, b, c = weights[o][first:], weights[o + 1][first:], weights[o + 2][first:]
            for x in range(n):
                total[x] += a[x] * row[x] + b[x] * row[x + 1] + c[x] * row[x + 2]
            for d in range(3, side, 2):
                a, b, moved = weights[o + d][first:], weights[o + d + 1][first:], row[d:]
                for x in range(n):
                    total[x] += a[x] * moved[x] + b[x] * moved[x + 1]


@helper
def transpose(weights, z, y, first, radius, n, out):
    """The weights that look at n pixels of row (z, y) from `first` on, in the order of their averages: out (N, pitch).

    weights (D, H, N, W). The pixel's neighbor at offset −d has the pixel as its own neighbor at offset d.
    """
    D, H, N, W = weights.shape
    side = 2 * radius + 1
    planes = N // (side * side)
    for o in range(N):
        row = out[N - 1 - o]
        at, up = z - (o // (side * side) - planes // 2), y - (o // side % side - radius)
        dx = o % side - radius
        if not (0 <= at < D and 0 <= up < H):
            clear(row, n)
            continue
        lo, hi = min(n, max(0, dx - first)), max(0, min(n, W + dx - first))
        clear(row, lo)
        clear(row[hi:], n - hi)
        source, target = weights[at, up, o][first + lo - dx :], row[lo:]
        for x in range(hi - lo):
            target[x] = source[x]


@helper
def inner(similarity, first, u, start, dot, n):
    """⟨S, u⟩ of n pixels: similarity (J, W) from `first` on, u from `start` on."""
    J = u.shape[0]
    clear(dot, n)
    for j in range(0, J - 1, 2):
        s, row, t, other = similarity[j][first:], u[j][start:], similarity[j + 1][first:], u[j + 1][start:]
        for x in range(n):
            dot[x] += s[x] * row[x] + t[x] * other[x]
    for j in range(J - J % 2, J):
        s, row = similarity[j][first:], u[j][start:]
        for x in range(n):
            dot[x] += s[x] * row[x]


@helper
def load_replicated(similarity, field, first, row, dot, n):
    """R_S u of n pixels of u (J, W) from `first` on to a scratch row."""
    inner(similarity, first, field, first, dot, n)
    for j in range(field.shape[0]):
        s, u, out = similarity[j][first:], field[j][first:], row[j][MARGIN:]
        for x in range(n):
            out[x] = s[x] * (u[x] - dot[x])


@helper
def replicate(similarity, first, u, dot, n):
    """R_S u in place of u, a scratch row."""
    inner(similarity, first, u, MARGIN, dot, n)
    for j in range(u.shape[0]):
        s, row = similarity[j][first:], u[j][MARGIN:]
        for x in range(n):
            row[x] = s[x] * (row[x] - dot[x])


@helper
def project(similarity, first, w, dot, n):
    """w − S Σ_j w_j in place of w, a scratch row."""
    clear(dot, n)
    for j in range(w.shape[0]):
        row = w[j][MARGIN:]
        for x in range(n):
            dot[x] += row[x]
    for j in range(w.shape[0]):
        s, row = similarity[j][first:], w[j][MARGIN:]
        for x in range(n):
            row[x] -= s[x] * dot[x]


@helper
def add(scale, field, first, out, n):
    """scale·field, of a row (J, W) from `first` on, added to a scratch row."""
    for j in range(out.shape[0]):
        row, own = out[j][MARGIN:], field[j][first:]
        for x in range(n):
            row[x] += scale * own[x]


@helper
def correlate(factor, ring, slots, sums, n):
    """⟨factor_i, x_k⟩ over labels, added for every neighbor k to scratch `sums` (N, pitch); ring as in `average`."""
    side, J = slots.size, factor.shape[0]
    before = MARGIN - side // 2
    for k in range(ring.shape[0] * side):
        row, o = ring[k // side, slots[k % side]], k * side
        a, b, c = sums[o][MARGIN:], sums[o + 1][MARGIN:], sums[o + 2][MARGIN:]
        for j in range(0, J - 1, 2):
            f, g, p, q = factor[j][MARGIN:], factor[j + 1][MARGIN:], row[j][before:], row[j + 1][before:]
            for x in range(n):
                a[x] += f[x] * p[x] + g[x] * q[x]
                b[x] += f[x] * p[x + 1] + g[x] * q[x + 1]
                c[x] += f[x] * p[x + 2] + g[x] * q[x + 2]
        for j in range(J - J % 2, J):
            f, p = factor[j][MARGIN:], row[j][before:]
            for x in range(n):
                a[x] += f[x] * p[x]
                b[x] += f[x] * p[x + 1]
                c[x] += f[x] * p[x + 2]
        for d in range(3, side):
            total = sums[o + d][MARGIN:]
            for j in range(J):
                f, moved = factor[j][MARGIN:], row[j][before + d :]
                for x in range(n):
                    total[x] += f[x] * moved[x]
