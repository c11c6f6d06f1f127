"""What the ``cpu`` stencils share: blocks of a row, the ring of rows around it, and the sums over a neighborhood.

An image is a volume of one plane. At the row y of plane z the ring (slots, J, columns) holds the 2r+1 rows around y of
every plane that the neighborhood reaches, each with r pixels more on both sides, 0 outside the image: no kernel has a
special case at the border, and every field is read from memory once for all its neighbors.

A stencil of 10 labels reads and writes some forty streams of memory, one for each plane of each field. Each of them is
followed for BLOCK pixels of a row at a time: fewer would leave lines of memory half used when others, a power of two
away, take their place in cache; more would not leave the scratch of a block in first-level cache. While a block is read
the one AHEAD is asked for. Results that no cache could hold are written past all of them (``stream``), which saves
reading first what is overwritten.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _vectors
from ._numba import inline
from ._vectors import (
    aligned,
    filled,
    further,
    lanes_of,
    load,
    multiply_add,
    number,
    place,
    prefetch,
    put,
    store,
    stream,
)

#: Pixels of a block, and how far ahead of a pixel the next ones are asked for.
BLOCK = 64
AHEAD = 64

#: Pixels of a row that a ring is made for, a multiple of BLOCK; wider images are done in stretches.
STRETCH = 2048

#: Bytes of the fields of a call that caches do not hold.
LARGE = 2**25


def as_volumes(weights: Any, *fields: Any) -> tuple[Any, ...]:
    """Weights (N, D, H, W) and fields (…, D, H, W), the last one a result: images as volumes of one plane.

    All are C-contiguous and of the dtype of the result; None stays None.
    """
    result = fields[-1]
    if not result.flags.c_contiguous:
        raise ValueError(f"the result has strides {result.strides}; accepted are C-contiguous arrays: numpy.empty_like")
    arrays = [None if a is None else np.ascontiguousarray(a, result.dtype) for a in (weights, *fields)]
    if weights.ndim == 4:
        return tuple(arrays)
    return tuple(None if a is None else np.expand_dims(a, -3) for a in arrays)


def exceeds_cache(*fields: Any) -> bool:
    """Whether the fields of a call together do not stay in cache."""
    return sum(a.nbytes for a in fields if a is not None) > LARGE


@inline
def new_rows(count, width, like):
    """Zeros (count, width) that begin at a line of cache."""
    line = 64 // like.itemsize
    memory = np.zeros(count * width + line, like.dtype)
    first = -(memory.ctypes.data // memory.itemsize) % line
    return memory[first : first + count * width].reshape((count, width))


@inline
def margin(radius):
    """Column of the first pixel in a ring: room for its neighbors, at a line of cache."""
    return -(-radius // 16) * 16


@inline
def columns_of(width, radius, like):
    """Columns of a ring for rows of that width, with room for a vector that begins at its last pixel.

    An odd multiple of 16, so that the rows of several labels do not share a few sets of a cache.
    """
    return ((margin(radius) + width + radius + lanes_of(like) + 15) // 16 | 1) * 16


@inline
def new_ring(labels, count, radius, field):
    """(slots, J, columns) for patches of `count` weights."""
    slots, columns = count // (2 * radius + 1), columns_of(min(field.shape[-1], STRETCH), radius, field)
    return new_rows(slots * labels, columns, field).reshape((slots, labels, columns))


@inline
def new_scratch(count, field):
    """A block for each of `count` labels or neighbors."""
    return new_rows(count, BLOCK, field)


@inline(always=True)
def fetch(p, q, n):
    """Copy n numbers from p to q, and ask for those AHEAD of them."""
    lanes = lanes_of(p)
    end = n // (4 * lanes) * (4 * lanes)
    for x in range(0, end, 4 * lanes):
        prefetch(p, x + AHEAD, 4)
        store(q, x, load(p, x))
        store(q, x + lanes, load(p, x + lanes))
        store(q, x + 2 * lanes, load(p, x + 2 * lanes))
        store(q, x + 3 * lanes, load(p, x + 3 * lanes))
    for x in range(end, n):
        put(q, x, number(p, x))


@inline(always=True)
def fill(q, first, last, value):
    for x in range(first, last):
        put(q, x, value)


@inline(always=True)
def pack(weights, at, n, packed):
    """packed[o] = ω_o of the n pixels from `at` = (z, y, x) on."""
    z, y, x = at
    for o in range(len(weights)):
        fetch(place(weights, (o, z, y, x)), place(packed, o), n)


@inline(always=True)
def fetch_columns(field, at, n, columns):
    """columns[j] = the n numbers of label j from `at` = (z, y, x) on."""
    z, y, x = at
    for j in range(len(columns)):
        fetch(place(field, (j, z, y, x)), place(columns, j), n)


@inline(always=True)
def pack_transposed(weights, radius, at, n, packed):
    """packed at −o = ω_o of the pixels that see those from `at` = (z, y, x) on at their offset o; 0 where none does."""
    count, depth, height, width = weights.shape
    z, y, x = at
    side = 2 * radius + 1
    reach = count // side**2 // 2
    for o in range(count):
        dz, dy, dx = o // side**2 - reach, o // side % side - radius, o % side - radius
        q, lo, hi = place(packed, count - 1 - o), max(x, dx), min(x + n, width + dx)
        if 0 <= z - dz < depth and 0 <= y - dy < height and lo < hi:
            fill(q, 0, lo - x, 0)
            fetch(place(weights, (o, z - dz, y - dy, lo - dx)), further(q, lo - x), hi - lo)
            fill(q, hi - x, n, 0)
        else:
            fill(q, 0, n, 0)


@inline(always=True)
def load_rows(field, radius, z, y, x0, n, ring):
    """Put row y of the planes around z of a field (J, D, H, W) into its slots of the ring; 0 outside the image."""
    labels, depth, height, width = field.shape
    side, left = 2 * radius + 1, margin(radius)
    planes = len(ring) // side
    lo, hi = max(0, x0 - radius), min(width, x0 + n + radius)
    for p in range(planes):
        plane = z + p - planes // 2
        for j in range(labels):
            q = further(place(ring, (p * side + (y + radius) % side, j)), left - x0)  # pixel x stands at q[x]
            if 0 <= plane < depth and 0 <= y < height:
                fill(q, x0 - radius, lo, 0)
                fetch(place(field, (j, plane, y, lo)), further(q, lo), hi - lo)
                fill(q, hi, x0 + n + radius, 0)
            else:
                fill(q, x0 - radius, x0 + n + radius, 0)


@inline(always=True)
def find_slots(y, radius, slots):
    """slots[k] = where the ring has the k-th row of the neighborhood of row y, plane by plane."""
    side = 2 * radius + 1
    for k in range(slots.size):
        slots[k] = k // side * side + (y + k) % side


@inline
def average(packed, ring, slots, radius, x0, n, column):
    """column[j] = Σ_o packed_o · (neighbor o), of n pixels from x0 on in the ring.

    The sums of single rows of the neighborhood are added: chains of nine additions would be waited for.
    """
    side, lanes, labels, columns = 2 * radius + 1, lanes_of(ring), ring.shape[1], ring.shape[2]
    first, rows = x0 + margin(radius) - radius, slots.size
    for x in range(0, n, lanes):
        w, target = place(packed, (0, x)), place(column, (0, x))
        if side == 3:
            _sum_3_of_3(w, ring, slots, 0, first + x, labels, columns, target)
            for k in range(3, rows, 3):
                _sum_3_of_3_more(w, ring, slots, k, first + x, labels, columns, target)
        elif side == 5:
            _sum_5_of_5(w, ring, slots, 0, first + x, labels, columns, target)
            for k in range(5, rows, 5):
                _sum_5_of_5_more(w, ring, slots, k, first + x, labels, columns, target)
        elif side == 7:
            _sum_1_of_7(w, ring, slots, 0, first + x, labels, columns, target)
            for k in range(1, rows):
                _sum_1_of_7_more(w, ring, slots, k, first + x, labels, columns, target)
        else:
            for j in range(labels):
                total = filled(w, 0)
                for k in range(rows):
                    row = place(ring, (slots[k], j, first + x))
                    for d in range(side):
                        total = multiply_add(load(w, (k * side + d) * BLOCK), load(row, d), total)
                store(target, j * BLOCK, total)


@inline
def correlate(factor, ring, slots, radius, x0, n, sums):
    """sums[o] += Σ_j factor_j · (neighbor o of label j), of n pixels from x0 on in the ring."""
    side, lanes, labels, columns = 2 * radius + 1, lanes_of(ring), ring.shape[1], ring.shape[2]
    first = x0 + margin(radius) - radius
    rows = slots.size
    for x in range(0, n, lanes):
        z, target = place(factor, (0, x)), place(sums, (0, x))
        if side == 3:
            for k in range(0, rows, 3):
                _add_3_of_3(z, ring, slots, k, first + x, labels, columns, target)
        elif side == 5:
            for k in range(0, rows - 1, 2):
                _add_2_of_5(z, ring, slots, k, first + x, labels, columns, target)
            if rows % 2:
                _add_1_of_5(z, ring, slots, rows - 1, first + x, labels, columns, target)
        elif side == 7:
            for k in range(rows):
                _add_1_of_7(z, ring, slots, k, first + x, labels, columns, target)
        else:
            for k in range(rows):
                for d in range(side):
                    total = load(target, (k * side + d) * BLOCK)
                    for j in range(labels):
                        row = place(ring, (slots[k], j, first + x))
                        total = multiply_add(load(z, j * BLOCK), load(row, d), total)
                    store(target, (k * side + d) * BLOCK, total)


@inline(always=True)
def replicate(s, s_step, v, v_step, result, step, labels, n):
    """result_j = S_j (v_j − Σ_l S_l v_l) of n pixels; the planes of the labels are a step apart.

    The result may be v.
    """
    lanes = lanes_of(s)
    whole, end = n // (8 * lanes) * (8 * lanes), n // lanes * lanes
    for x in range(0, whole, 8 * lanes):
        _replicate_8(further(s, x), s_step, further(v, x), v_step, further(result, x), step, labels)
    for x in range(whole, end, lanes):
        _replicate_1(further(s, x), s_step, further(v, x), v_step, further(result, x), step, labels)
    for x in range(end, n):
        _replicate_number(further(s, x), s_step, further(v, x), v_step, further(result, x), step, labels)


@inline(always=True)
def emit(row, source, scale, result, at, n, streaming):
    """result = row + scale · source for n numbers from `at` = (j, z, y, x) on; source may be None."""
    lanes, target = lanes_of(row), place(result, at)
    end, factor = n // lanes * lanes, filled(row, scale)
    if source is not None:
        given = place(source, at)
        for x in range(0, n, 4 * lanes):
            prefetch(given, x + AHEAD, 4)
        for x in range(0, end, lanes):
            store(row, x, multiply_add(factor, load(given, x), load(row, x)))
        for x in range(end, n):
            put(row, x, multiply_add(scale, number(given, x), number(row, x)))
    if streaming and aligned(target):
        for x in range(0, end, lanes):
            stream(target, x, load(row, x))
    else:
        for x in range(0, end, lanes):
            store(target, x, load(row, x))
    for x in range(end, n):
        put(target, x, number(row, x))


def _weighted(rows, side, more=False):
    """Of all labels: target_j = Σ_o w_o · (neighbor o), a vector, of so many rows of the neighborhood from the k-th on.

    With `more` the sum is added to what the target holds. Weights and sums stay in registers, which only a loop without
    loops inside does: it is written out by a program, for all rows of 3×3

        def add(w, ring, slots, k, x, labels, columns, target):
            w = further(w, k * 192)
            w0, w1, … = load(w, 0), load(w, 64), …
            r0, r1, r2 = place(ring, (slots[k + 0], 0, x)), …
            for _ in range(labels):
                s0, s1, s2 = w0 * load(r0, 0), w3 * load(r1, 0), w6 * load(r2, 0)
                s0, s1, s2 = multiply_add(w1, load(r0, 1), s0), …
                …
                store(target, 0, s0 + s1 + s2)
                r0, r1, r2, target = further(r0, columns), …, further(target, 64)
    """
    lines = ["def add(w, ring, slots, k, x, labels, columns, target):", f" w = further(w, k * {side * BLOCK})"]
    lines += [f" w{o} = load(w, {o * BLOCK})" for o in range(rows * side)]
    lines += [f" r{d} = place(ring, (slots[k + {d}], 0, x))" for d in range(rows)]
    lines += [" for _ in range(labels):"]
    lines += [f"  s{d} = w{d * side} * load(r{d}, 0)" for d in range(rows)]
    for o in range(1, side):
        lines += [f"  s{d} = multiply_add(w{d * side + o}, load(r{d}, {o}), s{d})" for d in range(rows)]
    total = " + ".join([*(["load(target, 0)"] if more else []), *(f"s{d}" for d in range(rows))])
    lines += [f"  store(target, 0, {total})", f"  target = further(target, {BLOCK})"]
    lines += [f"  r{d} = further(r{d}, columns)" for d in range(rows)]
    return _made(lines, f"_sum_{rows}_of_{side}{'_more' if more else ''}")


def _correlated(rows, side):
    """target_o += Σ_j z_j · (neighbor o of label j) of so many rows from the k-th on, written out, too."""
    count = rows * side
    lines = [
        "def add(z, ring, slots, k, x, labels, columns, target):",
        f" target = further(target, k * {side * BLOCK})",
    ]
    lines += [f" t{o} = load(target, {o * BLOCK})" for o in range(count)]
    lines += [f" r{d} = place(ring, (slots[k + {d}], 0, x))" for d in range(rows)]
    lines += [" for _ in range(labels):", "  f = load(z, 0)", f"  z = further(z, {BLOCK})"]
    lines += [f"  t{o} = multiply_add(f, load(r{o // side}, {o % side}), t{o})" for o in range(count)]
    lines += [f"  r{d} = further(r{d}, columns)" for d in range(rows)]
    lines += [f" store(target, {o * BLOCK}, t{o})" for o in range(count)]
    return _made(lines, f"_add_{rows}_of_{side}")


def _replicated(vectors, name, *, get="load", give="store", far=False):
    """``replicate`` for so many vectors, or for one number, written out: the sums Σ_l S_l v_l stay in registers.

    Labels are gone through forth and back, as the last ones are still in cache.
    """
    steps = [f"{k} * lanes" for k in range(vectors)]
    lines = ["def add(s, s_step, v, v_step, result, step, labels):", " lanes = lanes_of(s)"]
    lines += [f" d{k} = {'filled(s, 0)' if get == 'load' else 'zero(s)'}" for k in range(vectors)]
    lines += [" for _ in range(labels):"]
    lines += [f"  prefetch({p}, {AHEAD}, {vectors})" for p in ("sv" if far else "s") if vectors > 1]
    lines += [f"  d{k} = multiply_add({get}(s, {x}), {get}(v, {x}), d{k})" for k, x in enumerate(steps)]
    lines += [
        "  s, v = further(s, s_step), further(v, v_step)",
        " s, v = further(s, -labels * s_step), further(v, -labels * v_step)",
    ]
    lines += [" for _ in range(labels):"]
    lines += [f"  {give}(result, {x}, {get}(s, {x}) * ({get}(v, {x}) - d{k}))" for k, x in enumerate(steps)]
    lines += ["  s, v, result = further(s, s_step), further(v, v_step), further(result, step)"]
    return _made(lines, name)


#: The loops that every block of the common neighborhood goes through.
ALWAYS = ("_sum_3_of_3", "_add_3_of_3", "_replicate_8")


def _made(lines, name):
    made: dict[str, Any] = {"__name__": __name__} | vars(_vectors)
    exec("\n".join(lines), made)
    return inline(made["add"], name=name, always=name in ALWAYS)


_sum_3_of_3, _sum_3_of_3_more = _weighted(3, 3), _weighted(3, 3, more=True)
_sum_5_of_5, _sum_5_of_5_more = _weighted(5, 5), _weighted(5, 5, more=True)
_sum_1_of_7, _sum_1_of_7_more = _weighted(1, 7), _weighted(1, 7, more=True)
_add_3_of_3, _add_2_of_5, _add_1_of_5, _add_1_of_7 = (_correlated(*size) for size in ((3, 3), (2, 5), (1, 5), (1, 7)))
_replicate_8, _replicate_1 = _replicated(8, "_replicate_8"), _replicated(1, "_replicate_1")
_replicate_number = _replicated(1, "_replicate_number", get="number", give="put")
