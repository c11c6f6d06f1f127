"""Weight patches that respect edges, ω_ik ∝ exp(−‖f_i − f_k‖² / 2σ²)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.array import namespace
from ..backend.foreign import named_axes
from ..backend.numbers import check_number
from ..backend.validation import check_spacing, image_features, real_array
from ..fields import field_shape, to_rows
from ..kernels.stencil import neighbors, shifted
from .masks import masked_patches
from .patches import check_radius, normalize_weights, spaced_weights

__all__ = ["bilateral_patches", "bilateral_weights", "check_bilateral"]


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
    check_radius(radius)


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
