"""Calls on several threads, whose results come in the order of their tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

__all__ = ["in_order"]

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_order(call: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """``map(call, tasks)`` with as many tasks at a time as there are workers.

    Kernels share their threads among all of them; BLAS has one for each, as its threads would wait for each other.
    """
    if workers < 2:
        yield from map(call, tasks)
        return
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        waiting = deque[Future[Result]]()
        for task in tasks:
            if len(waiting) == workers:
                yield waiting.popleft().result()
            waiting.append(pool.submit(call, task))
        while waiting:
            yield waiting.popleft().result()
