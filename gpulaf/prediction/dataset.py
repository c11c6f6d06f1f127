"""Images with their truth, given as arrays or paths and read one at a time, when they are worked on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..averaging.patches import extended
from ..backend.array import contiguous, device_array, filled, host_array, host_dtype, like, namespace
from ..backend.foreign import named_axes
from ..backend.validation import Pixels, image_features, log_probabilities, unmasked, valid_pixels
from ..io.failures import Unreadable
from ..io.images import read_image, read_soft, read_volume
from ..io.truth import read_values, truth_axes, whole_values
from ..labeling.likelihood import beside, distances, log_likelihood
from .features import check_channels, known_reach, pixel_features

__all__ = [
    "Files", "Item", "Prepared", "Reader", "Samples", "View", "Way", "batch_of", "channel_axis", "check_sequence",
    "is_path", "label_indices", "read_image_array", "read_item", "read_probabilities", "ways",
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

    @property
    def axes(self) -> int:
        """3 of a volume, as its truth says, 2 of an image."""
        return truth_axes(self.truth) if is_path(self.truth) else int(_array(self.truth, "truth").ndim)


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

    def viewed(self, view: View, seed: Sequence[int], spacing: Sequence[float] | None = None) -> Prepared:
        """The part that a view with this seed shows, without features."""
        window, way = view.choose(host_array(self.truth), seed, spacing)
        image, truth = way(self.image[(*window, slice(None))]), way(self.truth[window])
        valid = None if self.valid is None else way(self.valid[window])
        fields = way(self.log_likelihood[(*window[:-1], slice(None), window[-1])], fields=True)
        truth = namespace(truth).asarray(truth, copy=True)
        return Prepared(contiguous(image), truth, contiguous(fields), valid=valid)


class View(NamedTuple):
    """What a step sees of an image: a square at a random place or all of it, turned over at random or as it is.

    Of a volume it is a cube.
    """

    #: Side in pixels; None for the whole image.
    side: int | None = None
    #: Whether it is mirrored, and transposed where that changes no distance: one way of eight for square pixels.
    flips: bool = False

    def choose(
        self, truth: np.ndarray, seed: Sequence[int], spacing: Sequence[float] | None = None
    ) -> tuple[tuple[slice, ...], Way]:
        """The window, and the way it is turned, of a seed."""
        rng, axes = np.random.default_rng(seed), truth.ndim
        window = (slice(None),) * axes if self.side is None else _window(truth, self.side, rng)
        every = ways(spacing or (1.0,) * axes)
        return window, every[int(rng.integers(len(every)))] if self.flips else every[0]


class Way(NamedTuple):
    """A way to turn an image: mirrored on some axes, then with its axes in another order."""

    mirrored: tuple[bool, ...]
    order: tuple[int, ...]

    def __call__(self, x: Any, *, fields: bool = False) -> Any:
        """Turn an image (H, W) or (H, W, C), or `fields` (H, J, W); of a volume with D before H."""
        xp, axes = namespace(x), len(self.order)
        places = [k if k < axes - 1 or not fields else axes for k in range(axes)]
        for place, flip in zip(places, self.mirrored, strict=True):
            x = xp.flip(x, axis=place) if flip else x
        if self.order == tuple(range(axes)):
            return x
        order = list(range(x.ndim))
        for place, axis in zip(places, self.order, strict=True):
            order[place] = places[axis]
        return xp.permute_dims(x, tuple(order))


def ways(spacing: Sequence[float]) -> list[Way]:
    """All ways to turn an image that change no distance of its pixels, the image as it is first."""
    axes = len(spacing)
    orders = [order for order in permutations(range(axes)) if [spacing[axis] for axis in order] == list(spacing)]
    flips = [tuple(bool(k >> axis & 1) for axis in range(axes)) for k in range(2**axes)]
    return [Way(mirrored, order) for order, mirrored in product(orders, flips)]


@dataclass(frozen=True, eq=False)
class Files(Sequence[Any]):
    """Images in files, read to a device when they are asked for."""

    paths: Sequence[Any]
    device: str = "auto"
    channel_axis: int | None = None
    #: 3 of volumes.
    axes: int = 2

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, k: Any) -> Any:
        return self.masked(k)[0]

    def masked(self, k: Any) -> tuple[Any, Any]:
        """An image, and which of its pixels hold data, (H, W); None where all do."""
        image, valid = unmasked(read_image_array(self.paths[k], self.axes, self.channel_axis))
        valid = valid if valid is None or valid.ndim == self.axes else valid.all(axis=-1)
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

    @cached_property
    def axes(self) -> int:
        """3 of volumes, as the first truth says, 2 of images."""
        return Item(None, self.truths[0]).axes

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
        mask = valid_pixels(mask, tuple(image.shape[: self.images.axes]), image, valid)
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
    spacing : (sy, sx) or (sz, sy, sx)
        Distance of the pixels on each axis; three of volumes.
    soft : bool
        Whether features see the probabilities of all labels but one as channels beside those of the image.
    """

    features: int | Callable[[Any], Any]
    rho: float
    classes: np.ndarray
    label_prototypes: np.ndarray
    feature_scale: np.ndarray | None = None
    range: tuple[float, float] | None = None
    metric: str = "euclidean"
    spacing: tuple[float, ...] = (1.0, 1.0)
    soft: bool = False

    @property
    def axes(self) -> int:
        """2 of images, 3 of volumes."""
        return len(self.spacing)

    def __call__(self, item: Item, view: View | None = None, seed: Sequence[int] = ()) -> Prepared:
        """Read an item, or what a view with this seed shows of it."""
        image, truth, probabilities, valid = read_item(item)
        self.check_axes(truth.ndim)
        if view is not None:
            window, way = view.choose(truth, seed, self.spacing)
            truth = np.asarray(way(truth[window]))
            image, probabilities, valid = (
                None if x is None else way(x[(*window, ...)]) for x in (image, probabilities, valid)
            )
        features = self.pixels(image, valid).features
        labels = namespace(features).asarray(label_indices(truth, self.classes))
        return Prepared(features, labels, self.data_term(features, probabilities, valid), valid=valid)

    def check_axes(self, axes: int) -> None:
        """Raise ValueError for the truth of an image where the training is on volumes, or the other way round."""
        if axes != self.axes:
            kinds = {2: "images, (H, W)", 3: "volumes, (D, H, W)"}
            raise ValueError(
                f"its truth has {axes} axes; the training was on {kinds[self.axes]}. Take such ones, or train on "
                f"{kinds[axes]}."
            )

    def pixels(self, image: Any, mask: Any = None) -> Pixels:
        """Validate an image and convert it to (H, W, C), scaled, with as many channels as the training images."""
        check_channels(image, self.label_prototypes.shape[1], self.axes)
        return image_features(image, channel_axis(image, self.axes), mask=mask, range=self.range)

    def pixel_features(self, image: Any, valid: Any = None, log_likelihood: Any = None) -> Any:
        """Raw patches, or what the callable makes of the image, scaled: (H, W, C) to (H, F, W), in its dtype.

        Where probabilities are seen they are those of ℓ (H, J, W).
        The image goes on from valid pixels into invalid ones as far as the features look.
        """
        if self.soft:
            image = beside(image, log_likelihood, self.rho)
        if valid is not None:
            image = extended(image, valid, known_reach(self.features))
        return pixel_features(image, self.features, self.feature_scale)

    def with_features(self, prepared: Prepared) -> Prepared:
        """The same image with its pixel features."""
        return prepared._replace(features=self.pixel_features(prepared.image, prepared.valid, prepared.log_likelihood))

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
        (fields, _), labels = log_probabilities(probabilities, self.axes, mask=mask), len(self.classes)
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
    truth = _values(item.truth)
    axes = truth.ndim
    try:
        image, own = unmasked(read_image_array(item.image, axes))
    except Unreadable as error:
        if axes == 3:
            raise ValueError(f"its truth is a volume of shape {truth.shape}, and {error}") from error
        raise
    truth[truth == item.unlabeled] = -1
    probabilities, sure = (
        (None, None) if item.probabilities is None else unmasked(read_probabilities(item.probabilities, axes))
    )
    if truth.shape != tuple(image.shape[:axes]):
        accepted = tuple(image.shape[: min(axes, image.ndim)])
        raise ValueError(f"its truth has shape {truth.shape}; accepted is {accepted}, that of the image.")
    if probabilities is not None and tuple(probabilities.shape[:axes]) != truth.shape:
        raise ValueError(f"its probabilities have shape {tuple(probabilities.shape)}; accepted is {truth.shape} and J.")
    valid = valid_pixels(item.mask, truth.shape, image)
    for each in (own, sure):
        if each is not None:
            each = each.reshape(*truth.shape, -1).all(axis=-1)
            valid = valid_pixels(each, truth.shape, image, valid)
    if valid is not None:
        truth[~host_array(valid)] = -1
    return image, truth, probabilities, valid


def read_image_array(image: Any, axes: int = 2, channel_axis: int | None = None) -> Any:
    """An image, (H, W) or (H, W, C), or where `axes` is 3 a volume, from a path or an array."""
    if not is_path(image):
        return _array(image, "image")
    return (read_volume if axes == 3 else read_image)(image, channel_axis=channel_axis)


def read_probabilities(probabilities: Any, axes: int = 2) -> Any:
    """Probabilities, (H, W, J), or (D, H, W, J) where `axes` is 3, from a path or an array."""
    if not is_path(probabilities):
        return _array(probabilities, "probabilities")
    return read_soft(probabilities, volume=axes == 3).pixels


def channel_axis(image: Any, axes: int) -> int | None:
    """The axis of the channels of an image, which is the last one; None without them."""
    return None if image.ndim == axes else axes


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


def _window(values: np.ndarray, side: int, rng: np.random.Generator) -> tuple[slice, ...]:
    """A random square of the image, or cube of the volume, that holds a labeled pixel."""
    shape = values.shape
    for corner in rng.integers(0, [max(1, n - side + 1) for n in shape], (10, len(shape))):
        window = tuple(slice(int(i), int(min(i + side, n))) for i, n in zip(corner, shape, strict=True))
        if (values[window] != -1).any():
            return window
    at = np.flatnonzero(values != -1)  # labels are rare: around one of them
    centre = np.unravel_index(at[rng.integers(len(at))], shape)
    corner = [min(max(0, int(i) - side // 2), max(0, n - side)) for i, n in zip(centre, shape, strict=True)]
    return tuple(slice(i, min(i + side, n)) for i, n in zip(corner, shape, strict=True))


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
