"""What a wave of many products keeps of each: rings of whole rows, as long as the wave needs them.

A ring (slots, J, W + 2r) holds rows of a field in turns, row y in slot y mod slots, padded by r pixels on both sides
that are 0. The weights of a stretch of a row are packed once for all labels, at constant distances in one buffer, so
that the compiler proves what does not overlap and fills vector lanes.
"""

from __future__ import annotations

import numpy as np

from ._numba import inline
from ._rows import clear, copy, multiply_add

#: Pixels of a stretch, and the distance of packed weights; no power of two, which would share few sets of a cache.
STRETCH = 2096


@inline
def new_packed(radius, dtype):
    return np.empty((2 * radius + 1) ** 2 * STRETCH, dtype)


@inline
def pack_row(weights, y, x0, n, packed):
    """packed[o] = ω_o of the pixels x0 … x0+n of row y."""
    for o in range(weights.shape[0]):
        copy(weights[o, y, x0 : x0 + n], packed[o * STRETCH : o * STRETCH + n])


@inline
def pack_row_transposed(weights, radius, y, x0, n, packed):
    """packed at −o = ω_o of the pixels that see row y, x0 … x0+n at their offset o; 0 where there is none."""
    count, height, width = weights.shape
    side = 2 * radius + 1
    for o in range(count):
        dy, dx = o // side - radius, o % side - radius
        start = (count - 1 - o) * STRETCH
        clear(packed[start : start + n])
        lo, hi = max(x0, dx), min(x0 + n, width + dx)
        if 0 <= y - dy < height and lo < hi:
            copy(weights[o, y - dy, lo - dx : hi - dx], packed[start + lo - x0 : start + hi - x0])


@inline
def load_row(field, radius, y, ring):
    """Put row y of a field (J, H, W) into its slot; 0 outside the image."""
    labels, height, width = field.shape
    for j in range(labels):
        row = ring[y % ring.shape[0], j]
        clear(row)
        if 0 <= y < height:
            copy(field[j, y], row[radius : radius + width])


@inline
def average_ring(packed, ring, radius, y, x0, n, result):
    """result[j] = Σ_o packed_o · (neighbor o) for the pixels x0 … x0+n of row y, in the order of o."""
    side, (slots, labels, _) = 2 * radius + 1, ring.shape
    if radius > 1:
        for j in range(labels):
            target = result[j, :n]
            clear(target)
            for o in range(side * side):
                start = x0 + o % side
                neighbor = ring[(y - radius + o // side) % slots, j, start : start + n]
                multiply_add(packed[o * STRETCH : o * STRETCH + n], neighbor, target)
        return
    above, here, below = ring[(y - 1) % slots], ring[y % slots], ring[(y + 1) % slots]
    for j in range(0, labels - 1, 2):  # two labels share the loads of the weights
        a, b, c = above[j, x0:], here[j, x0:], below[j, x0:]
        d, e, f = above[j + 1, x0:], here[j + 1, x0:], below[j + 1, x0:]
        _nine_twice(packed, a, b, c, d, e, f, result[j, :n], result[j + 1, :n])
    if labels % 2:
        j = labels - 1
        _nine(packed, above[j, x0:], here[j, x0:], below[j, x0:], result[j, :n])


@inline
def _nine(packed, a, b, c, result):
    for x in range(result.size):
        s = packed[x] * a[x]
        s += packed[STRETCH + x] * a[x + 1]
        s += packed[2 * STRETCH + x] * a[x + 2]
        s += packed[3 * STRETCH + x] * b[x]
        s += packed[4 * STRETCH + x] * b[x + 1]
        s += packed[5 * STRETCH + x] * b[x + 2]
        s += packed[6 * STRETCH + x] * c[x]
        s += packed[7 * STRETCH + x] * c[x + 1]
        result[x] = s + packed[8 * STRETCH + x] * c[x + 2]


@inline
def _nine_twice(packed, a, b, c, d, e, f, first, second):
    for x in range(first.size):
        w = packed[x]
        s, t = w * a[x], w * d[x]
        w = packed[STRETCH + x]
        s, t = s + w * a[x + 1], t + w * d[x + 1]
        w = packed[2 * STRETCH + x]
        s, t = s + w * a[x + 2], t + w * d[x + 2]
        w = packed[3 * STRETCH + x]
        s, t = s + w * b[x], t + w * e[x]
        w = packed[4 * STRETCH + x]
        s, t = s + w * b[x + 1], t + w * e[x + 1]
        w = packed[5 * STRETCH + x]
        s, t = s + w * b[x + 2], t + w * e[x + 2]
        w = packed[6 * STRETCH + x]
        s, t = s + w * c[x], t + w * f[x]
        w = packed[7 * STRETCH + x]
        s, t = s + w * c[x + 1], t + w * f[x + 1]
        w = packed[8 * STRETCH + x]
        first[x], second[x] = s + w * c[x + 2], t + w * f[x + 2]


@inline
def correlate_ring(z, ring, radius, y, x0, n, sums):
    """sums_o += Σ_j z_j · (neighbor o of label j) for the pixels x0 … x0+n of row y; sums packed like the weights."""
    side, (slots, labels, _) = 2 * radius + 1, ring.shape
    for row in range(side):
        near, part = ring[(y - radius + row) % slots], sums[row * side * STRETCH :]
        for j in range(0, labels - 1 if radius == 1 else 0, 2):  # two labels share the loads and stores of the sums
            _three_twice(z[j, :n], z[j + 1, :n], near[j, x0:], near[j + 1, x0:], part)
        for j in range(0 if radius > 1 else labels - labels % 2, labels):
            for d in range(side):
                multiply_add(z[j, :n], near[j, x0 + d : x0 + d + n], part[d * STRETCH : d * STRETCH + n])


@inline
def _three_twice(z, w, a, b, sums):
    for x in range(z.size):
        sums[x] = (sums[x] + z[x] * a[x]) + w[x] * b[x]
        sums[STRETCH + x] = (sums[STRETCH + x] + z[x] * a[x + 1]) + w[x] * b[x + 1]
        sums[2 * STRETCH + x] = (sums[2 * STRETCH + x] + z[x] * a[x + 2]) + w[x] * b[x + 2]


@inline
def dot_row(similarity, rows, y, x0, n, result):
    """result = Σ_j S_j · rows_j on the pixels x0 … x0+n of row y."""
    clear(result[:n])
    for j in range(rows.shape[0]):
        multiply_add(similarity[j, y, x0 : x0 + n], rows[j, :n], result[:n])
