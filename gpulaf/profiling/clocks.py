"""Clocks of host and device, and what the machine can do at most: a copy of so many bytes, multiply-adds."""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..kernels._numba import available, in_blocks, kernel

__all__ = ["Clock", "DeviceClock", "HostClock", "arithmetic_peak", "copy_bandwidths", "machine"]

#: Bytes that copies move at most: beyond the caches more of them change nothing.
LARGEST_COPY = 2**28

#: Multiply-adds of an element in a round, elements of a row that stays in first-level cache, and rounds.
CHAIN, ROW, ROUNDS = 16, 512, 2**13


class Clock(Protocol):
    """Marks points of the work."""

    def mark(self) -> Any:
        """This point."""
        ...

    def seconds(self, first: Any, last: Any) -> float:
        """Between two of them."""
        ...

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """What is done inside has this name in the tools that show it."""
        ...


class HostClock:
    """Wall time."""

    def mark(self) -> float:
        """Now."""
        return time.perf_counter()

    def seconds(self, first: float, last: float) -> float:
        """Seconds between two marks."""
        return last - first

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Nothing shows it here."""
        yield


class DeviceClock:
    """CUDA events on the current stream, and NVTX ranges; only where CuPy is imported."""

    def __init__(self) -> None:
        self._cuda = sys.modules["cupy"].cuda

    def mark(self) -> Any:
        """An event behind the work that is queued."""
        event = self._cuda.Event()
        event.record()
        return event

    def seconds(self, first: Any, last: Any) -> float:
        """Seconds of the device between two events."""
        last.synchronize()  # synchronize
        return 1e-3 * float(self._cuda.get_elapsed_time(first, last))

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """An NVTX range."""
        self._cuda.nvtx.RangePush(name)
        try:
            yield
        finally:
            self._cuda.nvtx.RangePop()


def copy_bandwidths(counts: list[int], clock: Clock, *, repeats: int = 7) -> list[float]:
    """Bytes per second of copies that move so many bytes, half of them read and half written; medians.

    On the host by NumPy on the threads of the kernels, on the device by CuPy. Copy after copy goes on through as much
    memory as all together move, LARGEST_COPY at most: like the work they stand beside, they find little in cache.
    """
    library: Any = sys.modules["cupy"] if isinstance(clock, DeviceClock) else np
    whole = max(64, min(sum(counts), LARGEST_COPY) // 2)
    source, target = (library.ones(whole, np.uint8) for _ in range(2))  # every page is written once
    at, bandwidths = 0, []
    for count in counts:
        half, times = min(max(64, count // 128 * 64), whole), []
        for _ in range(repeats + 1):
            at = at if at + half <= whole else 0
            first = clock.mark()
            _copy(library, target[at : at + half], source[at : at + half])
            times.append(clock.seconds(first, clock.mark()))
            at += half
        bandwidths.append(2 * half / statistics.median(times[1:]))
    return bandwidths


def arithmetic_peak(dtype: Any, *, repeats: int = 7) -> float | None:
    """Operations per second of multiply-adds on numbers in first-level cache, on the threads of the kernels; a median.

    None where Numba is not installed.
    """
    if not available:
        return None
    import numba

    threads, real = numba.get_num_threads(), np.dtype(dtype).type
    rows = np.ones((threads, ROW), dtype)
    operations = 2 * CHAIN * ROUNDS * rows.size
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        in_blocks(_multiply_adds, threads, operations, real(0.999), real(0.001), rows)
        times.append(time.perf_counter() - began)
    return operations / statistics.median(times[1:])


def machine(on_device: bool = False) -> str:
    """The GPU, or the processor and the threads that kernels run on."""
    if on_device:
        properties = sys.modules["cupy"].cuda.runtime.getDeviceProperties(0)
        return str(properties["name"].decode())
    try:
        rows = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(row.split(":")[1].strip() for row in rows if row.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    if not available:
        return f"{model}, NumPy without Numba"
    import numba

    return f"{model}, {numba.get_num_threads()} threads"


def _copy(library: Any, target: Any, source: Any) -> None:
    if library is np and available:
        in_blocks(_copy_block, len(source), len(source) // 8, target, source)
    else:
        library.copyto(target, source)


def _copy_block(first: int, last: int, target: np.ndarray, source: np.ndarray) -> None:
    np.copyto(target[first:last], source[first:last])


@kernel
def _multiply_adds(first, last, factor, term, rows):  # type: ignore[no-untyped-def]
    for r in range(first, last):
        row = rows[r]
        for _ in range(ROUNDS):
            for i in range(row.size):
                x = row[i]
                for _ in range(CHAIN):
                    x = x * factor + term
                row[i] = x
