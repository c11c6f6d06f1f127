"""Validate user input and convert it to fields: images and predictions of any layout, library and dtype."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from ..fields import to_rows
from .array import contiguous, filled, floating_dtype, host_dtype, is_host_array, namespace
from .foreign import adopted, named_axes
from .numbers import check_number

__all__ = [
    "Pixels", "calling_level", "channel_axis_of", "check_range", "check_rho", "check_spacing", "first_is_short",
    "image_features", "label_fields", "log_probabilities", "real_array", "unmasked", "valid_pixels",
]  # fmt: skip

#: Channels that an image is taken to have where its first axis is that short and the last one is not.
FEW, MANY = 4, 16


class Pixels(NamedTuple):
    """An image as the flow takes it."""

    #: (H, W, C) array in float32 or float64, scaled; 0 at invalid pixels.
    features: Any
    #: The values of the image that became 0 and 1.
    range: tuple[float, float]
    #: (H, W) array of bool, True where a pixel is valid; None where there is no mask.
    valid: Any = None


def check_rho(rho: float) -> None:
    """Raise an error for a scale of the data that is no positive, finite number."""
    check_number(rho, "rho", usual="0.1 suits images with values in [0, 1].")


def calling_level() -> int:
    """Frames from a warning up to the first that is not of this package: where the user called."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("gpulaf."):
        frame, level = frame.f_back, level + 1
    return level


def check_spacing(spacing: Any, axes: int) -> None:
    """Raise ValueError for distances of pixels that are not one positive number for each spatial axis."""
    if spacing is None:
        return
    numbers = np.ndim(spacing) == 1 and np.asarray(spacing).dtype.kind in "iuf"
    if not numbers or not all(0 < float(s) < np.inf for s in spacing):
        raise ValueError(f"spacing is {spacing}; accepted are positive distances, one for each axis, as (2, 1, 1).")
    if len(spacing) != axes:
        raise ValueError(
            f"spacing is {spacing}, and there are {axes} spatial axes; accepted is one distance for each. Of a volume "
            "without channels say channel_axis=None."
        )


def check_range(range: Any) -> None:
    """Raise an error for values that are to become 0 and 1 and are no two increasing, finite numbers."""
    if range is None:
        return
    if isinstance(range, str) or np.ndim(range) != 1 or len(range) != 2 or np.asarray(range).dtype.kind not in "iuf":
        raise TypeError(f"range is {range!r}; accepted are two numbers (low, high), as (0, 4095), or None.")
    low, high = (float(x) for x in range)
    if not (low < high and np.isfinite([low, high, high - low]).all()):
        raise ValueError(
            f"range is {range}; accepted are two increasing, finite numbers. Take the values that become 0 and 1, as "
            "(0, 4095) of 12 bits."
        )


def image_features(
    image: Any, channel_axis: int | None = -1, *, mask: Any = None, range: Any = None, on_graph: bool = False
) -> Pixels:
    """Check an image and convert it to features (H, W, C), a volume to (D, H, W, C); also how, and which are valid.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array of real numbers; (D, H, W) or (D, H, W, C) of a volume
        Of a masked array, a pixel is valid where none of its channels is masked.
    channel_axis : int or None
        The axis of the channels; None where every axis is spatial. An array with two axes is a grey image.
    mask : (H, W) array of bool, optional
        True where a pixel is valid. Values of others are never looked at.
    range : (low, high), optional
        The values that become 0 and 1. If None, floats are taken as they are; integers of up to 16 bits are divided by
        the largest value of their type, 255 of uint8; those of more need a range.
    on_graph : bool
        The image is (n,) or (n, C), features of the nodes of a graph.

    Returns
    -------
    Pixels
    """
    image, channel_axis = (image, channel_axis) if on_graph else named_axes(image, channel_axis, "image")
    image, valid = unmasked(image)
    image = real_array(image, "image")
    axis = channel_axis_of(image, channel_axis, on_graph)
    _check_size(image.shape, "image")
    xp, bounds = namespace(image), _range(image, range)
    image = image[..., None] if axis is None else xp.moveaxis(image, axis, -1)
    if valid is not None:
        valid = (valid[..., None] if axis is None else np.moveaxis(valid, axis, -1)).all(axis=-1)
    valid = valid_pixels(mask, tuple(image.shape[:-1]), image, valid)
    if valid is not None:
        image = filled(image, valid[..., None])
    features = _scaled(image, bounds) if bounds != (0, 1) or range is not None else contiguous(image)
    _check_finite(features, "image", "numpy.isfinite(image)" + (".all(axis=-1)" if axis is not None else ""))
    return Pixels(contiguous(features), bounds, valid)


def valid_pixels(mask: Any, pixels: tuple[int, ...], reference: Any, valid: Any = None) -> Any:
    """Check a mask and join it with another one: (H, W) bool in the library of `reference`, None where both are None.

    Parameters
    ----------
    mask : (H, W) array of bool or None
        True where a pixel is valid; what is masked in a masked array is not.
    pixels : (H, W)
    reference : array
    valid : (H, W) array of bool or None
        Trusted.
    """
    if mask is not None:
        mask, own = unmasked(named_axes(mask, None, "mask")[0])
        mask = mask if hasattr(mask, "dtype") else np.asarray(mask)
        if host_dtype(mask).kind != "b":
            raise TypeError(
                f"mask has dtype {mask.dtype}; accepted are bool, True where a pixel is valid. Pass mask != 0, or "
                "mask == 0 where other values mark the invalid pixels."
            )
        if tuple(mask.shape) != pixels:
            raise ValueError(f"mask has shape {tuple(mask.shape)}; accepted is {pixels}, one value for each pixel.")
        mask = mask if own is None else mask & own
    found = [namespace(reference).asarray(x) for x in (mask, valid) if x is not None]
    return found[0] & found[1] if len(found) == 2 else next(iter(found), None)


def log_probabilities(
    probabilities: Any, label_axis: int = -1, *, mask: Any = None, normalize: bool = False, on_graph: bool = False
) -> tuple[Any, Any]:
    """Check predictions and take their logarithm, finite even at 0: (H, W, J) to (H, J, W), float32 or float64.

    Also the valid pixels, as of :func:`label_fields`. With `normalize`, predictions are divided by their sum first.
    """
    fields, valid = label_fields(probabilities, label_axis, "probabilities", mask=mask, on_graph=on_graph)
    xp = namespace(fields)
    lowest, sums = float(xp.min(fields)), xp.sum(fields, axis=-2)  # synchronize
    if valid is not None:
        sums = filled(sums, valid, 1)
    if lowest < 0:
        raise ValueError(
            f"probabilities go down to {lowest:.4g}; accepted are numbers from 0. For logits, use refine_logits."
        )
    if normalize:
        if not float(xp.min(sums)) > 0:  # synchronize
            raise ValueError("probabilities are 0 for every label at some pixels. Leave them out with mask.")
        fields = fields / sums[..., None, :]
    else:
        _check_sums(sums)
    floor = float(xp.finfo(fields.dtype).smallest_normal)
    return xp.log(xp.clip(fields, floor, None)), valid


def label_fields(
    values: Any, label_axis: int, name: str, *, mask: Any = None, on_graph: bool = False
) -> tuple[Any, Any]:
    """Check predictions with their labels on any axis and convert them to floating rows of labels.

    (H, W, J) becomes (H, J, W), (D, H, W, J) of a volume (D, H, J, W), and (n, J) of the nodes of a graph (J, n). Also
    the valid pixels, (H, W) bool, None without a mask: fields are 0 at others. A pixel of a masked array is valid where
    none of its labels is masked.
    """
    if not on_graph:
        values, named = named_axes(values, label_axis, name)
        label_axis = label_axis if named is None else named
    values, valid = unmasked(values)
    values = real_array(values, name)
    axes = values.ndim - 1
    if axes not in ((1,) if on_graph else (2, 3)):
        accepted = "(n, J), a row for each node" if on_graph else "(H, W, J), and (D, H, W, J) of a volume"
        one = " Of the probability p of one class, pass numpy.stack([1 - p, p], axis=-1)." if axes == 1 else ""
        raise ValueError(
            f"{name} have shape {tuple(values.shape)}; accepted is {accepted}. Pass one image, and name another order "
            f"by label_axis.{one}"
        )
    xp = namespace(values)
    if name == "logits" and not xp.isdtype(values.dtype, "real floating"):
        raise TypeError(f"{name} have dtype {values.dtype}; accepted are floating dtypes. Convert them first.")
    axis = _axis(label_axis, axes + 1, "label_axis")
    if label_axis == -1 and not on_graph and first_is_short(values.shape):
        raise ValueError(
            f"{name} have shape {tuple(values.shape)}, which looks like {values.shape[0]} labels on the first axis. "
            f"Pass label_axis=0; where the last axis does hold {values.shape[-1]} labels, label_axis={axes}."
        )
    if values.shape[axis] < 2:
        raise ValueError(
            f"{name} hold {values.shape[axis]} label on axis {label_axis}; accepted are at least 2. Check label_axis; "
            "for the probability p of one class, stack [1 − p, p]."
        )
    _check_size(values.shape, name)
    valid = None if valid is None else np.moveaxis(valid, axis, -1).all(axis=-1)
    fields = contiguous(to_rows(values, axis))
    valid = valid_pixels(mask, (*fields.shape[:-2], fields.shape[-1]), fields, valid)
    if valid is not None:
        fields = filled(fields, valid[..., None, :])
    _check_finite(fields, name, f"numpy.isfinite({name}).all(axis={label_axis})")
    return fields, valid


def first_is_short(shape: tuple[int, ...]) -> bool:
    """Whether a short first axis before long ones looks like that of channels or labels."""
    return shape[0] > 0 and shape[-1] >= MANY and min(shape[-2:]) > 4 * shape[0]


def unmasked(x: Any) -> tuple[Any, Any]:
    """The values of a masked array, and where they are valid; None there for other arrays."""
    if not isinstance(x, np.ma.MaskedArray):
        return x, None
    return x.data, ~np.ma.getmaskarray(x)


def real_array(x: Any, name: str) -> Any:
    """An array of numbers, of the library it came in; sequences become NumPy arrays, as those of other libraries."""
    x = adopted(x, name)
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
    if np.ndim(axis) or np.asarray(axis).dtype.kind not in "iu" or not -ndim <= axis < ndim:
        raise ValueError(f"{name} is {axis!r}; accepted are {-ndim} to {ndim - 1}. Count the axes from 0.")
    return int(axis)


def _check_size(shape: tuple[int, ...], name: str) -> None:
    if 0 in shape:
        raise ValueError(
            f"{name} of shape {tuple(shape)} is empty; accepted is at least one pixel. Check how it was cut."
        )


def _check_finite(x: Any, name: str, mask: str) -> None:
    xp = namespace(x)
    most = float(xp.finfo(x.dtype).max) ** 0.5 / 256  # sums of squares of such numbers are numbers
    least, largest = float(xp.min(x)), float(xp.max(x))  # synchronize
    if -most <= least and largest <= most:  # of NaN neither is true
        return
    infinite = ~xp.isfinite(x)
    if bool(xp.any(infinite)):  # synchronize
        count = int(xp.sum(xp.astype(infinite, xp.int64)))
        raise ValueError(
            f"{name} holds {count} value(s) that are NaN or infinite. Leave those pixels out, with mask={mask} or a "
            "masked array, or replace the values."
        )
    raise ValueError(
        f"{name} holds values from {least:.4g} to {largest:.4g}; accepted in {x.dtype} are those from {-most:.2g} to "
        f"{most:.2g}. Leave pixels without data out by a mask, or divide by the unit of the values."
    )


def _check_sums(sums: Any) -> None:
    """Raise ValueError for predictions that do not sum to 1; where they are 100 or 255 times too large, say so."""
    xp = namespace(sums)
    worst = float(xp.max(xp.abs(sums - 1)))  # synchronize
    if worst <= 1e-3:
        return
    for whole, unit in ((100, "percent"), (255, "values of 8 bits"), (65535, "values of 16 bits")):
        if float(xp.max(xp.abs(sums - whole))) <= 0.02 * whole:  # synchronize
            raise ValueError(
                f"probabilities sum to about {whole}, as {unit} do; accepted is a sum of 1. Divide them by {whole}, or "
                "pass normalize=True."
            )
    raise ValueError(
        f"probabilities miss a sum of 1 by up to {worst:.4g}; accepted is 0.001. "
        "Check label_axis, pass normalize=True, or use refine_logits."
    )


def channel_axis_of(image: Any, channel_axis: int | None, on_graph: bool) -> int | None:
    """The axis of the channels of an image, None where it has none; ValueError for another number of axes."""
    fewest, shape = 1 if on_graph else 2, tuple(image.shape)
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
                f"channel_axis is {channel_axis}, but the image has no channels: its shape is {shape}. "
                "Leave channel_axis out."
            )
        raise ValueError(f"image has shape {shape}; accepted are {accepted}.")
    if channel_axis is None or grey:
        return None
    if channel_axis == -1 and not on_graph and shape[0] <= FEW and first_is_short(shape):
        raise ValueError(
            f"image has shape {shape}, which looks like {shape[0]} channels on the first axis. Pass channel_axis=0; "
            f"of an image of {shape[0]} rows with {shape[-1]} channels, channel_axis={axes}; of a volume without "
            "channels, channel_axis=None."
        )
    return _axis(channel_axis, axes + 1, "channel_axis")


def _range(image: Any, range: Any) -> tuple[float, float]:
    """The values of an image that become 0 and 1: those given, or those of its type."""
    check_range(range)
    if range is not None:
        return float(range[0]), float(range[1])
    dtype = host_dtype(image)
    if dtype.kind not in "iu":
        return 0.0, 1.0
    if dtype.itemsize > 2:
        raise ValueError(
            f"image has dtype {dtype}, which does not tell its range. Pass range=(low, high), the values that become 0 "
            "and 1, as (0, 255) or (0, 4095)."
        )
    return 0.0, float(np.iinfo(dtype).max)


def _scaled(image: Any, range: tuple[float, float]) -> Any:
    """(x − low)/(high − low), in the dtype that the image is computed in; a new array."""
    xp, (low, high) = namespace(image), range
    wide = host_dtype(image).kind in "iu" and host_dtype(image).itemsize > 2  # the difference may have more digits
    features = xp.asarray(image, dtype=xp.float64 if wide else floating_dtype(image), copy=True)
    if low:
        features -= low
    features = xp.astype(features, floating_dtype(image), copy=False)
    features *= 1 / (high - low)
    return features
