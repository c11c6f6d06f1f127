"""``cupy.RawModule`` and ``cupy.RawKernel``: the text of a ``.cu`` file, compiled by g++."""

from __future__ import annotations

import numpy as np
from cuda_simulation import compiler, counts, work

from ._array import count, ndarray, unsupported
from ._memory import MemoryPointer
from ._runtime import CUDADriverError, refusals


class RawModule:
    def __init__(
        self, code=None, *, path=None, options=(), backend="nvrtc", translate_cucomplex=False,
        enable_cooperative_groups=False, name_expressions=None, jitify=None,
    ):  # fmt: skip
        if (code is None) == (path is None):
            raise TypeError("Exactly one of `code` and `path` keyword arguments must be given.")
        if not isinstance(code, (str, type(None))):
            raise TypeError(f"Argument 'code' has incorrect type (expected str, got {type(code).__name__})")
        if not isinstance(options, tuple):
            raise TypeError(f"Argument 'options' has incorrect type (expected tuple, got {type(options).__name__})")
        self.code, self.options, self.backend = code, options, backend
        self._compiled = None

    def compile(self, log_stream=None):
        if self._compiled is None:
            self._compiled = compiler.Module(self.code, self.options)

    def get_function(self, name):
        self.compile()
        return RawKernel._of(self, name)


class RawKernel:
    def __init__(
        self, code, name, options=(), backend="nvrtc", translate_cucomplex=False, *, enable_cooperative_groups=False,
        jitify=None,
    ):  # fmt: skip
        self._load(RawModule(code, options=options, backend=backend), name)

    @classmethod
    def _of(cls, module, name):
        self = object.__new__(cls)
        self._load(module, name)
        return self

    def _load(self, module, name):
        module.compile()
        self.name, self.code, self.options = name, module.code, module.options
        try:
            self._kernel = compiler.Kernel(module._compiled, name)
        except KeyError:
            raise CUDADriverError(500) from None

    def __call__(self, grid, block, args, *, shared_mem=0):
        kernel, queue = self._kernel, work.current()
        grid = tuple(max(1, int(n)) for n in (*grid, 1, 1)[:3])
        block = tuple(max(1, int(n)) for n in (*block, 1, 1)[:3])
        arguments = [_argument(x) for x in args]
        kernel.check(grid, block, arguments, shared_mem)
        count(self.name, queue, counts.kernels)
        with refusals:
            queue.add(self.name, lambda: kernel.run(grid, block, arguments))

    @property
    def shared_size_bytes(self):
        return self._kernel.shared

    @property
    def max_threads_per_block(self):
        return self._kernel.most_threads


def _argument(x):
    """The bytes that a kernel gets for an argument, as CuPy makes them."""
    if isinstance(x, ndarray):
        return compiler.Argument(np.array([x.data.ptr], np.uintp), x.data.ptr, x.dtype)
    if isinstance(x, MemoryPointer):
        return compiler.Argument(np.array([x.ptr], np.uintp), x.ptr, None)
    if x is None:
        return compiler.Argument(np.zeros(1, np.uintp), 0, None)
    if not isinstance(x, np.generic):
        kinds = {bool: np.bool_, int: np.int64, float: np.float64, complex: np.complex128}
        if type(x) not in kinds:
            raise unsupported(x)
        x = kinds[type(x)](x)
    null = x.dtype == np.uintp and x == 0  # a null pointer
    return compiler.Argument(np.array([x]), 0 if null else None, None if null else x.dtype)
