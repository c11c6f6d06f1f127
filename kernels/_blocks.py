"""What the ``cpu`` stencils share: blocks of a row, and the ring of the rows around it. Their sums are in ``_sums``.

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
