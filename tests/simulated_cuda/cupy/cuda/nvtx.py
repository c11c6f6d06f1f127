"""``cupy.cuda.nvtx``: ranges, kept in a list that tests may read."""

from __future__ import annotations

#: Names of the ranges that are open, and of all that were opened.
_open: list[str] = []
_opened: list[str] = []
available = True


def RangePush(message, id_color=-1):
    _open.append(message)
    _opened.append(message)


def RangePop():
    _open.pop()
