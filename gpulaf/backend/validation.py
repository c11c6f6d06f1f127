"""Checks and conversions at the user's door: images, predictions and prototypes of any kind to fields."""

from __future__ import annotations

from typing import Any

import numpy as np

from .array import contiguous, floating_dtype, is_host_array, namespace

__all__ = ["image_features", "label_fields", "log_probabilities", "real_array", "spatial_axes"]


def spatial_axes(spacing: Any) -> int:
    """Axes of the grid whose pixels have this spacing: 3 of a volume, where it says so, else 2; checks it."""
    if spacing is None:
        return 2
    if np.ndim(spacing) != 1 or len(spacing) not in (2, 3) or not all(0 < float(s) < np.inf for s in spacing):
        raise ValueError(
            f"spacing is {spacing}; accepted are two positive numbers for an image and three for a volume. "
            "Give the distance of the pixels on each axis, as (2, 1, 1)."
        )
    return len(spacing)


def image_features(image: Any, channel_axis: int | None = None, axes: int = 2) -> tuple[Any, float]:
    """Check an image and bring it to (H, W, C) features in float32 or float64; also the factor it was scaled by.

    With three axes it is a volume: (D, H, W, C).
    """
    image = real_array(image, "image")
    if image.ndim not in (axes, axes + 1):
        accepted = "(H, W) and (H, W, C). Pass one image" if axes == 2 else "(D, H, W) and (D, H, W, C)"
        hint = ", or the spacing of a volume" if axes == 2 and image.ndim == 4 else ""
        raise ValueError(f"image has shape {tuple(image.shape)}; accepted are {accepted}{hint}.")
    _check_size(image.shape, "image")
    xp = namespace(image)
    if image.ndim == axes:
        if channel_axis is not None:
            raise ValueError(
                f"channel_axis is {channel_axis}, but the image has no channels: its shape is "
                f"{tuple(image.shape)}. Leave channel_axis out."
            )
        image = image[..., None]
    else:
        image = xp.moveaxis(
            image, _axis(channel_axis if channel_axis is not None else -1, axes + 1, "channel_axis"), -1
        )
    scale = {"uint8": 1 / 255, "uint16": 1 / 65535}.get(str(image.dtype), 1.0)
    features = xp.asarray(image, dtype=floating_dtype(image), copy=True) * scale if scale != 1 else contiguous(image)
    _check_finite(features, "image")
    return contiguous(features), scale


def log_probabilities(probabilities: Any, label_axis: int = -1, axes: int = 2) -> Any:
    """Check predictions and take their logarithm, finite even at 0: (H, W, J) to (J, H, W), float32 or float64."""
    fields = label_fields(probabilities, label_axis, "probabilities", axes)
    xp = namespace(fields)
    lowest, sums = float(xp.min(fields)), xp.sum(fields, axis=0)  # synchronize
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


def label_fields(values: Any, label_axis: int, name: str, axes: int = 2) -> Any:
    """(J, H, W) contiguous floating fields from predictions with their labels on any axis; (J, D, H, W) of a volume."""
    values = real_array(values, name)
    if values.ndim != axes + 1:
        accepted = "(H, W, J). Pass one image" if axes == 2 else "(D, H, W, J) with this spacing. Pass one volume"
        hint = " (a volume needs its spacing)" if axes == 2 and values.ndim == 4 else ""
        raise ValueError(
            f"{name} have shape {tuple(values.shape)}; accepted is {accepted}{hint}, "
            "and name another order by label_axis."
        )
    xp = namespace(values)
    if not xp.isdtype(values.dtype, "real floating"):
        raise TypeError(f"{name} have dtype {values.dtype}; accepted are floating dtypes. Convert them first.")
    shape = values.shape
    values = xp.moveaxis(values, _axis(label_axis, axes + 1, "label_axis"), 0)
    if values.shape[0] < 2:
        raise ValueError(
            f"{name} hold {values.shape[0]} label on axis {label_axis}; accepted are at least 2. Check label_axis; "
            "for the probability p of one class, stack [1 − p, p]."
        )
    _check_size(shape, name)
    fields = contiguous(values)
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
