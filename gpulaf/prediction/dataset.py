"""Images with their truth, given as arrays or paths and read one at a time, when they are worked on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..averaging.patches import extended
from ..backend.array import contiguous, device_array, filled, host_array, host_dtype, like, namespace
from ..backend.foreign import named_axes
from ..backend.validation import Pixels, image_features, log_probabilities, unmasked, valid_pixels
from ..io.images import read_image, read_soft
from ..io.truth import read_values, whole_values
from ..labeling.likelihood import distances, log_likelihood
from .features import check_channels, known_reach, pixel_features

__all__ = [
    "Files", "Item", "Prepared", "Reader", "Samples", "View", "batch_of", "check_sequence", "is_path", "label_indices",
    "read_image_array", "read_item", "read_probabilities", "turned",
]  # fmt: skip


class Item(NamedTuple):
    """One image as the caller gave it: arrays, or paths that are read when the image is worked on."""

    image: Any
    truth: Any
    probabilities: Any = None
    #: The value of the truth that stands for no ground truth, besides −1.
    unlabeled: int = -1
    #: (H, W) array of bool, True where a pixel is valid.
    mask: Any = None


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
    #: (H, W) array of bool, True where a pixel is valid; None without a mask. The truth is −1 and ℓ is 0 at others.
    valid: Any = None

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        return sum(prod(x.shape) * host_dtype(x).itemsize for x in self if x is not None)

    def viewed(self, view: View, seed: Sequence[int]) -> Prepared:
        """The part that a view with this seed shows, without features."""
        (y, x), turn = view.choose(host_array(self.truth), seed)
        image, truth = turned(self.image[y, x, :], turn), turned(self.truth[y, x], turn)
        valid = None if self.valid is None else turned(self.valid[y, x], turn)
        fields = turned(self.log_likelihood[y, :, x], turn, fields=True)
        truth = namespace(truth).asarray(truth, copy=True)
        return Prepared(contiguous(image), truth, contiguous(fields), valid=valid)


class View(NamedTuple):
    """What a step sees of an image: a square at a random place or all of it, turned over at random or as it is."""

    #: Side in pixels; None for the whole image.
    side: int | None = None
    #: Whether it is mirrored and transposed, one way of eight.
    flips: bool = False

    def choose(self, truth: np.ndarray, seed: Sequence[int]) -> tuple[tuple[slice, slice], int]:
        """The window, and the number of the way, of a seed."""
        rng = np.random.default_rng(seed)
        window = (slice(None), slice(None)) if self.side is None else _window(truth, self.side, rng)
        return window, int(rng.integers(8)) if self.flips else 0


def turned(x: Any, way: int, *, fields: bool = False) -> Any:
    """An image (H, W) or (H, W, C), or `fields` (H, J, W), mirrored and transposed in one way of eight."""
    xp, columns = namespace(x), 2 if fields else 1
    x = xp.flip(x, axis=0) if way & 1 else x
    x = xp.flip(x, axis=columns) if way & 2 else x
    if not way & 4:
        return x
    return xp.permute_dims(x, (2, 1, 0) if fields else (1, 0, 2)[: x.ndim])


@dataclass(frozen=True, eq=False)
class Files(Sequence[Any]):
    """Images in files, read to a device when they are asked for."""

    paths: Sequence[Any]
    device: str = "auto"
    channel_axis: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, k: Any) -> Any:
        return self.masked(k)[0]

    def masked(self, k: Any) -> tuple[Any, Any]:
        """An image, and which of its pixels hold data, (H, W); None where all do."""
        image, valid = unmasked(read_image(self.paths[k], channel_axis=self.channel_axis))
        valid = valid if valid is None or valid.ndim == 2 else valid.all(axis=-1)
        return device_array(image, self.device), valid


@dataclass(frozen=True, eq=False)
class Samples:
    """Sequences of images, truths and, where given, probabilities and masks; items are fetched when asked for."""

    images: Sequence[Any]
    truths: Sequence[Any]
    probabilities: Sequence[Any] | None = None
    unlabeled: int = -1
    name: str = "training"
    masks: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        for name in ("images", "truths", "probabilities", "masks"):
            values = getattr(self, name)
            if name in ("probabilities", "masks") and values is None:
                continue
            check_sequence(values, f"{self.name} {name}")
            if len(values) == 0 or len(values) != len(self.images):
                raise ValueError(
                    f"there are {len(self.images)} {self.name} images and {len(values)} of their {name}; accepted are "
                    "as many of both, at least one. Check the order, too."
                )

    def __len__(self) -> int:
        return len(self.images)

    def called(self, k: int) -> str:
        """How errors name an item: by its number, and its file where it has one."""
        image = self.images.paths[k] if isinstance(self.images, Files) else self.images[k]
        return f"{self.name} image {k}" + (f" ({image})" if is_path(image) else "")

    def __getitem__(self, k: int) -> Item:
        soft = None if self.probabilities is None else self.probabilities[k]
        mask = None if self.masks is None else self.masks[k]
        if not isinstance(self.images, Files):
            return Item(self.images[k], self.truths[k], soft, self.unlabeled, mask)
        image, valid = self.images.masked(k)
        mask = valid_pixels(mask, tuple(image.shape[:2]), image, valid)
        return Item(image, self.truths[k], soft, self.unlabeled, mask)


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
    range : (low, high), optional
        The values of images that become 0 and 1.
    metric : str
        Distance of pixels to label prototypes.
    """

    features: int | Callable[[Any], Any]
    rho: float
    classes: np.ndarray
    label_prototypes: np.ndarray
    feature_scale: np.ndarray | None = None
    range: tuple[float, float] | None = None
    metric: str = "euclidean"

    def __call__(self, item: Item, view: View | None = None, seed: Sequence[int] = ()) -> Prepared:
        """Read an item, or what a view with this seed shows of it."""
        image, truth, probabilities, valid = read_item(item)
        if view is not None:
            window, way = view.choose(truth, seed)
            truth = np.asarray(turned(truth[window], way))
            image, probabilities, valid = (
                None if x is None else turned(x[(*window, ...)], way) for x in (image, probabilities, valid)
            )
        features = self.pixels(image, valid).features
        labels = namespace(features).asarray(label_indices(truth, self.classes))
        return Prepared(features, labels, self.data_term(features, probabilities, valid), valid=valid)

    def pixels(self, image: Any, mask: Any = None) -> Pixels:
        """Validate an image and convert it to (H, W, C), scaled, with as many channels as the training images."""
        pixels = image_features(image, -1 if image.ndim < 3 else 2, mask=mask, range=self.range)
        check_channels(pixels.features, self.label_prototypes.shape[1])
        return pixels

    def pixel_features(self, image: Any, valid: Any = None) -> Any:
        """Raw patches, or what the callable makes of the image, scaled: (H, W, C) to (H, F, W), in its dtype.

        The image goes on from valid pixels into invalid ones as far as the features look.
        """
        if valid is not None:
            image = extended(image, valid, known_reach(self.features))
        return pixel_features(image, self.features, self.feature_scale)

    def with_features(self, prepared: Prepared) -> Prepared:
        """The same image with its pixel features."""
        return prepared._replace(features=self.pixel_features(prepared.image, prepared.valid))

    def data_term(self, image: Any, probabilities: Any = None, valid: Any = None) -> Any:
        """ℓ of an image: its distances to the label prototypes, or the logarithm of probabilities, over ρ.

        It is 0 at invalid pixels.
        """
        if probabilities is None:
            fields = log_likelihood(distances(image, self.label_prototypes, self.metric), self.rho)
        else:
            logs = self.log_probabilities(probabilities, valid)
            fields = contiguous(like(logs, image) * float(1 / self.rho))
        return fields if valid is None else filled(fields, valid[..., None, :])

    def log_probabilities(self, probabilities: Any, valid: Any = None) -> Any:
        """Validate predictions (H, W, J) with as many labels as in the training; their logarithms (H, J, W)."""
        mask = None if valid is None else host_array(valid)
        (fields, _), labels = log_probabilities(probabilities, 2, mask=mask), len(self.classes)
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


def read_item(item: Item) -> tuple[Any, np.ndarray, Any, Any]:
    """Image, values of the truth (H, W) int64 on the host with −1 where there is none, probabilities, valid pixels.

    What is valid is an (H, W) array of bool in the library of the image, None without a mask.
    """
    (image, own), truth = unmasked(read_image_array(item.image)), _values(item.truth)
    truth[truth == item.unlabeled] = -1
    probabilities, sure = (
        (None, None) if item.probabilities is None else unmasked(read_probabilities(item.probabilities))
    )
    if truth.shape != tuple(image.shape[:2]):
        raise ValueError(f"its truth has shape {truth.shape}; accepted is {tuple(image.shape[:2])}, that of the image.")
    if probabilities is not None and tuple(probabilities.shape[:2]) != truth.shape:
        raise ValueError(f"its probabilities have shape {tuple(probabilities.shape)}; accepted is {truth.shape} and J.")
    valid = valid_pixels(item.mask, truth.shape, image)
    for each in (own, sure):
        if each is not None:
            each = each.reshape(*truth.shape, -1).all(axis=-1)
            valid = valid_pixels(each, truth.shape, image, valid)
    if valid is not None:
        truth[~host_array(valid)] = -1
    return image, truth, probabilities, valid


def read_image_array(image: Any) -> Any:
    """An image, (H, W) or (H, W, C), from a path or an array."""
    return read_image(image) if is_path(image) else _array(image, "image")


def read_probabilities(probabilities: Any) -> Any:
    """Probabilities, (H, W, J), from a path or an array."""
    return read_soft(probabilities).pixels if is_path(probabilities) else _array(probabilities, "probabilities")


def _array(x: Any, name: str) -> Any:
    x, _ = named_axes(x, -1, name)
    return x if hasattr(x, "shape") else np.asarray(x)


def _values(truth: Any) -> np.ndarray:
    if is_path(truth):
        return read_values(truth)
    values, known = unmasked(_array(truth, "truth"))
    return whole_values(host_array(values), False if known is None else ~known)


def label_indices(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Indices of values among the known ones, int32; −1 stays."""
    labels = np.searchsorted(known, values).clip(0, len(known) - 1)
    strange = (known[labels] != values) & (values != -1)
    if strange.any():
        raise ValueError(
            f"its truth holds the value {values[strange][0]}; accepted are {known.tolist()} and -1, as in the "
            f"training. If it means no ground truth, pass unlabeled={values[strange][0]}."
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
    return slice(int(y), int(min(y + side, height))), slice(int(x), int(min(x + side, width)))


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
