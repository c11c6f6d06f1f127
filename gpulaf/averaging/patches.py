"""Weight patches on the grid of an image or a volume: uniform, spaced, normalized, checked.

A patch ω_i holds one positive weight for each neighbor of pixel i inside the image; the weights sum to 1, and those
that point outside are exactly 0 (2.18). Patches are stored in rows as (H, N, W) with N = (2r+1)² offsets in row-major
order, those of a volume as (D, H, N, W) with N = (2r+1)³.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from ..backend.array import host_array, namespace
from ..backend.numbers import check_count
from ..backend.operands import check_floating
from ..fields import field_shape, pixel_shape
from ..kernels.stencil import axes_of, offsets, radius_of, shifted

__all__ = [
    "check_radius", "check_weights", "inside", "normalize_weights", "spaced_weights", "uniform_weights",
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
    check_radius(radius)
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
    check_radius(radius)
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


def check_radius(radius: int) -> None:
    """Raise an error for what is no radius of patches."""
    check_count(radius, "radius", usual="Take 1 for 3×3 patches.")
