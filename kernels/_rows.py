"""What the ``cpu`` kernels share: a ring of field rows that moves down the image, and the sums over a neighborhood.

A task works on stretches of up to COLUMNS pixels. The ring holds the 2r+1 rows of a field around the current row, each
padded by r pixels on both sides, 0 outside the image: no kernel has a special case at the border. The weights of a
stretch are packed once for all labels. Packed weights stand at constant distances in one buffer and rows are
contiguous, so that the compiler proves what does not overlap and fills vector lanes.
"""

from __future__ import annotations

import numpy as np

from ._numba import inline

#: Pixels of a stretch. Ring, weights and sums of ten labels stay in the second level of cache; shorter stretches
#: measured slower, as every plane of every field is one more stream that the prefetcher has to pick up again. No power
#: of two: rows at such distances would share a few sets of the first-level cache.
COLUMNS = 2096


@inline
def clear(row):
    for x in range(row.size):
        row[x] = 0


@inline
def copy(row, result):
    for x in range(row.size):
        result[x] = row[x]


@inline
def multiply_add(a, b, result):
    for x in range(result.size):
        result[x] += a[x] * b[x]


@inline
def add_scaled(a, scale, result):
    for x in range(result.size):
        result[x] += scale * a[x]


@inline
def pack(weights, radius, y, x0, n, packed):
    """packed[o] = ω_o of the pixels x0 … x0+n of row y."""
    for o in range(weights.shape[0]):
        copy(weights[o, y, x0 : x0 + n], packed[o * COLUMNS : o * COLUMNS + n])


@inline
def pack_transposed(weights, radius, y, x0, n, packed):
    """packed at −o = ω_o of the pixels that see row y, x0 … x0+n at their offset o; 0 where there is none."""
    count, height, width = weights.shape
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            o = (dy + radius) * (2 * radius + 1) + dx + radius
            start = (count - 1 - o) * COLUMNS
            clear(packed[start : start + n])
            lo, hi = max(x0, dx), min(x0 + n, width + dx)
            if 0 <= y - dy < height and lo < hi:
                copy(weights[o, y - dy, lo - dx : hi - dx], packed[start + lo - x0 : start + hi - x0])


@inline
def load(field, radius, y, x0, n, ring):
    """Put row y of a field (J, H, W) into its slot of the ring (2r+1, J, COLUMNS + 2r); 0 outside the image."""
    labels, height, width = field.shape
    slot = (y + radius) % (2 * radius + 1)
    lo, hi = max(0, x0 - radius), min(width, x0 + n + radius)
    at = lo - (x0 - radius)
    for j in range(labels):
        row = ring[slot, j, : n + 2 * radius]
        if 0 <= y < height:
            clear(row[:at])
            copy(field[j, y, lo:hi], row[at : at + hi - lo])
            clear(row[at + hi - lo :])
        else:
            clear(row)


@inline
def average(packed, ring, radius, y, x0, n, row, result):
    """result[j, row, x0 … x0+n] = Σ_o packed_o · (neighbor o), in the order of o at every pixel, for all labels j."""
    side, labels = 2 * radius + 1, ring.shape[1]
    if radius > 1:
        for j in range(labels):
            target = result[j, row, x0 : x0 + n]
            clear(target)
            for o in range(side * side):
                neighbor = ring[(y + o // side) % side, j, o % side : o % side + n]
                multiply_add(packed[o * COLUMNS : o * COLUMNS + n], neighbor, target)
        return
    for j in range(0, labels - 1, 2):  # two labels share the loads of the weights
        a, b, c = ring[y % 3, j], ring[(y + 1) % 3, j], ring[(y + 2) % 3, j]
        d, e, f = ring[y % 3, j + 1], ring[(y + 1) % 3, j + 1], ring[(y + 2) % 3, j + 1]
        _nine_twice(packed, a, b, c, d, e, f, result[j, row, x0 : x0 + n], result[j + 1, row, x0 : x0 + n])
    if labels % 2:
        j = labels - 1
        _nine(packed, ring[y % 3, j], ring[(y + 1) % 3, j], ring[(y + 2) % 3, j], result[j, row, x0 : x0 + n])


@inline
def _nine(packed, above, here, below, result):
    for x in range(result.size):
        total = packed[x] * above[x]
        total += packed[COLUMNS + x] * above[x + 1]
        total += packed[2 * COLUMNS + x] * above[x + 2]
        total += packed[3 * COLUMNS + x] * here[x]
        total += packed[4 * COLUMNS + x] * here[x + 1]
        total += packed[5 * COLUMNS + x] * here[x + 2]
        total += packed[6 * COLUMNS + x] * below[x]
        total += packed[7 * COLUMNS + x] * below[x + 1]
        total += packed[8 * COLUMNS + x] * below[x + 2]
        result[x] = total


@inline
def _nine_twice(packed, a, b, c, d, e, f, first, second):
    for x in range(first.size):
        w = packed[x]
        s, t = w * a[x], w * d[x]
        w = packed[COLUMNS + x]
        s, t = s + w * a[x + 1], t + w * d[x + 1]
        w = packed[2 * COLUMNS + x]
        s, t = s + w * a[x + 2], t + w * d[x + 2]
        w = packed[3 * COLUMNS + x]
        s, t = s + w * b[x], t + w * e[x]
        w = packed[4 * COLUMNS + x]
        s, t = s + w * b[x + 1], t + w * e[x + 1]
        w = packed[5 * COLUMNS + x]
        s, t = s + w * b[x + 2], t + w * e[x + 2]
        w = packed[6 * COLUMNS + x]
        s, t = s + w * c[x], t + w * f[x]
        w = packed[7 * COLUMNS + x]
        s, t = s + w * c[x + 1], t + w * f[x + 1]
        w = packed[8 * COLUMNS + x]
        first[x], second[x] = s + w * c[x + 2], t + w * f[x + 2]


@inline
def correlate(z, ring, radius, y, n, sums):
    """sums_o += Σ_j z_j · (neighbor o of label j); z (J, COLUMNS), sums packed like the weights."""
    side, labels = 2 * radius + 1, z.shape[0]
    if radius > 1:
        for j in range(labels):
            for o in range(side * side):
                row = ring[(y + o // side) % side, j, o % side : o % side + n]
                multiply_add(z[j, :n], row, sums[o * COLUMNS : o * COLUMNS + n])
        return
    for j in range(0, labels - 1, 2):  # two labels share the loads and stores of the sums
        for d in range(3):
            one, other = ring[(y + d) % 3, j], ring[(y + d) % 3, j + 1]
            _three_products_twice(z[j, :n], z[j + 1, :n], one, other, sums[3 * d * COLUMNS : 3 * (d + 1) * COLUMNS])
    if labels % 2:
        for d in range(3):
            _three_products(
                z[labels - 1, :n], ring[(y + d) % 3, labels - 1], sums[3 * d * COLUMNS : 3 * (d + 1) * COLUMNS]
            )


@inline
def _three_products(z, row, sums):
    for x in range(z.size):
        sums[x] += z[x] * row[x]
        sums[COLUMNS + x] += z[x] * row[x + 1]
        sums[2 * COLUMNS + x] += z[x] * row[x + 2]


@inline
def _three_products_twice(z, w, one, other, sums):
    for x in range(z.size):
        sums[x] = (sums[x] + z[x] * one[x]) + w[x] * other[x]
        sums[COLUMNS + x] = (sums[COLUMNS + x] + z[x] * one[x + 1]) + w[x] * other[x + 1]
        sums[2 * COLUMNS + x] = (sums[2 * COLUMNS + x] + z[x] * one[x + 2]) + w[x] * other[x + 2]


@inline
def dot_labels(similarity, rows, y, x0, n, result):
    """result = Σ_j S_j · rows_j on the pixels x0 … x0+n of row y; rows (J, 1, COLUMNS)."""
    clear(result[:n])
    for j in range(rows.shape[0]):
        multiply_add(similarity[j, y, x0 : x0 + n], rows[j, 0, :n], result[:n])


@inline
def replicated(similarity, row, dot, result):
    """result = S · (row − dot), the last step of R_S."""
    for x in range(result.size):
        result[x] = similarity[x] * (row[x] - dot[x])


@inline
def new_ring(labels, radius, dtype):
    return np.empty((2 * radius + 1, labels, COLUMNS + 2 * radius), dtype)


@inline
def new_packed(radius, dtype):
    return np.empty((2 * radius + 1) ** 2 * COLUMNS, dtype)
