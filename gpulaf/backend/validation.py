"""Validate user input and convert it to fields: images and predictions of any layout, library and dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..fields import to_rows
from .array import contiguous, floating_dtype, is_host_array, namespace

__all__ = ["check_rho", "check_spacing", "image_features", "label_fields", "log_probabilities", "real_array"]


def check_rho(rho: float, usual: str = "0.1 suits images with values in [0, 1]") -> None:
    """Raise an error for a scale of the data that is no positive, finite number."""
    if np.ndim(rho) or np.asarray(rho).dtype.kind not in "iuf":
        raise TypeError(f"rho is {rho!r}; accepted are positive numbers. {usual}.")
    if not 0 < rho < float("inf"):
        raise ValueError(f"rho is {rho}; accepted are positive numbers. {usual}.")


def check_spacing(spacing: Any, axes: int) -> None:
    """Raise ValueError for distances of pixels that are not one positive number for each spatial axis."""
    if spacing is None:
        return
    if np.ndim(spacing) != 1 or not all(0 < float(s) < np.inf for s in spacing):
        raise ValueError(f"spacing is {spacing}; accepted are positive distances, one for each axis, as (2, 1, 1).")
    if len(spacing) != axes:
        raise ValueError(
            f"spacing is {spacing}, and there are {axes} spatial axes; accepted is one distance for each. Of a volume "
            "without channels say channel_axis=None."
        )


def image_features(image: Any, channel_axis: int | None = -1, *, on_graph: bool = False) -> tuple[Any, float]:
    """Check an image and convert it to features (H, W, C), a volume to (D, H, W, C); also the factor it was scaled by.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array of real numbers; (D, H, W) or (D, H, W, C) of a volume
        uint8 and uint16 values are divided by 255 and 65535.
    channel_axis : int or None
        The axis of the channels; None where every axis is spatial. An array with two axes is a grey image.
    on_graph : bool
        The image is (n,) or (n, C), features of the nodes of a graph.

    Returns
    -------
    (*spatial axes, C) array in float32 or float64, and a number
    """
    image = real_array(image, "image")
    fewest = 1 if on_graph else 2
    grey = image.ndim == fewest and channel_axis in (-1, None)
    axes = image.ndim if channel_axis is None or grey else image.ndim - 1
    if not (fewest <= axes <= (1 if on_graph else 3)):
        if on_graph:
            accepted = "(n,) and (n, C), a row for each node of the graph"
        elif channel_axis is None:
            accepted = "(H, W) and (D, H, W) where channel_axis is None"
        else:
            accepted = "(H, W), (H, W, C) and (D, H, W, C); (D, H, W) with channel_axis=None. Pass one image"
        if image.ndim == fewest and channel_axis is not None:
            raise ValueError(
                f"channel_axis is {channel_axis}, but the image has no channels: its shape is {tuple(image.shape)}. "
                "Leave channel_axis out."
            )
        raise ValueError(f"image has shape {tuple(image.shape)}; accepted are {accepted}.")
    _check_size(image.shape, "image")
    xp = namespace(image)
    if channel_axis is None or grey:
        image = image[..., None]
    else:
        image = xp.moveaxis(image, _axis(channel_axis, axes + 1, "channel_axis"), -1)
    scale = {"uint8": 1 / 255, "uint16": 1 / 65535}.get(str(image.dtype), 1.0)
    features = xp.asarray(image, dtype=floating_dtype(image), copy=True) * scale if scale != 1 else contiguous(image)
    _check_finite(features, "image")
    return contiguous(features), scale


def log_probabilities(probabilities: Any, label_axis: int = -1, *, on_graph: bool = False) -> Any:
    """Check predictions and take their logarithm, finite even at 0: (H, W, J) to (H, J, W), float32 or float64."""
    fields = label_fields(probabilities, label_axis, "probabilities", on_graph=on_graph)
    xp = namespace(fields)
    lowest, sums = float(xp.min(fields)), xp.sum(fields, axis=-2)  # synchronize
    if lowest < 0:
        raise ValueError(
            f"probabilities go down to {lowest:.4g}; accepted are numbers from 0. For logits, use refine_logits."
        )
    worst = float(xp.max(xp.abs(sums - 1)))  # synchronize
    if worst > 1e-3:
        raise ValueError(
            f"probabilities miss a sum of 1 by up to {worst:.4g}; accepted is 0.001. "
            "Check label_axis, normalize them, or use refine_logits."
        )
    floor = float(xp.finfo(fields.dtype).smallest_normal)
    return xp.log(xp.clip(fields, floor, None))


def label_fields(values: Any, label_axis: int, name: str, *, on_graph: bool = False) -> Any:
    """Check predictions with their labels on any axis and convert them to floating rows of labels.

    (H, W, J) becomes (H, J, W), (D, H, W, J) of a volume (D, H, J, W), and (n, J) of the nodes of a graph (J, n).
    """
    values = real_array(values, name)
    axes = values.ndim - 1
    if axes not in ((1,) if on_graph else (2, 3)):
        accepted = "(n, J), a row for each node" if on_graph else "(H, W, J), and (D, H, W, J) of a volume"
        raise ValueError(
            f"{name} have shape {tuple(values.shape)}; accepted is {accepted}. Pass one image, and name another order "
            "by label_axis."
        )
    xp = namespace(values)
    if not xp.isdtype(values.dtype, "real floating"):
        raise TypeError(f"{name} have dtype {values.dtype}; accepted are floating dtypes. Convert them first.")
    axis = _axis(label_axis, axes + 1, "label_axis")
    if values.shape[axis] < 2:
        raise ValueError(
            f"{name} hold {values.shape[axis]} label on axis {label_axis}; accepted are at least 2. Check label_axis; "
            "for the probability p of one class, stack [1 − p, p]."
        )
    _check_size(values.shape, name)
    fields = contiguous(to_rows(values, axis))
    _check_finite(fields, name)
    return fields


def real_array(x: Any, name: str) -> Any:
    """An array of numbers, of the library it came in; sequences become NumPy arrays."""
    try:
        xp = namespace(x)
    except TypeError:
        try:
            x = np.asarray(x)
        except ValueError:
            raise ValueError(
                f"{name} is a sequence whose rows differ in length. Give every row as many values."
            ) from None
        xp = namespace(x)
    if is_host_array(x) and x.dtype.kind not in "buif":
        raise TypeError(f"{name} has dtype {x.dtype}; accepted are real numbers. Convert it first.")
    if is_host_array(x) and not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("="))
    if not is_host_array(x) and not xp.isdtype(x.dtype, ("bool", "integral", "real floating")):
        raise TypeError(f"{name} has dtype {x.dtype}; accepted are real numbers. Convert it first.")
    return x


def _axis(axis: int, ndim: int, name: str) -> int:
    if int(axis) != axis or not -ndim <= axis < ndim:
        raise ValueError(f"{name} is {axis}; accepted are {-ndim} to {ndim - 1}. Count the axes from 0.")
    return int(axis)


def _check_size(shape: tuple[int, ...], name: str) -> None:
    if 0 in shape:
        raise ValueError(
            f"{name} of shape {tuple(shape)} is empty; accepted is at least one pixel. Check how it was cut."
        )


def _check_finite(x: Any, name: str) -> None:
    xp = namespace(x)
    bad = ~xp.isfinite(x)
    if bool(xp.any(bad)):  # synchronize
        count = int(xp.sum(xp.astype(bad, xp.int64)))
        raise ValueError(
            f"{name} holds {count} value(s) that are NaN or infinite. Replace them, for example by a mask."
        )
