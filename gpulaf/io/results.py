"""The results of long work: each is written where it was asked for, or else beside it; none is lost."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

__all__ = ["Results"]


class Results:
    """Write results one by one; one that fails is written elsewhere, and the others follow.

    Where one failed, the block ends in an OSError that says why and where it is.

    Examples
    --------
    >>> from gpulaf.io.results import Results
    >>> with Results() as results:
    ...     path = results.write("labels.txt", lambda path: path.write_text("0 1"))
    >>> path.read_text(), path.unlink()
    ('0 1', None)
    """

    def __init__(self) -> None:
        self._failures: list[str] = []

    def __enter__(self) -> Results:
        return self

    def write(self, path: str | os.PathLike[str], write: Callable[[Path], object]) -> Path:
        """Call ``write(path)``, with other paths where that raises OSError; the path that was written.

        The others are in the same folder, in the current one and in one for temporary files; a file that is there is
        never replaced.
        """
        path = Path(path)
        try:
            write(path)
        except OSError as error:
            found = _elsewhere(path, write)
            kept = f"It is in {found} instead." if found else "No other folder took it, either: it is lost."
            self._failures.append(f"{error} {kept}")
            return found or path
        return path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._failures and (error is None or isinstance(error, Exception)):
            raise OSError(" ".join([*self._failures, *([str(error)] if error else [])])) from error


def _elsewhere(path: Path, write: Callable[[Path], object]) -> Path | None:
    """Write to the first of other paths that takes it; None where none does."""
    for candidate in _others(path):
        with suppress(OSError):
            write(candidate)
            return candidate
    return None


def _others(path: Path) -> Iterator[Path]:
    """Free names near a path, then one in a new folder for temporary files."""
    names, seen = [path.name, *(f"rescued-{k}-{path.name}" for k in range(1, 1000))], set[Path]()
    for folder in (path.parent, Path()):
        with suppress(OSError, StopIteration):  # the current folder may be gone
            folder = folder.absolute()
            free = (x for x in map(folder.joinpath, names) if x != path.absolute() and not os.path.lexists(x))
            if folder not in seen:
                seen.add(folder)
                yield next(free)
    with suppress(OSError):
        folder = Path(tempfile.mkdtemp(prefix="gpulaf-"))
        yield folder / path.name
        folder.rmdir()  # it did not take the file
