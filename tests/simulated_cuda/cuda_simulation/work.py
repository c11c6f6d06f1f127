"""Queues of work, done as late as CUDA allows: when the host waits for it.

An item waits for the one before it in its queue, for events, and for the legacy default stream as CUDA says. Waiting
runs what the awaited item needs and nothing else (``late``), or, after ``shuffled(seed)``, any items that may run.
"""

from __future__ import annotations

import atexit
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import RLock, local
from time import perf_counter

from .counts import counts

lock = RLock()
_order: random.Random | None = None
_numbers = count(1)
_busy: set[Queue] = set()


class DeviceFault(Exception):
    """What a driver or a debugger of memory would report: a wrong argument, an illegal address, a broken guard."""


class CaptureError(Exception):
    """Work that CUDA does not allow while a queue is recorded; holds the number of the CUDA error."""


UNSUPPORTED, IMPLICIT, INVALIDATED = 900, 906, 901


class Item:
    """A piece of work."""

    __slots__ = ("after", "done", "name", "queue", "run", "time")

    def __init__(self, queue: Queue, name: str, run: Callable[[], None] | None, after: list[Item]) -> None:
        self.queue, self.name, self.run, self.after = queue, name, run, after
        self.done, self.time = False, 0.0


class Queue:
    """The work of one stream, in order; ``recorded`` holds what is captured instead of queued."""

    def __init__(self, blocking: bool = True) -> None:
        self.number, self.blocking = next(_numbers), blocking
        self.items: deque[Item] = deque()
        self.last: Item | None = None
        self.recorded: list[tuple[str, Callable[[], None]]] | None = None
        self._wait_for: list[Item] = []

    def add(self, name: str, run: Callable[[], None] | None = None, *, own: bool = False) -> Item:
        """Queue work, or record it; `own` work of the simulation is never refused."""
        with lock:
            if self.recorded is not None:
                self.recorded.append((name, run or (lambda: None)))
                return Item(self, name, None, [])
            after, self._wait_for = self._wait_for, []
            if self is default:
                if not own and any(q.blocking for q in _capturing):
                    raise CaptureError(IMPLICIT)
                after += [q.items[-1] for q in _busy if q.blocking and q is not self]
            elif self.blocking and default.items:
                after.append(default.items[-1])
            item = Item(self, name, run, after)
            self.items.append(item)
            self.last = item
            _busy.add(self)
            return item

    def wait_for(self, item: Item | None) -> None:
        """Do nothing that is queued from now on before an item is done."""
        if item is not None and not item.done:
            self._wait_for.append(item)

    def wait(self) -> None:
        """Have all work done."""
        with lock:
            check_not_recording(self)
            counts.waits += 1
            if self is default:
                for queue in list(_busy):
                    if queue.blocking and queue.items:
                        finish(queue.items[-1])
            if self.items:
                finish(self.items[-1])

    def begin_recording(self) -> None:
        with lock:
            if self.recorded is not None:
                raise CaptureError(UNSUPPORTED)
            self.recorded = []
            _capturing.add(self)

    def end_recording(self) -> list[tuple[str, Callable[[], None]]]:
        with lock:
            if self.recorded is None:
                raise CaptureError(INVALIDATED)
            recorded, self.recorded = self.recorded, None
            _capturing.discard(self)
            return recorded


_capturing: set[Queue] = set()
default = Queue()
_local = local()


def current() -> Queue:
    """The queue of the current stream of this thread."""
    return getattr(_local, "queue", default)


def set_current(queue: Queue) -> None:
    _local.queue = queue


def check_not_recording(queue: Queue) -> None:
    """Refuse to wait for a queue that is recorded."""
    if queue.recorded is not None:
        raise CaptureError(UNSUPPORTED)


def wait_for_all() -> None:
    """Have all work of all queues done."""
    with lock:
        if _capturing:
            raise CaptureError(UNSUPPORTED)
        counts.waits += 1
        while _busy:
            finish(next(iter(_busy)).items[-1])


_running, _idle = 0, []
_closed: list[bool] = []
atexit.register(_closed.append, True)


def when_idle(run: Callable[[], None]) -> None:
    """Do something when nothing is queued: now, after all that is, or, in the middle of work, after that."""
    with lock:
        if _closed:
            return
        _idle.append(run)
        if not _running:
            _become_idle()


def _become_idle() -> None:
    global _running
    while _idle:
        _running += 1
        try:
            while _busy:
                _finish(next(iter(_busy)).items[-1])
        finally:
            _running -= 1
        waiting, _idle[:] = list(_idle), []
        for run in waiting:
            run()


def finish(item: Item) -> None:
    """Do an item and what it waits for, in the chosen order."""
    global _running
    with lock:
        _running += 1
        try:
            _finish(item)
        finally:
            _running -= 1
        if not _running:
            _become_idle()


def _finish(item: Item) -> None:
    with lock:
        if _order is not None:
            while not item.done:
                ready = [q.items[0] for q in sorted(_busy, key=lambda q: q.number)]
                _do(_order.choice([x for x in ready if all(y.done for y in x.after)]))
            return
        queue = item.queue
        while not item.done:
            head = queue.items[0]
            for before in head.after:
                if not before.done:
                    _finish(before)
            _do(head)


def _do(item: Item) -> None:
    items = item.queue.items
    items.popleft()
    if not items:
        _busy.discard(item.queue)
    item.done, run, item.run, item.after = True, item.run, None, []
    if run is not None:
        run()
    item.time = perf_counter()


@contextmanager
def shuffled(seed: int) -> Iterator[None]:
    """Do the work of different queues in any order that CUDA allows, drawn by a seed."""
    global _order
    before, _order = _order, random.Random(seed)
    try:
        yield
    finally:
        _order = before


@contextmanager
def late() -> Iterator[None]:
    """Do what is waited for and nothing else, as always outside of :func:`shuffled`."""
    global _order
    before, _order = _order, None
    try:
        yield
    finally:
        _order = before
