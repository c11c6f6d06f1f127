"""Tensors as arrays of the kernels: the same memory, in NumPy on the CPU and in CuPy on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..backend.array import gpu_missing, is_host_array

__all__ = ["as_array", "as_tensor", "current_stream"]


class _Handle:
    """A stream of torch, by the CUDA stream protocol."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.stream.cuda_stream


@contextmanager
def current_stream(tensor: Any) -> Iterator[None]:
    """Let CuPy work on the device of a tensor and on torch's current stream there; nothing to do on the CPU.

    Raises
    ------
    RuntimeError
        If the tensor is on a GPU and CuPy is missing; the message says how to install it.
    """
    if tensor.device.type == "cpu":
        yield
        return
    if missing := gpu_missing():
        raise RuntimeError(f"tensors on {tensor.device} are worked on by CuPy: {missing}")
    import cupy

    stream = _Handle(torch.cuda.current_stream(tensor.device))
    with cupy.cuda.Device(tensor.device.index), cupy.cuda.Stream.from_external(stream):
        yield


def as_array(tensor: Any) -> Any:
    """The memory of a tensor as an array, inside :func:`current_stream`; never a copy."""
    if tensor.device.type == "cpu":
        return tensor.detach().numpy()
    import cupy

    return cupy.from_dlpack(tensor.detach())


def as_tensor(array: Any) -> Any:
    """The memory of an array as a tensor, inside :func:`current_stream`; never a copy."""
    return torch.from_numpy(array) if is_host_array(array) else torch.from_dlpack(array)
