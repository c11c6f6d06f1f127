"""Progress bars: on a terminal, silent without one, and harmless on a standard error that is gone."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from gpulaf.backend.progress import is_terminal, progress_bar


class Terminal(io.StringIO):
    """A stream that says to be a terminal."""

    def isatty(self) -> bool:
        return True


class Broken(Terminal):
    """One whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        self.write("")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


def work(**options: Any) -> None:
    with progress_bar(total=3, desc="work", mininterval=0, **options) as bar:
        for k in range(3):
            bar.set_postfix_str(f"loss {k}")
            bar.set_description("working")
            bar.update()
    assert list(progress_bar(range(3), **options)) == [0, 1, 2]


@pytest.mark.parametrize("shown", [None, True, False])
@pytest.mark.parametrize("stream", [lambda: None, closed, Broken, object], ids=["none", "closed", "broken", "odd"])
def test_a_stream_that_takes_nothing_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, stream: Any, shown: bool | None
) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    work(shown=shown)
    assert is_terminal() is isinstance(sys.stderr, Broken)


@pytest.mark.parametrize(("terminal", "shown", "seen"), [
    (True, None, True), (True, False, False), (False, None, False), (False, True, True),
])  # fmt: skip
def test_where_bars_are_seen(monkeypatch: pytest.MonkeyPatch, terminal: bool, shown: bool | None, seen: bool) -> None:
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    work(shown=shown)
    assert bool(stream.getvalue()) is seen
    assert ("working: 100%" in stream.getvalue()) is seen
