"""What looks wrong about the numbers of an image, its prototypes and its labels, though nothing forbids it."""

from __future__ import annotations

from math import ceil, log2, prod
from typing import Any
from warnings import warn

import numpy as np

from ..backend.array import host_array, namespace
from ..backend.validation import Pixels, calling_level

__all__ = [
    "DataWarning", "unused_labels", "void_value", "warn_of_distances", "warn_of_labels", "warn_of_range",
    "warn_of_values",
]  # fmt: skip

#: Share of a range under which an image uses little of it, and how much larger than 1 values of floats are large.
LITTLE, LARGE = 1 / 8, 10
#: How much larger than the differences of values rho may be.
HUGE = 1000
#: Pixels from which on an image tells something.
FEWEST = 64
#: Labels that a message lists.
LISTED = 5
#: Values that often stand for no ground truth; how many times as far from the others one is as they from each other;
#: the share of pixels under which it is small; and the side of a window that is nearby.
VOIDS, APART, SMALL, NEARBY = (255, 65535), 2, 0.1, 7


class DataWarning(UserWarning):
    """The numbers of an image, its prototypes or its labels look wrong; the message says which, and the next step."""


def warn_of_values(pixels: Pixels, prototypes: np.ndarray, rho: float, *, ranged: bool, learned: bool) -> bool:
    """Warn where the values of an image do not go with its range, with rho or with its prototypes; whether it did.

    Parameters
    ----------
    pixels : Pixels
        Valid ones, of a sample.
    prototypes : (J, C) array
        Scaled.
    rho : float
    ranged : bool
        Whether the values were scaled by a range, given or that of an integer type.
    learned : bool
        Whether the prototypes come from other images.
    """
    if prod(pixels.features.shape[:-1]) < FEWEST:
        return False
    low, high = _extremes(pixels.features)
    if not high.max() > low.min():
        return False
    text = _about_learned(pixels.range, float(low.min()), float(high.max()), prototypes) if learned else None
    text = text or _about_range(pixels.range, float(low.min()), float(high.max()), rho, ranged)
    text = text or (None if learned else _about_prototypes(pixels.range, low, high, prototypes))
    if text:
        warn(text, DataWarning, stacklevel=calling_level())
    return bool(text)


def warn_of_range(bounds: tuple[float, float], low: float, high: float, rho: float, *, ranged: bool) -> None:
    """Warn where images whose scaled values go from `low` to `high` do not go with their range or with rho."""
    text = _about_range(bounds, low, high, rho, ranged) if high > low else None
    if text:
        warn(text, DataWarning, stacklevel=calling_level())


def warn_of_distances(spread: float, rho: float) -> bool:
    """Warn where the distances of pixels to two prototypes differ by `spread` at most, and rho is far from that.

    Returns whether it did.
    """
    text, differ = "", f"the distances of pixels to two prototypes differ by up to {spread:.4g} in this metric"
    if spread > LARGE and rho < spread / 100:
        text = f"{differ}, and rho {rho:g} is {100 * rho / spread:.2g} % of that. Pass rho in the units of the metric."
    elif spread > 0 and rho > HUGE * spread:
        text = (
            f"{differ}, and rho {rho:g} is {rho / spread:.2g} times as large, which hardly tells the labels apart. "
            "Pass rho in the units of the metric."
        )
    if text:
        warn(text, DataWarning, stacklevel=calling_level())
    return bool(text)


def unused_labels(pixels: np.ndarray) -> str:
    """A sentence about labels that no pixel got, by the number of `pixels` of each; empty where there are none."""
    unused, last = np.flatnonzero(pixels == 0), len(pixels) - 1
    if not unused.size or not pixels.any():
        return ""
    if len(unused) == last and pixels.sum() >= FEWEST:
        return f"Every pixel got the label {int(pixels.argmax())} of 0 to {last}."
    return f"No pixel got the label{'s' if len(unused) > 1 else ''} {_listed(unused)} of 0 to {last}."


def void_value(labels: np.ndarray, values: np.ndarray) -> int | None:
    """The value of a truth that looks like no ground truth: far from the others, or a thin border between them.

    Parameters
    ----------
    labels : (H, W) integer array
        Indices of `values`, −1 where there is no ground truth.
    values : (J,) integer array
        Sorted.

    Returns
    -------
    int or None
    """
    pixels = np.bincount(labels[labels >= 0], minlength=len(values))
    if len(values) < 3 or not pixels.any():
        return None
    gaps = np.diff(values.astype(np.float64))
    apart, small = gaps[-1] > APART * gaps[:-1].max(), pixels[-1] < SMALL * pixels.sum()
    last = int(values[-1])
    if (apart and (last in VOIDS or small)) or (last in VOIDS and _is_border(labels, len(values) - 1)):
        return last
    return 0 if int(values[0]) == 0 and _is_border(labels, 0) else None


def _is_border(labels: np.ndarray, label: int) -> bool:
    """Whether most pixels of a label have two other labels nearby."""
    from scipy.ndimage import maximum_filter, minimum_filter

    here, other = labels == label, (labels != label) & (labels >= 0)
    low = minimum_filter(np.where(other, labels, np.iinfo(np.int32).max).astype(np.int32), NEARBY)
    high = maximum_filter(np.where(other, labels, -1).astype(np.int32), NEARBY)
    return bool(here.any() and (low < high)[here].mean() > 0.5)


def warn_of_labels(unused: str) -> None:
    """Warn where every pixel got one label."""
    if unused.startswith("Every"):
        text = "Check that the prototypes are in the units of the image, or take a smaller rho or time."
        warn(f"{unused} {text}", DataWarning, stacklevel=calling_level())


def _about_range(bounds: tuple[float, float], low: float, high: float, rho: float, ranged: bool) -> str | None:
    """What is wrong with the range of an image whose scaled values go from `low` to `high`."""
    share, unit = high - low, bounds[1] - bounds[0]
    first, last = bounds[0] + unit * low, bounds[0] + unit * high
    values, step = f"the image holds values from {first:.5g} to {last:.5g}", f"Pass range={_proposed(first, last)}"
    if ranged and (low < -0.5 or high > 1.5):
        return f"{values}, far outside of the range {bounds[0]:g} to {bounds[1]:g} that is taken as 0 to 1. {step}."
    if ranged and share < LITTLE:
        return (
            f"{values}, {100 * share:.2g} % of the range {bounds[0]:g} to {bounds[1]:g} that is taken as 0 to 1: rho "
            f"{rho:g} is {rho * unit:.4g} of its units. {step}."
        )
    if not ranged and ((share > LARGE and rho < share / 100) or (share < LITTLE and rho > share / 4)):
        return (
            f"{values}, and rho {rho:g}, which suits values from 0 to 1, is {100 * rho / share:.2g} % of that. {step}, "
            "or rho in the units of the image."
        )
    if rho > HUGE * share:
        return (
            f"rho {rho:g} is {rho / share:.2g} times as large as the differences of the image's values, which then "
            "hardly tell the labels apart. Take a smaller rho, as 0.1."
        )
    return None


def _about_learned(bounds: tuple[float, float], low: float, high: float, prototypes: np.ndarray) -> str | None:
    """What is wrong with an image for prototypes that were learned elsewhere."""
    first, last = float(prototypes.min()), float(prototypes.max())
    if first <= high and last >= low and (last - first) * LITTLE < high - low < (last - first) / LITTLE:
        return None
    learned, found = (
        " to ".join(f"{bounds[0] + (bounds[1] - bounds[0]) * x:.4g}" for x in ends)
        for ends in ((first, last), (low, high))
    )
    proposed = _proposed(bounds[0] + (bounds[1] - bounds[0]) * low, bounds[0] + (bounds[1] - bounds[0]) * high)
    step = f"Pass the range that stands for the same values, as range={proposed}."
    if tuple(map(float, proposed)) == tuple(map(float, bounds)):
        step = "Label images like those, or learn from such as this one."
    return (
        f"the labels were learned on values of about {learned} in the units of this image, which holds {found}. {step}"
    )


def _about_prototypes(
    bounds: tuple[float, float], low: np.ndarray, high: np.ndarray, prototypes: np.ndarray
) -> str | None:
    """What is wrong with prototypes beside an image whose scaled values go from `low` to `high`, by channel."""
    margin = (high - low) / 2
    outside = np.flatnonzero(((prototypes < low - margin) | (prototypes > high + margin)).any(axis=1))
    if not outside.size:
        return None
    first, last = (bounds[0] + (bounds[1] - bounds[0]) * x for x in (low.min(), high.max()))
    return (
        f"prototypes lie far outside of the image's values, {first:.5g} to {last:.5g}: label {_listed(outside)}. Give "
        "prototypes in the units of the image."
    )


def _extremes(features: Any) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest scaled value of every channel."""
    xp, axes = namespace(features), tuple(range(features.ndim - 1))
    low, high = (host_array(f(features, axis=axes)) for f in (xp.min, xp.max))  # synchronize
    return low.astype(np.float64), high.astype(np.float64)


def _proposed(low: float, high: float) -> tuple[float, float]:
    """The range of as many bits as values need, at least 8; of others their own."""
    if low >= 0 and 1.5 < high < 2**32:
        return (0, 2 ** max(8, 2 * ceil(log2(round(high) + 1) / 2)) - 1)
    return float(f"{low:.3g}"), float(f"{high:.3g}")


def _listed(numbers: np.ndarray) -> str:
    shown = ", ".join(str(n) for n in numbers[:LISTED].tolist())
    return shown + (f" and {len(numbers) - LISTED} more" if len(numbers) > LISTED else "")
