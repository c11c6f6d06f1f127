"""Features of pixels that see their surroundings: raw patches, and derivatives of Gaussian-smoothed images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from ..backend.array import contiguous, floating_dtype, is_device_array, is_host_array, like, namespace
from ..fields import to_rows
from ..io.tensors import qualified_name
from ..kernels.stencil import offsets

__all__ = [
    "Features", "affinity_features", "check_channels", "feature_names", "feature_reach", "features_name",
    "gaussian_features", "known_reach", "patch_features", "pixel_features",
]  # fmt: skip

SCALES = (1, 2, 4)
#: Those of affinities.
AFFINITY_SCALES = (0.7, 1.5, 3)
#: Standard deviations after which a Gaussian is cut off, the default of SciPy and CuPy.
TRUNCATE = 4.0
#: The smallest scale at which a Gaussian reaches the next pixel; below it, SciPy and CuPy disagree about derivatives.
SMALLEST = 0.5 / TRUNCATE
LARGEST = 1000.0
#: What the names of features look like.
EXAMPLES = "patch:1, patch:3, gaussian:1,2,4, affinity:0.7,1.5,3, or several joined by +"


def patch_features(image: Any, radius: int = 1) -> Any:
    """The raw patch around every pixel, F = C(2r+1)² numbers; the image is mirrored at its border.

    Parameters
    ----------
    image : (H, W, C) floating array
    radius : int
        r in pixels, 0 for the pixel alone. Mirrored without the border pixel itself: … x₂ x₁ | x₀ x₁ x₂ …

    Returns
    -------
    (H, F, W) array, same dtype and library; offsets in row-major order, the channels of each together.

    Raises
    ------
    ValueError
        If `radius` is no whole number from 0.

    Examples
    --------
    >>> import numpy as np
    >>> from gpulaf.prediction import patch_features
    >>> image = np.arange(12.0).reshape(3, 4, 1)
    >>> patch_features(image)[0, :, 1].tolist()
    [4.0, 5.0, 6.0, 0.0, 1.0, 2.0, 4.0, 5.0, 6.0]
    """
    _check_radius(radius)
    _check_image(image)
    xp = namespace(image)
    rows, columns = ([_mirrored(n, o) for o in range(-radius, radius + 1)] for n in image.shape[:2])
    rows, columns = ([xp.asarray(index) for index in indices] for indices in (rows, columns))
    parts, channels = [], to_rows(image)
    for row in rows:
        moved = xp.take(channels, row, axis=0)
        parts += [xp.take(moved, column, axis=-1) for column in columns]
    return xp.concat(parts, axis=-2)


def gaussian_features(image: Any, scales: Sequence[float] = SCALES) -> Any:
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
    (H, 4·C·scales, W) array, same library; float64 for float64 images, float32 otherwise. For each scale and channel:
    value, gradient magnitude, the larger and the smaller eigenvalue.

    Raises
    ------
    ValueError
        If there is no scale or one below 0.125, at which a Gaussian reaches the next pixel.

    Notes
    -----
    T. Lindeberg, Edge detection and ridge detection with automatic scale selection, IJCV 1998.
    """
    _check_scales(scales)
    _check_image(image)
    xp = namespace(image)
    smooth = _gaussian_filter(image)
    parts = []
    for s in scales:
        for c in range(image.shape[2]):
            x = xp.astype(image[..., c], floating_dtype(image))
            value, dy, dx, dyy, dyx, dxx = (
                smooth(x, s, order=order, mode="mirror", truncate=TRUNCATE) * float(s ** sum(order))
                for order in ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
            )
            half, root = (dyy + dxx) / 2, xp.sqrt(((dyy - dxx) / 2) ** 2 + dyx**2)
            parts += [value, xp.sqrt(dy**2 + dx**2), half + root, half - root]
    return xp.stack(parts, axis=-2)


def affinity_features(image: Any, scales: Sequence[float] = AFFINITY_SCALES, radius: int = 2) -> Any:
    """Distances between the smoothed image at every pixel and at its neighbors, at every scale.

    Parameters
    ----------
    image : (H, W, C) floating array
        NumPy or CuPy; mirrored at its border.
    scales : sequence of float
        Standard deviations of the Gaussian, in pixels.
    radius : int
        r of the neighborhood, (2r+1)² − 1 distances for each scale.

    Returns
    -------
    (H, F, W) array, same library; float64 for float64 images, float32 otherwise: Euclidean distances of the C channels.

    Raises
    ------
    ValueError
        If there is no scale or one below 0.125, or the radius is no whole number from 1.
    """
    _check_scales(scales)
    _check_radius(radius)
    _check_image(image)
    xp, smooth, parts = namespace(image), _gaussian_filter(image), []
    neighbors = [o for o in offsets(int(radius)) if any(o)]
    rows, columns = ({o: xp.asarray(_mirrored(n, o)) for o in range(-radius, radius + 1)} for n in image.shape[:2])
    for s in scales:
        channels = [
            smooth(xp.astype(image[..., c], floating_dtype(image)), s, mode="mirror", truncate=TRUNCATE)
            for c in range(image.shape[2])
        ]
        for dy, dx in neighbors:
            moved = (xp.take(xp.take(x, rows[dy], axis=0), columns[dx], axis=1) for x in channels)
            parts.append(xp.sqrt(sum((x - y) ** 2 for x, y in zip(channels, moved, strict=True))))
    return xp.stack(parts, axis=-2)


@dataclass(frozen=True)
class Features:
    """Features by their names, side by side: a callable that the file of a model can hold.

    Parameters
    ----------
    names : str
        ``patch:R`` (R in pixels), ``gaussian:S,S,…`` and ``affinity:S,S,…`` (scales in pixels), joined by ``+``;
        ``patch`` is ``patch:1``, ``gaussian`` is ``gaussian:1,2,4``, ``affinity`` is ``affinity:0.7,1.5,3``.

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

    def __post_init__(self) -> None:
        self.parts()

    def __call__(self, image: Any) -> Any:
        """(H, W, C) floating array to (H, F, W), same library."""
        parts = [part(image) for part in self.parts()]
        return parts[0] if len(parts) == 1 else namespace(image).concat(parts, axis=-2)

    def parts(self) -> list[Callable[[Any], Any]]:
        """The functions behind the names."""
        return [_part(name.strip(), self.names) for name in self.names.split("+")]


def feature_names(features: Any) -> str | None:
    """The names by which :class:`Features` makes the same as a callable; None where it cannot."""
    if isinstance(features, Features):
        return "+".join(str(feature_names(part)) for part in features.parts())
    bound = features if isinstance(features, partial) else partial(features)
    if bound.args or bound.func not in (patch_features, gaussian_features, affinity_features):
        return None
    if bound.func is patch_features:
        return f"patch:{bound.keywords.get('radius', 1)}"
    if bound.func is affinity_features and bound.keywords.get("radius", 2) != 2:
        return None
    name, usual = ("gaussian", SCALES) if bound.func is gaussian_features else ("affinity", AFFINITY_SCALES)
    return f"{name}:{','.join(repr(float(s)).removesuffix('.0') for s in bound.keywords.get('scales', usual))}"


def feature_reach(features: int | Callable[[Any], Any]) -> int:
    """Pixels around a pixel that its features depend on: r of patches, ⌊4s + 1/2⌋ of a Gaussian, 2 more of affinities.

    A callable of others tells it by its attribute ``reach``; without one there is a ValueError.
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
        return smooth + int(bound.keywords.get("radius", 2))
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

    Raises
    ------
    ValueError
        If a callable returns another shape or values that are not finite.
    """
    if not callable(features):
        return patch_features(image, features)
    values = features(image)
    shape = tuple(getattr(values, "shape", ()))
    if len(shape) != 3 or shape[::2] != tuple(image.shape[:2]) or not shape[1]:
        raise ValueError(
            f"the features have shape {shape}; accepted is ({image.shape[0]}, F, {image.shape[1]}) for this image. "
            "Let the callable return them as gpulaf.fields.to_rows makes them of (H, W, F)."
        )
    values, xp = contiguous(like(values, image)), namespace(image)
    if not bool(xp.all(xp.isfinite(values))):  # synchronize
        raise ValueError("the features hold values that are NaN or infinite. Let the callable return numbers only.")
    if scale is None:
        return values
    if shape[1] != len(scale):
        raise ValueError(f"the features have shape {shape}; accepted is (H, {len(scale)}, W), as in the training.")
    return values * like(scale, values)[:, None]


def check_channels(image: Any, channels: int) -> None:
    """Raise ValueError for an image (H, W) or (H, W, C) of another number of channels than the training images."""
    found = int(image.shape[2]) if image.ndim == 3 else 1
    if image.ndim in (2, 3) and found != channels:
        raise ValueError(
            f"image has {found} channels; accepted are {channels}, as in the training. "
            "Convert it, or train on such images."
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


def _gaussian_filter(image: Any) -> Any:
    if not (is_host_array(image) or is_device_array(image)):
        raise TypeError(f"image is a {type(image).__name__}; accepted are NumPy and CuPy arrays. Convert it first.")
    return import_module("cupyx.scipy.ndimage" if is_device_array(image) else "scipy.ndimage").gaussian_filter


def _mirrored(n: int, offset: int) -> np.ndarray:
    """The pixels of 0 … n−1 that stand at the positions offset … n − 1 + offset of the mirrored row."""
    period = max(1, 2 * n - 2)
    at = (np.arange(n) + offset) % period
    return np.minimum(at, period - at) if n > 1 else 0 * at


def _check_image(image: Any) -> None:
    xp = namespace(image)
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"image has shape {tuple(image.shape)}; accepted is (H, W, C). For grey images, add an axis.")
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
