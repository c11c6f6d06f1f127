"""Read images and predictions with their place; write labels and probabilities, whole or not at all."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backend.numbers import check_count
from .atomic import as_path, whole_file
from .axes import Ask
from .contents import file_contents, stored_array
from .failures import Unclear, Unreadable, reading
from .place import Place, tiff_options
from .stored import block
from .tiff import TIFFS

__all__ = [
    "FileWarning", "Record", "check_output", "integer_type", "pixel_axes", "read_image", "read_record", "read_soft",
    "read_spacing", "read_volume", "read_whole", "soft_spacing", "with_nodata", "write_array", "write_figure",
]  # fmt: skip


LOG = logging.getLogger(__name__)
#: The largest whole number that doubles tell from its neighbors: a TIFF holds the value of no data as one.
DOUBLE = 2**53 - 1
#: How far sums of probabilities may be from 1 to be recognized.
SUM = 0.05


class FileWarning(UserWarning):
    """Something in a file that is not read, or was assumed."""


class Record(NamedTuple):
    """What a file says: pixels, which of them hold data, their place, and what else is in it."""

    #: (H, W) or (H, W, C); of a volume (D, H, W) or (D, H, W, C); in the dtype of the file.
    pixels: np.ndarray
    #: Where pixels hold data, without the axis of the channels; None where all do.
    valid: np.ndarray | None
    place: Place
    #: What is in the file and not read, or was assumed: a line each.
    notes: tuple[str, ...]
    #: Bits of a value that the file says are in use; None where it does not.
    bits: int | None

    @property
    def masked_out(self) -> Any:
        """Where pixels hold no data; False where all do."""
        return False if self.valid is None else ~self.valid

    @property
    def masked(self) -> Any:
        """The pixels, as a masked array where some hold no data."""
        if self.valid is None:
            return self.pixels
        invalid = ~self.valid if self.pixels.ndim == self.valid.ndim else ~self.valid[..., None]
        return np.ma.MaskedArray(self.pixels, np.broadcast_to(invalid, self.pixels.shape))


def read_record(
    path: str | os.PathLike[str],
    *,
    axes: str | None = None,
    channel_axis: int | None = None,
    volume: bool = False,
    series: int | None = None,
) -> Record:
    """Read an image or a volume with all that its file says.

    Without data are pixels of the value in GDAL_NODATA, NaN, those where alpha or a mask is 0, and missing tiles. Alpha
    is what ExtraSamples call so, and is no channel; palettes are read in their colors, but those of ImageJ (LUT).

    Parameters
    ----------
    path : path
        PNG, JPEG, BMP, GIF, WebP, JPEG 2000, TIFF, OME-TIFF, .npy, .npz, Zarr, OME-Zarr; NIfTI and HDF5
        where nibabel and h5py are installed.
    axes : str, optional
        A letter for each axis, of t, z, c, y and x, where the file does not say it or is wrong.
    channel_axis : int, optional
        The axis of the channels, where the file does not say it.
    volume : bool
        Read (D, H, W) or (D, H, W, C).
    series : int, optional
        The image of a file that holds several, from 0; the first if None, and a note says so.

    Returns
    -------
    Record

    Raises
    ------
    FileNotFoundError, ModuleNotFoundError, ValueError, TypeError
        If the file is missing, of another type, packed by a missing codec, beyond a library or damaged, or it is not
        clear which axis is which.
    """
    check_count(series, "series", 0, optional=True)
    return read_whole(as_path(path), Ask(axes, channel_axis, volume, series))


def read_image(
    path: str | os.PathLike[str], *, channel_axis: int | None = None, axes: str | None = None, series: int | None = None
) -> Any:
    """Read one image as (H, W) or (H, W, C) in the dtype of the file; see :func:`read_record`.

    It is a masked array where some pixels hold no data. What is in the file and not read is said by a warning.
    """
    return _told(read_record(path, axes=axes, channel_axis=channel_axis, series=series))


def read_volume(
    path: str | os.PathLike[str], *, channel_axis: int | None = None, axes: str | None = None, series: int | None = None
) -> Any:
    """Read a volume as (D, H, W) or (D, H, W, C) in the dtype of the file; see :func:`read_image`."""
    return _told(read_record(path, axes=axes, channel_axis=channel_axis, volume=True, series=series))


def pixel_axes(path: str | os.PathLike[str], ask: Ask) -> int:
    """3 where a file is a volume: it has an axis of planes, or cannot be an image; 2 of others."""
    for axes in (2, 3):
        with suppress(Unreadable):
            file_contents(as_path(path), ask._replace(volume=axes == 3))
            return axes
    return 2  # what is wrong with it is said where it is read


def soft_spacing(
    path: str | os.PathLike[str], *, label_axis: int | None = None, axes: str | None = None
) -> tuple[int, tuple[float, ...] | None]:
    """The axes of the pixels of soft predictions, 2 or 3, and the distances of voxels that their file says."""
    ask = Ask(axes, label_axis, soft=True)
    if pixel_axes(path, ask) == 2:
        return 2, None
    place = file_contents(as_path(path), ask._replace(volume=True)).place
    return 3, None if place.scale is None else place.scales(3)


def read_spacing(path: str | os.PathLike[str], *, channel_axis: int | None = None) -> tuple[float, ...] | None:
    """The distances of the voxels of a volume along z, y and x that its file says; None where it says none."""
    place = file_contents(as_path(path), Ask(channel_axis=channel_axis, volume=True)).place
    return None if place.scale is None else place.scales(3)


def read_soft(
    path: str | os.PathLike[str],
    *,
    label_axis: int | None = None,
    axes: str | None = None,
    volume: bool = False,
    logits: bool = False,
) -> Record:
    """Read soft predictions as (H, W, J) or (D, H, W, J), labels last; see :func:`read_record`.

    Parameters
    ----------
    path : path
    label_axis : int, optional
        The axis of the labels in the file, where it does not say it. If None, the last if that is much shorter than the
        others, or the one along which probabilities sum to 1.
    axes : str, optional
        A letter for each axis, c for the labels.
    volume : bool
    logits : bool
        They are scores, which do not sum to 1.
    """
    ask = Ask(axes, label_axis, volume, soft=True)
    try:
        return read_whole(as_path(path), ask)
    except Unclear:
        if not logits:
            for axis in range(-1, -4 - volume, -1):
                record = read_whole(Path(path), ask._replace(channel_axis=axis))
                if abs(record.pixels.sum(axis=-1, dtype=np.float64) - 1).max() < SUM:
                    return record
        raise


def write_array(
    path: str | os.PathLike[str], array: np.ndarray, *, volume: bool = False, place: Place | None = None
) -> None:
    """Write labels, probabilities or an image to .png, .tif or .npy, whole or not at all.

    Parameters
    ----------
    path : path
        An .ome.tif becomes an OME-TIFF.
    array : array
    volume : bool
        The first axis holds planes.
    place : Place, optional
        Size and place of the pixels, for TIFF and OME-TIFF; PNG holds the resolution alone.

    Raises
    ------
    ValueError
        If the type of the file is not written here, or cannot hold the array.
    """
    path = as_path(path)
    suffix = path.suffix.lower()
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise TypeError(f"the array is {array!r:.60}; accepted are NumPy arrays of real numbers. Convert it first.")
    check_output(path, array.dtype, volume=volume, labels=array if array.dtype.kind in "ui" else None)
    place = place or Place()
    with whole_file(path) as temporary:
        if suffix == ".npy":
            with open(temporary, "wb") as file:
                np.save(file, array)
        elif suffix in TIFFS:
            _write_tiff(temporary, path.name, array, volume, place)
        else:
            import imageio.v3 as iio

            inches: Any = place.resolution if place.resolution is not None and place.resolution[2] == 2 else None
            iio.imwrite(temporary, array, extension=".png", **({"dpi": inches[:2]} if inches else {}))


def check_output(
    path: str | os.PathLike[str], dtype: Any = np.uint8, *, volume: bool = False, labels: np.ndarray | None = None
) -> None:
    """Raise ValueError where a file name asks for a type that cannot hold data of this dtype, or a volume.

    Parameters
    ----------
    path : path
    dtype : dtype
    volume : bool
    labels : integers, optional
        The values that it is to hold, for the message.
    """
    name, dtype = Path(path).name.lower(), np.dtype(dtype)
    suffix, pictures = Path(name).suffix, dtype.kind in "bui" and not volume
    png = pictures and str(dtype) in ("bool", "uint8", "uint16")
    accepted = {".npy"} | TIFFS | ({".png"} if png else set())
    if labels is not None and (suffix == ".png" and pictures and not png):
        raise ValueError(f"{path} {_too_small(labels)} 0 to 65535. Write them to .tif, .npy or .zarr.")
    if labels is not None and dtype.itemsize > 4 and name.endswith((".ome.tif", ".ome.tiff")):
        raise ValueError(f"{path} {_too_small(labels)} those of 32 bits. Write them to a plain .tif, .npy or .zarr.")
    if suffix not in accepted:
        what = "volumes" if volume else "labels and pictures" if pictures else "floating-point values"
        raise ValueError(f"{path} ends in {suffix!r}; accepted for {what} are {', '.join(sorted(accepted))}.")


def integer_type(values: np.ndarray) -> np.dtype[Any]:
    """The smallest type that holds whole numbers of any sign, and that other programs read in a TIFF."""
    low, high = int(values.min()), int(values.max())
    for name in ("uint8", "uint16", "int16", "uint32", "int32"):
        if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
            return np.dtype(name)
    return np.dtype("int64")


def with_nodata(values: np.ndarray, nodata: int | None, *, masked: bool) -> tuple[np.ndarray, int | None]:
    """The values of the labels in the smallest type that holds them; and what stands for pixels without data, if any.

    Parameters
    ----------
    values : (J,) integers
    nodata : int, optional
        The largest value of the type if None, of 64 bits the largest whole number that doubles tell apart.
    masked : bool
        Whether pixels may lack data.

    Raises
    ------
    ValueError
        If that value is the one of a label, or no number of 64 bits.
    """
    if nodata is not None and (nodata in values.tolist() or not -(2**63) <= nodata < 2**63):
        raise ValueError(f"nodata is {nodata}; accepted are whole numbers that stand for no label. Choose another.")
    dtype = integer_type(values)
    if not masked:
        return values.astype(dtype), None
    if nodata is None:
        if dtype.itemsize < 8 and np.iinfo(dtype).max in values:
            dtype = integer_type(np.append(values, values.max() + 1))
        nodata = min(int(np.iinfo(dtype).max), DOUBLE)
        if nodata in values.tolist():
            raise ValueError(f"a label has the value {nodata}, which would stand for no data. Choose a nodata.")
    return values.astype(integer_type(np.append(values, nodata))), nodata


def write_figure(path: str | os.PathLike[str], figure: Any) -> None:
    """Write a matplotlib figure, whole or not at all."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _write_tiff(temporary: Path, name: str, array: np.ndarray, volume: bool, place: Place) -> None:
    import tifffile

    axes = ("ZYXS" if volume else "YXS")[: array.ndim]
    color = axes == "YXS" and array.dtype.kind == "u" and array.shape[-1] == 3
    options = tiff_options(place, name, axes, array.shape, array.dtype)
    tifffile.imwrite(
        temporary, array, photometric="rgb" if color else "minisblack", planarconfig="contig" if "S" in axes else None,
        compression=None if options.get("imagej") else "zlib", **options,
    )  # fmt: skip


def read_whole(path: Path, ask: Ask) -> Record:
    """Read a whole file, with what was said of it that it does not say itself."""
    contents = file_contents(path, ask)
    with reading(path):
        stored = stored_array(path, ask, contents)
        nodata, window = contents.place.nodata, (slice(None),) * len(contents.space)
        pixels, valid = block(stored, contents.layout, nodata, window)
        if isinstance(getattr(stored.array, "array", stored.array), np.memmap):  # the file may change
            pixels = np.array(pixels)
    LOG.info("read %s: %s %s", path, pixels.shape, pixels.dtype)
    return Record(pixels, valid, contents.place, contents.notes, contents.bits)


def _too_small(labels: np.ndarray) -> str:
    return f"is to hold values of labels from {labels.min()} to {labels.max()}; accepted in this format are"


def _told(record: Record) -> Any:
    """The pixels of a record, with its notes as warnings."""
    for note in record.notes:
        warnings.warn(note, FileWarning, stacklevel=3)
    return record.masked
