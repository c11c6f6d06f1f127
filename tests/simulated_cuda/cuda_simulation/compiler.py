"""Builds the text of a ``.cu`` file with g++, kept by text; runs its kernels with checked arguments."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .memory import IllegalAddress, memory
from .work import DeviceFault

_FOLDER = Path(__file__).parent
FLAGS = ("-O1", "-shared", "-fPIC", "-Wno-unknown-pragmas", "-fno-gnu-unique", "-ffp-contract=off")
#: Limits of a launch on every GPU since 2010.
MOST_THREADS, MOST_SHARED = 1024, 48 * 1024
MOST_BLOCK, MOST_GRID = (1024, 1024, 64), (2**31 - 1, 65535, 65535)
_ENTRY = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\(((?:[^()]|\([^()]*\))*)\)\s*)?(\w+)\s*\(")


class BuildError(Exception):
    """What the compiler says."""


class Parameter(ctypes.Structure):
    """See shim.h."""

    _fields_ = [(n, ctypes.c_uint) for n in ("size", "alignment", "pointee", "pointee_alignment", "written", "kind")]


class Argument(NamedTuple):
    """One argument of a launch: its bytes, and the address that it is, where it is one."""

    value: np.ndarray
    address: int | None
    dtype: np.dtype[Any] | None


@cache
def folder() -> Path:
    """Where libraries are kept between runs."""
    path = Path(tempfile.gettempdir()) / f"simulated-cuda-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _built(text: str, flags: tuple[str, ...]) -> Path:
    """The library of a C++ text; made once."""
    key = hashlib.sha256("\n".join((text, *flags)).encode()).hexdigest()
    library = folder() / f"{key[:32]}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder()) as work:
            made = Path(work) / "made.so"
            command = ["g++", *flags, "-x", "c++", "-", "-o", str(made)]
            clean = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
            done = subprocess.run(command, input=text, capture_output=True, text=True, env=clean, check=False)
            if done.returncode:
                raise BuildError(done.stderr)
            made.rename(library)
    return library


@cache
def runtime() -> ctypes.CDLL:
    """The library that runs grids."""
    text = (_FOLDER / "runtime.cpp").read_text(encoding="utf-8")
    library = _built(text, ("-std=c++17", "-O2", "-shared", "-fPIC", "-U_FORTIFY_SOURCE", "-fcf-protection=none"))
    result = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    result.shared_memory.restype = ctypes.c_size_t
    result.run.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t,
        ctypes.c_size_t, ctypes.c_uint,
    ]  # fmt: skip
    return result


class Module:
    """The kernels of a text, compiled."""

    def __init__(self, text: str, options: tuple[str, ...]) -> None:
        runtime()
        entries = _ENTRY.findall(text)
        parts = [(_FOLDER / "shim.h").read_text(encoding="utf-8"), text]
        parts += [f"SIMULATED_ENTRY({name}, {bound or MOST_THREADS}, 0)" for bound, name in entries]
        path = _built("\n".join(parts), (*options, *FLAGS))
        self.library = ctypes.CDLL(str(path))
        self.barriers = b"simulated_barrier" in path.read_bytes()
        self.names = [name for _, name in entries]


class Kernel:
    """One kernel of a module."""

    def __init__(self, module: Module, name: str) -> None:
        if name not in module.names:
            raise KeyError(name)
        self.name, self._module = name, module
        library = module.library
        table = (Parameter * 64)()
        self.parameters = list(table[: library[f"describe_{name}"](table)])
        self.most_threads = library[f"bound_{name}"]()
        self._call = ctypes.cast(library[f"call_{name}"], ctypes.c_void_p)
        place = ctypes.c_size_t()
        self.shared = runtime().shared_memory(self._call, ctypes.byref(place))
        self._tls, self._runs = place.value, 0

    def check(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: list[Argument], shared: int) -> None:
        """Refuse what the driver would, and what it would not see."""
        if any(not 1 <= n <= most for n, most in zip(grid, MOST_GRID, strict=True)):
            raise DeviceFault(f"{self.name}: grid {grid}; accepted is up to {MOST_GRID}")
        threads = block[0] * block[1] * block[2]
        if any(not 1 <= n <= most for n, most in zip(block, MOST_BLOCK, strict=True)) or threads > self.most_threads:
            raise DeviceFault(f"{self.name}: block {block}; accepted are up to {self.most_threads} threads")
        if self.shared + shared > MOST_SHARED:
            raise DeviceFault(f"{self.name}: {self.shared + shared} bytes of shared memory of a block")
        if len(arguments) != len(self.parameters):
            raise DeviceFault(f"{self.name}: {len(arguments)} arguments for {len(self.parameters)} parameters")
        for k, (argument, parameter) in enumerate(zip(arguments, self.parameters, strict=True)):
            self._check_argument(k, argument, parameter)

    def _check_argument(self, k: int, argument: Argument, parameter: Parameter) -> None:
        where = f"{self.name}: argument {k}"
        if argument.value.nbytes != parameter.size:
            raise DeviceFault(f"{where} has {argument.value.nbytes} bytes; the parameter has {parameter.size}")
        kind, found = chr(parameter.kind), argument.dtype
        if parameter.pointee:
            if argument.address is None:
                raise DeviceFault(f"{where} is a number; the parameter is a pointer")
            if argument.address % parameter.pointee_alignment:
                raise DeviceFault(f"{where} is an address that is not aligned to {parameter.pointee_alignment}")
            if found is not None and (found.itemsize, found.kind) != (parameter.pointee, kind):
                raise DeviceFault(f"{where} is an array of {found}; the parameter points to {parameter.pointee} {kind}")
        elif argument.address:
            raise DeviceFault(f"{where} is an address; the parameter is a number")
        elif found is not None and found.kind != kind:
            raise DeviceFault(f"{where} is {found}; the parameter is of kind {kind}")

    def run(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: list[Argument]) -> None:
        """Run a grid, on memory that is allocated now."""
        written = []
        for k, (argument, parameter) in enumerate(zip(arguments, self.parameters, strict=True)):
            if argument.address:
                try:
                    memory.allocation(argument.address)
                except IllegalAddress as error:
                    raise DeviceFault(f"{self.name}: argument {k}: {error}") from None
                if parameter.written:
                    written.append(argument.address)
        self._runs += 1
        pointers = np.array([a.value.ctypes.data for a in arguments], np.uintp)
        sizes = np.array([*grid, *block], np.uintc)
        at = sizes.ctypes.data
        seed = 2463534242 + 2 * self._runs
        status = runtime().run(
            self._call, pointers.ctypes.data, at, at + 12, self._module.barriers, self._tls, self.shared, seed
        )
        if status:
            why = ("a barrier was not reached by all threads of a block", "an address that has no memory")[status - 1]
            raise DeviceFault(f"{self.name}: {why}")
        for address in written:
            if not memory.guard_intact(address):
                raise DeviceFault(f"{self.name} writes past the end of an allocation")
