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

#: Rows that one task works through at most; the 2r rows above and below them are read by two tasks.
ROWS = 32


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
    return numba.njit(fastmath=flags, error_model="numpy", no_cpython_wrapper=True)(function)


def rows_per_task(height: int) -> int:
    """Rows of one parallel task: enough tasks to balance the threads, at most ROWS rows each."""
    if not available:
        return ROWS
    return max(1, min(ROWS, -(-height // (4 * numba.get_num_threads()))))
