"""Read images, ground truth and predictions with their place; write labels and probabilities, whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backend.numbers import check_count
from .atomic import as_path, whole_file
from .axes import Ask
from .contents import file_contents, stored_array
from .failures import Unclear, reading
from .place import Place, tiff_options
from .stored import block
from .tiff import TIFFS

__all__ = [
    "FileWarning", "Record", "read_image", "read_prototypes", "read_record", "read_soft", "read_truth", "read_values",
    "read_volume", "with_nodata", "write_array", "write_figure",
]  # fmt: skip


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
    return _record(as_path(path), Ask(axes, channel_axis, volume, series))


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
        return _record(as_path(path), ask)
    except Unclear:
        if not logits:
            for axis in range(-1, -4 - volume, -1):
                record = _record(Path(path), ask._replace(channel_axis=axis))
                if abs(record.pixels.sum(axis=-1, dtype=np.float64) - 1).max() < SUM:
                    return record
        raise


def read_truth(path: str | os.PathLike[str], *, unlabeled: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read ground truth: (H, W) int32 labels 0 … J−1 in the order of the file's values, and those values.

    Parameters
    ----------
    path : path
        A grey image whose values stand for labels, or an .npy array of integers.
    unlabeled : int, optional
        The value of pixels without ground truth; they become −1. The value −1 always does.
    """
    values = read_values(path)
    known = np.unique(values[(values != -1) & (values != (unlabeled if unlabeled is not None else -1))])
    if not 2 <= len(known) <= 256:
        raise ValueError(
            f"{path} holds {len(known)} different value(s); accepted are 2 to 256 labels. "
            "Check that it is a label image and no photograph."
        )
    labels = np.searchsorted(known, values).clip(0, len(known) - 1)
    return np.where(known[labels] == values, labels, -1).astype(np.int32), known


def read_values(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a label image as the (H, W) int64 values that it holds, whatever they stand for; indices of a palette.

    Whole numbers in a floating type are labels, too; pixels without data are −1.
    """
    if as_path(path).suffix.lower() in (".jpg", ".jpeg"):
        raise ValueError(f"{path} is a JPEG, which changes the values of labels. Take the PNG or TIFF that it was.")
    record = _record(Path(path), Ask(indices=True))
    values = record.pixels
    if values.ndim == 3 and values.dtype == np.uint8 and (values == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim == 2 and values.dtype.kind == "f":
        values = np.where(record.masked_out, -1, values)
        if np.isfinite(values).all() and (values == np.rint(values)).all() and abs(values).max() < 2**53:
            values = values.astype(np.int64)
    if values.ndim != 2 or not (np.issubdtype(values.dtype, np.integer) or values.dtype == bool):
        raise ValueError(
            f"{path} holds {values.dtype} values of shape {values.shape}; "
            "accepted is one integer label per pixel, (H, W)."
        )
    return np.where(record.masked_out, -1, values.astype(np.int64))


def read_prototypes(text: str) -> int | np.ndarray:
    """A number of labels, or a JSON or CSV file with one row of channel values per label.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or does not hold a table of numbers.
    """
    if re.fullmatch(r"[+-]?[0-9]+", text.strip()):
        return int(text)
    path = Path(text)
    if not path.is_file():
        raise FileNotFoundError(f"prototypes are {text!r}; accepted are a number of labels or a .json or .csv file.")
    try:
        if path.suffix.lower() == ".json":
            table = json.loads(path.read_text(encoding="utf-8-sig"))
        else:
            with open(path, newline="", encoding="utf-8-sig") as file:
                table = [[float(cell) for cell in row] for row in csv.reader(file) if row]
        values = np.array(table, dtype=np.float64)
        if values.ndim == 0 or values.size == 0:
            raise ValueError("it is empty or a single value")
        return values
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} holds no table of numbers ({error}). Write one row per label with one value per channel."
        ) from error


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
    check_output(path, array.dtype.kind, volume=volume)
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


def check_output(path: str | os.PathLike[str], kind: str = "u", *, volume: bool = False) -> None:
    """Raise ValueError where a file name asks for a type that cannot hold data of this NumPy kind, or a volume."""
    suffix = Path(path).suffix.lower()
    accepted = {".npy"} | TIFFS | ({".png"} if kind in "ub" and not volume else set())
    if suffix not in accepted:
        what = "volumes" if volume else "labels and pictures" if kind in "ub" else "floating-point values"
        raise ValueError(f"{path} ends in {suffix!r}; accepted for {what} are {', '.join(sorted(accepted))}.")


def with_nodata(values: np.ndarray, nodata: int | None, *, masked: bool) -> tuple[np.ndarray, int | None]:
    """The values of the labels in the smallest type that holds them; and what stands for pixels without data, if any.

    Parameters
    ----------
    values : (J,) integers from 0
    nodata : int, optional
        The largest value of the type if None.
    masked : bool
        Whether pixels may lack data.

    Raises
    ------
    ValueError
        If that value is the one of a label, or no number of 16 bits.
    """
    if nodata is not None and (nodata in values or not 0 <= nodata < 2**16):
        raise ValueError(
            f"nodata is {nodata}; accepted are whole numbers from 0 to 65535 that stand for no label. Choose another."
        )
    dtype = np.min_scalar_type(int(values.max()))
    if not masked:
        return values.astype(dtype), None
    if nodata is None:
        if np.iinfo(dtype).max in values:
            dtype = np.min_scalar_type(int(values.max()) + 1)
        nodata = int(np.iinfo(dtype).max)
    return values.astype(np.result_type(dtype, np.min_scalar_type(nodata))), nodata


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


def _record(path: Path, ask: Ask) -> Record:
    """Read a whole file."""
    contents = file_contents(path, ask)
    with reading(path):
        stored = stored_array(path, ask, contents)
        nodata, window = contents.place.nodata, (slice(None),) * len(contents.space)
        pixels, valid = block(stored, contents.layout, nodata, window)
        if isinstance(stored.array, np.memmap):
            pixels = np.array(pixels)
    return Record(pixels, valid, contents.place, contents.notes, contents.bits)


def _told(record: Record) -> Any:
    """The pixels of a record, with its notes as warnings."""
    for note in record.notes:
        warnings.warn(note, FileWarning, stacklevel=3)
    return record.masked
