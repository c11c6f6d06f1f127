"""What a run over a large image does, told by its input and its options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._version import __version__
from .engine import Job
from .job import Labeler, LabelTiles
from .outputs import Targets, write_tiff
from .pyramid import Halving, create_pyramid, level_shapes
from .sizing import chunk_side
from .source import Source
from .store import Partial, Place, create_array

__all__ = ["Run"]


class Run:
    """What a run does, told by its input and its options."""

    def __init__(self, source: Source, labeler: Labeler, targets: Targets, side: int) -> None:
        self.source, self.labeler, self.targets = source, labeler, targets
        self.side, self.chunk = side, chunk_side(side)
        height, width = source.shape[:2]
        self.shapes = level_shapes((height, width), self.chunk) if targets.is_pyramid else [(height, width)]

    def places(self, level: int) -> Iterator[Place]:
        """The tiles of a level, row by row."""
        rows, columns = (-(-n // self.side) for n in self.shapes[level])
        return (Place(level, row, column) for row in range(rows) for column in range(columns))

    def tiles(self, level: int = 0) -> int:
        """Their number."""
        rows, columns = (-(-n // self.side) for n in self.shapes[level])
        return rows * columns

    def jobs(self) -> list[Job]:
        """The work of each level."""
        folder, name = self.targets.partial, "labels"
        probabilities = None if self.targets.probabilities is None else "probabilities"
        first = f"{name}/0" if self.targets.is_pyramid else name
        label_tiles = LabelTiles(self.source, self.labeler, folder, self.side, first, probabilities)
        return [label_tiles, *(Halving(folder, name, self.side) for _ in self.shapes[1:])]

    def create(self) -> None:
        """The arrays, empty, where they are not there yet."""
        folder, chunks = self.targets.partial, (self.chunk, self.chunk)
        if self.targets.is_pyramid:
            layout = self.source.layout
            create_pyramid(
                folder, "labels", self.shapes, self.chunk, self.labeler.dtype, layout.spacing, layout.unit
            )  # fmt: skip
        else:
            create_array(folder, "labels", self.shapes[0], chunks, self.labeler.dtype, ("y", "x"))
        if self.targets.probabilities is not None:
            count, dtype = self.labeler.labels, self._floating()
            create_array(
                folder, "probabilities", (*self.shapes[0], count), (*chunks, count), dtype, ("y", "x", "label")
            )  # fmt: skip

    def fingerprint(self) -> dict[str, Any]:
        """What decides about the bytes of the result."""
        options, weights = self.labeler, self.labeler.weights
        return {
            "version": __version__,
            "input": self.source.path,
            "size and time of the input": list(self.source.stamp),
            "axes": list(self.source.layout),
            "shape": list(self.source.shape),
            "prototypes": options.prototypes.tolist(),
            "values": None if options.values is None else np.asarray(options.values).tolist(),
            "weights": "uniform" if weights is None else repr(weights),
            "rho": float(options.rho),
            "time": np.asarray(options.time, float).tolist(),
            "integrator": repr(options.integrator),
            "device": options.device,
            "tile": self.side,
            "probabilities": None if self.targets.probabilities is None else str(self.targets.probabilities),
        }

    def disk_bytes(self) -> float:
        """Room that the results take at most."""
        pixels = self.shapes[0][0] * self.shapes[0][1]
        labels = sum(h * w for h, w in self.shapes) * self.labeler.dtype.itemsize * (2 if self.targets.is_tiff else 1)
        floats = 0 if self.targets.probabilities is None else self.labeler.labels * self._floating().itemsize
        return float(labels + pixels * floats)

    def finish(self, partial: Partial) -> None:
        """Everything to its place."""
        name = "labels"
        if self.targets.is_tiff:
            name = "labels.tif"
            write_tiff(partial.folder / name, partial.folder / "labels", self.chunk)
        moves = {} if self.targets.probabilities is None else {"probabilities": self.targets.probabilities}
        partial.place(moves | {name: self.targets.labels})

    def _floating(self) -> np.dtype[Any]:
        return np.dtype("float64" if self.source.dtype == "float64" else "float32")
