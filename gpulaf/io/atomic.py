"""Write files whole or not at all, and prove before the work that they can be written."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOSYS, ENOTSUP
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["ROOM", "as_path", "check_folder", "check_writable", "whole_file"]

LOG = logging.getLogger(__name__)
#: Bytes that a file is proved to have room for, where its size is not known.
ROOM = 2**16


def as_path(path: Any) -> Path:
    """A path; TypeError for what is none."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"the path is {path!r:.60}; accepted are text and pathlib paths. Name a file.")
    return Path(path)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed, on failure removed.

    The temporary name keeps the suffix, so writers that look at it choose the right format. No two runs have the same
    one, on whatever machine: of several that write one path, the last whole file stays.

    Raises
    ------
    OSError
        One that says which file cannot be written, and why.
    """
    target = _target(path)
    temporary = _temporary(target)
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        size = temporary.stat().st_size
        os.replace(temporary, target)
        LOG.info("wrote %s, %d bytes", path, size)
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) not in (temporary, target):
            raise  # of another file, that the writer reads
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str], room: int = ROOM) -> None:
    """Prove that a file of `room` bytes can be written; nothing is left, and a file that is there is not touched.

    Raises
    ------
    OSError
        One that says which file cannot be written, and why.
    """
    _prove(_target(path), path, room)


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Prove that files can be written to a folder, however small; see :func:`check_writable`."""
    _prove(_target(Path(folder, "file")), f"folder {folder}", 1)


def _prove(target: Path, name: str | os.PathLike[str], room: int) -> None:
    """Make a file beside a target and remove it."""
    temporary = _temporary(target)
    try:
        with open(temporary, "xb") as file:
            _reserve(file, room, target.parent)
    except OSError as error:
        raise _unwritable(name, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _reserve(file: BinaryIO, room: int, folder: Path) -> None:
    """Let the system set bytes of an empty file aside; where it cannot, look at what is free."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, room)
            return
        except OSError as error:
            if error.errno not in (EINVAL, ENOSYS, ENOTSUP):
                raise
    file.write(bytes(min(room, ROOM)))
    file.flush()
    os.fsync(file.fileno())
    free = shutil.disk_usage(folder).free
    if free < room:
        raise OSError(f"it takes {room / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free")


def _target(path: str | os.PathLike[str]) -> Path:
    """The file that a path names, through links: a link stays, what it points to is replaced."""
    try:
        target = Path(path).resolve()
        mode = target.stat().st_mode if target.exists() else None
    except (OSError, RuntimeError) as error:  # names that are too long, links in a circle
        raise _unwritable(path, error) from error
    if not target.parent.is_dir():
        given = Path(path).parent
        missing = target.parent if given.is_dir() else given
        raise FileNotFoundError(f"folder {missing} does not exist. Create it first, or choose another path.")
    if mode is None:
        return target
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder. Choose the name of a file.")
    if not stat.S_ISREG(mode):
        raise OSError(f"{path} is a device or a pipe. Choose the name of a file.")
    if not os.access(target, os.W_OK):
        raise PermissionError(f"{path} is write-protected. Choose another name, or have it opened for you.")
    return target


def _temporary(target: Path) -> Path:
    """A name beside the target that no other run takes, as short as names may be."""
    return target.with_name(f".{target.stem[:40]}.{os.getpid()}-{secrets.token_hex(4)}.part{target.suffix}")


def _unwritable(path: str | os.PathLike[str], error: Exception) -> OSError:
    """The sentence of an error of the system, in an error of the same type."""
    reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip().rstrip(".")
    kind = type(error) if isinstance(error, OSError) else OSError
    return kind(f"{path} cannot be written: {reason}. Make room or have the folder opened, or choose another path.")
