"""Results that are not complete yet: arrays in OUT.partial, a journal of the finished tiles, the final move."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zlib import crc32

import numpy as np

from ..io.atomic import whole_file

__all__ = [
    "PartialResult", "TileIndex", "Written", "add_attributes", "create_array", "flush", "is_complete", "open_partial",
    "stored_fingerprint", "write_block",
]  # fmt: skip

#: Marks a folder as a partial result of this library, with the version of its layout.
FORMAT = "gpulaf partial result 3"
RUN, JOURNAL = "run.json", "journal"


class TileIndex(NamedTuple):
    """Level and place of a tile: a square or cubic block of the labels, or of a level of their pyramid."""

    level: int
    #: Its row and column, of a volume its layer, row and column.
    place: tuple[int, ...]

    def window(self, side: int, shape: tuple[int, ...], halo: int = 0) -> tuple[slice, ...]:
        """Rows and columns of the tile, of a volume planes before them, and `halo` more where the image has them."""
        return tuple(
            slice(max(0, k * side - halo), min((k + 1) * side + halo, n))
            for k, n in zip(self.place, shape, strict=False)
        )


class Written(NamedTuple):
    """What writing a tile has left."""

    #: Names of files, with their sizes and checksums.
    files: dict[str, Any]
    #: Number of pixels of each label, where they are labels of the whole image.
    pixels: list[int] | None = None


@dataclass
class PartialResult:
    """The folder OUT.partial, held by one run at a time.

    A tile counts as finished when its line stands in the journal and every file that the line names has the size and
    the checksum that it had when it was written.
    """

    folder: Path
    journal: BinaryIO
    #: Finished tiles, with the number of pixels of each label where they were counted.
    done: dict[TileIndex, list[int] | None] = field(default_factory=dict)
    #: Whether an earlier run began it, and whether that run had finished all tiles.
    resumed: bool = False
    complete: bool = False

    @property
    def pixels(self) -> list[int]:
        """Number of pixels of each label in the finished tiles; of a complete result, as it was noted."""
        if self.complete:
            return list(_read_run(self.folder)["pixels"])
        return [sum(counts) for counts in zip(*(x for x in self.done.values() if x is not None), strict=True)]

    def record(self, tile: TileIndex, written: Written) -> None:
        """Note a tile whose files are on disk."""
        self.journal.write(_line(tile, written))
        self.journal.flush()
        os.fsync(self.journal.fileno())
        self.done[tile] = written.pixels

    def move_results(self, moves: Mapping[str, Path]) -> None:
        """Move parts of the folder to where they belong, and remove the rest.

        The moves are noted first: a run that is killed in between is ended by the next one.
        """
        moved = {name: str(target) for name, target in moves.items()}
        run = _read_run(self.folder) | {"moves": moved, "pixels": self.pixels}
        _write_json(self.folder / RUN, run)
        self.finish_moves()

    def finish_moves(self) -> None:
        """Move what is not moved yet."""
        for name, target in _read_run(self.folder)["moves"].items():
            if (self.folder / name).exists():
                os.replace(self.folder / name, target)
        shutil.rmtree(self.folder)


@contextmanager
def open_partial(folder: Path, fingerprint: Mapping[str, Any], *, restart: bool = False) -> Iterator[PartialResult]:
    """Create a partial result, or go on with the one that is there.

    Raises
    ------
    FileExistsError, BlockingIOError
        If the folder is something else, was begun with another input or other options, or another run holds it.
    """
    fingerprint = json.loads(json.dumps(fingerprint))
    if restart and (folder / JOURNAL).exists():
        _read_run(folder)
        _locked_journal(folder).close()
        shutil.rmtree(folder)
    resumed = (folder / JOURNAL).exists()
    if resumed:
        run = _read_run(folder)
        if run["fingerprint"] != fingerprint:
            raise FileExistsError(_difference(folder, run["fingerprint"], fingerprint))
    else:
        _new_folder(folder)
        _write_json(folder / RUN, {"format": FORMAT, "fingerprint": fingerprint})
    partial = PartialResult(folder, _locked_journal(folder), resumed=resumed, complete=is_complete(folder))
    try:
        if resumed and not partial.complete:
            for path in folder.rglob("*.partial"):  # what a killed writer left half-written
                path.unlink(missing_ok=True)
            _read_journal(partial)
        yield partial
    finally:
        partial.journal.close()


def stored_fingerprint(folder: Path) -> dict[str, Any]:
    """The fingerprint of a partial result; empty where there is none."""
    return dict(_read_run(folder)["fingerprint"]) if (folder / JOURNAL).exists() else {}


def is_complete(folder: Path) -> bool:
    """Whether a run finished all tiles here and was stopped while it moved the results."""
    try:
        return "moves" in json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def create_array(
    folder: Path, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any, axes: tuple[str, ...],
    attributes: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Create a Zarr v3 array, or find it there; every chunk is a file with a checksum inside."""
    import zarr
    from zarr.codecs import ZstdCodec

    if (folder / name / "zarr.json").is_file():
        return
    chunks = tuple(min(c, max(1, n)) if k > 1 else c for k, (c, n) in enumerate(zip(chunks, shape, strict=True)))
    zarr.create_array(
        str(folder / name), shape=shape, chunks=chunks, dtype=dtype, fill_value=0, dimension_names=axes,
        compressors=ZstdCodec(level=3, checksum=True), attributes=attributes or {}, overwrite=True,
    )  # fmt: skip
    flush(folder / name / "zarr.json")


def add_attributes(folder: Path, name: str, attributes: Mapping[str, Any]) -> None:
    """Add attributes to a Zarr v3 array or group."""
    path = folder / name / "zarr.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    _write_json(path, about | {"attributes": about.get("attributes", {}) | dict(attributes)})
    flush(path)


def write_block(folder: Path, name: str, window: tuple[slice, ...], block: np.ndarray) -> dict[str, tuple[int, int]]:
    """Write a block that covers whole chunks; the names of its files, with sizes and checksums, flushed to disk."""
    import zarr

    with zarr.config.set({"array.write_empty_chunks": True}):  # a missing chunk is never mistaken for zeros
        array = zarr.open_array(str(folder / name), mode="r+")
        array[window] = block
    spans = [range(s.start // c, -(-s.stop // c)) for s, c in zip(window, array.chunks, strict=False)]
    last = ["0"] * (array.ndim - len(window))
    files = ["/".join([name, "c", *map(str, chunk), *last]) for chunk in product(*spans)]
    for file in files:
        flush(folder / file)
    return {file: _size_and_checksum(folder / file) for file in files}


def flush(path: Path) -> None:
    """Fsync a file."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _size_and_checksum(path: Path) -> tuple[int, int]:
    """Size and checksum of a file."""
    content = path.read_bytes()
    return len(content), crc32(content)


def _is_whole(folder: Path, files: Mapping[str, Any]) -> bool:
    try:
        return all(
            (folder / name).stat().st_size == size and _size_and_checksum(folder / name) == (size, check)
            for name, (size, check) in files.items()
        )
    except OSError:
        return False


def _line(tile: TileIndex, written: Written) -> bytes:
    text = json.dumps([*tile, *written], separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(text), text)


def _read_journal(partial: PartialResult) -> None:
    """Find the finished tiles, check their files, and write the journal anew with those that are whole."""
    partial.journal.seek(0)
    with whole_file(partial.folder / JOURNAL) as temporary, open(temporary, "wb") as kept:
        for line in partial.journal:
            check, _, text = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or check != b"%08x" % crc32(text):
                continue  # torn when the run was killed
            level, place, files, pixels = json.loads(text)
            if (tile := TileIndex(level, tuple(place))) not in partial.done and _is_whole(partial.folder, files):
                partial.done[tile] = pixels
                kept.write(line)
    partial.journal.close()
    partial.journal = _locked_journal(partial.folder)


def _locked_journal(folder: Path) -> BinaryIO:
    """The open journal, locked; the lock goes with the process."""
    journal = open(folder / JOURNAL, "ab+")  # noqa: SIM115 (as long as the run)
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock

        flock(journal, LOCK_EX | LOCK_NB)
    except ImportError:  # a system without file locks
        pass
    except BlockingIOError:
        journal.close()
        raise BlockingIOError(f"{folder} is being written by another run. Wait for it, or stop it.") from None
    return journal


def _new_folder(folder: Path) -> None:
    """An empty folder; one that a run was killed in before it began is taken."""
    if folder.exists() and any(not path.name.startswith((RUN, f".{Path(RUN).stem}.")) for path in folder.iterdir()):
        raise FileExistsError(f"{folder} is no partial result. Move it away, or choose another output.")
    folder.mkdir(exist_ok=True)


def _read_run(folder: Path) -> dict[str, Any]:
    try:
        run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        run = {}
    if run.get("format") != FORMAT:
        raise FileExistsError(f"{folder} is no partial result of this version. Move it away, or choose another output.")
    return run


def _write_json(path: Path, content: Any) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _difference(folder: Path, known: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    keys = [key for key in {**known, **now} if known.get(key) != now.get(key)]
    parts = ", ".join(f"{key} {_short(known.get(key))} and not {_short(now.get(key))}" for key in keys)
    return f"{folder} was begun with {parts}. Go on with that, or begin anew with restart=True (--restart)."


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:60]}… ({crc32(text.encode()):08x})"
