"""A device in the memory of the process: what the simulated CuPy runs on.

``counts`` tells what went over the bus and what was launched, ``memory`` holds and poisons the allocations, ``work``
queues and orders, ``compiler`` builds the ``.cu`` text with g++. Nothing here is part of CuPy; tests ask here what
CuPy does not tell.
"""

from .counts import Counts, counting, counts
from .memory import limited, memory, peak
from .work import DeviceFault, late, shuffled, wait_for_all

__all__ = ["Counts", "DeviceFault", "counting", "counts", "late", "limited", "memory", "peak", "settle", "shuffled"]


def settle() -> None:
    """Have all work done, whatever faults it has, and mend what they broke."""
    while True:
        try:
            wait_for_all()
        except DeviceFault:
            continue
        break
    memory.mend()
