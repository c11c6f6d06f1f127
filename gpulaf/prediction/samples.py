"""Images with their truth, given as arrays or paths and read one at a time, when they are worked on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import device_array, host_array
from ..backend.foreign import named_axes
from ..backend.validation import unmasked, valid_pixels
from ..io.failures import Unreadable
from ..io.images import read_image, read_soft, read_volume
from ..io.truth import read_values, truth_axes, whole_values

__all__ = [
    "Files",
    "Item",
    "Samples",
    "batch_of",
    "channel_axis",
    "check_sequence",
    "is_path",
    "read_image_array",
    "read_item",
    "read_probabilities",
]


class Item(NamedTuple):
    """One image as the caller gave it: arrays, or paths that are read when the image is worked on."""

    image: Any
    #: None: it has none.
    truth: Any
    probabilities: Any = None
    #: The value of the truth that stands for no ground truth, besides −1.
    unlabeled: int = -1
    #: (H, W) array of bool, True where a pixel is valid.
    mask: Any = None
    #: 3 of a volume without truth.
    plain_axes: int = 2

    @property
    def axes(self) -> int:
        """3 of a volume, as its truth says where it has one, 2 of an image."""
        if self.truth is None:
            return self.plain_axes
        return truth_axes(self.truth) if is_path(self.truth) else int(_array(self.truth, "truth").ndim)


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
    """Sequences of images and, where given, truths, probabilities and masks; items are fetched when asked for."""

    images: Sequence[Any]
    truths: Sequence[Any] | None
    probabilities: Sequence[Any] | None = None
    unlabeled: int = -1
    name: str = "training"
    masks: Sequence[Any] | None = None
    #: 3 of volumes without truths.
    plain_axes: int = 2

    def __post_init__(self) -> None:
        for name in ("images", "truths", "probabilities", "masks"):
            values = getattr(self, name)
            if name != "images" and values is None:
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
        return Item(None, self._truth(0), plain_axes=self.plain_axes).axes

    def called(self, k: int) -> str:
        """How errors name an item: by its number, and its file where it has one."""
        image = self.images.paths[k] if isinstance(self.images, Files) else self.images[k]
        return f"{self.name} image {k}" + (f" ({image})" if is_path(image) else "")

    def __getitem__(self, k: int) -> Item:
        soft = None if self.probabilities is None else self.probabilities[k]
        mask = None if self.masks is None else self.masks[k]
        if not isinstance(self.images, Files):
            return Item(self.images[k], self._truth(k), soft, self.unlabeled, mask, self.plain_axes)
        image, valid = self.images.masked(k)
        mask = valid_pixels(mask, tuple(image.shape[: self.images.axes]), image, valid)
        return Item(image, self._truth(k), soft, self.unlabeled, mask, self.plain_axes)

    def _truth(self, k: int) -> Any:
        if self.truths is None:
            return None
        truth = self.truths[k]
        if truth is None:
            raise ValueError(
                f"{self.called(k)} has no truth, it is None; accepted is one for every image. Leave the image out."
            )
        return truth


def batch_of(step: int, count: int, batch: int | None, seed: int) -> list[int]:
    """Which of `count` images a step takes: all of them, or the next of one random order after the other."""
    if batch is None or batch >= count:
        return list(range(count))
    places = [divmod(i, count) for i in range(step * batch, (step + 1) * batch)]
    orders = {epoch: np.random.default_rng((seed, epoch)).permutation(count) for epoch, _ in places}
    return [int(orders[epoch][at]) for epoch, at in places]


def read_item(item: Item) -> tuple[Any, np.ndarray, Any, Any]:
    """Image, values of the truth (H, W) int64 on the host with −1 where there is none, probabilities, valid pixels.

    The values are 0 where there is no truth at all. What is valid is an (H, W) array of bool in the library of the
    image, None without a mask.
    """
    truth = None if item.truth is None else _values(item.truth)
    axes = item.plain_axes if truth is None else truth.ndim
    try:
        image, own = unmasked(read_image_array(item.image, axes))
    except Unreadable as error:
        if axes == 3 and truth is not None:
            raise ValueError(f"its truth is a volume of shape {truth.shape}, and {error}") from error
        raise
    if truth is None:
        truth = np.zeros(tuple(image.shape[:axes]), np.int64)
    else:
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


def check_sequence(values: Any, name: str) -> None:
    """Raise TypeError for a path, or something else that is no sequence of arrays or of paths."""
    if is_path(values) or not hasattr(values, "__getitem__"):
        raise TypeError(
            f"{name} are a {type(values).__name__}; accepted is a sequence of arrays or of paths. "
            "Put a single one into a list."
        )
    shape = tuple(getattr(values, "shape", (0,) * 4))
    if len(shape) < 3 or (len(shape) == 3 and shape[-1] <= 4):
        raise TypeError(
            f"{name} are one array of shape {shape}; accepted is a sequence of arrays or of paths. Put a single one "
            "into a list."
        )


def is_path(x: Any) -> bool:
    """Whether x names a file."""
    return isinstance(x, (str, os.PathLike))
