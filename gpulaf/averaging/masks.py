"""Weight patches where pixels lack data, and at the cuts of a part of an image.

Invalid pixels are as outside the image: no patch looks at them, and they keep themselves alone. The weights of the
others are divided by what is left of their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..backend.array import filled, host_dtype, like, namespace
from ..backend.validation import valid_pixels
from ..fields import from_rows, pixel_shape, to_rows
from ..kernels.stencil import neighborhood, offsets, radius_of, shifted
from .patches import check_weights, uniform_weights

__all__ = ["closed_patches", "extended", "mask_gradient", "mask_weights", "masked_patches", "valid_neighbors"]


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


def valid_neighbors(valid: Any, neighborhood: tuple[int, int], periodic: bool = False) -> Any:
    """Where a valid pixel has a valid neighbor inside, (H, N, W) of bool for `valid` (H, W) and (radius, axes)."""
    found = [shifted(valid, offset, periodic, labels=False) for offset in offsets(*neighborhood)]
    return namespace(valid).stack(found, axis=-2) & valid[..., None, :]


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
