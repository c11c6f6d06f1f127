"""Numba, where it is installed: how every ``cpu`` kernel is compiled, and how its rows are shared among threads.

Kernels release the interpreter lock and run on a pool of threads that sleep while there is nothing to do; their number
is Numba's (``NUMBA_NUM_THREADS``). Numba's own parallel loops would compile every kernel about three times over and
spin on the cores that other libraries need. With ``NUMBA_DISABLE_JIT=1`` the reference implementations do the work.
"""

from __future__ import annotations

import getpass
import hashlib
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

try:
    import numba

    available = not numba.config.DISABLE_JIT
except ImportError:  # the reference implementations then do the work
    available = False

LOG = logging.getLogger(__name__)

#: Operations below which a kernel runs on the calling thread: waking another one costs as much.
SMALL = 150_000

#: ``contract`` allows fused multiply-add and nothing else: sums keep their order, and a pixel gets the same bits in a
#: vector lane and in the scalar remainder of a row.
OPTIONS = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function(first, last, *operands)``, cached on disk in :func:`cache_folder`."""
    if not available:
        return function
    folder, before = cache_folder(), numba.config.CACHE_DIR
    try:
        numba.config.CACHE_DIR = folder or before  # where a function looks for its cache is decided as it is decorated
        return numba.njit(**OPTIONS, cache=folder is not None)(function)
    finally:
        numba.config.CACHE_DIR = before


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that kernels call, as a part of them."""
    return numba.njit(**OPTIONS, no_cpython_wrapper=True)(function) if available else function


def reassociating(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a sum whose order is the compiler's, so that it runs in vector lanes: one order for one length."""
    options = OPTIONS | {"fastmath": {"contract", "reassoc"}}
    return numba.njit(**options, no_cpython_wrapper=True)(function) if available else function


@cache
def cache_folder() -> str | None:
    """The folder of compiled kernels: one for every state of their text, so that none is ever stale.

    Below ``NUMBA_CACHE_DIR`` where that is set, the user's cache folder, or a private folder of temporary files where
    the home folder cannot be written. None where there is no such place: kernels then are compiled in every process.
    """
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    private = Path(tempfile.gettempdir(), f"gpulaf-{getpass.getuser() if os.name == 'nt' else os.getuid()}")
    for base in (os.environ.get("NUMBA_CACHE_DIR"), Path(home, "gpulaf"), private):
        if base and _usable(folder := Path(base, f"kernels-{digest.hexdigest()[:16]}"), base == private):
            return str(folder)
    return None


def _usable(folder: Path, shared: bool) -> bool:
    """Whether kernels can be written to a folder; in a `shared` place it must be the user's alone, as they are run."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if shared and os.name == "posix":
            states = [os.lstat(x) for x in (folder.parent, folder)]
            if not all(s.st_uid == os.getuid() and stat.S_ISDIR(s.st_mode) and not s.st_mode & 0o022 for s in states):
                return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def threads() -> int:
    """How many threads kernels share their rows among."""
    if not available:
        return 1
    _launch()
    return int(numba.get_num_threads())


@cache
def _launch() -> None:
    """Let Numba start its threads, and leave those of OpenMP as they were: it sets their number for PyTorch, too."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=None, user_api="openmp"):  # which ends by putting the numbers back
        numba.get_num_threads()


def in_blocks(function: Callable[..., Any], count: int, operations: int, *operands: Any) -> None:
    """Call ``function(first, last, *operands)`` on blocks of range(count), one block per thread.

    Every item is worked on by one thread, in the same order of operations whatever the number of threads.
    """
    in_threads(function, [(a, b, *operands) for a, b in pairwise(edges(count, operations))])


def edges(count: int, operations: int, *, least: int = 1) -> list[int]:
    """Edges of the blocks of range(count) that threads share: at least `least` items each, and worth a thread."""
    parts = max(1, min(threads(), count // least, 1 + operations // SMALL))
    return [count * t // parts for t in range(parts + 1)]


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
def compiling(notice: Callable[[int], object]) -> Iterator[None]:
    """Call ``notice(count)`` as the count-th function inside begins to be compiled; those on disk do not count."""
    if not available:
        yield
        return
    from numba.core import event

    count = 0

    class Listener(event.Listener):
        def on_start(self, event: Any) -> None:
            nonlocal count
            count += 1
            LOG.debug("compiling, function %d", count)
            notice(count)

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
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process; a forked child has none of its parent's and makes its own."""
    return ThreadPoolExecutor(max(1, numba.config.NUMBA_NUM_THREADS - 1), thread_name_prefix="gpulaf")
