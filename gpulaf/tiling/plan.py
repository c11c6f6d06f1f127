"""The plan of labeling an image file: its tiles, the task of each level, the arrays that they fill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import prod
from typing import Any

import numpy as np

from .._version import __version__
from ..backend.array import host_array
from ..io.place import Place
from ..labeling.labeler import Labeler, Labeling
from .engine import TileTask
from .halo import tile_halo
from .label_task import LabelTask
from .outputs import Targets, write_tiff
from .pyramid import Downsampling, create_pyramid, level_shapes
from .sizing import chunk_side
from .source import Source
from .store import PartialResult, TileIndex, add_attributes, create_array

__all__ = ["Plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """The plan of labeling an image file.

    Parameters
    ----------
    source : Source
    labeler : Labeler
        Its prototypes are in scaled image units.
    values : (J,) integer array
        What stands for the labels in the result.
    targets : Targets
    side : int
        Of the tiles in pixels.
    device : "cpu" or "gpu"
    nodata : int, optional
        What stands for pixels without data in the result, which says so where there are some.
    image : Source, optional
        What weights are made from, where `source` holds soft predictions.
    soft : str
        What `source` holds where it is no image: "probabilities" or "logits".
    spacing : tuple of float, optional
        Distance of the pixels on each axis, for uniform weights.
    """

    source: Source
    labeler: Labeler
    values: np.ndarray
    targets: Targets
    side: int
    device: str
    nodata: int | None = None
    image: Source | None = None
    soft: str = ""
    spacing: tuple[float, ...] | None = None

    def place(self, nodata: int | None = None) -> Place:
        """Where the labels lie, and what stands for those without data."""
        known = self.source.place if self.image is None else self.image.place
        return replace(known.with_spacing(self.spacing), nodata=nodata, colors=())

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Sizes of the levels that are written, the full one first."""
        whole = self.source.pixels
        return level_shapes(whole, chunk_side(self.side)) if self.targets.is_pyramid else [whole]

    def tiles(self, level: int = 0) -> Iterator[TileIndex]:
        """The tiles of a level, row by row."""
        return (TileIndex(level, place) for place in product(*map(range, self._grid(level))))

    def count(self, level: int = 0) -> int:
        """Number of the tiles of a level."""
        return prod(self._grid(level))

    def tasks(self) -> list[TileTask]:
        """The task of each level."""
        folder, name = self.targets.partial, "labels"
        probabilities = None if self.targets.probabilities is None else "probabilities"
        sources = (self.source,) if self.image is None else (self.source, self.image)
        halo = tile_halo(self.labeler, masked=any(source.gaps for source in sources))
        solve: Any = partial(_labeled, self.labeler, self.source.axes, self.spacing)
        if self.soft:
            solve = partial(_refined, self.labeler, self.soft, self.spacing)
        first = LabelTask(
            sources, solve, self.values, self.device, self.side, halo, folder, self._full, probabilities, self.nodata,
        )  # fmt: skip
        return [first, *(Downsampling(folder, name, self.side) for _ in self.shapes[1:])]

    def create_arrays(self) -> None:
        """Create the arrays, empty, where they are not there yet."""
        folder, side, count = self.targets.partial, chunk_side(self.side), self.source.axes
        names = tuple("zyx"[-count:])
        where = self.place().to_json()
        about = {"place": where} if where else {}
        if self.targets.is_pyramid:
            create_pyramid(folder, "labels", self.shapes, side, self.values, self.place())
        else:
            create_array(folder, "labels", self.shapes[0], (side,) * count, self.values.dtype, names, about)
        if self.targets.probabilities is not None:
            shape, chunks = (*self.shapes[0], len(self.values)), (*(side,) * count, len(self.values))
            create_array(folder, "probabilities", shape, chunks, self._floating, (*names, "label"), about)

    def fingerprint(self) -> dict[str, Any]:
        """Input and options that determine the bytes of the result."""
        labeler, weights = self.labeler, self.labeler.weights
        return {
            "version": __version__,
            "input": self.source.path,
            "size and time of the input": list(self.source.stamp),
            "axes": [*self.source.layout, self.source.ask.series],
            "place": self.place().to_json(),
            "shape": list(self.source.shape),
            "dtype": str(self.source.dtype),
            "prototypes": None if self.soft else labeler.prototypes.tolist(),
            "predictions": self.soft,
            "image": None if self.image is None else [self.image.path, *self.image.stamp],
            "spacing": None if self.spacing is None else [float(x) for x in self.spacing],
            "range": None if labeler.range is None else [float(x) for x in labeler.range],
            "values": self.values.tolist(),
            "nodata": self.nodata,
            "weights": "uniform" if weights is None else repr(weights),
            "rho": float(labeler.rho),
            "metric": labeler.metric,
            "prior": None if labeler.prior is None else host_array(labeler.prior).astype(float).tolist(),
            "time": labeler.times,
            "solver": repr(labeler.solver),
            "device": self.device,
            "tile": self.side,
            "probabilities": None if self.targets.probabilities is None else str(self.targets.probabilities),
        }

    def disk_bytes(self) -> float:
        """Upper bound of the bytes of the results."""
        pixels = [prod(shape) for shape in self.shapes]
        labels = sum(pixels) * self.values.dtype.itemsize * (2 if self.targets.is_tiff else 1)
        floats = 0 if self.targets.probabilities is None else len(self.values) * self._floating.itemsize
        return float(labels + pixels[0] * floats)

    def is_full(self, pixels: Sequence[int]) -> bool:
        """Whether every pixel has a label, by the number of pixels of each."""
        return sum(pixels) == prod(self.shapes[0])

    def finish(self, partial: PartialResult) -> None:
        """Say what stands for pixels without data, where there are some, and move the results to where they belong."""
        name, place = "labels", self.place(None if self.is_full(partial.pixels) else self.nodata)
        if place.nodata is not None:
            about = {} if self.targets.is_pyramid else {"place": place.to_json()}
            add_attributes(partial.folder, name, about | {"_FillValue": place.nodata})
        if self.targets.is_tiff:
            name = "labels.tif"
            source, target = partial.folder / "labels", self.targets.labels.name
            write_tiff(partial.folder / name, source, chunk_side(self.side), name=target, place=place)
        moves = {} if self.targets.probabilities is None else {"probabilities": self.targets.probabilities}
        partial.move_results(moves | {name: self.targets.labels})

    @property
    def _full(self) -> str:
        """The array of labels in full resolution."""
        return "labels/0" if self.targets.is_pyramid else "labels"

    def _grid(self, level: int) -> tuple[int, ...]:
        """Tiles below and beside each other."""
        return tuple(-(-n // self.side) for n in self.shapes[level])

    @property
    def _floating(self) -> np.dtype[Any]:
        return np.dtype("float64" if self.source.dtype == "float64" else "float32")


def _labeled(labeler: Labeler, axes: int, spacing: Any, mask: Any, image: Any) -> Labeling:
    """Label a tile of an image."""
    return labeler.of_part(image, mask=mask, axes=axes, spacing=spacing)


def _refined(labeler: Labeler, soft: str, spacing: Any, mask: Any, predictions: Any, image: Any = None) -> Labeling:
    """Refine a tile of soft predictions, with the image that weights are made from."""
    refine = labeler.refine_logits if soft == "logits" else labeler.refine
    axes = predictions.ndim - 1
    channels = axes if image is not None and image.ndim > axes else None
    return refine(predictions, image=image, label_axis=axes, channel_axis=channels, mask=mask, spacing=spacing)
