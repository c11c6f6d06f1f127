"""Label the tiles of an image file: read each with its halo, label it, write what lies inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import device_array, host_array
from ..labeling.labeler import Labeling
from ..labeling.table import label_pixels
from .source import Source
from .store import TileIndex, Written, write_block

__all__ = ["Blocks", "LabelTask"]


class Blocks(NamedTuple):
    """A labeled tile."""

    #: What is written to each array.
    arrays: dict[str, np.ndarray]
    #: Number of pixels of each label.
    pixels: list[int]


@dataclass(frozen=True, eq=False)
class LabelTask:
    """The task of labeling one tile of an image file.

    Parameters
    ----------
    sources : tuple of Source
        What a tile is read from: an image; or soft predictions, and the image that weights are made from.
    solve : callable
        ``solve(mask, *tiles)`` labels a tile with its halo, arrays of each source.
    values : (J,) integer array
        What stands for the labels in the result.
    device : "cpu" or "gpu"
    side, halo : int
        Of the tiles, and around each of them, in pixels.
    folder : Path
        Holds the arrays.
    labels, probabilities : str
        Names of the arrays; no probabilities if None.
    nodata : int, optional
        What stands for pixels without data in the result.
    """

    sources: tuple[Source, ...]
    solve: Callable[..., Labeling]
    values: np.ndarray
    device: str
    side: int
    halo: int
    folder: Path
    labels: str = "labels"
    probabilities: str | None = None
    nodata: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of the image in pixels."""
        return self.sources[0].pixels

    def read(self, tile: TileIndex) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Read the tile with its halo, (h, w) or (h, w, C), of each source, and which of its pixels hold data; None
        where all do."""
        window = tile.window(self.side, self.shape, self.halo)
        return [source.read(window) for source in self.sources]

    def compute(self, tile: TileIndex, read: list[tuple[np.ndarray, np.ndarray | None]]) -> Blocks:
        """Label the tile with its halo, cut out what lies inside, for each array, and count its labels."""
        outer, inner = (tile.window(self.side, self.shape, halo) for halo in (self.halo, 0))
        core = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
        known = [valid for _, valid in read if valid is not None]
        valid = np.logical_and.reduce(known) if known else None
        mask = None if valid is None else device_array(valid, self.device)
        result = self.solve(mask, *(device_array(array, self.device) for array, _ in read))
        labels = host_array(result.labels[core])
        pixels = label_pixels(labels, None if valid is None else valid[core], len(self.values)).tolist()
        if valid is not None:
            labels = np.where(valid[core], labels, 0)
        blocks = {self.labels: self.values[labels]}
        if valid is not None:
            blocks[self.labels][~valid[core]] = self.nodata
        if self.probabilities is not None:
            blocks[self.probabilities] = host_array(result.probabilities[core]).copy()  # no view of the whole window
        return Blocks(blocks, pixels)

    def write(self, tile: TileIndex, blocks: Blocks) -> Written:
        """Write the blocks; return their files, and the number of pixels of each label."""
        inner, files = tile.window(self.side, self.shape), dict[str, Any]()
        for name, block in blocks.arrays.items():
            files |= write_block(self.folder, name, inner, block)
        return Written(files, blocks.pixels)
