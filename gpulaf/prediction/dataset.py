"""Images with their truth, given as arrays or paths and read one at a time, when they are worked on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import contiguous, device_array, host_array, like, namespace
from ..backend.validation import image_features, log_probabilities
from ..io.images import read_array, read_image, read_values
from ..labeling.likelihood import distances, log_likelihood
from .features import patch_features

__all__ = ["Files", "Item", "Prepared", "Reader", "Samples", "batches", "is_path", "read_item"]


class Item(NamedTuple):
    """One image as the caller gave it: arrays, or paths that are read when the image is worked on."""

    image: Any
    truth: Any
    probabilities: Any = None
    #: The value of the truth that stands for no ground truth, besides −1.
    unlabeled: int = -1


class Prepared(NamedTuple):
    """One image ready for work."""

    #: (H, W, C) array, scaled.
    image: Any
    #: (H, W) int32 array of labels, −1 where there is none, in the library of `image`.
    truth: Any
    #: ℓ, (J, H, W).
    log_likelihood: Any


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
            if isinstance(values, (str, os.PathLike)) or not hasattr(values, "__getitem__"):
                raise TypeError(
                    f"{self.name} {name} are a {type(values).__name__}; accepted is a sequence of arrays or of paths. "
                    "Put a single one into a list."
                )
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
    """How every image of one training becomes work.

    Attributes
    ----------
    features : int or callable
        Radius of the raw patch, or image (H, W, C) to features (H, W, F).
    rho : float
        Scale of the data term.
    label_values, label_prototypes : (J,) int64 and (J, C) float64 arrays
    feature_scale : (F,) float64 array, optional
        What the features of a callable are multiplied by.
    """

    features: int | Callable[[Any], Any]
    rho: float
    label_values: np.ndarray
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
        labels = namespace(features).asarray(_labels(truth, self.label_values))
        return Prepared(features, labels, self.data_term(features, probabilities))

    def image(self, image: Any) -> Any:
        """Check an image and bring it to (H, W, C), scaled, with as many channels as the training images."""
        features, channels = image_features(image)[0], self.label_prototypes.shape[1]
        if features.shape[2] != channels:
            raise ValueError(
                f"image has {features.shape[2]} channels; accepted are {channels}, as in the training. "
                "Convert it, or train on such images."
            )
        return features

    def pixel_features(self, image: Any) -> Any:
        """Raw patches, or what the callable makes of the image, scaled: (H, W, C) to (H, W, F), in its dtype."""
        if not callable(self.features):
            return patch_features(image, self.features)
        values = self.features(image)
        shape = tuple(getattr(values, "shape", ()))
        if len(shape) != 3 or shape[:2] != tuple(image.shape[:2]) or not shape[2]:
            raise ValueError(
                f"the features have shape {shape}; accepted is ({image.shape[0]}, {image.shape[1]}, F) for this image. "
                "Let the callable return one row of numbers per pixel."
            )
        values, xp = contiguous(like(values, image)), namespace(image)
        if not bool(xp.all(xp.isfinite(values))):  # synchronize
            raise ValueError("the features hold values that are NaN or infinite. Let the callable return numbers only.")
        if self.feature_scale is None:
            return values
        if shape[2] != len(self.feature_scale):
            raise ValueError(
                f"the features have shape {shape}; accepted is (H, W, {len(self.feature_scale)}), as in the training."
            )
        return values * like(self.feature_scale, values)

    def data_term(self, image: Any, probabilities: Any = None) -> Any:
        """ℓ of an image: its distances to the label prototypes, or the logarithm of probabilities, over ρ."""
        if probabilities is None:
            return log_likelihood(distances(image, self.label_prototypes), self.rho)
        fields, labels = log_probabilities(probabilities), len(self.label_values)
        if fields.shape[0] != labels:
            raise ValueError(f"probabilities hold {fields.shape[0]} labels; accepted are {labels}, as in the training.")
        return contiguous(like(fields, image) * float(1 / self.rho))


def batches(count: int, batch: int | None, seed: int) -> Iterator[list[int]]:
    """Which images each step takes, without end: all of them, or the next of one random order after the other."""
    if batch is None or batch >= count:
        while True:
            yield list(range(count))
    order: list[int] = []
    epoch = 0
    while True:
        while len(order) < batch:
            order += np.random.default_rng((seed, epoch)).permutation(count).tolist()
            epoch += 1
        yield order[:batch]
        order = order[batch:]


def read_item(item: Item) -> tuple[Any, np.ndarray, Any]:
    """Image, values of the truth (H, W) int64 on the host with −1 where there is none, and probabilities."""
    image, truth, probabilities = _image(item.image), _values(item.truth), item.probabilities
    truth[truth == item.unlabeled] = -1
    if is_path(probabilities):
        probabilities = read_array(probabilities)
    if truth.shape != tuple(image.shape[:2]):
        raise ValueError(f"its truth has shape {truth.shape}; accepted is {tuple(image.shape[:2])}, that of the image.")
    probabilities = None if probabilities is None else _array(probabilities)
    if probabilities is not None and tuple(probabilities.shape[:2]) != truth.shape:
        raise ValueError(f"its probabilities have shape {tuple(probabilities.shape)}; accepted is {truth.shape} and J.")
    return image, truth, probabilities


def _image(image: Any) -> Any:
    return read_image(image) if is_path(image) else _array(image)


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


def _labels(values: np.ndarray, known: np.ndarray) -> np.ndarray:
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


def is_path(x: Any) -> bool:
    """Whether x names a file."""
    return isinstance(x, (str, os.PathLike))
