"""Features of pixels that see their surroundings: raw patches, and derivatives of Gaussian-smoothed images."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .array import floating_dtype, is_device_array, is_host_array, namespace

__all__ = ["gaussian_features", "patch_features"]


def patch_features(image: Any, radius: int = 1) -> Any:
    """The raw patch around every pixel, F = C(2r+1)² numbers; the image is mirrored at its border.

    Parameters
    ----------
    image : (H, W, C) floating array
    radius : int
        r in pixels, 0 for the pixel alone. Mirrored without the border pixel itself: … x₂ x₁ | x₀ x₁ x₂ …

    Returns
    -------
    (H, W, F) array, same dtype and library; offsets in row-major order, the channels of each together.

    Raises
    ------
    ValueError
        If `radius` is no whole number from 0.

    Examples
    --------
    >>> import numpy as np
    >>> from gpulaf import patch_features
    >>> image = np.arange(12.0).reshape(3, 4, 1)
    >>> patch_features(image)[0, 1].tolist()
    [4.0, 5.0, 6.0, 0.0, 1.0, 2.0, 4.0, 5.0, 6.0]
    """
    if isinstance(radius, bool) or int(radius) != radius or radius < 0:
        raise ValueError(f"radius is {radius}; accepted are whole numbers from 0. Take 1 for 3×3 patches.")
    _check_image(image)
    xp = namespace(image)
    rows, columns = (
        [[_mirrored(i + o, n) for i in range(n)] for o in range(-radius, radius + 1)] for n in image.shape[:2]
    )
    rows, columns = ([xp.asarray(index) for index in indices] for indices in (rows, columns))
    planes = []
    for row in rows:
        moved = xp.take(image, row, axis=0)
        planes += [xp.take(moved, column, axis=1) for column in columns]
    return xp.concat(planes, axis=-1)


def gaussian_features(image: Any, scales: Sequence[float] = (1, 2, 4)) -> Any:
    """Smoothed value, gradient magnitude and eigenvalues of the Hessian at every scale, for each channel.

    Derivatives are multiplied by the scale to their order, so that they have the units of the image at every scale.

    Parameters
    ----------
    image : (H, W, C) floating array
        NumPy or CuPy; mirrored at its border.
    scales : sequence of float
        Standard deviations of the Gaussian, in pixels.

    Returns
    -------
    (H, W, 4·C·scales) array, same library; float64 for float64 images, float32 otherwise. For each scale and channel:
    value, gradient magnitude, the larger and the smaller eigenvalue.

    Raises
    ------
    ValueError
        If there is no scale or one that is not positive.

    Notes
    -----
    T. Lindeberg, Edge detection and ridge detection with automatic scale selection, IJCV 1998.
    """
    if not scales or not all(0 < s < float("inf") for s in scales):
        raise ValueError(f"scales are {tuple(scales)}; accepted is at least one positive number. (1, 2, 4) is usual.")
    _check_image(image)
    xp = namespace(image)
    smooth = _gaussian_filter(image)
    planes = []
    for s in scales:
        for c in range(image.shape[2]):
            x = xp.astype(image[..., c], floating_dtype(image))
            value, dy, dx, dyy, dyx, dxx = (
                smooth(x, s, order=order, mode="mirror") * float(s ** sum(order))
                for order in ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
            )
            half, root = (dyy + dxx) / 2, xp.sqrt(((dyy - dxx) / 2) ** 2 + dyx**2)
            planes += [value, xp.sqrt(dy**2 + dx**2), half + root, half - root]
    return xp.stack(planes, axis=-1)


def _gaussian_filter(image: Any) -> Any:
    if not (is_host_array(image) or is_device_array(image)):
        raise TypeError(f"image is a {type(image).__name__}; accepted are NumPy and CuPy arrays. Convert it first.")
    return import_module("cupyx.scipy.ndimage" if is_device_array(image) else "scipy.ndimage").gaussian_filter


def _mirrored(i: int, n: int) -> int:
    """The pixel of 0 … n−1 that stands at position i of the mirrored row."""
    period = max(1, 2 * n - 2)
    i %= period
    return min(i, period - i) if n > 1 else 0


def _check_image(image: Any) -> None:
    xp = namespace(image)
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"image has shape {tuple(image.shape)}; accepted is (H, W, C). For grey images, add an axis.")
    if not xp.isdtype(image.dtype, "real floating"):
        raise TypeError(f"image has dtype {image.dtype}; accepted are floats. Divide uint8 values by 255 first.")
