"""What -v shows: the log of gpulaf on standard error."""

from __future__ import annotations

import logging

import click

from ..backend.progress import is_terminal

__all__ = ["log_to_stderr", "stop_logging"]

LOGGER = logging.getLogger("gpulaf")


class _Lines(logging.Handler):
    """One line for each record: seconds since the start, module, message."""

    def emit(self, record: logging.LogRecord) -> None:
        clear = "\r\033[K" if is_terminal() else ""  # what a progress bar wrote
        module = record.name.removeprefix("gpulaf.")
        click.echo(f"{clear}{record.relativeCreated / 1000:8.2f} s  {module}: {record.getMessage()}", err=True)


def log_to_stderr(verbosity: int) -> None:
    """Show records of gpulaf: those of level INFO where `verbosity` is 1, of DEBUG, too, where it is more."""
    LOGGER.setLevel(logging.INFO if verbosity == 1 else logging.DEBUG)
    if not any(isinstance(handler, _Lines) for handler in LOGGER.handlers):
        LOGGER.addHandler(_Lines())


def stop_logging() -> None:
    """Take that back."""
    for handler in [handler for handler in LOGGER.handlers if isinstance(handler, _Lines)]:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(logging.NOTSET)
