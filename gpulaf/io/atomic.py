"""Write files whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed, on failure removed.

    The temporary name keeps the suffix, so writers that look at it choose the right format.
    """
    target = Path(path).resolve()  # a link stays, what it points to is replaced
    if not target.parent.is_dir():
        raise FileNotFoundError(f"folder {target.parent} does not exist. Create it first, or choose another path.")
    temporary = target.with_name(f".{target.stem}.{os.getpid()}-{get_ident()}.part{target.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
