"""What one pass over the training images tells: labels, their mean values, and a digest of everything."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import host_array
from ..backend.validation import image_features, log_probabilities
from ..io.tensors import digest
from .dataset import Reader
from .samples import Item, Samples, channel_axis, read_item

__all__ = ["Collected", "Survey", "checked_digest", "collected", "survey"]


class Survey(NamedTuple):
    """What one pass over the training images tells."""

    #: (J,) int64 array: the values that stand for labels, sorted.
    classes: np.ndarray
    #: (J,) int64 array: pixels of each label.
    counts: np.ndarray
    #: (J, C) float64 array: the mean value of each label's pixels.
    label_prototypes: np.ndarray
    #: SHA-256 of all images, truths and probabilities.
    digest: str
    #: Mean variance of a channel of the labels' pixels around their mean value.
    variance: float
    #: The values that became 0 and 1, and the smallest and the largest that there are, so scaled.
    range: tuple[float, float]
    extremes: tuple[float, float]


class Collected(NamedTuple):
    """What all images add up to, by value of the truth."""

    counts: Counter[int]
    #: Sum of the labels' pixels.
    sums: dict[int, Any]
    #: Labels of the probabilities, None without any.
    labels: int | None
    digest: str
    squares: float
    range: tuple[float, float]
    extremes: tuple[float, float]


class _Part(NamedTuple):
    """What one image adds."""

    digest: str
    #: Axes, channels, and labels of the probabilities, None without any.
    size: tuple[int, int, int | None]
    #: Sum of squares of the labels' pixels.
    squares: float
    range: tuple[float, float]
    extremes: tuple[float, float]


def survey(samples: Samples, bounds: tuple[float, float] | None = None) -> Survey:
    """Read every training image once: its labels, their mean values, and a digest of everything.

    Parameters
    ----------
    samples : Samples
    bounds : (low, high), optional
        The values of images that become 0 and 1.

    Raises
    ------
    ValueError, TypeError
        With the number of the image that cannot be used, and why.
    """
    found = collected(samples, bounds)
    counts, sums = found.counts, found.sums
    values = _classes(sorted(counts), found.labels)
    if len(values) < 2:
        raise ValueError(
            f"the truths hold the labels {values}; accepted are at least two, and -1 stands for no ground truth. "
            "Check how they are stored."
        )
    everything = sum(sums.values()) / sum(counts.values())
    means = [sums[v] / counts[v] if v in counts else everything for v in values]
    number = sum(counts.values()) * len(everything)
    within = found.squares - sum(float((x**2).sum()) / counts[v] for v, x in sums.items())
    counted = np.array([counts[v] for v in values])
    return Survey(
        np.array(values, np.int64), counted, np.array(means), found.digest, max(0.0, within) / number, found.range,
        found.extremes,
    )  # fmt: skip


def collected(samples: Samples, bounds: tuple[float, float] | None = None) -> Collected:
    """Read every training image once, and add up what is known of the pixels of each value of the truth."""
    counts: Counter[int] = Counter()
    sums: dict[int, Any] = {}
    parts: list[_Part] = []
    sizes: set[tuple[int, int, int | None]] = set()
    whole = hashlib.sha256()
    for k in range(len(samples)):
        with naming(samples, k):
            part = _survey_one(samples[k], counts, sums, sizes, bounds)
        parts.append(part)
        whole.update(part.digest.encode())
    extremes = min(part.extremes[0] for part in parts), max(part.extremes[1] for part in parts)
    squares = sum(part.squares for part in parts)
    return Collected(counts, sums, sizes.pop()[-1], whole.hexdigest(), squares, parts[0].range, extremes)


def checked_digest(samples: Samples, reader: Reader) -> str:
    """Read every image of another set as the training will, and the digest of everything."""
    whole = hashlib.sha256()
    for k in range(len(samples)):
        with naming(samples, k):
            whole.update(_read_digest(samples[k], reader).encode())
    return whole.hexdigest()


@contextmanager
def naming(samples: Samples, k: int) -> Iterator[None]:
    """Errors begin with the image that they are about."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{samples.called(k)}: {error}") from error


def _sizes(size: tuple[int, int, int | None]) -> str:
    axes, channels, labels = size
    more = f" and probabilities of {labels} labels" if labels else ""
    return ("a volume of " if axes == 3 else "") + f"{channels} channels{more}"


def _read_digest(item: Item, reader: Reader) -> str:
    reader(item)
    return _digest(item)


def _digest(item: Item) -> str:
    return "".join(digest(x) for x in read_item(item) if x is not None)


def _survey_one(
    item: Item, counts: Counter[int], sums: dict[int, Any], sizes: set[Any], bounds: tuple[float, float] | None
) -> _Part:
    """Add one image to the labels' pixels, their sums and the sizes, of which there is one."""
    image, truth, probabilities, valid = read_item(item)
    found = _digest(Item(image, truth, probabilities, mask=valid))
    pixels = image_features(image, channel_axis(image, truth.ndim), mask=valid, range=bounds)
    features = host_array(pixels.features).astype(np.float64)
    values = np.unique(truth)
    if len(values) > 257:
        raise ValueError(
            f"its truth holds {len(values)} different values; accepted are 256. Check that it is no photo."
        )
    if (values == -1).all():
        what, accepted = ("truth", "labeled pixel") if item.truth is not None else ("mask", "valid pixel")
        raise ValueError(f"its {what} holds no {accepted}; accepted is at least one. Leave the image out.")
    labels = None
    if probabilities is not None:
        mask = None if valid is None else host_array(valid)
        labels = int(log_probabilities(probabilities, truth.ndim, mask=mask)[0].shape[-2])
    size = truth.ndim, features.shape[-1], labels
    if sizes and size not in sizes:
        raise ValueError(
            f"it has {_sizes(size)}; accepted is {_sizes(*sizes)}, as in the images before. Train on one kind."
        )
    sizes.add(size)
    for value in values[values != -1].tolist():
        own = features[truth == value]
        counts[value] += len(own)
        sums[value] = sums.get(value, 0) + own.sum(axis=0)
    known = features[truth != -1]
    extremes = float(known.min()), float(known.max())
    return _Part(found, size, float((known**2).sum()), pixels.range, extremes)


def _classes(values: list[int], labels: int | None) -> list[int]:
    """The values that stand for labels; probabilities fix how many, and indices 0 … J−1 need not all be there."""
    if labels is None or len(values) == labels:
        return values
    if values[0] >= 0 and values[-1] < labels:
        return list(range(labels))
    raise ValueError(
        f"the truths hold the values {values}, the probabilities {labels} labels; accepted are as many values, or "
        f"indices from 0 to {labels - 1}."
    )
