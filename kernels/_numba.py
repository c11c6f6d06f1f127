"""Numba, where it is installed: how every ``cpu`` kernel is compiled, and how its rows are shared among threads.

Kernels release the interpreter lock and run on a pool of threads that sleep while there is nothing to do; their number
is Numba's (``NUMBA_NUM_THREADS``). Numba's own parallel loops would compile every kernel about three times over and
spin on the cores that other libraries need.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

try:
    import numba

    available = True
except ImportError:  # the reference implementations then do the work
    available = False

#: Operations below which a kernel runs on the calling thread: waking another one costs as much.
SMALL = 150_000


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function(first, last, *operands)``, cached on disk.

    ``contract`` allows fused multiply-add and nothing else, so that sums keep their order and a pixel gets the same
    bits in a vector lane and in the scalar remainder of a row.
    """
    if not available:
        return function
    compile_ = partial(numba.njit, nogil=True, fastmath={"contract"}, error_model="numpy")
    try:
        compiled = compile_(cache=True)(function)
    except RuntimeError:  # no folder to write to
        return compile_()(function)
    # Numba's cache watches the file of the kernel; the helpers that are compiled into it stand in others.
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(file, "_source_stamp"):
        file._source_stamp = (file._source_stamp, _digest())
        return compiled
    return compile_()(function)  # rather compiled again than stale


def inline(
    function: Callable[..., Any] | None = None, *, name: str = "", reassociate: bool = False, always: bool = False
) -> Callable[..., Any]:
    """Compile a helper that kernels call; `reassociate` lets a sum run in vector lanes.

    The compiler puts it where it is called if that seems worth it, or `always`: a call that hands over whole arrays
    costs more than a block of a row.

    A helper that is made by a program needs a `name` of its own within its file: cached kernels of several processes
    hold their helpers by file, name and a number that counts within a process. Two of the same name may meet there,
    and a kernel would call the other one.
    """
    if function is None:
        return partial(inline, name=name, reassociate=reassociate, always=always)
    function.__qualname__ = name or function.__qualname__
    if not available:
        return function
    flags = {"contract", "reassoc"} if reassociate else {"contract"}
    options = {"nogil": True, "fastmath": flags, "error_model": "numpy", "no_cpython_wrapper": True}
    return numba.njit(**options, forceinline=always)(function)


def in_blocks(function: Callable[..., Any], count: int, operations: int, *operands: Any) -> None:
    """Call ``function(first, last, *operands)`` on blocks of range(count), one block per thread.

    Every item is worked on by one thread, in the same order of operations whatever the number of threads.
    """
    in_threads(function, [(a, b, *operands) for a, b in pairwise(edges(count, operations))])


def edges(count: int, operations: int, *, least: int = 1) -> list[int]:
    """Edges of the blocks of range(count) that threads share: at least `least` items each, and worth a thread."""
    threads = max(1, min(numba.get_num_threads(), count // least, 1 + operations // SMALL))
    return [count * t // threads for t in range(threads + 1)]


def in_threads(function: Callable[..., Any], calls: list[tuple[Any, ...]]) -> None:
    """Call the function with each of the tuples of arguments, the first one on this thread."""
    if not calls:
        return
    calls = [tuple(map(_writable, arguments)) for arguments in calls]
    others = [_pool(os.getpid()).submit(function, *arguments) for arguments in calls[1:]]
    try:
        function(*calls[0])
    finally:
        wait(others)
    for other in others:
        other.result()


@contextmanager
def compiling(notice: Callable[[], object]) -> Iterator[None]:
    """Call ``notice()`` when the first kernel inside has to be compiled; kernels found on disk do not count."""
    if not available:
        yield
        return
    from numba.core import event

    told = False

    class Listener(event.Listener):
        def on_start(self, event: Any) -> None:
            nonlocal told
            if not told:
                told = True
                notice()

        def on_end(self, event: Any) -> None:
            pass

    with event.install_listener("numba:compile", Listener()):
        yield


class _Alias:
    """The memory of an array, without what says that it may only be read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        interface = dict(array.__array_interface__)
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}


def _writable(operand: Any) -> Any:
    """Arrays that may only be read are of another type, and every kernel would be compiled once more for them."""
    if isinstance(operand, np.ndarray) and not operand.flags.writeable:
        return np.asarray(_Alias(operand))
    return operand


@cache
def _digest() -> str:
    """Of the text of every kernel and helper."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process; a forked child has none of its parent's and makes its own."""
    return ThreadPoolExecutor(max(1, numba.config.NUMBA_NUM_THREADS - 1), thread_name_prefix="gpulaf")
