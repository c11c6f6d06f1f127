"""An array as it is stored, and parts of it as pixels, with the mask of those that hold data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .axes import Layout
from .place import Place

__all__ = ["Contents", "Stored", "block", "stamp"]


class Contents(NamedTuple):
    """What is in an image file."""

    #: The file, or the folder of the array inside it.
    path: Path
    #: What tells this file from another of the same name.
    stamp: tuple[Any, ...]
    #: Shape and stored chunk of the array, in its own axes.
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    #: Of the pixels.
    dtype: np.dtype[Any]
    layout: Layout
    place: Place
    #: What is in the file and not read, or was assumed: a line each.
    notes: tuple[str, ...] = ()
    #: Bits of a value that the file says are in use; None where it does not.
    bits: int | None = None
    #: Whether pixels may lack data although no value stands for that: missing tiles, alpha, a mask, NaN.
    gaps: bool = False
    #: The array, where opening the file has given it.
    stored: Stored | None = None

    def side(self, axis: str) -> int:
        """Length of an axis."""
        return self.shape[self.layout.axes.index(axis)]

    @property
    def space(self) -> str:
        """The spatial axes: yx or zyx."""
        return "".join(axis for axis in "zyx" if axis in self.layout.axes)


class Stored(NamedTuple):
    """A stored array, in memory or opened, and what belongs to it."""

    array: Any
    #: The colors of a palette, (n, 3).
    table: np.ndarray | None = None
    #: Which stored tiles are missing, along z, y, x, and their sides along y and x.
    missing: tuple[np.ndarray, tuple[int, int]] | None = None
    #: A mask of the pixels along y and x, 0 where they hold no data.
    mask: np.ndarray | None = None


def stamp(path: Path) -> tuple[Any, ...]:
    """Size in bytes and time of the last change in ns."""
    about = path.stat()
    return (about.st_size, about.st_mtime_ns)


def block(
    stored: Stored, layout: Layout, nodata: float | None, window: tuple[slice, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels of a window, (h, w), (h, w, C) or with planes first, and which of them hold data; None where all do."""
    space = "zyx"[-len(window) :]
    sizes = dict(zip(layout.axes, stored.array.shape, strict=True))
    spans = {
        axis: _stored_span(part, sizes[axis], axis in layout.flips) for axis, part in zip(space, window, strict=True)
    }
    index = tuple(spans.get(axis, 0 if axis == "1" else slice(None)) for axis in layout.axes)
    raw = np.asarray(stored.array[index])
    raw = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    kept = layout.axes.replace("1", "")
    raw = raw.transpose([kept.index(axis) for axis in space + "c" * ("c" in kept)])
    pixels: Any = raw
    invalid = _without_data(stored, space, spans)
    if layout.alpha is not None:
        nothing = raw[..., layout.alpha] == 0
        invalid = nothing if invalid is None else invalid | nothing
        pixels = np.delete(raw, layout.alpha, axis=-1) if raw.shape[-1] > 2 else raw[..., 1 - layout.alpha]
    if (nothing := _is_nodata(pixels, nodata, channels=layout.channels is not None and not layout.palette)) is not None:
        invalid = nothing if invalid is None else invalid | nothing
    if layout.white is not None:
        pixels = ~pixels if pixels.dtype == bool else (layout.white - pixels).astype(pixels.dtype)
    if stored.table is not None and layout.palette:
        pixels = stored.table[np.minimum(pixels, len(stored.table) - 1)]
    turned = tuple(slice(None, None, -1 if axis in layout.flips else 1) for axis in space)
    valid = None if invalid is None or not invalid.any() else ~invalid[turned]
    return pixels[turned], valid


def _stored_span(part: slice, size: int, backwards: bool) -> slice:
    start, stop, _ = part.indices(size)
    return slice(size - stop, size - start) if backwards else slice(start, stop)


def _is_nodata(pixels: np.ndarray, nodata: float | None, *, channels: bool) -> np.ndarray | None:
    """Where pixels are NaN or the value without data: in all channels of unsigned numbers, in any of others."""
    found = np.isnan(pixels) if pixels.dtype.kind == "f" else None
    if nodata is not None and nodata == nodata and pixels.dtype.kind in "iuf":
        limits = np.iinfo(pixels.dtype) if pixels.dtype.kind in "iu" else None
        if limits is None:
            with np.errstate(over="ignore"):
                same = pixels == pixels.dtype.type(nodata)
            found = same if found is None else found | same
        elif limits.min <= nodata <= limits.max and float(nodata).is_integer():
            found = pixels == pixels.dtype.type(int(nodata))
    if found is None or not channels:
        return found
    return found.all(axis=-1) if pixels.dtype.kind == "u" else found.any(axis=-1)


def _without_data(stored: Stored, space: str, spans: dict[str, slice]) -> Any:
    """Pixels of a window that lie in missing tiles, or that a mask leaves out."""
    invalid: Any = None
    if stored.mask is not None:
        invalid = np.asarray(stored.mask[spans["y"], spans["x"]]) == 0
    if stored.missing is not None:
        grid: Any = stored.missing[0]
        sides = stored.missing[1]
        rows, columns = (
            np.arange(spans[axis].start, spans[axis].stop) // side for axis, side in zip("yx", sides, strict=True)
        )
        if "z" in space:
            grid = grid[spans["z"]]
            found = grid[:, rows[:, None], columns]
        else:
            found = grid.any(axis=0)[rows[:, None], columns]
        invalid = found if invalid is None else invalid | found
    return invalid
