"""Clocks of host and device; what the machine can do at most. No test depends on how fast it is."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpulaf.profiling import clocks as timing


class Ticks(timing.HostClock):
    """A second for every mark."""

    def __init__(self) -> None:
        self.now = 0.0

    def mark(self) -> float:
        self.now += 1
        return self.now


def test_bandwidth_counts_what_is_read_and_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LARGEST_COPY", 2**20)
    copied: list[tuple[int, bool]] = []
    copy = timing._copy

    def checked(library: Any, target: np.ndarray, source: np.ndarray) -> None:
        source[:] = len(copied) + 2
        copy(library, target, source)
        copied.append((source.size, bool((target == source).all())))

    monkeypatch.setattr(timing, "_copy", checked)
    counts = [1, 12_800, 2**19, 2**22]
    bandwidths = timing.copy_bandwidths(counts, Ticks(), repeats=2)
    assert copied == [(size, True) for size in (64, 6400, 2**18, 2**19) for _ in range(3)]
    assert bandwidths == [128, 12_800, 2**19, 2**20]  # moved in one tick


def test_a_large_copy_on_threads_is_complete() -> None:
    source = np.random.default_rng(0).integers(0, 256, 3_000_001, dtype=np.uint8)
    target = np.zeros_like(source)
    timing._copy(np, target, source)
    np.testing.assert_array_equal(target, source)


@pytest.mark.skipif(not timing.available, reason="Numba is not installed")
def test_the_peak_does_the_multiply_adds_it_counts(dtype: Any) -> None:
    rows = np.zeros((2, timing.ROW), dtype)
    timing._multiply_adds(0, 2, dtype.type(1), dtype.type(1), rows)
    assert (rows == timing.CHAIN * timing.ROUNDS).all()
    peak = timing.arithmetic_peak(dtype, repeats=1)
    assert peak is not None
    assert peak > 1e6


def test_without_numba_there_is_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "available", False)
    assert timing.arithmetic_peak("float32") is None
    assert "without Numba" in timing.machine()
    assert timing.copy_bandwidths([6400], Ticks(), repeats=1) == [6400]


def fake_cuda(log: list[str]) -> Any:
    """As much of CuPy as the clock of the device asks for; times are the numbers of the events, in milliseconds."""

    class Event:
        count = 0

        def record(self) -> None:
            Event.count += 1
            self.number = Event.count
            log.append(f"record {self.number}")

        def synchronize(self) -> None:
            log.append(f"synchronize {self.number}")

    def elapsed(first: Event, last: Event) -> float:
        log.append("elapsed")
        return float(last.number - first.number)

    nvtx = SimpleNamespace(
        RangePush=lambda name: log.append(f"push {name}"), RangePop=lambda: log.append("pop")
    )  # fmt: skip
    return SimpleNamespace(cuda=SimpleNamespace(Event=Event, get_elapsed_time=elapsed, nvtx=nvtx))


def test_the_clock_of_the_device_waits_only_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    monkeypatch.setitem(sys.modules, "cupy", fake_cuda(log))
    clock = timing.DeviceClock()
    with clock.span("chain"):
        first, last = clock.mark(), clock.mark()
    assert log == ["push chain", "record 1", "record 2", "pop"]
    assert clock.seconds(first, last) == 1e-3
    assert log[4:] == ["synchronize 2", "elapsed"]
    with pytest.raises(ZeroDivisionError), clock.span("chain"):
        raise ZeroDivisionError
    assert log[-1] == "pop"
