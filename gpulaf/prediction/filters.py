"""Filters that see the surroundings of a pixel: raw patches, Gaussian derivatives, affinities of smoothed values.

Of a volume they look along all of its three axes. Radii and scales are in pixels of the finest axis: where the pixels
of an axis are k times as far from each other, they reach 1/k times as many of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np

from ..backend.array import floating_dtype, is_device_array, is_host_array, namespace
from ..backend.validation import check_spacing
from ..fields import to_rows

__all__ = ["affinity_features", "check_radius", "check_scales", "gaussian_features", "patch_features"]

SCALES = (1, 2, 4)
#: Those of affinities.
AFFINITY_SCALES = (0.7, 1.5, 3)
#: The radius of their neighborhood in an image and in a volume.
NEIGHBORS = {2: 2, 3: 1}
#: Standard deviations after which a Gaussian is cut off, the default of SciPy and CuPy.
TRUNCATE = 4.0
#: The smallest scale at which a Gaussian reaches the next pixel; below it, SciPy and CuPy disagree about derivatives.
SMALLEST = 0.5 / TRUNCATE
LARGEST = 1000.0


def patch_features(image: Any, radius: int = 1, spacing: Sequence[float] | None = None) -> Any:
    """The raw patch around every pixel, F = C(2r+1)² numbers; the image is mirrored at its border.

    Parameters
    ----------
    image : (H, W, C) floating array; (D, H, W, C) of a volume
    radius : int
        r in pixels, 0 for the pixel alone. Mirrored without the border pixel itself: … x₂ x₁ | x₀ x₁ x₂ …
    spacing : (sy, sx) or (sz, sy, sx), optional
        Distance of the pixels on each axis, in any unit. On a coarser axis the patch reaches as far in it, rounded to
        pixels, and at least one.

    Returns
    -------
    (H, F, W) array, same dtype and library; (D, H, F, W) of a volume. Offsets in row-major order, the channels of each
    together.

    Raises
    ------
    ValueError
        If `radius` is no whole number from 0, or `spacing` is not one positive number for each axis.

    Examples
    --------
    >>> import numpy as np
    >>> from gpulaf.prediction import patch_features
    >>> image = np.arange(12.0).reshape(3, 4, 1)
    >>> patch_features(image)[0, :, 1].tolist()
    [4.0, 5.0, 6.0, 0.0, 1.0, 2.0, 4.0, 5.0, 6.0]
    """
    check_radius(radius)
    _check_image(image, spacing)
    xp, parts = namespace(image), [to_rows(image)]
    for k, (n, r) in enumerate(zip(image.shape[:-1], _radii(image, radius, spacing), strict=True)):
        axis = k if k < image.ndim - 2 else -1
        indices = [xp.asarray(_mirrored(n, o)) for o in range(-r, r + 1)]
        parts = [xp.take(x, index, axis=axis) for x in parts for index in indices]
    return xp.concat(parts, axis=-2)


def gaussian_features(image: Any, scales: Sequence[float] = SCALES, spacing: Sequence[float] | None = None) -> Any:
    """Smoothed value, gradient magnitude and eigenvalues of the Hessian at every scale, for each channel.

    Derivatives are multiplied by the scale to their order, so that they have the units of the image at every scale.

    Parameters
    ----------
    image : (H, W, C) floating array; (D, H, W, C) of a volume
        NumPy or CuPy; mirrored at its border.
    scales : sequence of float
        Standard deviations of the Gaussian, in pixels of the finest axis.
    spacing : (sy, sx) or (sz, sy, sx), optional
        Distance of the pixels on each axis, in any unit. Along an axis whose next pixel is too far away for the
        Gaussian to reach it, there is no smoothing, and derivatives are 0.

    Returns
    -------
    (H, 4·C·scales, W) array, (D, H, 5·C·scales, W) of a volume, same library; float64 for float64 images, float32
    otherwise. For each scale and channel: value, gradient magnitude, the eigenvalues from the largest to the smallest.

    Raises
    ------
    ValueError
        If there is no scale or one below 0.125, at which a Gaussian reaches the next pixel; or `spacing` is not one
        positive number for each axis.

    Notes
    -----
    T. Lindeberg, Edge detection and ridge detection with automatic scale selection, IJCV 1998.
    """
    check_scales(scales)
    _check_image(image, spacing)
    xp, axes, parts = namespace(image), image.ndim - 1, list[Any]()
    for s in scales:
        for c in range(image.shape[-1]):
            x = xp.astype(image[..., c], floating_dtype(image))
            derivative = partial(_derivative, x, _sigmas(image, s, spacing))
            slopes = [derivative((a,)) for a in range(axes)]
            hessian = {at: derivative(at) for at in combinations_with_replacement(range(axes), 2)}
            parts += [derivative(()), xp.sqrt(_sum(g**2 for g in slopes)), *_eigenvalues(hessian)]
    return xp.stack(parts, axis=-2)


def affinity_features(
    image: Any,
    scales: Sequence[float] = AFFINITY_SCALES,
    radius: int | None = None,
    spacing: Sequence[float] | None = None,
) -> Any:
    """Distances between the smoothed image at every pixel and at its neighbors, at every scale.

    Parameters
    ----------
    image : (H, W, C) floating array; (D, H, W, C) of a volume
        NumPy or CuPy; mirrored at its border.
    scales : sequence of float
        Standard deviations of the Gaussian, in pixels of the finest axis.
    radius : int, optional
        r of the neighborhood, (2r+1)² − 1 distances for each scale, (2r+1)³ − 1 of a volume; 2 of an image and 1 of a
        volume if None.
    spacing : (sy, sx) or (sz, sy, sx), optional
        Distance of the pixels on each axis, in any unit; the neighborhood is that of :func:`patch_features`.

    Returns
    -------
    (H, F, W) array, (D, H, F, W) of a volume, same library; float64 for float64 images, float32 otherwise: Euclidean
    distances of the C channels.

    Raises
    ------
    ValueError
        If there is no scale or one below 0.125, the radius is no whole number from 1, or `spacing` is not one positive
        number for each axis.
    """
    check_scales(scales)
    _check_image(image, spacing)
    radius = NEIGHBORS[image.ndim - 1] if radius is None else radius
    check_radius(radius)
    xp, parts, radii = namespace(image), list[Any](), _radii(image, radius, spacing)
    indices = [
        {o: xp.asarray(_mirrored(n, o)) for o in range(-r, r + 1)} for n, r in zip(image.shape[:-1], radii, strict=True)
    ]
    neighbors = [o for o in product(*indices) if any(o)]
    for s in scales:
        channels = [
            _derivative(xp.astype(image[..., c], floating_dtype(image)), _sigmas(image, s, spacing), ())
            for c in range(image.shape[-1])
        ]
        for offset in neighbors:
            moved = channels
            for axis, o in enumerate(offset):
                moved = [xp.take(x, indices[axis][o], axis=axis) for x in moved] if o else moved
            parts.append(xp.sqrt(_sum((x - y) ** 2 for x, y in zip(channels, moved, strict=True))))
    return xp.stack(parts, axis=-2)


def _derivative(x: Any, sigmas: Sequence[float], along: tuple[int, ...]) -> Any:
    """The derivative of the smoothed field x (H, W) or (D, H, W) along some axes, each times the scale on that axis."""
    if any(sigmas[axis] < SMALLEST for axis in along):
        return namespace(x).zeros_like(x)
    order = [along.count(axis) for axis in range(x.ndim)]
    sigmas = [s if s >= SMALLEST else 0.0 for s in sigmas]
    smoothed = _gaussian_filter(x)(x, sigmas, order=order, mode="mirror", truncate=TRUNCATE)
    factor = 1.0
    for axis in along:
        factor *= sigmas[axis]
    return smoothed * factor if along else smoothed


def _eigenvalues(hessian: dict[tuple[int, int], Any]) -> list[Any]:
    """Eigenvalues of the symmetric matrices with these entries, 2×2 or 3×3, from the largest to the smallest."""
    xp = namespace(hessian[0, 0])
    if (2, 2) not in hessian:
        half, root = (
            (hessian[0, 0] + hessian[1, 1]) / 2,
            xp.sqrt(((hessian[0, 0] - hessian[1, 1]) / 2) ** 2 + hessian[0, 1] ** 2),
        )
        return [half + root, half - root]
    # O. K. Smith, Eigenvalues of a symmetric 3 × 3 matrix, CACM 1961: m + 2r cos φ of the matrix A = m + r B
    dtype, h = hessian[0, 0].dtype, {at: xp.astype(x, xp.float64) for at, x in hessian.items()}
    m = (h[0, 0] + h[1, 1] + h[2, 2]) / 3
    a, b, c = (h[k, k] - m for k in range(3))
    off = h[0, 1] ** 2 + h[0, 2] ** 2 + h[1, 2] ** 2
    r = xp.sqrt((a**2 + b**2 + c**2 + 2 * off) / 6)
    det = a * (b * c - h[1, 2] ** 2) - h[0, 1] * (h[0, 1] * c - h[1, 2] * h[0, 2])
    det = det + h[0, 2] * (h[0, 1] * h[1, 2] - b * h[0, 2])
    cube = xp.where(r > 0, r, xp.ones_like(r)) ** 3
    angle = xp.acos(xp.clip(det / (2 * cube), -1.0, 1.0)) / 3
    first, last = m + 2 * r * xp.cos(angle), m + 2 * r * xp.cos(angle + 2 * np.pi / 3)
    return [xp.astype(x, dtype) for x in (first, 3 * m - first - last, last)]


def _sum(parts: Any) -> Any:
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


def _ratios(image: Any, spacing: Sequence[float] | None) -> list[float]:
    """The distance of the pixels of the finest axis over that of each."""
    return [1.0] * (image.ndim - 1) if spacing is None else [min(spacing) / s for s in spacing]


def _sigmas(image: Any, scale: float, spacing: Sequence[float] | None) -> list[float]:
    """The standard deviation of a Gaussian in pixels of each axis."""
    return [float(scale * ratio) for ratio in _ratios(image, spacing)]


def _radii(image: Any, radius: int, spacing: Sequence[float] | None) -> list[int]:
    """The pixels of each axis that a patch reaches; one at least where it reaches any."""
    return [max(min(1, int(radius)), int(radius * ratio + 0.5)) for ratio in _ratios(image, spacing)]


def _gaussian_filter(image: Any) -> Any:
    if not (is_host_array(image) or is_device_array(image)):
        raise TypeError(f"image is a {type(image).__name__}; accepted are NumPy and CuPy arrays. Convert it first.")
    return import_module("cupyx.scipy.ndimage" if is_device_array(image) else "scipy.ndimage").gaussian_filter


def _mirrored(n: int, offset: int) -> np.ndarray:
    """The pixels of 0 … n−1 that stand at the positions offset … n − 1 + offset of the mirrored row."""
    period = max(1, 2 * n - 2)
    at = (np.arange(n) + offset) % period
    return np.minimum(at, period - at) if n > 1 else 0 * at


def _check_image(image: Any, spacing: Sequence[float] | None) -> None:
    xp = namespace(image)
    if image.ndim not in (3, 4) or 0 in image.shape:
        raise ValueError(
            f"image has shape {tuple(image.shape)}; accepted is (H, W, C), and (D, H, W, C) of a volume. "
            "For grey images, add an axis."
        )
    check_spacing(spacing, image.ndim - 1)
    if not xp.isdtype(image.dtype, "real floating"):
        raise TypeError(f"image has dtype {image.dtype}; accepted are floats. Divide uint8 values by 255 first.")


def check_radius(radius: float) -> None:
    """Raise ValueError for a radius of patches that is no whole number from 0 to 100."""
    if isinstance(radius, bool) or not 0 <= radius <= 100 or int(radius) != radius:
        raise ValueError(f"radius is {radius}; accepted are whole numbers from 0 to 100. Take 1 for 3×3 patches.")


def check_scales(scales: Sequence[float]) -> None:
    """Raise ValueError for scales of Gaussians that are no positive numbers of use."""
    if not scales or not all(SMALLEST <= s <= LARGEST for s in scales):
        raise ValueError(
            f"scales are {tuple(scales)}; accepted is at least one number from {SMALLEST}, below which a Gaussian sees "
            f"no neighbor, to {LARGEST}. (1, 2, 4) is usual."
        )
