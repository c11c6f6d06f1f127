"""Array libraries and devices: find the library of an array, move it between host and device.

Arrays decide where work runs: NumPy in, NumPy out; CuPy in, CuPy out. CuPy is found in ``sys.modules``: an array of
it can only exist when somebody imported it.
"""

from __future__ import annotations

import sys
from math import prod
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, is_cupy_array, is_numpy_array

from ..kernels._memory import empty as host_empty
from ..kernels._memory import reused
from ..kernels.stencil import lowered, scaled, slot, store

__all__ = [
    "columns", "contiguous", "device_array", "empty", "filled", "floating_dtype", "host_array", "host_dtype",
    "is_array", "is_device_array", "is_host_array", "like", "lowered", "namespace", "reused", "rows", "scalar",
    "scaled", "slot", "store", "total",
]  # fmt: skip

namespace = array_namespace
is_host_array = is_numpy_array
is_device_array = is_cupy_array
is_array = is_array_api_obj


def host_array(x: Any) -> np.ndarray:
    """The same values as a NumPy array; no copy if they are there already."""
    if is_cupy_array(x):
        return x.get()  # synchronize
    return np.asarray(x)


def device_array(x: Any, device: str) -> Any:
    """Put an array on ``"cpu"`` or ``"gpu"``; ``"auto"`` takes a GPU where CuPy finds one.

    Raises
    ------
    RuntimeError
        If ``"gpu"`` is asked for and there is none; the message says why.
    """
    if device == "cpu":
        return host_array(x)
    missing = gpu_missing()
    if missing is None:
        return sys.modules["cupy"].asarray(x)
    if device == "gpu":
        raise RuntimeError(f"no GPU: {missing}")
    return host_array(x)


def gpu_missing() -> str | None:
    """Return None where CuPy and a GPU can be used, else one sentence on what is missing."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed. Install it with: python -m pip install 'gpulaf[cuda13]' (or cuda12)."
    except Exception as error:  # a broken driver or library surfaces in many types
        return f"CuPy does not load: {str(error).splitlines()[0]}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy finds no usable GPU: {error}."
    return None if count else "CuPy is installed, but this machine shows no GPU."


def like(x: Any, reference: Any) -> Any:
    """Convert `x` to the library, device and dtype of `reference`."""
    xp = array_namespace(reference)
    return xp.asarray(x, dtype=reference.dtype)


def floating_dtype(x: Any) -> Any:
    """The floating dtype that `x` is computed in: float64 stays, everything else becomes float32."""
    xp = array_namespace(x)
    return xp.float64 if x.dtype == xp.float64 else xp.float32


def host_dtype(x: Any) -> np.dtype[Any]:
    """The NumPy dtype of the numbers in `x`."""
    return np.dtype(str(x.dtype).rsplit(".", 1)[-1])


def contiguous(x: Any) -> Any:
    """Convert to float32 or float64, native and C-contiguous; no copy where it is that already."""
    xp = array_namespace(x)
    x = xp.astype(x, floating_dtype(x), copy=False)
    if is_numpy_array(x):
        return np.ascontiguousarray(x) if x.ndim else x
    return xp.ascontiguousarray(x) if is_cupy_array(x) else x


def columns(x: Any) -> Any:
    """Reshape (K, …) to a contiguous matrix (K, n)."""
    x = contiguous(x)
    return array_namespace(x).reshape(x, (x.shape[0], prod(x.shape[1:])))


def rows(x: Any) -> Any:
    """Reshape fields (…, J, W) to contiguous rows of labels (R, J, W); no copy where they are contiguous."""
    x = contiguous(x)
    return array_namespace(x).reshape(x, (-1, *x.shape[-2:]))


def empty(shape: tuple[int, ...], like: Any) -> Any:
    """A new array with arbitrary values, of the library and dtype of `like`."""
    if is_numpy_array(like):
        return host_empty(shape, like.dtype)
    return array_namespace(like).empty(shape, dtype=like.dtype)


def filled(x: Any, valid: Any, value: float = 0) -> Any:
    """`x` where `valid` is True, another value elsewhere; a new array."""
    xp = array_namespace(x)
    return xp.where(valid, x, xp.asarray(value, dtype=x.dtype))


def scalar(x: Any) -> float:
    """Read one number to the host."""
    return float(x)  # synchronize


def total(x: Any) -> float:
    """Sum of all entries, accumulated in float64."""
    xp = array_namespace(x)
    return scalar(xp.sum(x, dtype=xp.float64))
