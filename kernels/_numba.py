"""Numba, where it is installed: the compile options that every ``cpu`` kernel shares.

``contract`` allows fused multiply-add and nothing else, so that sums keep their order and a pixel gets the same bits
in a vector lane and in the scalar remainder of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

try:
    import numba

    available = True
    prange = numba.prange
except ImportError:  # the reference implementations then do the work
    available = False
    prange = range

#: Rows that one task works through; its scratch stays in the cache of one core.
ROWS = 16

#: Pixels of a row that are worked on together: J fields of that length fit the first-level cache.
COLUMNS = 256


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile in parallel, cached on disk."""
    if not available:
        return function
    return numba.njit(parallel=True, cache=True, fastmath={"contract"}, error_model="numpy")(function)


def inline(function: Callable[..., Any] | None = None, *, reassociate: bool = False) -> Callable[..., Any]:
    """Compile a helper that kernels call; `reassociate` lets a sum run in vector lanes."""
    if function is None:
        return partial(inline, reassociate=reassociate)
    if not available:
        return function
    flags = {"contract", "reassoc"} if reassociate else {"contract"}
    return numba.njit(cache=True, fastmath=flags, error_model="numpy")(function)


def rows_per_task(height: int) -> int:
    """Rows of one parallel task: enough tasks to balance the threads, at most ROWS rows each."""
    if not available:
        return ROWS
    return max(1, min(ROWS, -(-height // (4 * numba.get_num_threads()))))


@inline
def clear(row):
    for x in range(row.size):
        row[x] = 0


@inline
def average_row(weights, field, radius, y, x0, x1, result):
    """result = (Ωx) of one label plane on the pixels x0 … x1 of row y; neighbors outside are skipped."""
    height, width = field.shape
    clear(result)
    for dy in range(-radius, radius + 1):
        if 0 <= y + dy < height:
            for dx in range(-radius, radius + 1):
                o = (dy + radius) * (2 * radius + 1) + dx + radius
                lo, hi = max(x0, -dx), min(x1, width - dx)
                if lo < hi:
                    multiply_add(weights[o, y, lo:hi], field[y + dy, lo + dx : hi + dx], result[lo - x0 : hi - x0])


@inline
def multiply_add(a, b, result):
    for x in range(result.size):
        result[x] += a[x] * b[x]


@inline
def replicate_rows(similarity, field, dot, y, x0, result):
    """result = R_S field on one stretch of row y; field and result are (J, n) and may be the same."""
    labels, n = result.shape
    clear(dot)
    for j in range(labels):
        multiply_add(similarity[j, y, x0 : x0 + n], field[j], dot)
    for j in range(labels):
        s, f, r = similarity[j, y, x0 : x0 + n], field[j], result[j]
        for x in range(n):
            r[x] = s[x] * (f[x] - dot[x])
