"""Weight patches on the grid of an image or a volume: uniform, spaced, bilateral, normalized, masked, checked.

A patch ω_i holds one positive weight for each neighbor of pixel i inside the image; the weights sum to 1, and those
that point outside are exactly 0 (2.18). Invalid pixels are as outside: no patch looks at them, and they keep themselves
alone. Patches are stored in rows as (H, N, W) with N = (2r+1)² offsets in row-major
order, those of a volume as (D, H, N, W) with N = (2r+1)³.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from ..backend.array import filled, host_array, host_dtype, like, namespace
from ..backend.foreign import named_axes
from ..backend.numbers import check_count, check_number
from ..backend.operands import check_floating
from ..backend.validation import check_spacing, image_features, real_array, valid_pixels
from ..fields import field_shape, from_rows, pixel_shape, to_rows
from ..kernels.stencil import axes_of, neighborhood, neighbors, offsets, radius_of, shifted

__all__ = [
    "bilateral_weights", "check_weights", "closed_patches", "extended", "inside", "mask_gradient", "mask_weights",
    "normalize_weights", "spaced_weights", "uniform_weights", "valid_neighbors",
]  # fmt: skip


def inside(shape: tuple[int, ...], radius: int = 1, *, dtype: Any = np.float32) -> np.ndarray:
    """1 where a neighbor is inside the image, 0 where it is not.

    Parameters
    ----------
    shape : (H, W) or (D, H, W)
    radius : int
    dtype : floating dtype

    Returns
    -------
    (…, N, W) array on these pixels with N = (2·radius+1)² or (2·radius+1)³.
    """
    ones, every = np.ones(shape, dtype), offsets(radius, len(shape))
    mask = np.empty(field_shape(shape, len(every)), dtype)
    for index, offset in enumerate(every):
        mask[..., index, :] = shifted(ones, offset, labels=False)
    return mask


def uniform_weights(shape: tuple[int, ...], radius: int = 1, *, dtype: Any = np.float32) -> np.ndarray:
    """The uniform patch: 1/|N_i| on the neighbors inside the image.

    Parameters
    ----------
    shape : (H, W) or (D, H, W)
        Size of the image or volume in pixels.
    radius : int
        1 for 3×3 patches, 2 for 5×5.
    dtype : floating dtype

    Returns
    -------
    (…, N, W) array on these pixels with N = (2·radius+1)² or (2·radius+1)³.

    Raises
    ------
    ValueError
        If a side of the image or the radius is smaller than 1.

    Examples
    --------
    >>> from gpulaf import uniform_weights
    >>> weights = uniform_weights((4, 5))
    >>> weights.shape, float(weights[0, 4, 0]), float(weights[2, 4, 2] * 9)
    ((4, 9, 5), 0.25, 1.0)
    """
    if np.ndim(shape) != 1 or len(shape) not in (2, 3) or np.asarray(shape).dtype.kind not in "iu" or min(shape) < 1:
        raise ValueError(
            f"shape is {shape!r}; accepted are two sides of at least 1 pixel, three of a volume. Pass image.shape[:2]."
        )
    _check_radius(radius)
    mask = inside(tuple(shape), int(radius), dtype=dtype)
    return mask / mask.sum(axis=-2, keepdims=True)


def spaced_weights(
    shape: tuple[int, ...], spacing: tuple[float, ...], radius: int = 1, *, dtype: Any = np.float32
) -> np.ndarray:
    """The patch that averages over equal distances on every axis, for pixels that are no squares.

    Parameters
    ----------
    shape : (H, W) or (D, H, W)
        Size of the image or volume in pixels.
    spacing : (sy, sx) or (sz, sy, sx)
        Distance from one pixel to the next on each axis, in any unit.
    radius : int
        1 for 3×3 patches.
    dtype : floating dtype

    Returns
    -------
    (…, N, W) array on these pixels with N = (2·radius+1)² or (2·radius+1)³; with equal spacing the uniform patch.

    Raises
    ------
    ValueError
        If a side, the radius or a distance is not positive, or there is not one distance for each side.

    Notes
    -----
    ω ∝ Π_a q_a^(d_a²) for the neighbor d_a steps away on axis a; q_a = 1 on the finest axis. On every axis the second
    moment is that of the uniform patch on the finest one,

        s_a² Σ_d d² q_a^(d²) / Σ_d q_a^(d²) = s_min² r(r+1)/3,    d = −r … r

    For r = 1 and p = 2/3 · s_min²/s_a² that is 2q_a/(1 + 2q_a) = p, q_a = p/(2(1 − p)). At the border the rest of the
    patch is normalized.

    Examples
    --------
    >>> from gpulaf.averaging import spaced_weights
    >>> weights = spaced_weights((3, 3, 3), (2, 1, 1))[1, 1, :, 1]  # the centre sees all of its neighbors
    >>> bool(weights[13] == weights[12] > weights[4]), round(float(weights[4] / weights[13]), 3)
    (True, 0.1)
    """
    shape, distances = tuple(shape), tuple(float(s) for s in spacing)
    _check_radius(radius)
    if len(distances) != len(shape) or not all(0 < s < np.inf for s in distances):
        raise ValueError(
            f"spacing is {tuple(spacing)}; accepted are {len(shape)} positive numbers, one for each side of {shape}."
        )
    uniform = uniform_weights(shape, radius, dtype=dtype)
    if len(set(distances)) == 1:
        return uniform
    steps = np.arange(-radius, radius + 1) ** 2
    along = [_share(steps, (min(distances) / s) ** 2) ** steps for s in distances]
    patch = reduce(np.multiply.outer, along).reshape(-1, 1)
    spaced: np.ndarray = normalize_weights((uniform > 0) * patch.astype(dtype))
    return spaced


def _share(squares: np.ndarray, ratio: float) -> float:
    """q with Σ d² q^(d²) / Σ q^(d²) = ratio · (that of q = 1)."""
    from scipy.optimize import brentq

    if ratio == 1:
        return 1.0
    target = ratio * squares.mean()
    return float(brentq(lambda q: ((squares - target) * q**squares).sum(), 0.0, 1.0, xtol=1e-300, rtol=1e-14))


def bilateral_weights(
    image: Any,
    *,
    sigma: float = 0.1,
    radius: int = 1,
    channel_axis: int | None = -1,
    mask: Any = None,
    spacing: tuple[float, ...] | None = None,
) -> Any:
    """Weights that respect edges, no learning needed: ω_ik ∝ exp(−‖f_i − f_k‖² / 2σ²).

    Parameters
    ----------
    image : (H, W) or (H, W, C) floating array; (D, H, W) or (D, H, W, C) of a volume
        Grey values or channels f_i, or any features.
    sigma : float
        Scale of the features, in their units.
    radius : int
        1 for 3×3 patches.
    channel_axis : int or None
        The axis of the channels; None where every axis is spatial.
    mask : (H, W) array of bool, optional
        True where a pixel is valid; see :func:`mask_weights`.
    spacing : (sy, sx) or (sz, sy, sx), optional
        Distance of the pixels on each axis: a factor as in :func:`spaced_weights`.

    Returns
    -------
    (H, N, W) or (D, H, N, W) array in the library of `image`; float64 for float64 images, float32 otherwise.

    Raises
    ------
    ValueError, TypeError
        If `sigma`, `radius` or `spacing` is not positive, or `image` has another rank, dtype or values that are not
        finite.

    Notes
    -----
    C. Tomasi, R. Manduchi, Bilateral filtering for gray and color images, ICCV 1998, without the spatial factor.
    """
    image, channel_axis = named_axes(image, channel_axis, "image")
    image = image if isinstance(image, np.ma.MaskedArray) else real_array(image, "image")
    xp = namespace(image)
    check_bilateral(sigma, radius)
    if not xp.isdtype(image.dtype, "real floating"):
        raise TypeError(f"image has dtype {image.dtype}; accepted are floats. Divide uint8 values by 255 first.")
    features, _, valid = image_features(image, channel_axis, mask=mask)
    check_spacing(spacing, features.ndim - 1)
    patches = bilateral_patches(features, sigma, radius, spacing)
    return patches if valid is None else masked_patches(patches, valid)


def check_bilateral(sigma: float, radius: int) -> None:
    """Raise an error for a scale or a radius that bilateral weights cannot have."""
    check_number(sigma, "sigma", 1e-15, 1e15, "Take the noise level of the image.")
    _check_radius(radius)


def bilateral_patches(features: Any, sigma: float, radius: int, spacing: tuple[float, ...] | None) -> Any:
    """Bilateral weights of trusted features (H, W, C) or (D, H, W, C); see :func:`bilateral_weights`."""
    xp, shape = namespace(features), tuple(features.shape[:-1])
    fields = to_rows(features)
    patches = xp.empty(field_shape(shape, (2 * radius + 1) ** len(shape)), dtype=features.dtype)
    mask = xp.ones(shape, dtype=features.dtype)
    for index, offset, neighbor in neighbors(fields, patches):
        squared = xp.sum((neighbor - fields) ** 2, axis=-2)
        with np.errstate(over="ignore"):  # e^−∞ is 0
            patches[..., index, :] = xp.exp(-squared / (2 * sigma**2)) * shifted(mask, offset, labels=False)
    if spacing is not None:
        spaced = spaced_weights(shape, spacing, radius, dtype=np.float64)
        patches = patches * xp.asarray(spaced, dtype=features.dtype)
    return normalize_weights(patches)


def normalize_weights(weights: Any, *, floor: float = 1e-10) -> Any:
    """Normalize a non-negative (H, N, W) array to weight patches: 0 outside, at least `floor` inside, sum 1.

    Parameters
    ----------
    weights : (H, N, W) or (D, H, N, W) floating array, non-negative
    floor : float
        The smallest weight of a neighbor inside the image, as a share of the patch.

    Returns
    -------
    Array of the same shape, dtype and library.
    """
    check_floating(weights, "weights", "(H, N, W) or (D, H, N, W)")
    xp = namespace(weights)
    mask = xp.asarray(inside(pixel_shape(weights)[-axes_of(weights) :], radius_of(weights)), dtype=weights.dtype)
    kept = weights * mask
    total = xp.sum(kept, axis=-2, keepdims=True)
    kept = kept / xp.where(total > 0, total, xp.ones_like(total))
    kept = xp.where(mask > 0, xp.clip(kept, floor, 1.0), xp.zeros_like(kept))
    return kept / xp.sum(kept, axis=-2, keepdims=True)


def mask_weights(weights: Any, mask: Any) -> Any:
    """Take the weights of invalid neighbors away, as those outside the image: they become 0, the others sum to 1.

    Parameters
    ----------
    weights : (H, N, W) or (D, H, N, W) floating array
        Weight patches.
    mask : (H, W) or (D, H, W) array of bool
        True where a pixel is valid. An invalid pixel, and a valid one whose patch looks at invalid ones alone, keeps
        itself: weight 1.

    Returns
    -------
    Array of the same shape, dtype and library; patches that look at valid pixels only keep their bits.

    Raises
    ------
    ValueError, TypeError
        If the weights are no patches on the pixels of the mask, or the mask is not of bool.

    Examples
    --------
    >>> import numpy as np
    >>> from gpulaf.averaging import mask_weights, uniform_weights
    >>> mask = np.ones((3, 4), bool)
    >>> mask[:, 0] = False
    >>> mask_weights(uniform_weights((3, 4), dtype=float), mask)[1, :, 1].round(3).tolist()
    [0.0, 0.167, 0.167, 0.0, 0.167, 0.167, 0.0, 0.167, 0.167]
    """
    valid = valid_pixels(mask, pixel_shape(weights), weights)
    check_weights(weights, pixel_shape(weights))
    return weights if valid is None else masked_patches(weights, valid)


def closed_patches(weights: Any, cuts: Sequence[bool]) -> Any:
    """Weights of a part of an image, (h, N, w), that ends inside it above, below, on the left or right: a new array.

    Of a volume, (d, h, N, w), first before and behind. At those cuts, where no result may depend on them, they are
    uniform, so that none points outside the part.
    """
    weights = namespace(weights).asarray(weights, copy=True)
    r, shape = radius_of(weights), pixel_shape(weights)
    uniform = like(uniform_weights(shape, r, dtype=host_dtype(weights)), weights)
    for k, (n, first, last) in enumerate(zip(shape, cuts[::2], cuts[1::2], strict=True)):
        for cut, edge in ((first, slice(r)), (last, slice(max(0, n - r), None))):
            at = [slice(None)] * weights.ndim
            at[k if k < len(shape) - 1 else -1] = edge
            if cut:
                weights[tuple(at)] = uniform[tuple(at)]
    return weights


def masked_patches(weights: Any, valid: Any, *, periodic: bool = False) -> Any:
    """:func:`mask_weights` of trusted weights and valid pixels, (H, W) bool of their library."""
    xp, there = namespace(weights), valid_neighbors(valid, neighborhood(weights), periodic)
    kept = filled(weights, there)
    total = xp.sum(kept, axis=-2, keepdims=True)
    some = total > 0
    alone = xp.zeros_like(weights)
    alone[..., weights.shape[-2] // 2, :] = 1
    looks = xp.any(~there & (weights != 0), axis=-2, keepdims=True)
    return xp.where(some, xp.where(looks, kept / filled(total, some, 1), weights), alone)


def mask_gradient(gradient: Any, weights: Any, valid: Any) -> Any:
    """∂L/∂ω of patches from that of :func:`mask_weights` of them: (H, N, W) to (H, N, W).

    With the weights s = Σ_k ω_k of valid neighbors, their masked patch is ω/s, and ∂ω_k = (G_k − ⟨ω/s, G⟩)/s.
    """
    xp, there = namespace(weights), valid_neighbors(valid, neighborhood(weights))
    kept = filled(weights, there)
    total = xp.sum(kept, axis=-2, keepdims=True)
    some = total > 0
    total = filled(total, some, 1)
    mean = xp.sum(kept * gradient, axis=-2, keepdims=True) / total
    return filled((gradient - mean) / total, there & some)


def extended(features: Any, valid: Any, reach: int | None) -> Any:
    """Features (H, W, C) that go on from valid pixels into invalid ones, as far as `reach` pixels: what looks there.

    Pixel by pixel outwards, an invalid pixel gets the mean of the valid ones around it; what is farther away stays 0.
    Nothing depends on the values at invalid pixels, and everything on pixels within `reach`. None goes on to the end.
    """
    xp, axes = namespace(features), features.ndim - 1
    known = xp.astype(valid, features.dtype)[..., None, :]
    values, steps = filled(to_rows(features), valid[..., None, :]), 0
    while (reach is None or steps < reach) and 0 < float(xp.sum(known)) < prod(valid.shape):  # synchronize
        sums = [_box(x, axes) for x in (values, known)]
        fresh = (known == 0) & (sums[1] > 0)
        values = xp.where(fresh, sums[0] / filled(sums[1], sums[1] > 0, 1), values)
        known, steps = xp.where(fresh, xp.ones_like(known), known), steps + 1
    return from_rows(values)


def _box(field: Any, axes: int) -> Any:
    """Sums over the 3×3 or 3×3×3 neighborhood of every pixel, 0 outside."""
    for axis in range(axes):
        step = [0] * axes
        step[axis] = 1
        field = shifted(field, tuple(-s for s in step)) + field + shifted(field, tuple(step))
    return field


def valid_neighbors(valid: Any, neighborhood: tuple[int, int], periodic: bool = False) -> Any:
    """Where a valid pixel has a valid neighbor inside, (H, N, W) of bool for `valid` (H, W) and (radius, axes)."""
    found = [shifted(valid, offset, periodic, labels=False) for offset in offsets(*neighborhood)]
    return namespace(valid).stack(found, axis=-2) & valid[..., None, :]


def check_weights(weights: Any, shape: tuple[int, ...]) -> None:
    """Raise an error for `weights` that are no weight patches on an image of `shape`.

    Parameters
    ----------
    weights : (H, N, W) or (D, H, N, W) floating array
    shape : (H, W) or (D, H, W)
        Behind the axes of a batch, where there is one; its images may share their weights.

    Raises
    ------
    ValueError
        If the shape does not match, a weight is not finite or negative, points outside the image, or a patch does
        not sum to 1 (within 1e-4); the message names the first such pixel.
    """
    xp, shape = namespace(weights), tuple(shape)
    axes = axes_of(weights) if weights.ndim > 2 else len(shape)
    if weights.ndim < axes + 1 or pixel_shape(weights) not in (shape, shape[-axes:]):
        accepted = ", ".join(map(str, (*shape[:-1], "N", shape[-1])))
        raise ValueError(
            f"weights have shape {tuple(weights.shape)}; accepted is ({accepted}), one patch for each pixel. Weights "
            "belong to one image: learn or compute them for this one."
        )
    radius = radius_of(weights)
    if weights.dtype not in (xp.float32, xp.float64):
        raise TypeError(f"weights have dtype {weights.dtype}; accepted are float32 and float64. Convert them first.")
    mask = xp.asarray(inside(shape[-axes:], radius), dtype=weights.dtype)
    sums_off = "is in a patch that does not sum to 1"
    tests = (  # one at a time: each is as large as the weights
        (lambda: ~xp.isfinite(weights), "is not finite", "Remove NaN and infinite weights"),
        (lambda: weights < 0, "is negative", "Pass non-negative weights"),
        (lambda: (weights != 0) & (mask == 0), "points outside the image", "Pass them through normalize_weights"),
        (lambda: xp.abs(xp.sum(weights, axis=-2, keepdims=True) - 1) > 1e-4, sums_off, ""),
    )
    for test, what, step in tests:
        wrong = test()
        if bool(xp.any(wrong)):  # synchronize
            at = tuple(int(i[0]) for i in np.nonzero(host_array(wrong)))
            pixel, patch = (*at[:-2], at[-1]), weights[(*at[:-2], slice(None), at[-1])]
            value = float(weights[at]) if wrong.shape == weights.shape else float(xp.sum(patch))
            step = step or "Pass them through normalize_weights"
            raise ValueError(f"a weight at pixel {pixel} {what} (value {value:.6g}). {step}.")


def _check_radius(radius: int) -> None:
    check_count(radius, "radius", usual="Take 1 for 3×3 patches.")
