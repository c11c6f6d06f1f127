"""Run a task on tiles, one after the other or on a Dask cluster, never with more than a few of them in flight."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol

from .store import TileIndex, Written

__all__ = ["TileResult", "TileTask", "cluster", "run_task"]

#: Seconds to wait for a worker, and for a tile until it is asked whether there is one.
PATIENCE = 30


class TileTask(Protocol):
    """A task for each tile, in three parts: files are read and written while another tile is computed."""

    def read(self, tile: TileIndex) -> Any:
        """Read what the tile depends on."""

    def compute(self, tile: TileIndex, read: Any) -> Any:
        """Compute the blocks of the tile."""

    def write(self, tile: TileIndex, blocks: Any) -> Written:
        """Write the blocks; return what it left."""


class TileResult(NamedTuple):
    """A tile that was tried: what was written, or what went wrong."""

    tile: TileIndex
    written: Written
    error: Exception | None


def run_task(task: TileTask, tiles: Iterable[TileIndex], client: Any = None) -> Iterator[TileResult]:
    """Run a task on each tile, in this process or by a ``distributed.Client``; failures come back like results.

    Raises
    ------
    OSError
        Where a disk is full: no other tile could be written either.
    """
    for done in _run_in_process(task, iter(tiles)) if client is None else _run_on_cluster(task, iter(tiles), client):
        if isinstance(done.error, OSError) and done.error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(
                done.error.errno,
                f"the disk is full ({done.error.strerror}); what is finished is kept. Make room and start again",
            ) from done.error
        yield done


def _run_in_process(task: TileTask, tiles: Iterator[TileIndex]) -> Iterator[TileResult]:
    """Compute one tile after the other; meanwhile read the next one and write the one before."""
    with ThreadPoolExecutor(2, thread_name_prefix="gpulaf-files") as files:
        written: Future[TileResult] | None = None
        ahead = [(tile, files.submit(task.read, tile)) for tile in islice(tiles, 1)]
        while ahead:
            tile, read = ahead.pop()
            try:
                found: Any = read.result()
                ahead = [(after, files.submit(task.read, after)) for after in islice(tiles, 1)]
                found = task.compute(tile, found)
                write = partial(_attempt, task.write, tile, found)
            except Exception as error:  # of any kind: the other tiles go on
                write = partial(TileResult, tile, Written({}), error)
                ahead = ahead or [(after, files.submit(task.read, after)) for after in islice(tiles, 1)]
            if written is not None:
                yield written.result()
            written = files.submit(write)
        if written is not None:
            yield written.result()


def _attempt(function: Callable[..., Written], tile: TileIndex, *operands: Any) -> TileResult:
    try:
        return TileResult(tile, function(tile, *operands), None)
    except Exception as error:  # of any kind: the other tiles go on
        return TileResult(tile, Written({}), error)


def _read_compute_write(task: TileTask, tile: TileIndex) -> Written:
    return task.write(tile, task.compute(tile, task.read(tile)))


def _run_on_cluster(task: TileTask, tiles: Iterator[TileIndex], client: Any) -> Iterator[TileResult]:
    """Run tiles on a cluster, two for each thread at a time."""
    from distributed import CancelledError, wait

    whole = partial(_read_compute_write, task)

    def submit(count: int) -> dict[Any, TileIndex]:
        return {client.submit(_attempt, whole, tile, pure=False): tile for tile in islice(tiles, count)}

    waiting = submit(2 * max(1, sum(client.nthreads().values())))
    while waiting:
        try:
            ready = wait(list(waiting), timeout=PATIENCE, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            _check_workers(client)
            continue
        except CancelledError as lost:
            raise ConnectionError("the scheduler was lost. What is finished is kept: start again.") from lost
        for future in ready:
            tile, died = waiting.pop(future), future.exception()  # of a worker that was killed again and again
            yield future.result() if died is None else TileResult(tile, Written({}), died)
            waiting |= submit(1)


def _check_workers(client: Any) -> None:
    """Raise ConnectionError where no worker is left, as tiles would be waited for without end."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        raise ConnectionError(
            "no worker is left: all have ended, as where they cannot import what a tile needs; their output says why. "
            "What is finished is kept: start again."
        ) from error


@contextmanager
def cluster(workers: int, scheduler: str | None, gpu: bool = False) -> Iterator[Any]:
    """A client of a running scheduler or of `workers` new processes; None for this process."""
    if scheduler is None and workers <= 1:
        yield None
        return
    import dask
    from distributed import Client, LocalCluster

    if scheduler is not None:
        with _connected(scheduler) as client:
            yield client
        return
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    options: dict[str, Any] = {"dashboard_address": ":0", "memory_limit": 0}
    if gpu:
        try:
            from dask_cuda import LocalCUDACluster
        except ImportError as error:
            raise ImportError(
                f"{workers} processes on GPUs need Dask-CUDA, which is not installed. Install it with: "
                "python -m pip install 'gpulaf[large-gpu]'. Or take one process, or the CPU."
            ) from error

        started: Any = LocalCUDACluster
        options |= {"n_workers": workers}
    else:
        started = LocalCluster
        options |= {"n_workers": workers, "threads_per_worker": 1, "env": {"NUMBA_NUM_THREADS": threads}}
    alone = dask.config.set({"distributed.scheduler.worker-saturation": 1.0})  # a worker that dies takes one tile along
    with alone, started(**options) as processes, Client(processes) as client:
        yield client


def _connected(scheduler: str) -> Any:
    """A client of a running scheduler that has workers."""
    from distributed import Client

    client = None
    try:
        client = Client(scheduler, timeout=PATIENCE)
        client.wait_for_workers(1, timeout=PATIENCE)
    except (OSError, ValueError) as error:  # TimeoutError is one, too
        if client is not None:
            client.close()
        raise ConnectionError(
            f"the scheduler {scheduler} or its workers do not answer: {error}. Check the address, and start workers "
            f"with: dask worker {scheduler}"
        ) from error
    return client
