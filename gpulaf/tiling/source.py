"""Images that stay in their files: windows are read when they are needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..io.atomic import as_path
from ..io.axes import Ask, Layout
from ..io.contents import file_contents, stored_array
from ..io.failures import reading
from ..io.place import Place
from ..io.stored import Stored, block

__all__ = ["Source", "check_installed", "open_image", "open_source", "told"]

#: What large images need beside the libraries of all others.
PACKAGES = ("dask", "distributed", "zarr")


@dataclass(frozen=True)
class Source:
    """An image in a file, indexed by rows and columns, or a volume, by planes before them.

    It travels to other processes as the name of the file.

    Parameters
    ----------
    path : str
    ask : Ask
        What was said of the file that it does not say itself.
    layout : Layout
    stamp : tuple
        What tells this file from another of the same name.
    shape : tuple
        (H, W) or (H, W, C), of a volume with D before H.
    chunks : tuple of int
        Rows and columns that are stored together, of a volume planes before them.
    dtype : dtype
    place : Place
        Size and place of the pixels, and the value of those without data.
    notes : tuple of str
        What is in the file and not read, or was assumed: a line each.
    gaps : bool
        Whether pixels may hold no data.
    bits : int, optional
        Bits of a value that the file says are in use.
    """

    path: str
    ask: Ask
    layout: Layout
    stamp: tuple[Any, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    place: Place
    notes: tuple[str, ...] = ()
    gaps: bool = False
    bits: int | None = None

    @property
    def ndim(self) -> int:
        """2 of an image, 3 of a volume; one more with channels."""
        return len(self.shape)

    @property
    def axes(self) -> int:
        """2 of an image, 3 of a volume."""
        return len(self.chunks)

    @property
    def pixels(self) -> tuple[int, ...]:
        """(H, W), of a volume (D, H, W)."""
        return self.shape[: self.axes]

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a stored chunk when it is unpacked."""
        return prod(self.chunks) * (self.layout.channels or 1) * self.dtype.itemsize

    def read(self, window: tuple[slice, ...]) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels of a window of rows and columns, of a volume planes before them, and which of them hold data; None
        where all do."""
        window = tuple(slice(*part.indices(n)) for part, n in zip(window[: self.axes], self.pixels, strict=True))
        with reading(Path(self.path), f" at {told(window)}"):
            return block(_stored(self.path, self.ask, self.stamp), self.layout, self.place.nodata, window)

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        pixels, _ = self.read(index[: self.axes])
        return pixels[stepped(index, self.axes)]

    @property
    def told_gaps(self) -> bool:
        """Whether the file says that pixels hold no data, other than by NaN."""
        return self.gaps and (self.dtype.kind != "f" or self.place.nodata is not None)


@dataclass(frozen=True)
class Masked:
    """A source whose windows are masked arrays."""

    source: Source

    def __getattr__(self, name: str) -> Any:
        if name == "source":  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.source, name)

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        axes = self.source.axes
        pixels, valid = self.source.read(index[:axes])
        invalid = np.zeros(pixels.shape, bool)
        if valid is not None:
            invalid[~valid] = True
        found = np.ma.MaskedArray(pixels, invalid)
        return found[stepped(index, axes)]


def stepped(index: tuple[Any, ...], axes: int) -> tuple[Any, ...]:
    """What is left of an index where the pixels from its starts to its stops were read: steps, and channels."""
    steps = (slice(None, None, part.step) for part in index[:axes])
    return (*steps, *index[axes:])


def told(window: tuple[slice, ...]) -> str:
    """How messages name a window."""
    names = ("planes", "rows", "columns")[-len(window) :]
    return ", ".join(f"{name} {part.start}:{part.stop}" for name, part in zip(names, window, strict=True))


def open_image(
    path: str | os.PathLike[str],
    *,
    channel_axis: int | None = None,
    axes: str | None = None,
    tile: int | None = None,
    volume: bool = False,
) -> Any:
    """Open an image file as a Dask array, without reading its pixels.

    Parameters
    ----------
    path : path
        TIFF, Zarr or OME-Zarr, of a pyramid the full resolution; or any other that :func:`gpulaf.io.read_record` reads.
    channel_axis : int, optional
        The axis of the channels, where the file does not say it.
    axes : str, optional
        A letter for each axis, of t, z, c, y and x, where the file does not say it or is wrong.
    tile : int, optional
        Side of the chunks in pixels, rounded to whole stored chunks; 2048 of images and 128 of volumes if None.
    volume : bool
        Open (D, H, W) or (D, H, W, C).

    Returns
    -------
    dask.array.Array
        (H, W) or (H, W, C), of a volume with D before H, in the dtype of the file; of masked arrays where the file says
        that pixels hold no data.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, incomplete or no image. A damaged chunk raises when it is read, with its place.
    """
    from dask.array import from_array
    from dask.base import tokenize

    source = open_source(path, channel_axis=channel_axis, axes=axes, volume=volume)
    tile = tile or (128 if volume else 2048)
    sides = tuple(chunk * max(1, round(tile / chunk)) for chunk in source.chunks)
    name = f"image-{tokenize(source.path, source.stamp, source.layout, tile)}"
    chunks = (*sides, -1)[: source.ndim]
    if not source.told_gaps:
        return from_array(source, chunks=chunks, name=name)
    meta = np.ma.MaskedArray(np.empty((0,) * source.ndim, source.dtype))
    return from_array(Masked(source), chunks=chunks, name=name, asarray=False, meta=meta)


def open_source(
    path: str | os.PathLike[str],
    *,
    channel_axis: int | None = None,
    axes: str | None = None,
    series: int | None = None,
    volume: bool = False,
    soft: bool = False,
) -> Source:
    """Open an image file without reading its pixels; see :func:`open_image` and :func:`gpulaf.io.read_record`."""
    check_installed()
    path, ask = as_path(path), Ask(axes, channel_axis, volume, series, soft=soft)
    found = file_contents(path, ask)
    space = "zyx" if volume else "yx"
    whole = (*map(found.side, space), *([found.layout.channels] if found.layout.channels else []))
    chunks = tuple(int(found.chunks[found.layout.axes.index(axis)]) for axis in space)
    gaps = found.gaps or found.place.nodata is not None or found.dtype.kind == "f"
    return Source(
        str(path.absolute()), ask, found.layout, found.stamp, tuple(map(int, whole)), chunks,
        found.dtype, found.place, found.notes, gaps, found.bits,
    )  # fmt: skip


def check_installed() -> None:
    """Raise ModuleNotFoundError with the next step where a package is missing that large images need."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"large images need {', '.join(missing)}. Install what is missing: python -m pip install 'gpulaf[large]'."
        )


@lru_cache(maxsize=4)
def _stored(path: str, ask: Ask, stamp: tuple[Any, ...]) -> Stored:
    """The stored array, opened once in each process."""
    return stored_array(Path(path), ask, lazy=True)
