"""Streams, events and graphs."""

from __future__ import annotations

from weakref import WeakValueDictionary

from cuda_simulation import counts, work

from ._runtime import CUDARuntimeError, refusals

#: Queries of something unfinished that are answered with no before it is done.
_PATIENCE = 3
#: Of the streams that there are, by the address that other libraries know them by.
_QUEUES = WeakValueDictionary()


class _Queries:
    """Answers whether work is done: no at first."""

    def __init__(self):
        self.asked = 0

    def done(self, item):
        if item is None or item.done:
            return True
        self.asked += 1
        if self.asked > _PATIENCE:
            self.asked = 0
            work.finish(item)
        return item.done


class _BaseStream:
    def __init__(self, ptr, device_id):
        self.ptr, self.device_id = ptr, device_id
        self._queries, self._before = _Queries(), []

    def __eq__(self, other):
        return isinstance(other, _BaseStream) and self.ptr == other.ptr

    def __hash__(self):
        return self.ptr

    def __enter__(self):
        self._before.append(get_current_stream())
        return self.use()

    def __exit__(self, *arguments):
        self._before.pop().use()

    def use(self):
        work.set_current(self._queue)
        work._local.stream = self
        return self

    @property
    def done(self):
        with refusals:
            work.check_not_recording(self._queue)
        return self._queries.done(self._queue.items[-1] if self._queue.items else None)

    @property
    def is_non_blocking(self):
        return not self._queue.blocking

    def synchronize(self):
        with refusals:
            self._queue.wait()

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        if self._queue.recorded is not None and event._item is not None and not event._item.done:
            raise CUDARuntimeError(900)  # joins of streams in a graph are not simulated
        self._queue.wait_for(event._item)

    def launch_host_func(self, callback, arg):
        self._queue.add("host function", lambda: callback(arg))

    def begin_capture(self, mode=None):
        if self.ptr in (0, 1):
            raise RuntimeError("cannot capture on the default (legacy) stream")
        with refusals:
            self._queue.begin_recording()

    def end_capture(self):
        with refusals:
            return Graph._of(self._queue.end_recording())

    def is_capturing(self):
        return self._queue.recorded is not None


class Stream(_BaseStream):
    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self._queue = work.default if null or ptds else work.Queue(blocking=not non_blocking)
        super().__init__(0 if null else 1 if ptds else 0x5000 + self._queue.number, 0)
        _QUEUES[self.ptr] = self._queue

    @classmethod
    def from_external(cls, obj):
        if not hasattr(obj, "__cuda_stream__"):
            raise TypeError(f"{type(obj).__name__} does not implement __cuda_stream__")
        stream = cls.__new__(cls)
        _, ptr = obj.__cuda_stream__()
        stream._queue, stream._foreign = _QUEUES[ptr], obj
        _BaseStream.__init__(stream, ptr, 0)
        return stream


Stream.null = Stream(null=True)


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        if interprocess and not disable_timing:
            raise ValueError("Timing must be disabled for interprocess events")
        self._item, self._queries, self._timed = None, _Queries(), not disable_timing

    @property
    def done(self):
        return self._queries.done(self._item)

    def record(self, stream=None):
        with refusals:
            self._item = (work.current() if stream is None else stream._queue).add("event")

    def synchronize(self):
        with refusals, work.lock:
            if self._item is not None:
                work.check_not_recording(self._item.queue)
                counts.waits += 1
                work.finish(self._item)


def get_elapsed_time(start_event, end_event):
    for event in (start_event, end_event):
        if event._item is None or not event._timed:
            raise CUDARuntimeError(400)
        if not event._item.done:
            raise CUDARuntimeError(600)
    return 1e3 * (end_event._item.time - start_event._item.time)


def get_current_stream(device_id=-1):
    return getattr(work._local, "stream", Stream.null)


class Graph:
    """Recorded work, which runs again on the addresses that it saw."""

    def __init__(self, *args, **kwargs):
        raise RuntimeError("Cannot instantiate Graph directly: use Stream.begin_capture() and Stream.end_capture()")

    @classmethod
    def _of(cls, recorded):
        self = object.__new__(cls)
        self._recorded = recorded
        return self

    def launch(self, stream=None):
        queue = work.current() if stream is None else stream._queue
        counts.replays += 1
        recorded = self._recorded

        def run():
            for _, step in recorded:
                step()

        with refusals:
            queue.add("graph", run)

    def upload(self, stream=None):
        pass
