"""``cupy.cuda.memory``."""

from .._memory import (
    BaseMemory,
    Memory,
    MemoryPointer,
    MemoryPool,
    OutOfMemoryError,
    PooledMemory,
    alloc,
    get_allocator,
    set_allocator,
)

__all__ = [
    "BaseMemory", "Memory", "MemoryPointer", "MemoryPool", "OutOfMemoryError", "PooledMemory", "alloc", "get_allocator",
    "set_allocator",
]  # fmt: skip
