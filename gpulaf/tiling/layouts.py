"""Shape, axes and stored chunks of image files, and parts that are missing, found without reading pixels."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Contents", "Layout", "named_axes", "npy_contents", "stamp", "tiff_contents", "zarr_contents"]


class Layout(NamedTuple):
    """Where the axes of an image lie in a stored array."""

    #: One letter per axis of the stored array: y, x, c, or 1 for an axis of length 1 that is left out.
    axes: str
    #: Channels that are read; None for a grey image.
    channels: int | None
    #: Size of a pixel along y and x, and its unit.
    spacing: tuple[float, float] = (1.0, 1.0)
    unit: str | None = None


class Contents(NamedTuple):
    """The array in an image file."""

    #: The file, or the folder of the array inside it.
    path: Path
    #: What tells this file from another of the same name.
    stamp: tuple[Any, ...]
    #: Shape and stored chunk of the array, in its own axes.
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: Layout


def stamp(path: Path) -> tuple[Any, ...]:
    """Size in bytes and time of the last change in ns."""
    about = path.stat()
    return (about.st_size, about.st_mtime_ns)


def npy_contents(path: Path, channel_axis: int | None) -> Contents:
    """Contents of an .npy file; three axes are (H, W, C) where nothing else is said."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}. Check that the file is whole and an .npy file.") from error
    axes = {2: "yx", 3: "yxc"}.get(array.ndim, "?" * array.ndim)
    layout = named_axes(axes, array.shape, path, channel_axis)
    chunks = tuple(1 if axis == "y" else side for axis, side in zip(layout.axes, array.shape, strict=True))
    return Contents(path, stamp(path), array.shape, chunks, array.dtype, layout)


def named_axes(axes: str, shape: tuple[int, ...], path: Path, channel_axis: int | None) -> Layout:
    """The layout of an array with the given letters; axes of length 1 other than y and x drop out."""
    known = "".join("c" if axis in "sc" else axis for axis in axes.lower())
    if channel_axis is not None:
        if not -len(shape) <= channel_axis < len(shape):
            raise ValueError(
                f"the channel axis is {channel_axis}; accepted are {-len(shape)} to {len(shape) - 1}. Count from 0."
            )
        axis = channel_axis % len(shape)
        rest = [k for k in range(len(shape)) if k != axis and (shape[k] != 1 or known[k] in "yx")]
        if len(rest) != 2:
            raise ValueError(f"{path} holds an array of shape {shape}; accepted are one image (H, W) or (H, W, C).")
        known = "".join("c" if k == axis else "yx"[rest.index(k)] if k in rest else "1" for k in range(len(shape)))
    known = "".join(axis if axis in "yx" or shape[k] > 1 else "1" for k, axis in enumerate(known))
    if sorted(known.replace("1", "")) not in (["x", "y"], ["c", "x", "y"]):
        raise ValueError(
            f"{path} holds an array of shape {shape} with the axes {axes or 'unnamed'}; accepted are y and x, and one "
            "axis of channels. Take one plane of it, or name the channels with channel_axis (--channel-axis)."
        )
    return Layout(known, shape[known.index("c")] if "c" in known else None)


def tiff_contents(path: Path, channel_axis: int | None) -> Contents:
    """Contents of a TIFF file; ValueError where a part of it is missing, which would be read as zeros."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            level = file.series[0].levels[0]
            axes, keyframe, page = level.axes, level.keyframe, level[0]
            sides = dict(zip("YX", _tiff_sides(keyframe), strict=True))
            _check_segments(path, level)
            alpha = axes == "YXS" and level.shape[-1] == 4 and keyframe.photometric == tifffile.PHOTOMETRIC.RGB
            if level.dataoffset is not None and page is not None and not keyframe.is_tiled:
                sides = {"Y": 1, "X": keyframe.imagewidth}
            chunks = tuple(sides.get(axis, 1) for axis in axes)
    except (ValueError, TypeError, OSError, IndexError, AttributeError) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} cannot be read: {error}. Check that the file is whole and a TIFF.") from error
    layout = named_axes(axes, level.shape, path, channel_axis)
    layout = layout._replace(channels=3) if alpha and channel_axis is None else layout
    return Contents(path, stamp(path), level.shape, chunks, level.dtype, layout)


def _tiff_sides(page: Any) -> tuple[int, int]:
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip or page.imagelength, page.imagelength), page.imagewidth


def _check_segments(path: Path, level: Any) -> None:
    """Every segment must lie inside the file: a missing one has no defined value in TIFF."""
    pages = [level[0]] if level.dataoffset is not None else [level[k] for k in range(len(level))]
    for number, page in enumerate(pages):
        if page is None:
            raise ValueError(f"{path} is incomplete: page {number} is missing. Restore the file.")
        size = page.parent.filehandle.size
        offsets, counts = (np.array(x, np.int64) for x in (page.dataoffsets, page.databytecounts))
        if level.dataoffset is not None:
            offsets, counts = np.array([level.dataoffset]), np.array([prod(level.shape) * level.dtype.itemsize])
        bad = np.flatnonzero((offsets <= 0) | (counts <= 0) | (offsets + counts > size))
        if len(bad) or len(offsets) < prod(page.keyframe.chunked if level.dataoffset is None else (1,)):
            first = int(bad[0]) if len(bad) else len(offsets)
            raise ValueError(
                f"{path} is incomplete: segment {first} of page {number} is not in the file, and {max(1, len(bad))} "
                f"of {len(offsets)} are missing. Restore the file."
            )


def zarr_contents(path: Path, channel_axis: int | None) -> Contents:
    """Contents of a Zarr array, or of the first level of an OME-Zarr image."""
    import zarr

    try:
        node = zarr.open(str(path), mode="r")
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}. Check that it is a whole Zarr array or group.") from error
    spacing, unit, axes = (1.0, 1.0), None, None
    if isinstance(node, zarr.Group):
        attributes = dict(node.attrs)
        scales = attributes.get("ome", attributes).get("multiscales")
        if not scales:
            names = ", ".join(sorted(name for name, _ in node.arrays())) or "none"
            raise ValueError(
                f"{path} is a group without OME-Zarr metadata. Name one of its arrays, {path}/NAME; it holds: {names}."
            )
        try:
            level, axes, spacing, unit = _first_level(scales)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{path} has OME-Zarr metadata that cannot be read ({type(error).__name__}: {error}); accepted are the "
                f"versions 0.3 to 0.5. Name the array of its full resolution, as {path}/0."
            ) from error
        path = path / level
        node = zarr.open_array(str(path), mode="r")
    elif all(getattr(node.metadata, "dimension_names", None) or [None]):
        axes = "".join(name[0] for name in node.metadata.dimension_names)
        axes = "yx" if node.ndim == 2 and sorted(axes.lower()) != ["x", "y"] else axes  # named rows, latitudes, …
    layout = named_axes(axes or ("yx" if node.ndim == 2 else "?" * node.ndim), node.shape, path, channel_axis)
    about = path / ("zarr.json" if (path / "zarr.json").is_file() else ".zarray")
    layout = layout._replace(spacing=spacing, unit=unit)
    return Contents(path, stamp(about), node.shape, node.chunks, node.dtype, layout)


def _first_level(scales: Any) -> tuple[str, str, tuple[float, float], str | None]:
    """Path, axes, spacing along y and x and its unit of the full resolution of an OME-Zarr image."""
    level, spacing, unit = scales[0]["datasets"][0], (1.0, 1.0), None
    named = [axis if isinstance(axis, dict) else {"name": axis} for axis in scales[0]["axes"]]
    axes = "".join(axis["name"][0] for axis in named)
    factors = [t["scale"] for t in level.get("coordinateTransformations", []) if t["type"] == "scale"]
    if factors and "y" in axes and "x" in axes:
        spacing = (float(factors[0][axes.index("y")]), float(factors[0][axes.index("x")]))
        unit = named[axes.index("y")].get("unit")
    return level["path"], axes, spacing, unit
