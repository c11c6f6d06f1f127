"""What crosses the bus, what is launched and how often the host waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields


@dataclass
class Counts:
    """Numbers since the process began, or in a block of :func:`counting`."""

    #: Copies to the host and their bytes.
    reads: int = 0
    read_bytes: int = 0
    #: Copies from the host and their bytes.
    writes: int = 0
    written_bytes: int = 0
    #: Waits of the host for the device.
    waits: int = 0
    #: Kernels of the ``.cu`` files that the host launches, by name.
    kernels: Counter[str] = field(default_factory=Counter)
    #: Kernels of CuPy itself that the host launches, by the name of the function.
    operations: Counter[str] = field(default_factory=Counter)
    #: Kernels of both kinds that are recorded into a graph, and launches of graphs.
    recorded: int = 0
    replays: int = 0

    @property
    def launches(self) -> int:
        """What the host launches one by one."""
        return self.kernels.total() + self.operations.total()

    def copied(self) -> Counts:
        return Counts(**{f.name: type(x)(x) for f in fields(self) for x in (getattr(self, f.name),)})


#: Of the whole process.
counts = Counts()


@contextmanager
def counting() -> Iterator[Counts]:
    """What is done inside the block; the numbers are there when it ends."""
    before, during = counts.copied(), Counts()
    try:
        yield during
    finally:
        for f in fields(during):
            setattr(during, f.name, getattr(counts, f.name) - getattr(before, f.name))
