"""Which implementation of a kernel an array is served by."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from .array import is_device_array, is_host_array

__all__ = ["implementation"]


def implementation(kernel: str, array: Any) -> Callable[..., Any]:
    """``cpu`` for NumPy arrays where Numba is installed, ``gpu`` for CuPy arrays, else ``reference``.

    Kernel modules are imported here, on first use: Numba takes its time.
    """
    module = import_module(f"gpulaf.kernels.{kernel}")
    if is_host_array(array) and import_module("gpulaf.kernels._numba").available:
        return module.cpu
    if is_device_array(array) and hasattr(module, "gpu"):
        return module.gpu
    return module.reference
