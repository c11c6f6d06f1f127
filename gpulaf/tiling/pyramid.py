"""Pyramids of label images: each level takes every second pixel of the one before, and OME-Zarr says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..io.place import Place, label_colors
from .store import TileIndex, Written, create_array, flush, write_block

__all__ = ["Downsampling", "create_pyramid", "level_shapes"]


def level_shapes(shape: tuple[int, ...], least: int) -> list[tuple[int, ...]]:
    """Sizes of the levels, the full one first, until the longest side is at most `least`."""
    shapes = [shape]
    while max(shapes[-1]) > least:
        shapes.append(tuple(-(-n // 2) for n in shapes[-1]))
    return shapes


def create_pyramid(
    folder: Path, name: str, shapes: list[tuple[int, ...]], chunk: int, values: np.ndarray, place: Place
) -> None:
    """Create an OME-Zarr 0.5 image of labels with its levels 0, 1, …, at its place and with a color for every label.

    A pixel of level k lies where the one of level 0 lies that it was taken from, so all levels have one translation.
    """
    import zarr

    unit = {"unit": place.unit} if place.unit else {}
    names, count = tuple("zyx"[-len(shapes[0]) :]), len(shapes[0])
    axes = [{"name": axis, "type": "space"} | unit for axis in names]
    shift = [{"type": "translation", "translation": list(place.translations(count))}] if place.translation else []
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [size * 2**level for size in place.scales(count)]}, *shift,
            ],
        }
        for level in range(len(shapes))
    ]  # fmt: skip
    multiscale = {"name": "labels", "type": "every second pixel", "axes": axes, "datasets": datasets}
    colors = place.colors or label_colors(values.tolist())
    label = {"version": "0.5", "colors": [{"label-value": value, "rgba": list(rgba)} for value, rgba in colors]}
    ome = {"version": "0.5", "multiscales": [multiscale], "image-label": label}
    if not (folder / name / "zarr.json").is_file():
        zarr.create_group(str(folder / name), attributes={"ome": ome})
        flush(folder / name / "zarr.json")
    for level, shape in enumerate(shapes):
        create_array(folder, f"{name}/{level}", shape, (chunk,) * count, values.dtype, names)


@dataclass(frozen=True)
class Downsampling:
    """The task of making a tile of level k from the tile of twice the side of level k − 1."""

    folder: Path
    name: str
    side: int

    def read(self, tile: TileIndex) -> Any:
        """Read every second pixel of the level before."""
        import zarr

        finer = zarr.open_array(str(self.folder / self.name / str(tile.level - 1)), mode="r")
        window = tile.window(2 * self.side, finer.shape)
        return finer[window][(slice(None, None, 2),) * len(window)]

    def compute(self, tile: TileIndex, read: Any) -> Any:
        """Return the tile: reading has halved it."""
        return read

    def write(self, tile: TileIndex, blocks: Any) -> Written:
        """Write the tile; return its files."""
        window = tuple(slice(k * self.side, k * self.side + n) for k, n in zip(tile.place, blocks.shape, strict=True))
        return Written(write_block(self.folder, f"{self.name}/{tile.level}", window, blocks))
