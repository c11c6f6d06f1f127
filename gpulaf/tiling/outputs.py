"""Paths of the results of a tiled labeling, and the formats of their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..io.atomic import check_folder
from ..io.images import check_output
from ..io.place import Place, tiff_options
from ..io.tiff import TIFFS
from .store import flush, is_complete

__all__ = ["Targets", "check_targets", "check_type", "write_tiff"]


class Targets(NamedTuple):
    """Paths of labels and probabilities."""

    labels: Path
    probabilities: Path | None

    @property
    def partial(self) -> Path:
        """Folder of the partial result."""
        return self.labels.with_name(f"{self.labels.name}.partial")

    @property
    def is_tiff(self) -> bool:
        """Whether labels are written to a TIFF file."""
        return self.labels.suffix.lower() in TIFFS

    @property
    def is_pyramid(self) -> bool:
        """Whether labels are written to an OME-Zarr image with a pyramid."""
        return self.labels.name.lower().endswith(".ome.zarr")


def check_targets(targets: Targets) -> None:
    """Raise ValueError or OSError for paths that the results cannot have."""
    labels, probabilities = targets
    if labels.suffix.lower() not in {".zarr"} | TIFFS:
        raise ValueError(
            f"{labels.name} ends in {labels.suffix!r}; accepted for images that are labeled in tiles are .zarr, "
            ".ome.zarr, .tif. Choose one of them."
        )
    if probabilities is not None and (
        probabilities.suffix.lower() != ".zarr" or probabilities.name.lower().endswith(".ome.zarr")
    ):
        raise ValueError(
            f"{probabilities.name} is no name for the probabilities of an image that is labeled in tiles; accepted is "
            "an array, .zarr."
        )
    for path in (labels, probabilities):
        if path is None:
            continue
        check_folder(path.parent)
        in_the_way = path.is_dir() or (path.exists() and path.suffix.lower() == ".zarr")  # a file is no folder
        if in_the_way and not is_complete(targets.partial):
            raise FileExistsError(f"{path} exists. Delete it, or choose another name.")
    if probabilities is not None:
        if probabilities.resolve() == labels.resolve():
            raise ValueError(f"labels and probabilities both go to {labels}. Choose different names.")
        if probabilities.parent.stat().st_dev != labels.parent.stat().st_dev:
            raise ValueError(f"{probabilities} is on another disk than {labels}. Put them on the same one.")


def check_type(path: Path, values: np.ndarray) -> None:
    """Raise ValueError for values of labels that the format of a file cannot hold."""
    if path.suffix.lower() in TIFFS:
        check_output(path, values.dtype, labels=values)


def write_tiff(path: Path, array_path: Path, side: int, *, name: str = "", place: Place | None = None) -> None:
    """Copy a stored array into a tiled BigTIFF with a place, tile by tile; an OME-TIFF where `name` ends so.

    Of a volume, planes are read as many at a time as are stored together.
    """
    import tifffile
    import zarr

    array = zarr.open_array(str(array_path), mode="r")
    *planes, height, width = array.shape
    side = min(side, *(-(-n // 16) * 16 for n in (max(height, 16), max(width, 16)))) // 16 * 16

    def images() -> Iterator[Any]:
        if not planes:
            yield array
            return
        for z in range(0, planes[0], array.chunks[0]):
            yield from array[z : z + array.chunks[0]]

    def tiles() -> Iterator[np.ndarray]:
        for image in images():
            for y in range(0, height, side):
                for x in range(0, width, side):
                    block = image[y : y + side, x : x + side]
                    yield np.pad(block, [(0, side - n) for n in block.shape])

    axes = "ZYX"[-array.ndim :]
    tifffile.imwrite(
        path, tiles(), shape=array.shape, dtype=array.dtype, bigtiff=True, tile=(side, side), compression="zlib",
        photometric="minisblack", **tiff_options(place or Place(), name, axes, array.shape, array.dtype, tiled=True),
    )  # fmt: skip
    flush(path)
