"""Read images, ground truth and predictions; write labels and probabilities, whole or not at all.

PNG and JPEG go through imageio, TIFF (multi-channel, 16-bit, float) through tifffile, ``.npy`` through NumPy.
"""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import whole_file

__all__ = [
    "read_array", "read_image", "read_prototypes", "read_truth", "read_values", "read_volume", "write_array",
    "write_figure",
]  # fmt: skip

PICTURES = {".png", ".jpg", ".jpeg", ".bmp"}
TIFFS = {".tif", ".tiff"}
#: The types of files that are read.
READABLE = {".npy"} | TIFFS | PICTURES


def read_array(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a file as the array it holds.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, its type is not read here, or it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Check the path.")
    try:
        return _read(path)[0]
    except Exception as error:  # damaged files surface in every type: zlib.error, struct.error, RuntimeError, …
        raise _unreadable(path, error) from error


def read_image(path: str | os.PathLike[str], *, channel_axis: int | None = None) -> np.ndarray:
    """Read one image as (H, W) or (H, W, C) in the dtype of the file; transparency is dropped.

    Parameters
    ----------
    path : path
        PNG, JPEG, BMP, TIFF or .npy.
    channel_axis : int, optional
        The axis of the channels, where the file does not say it.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or damaged, of another type, or it is not clear which axis holds the channels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Check the path.")
    try:
        image, axes = _read(path)
    except Exception as error:  # damaged files surface in every type: zlib.error, struct.error, RuntimeError, …
        raise _unreadable(path, error) from error
    if image.ndim == 2 and channel_axis is not None:
        raise ValueError(f"the channel axis is {channel_axis}, but {path} is grey, {image.shape}. Leave it out.")
    if image.ndim == 3 and channel_axis is not None:
        if not -3 <= channel_axis < 3:
            raise ValueError(f"the channel axis is {channel_axis}; accepted are -3 to 2. Count the axes from 0.")
        return np.moveaxis(image, channel_axis, -1)
    if image.ndim == 3 and axes is not None:
        if "S" in axes or "C" in axes:
            return np.moveaxis(image, axes.index("S" if "S" in axes else "C"), -1)
        raise ValueError(
            f"{path} holds an array of shape {image.shape} and does not say which axis holds the channels. "
            "Name it with channel_axis (--channel-axis)."
        )
    if image.ndim not in (2, 3):
        raise ValueError(f"{path} holds an array of shape {image.shape}; accepted are one image (H, W) or (H, W, C).")
    if image.ndim == 3 and path.suffix.lower() in PICTURES and image.shape[-1] in (2, 4):
        image = image[..., 0] if image.shape[-1] == 2 else image[..., :3]
    return image


def read_volume(path: str | os.PathLike[str], *, channel_axis: int | None = None) -> np.ndarray:
    """Read a volume as (D, H, W) or (D, H, W, C) in the dtype of the file.

    Parameters
    ----------
    path : path
        TIFF of several pages, or .npy.
    channel_axis : int, optional
        The axis of the channels, where the file does not say it.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or damaged, or it holds no volume.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Check the path.")
    if path.suffix.lower() in PICTURES:
        raise ValueError(
            f"{path} is a picture; accepted as a volume are TIFF and .npy. For one image give two spacings."
        )
    try:
        volume, axes = _read(path)
    except Exception as error:  # damaged files surface in every type: zlib.error, struct.error, RuntimeError, …
        raise _unreadable(path, error) from error
    if channel_axis is None and axes is not None:
        channel_axis = next((axes.index(letter) for letter in "SC" if letter in axes), None)
    if volume.ndim != (3 if channel_axis is None else 4) and not (volume.ndim == 4 and axes is None):
        raise ValueError(
            f"{path} holds an array of shape {volume.shape}; accepted as a volume are (D, H, W), and (D, H, W, C) "
            "where the file or channel_axis (--channel-axis) names the channels. For one image give two spacings."
        )
    if channel_axis is not None and not -4 <= channel_axis < 4:
        raise ValueError(f"the channel axis is {channel_axis}; accepted are -4 to 3. Count the axes from 0.")
    return volume if channel_axis is None else np.moveaxis(volume, channel_axis, -1)


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
    """Read a label image as the (H, W) int64 values that it holds, whatever they stand for."""
    values = _palette_indices(path)
    values = read_image(path) if values is None else values
    if values.ndim == 3 and values.dtype == np.uint8 and (values == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim != 2 or not (np.issubdtype(values.dtype, np.integer) or values.dtype == bool):
        raise ValueError(
            f"{path} holds {values.dtype} values of shape {values.shape}; "
            "accepted is one integer label per pixel, (H, W)."
        )
    return values.astype(np.int64)


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


def write_array(path: str | os.PathLike[str], array: np.ndarray, *, volume: bool = False) -> None:
    """Write labels, probabilities or an image to .png, .tif or .npy, whole or not at all; a `volume` planes first.

    Raises
    ------
    ValueError
        If the type of the file is not written here, or cannot hold the array.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    check_output(path, array.dtype.kind, volume=volume)
    with whole_file(path) as temporary:
        if suffix == ".npy":
            with open(temporary, "wb") as file:
                np.save(file, array)
        elif suffix in TIFFS:
            import tifffile

            axes = ("ZYXS" if volume else "YXS")[: array.ndim]
            color = axes == "YXS" and array.dtype.kind == "u" and array.shape[-1] == 3
            tifffile.imwrite(
                temporary,
                array,
                photometric="rgb" if color else "minisblack",
                metadata={"axes": axes},
                compression="zlib",
                planarconfig="contig" if "S" in axes else None,
            )
        else:
            import imageio.v3 as iio

            iio.imwrite(temporary, array, extension=".png")


def check_output(path: str | os.PathLike[str], kind: str = "u", *, volume: bool = False) -> None:
    """Raise ValueError where a file name asks for a type that cannot hold data of this NumPy kind, or a volume."""
    suffix = Path(path).suffix.lower()
    accepted = {".npy"} | TIFFS | ({".png"} if kind in "ub" and not volume else set())
    if suffix not in accepted:
        what = "volumes" if volume else "labels and pictures" if kind in "ub" else "floating-point values"
        raise ValueError(f"{path} ends in {suffix!r}; accepted for {what} are {', '.join(sorted(accepted))}.")


def write_figure(path: str | os.PathLike[str], figure: Any) -> None:
    """Write a matplotlib figure, whole or not at all."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _palette_indices(path: str | os.PathLike[str]) -> np.ndarray | None:
    """The indices of a PNG with a palette, as label images often are; None for every other file."""
    from PIL import Image

    if Path(path).suffix.lower() != ".png":
        return None
    try:
        with Image.open(path) as image:
            return np.array(image) if image.mode == "P" else None
    except OSError:
        return None  # what is wrong with it is said where it is read


def _read(path: Path) -> tuple[np.ndarray, str | None]:
    """The array in a file and, for TIFF, the letters of its axes."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with open(path, "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False), None
    if suffix in TIFFS:
        import tifffile

        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            array = series.asarray()
            if (
                series.axes == "YXS"
                and array.shape[-1] == 4
                and series.keyframe.photometric == tifffile.PHOTOMETRIC.RGB
            ):
                array = array[..., :3]
            return array, series.axes
    if suffix in PICTURES:
        import imageio.v3 as iio

        image = np.asarray(iio.imread(path, plugin="pillow", rotate=True))
        if suffix in {".jpg", ".jpeg"} and image.shape[2:] == (4,):
            raise ValueError("its colors are CMYK; convert it to RGB first")
        return image, None
    raise ValueError(f"the type {suffix!r} is not read; accepted are {', '.join(sorted(READABLE))}")


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
    return ValueError(
        f"{path} cannot be read: {reason}. Check that the file is whole and of the type that its name says."
    )
