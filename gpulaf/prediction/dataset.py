"""Images with their truth, given as arrays or paths and read one at a time, when they are worked on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import contiguous, device_array, host_array, host_dtype, like, namespace
from ..backend.validation import image_features, log_probabilities
from ..io.images import read_array, read_image, read_values
from ..labeling.likelihood import distances, log_likelihood
from .features import check_channels, pixel_features

__all__ = [
    "Files", "Item", "Prepared", "Reader", "Samples", "batch_of", "check_sequence", "is_path", "label_indices",
    "read_image_array", "read_item", "read_probabilities",
]  # fmt: skip


class Item(NamedTuple):
    """One image as the caller gave it: arrays, or paths that are read when the image is worked on."""

    image: Any
    truth: Any
    probabilities: Any = None
    #: The value of the truth that stands for no ground truth, besides −1.
    unlabeled: int = -1


class Prepared(NamedTuple):
    """One image, validated and converted to fields."""

    #: (H, W, C) array, scaled.
    image: Any
    #: (H, W) int32 array of labels, −1 where there is none, in the library of `image`.
    truth: Any
    #: ℓ, (H, J, W).
    log_likelihood: Any
    #: (H, F, W) array, where they were computed.
    features: Any = None

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        return sum(prod(x.shape) * host_dtype(x).itemsize for x in self if x is not None)

    def cropped(self, side: int, seed: Sequence[int]) -> Prepared:
        """A square of this side at a place that `seed` chooses, without features."""
        y, x = _window(host_array(self.truth), side, np.random.default_rng(seed))
        truth = namespace(self.truth).asarray(self.truth[y, x], copy=True)
        return Prepared(contiguous(self.image[y, x, :]), truth, contiguous(self.log_likelihood[y, :, x]))


@dataclass(frozen=True, eq=False)
class Files(Sequence[Any]):
    """Images in files, read to a device when they are asked for."""

    paths: Sequence[Any]
    device: str = "auto"
    channel_axis: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, k: Any) -> Any:
        return device_array(read_image(self.paths[k], channel_axis=self.channel_axis), self.device)


@dataclass(frozen=True, eq=False)
class Samples:
    """Sequences of images, truths and, where given, probabilities; an item is fetched when it is asked for."""

    images: Sequence[Any]
    truths: Sequence[Any]
    probabilities: Sequence[Any] | None = None
    unlabeled: int = -1
    name: str = "training"

    def __post_init__(self) -> None:
        for name in ("images", "truths", "probabilities"):
            values = getattr(self, name)
            if name == "probabilities" and values is None:
                continue
            check_sequence(values, f"{self.name} {name}")
            if len(values) == 0 or len(values) != len(self.images):
                raise ValueError(
                    f"there are {len(self.images)} {self.name} images and {len(values)} {name}; accepted are as many "
                    "of both, at least one. Check the order, too."
                )

    def __len__(self) -> int:
        return len(self.images)

    def called(self, k: int) -> str:
        """How errors name an item: by its number, and its file where it has one."""
        image = self.images.paths[k] if isinstance(self.images, Files) else self.images[k]
        return f"{self.name} image {k}" + (f" ({image})" if is_path(image) else "")

    def __getitem__(self, k: int) -> Item:
        soft = None if self.probabilities is None else self.probabilities[k]
        return Item(self.images[k], self.truths[k], soft, self.unlabeled)


@dataclass(frozen=True, eq=False)
class Reader:
    """Read the images of one training: validate them once and convert them to fields.

    Attributes
    ----------
    features : int or callable
        Radius of the raw patch, or image (H, W, C) to features (H, F, W).
    rho : float
        Scale of the data term.
    classes, label_prototypes : (J,) int64 and (J, C) float64 arrays
    feature_scale : (F,) float64 array, optional
        What the features of a callable are multiplied by.
    """

    features: int | Callable[[Any], Any]
    rho: float
    classes: np.ndarray
    label_prototypes: np.ndarray
    feature_scale: np.ndarray | None = None

    def __call__(self, item: Item, crop: int | None = None, seed: Sequence[int] = ()) -> Prepared:
        """Read an item, or a crop of that side at a place that `seed` chooses."""
        image, truth, probabilities = read_item(item)
        if crop is not None:
            window = _window(truth, crop, np.random.default_rng(seed))
            image, truth = image[window], truth[window]
            probabilities = None if probabilities is None else probabilities[window]
        features = self.image(image)
        labels = namespace(features).asarray(label_indices(truth, self.classes))
        return Prepared(features, labels, self.data_term(features, probabilities))

    def image(self, image: Any) -> Any:
        """Validate an image and convert it to (H, W, C), scaled, with as many channels as the training images."""
        features = image_features(image)[0]
        check_channels(features, self.label_prototypes.shape[1])
        return features

    def pixel_features(self, image: Any) -> Any:
        """Raw patches, or what the callable makes of the image, scaled: (H, W, C) to (H, F, W), in its dtype."""
        return pixel_features(image, self.features, self.feature_scale)

    def with_features(self, prepared: Prepared) -> Prepared:
        """The same image with its pixel features."""
        return prepared._replace(features=self.pixel_features(prepared.image))

    def data_term(self, image: Any, probabilities: Any = None) -> Any:
        """ℓ of an image: its distances to the label prototypes, or the logarithm of probabilities, over ρ."""
        if probabilities is None:
            return log_likelihood(distances(image, self.label_prototypes), self.rho)
        return contiguous(like(self.log_probabilities(probabilities), image) * float(1 / self.rho))

    def log_probabilities(self, probabilities: Any) -> Any:
        """Validate predictions (H, W, J) with as many labels as in the training; their logarithms (H, J, W)."""
        (fields, _), labels = log_probabilities(probabilities), len(self.classes)
        if fields.shape[-2] != labels:
            raise ValueError(
                f"probabilities hold {fields.shape[-2]} labels; accepted are {labels}, as in the training."
            )
        return fields


def batch_of(step: int, count: int, batch: int | None, seed: int) -> list[int]:
    """Which of `count` images a step takes: all of them, or the next of one random order after the other."""
    if batch is None or batch >= count:
        return list(range(count))
    places = [divmod(i, count) for i in range(step * batch, (step + 1) * batch)]
    orders = {epoch: np.random.default_rng((seed, epoch)).permutation(count) for epoch, _ in places}
    return [int(orders[epoch][at]) for epoch, at in places]


def read_item(item: Item) -> tuple[Any, np.ndarray, Any]:
    """Image, values of the truth (H, W) int64 on the host with −1 where there is none, and probabilities."""
    image, truth, probabilities = read_image_array(item.image), _values(item.truth), item.probabilities
    truth[truth == item.unlabeled] = -1
    probabilities = None if probabilities is None else read_probabilities(probabilities)
    if truth.shape != tuple(image.shape[:2]):
        raise ValueError(f"its truth has shape {truth.shape}; accepted is {tuple(image.shape[:2])}, that of the image.")
    if probabilities is not None and tuple(probabilities.shape[:2]) != truth.shape:
        raise ValueError(f"its probabilities have shape {tuple(probabilities.shape)}; accepted is {truth.shape} and J.")
    return image, truth, probabilities


def read_image_array(image: Any) -> Any:
    """An image, (H, W) or (H, W, C), from a path or an array."""
    return read_image(image) if is_path(image) else _array(image)


def read_probabilities(probabilities: Any) -> Any:
    """Probabilities, (H, W, J), from a path or an array."""
    return read_array(probabilities) if is_path(probabilities) else _array(probabilities)


def _array(x: Any) -> Any:
    return x if hasattr(x, "shape") else np.asarray(x)


def _values(truth: Any) -> np.ndarray:
    if is_path(truth):
        return read_values(truth)
    values = host_array(_array(truth))
    if values.ndim != 2 or values.dtype.kind not in "bui":
        raise ValueError(
            f"its truth has shape {values.shape} and dtype {values.dtype}; accepted are integers (H, W), -1 where "
            "there is no ground truth."
        )
    return values.astype(np.int64)


def label_indices(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Indices of values among the known ones, int32; −1 stays."""
    labels = np.searchsorted(known, values).clip(0, len(known) - 1)
    strange = (known[labels] != values) & (values != -1)
    if strange.any():
        raise ValueError(
            f"its truth holds the value {values[strange][0]}; accepted are {known.tolist()} and -1, as in the training."
        )
    return np.where(values == -1, -1, labels).astype(np.int32)


def _window(values: np.ndarray, side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """A random square of the image that holds a labeled pixel."""
    height, width = values.shape
    corners = rng.integers(0, (max(1, height - side + 1), max(1, width - side + 1)), (10, 2))
    for y, x in corners:
        if (values[y : y + side, x : x + side] != -1).any():
            break
    else:  # labels are rare: around one of them
        at = np.flatnonzero(values != -1)
        y, x = np.unravel_index(at[rng.integers(len(at))], values.shape)
        y, x = (min(max(0, i - side // 2), max(0, n - side)) for i, n in ((y, height), (x, width)))
    return slice(y, y + side), slice(x, x + side)


def check_sequence(values: Any, name: str) -> None:
    """Raise TypeError for a path, or something else that is no sequence of arrays or of paths."""
    if is_path(values) or not hasattr(values, "__getitem__"):
        raise TypeError(
            f"{name} are a {type(values).__name__}; accepted is a sequence of arrays or of paths. "
            "Put a single one into a list."
        )


def is_path(x: Any) -> bool:
    """Whether x names a file."""
    return isinstance(x, (str, os.PathLike))
