"""``cupy.cuda.memory``: a pool that poisons what is freed and hands it out again at once."""

from __future__ import annotations

import gc
import threading
import weakref
from contextlib import contextmanager
from typing import Any

from cuda_simulation import work
from cuda_simulation.memory import POISON, OutOfAddresses, fill_poison, memory

_UNIT = 512
_closed = work._closed


class OutOfMemoryError(MemoryError):
    def __init__(self, size, total, limit=0):
        text = f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
        super().__init__(text + (f", limit set to: {limit:,} bytes)." if limit else ")."))


class BaseMemory:
    ptr, size, device_id = 0, 0, 0

    @property
    def device(self):
        from .cuda import Device

        return Device(0)


class Memory(BaseMemory):
    """Memory of the driver."""

    def __init__(self, size):
        self.size, self.ptr = size, 0
        if size > 0:
            try:
                self.ptr = memory.malloc(size)
            except OutOfAddresses:
                from ._runtime import CUDARuntimeError

                raise CUDARuntimeError(2) from None

    def __del__(self):
        if self.ptr and not _closed:
            ptr, self.ptr = self.ptr, 0
            work.when_idle(lambda: memory.free(ptr))  # cudaFree waits for the device


class PooledMemory(BaseMemory):
    """Memory of a pool, which takes it back."""

    def __init__(self, mem, pool, queue):
        self._mem, self._pool, self._queue = mem, weakref.ref(pool), queue
        self.ptr, self.size = mem.ptr, mem.size
        #: The recording that it was allocated in.
        self._recording = id(queue.recorded) if queue.recorded is not None else None

    def __del__(self):
        if self.ptr and not _closed:
            pool = self._pool()
            if pool is not None:
                pool._take_back(self)
            else:
                memory.in_use(-self.size)
            self.ptr = 0


class MemoryPointer:
    def __init__(self, mem, offset):
        self.mem, self.ptr = mem, mem.ptr + offset

    @property
    def device_id(self):
        return 0

    @property
    def device(self):
        return self.mem.device

    def __int__(self):
        return self.ptr

    def __add__(self, offset):
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)


class MemoryPool:
    def __init__(self, allocator=None):
        self._allocator = allocator or Memory
        #: Everything that the pool holds, by address, and what is free: addresses, and whether they are poisoned.
        self._held: dict[int, BaseMemory] = {}
        self._free: dict[tuple[int, int], list[tuple[int, bool]]] = {}
        self._used, self._total, self._limit = 0, 0, 0

    def malloc(self, size):
        if size == 0:
            return MemoryPointer(Memory(0), 0)
        queue, rounded = work.current(), -(-size // _UNIT) * _UNIT
        with work.lock:
            chunks = self._free.get((queue.number, rounded))
            if chunks:
                ptr, poisoned = chunks.pop()
                if poisoned and queue.recorded is None:
                    queue.add("check a freed block", lambda: _check_untouched(ptr, rounded), own=True)
                mem = self._held[ptr]
            else:
                mem = self._new(rounded)
            self._used += rounded
            memory.in_use(rounded)
            return MemoryPointer(PooledMemory(mem, self, queue), 0)

    def _new(self, size):
        if not self._limit or self._total + size <= self._limit:
            for attempt in range(3):
                try:
                    mem = self._allocator(size)
                    self._held[mem.ptr] = mem
                    self._total += size
                    return mem
                except RuntimeError:
                    if attempt == 1:
                        gc.collect()
                    self.free_all_blocks()
        raise OutOfMemoryError(size, self._total, self._limit)

    def _take_back(self, block):
        with work.lock:
            queue, ptr, size = block._queue, block.ptr, block.size
            inside = queue.recorded is not None
            poisoned = not inside and block._recording is None
            if poisoned or (inside and block._recording == id(queue.recorded)):
                queue.add("poison a freed block", lambda: fill_poison(memory.raw(ptr, size)), own=True)
            self._free.setdefault((queue.number, size), []).append((ptr, poisoned))
            self._used -= size
            memory.in_use(-size)

    def free_all_blocks(self, stream=None):
        with work.lock:
            for key, chunks in list(self._free.items()):
                if stream is None or stream._queue.number == key[0]:
                    del self._free[key]
                    for ptr, _ in chunks:
                        self._total -= key[1]
                        del self._held[ptr]

    def free_all_free(self):
        self.free_all_blocks()

    def n_free_blocks(self):
        return sum(map(len, self._free.values()))

    def used_bytes(self):
        return self._used

    def free_bytes(self):
        return self._total - self._used

    def total_bytes(self):
        return self._total

    def set_limit(self, size=None, fraction=None):
        if size is None:
            size = 0 if fraction is None else int(fraction * memory.limit)
        self._limit = size

    def get_limit(self):
        return self._limit


def _check_untouched(ptr, size):
    raw = memory.raw(ptr, size).view("u2")
    if not (raw == POISON).all():
        raise work.DeviceFault(f"a block of {size} bytes was written after it was freed")


_default_pool = MemoryPool()
_allocator: Any = _default_pool.malloc
_local = threading.local()


def alloc(size):
    return get_allocator()(size)


def get_allocator():
    return getattr(_local, "allocator", None) or _allocator


def set_allocator(allocator=None):
    global _allocator
    if getattr(_local, "allocator", None):
        raise ValueError("Can't change the global allocator inside `using_allocator` context manager")
    _allocator = allocator or Memory


@contextmanager
def using_allocator(allocator=None):
    before = getattr(_local, "allocator", None)
    _local.allocator = allocator or _plain
    try:
        yield
    finally:
        _local.allocator = before


def _plain(size):
    return MemoryPointer(Memory(size), 0)


def get_default_memory_pool():
    return _default_pool
