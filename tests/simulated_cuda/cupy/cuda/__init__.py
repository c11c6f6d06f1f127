"""``cupy.cuda``: device, memory, streams, events and graphs of the simulated GPU."""

from .._memory import (
    BaseMemory,
    Memory,
    MemoryPointer,
    MemoryPool,
    alloc,
    get_allocator,
    set_allocator,
    using_allocator,
)
from .._stream import Event, Graph, Stream, get_current_stream, get_elapsed_time
from . import driver, graph, memory, nvtx, runtime, stream
from .device import Device

__all__ = [
    "BaseMemory", "Device", "Event", "Graph", "Memory", "MemoryPointer", "MemoryPool", "Stream", "alloc", "driver",
    "get_allocator", "get_current_stream", "get_elapsed_time", "graph", "is_available", "memory", "nvtx", "runtime",
    "set_allocator", "stream", "using_allocator",
]  # fmt: skip


def is_available():
    return True
