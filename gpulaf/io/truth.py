"""Read ground truth: label images of whole numbers of any size and sign, never what a JPEG or a resize made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import as_path
from .axes import Ask
from .images import pixel_axes, read_whole
from .tiff import TIFFS

__all__ = ["read_truth", "read_values", "truth_axes", "whole_values"]

#: Values that lie between others from which on a truth may have been interpolated, and values that no truth has as many
#: of without an area of one value.
RAMP, MANY = 5, 64
#: Share of their pixels that lies between their neighbors from which on they were interpolated, or are what a JPEG
#: leaves around an edge; of single points and small cells hardly any do.
BETWEEN = 0.25
#: Pixels of one value and of its neighbors that make an area, and pixels that make an image.
AREA, FEWEST = 3, 256
#: Compressions of a TIFF that are a JPEG.
JPEGS = (6, 7)


def read_truth(path: str | os.PathLike[str], *, unlabeled: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read ground truth: (H, W) int32 labels 0 … J−1 in the order of the file's values, and those values.

    Of a volume they are (D, H, W).

    Parameters
    ----------
    path : path
        A label image, as :func:`read_values` reads it.
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

    A volume is read as (D, H, W).

    Whole numbers in a floating type are labels, too; pixels without data are −1.

    Raises
    ------
    ValueError
        If the file holds no whole number for each pixel, or what a JPEG or an interpolation makes of labels.
    """
    path = as_path(path)
    if _is_jpeg(path):
        raise ValueError(f"{path} is a JPEG, which changes the values of labels. Take the PNG or TIFF that it was.")
    axes = truth_axes(path)
    record = read_whole(path, Ask(indices=True, volume=axes == 3))
    values, missing = record.pixels, record.masked_out
    if values.ndim > axes and values.dtype == np.uint8 and (values == values[..., :1]).all():
        values = values[..., 0]
    found = whole_values(values, missing, str(path), axes)
    _check_areas(found, path)
    return found


def truth_axes(path: str | os.PathLike[str]) -> int:
    """3 where a label image is a volume, whose file has an axis of planes or cannot be an image; 2 of others."""
    return pixel_axes(path, Ask(indices=True))


def whole_values(
    values: np.ndarray, missing: Any = False, what: str = "its truth", axes: int | None = None
) -> np.ndarray:
    """Check an array of labels, (H, W) or (D, H, W), and convert it to int64, −1 where it is `missing`.

    Raises
    ------
    ValueError
        If it holds no whole numbers, or such as int64 or its own floating type does not tell apart.
    """
    kind, shape = values.dtype, values.shape
    if values.ndim not in ((2, 3) if axes is None else (axes,)) or kind.kind not in "buif":
        raise ValueError(
            f"{what} holds {kind} values of shape {shape}; accepted is one whole number per pixel, (H, W), of a volume "
            "(D, H, W)."
        )
    values = np.where(missing, values.dtype.type(0), values)
    if kind.kind == "f":
        strange = values[~(np.isfinite(values) & (values == np.rint(values)))]
        if strange.size:
            raise ValueError(
                f"{what} holds {kind} values of shape {shape} that are no whole numbers, as {strange[0]:g}; accepted "
                "are labels, as they were before an interpolation or a division. Store them as integers."
            )
        most = 2 ** (np.finfo(kind).nmant + 1)
        if values.size and abs(values).max() > most:
            raise ValueError(
                f"{what} holds {kind} values up to {abs(values).max():.0f}; accepted in this type are labels up to "
                f"{most}, beyond which it rounds them. Store them as integers."
            )
    elif kind == np.uint64 and values.size and values.max() > np.iinfo(np.int64).max:
        raise ValueError(
            f"{what} holds the value {values.max()}; accepted are labels up to {2**63 - 1}. Number them anew."
        )
    return np.where(missing, -1, values.astype(np.int64))


def _is_jpeg(path: Path) -> bool:
    """Whether a file is a JPEG, whatever its name, or a TIFF of them."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(3)
    if head == b"\xff\xd8\xff" or path.suffix.lower() in (".jpg", ".jpeg"):
        return True
    if path.suffix.lower() not in TIFFS or head[:2] not in (b"II", b"MM"):
        return False
    import tifffile

    try:
        with tifffile.TiffFile(path) as image:
            return int(image.pages.first.compression) in JPEGS
    except Exception:  # of any kind: what is wrong with it is said where it is read
        return False


def _check_areas(values: np.ndarray, path: Path) -> None:
    """Raise ValueError for values of which most fill no area and lie between those around them."""
    if values.size < FEWEST:
        return
    where, count = _ranks(values)
    if count < RAMP + 2:
        return
    from scipy.ndimage import maximum_filter, minimum_filter

    low, high = minimum_filter(where, AREA), maximum_filter(where, AREA)
    filled = np.zeros(count, bool)
    filled[where[low == high]] = True
    thin, solid = int((~filled).sum()), int(filled.sum())
    few = RAMP <= thin >= 2 * solid and solid >= 2
    if not (few or (solid < 2 and thin > MANY)):
        return
    between = ((low < where) & (where < high))[~filled[where]]
    if between.mean() > BETWEEN:
        raise ValueError(
            f"{path} holds {count} values, of which {thin} fill no area of {AREA}×{AREA} pixels and lie between "
            "those around them, as of a truth that was interpolated or stored as JPEG, or of a photograph; accepted "
            "are labels. Resize truths with nearest neighbors, and take the file that was no JPEG."
        )


def _ranks(values: np.ndarray) -> tuple[np.ndarray, int]:
    """The place of each value among all that occur, int32 of the same shape, and how many these are."""
    low, width = int(values.min()), int(values.max()) - int(values.min())
    if width < 2**20:  # without a sort
        offsets = values - low
        there = np.bincount(offsets.ravel(), minlength=width + 1) > 0
        return (np.cumsum(there, dtype=np.int32) - 1)[offsets], int(there.sum())
    known, where = np.unique(values, return_inverse=True)
    return where.reshape(values.shape).astype(np.int32), len(known)
