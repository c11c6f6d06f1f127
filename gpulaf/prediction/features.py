"""Features by name, and what others have to know of them: how far they look, what a file of a model holds of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..backend.array import contiguous, like, namespace
from ..fields import field_shape
from ..io.tensors import qualified_name
from .filters import (
    AFFINITY_SCALES,
    NEIGHBORS,
    SCALES,
    TRUNCATE,
    affinity_features,
    check_radius,
    check_scales,
    gaussian_features,
    patch_features,
)

__all__ = [
    "Features", "check_channels", "feature_names", "feature_reach", "features_name", "known_reach", "on_spacing",
    "pixel_features",
]  # fmt: skip

#: What the names of features look like.
EXAMPLES = "patch:1, patch:3, gaussian:1,2,4, affinity:0.7,1.5,3, or several joined by +"


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
            check_radius(radius)
            return partial(patch_features, radius=int(radius))
        if kind == "gaussian":
            check_scales(numbers or SCALES)
            return partial(gaussian_features, scales=tuple(numbers or SCALES))
        if kind == "affinity":
            check_scales(numbers or AFFINITY_SCALES)
            return partial(affinity_features, scales=tuple(numbers or AFFINITY_SCALES))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"features are {names!r}: {str(error).rstrip('.')}. Write them like {EXAMPLES}.") from None
    raise ValueError(f"features are {names!r}; accepted are {EXAMPLES}.")
