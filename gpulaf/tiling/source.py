"""Images that stay in their files: windows are read when they are needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np

from ..io.images import TIFFS, read_image
from .layouts import Contents, Layout, npy_contents, stamp, tiff_contents, zarr_contents

__all__ = ["Source", "check_installed", "is_zarr", "open_image", "open_source"]

#: Files that say that a folder is a Zarr array or group.
ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
#: What large images need beside the libraries of all others.
PACKAGES = ("dask", "distributed", "zarr")


@dataclass(frozen=True)
class Source:
    """An image in a file, indexed by rows and columns; it travels to other processes as the name of the file.

    Parameters
    ----------
    path : str
    layout : Layout
    stamp : tuple
        What tells this file from another of the same name.
    shape : tuple
        (H, W) or (H, W, C).
    chunks : (int, int)
        Rows and columns that are stored together.
    dtype : dtype
    """

    path: str
    layout: Layout
    stamp: tuple[Any, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """2, or 3 with channels."""
        return len(self.shape)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a stored chunk when it is unpacked."""
        return prod(self.chunks) * (self.layout.channels or 1) * self.dtype.itemsize

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        rows, columns, *channels = index
        window = {"y": rows, "x": columns, "c": slice(0, self.layout.channels), "1": 0}
        try:
            block = np.asarray(_stored(self.path, self.stamp)[tuple(window[axis] for axis in self.layout.axes)])
        except Exception as error:  # damaged chunks surface in every type: zlib.error, RuntimeError, ValueError, …
            reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
            spans = [slice(*s.indices(n)) for s, n in zip((rows, columns), self.shape, strict=False)]
            raise ValueError(
                f"{self.path} cannot be read at rows {spans[0].start}:{spans[0].stop}, columns "
                f"{spans[1].start}:{spans[1].stop}: {reason}. Restore that part of the file."
            ) from error
        axes = self.layout.axes.replace("1", "")
        block = block.transpose([axes.index(axis) for axis in "yxc"[: self.ndim]])
        return block[..., channels[0]] if channels else block


def open_image(path: str | os.PathLike[str], *, channel_axis: int | None = None, tile: int = 2048) -> Any:
    """Open an image file as a Dask array, without reading its pixels.

    Parameters
    ----------
    path : path
        TIFF, Zarr or OME-Zarr, of a pyramid the full resolution; or PNG, JPEG, .npy.
    channel_axis : int, optional
        The axis of the channels, where the file does not say it.
    tile : int
        Side of the chunks in pixels, rounded to whole stored chunks.

    Returns
    -------
    dask.array.Array
        (H, W) or (H, W, C), in the dtype of the file.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, incomplete or no image. A damaged chunk raises when it is read, with its place.
    """
    from dask.array import from_array
    from dask.base import tokenize

    source = open_source(path, channel_axis=channel_axis)
    sides = tuple(chunk * max(1, round(tile / chunk)) for chunk in source.chunks)
    name = f"image-{tokenize(source.path, source.stamp, source.layout, tile)}"
    return from_array(source, chunks=(*sides, -1)[: source.ndim], name=name)


def open_source(path: str | os.PathLike[str], *, channel_axis: int | None = None) -> Source:
    """Open an image file without reading its pixels; see :func:`open_image`."""
    check_installed()
    path = Path(path).absolute()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Check the path.")
    found = _contents(path, channel_axis)
    if found.dtype.kind not in "buif":
        raise TypeError(f"{path} holds {found.dtype} values; accepted are real numbers. Convert it first.")
    y, x = (found.layout.axes.index(axis) for axis in "yx")
    shape = (int(found.shape[y]), int(found.shape[x]))
    if 0 in shape:
        raise ValueError(f"{path} is empty: it has {shape} pixels. Check how it was written.")
    whole = shape if found.layout.channels is None else (*shape, found.layout.channels)
    chunks = (int(found.chunks[y]), int(found.chunks[x]))
    return Source(str(found.path), found.layout, found.stamp, whole, chunks, found.dtype)


def check_installed() -> None:
    """Raise ModuleNotFoundError with the next step where a package is missing that large images need."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"large images need {', '.join(missing)}. Install what is missing: python -m pip install 'gpulaf[large]'."
        )


def is_zarr(path: str | os.PathLike[str]) -> bool:
    """Whether a path is, or by its name will be, a Zarr array or group."""
    path = Path(path)
    return path.suffix.lower() == ".zarr" or (path.is_dir() and any((path / name).is_file() for name in ZARR_FILES))


def _contents(path: Path, channel_axis: int | None) -> Contents:
    if is_zarr(path):
        return zarr_contents(path, channel_axis)
    if path.suffix.lower() in TIFFS:
        return tiff_contents(path, channel_axis)
    if path.suffix.lower() == ".npy":
        return npy_contents(path, channel_axis)
    image = read_image(path, channel_axis=channel_axis)
    layout = Layout("yxc"[: image.ndim], image.shape[2] if image.ndim == 3 else None)
    return Contents(path, (*stamp(path), channel_axis), image.shape, image.shape, image.dtype, layout)


@lru_cache(maxsize=4)
def _stored(path: str, stamp: tuple[Any, ...]) -> Any:
    """The stored array, opened once in each process."""
    place = Path(path)
    if place.suffix.lower() == ".npy":
        return np.load(place, mmap_mode="r", allow_pickle=False)
    if is_zarr(place):
        import zarr

        return zarr.open_array(path, mode="r")
    if place.suffix.lower() not in TIFFS:
        return read_image(place, channel_axis=stamp[-1])
    import tifffile
    import zarr

    file = tifffile.TiffFile(place)
    if file.series[0].levels[0].dataoffset is not None:  # one stretch of plain values
        file.close()
        return tifffile.memmap(place, series=0, level=0, mode="r")
    array = zarr.open_array(file.series[0].aszarr(level=0), mode="r")
    finalize(array, file.close)
    return array
