"""Clocks of host and device; bandwidth of copies and peak rate of multiply-adds of a machine."""

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
    """Marks points in a sequence of kernel calls and tells the seconds between two of them."""

    def mark(self) -> Any:
        """Mark the present point."""
        ...

    def seconds(self, first: Any, last: Any) -> float:
        """Return the seconds between two marks."""
        ...

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Name the kernel calls inside, for profilers."""
        ...


class HostClock:
    """Wall time of the host."""

    def mark(self) -> float:
        """Return the present time in seconds."""
        return time.perf_counter()

    def seconds(self, first: float, last: float) -> float:
        """Return the seconds between two marks."""
        return last - first

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Do nothing: no profiler of the host reads names."""
        yield


class DeviceClock:
    """CUDA events on the current stream, and NVTX ranges; requires that CuPy is imported."""

    def __init__(self) -> None:
        self._cuda = sys.modules["cupy"].cuda

    def mark(self) -> Any:
        """Record an event behind all that is queued."""
        event = self._cuda.Event()
        event.record()
        return event

    def seconds(self, first: Any, last: Any) -> float:
        """Wait for the last event and return the device seconds between both."""
        last.synchronize()  # synchronize
        return 1e-3 * float(self._cuda.get_elapsed_time(first, last))

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Open an NVTX range."""
        self._cuda.nvtx.RangePush(name)
        try:
            yield
        finally:
            self._cuda.nvtx.RangePop()


def copy_bandwidths(counts: list[int], clock: Clock, *, repeats: int = 7) -> list[float]:
    """Measure copies that move so many bytes each, half of them read and half written.

    On the host by NumPy on the threads of the kernels, on the device by CuPy. Copies follow each other through as much
    memory as all together move, LARGEST_COPY at most, so that they find as little in cache as the kernels do.

    Parameters
    ----------
    counts : list of int
        Bytes read and written by each copy.
    clock : HostClock or DeviceClock
    repeats : int
        Measurements of each copy, after one that warms up.

    Returns
    -------
    list of float
        Bytes per second of each copy: medians.
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
    """Measure multiply-adds on numbers in first-level cache, on the threads of the kernels.

    Returns
    -------
    float or None
        Floating-point operations per second, the median of `repeats`; None where Numba is not installed.
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
    """Return the name of the GPU, or of the processor and the number of its threads that kernels use."""
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
