"""What the ``cpu`` kernels share: a ring of field rows that moves down the image, and the sums over a neighborhood.

An image is a volume of one plane. A task works on stretches of up to PITCH − 2r pixels. At the row y of plane z the
ring holds the 2r+1 rows around y of every plane that the neighborhood reaches, each padded by r pixels on both sides,
0 outside: no kernel has a special case at the border. The weights of a stretch are packed once for all labels.

Rows of the scratch buffers stand at the constant distance PITCH, so that the compiler proves what does not overlap and
fills vector lanes. Labels are taken four or two at a time, which share the loads of the weights; where their number is
odd, one of zeros makes it even.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._numba import inline

#: Numbers from one row of the scratch buffers to the next. Ring, weights and sums of ten labels stay in the second
#: level of cache; shorter stretches measured slower, as every plane of every field is one more stream that the
#: prefetcher has to pick up again. No power of two: rows at such distances would share a few sets of the first level.
PITCH = 2098
P1, P2, P3 = PITCH, 2 * PITCH, 3 * PITCH


def as_volumes(weights: Any, *fields: Any) -> tuple[Any, ...]:
    """Weights (N, D, H, W) and fields (…, D, H, W): images as volumes of one plane; None stays None."""
    if weights.ndim == 4:
        return (weights, *fields)
    return tuple(None if a is None else np.expand_dims(a, -3) for a in (weights, *fields))


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
def pack(weights, z, y, x0, n, packed):
    """packed[o] = ω_o of the pixels x0 … x0+n of row y in plane z."""
    for o in range(weights.shape[0]):
        copy(weights[o, z, y, x0 : x0 + n], packed[o * PITCH : o * PITCH + n])


@inline
def pack_transposed(weights, radius, z, y, x0, n, packed):
    """packed at −o = ω_o of the pixels that see row y of plane z, x0 … x0+n, at their offset o; 0 where none does."""
    count, depth, height, width = weights.shape
    side = 2 * radius + 1
    reach = count // side**2 // 2
    for o in range(count):
        dz, dy, dx = o // side**2 - reach, o // side % side - radius, o % side - radius
        row = packed[(count - 1 - o) * PITCH : (count - 1 - o) * PITCH + n]
        lo, hi = max(x0, dx), min(x0 + n, width + dx)
        if 0 <= z - dz < depth and 0 <= y - dy < height and lo < hi:
            clear(row[: lo - x0])
            copy(weights[o, z - dz, y - dy, lo - dx : hi - dx], row[lo - x0 : hi - x0])
            clear(row[hi - x0 :])
        else:
            clear(row)


@inline
def load(field, radius, z, y, x0, n, ring):
    """Put row y of the planes around z of a field (J, D, H, W) into its slots of the ring; 0 outside the image."""
    labels, depth, height, width = field.shape
    planes, side = ring.shape[:2]
    lo, hi = max(0, x0 - radius), min(width, x0 + n + radius)
    at = lo - (x0 - radius)
    for p in range(planes):
        plane = z + p - planes // 2
        for j in range(labels):
            row = ring[p, (y + radius) % side, j * PITCH : j * PITCH + n + 2 * radius]
            if 0 <= plane < depth and 0 <= y < height:
                clear(row[:at])
                copy(field[j, plane, y, lo:hi], row[at : at + hi - lo])
                clear(row[at + hi - lo :])
            else:
                clear(row)


@inline
def average(packed, ring, y, n, result, at):
    """result_j from `at` = (z, y, x) on = Σ_o packed_o · (neighbor o) for n pixels of row y, in the order of o."""
    planes, side = ring.shape[:2]
    for j in range(0, len(result), 4):
        a, b = _target(result, j, at, n, packed), _target(result, j + 1, at, n, packed)
        c, d = _target(result, j + 2, at, n, packed), _target(result, j + 3, at, n, packed)
        four = j + 2 < len(result)
        if side != 3 and side != 5:
            for row in (a, b, c, d):
                clear(row)
        for p in range(planes):
            weights, first = packed[p * side**2 * PITCH :], j * PITCH
            if side == 3:
                up, here, low = ring[p, y % 3, first:], ring[p, (y + 1) % 3, first:], ring[p, (y + 2) % 3, first:]
                _add_nine(weights, up, here, low, p, four, a, b, c, d)
            elif side == 5 and p == 0:
                top, up, here = ring[0, y % 5, first:], ring[0, (y + 1) % 5, first:], ring[0, (y + 2) % 5, first:]
                low, bottom = ring[0, (y + 3) % 5, first:], ring[0, (y + 4) % 5, first:]
                if four:
                    _four_labels_25(weights, top, up, here, low, bottom, a, b, c, d)
                else:
                    _two_labels_25(weights, top, up, here, low, bottom, a, b)
            else:
                for k in range(side):
                    _add_row(weights[k * side * PITCH :], ring[p, (y + k) % side, first:], side, four, a, b, c, d)


@inline
def _add_nine(weights, up, here, low, p, four, a, b, c, d):
    """The nine products in plane p of the neighborhood; those of the first plane begin the sum."""
    if four and p == 0:
        _four_labels_9(weights, up, here, low, a, b, c, d)
    elif four:
        _four_labels_9_more(weights, up, here, low, a, b, c, d)
    elif p == 0:
        _two_labels_9(weights, up, here, low, a, b)
    else:
        _two_labels_9_more(weights, up, here, low, a, b)


@inline
def _target(result, j, at, n, packed):
    """The n numbers of label j; of a label that is none, the row that `packed` has to spare."""
    z, y, x = at
    return result[j, z, y, x : x + n] if j < len(result) else packed[packed.size - PITCH : packed.size - PITCH + n]


@inline
def correlate(z, labels, ring, y, n, sums):
    """sums_o += Σ_j z_j · (neighbor o of label j) for n pixels of row y; sums packed like the weights."""
    planes, side = ring.shape[:2]
    for j in range(0, labels, 4):
        count = 4 if j + 2 < labels else 2
        for k in range(planes * side):
            row = ring[k // side, (y + k) % side, j * PITCH :]
            _add_correlation(z[j * PITCH :], row, side, count, n, sums[k * side * PITCH :])


@inline
def _add_row(weights, row, side, four, a, b, c, d):
    """a += Σ_o weights_o · row[o:] for the `side` neighbors o in one row, and so b, c and d of the next labels."""
    if side == 5:
        _four_labels_5(weights, row, a, b, c, d) if four else _two_labels_5(weights, row, a, b)
    elif side == 7:
        _four_labels_7(weights, row, a, b, c, d) if four else _two_labels_7(weights, row, a, b)
    else:
        for o in range(side):
            w = weights[o * PITCH :]
            multiply_add(w, row[o:], a)
            multiply_add(w, row[P1 + o :], b)
            if four:
                multiply_add(w, row[P2 + o :], c)
                multiply_add(w, row[P3 + o :], d)


@inline
def _add_correlation(z, row, side, count, n, sums):
    """sums_d += Σ_j z_j · row_j[d:] for `count` labels j and the `side` neighbors d in one row."""
    if side == 3:
        _four_factors_3(z, row, n, sums) if count == 4 else _two_factors_3(z, row, n, sums)
    elif side == 5:
        _four_factors_5(z, row, n, sums) if count == 4 else _two_factors_5(z, row, n, sums)
    elif side == 7:
        _four_factors_7(z, row, n, sums) if count == 4 else _two_factors_7(z, row, n, sums)
    else:
        for j in range(0, count * PITCH, PITCH):
            for d in range(side):
                multiply_add(z[j : j + n], row[j + d : j + d + n], sums[d * PITCH : d * PITCH + n])


def _in_registers(side, labels, more=False):
    """Of 2 or 4 labels: a[x], b[x], … = Σ_o weights_o[x] · neighbor o, all side² products of a pixel at once.

    With `more` the products are added to what a, b, … hold.

    Written out by a program, as the compiler fills no vector lanes around two loops: for side 3 and 2 labels

        def add(weights, row0, row1, row2, a, b):
            for x in range(a.size):
                w = weights[x + 0]
                s0 = w * row0[x + 0]
                s1 = w * row0[x + 2098]
                w = weights[x + 2098]
                s0 = s0 + w * row0[x + 1]
                …
                a[x], b[x] = s0, s1
    """
    results, sums = "abcd"[:labels], [f"s{j}" for j in range(labels)]
    rows = ", ".join(f"row{d}" for d in range(side))
    lines = [f"def add(weights, {rows}, {', '.join(results)}):", " for x in range(a.size):"]
    if more:
        lines += [f"  {s} = {r}[x]" for s, r in zip(sums, results, strict=True)]
    for o in range(side**2):
        lines.append(f"  w = weights[x + {o * PITCH}]")
        for j, s in enumerate(sums):
            lines.append(f"  {s} = {f'{s} + ' if o or more else ''}w * row{o // side}[x + {j * PITCH + o % side}]")
    lines.append(f"  {', '.join(f'{r}[x]' for r in results)} = {', '.join(sums)}")
    made: dict[str, Any] = {}
    exec("\n".join(lines), made)
    return inline(made["add"])


def _four_labels(side):
    @inline
    def add(weights, row, a, b, c, d):
        for x in range(a.size):
            s, t, u, v = a[x], b[x], c[x], d[x]
            for o in range(side):  # a constant: the compiler unrolls it
                w = weights[o * PITCH + x]
                s, t = s + w * row[x + o], t + w * row[P1 + x + o]
                u, v = u + w * row[P2 + x + o], v + w * row[P3 + x + o]
            a[x], b[x], c[x], d[x] = s, t, u, v

    return add


def _two_labels(side):
    @inline
    def add(weights, row, a, b):
        for x in range(a.size):
            s, t = a[x], b[x]
            for o in range(side):
                w = weights[o * PITCH + x]
                s, t = s + w * row[x + o], t + w * row[P1 + x + o]
            a[x], b[x] = s, t

    return add


def _four_factors(side):
    @inline
    def add(z, row, n, sums):
        for x in range(n):
            a, b, c, d = z[x], z[PITCH + x], z[2 * PITCH + x], z[3 * PITCH + x]
            for o in range(side):
                total = (sums[o * PITCH + x] + a * row[x + o]) + b * row[PITCH + x + o]
                sums[o * PITCH + x] = (total + c * row[2 * PITCH + x + o]) + d * row[3 * PITCH + x + o]

    return add


def _two_factors(side):
    @inline
    def add(z, row, n, sums):
        for x in range(n):
            a, b = z[x], z[PITCH + x]
            for o in range(side):
                sums[o * PITCH + x] = (sums[o * PITCH + x] + a * row[x + o]) + b * row[PITCH + x + o]

    return add


_four_labels_9, _four_labels_25 = _in_registers(3, 4), _in_registers(5, 4)
_two_labels_9, _two_labels_25 = _in_registers(3, 2), _in_registers(5, 2)
_four_labels_9_more, _two_labels_9_more = _in_registers(3, 4, True), _in_registers(3, 2, True)
_four_labels_5, _four_labels_7 = _four_labels(5), _four_labels(7)
_two_labels_5, _two_labels_7 = _two_labels(5), _two_labels(7)
_four_factors_3, _four_factors_5, _four_factors_7 = _four_factors(3), _four_factors(5), _four_factors(7)
_two_factors_3, _two_factors_5, _two_factors_7 = _two_factors(3), _two_factors(5), _two_factors(7)


@inline
def dot_labels(similarity, rows, z, y, x0, n, result):
    """result = Σ_j S_j · rows_j on the pixels x0 … x0+n of row y in plane z; rows (J, 1, 1, PITCH)."""
    clear(result[:n])
    for j in range(len(similarity)):
        multiply_add(similarity[j, z, y, x0 : x0 + n], rows[j, 0, 0, :n], result[:n])


@inline
def replicated(similarity, row, dot, result):
    """result = S · (row − dot), the last step of R_S."""
    for x in range(result.size):
        result[x] = similarity[x] * (row[x] - dot[x])


@inline
def new_ring(labels, count, radius, dtype):
    """(planes, 2r+1, labels·PITCH) for patches of `count` weights, the labels made even; loads leave the last one 0."""
    side, padded = 2 * radius + 1, labels + labels % 2
    ring = np.empty((count // side**2, side, padded * PITCH), dtype)
    ring[:, :, labels * PITCH :] = 0
    return ring


@inline
def new_rows(count, dtype):
    """That many rows and one to spare, which is 0."""
    rows = np.empty((count + 1) * PITCH, dtype)
    clear(rows[count * PITCH :])
    return rows
