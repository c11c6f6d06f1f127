"""The memory of the device: an arena of addresses that only queued work may touch.

Every allocation is poisoned when it is made, and followed by a guard that no kernel may write.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right, insort
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np

#: Addresses of the arena, and what the device says it has.
ARENA, TOTAL = 2**38, 16 * 2**30
#: Allocations start at multiples of this.
UNIT = 512
#: Two bytes that make a NaN of float32 and float64 and a large number of every integer.
POISON = np.uint16(0x7FFF)


class OutOfAddresses(Exception):
    """The device has no room for an allocation."""


class IllegalAddress(Exception):
    """An address lies in no allocation."""


def guard_pattern(address: int) -> np.uint16:
    """What fills the guard of an allocation: NaNs, others than those of its neighbors, whose copies are found, too."""
    return np.uint16(0x7FF1 + address // UNIT % 13)


def fill_poison(view: np.ndarray) -> None:
    """Poison the bytes of a contiguous array."""
    raw = view.reshape(-1).view(np.uint8)
    even = raw.size // 2 * 2
    raw[:even].view(np.uint16)[...] = POISON
    raw[even:] = 0x7F


class Memory:
    """Allocations of the driver, before any pool."""

    def __init__(self) -> None:
        self.lock = RLock()
        self._map: Any = None
        self._sizes: dict[int, int] = {}
        self._starts: list[int] = []
        self._free: dict[int, list[int]] = {}
        self._top = 0
        self.used, self.limit = 0, TOTAL
        #: Bytes of arrays that are in use; the most of them and of what is reserved, since somebody put these back.
        self.live, self.most_live, self.most_used = 0, 0, 0

    def _open(self) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
        self._map = mmap.mmap(-1, ARENA, flags=flags)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self.start = self._bytes.__array_interface__["data"][0]
        self._top = self.start

    def raw(self, address: int, size: int) -> np.ndarray:
        """The bytes from an address."""
        return self._bytes[address - self.start : address - self.start + size]

    def view(self, address: int, shape: Any, dtype: Any, strides: Any = None) -> np.ndarray:
        """An array on the memory from an address; making it reads nothing."""
        if self._map is None:
            self._open()
        return np.ndarray(shape, dtype, self._bytes, max(0, address - self.start), strides)

    def owns(self, array: np.ndarray) -> bool:
        """Whether an array lies on this memory."""
        if self._map is None:
            return False
        return 0 <= array.__array_interface__["data"][0] - self.start < ARENA

    def malloc(self, size: int) -> int:
        """Reserve, guard and poison memory."""
        with self.lock:
            if self._map is None:
                self._open()
            rounded = -(-max(size, 1) // UNIT) * UNIT
            if self.used + rounded > self.limit:
                raise OutOfAddresses
            again = self._free.get(rounded)
            if again:
                address = again.pop()
            else:
                address, self._top = self._top, self._top + rounded + UNIT
                if self._top > self.start + ARENA:
                    raise OutOfAddresses
            self._sizes[address] = rounded
            insort(self._starts, address)
            self.used += rounded
            self.most_used = max(self.most_used, self.used)
            fill_poison(self.raw(address, rounded))
            self._guard(address)
            return address

    def _guard(self, address: int) -> None:
        self.raw(address + self._sizes[address], UNIT).view(np.uint16)[...] = guard_pattern(address)

    def in_use(self, more: int) -> None:
        """Count bytes that a pool hands out, or takes back."""
        self.live += more
        self.most_live = max(self.most_live, self.live)

    def mend(self) -> None:
        """Put the guards of all allocations back."""
        with self.lock:
            for address in self._starts:
                self._guard(address)

    def free(self, address: int) -> None:
        """Give memory back to the driver; it cannot be used any more."""
        with self.lock:
            size = self._sizes.pop(address)
            self._starts.pop(bisect_right(self._starts, address) - 1)
            self.used -= size
            self._free.setdefault(size, []).append(address)
            if size >= 2**20:
                first = -(-(address - self.start) // mmap.PAGESIZE) * mmap.PAGESIZE
                length = (address - self.start + size - first) // mmap.PAGESIZE * mmap.PAGESIZE
                self._map.madvise(mmap.MADV_DONTNEED, first, length)

    def allocation(self, address: int) -> tuple[int, int]:
        """The allocation that an address lies in, its start and size."""
        with self.lock:
            k = bisect_right(self._starts, address) - 1
            if k >= 0:
                start = self._starts[k]
                size = self._sizes[start]
                if address < start + size:
                    return start, size
        raise IllegalAddress(f"{address:#x} lies in no allocation of the device")

    def guard_intact(self, address: int) -> bool:
        """Whether the guard behind the allocation of an address was left alone."""
        start, size = self.allocation(address)
        return bool((self.raw(start + size, UNIT).view(np.uint16) == guard_pattern(start)).all())


memory = Memory()


@contextmanager
def limited(free: int) -> Iterator[None]:
    """Let the device have so many bytes left."""
    before, memory.limit = memory.limit, memory.used + free
    try:
        yield
    finally:
        memory.limit = before


class Peak:
    """The most bytes inside a block of :func:`peak` beyond those before it: of arrays in use, and reserved."""

    in_use = reserved = 0


@contextmanager
def peak() -> Iterator[Peak]:
    """Tell how much memory is taken at once; the numbers are there when the block ends."""
    live, used, found = memory.live, memory.used, Peak()
    memory.most_live, memory.most_used = live, used
    yield found
    found.in_use, found.reserved = memory.most_live - live, memory.most_used - used
