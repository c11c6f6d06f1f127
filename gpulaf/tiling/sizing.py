"""The side of tiles that fits into the memory, and whether the results fit on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..backend.memory import USABLE, free_bytes
from ..labeling.labeler import Labeler
from .halo import largest_tile, tile_halo
from .source import Source

__all__ = ["Tiling", "check_disk", "chosen_side", "chunk_side"]

#: Bytes that a process holds besides its tile: the interpreter, the libraries, compiled kernels.
BASE = 250e6
#: Sides of tiles in pixels: what they are multiples of, and those that are chosen.
STEP = 16
SIDES = {
    2: (2048, 1536, 1024, 768, 512, 384, 256, 192, 128, 64),
    3: (256, 192, 128, 96, 64, 48, 32, 16),
}
#: The largest side of the chunks that are stored.
CHUNK = 1024


@dataclass(frozen=True)
class Tiling:
    """How a large image is divided, and where its tiles are labeled.

    Parameters
    ----------
    side : int, optional
        Of the tiles in pixels, a multiple of 16; by default the largest up to 2048, of volumes 256, that fits into the
        memory.
    memory : int, optional
        Bytes for all processes on this machine together; by default what is free.
    workers : int
        Processes; with 1 the tiles are labeled in this one, whose kernels use all cores. New processes import the
        script that starts them: have it do so under ``if __name__ == "__main__":``.
    scheduler : str, optional
        Address of a running Dask scheduler, whose workers see the same files.
    device : "auto", "cpu" or "gpu"
        Where tiles are labeled; auto takes a GPU if CuPy finds one here.
    restart : bool
        Throw away what an earlier run began.
    progress : bool, optional
        Progress bar on standard error; None shows it where that is a terminal.
    """

    side: int | None = None
    memory: int | None = None
    workers: int = 1
    scheduler: str | None = None
    device: str = "auto"
    restart: bool = False
    progress: bool | None = None

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "gpu"):
            raise ValueError(f"device is {self.device!r}; accepted are auto, cpu and gpu. auto suits most machines.")
        if self.side is not None and (self.side != int(self.side) or self.side < STEP or self.side % STEP):
            raise ValueError(f"the tile is {self.side} pixels; accepted are multiples of {STEP}. 2048 is usual.")
        if self.workers < 1:
            raise ValueError(f"there are {self.workers} workers; accepted are whole numbers from 1.")
        if self.memory is not None and self.memory <= 0:
            raise ValueError(f"memory is {self.memory} bytes; accepted are positive numbers. 4 GB is 4000000000.")
        if self.scheduler is not None and self.workers > 1:
            raise ValueError("workers and a scheduler are given; a scheduler brings its own. Leave one out.")


def chosen_side(
    tiling: Tiling, source: Source, labeler: Labeler, labels: int, channels: int, device: str = "cpu"
) -> int:
    """The side of the tiles: the one asked for, or the largest usual one that fits into the memory.

    On the "gpu" a tile has to fit into the memory of both.

    Raises
    ------
    MemoryError
        If not even a small tile fits, or the one that was asked for does not; with the numbers.
    """
    most, told = None, ""
    for each, what, where in _limits(tiling, source, device):
        try:
            side = largest_tile(
                each, labeler, labels, channels=channels, dtype=source.dtype, device=where, axes=source.axes
            )
        except ValueError as error:
            raise MemoryError(
                f"no tile fits into {what}, with a halo of {tile_halo(labeler)} pixels. Give more memory, or take "
                "fewer workers or a shorter time."
            ) from error
        if most is None or side < most:
            most, told = side, what
    longest = -(-max(source.pixels) // STEP) * STEP
    if tiling.side is None:
        return next(side for side in SIDES[source.axes] if most is None or side <= most)
    if most is not None and min(tiling.side, longest) > most:
        raise MemoryError(
            f"tiles of {tiling.side} pixels do not fit into {told}; the largest that do have {most}. "
            "Take those, or give more memory."
        )
    return min(tiling.side, longest)


def _limits(tiling: Tiling, source: Source, device: str) -> Iterator[tuple[float, str, str]]:
    """Bytes for one tile on the host and on the GPU, with words for them; nothing where the system does not tell."""
    free, count = tiling.memory or free_bytes(), tiling.workers
    if free is not None:
        usable, beside = free if tiling.memory else USABLE * free, BASE + source.chunk_bytes
        told = f"{usable / 1e9:.3g} GB for {count} process(es), each with {beside / 1e9:.2g} GB besides"
        yield (usable - BASE * (count > 1)) / count - beside, told, device  # the first process only hands tiles out
    on_device = free_bytes(True) if device == "gpu" else None
    if on_device is not None:
        yield USABLE * on_device, f"{USABLE * on_device / 1e9:.3g} GB of the GPU", device


def chunk_side(side: int) -> int:
    """The side of the stored chunks of a tile: a divisor of its side, at most 1024 where that is not small."""
    for parts in range(1, side // STEP + 1):
        chunk = side // parts
        if side % parts == 0 and chunk % STEP == 0 and chunk <= CHUNK:
            return chunk if chunk >= min(side, CHUNK // 4) else side
    return side


def check_disk(folder: Path, needed: float) -> None:
    """Raise OSError where the results do not fit on the disk."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"the results take up to {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free in {folder}. "
            "Make room, or choose another folder."
        )
