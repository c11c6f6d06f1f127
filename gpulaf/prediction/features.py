"""Features of pixels that see their surroundings: raw patches, and derivatives of Gaussian-smoothed images.

Of a volume they look along all of its three axes. Radii and scales are in pixels of the finest axis: where the pixels
of an axis are k times as far from each other, they reach 1/k times as many of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np

from ..backend.array import contiguous, floating_dtype, is_device_array, is_host_array, like, namespace
from ..backend.validation import check_spacing
from ..fields import field_shape, to_rows
from ..io.tensors import qualified_name

__all__ = [
    "Features", "affinity_features", "check_channels", "feature_names", "feature_reach", "features_name",
    "gaussian_features", "known_reach", "on_spacing", "patch_features", "pixel_features",
]  # fmt: skip

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
#: What the names of features look like.
EXAMPLES = "patch:1, patch:3, gaussian:1,2,4, affinity:0.7,1.5,3, or several joined by +"


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
    _check_radius(radius)
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
    _check_scales(scales)
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
    _check_scales(scales)
    _check_image(image, spacing)
    radius = NEIGHBORS[image.ndim - 1] if radius is None else radius
    _check_radius(radius)
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


@dataclass(frozen=True)
class Features:
    """Features by their names, side by side: a callable that the file of a model can hold.

    Parameters
    ----------
    names : str
        ``patch:R`` (R in pixels), ``gaussian:S,S,…`` and ``affinity:S,S,…`` (scales in pixels), joined by ``+``;
        ``patch`` is ``patch:1``, ``gaussian`` is ``gaussian:1,2,4``, ``affinity`` is ``affinity:0.7,1.5,3``.
    spacing : (sy, sx) or (sz, sy, sx), optional
        Distance of the pixels on each axis, in any unit.

    Raises
    ------
    ValueError
        If a name is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> import gpulaf
    >>> gpulaf.prediction.Features("patch:1+gaussian:1,2")(np.ones((4, 5, 1))).shape
    (4, 17, 5)
    """

    names: str
    spacing: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        self.parts()

    def __call__(self, image: Any) -> Any:
        """(H, W, C) floating array to (H, F, W), same library; (D, H, W, C) of a volume to (D, H, F, W)."""
        parts = [part(image) for part in self.parts()]
        return parts[0] if len(parts) == 1 else namespace(image).concat(parts, axis=-2)

    def parts(self) -> list[Callable[[Any], Any]]:
        """The functions behind the names."""
        found = [_part(name.strip(), self.names) for name in self.names.split("+")]
        spacing = {} if self.spacing is None else {"spacing": self.spacing}
        return [partial(part, **spacing) for part in found]


def on_spacing(features: Any, spacing: tuple[float, ...]) -> Any:
    """The features of this module for pixels of a spacing; radii and callables of others as they are."""
    names, equal = feature_names(features) if callable(features) else None, len(set(spacing)) == 1
    if names is None or (equal and not isinstance(features, Features)):
        return features
    return Features(names, None if equal else spacing)


def feature_names(features: Any) -> str | None:
    """The names by which :class:`Features` makes the same as a callable; None where it cannot."""
    if isinstance(features, Features):
        return "+".join(str(feature_names(part)) for part in replace(features, spacing=None).parts())
    bound = features if isinstance(features, partial) else partial(features)
    known = bound.func in (patch_features, gaussian_features, affinity_features)
    if bound.args or not known or bound.keywords.get("spacing") is not None:
        return None
    if bound.func is patch_features:
        return f"patch:{bound.keywords.get('radius', 1)}"
    if bound.func is affinity_features and bound.keywords.get("radius") is not None:
        return None
    name, usual = ("gaussian", SCALES) if bound.func is gaussian_features else ("affinity", AFFINITY_SCALES)
    return f"{name}:{','.join(repr(float(s)).removesuffix('.0') for s in bound.keywords.get('scales', usual))}"


def feature_reach(features: int | Callable[[Any], Any]) -> int:
    """Pixels around a pixel that its features depend on: r of patches, ⌊4s + 1/2⌋ of a Gaussian, 2 more of affinities.

    On coarser axes they are fewer. A callable of others tells it by its attribute ``reach``; without one there is a
    ValueError.
    """
    if not callable(features):
        return int(features)
    if isinstance(features, Features):
        return max(feature_reach(part) for part in features.parts())
    bound = features if isinstance(features, partial) else partial(features)
    if bound.func is patch_features and not bound.args:
        return int(bound.keywords.get("radius", 1))
    if bound.func is gaussian_features and not bound.args:
        return max(int(TRUNCATE * s + 0.5) for s in bound.keywords.get("scales", SCALES))
    if bound.func is affinity_features and not bound.args:
        smooth = max(int(TRUNCATE * s + 0.5) for s in bound.keywords.get("scales", AFFINITY_SCALES))
        radius = bound.keywords.get("radius")
        return smooth + (max(NEIGHBORS.values()) if radius is None else int(radius))
    reach = getattr(features, "reach", None)
    if reach is None or isinstance(reach, bool) or int(reach) != reach or reach < 0:
        raise ValueError(
            f"the reach of the features {features!r} is {reach}; accepted are whole numbers from 0: a tile needs to "
            "know how far they look. Set features.reach to that many pixels."
        )
    return int(reach)


def known_reach(features: int | Callable[[Any], Any]) -> int | None:
    """:func:`feature_reach`; None for features that do not tell."""
    try:
        return feature_reach(features)
    except ValueError:
        return None


def features_name(features: int | Callable[[Any], Any]) -> str:
    """How files and messages name features: the radius of raw patches, names of :class:`Features`, or the callable."""
    return (feature_names(features) or qualified_name(features)) if callable(features) else repr(features)


def pixel_features(image: Any, features: int | Callable[[Any], Any], scale: Any = None) -> Any:
    """Raw patches of a radius, or what a callable makes of the image times `scale`: (H, W, C) to (H, F, W).

    Of a volume (D, H, W, C) to (D, H, F, W).

    Raises
    ------
    ValueError
        If a callable returns another shape or values that are not finite.
    """
    if not callable(features):
        return patch_features(image, features)
    values = features(image)
    shape = tuple(getattr(values, "shape", ()))
    pixels = tuple(image.shape[:-1])
    count = shape[-2] if len(shape) > 1 else 0
    if not count or shape != field_shape(pixels, count):
        accepted = ", ".join(map(str, (*pixels[:-1], "F", pixels[-1])))
        raise ValueError(
            f"the features have shape {shape}; accepted is ({accepted}) for this image. "
            "Let the callable return them as gpulaf.fields.to_rows makes them of (H, W, F)."
        )
    values, xp, own = contiguous(like(values, image)), namespace(image), feature_names(features) is not None
    finite = bool(xp.isfinite(xp.sum(values)))  # synchronize
    if not (finite or bool(xp.all(xp.isfinite(values)))):  # synchronize
        raise ValueError("the features hold values that are NaN or infinite. Let the callable return numbers only.")
    if scale is None:
        return values
    if count != len(scale):
        raise ValueError(f"the features have shape {shape}; accepted is (H, {len(scale)}, W), as in the training.")
    factors = like(scale, values)[:, None]
    if not own:
        return values * factors
    values *= factors  # made here alone
    return values


def check_channels(image: Any, channels: int, axes: int = 2) -> None:
    """Raise ValueError for an image (H, W) or (H, W, C), or a volume, of another kind than those of the training."""
    shape, named = tuple(image.shape), ("(H, W)", "(H, W, C)") if axes == 2 else ("(D, H, W)", "(D, H, W, C)")
    if image.ndim not in (axes, axes + 1):
        kinds = ("images", "a volume") if axes == 2 else ("volumes", "an image")
        told = f": the training was on {kinds[0]}, and this is {kinds[1]}" if image.ndim in (2, 4) else ""
        raise ValueError(f"image has shape {shape}; accepted are {named[0]} and {named[1]}{told}. Train on such ones.")
    found = shape[-1] if image.ndim > axes else 1
    if found != channels:
        volume = f" A volume of shape {shape} needs a model of volumes." if axes == 2 and found > 4 else ""
        raise ValueError(
            f"image has {found} channels; accepted are {channels}, as in the training. "
            f"Convert it, or train on such images.{volume}"
        )


def _part(name: str, names: str) -> Callable[[Any], Any]:
    kind, colon, values = name.partition(":")
    try:
        numbers = [float(value) for value in values.split(",")] if colon else None
        if kind == "patch" and (numbers is None or len(numbers) == 1):
            radius = numbers[0] if numbers else 1
            _check_radius(radius)
            return partial(patch_features, radius=int(radius))
        if kind == "gaussian":
            _check_scales(numbers or SCALES)
            return partial(gaussian_features, scales=tuple(numbers or SCALES))
        if kind == "affinity":
            _check_scales(numbers or AFFINITY_SCALES)
            return partial(affinity_features, scales=tuple(numbers or AFFINITY_SCALES))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"features are {names!r}: {str(error).rstrip('.')}. Write them like {EXAMPLES}.") from None
    raise ValueError(f"features are {names!r}; accepted are {EXAMPLES}.")


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


def _check_radius(radius: float) -> None:
    if isinstance(radius, bool) or not 0 <= radius <= 100 or int(radius) != radius:
        raise ValueError(f"radius is {radius}; accepted are whole numbers from 0 to 100. Take 1 for 3×3 patches.")


def _check_scales(scales: Sequence[float]) -> None:
    if not scales or not all(SMALLEST <= s <= LARGEST for s in scales):
        raise ValueError(
            f"scales are {tuple(scales)}; accepted is at least one number from {SMALLEST}, below which a Gaussian sees "
            f"no neighbor, to {LARGEST}. (1, 2, 4) is usual."
        )
