"""Host memory that a loop uses again: fresh pages from the system cost as much as the kernel that fills them.

Inside ``with reused():`` the memory of an array that nobody holds any more serves the next array of the same size. An
array is never taken from anyone: memory comes back when the last array on it is gone, as with CuPy's pool on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from threading import RLock
from typing import Any

import numpy as np

#: Bytes of a line of cache, where large arrays begin: whole vectors can be written past the caches then.
LINE = 64

#: Bytes below which the allocator of the C library keeps memory by itself.
LEAST = 2**17

_LOCK = RLock()  # the garbage collector may free a block while the lock is held
_users = 0
_free: dict[int, list[np.ndarray]] = {}


class _Block:
    """Owner of the memory of one array; gives it back when the array and its views are gone."""

    def __init__(self, memory: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.memory = memory
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (memory.ctypes.data, False),
        }

    def __del__(self) -> None:
        with _LOCK:
            if _users:
                _free.setdefault(self.memory.nbytes, []).append(self.memory)


@contextmanager
def reused() -> Iterator[None]:
    """Memory is used again until the outermost of these blocks ends."""
    global _users
    with _LOCK:
        _users += 1
    try:
        yield
    finally:
        with _LOCK:
            _users -= 1
            left = [] if _users else list(_free.values())
            if not _users:
                _free.clear()
        del left  # outside the lock


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A new array with arbitrary values, C-contiguous."""
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    if not _users:
        return _at_a_line(size).view(dtype).reshape(shape)
    with _LOCK:
        kept = _free.get(size)
        memory = kept.pop() if kept else None
    return np.asarray(_Block(_at_a_line(size) if memory is None else memory, tuple(shape), dtype))


def empty_like(array: np.ndarray) -> np.ndarray:
    """A new array of the shape and dtype of `array`."""
    return empty(array.shape, array.dtype)


def _at_a_line(size: int) -> np.ndarray:
    """So many bytes that begin at a line of cache."""
    memory = np.empty(size + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + size]
