"""Label prototypes, given or found by k-means, and their units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log10
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from ..backend.array import host_array, host_dtype, is_device_array
from ..backend.numbers import check_count
from ..backend.operands import check_floating, unit_of
from ..backend.validation import Pixels, real_array
from .sample import sampled_pixels

__all__ = [
    "check_label_count", "in_units", "kmeans_prototypes", "prototype_array", "shared_prototypes", "shared_sample",
]  # fmt: skip

#: Significant digits of the prototypes that k-means finds, which a text file holds.
DIGITS = 12
#: Pixels that are clustered at most, and those that each of several images gives at least.
SAMPLE, FEWEST = 20_000, 64
#: The next step for prototypes that are none.
NEXT = "Give one row per label with one value per channel."


def prototype_array(
    prototypes: Any, features: Any, range: tuple[float, float] = (0.0, 1.0), *, seed: int = 0
) -> np.ndarray:
    """Check prototypes against (…, C) features, or find that many by k-means: (J, C) float64 on the host.

    Given ones are scaled, the values of `range` to 0 and 1. Those that k-means finds have :data:`DIGITS` digits in the
    units of the image: given as an array, or from a file, they are the same numbers again.
    """
    scalar = not isinstance(prototypes, (list, tuple)) and np.ndim(prototypes) == 0 and not is_device_array(prototypes)
    if prototypes is None:
        raise TypeError(
            "prototypes is None, which only refines predictions. Call refine, or give the number of labels or one row "
            "for each."
        )
    if scalar and np.asarray(prototypes).dtype.kind not in "uif":
        raise TypeError(f"prototypes is {prototypes!r}; accepted are a number of labels or an array (J, C). {NEXT}")
    if scalar:
        check_label_count(prototypes)
        if not len(features):
            raise ValueError("the mask leaves no valid pixel to find prototypes in. True marks valid pixels.")
        prototypes = in_units(kmeans_prototypes(features, int(prototypes), seed=seed), range)
    values = host_array(real_array(prototypes, "prototypes")).astype(np.float64)
    channels = int(features.shape[-1])
    if values.ndim == 1 and channels == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != channels:
        hint = "Transpose them: labels first." if values.ndim == 2 and values.shape[0] == channels else ""
        hint = hint or "Give one row per label with one value per channel."
        raise ValueError(f"prototypes have shape {values.shape}; accepted is (J, {channels}) for this image. {hint}")
    if len(values) < 2:
        raise ValueError(f"prototypes hold {len(values)} label; accepted are at least 2. Add a row per label.")
    if not np.isfinite(values).all():
        raise ValueError("prototypes hold values that are not finite. Remove NaN and infinite values.")
    scaled = (values - range[0]) * (1 / (range[1] - range[0]))
    most = float(np.finfo(host_dtype(features)).max) ** 0.5 / 256  # as of images
    if not np.abs(scaled).max() <= most:
        raise ValueError(
            f"prototypes hold values from {values.min():.4g} to {values.max():.4g}; accepted beside this image are "
            f"those up to {most:.2g}. Give them in the unit of the image."
        )
    return scaled


def check_label_count(labels: float) -> None:
    """Raise ValueError for a number of prototypes that k-means cannot find."""
    if not 2 <= labels <= 65536 or int(labels) != labels:
        raise ValueError(f"prototypes is {labels}; accepted are 2 to 65536 labels, or an array (J, C). {NEXT}")


def in_units(prototypes: np.ndarray, range: tuple[float, float]) -> np.ndarray:
    """Scaled prototypes in the units of the image, where 0 and 1 are `range`, rounded to :data:`DIGITS` digits.

    Scaled and brought back into units once more, they are the same numbers.
    """
    values = range[0] + (range[1] - range[0]) * np.asarray(prototypes, np.float64)
    largest = max(abs(range[0]), float(np.abs(values).max()))
    return np.round(values, DIGITS - ceil(log10(largest))) if largest else values


def shared_prototypes(images: Iterable[Pixels], names: Sequence[str], labels: int, *, seed: int = 0) -> np.ndarray:
    """Label prototypes of several images together by k-means: (J, C) in the units of the images.

    Parameters
    ----------
    images : iterable of Pixels
        Looked at one at a time, large ones in a sample; all of one number of channels and one range.
    names : sequence of str
        Of the images, for messages. Each gives as many pixels.
    labels : int
        J.
    seed : int

    Raises
    ------
    ValueError
        If the images differ in channels or range, or hold fewer than J different values.
    """
    pixels, unit = shared_sample(images, names, seed=seed)
    return in_units(kmeans_prototypes(pixels, labels, seed=seed), unit)


def shared_sample(
    images: Iterable[Pixels], names: Sequence[str], *, seed: int = 0
) -> tuple[np.ndarray, tuple[float, float]]:
    """Sample pixels of several images, as many of each: (n, C) scaled, on the host, and their range.

    Raises
    ------
    ValueError
        If the images differ in channels or range.
    """
    rng, found, kinds = np.random.default_rng(seed), list[np.ndarray](), list[tuple[Any, ...]]()
    for pixels in images:
        kinds.append((int(pixels.features.shape[-1]), *pixels.range))
        if kinds[-1] != kinds[0]:
            first, other = (f"{n} channels and the range {low:g} to {high:g}" for n, low, high in (kinds[0], kinds[-1]))
            raise ValueError(
                f"{names[len(kinds) - 1]} has {other}, {names[0]} {first}; accepted are images of one kind. Label them "
                "apart, or pass the range of all of them, as range=(0, 255)."
            )
        features = host_array(sampled_pixels(pixels, seed=seed).features).reshape(-1, kinds[0][0])
        most = max(SAMPLE // len(names), FEWEST)
        found.append(features if len(features) <= most else features[rng.choice(len(features), most, replace=False)])
    return np.concatenate(found), kinds[0][1:]


def kmeans_prototypes(features: Any, labels: int, *, seed: int = 0, sample: int = SAMPLE) -> np.ndarray:
    """Label prototypes as k-means centres of the pixels' features, the largest cluster first.

    Of images of more than about a million pixels, those of windows are looked at, the same ones wherever the image is
    stored (:mod:`gpulaf.labeling.sample`).

    Parameters
    ----------
    features : (H, W, C) floating array; (D, H, W, C) of a volume, (n, C) of nodes or any pixels
    labels : int
        J, the number of prototypes.
    seed : int
        Of the places of the windows, of the pixels in them, and of the initial centres (k-means++).
    sample : int
        Pixels that are clustered at most.

    Returns
    -------
    (J, C) float64 array on the host.

    Raises
    ------
    ValueError
        If the image has fewer than J different features, or values that are NaN or infinite.
    TypeError
        If the features are no array of floating numbers.
    """
    check_floating(features, "features", "(H, W, C), (D, H, W, C) or (n, C)")
    check_count(labels, "labels")
    check_count(sample, "sample")
    check_count(seed, "seed", 0, 2**63)
    rng = np.random.default_rng(seed)
    features = sampled_pixels(Pixels(features, (0.0, 1.0)), seed=seed).features
    pixels = host_array(features).reshape(-1, features.shape[-1]).astype(np.float64)
    if not np.isfinite(pixels).all():
        raise ValueError("features hold values that are NaN or infinite. Replace them, for example by a mask.")
    unit = unit_of(pixels)
    pixels = pixels / unit
    chosen = pixels if len(pixels) <= sample else pixels[rng.choice(len(pixels), sample, replace=False)]
    colors, counts = np.unique(chosen, axis=0, return_counts=True)
    if len(colors) <= labels and chosen is not pixels:  # rare colors may be missing from the sample
        chosen = pixels
        colors, counts = np.unique(pixels, axis=0, return_counts=True)
    if len(colors) < labels:
        raise ValueError(
            f"{labels} prototypes were asked for, but the image has only {len(colors)} different values in the "
            f"{len(pixels)} pixels that were looked at. Ask for fewer."
        )
    if len(colors) == labels:
        return colors[np.argsort(-counts, kind="stable")] * unit
    return min((_cluster(chosen, labels, rng) for _ in range(4)), key=lambda result: result[0])[1] * unit


def _cluster(pixels: np.ndarray, labels: int, rng: np.random.Generator) -> tuple[float, np.ndarray]:
    """One run of k-means: the squared error, infinite if a cluster ran empty, and the centres, largest first."""
    from scipy.cluster.vq import kmeans2

    with catch_warnings():
        simplefilter("ignore")  # an empty cluster is told by its infinite error
        centres, members = kmeans2(pixels, _seeds(pixels, labels, rng), iter=30, minit="matrix")
    sizes = np.bincount(members, minlength=labels)
    error = float(((pixels - centres[members]) ** 2).sum()) if sizes.min() else np.inf
    return error, centres[np.argsort(-sizes, kind="stable")]


def _seeds(pixels: np.ndarray, labels: int, rng: np.random.Generator) -> np.ndarray:
    """The initial centres of k-means++: each a pixel, with the squared distance to those before it as its chance."""
    chosen, squared = [int(rng.integers(len(pixels)))], np.full(len(pixels), np.inf)
    while len(chosen) < labels:
        squared = np.minimum(squared, ((pixels - pixels[chosen[-1]]) ** 2).sum(axis=1))
        total = squared.sum()
        shares = (squared / total if total else np.full(len(pixels), 1 / len(pixels))).cumsum()
        found = int(np.searchsorted(shares, rng.uniform()))
        chosen.append(min(found, len(pixels) - 1))  # rounding may leave the last share below 1
    return pixels[chosen]
