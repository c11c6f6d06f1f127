"""Progress bars on standard error, silent where there is none and never the end of the work; what Ctrl-C leaves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["is_terminal", "progress_bar", "stoppable"]


def progress_bar(*iterable: Any, shown: bool | None = None, **options: Any) -> Any:
    """A bar of tqdm.

    Parameters
    ----------
    iterable : iterable, optional
    shown : bool, optional
        None shows it where standard error is a terminal. Without a standard error it is never shown.
    **options
        Of ``tqdm.tqdm``.
    """
    from tqdm import tqdm

    there = sys.stderr is not None and not getattr(sys.stderr, "closed", False)
    hidden = not (there and (is_terminal() if shown is None else shown))
    return tqdm(*iterable, file=_StandardError(), disable=hidden, **options)


@contextmanager
def stoppable(kept: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C say what is kept of the work, and how to go on, in a note of the KeyboardInterrupt."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note(kept())
        raise


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    with suppress(AttributeError, OSError, ValueError):  # there is none, or it was closed
        return sys.stderr.isatty()
    return False


class _StandardError:
    """Standard error as it is at the moment; what cannot be written to it is not."""

    def write(self, text: str) -> None:
        with suppress(Exception):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(Exception):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)
