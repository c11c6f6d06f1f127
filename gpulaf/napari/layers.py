"""Layers of napari as arrays, and labels as a layer.

A layer is anything with `data`, `name`, `scale` and `translate`, of an image also `rgb`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..labeling.hints import unused_labels, warn_of_labels
from ..labeling.table import label_pixels
from ..plots.style import COLORS
from ..tiling.dask_array import dask_array

__all__ = [
    "Found", "LayerData", "Picture", "counted", "finite_pixels", "labels_layer", "mean_values", "place_of",
    "read_marks", "read_pixels", "read_probabilities", "spacing_of",
]  # fmt: skip

#: Data, attributes and kind of a layer.
LayerData = tuple[np.ndarray, dict[str, Any], str]


class Found(NamedTuple):
    """Labels that were found."""

    #: (H, W) of label indices 0 … J−1.
    indices: np.ndarray
    #: What stands for no data.
    nodata: int | None
    reason: str = ""
    #: (J, C), in the units of the image.
    prototypes: Any = None


class Picture(NamedTuple):
    """The pixels of an image layer."""

    #: (H, W), (H, W, C), of a volume with D before H; NumPy or Dask.
    data: Any
    #: The axis of the channels, −1 or None.
    channels: int | None
    #: (H, W) of bool, True where a pixel is valid; None where all are.
    mask: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of the image."""
        return tuple(self.data.shape if self.channels is None else self.data.shape[:-1])

    def in_memory(self) -> Picture:
        """The same in NumPy arrays."""
        return Picture(np.asarray(self.data), self.channels, None if self.mask is None else np.asarray(self.mask))


def _array(layer: Any) -> Any:
    """The data of a layer at its finest scale: a NumPy array, or a Dask array of what is stored in chunks."""
    if layer is None:
        raise ValueError("a layer is missing. Open it in the viewer, and choose it.")
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    if isinstance(data, np.ndarray) or hasattr(data, "dask"):
        return data
    return dask_array().from_array(data) if hasattr(data, "chunks") else np.asarray(data)


def read_pixels(layer: Any, axes: int | None = None) -> Picture:
    """The pixels of an image layer; its last axis holds channels where it is `rgb`, or has more axes than `axes`."""
    data = _array(layer)
    channels = -1 if (layer.rgb if axes is None else data.ndim > axes) else None
    mask = None
    if layer.rgb and data.shape[-1] == 4:
        mask, data = data[..., 3] > 0, data[..., :3]
    return Picture(data, channels, finite_pixels(data, channels, mask))


def finite_pixels(data: Any, channels: int | None, mask: Any = None) -> Any:
    """The pixels of `mask` that are finite in an array with channels or without; None where all are."""
    if data.dtype.kind == "f":
        finite = np.isfinite(data)
        finite = finite if channels is None else finite.all(axis=-1)
        mask = finite if mask is None else finite & mask
    return None if isinstance(mask, np.ndarray) and mask.all() else mask


def read_probabilities(layer: Any, label_axis: int) -> tuple[Any, int | None]:
    """The probabilities (H, W, J) of a layer, and which of its axes on the screen holds the labels."""
    data = _array(layer)
    if layer.rgb:
        return data, None
    return np.moveaxis(data, label_axis, -1), label_axis % data.ndim


def read_marks(layer: Any, pixels: Picture, zero: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The labels of a layer as indices (H, W) of their values, −1 where there is none; and these values."""
    painted = np.asarray(_array(layer))
    if painted.shape != pixels.shape:
        raise ValueError(
            f"{layer.name} has {painted.shape} pixels and the image {pixels.shape}; accepted are equal sizes. Paint "
            "in a Labels layer that is made while the image is the only layer."
        )
    marked = np.ones(painted.shape, bool) if zero else painted != 0
    marked = marked if pixels.mask is None else marked & np.asarray(pixels.mask)
    values, indices = np.unique(painted[marked], return_inverse=True)
    if len(values) < 2:
        only = f"only the label {values[0]}" if len(values) else "no label"
        raise ValueError(f"{layer.name} holds {only} where the image has data; accepted are at least 2. Paint more.")
    marks = np.full(painted.shape, -1, np.int64)
    marks[marked] = indices.ravel()
    return marks, values


def mean_values(pixels: Picture, marks: np.ndarray, count: int) -> np.ndarray:
    """The mean value of the pixels of each mark, (count, C) float64, in the units of the data."""
    places = np.nonzero(marks >= 0)
    data = pixels.data[places] if isinstance(pixels.data, np.ndarray) else pixels.data.vindex[places].compute()
    found, values = marks[places], data.reshape(len(places[0]), -1)
    return np.stack([values[found == j].mean(axis=0, dtype=np.float64) for j in range(count)])


def spacing_of(layer: Any, dropped: int | None = None) -> tuple[float, ...] | None:
    """Distance of the pixels of a layer on each axis; None where they are equal."""
    scale = [abs(float(s)) for k, s in enumerate(layer.scale) if k != dropped]
    return tuple(scale) if len(set(scale)) > 1 else None


def place_of(layer: Any, dropped: int | None = None) -> dict[str, Any]:
    """The attributes that put a result where a layer is; without one of its axes, only on the others."""
    place = {}
    for name in ("scale", "translate", "units", "axis_labels"):
        if (numbers := getattr(layer, name, None)) is not None:
            place[name] = [x for k, x in enumerate(numbers) if k != dropped]
    if dropped is None:
        turned = {name: getattr(layer, name, None) for name in ("rotate", "shear", "affine")}
        place |= {name: x for name, x in turned.items() if x is not None}
    return place


def counted(labels: int) -> np.ndarray:
    """The labels 1 … J."""
    return np.arange(1, labels + 1)


def labels_layer(
    found: Found,
    values: Sequence[int] | np.ndarray,
    name: str,
    place: dict[str, Any],
    like: Any = None,
    **metadata: Any,
) -> LayerData:
    """The Labels layer of labels that stand for `values`, in the colors that a layer like it gives them."""
    labels, count = [int(x) for x in values], len(values)
    table = np.zeros(count if found.nodata is None else found.nodata + 1, _smallest(labels))
    table[:count] = labels
    pixels = label_pixels(found.indices, None if found.nodata is None else found.indices != found.nodata, count)
    if not found.reason:
        warn_of_labels(unused_labels(pixels))
    features: dict[str, Any] = {"index": labels, "pixels": pixels.tolist()}
    if found.prototypes is not None:
        features["prototype"] = [" ".join(f"{x:.4g}" for x in row) for row in found.prototypes]
    color = getattr(like, "get_color", None) or (lambda label: None)
    colors = {x: COLORS[j % len(COLORS)] if color(x) is None else color(x) for j, x in enumerate(labels)}
    attributes = place | {
        "name": name,
        "features": features,
        "colormap": {None: "transparent", 0: "transparent"} | colors,
        "metadata": {"reason": found.reason, "prototypes": found.prototypes} | metadata,
    }
    return table[found.indices], attributes, "labels"


def _smallest(values: Sequence[int]) -> np.dtype[Any]:
    """The smallest integer type that holds all values, and 0."""
    return np.result_type(np.min_scalar_type(min(values)), np.min_scalar_type(max(values)))
