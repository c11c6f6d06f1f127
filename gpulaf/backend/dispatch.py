"""Dispatch: choose the implementation of a kernel by the library of an array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from .array import is_device_array, is_host_array

__all__ = ["implementation", "is_observed", "observed"]

Kernel = Callable[..., Any]

_observer: Callable[[str, Kernel], Kernel] | None = None


def implementation(kernel: str, array: Any) -> Kernel:
    """Return ``cpu`` for NumPy arrays where Numba is installed, ``gpu`` for CuPy arrays, else ``reference``.

    Kernel modules are imported here, on first use: Numba takes its time.
    """
    module = import_module(f"gpulaf.kernels.{kernel}")
    if is_host_array(array) and import_module("gpulaf.kernels._numba").available:
        function = module.cpu
    elif is_device_array(array) and hasattr(module, "gpu"):
        function = module.gpu
    else:
        function = module.reference
    return function if _observer is None else _observer(kernel, function)


def is_observed() -> bool:
    """Whether kernel calls are observed."""
    return _observer is not None


@contextmanager
def observed(observer: Callable[[str, Kernel], Kernel]) -> Iterator[None]:
    """Replace every kernel by ``observer(name, function)`` inside the block, on all threads."""
    global _observer
    before, _observer = _observer, observer
    try:
        yield
    finally:
        _observer = before
