"""Images of a training as fields: validated once, scaled, with the data term and the features of every pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..averaging.masks import extended
from ..backend.array import contiguous, filled, host_array, host_dtype, like, namespace
from ..backend.validation import Pixels, image_features, log_probabilities
from ..labeling.likelihood import beside, distances, log_likelihood
from .features import check_channels, known_reach, pixel_features
from .hiding import hidden_pixels
from .samples import Item, channel_axis, read_item
from .views import View

__all__ = ["Prepared", "Reader", "label_indices"]


class Prepared(NamedTuple):
    """One image, validated and converted to fields."""

    #: (H, W, C) array, scaled.
    image: Any
    #: (H, W) int32 array of labels, −1 where there is none, in the library of `image`; of an image without truth its
    #: pixelwise labels.
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
        found = Prepared(contiguous(image), truth, contiguous(fields), valid=valid)
        return found if view.hidden is None else found.hiding(view.hidden, seed)

    def hiding(self, side: int, seed: Sequence[int]) -> Prepared:
        """The same, without features, with some pixels hidden, which alone have a truth.

        They show the value of a neighbor, and their ℓ is 0.
        """
        xp, shape = namespace(self.image), tuple(self.image.shape)
        hidden, source = hidden_pixels(host_array(self.truth) >= 0, side, (*seed, side))
        pixels = xp.take(xp.reshape(self.image, (-1, shape[-1])), xp.asarray(source.ravel()), axis=0)
        seen = xp.asarray(~hidden)
        truth = xp.where(seen, xp.full_like(self.truth, -1), self.truth)
        fields = filled(self.log_likelihood, seen[..., None, :])
        return Prepared(xp.reshape(pixels, shape), truth, fields, valid=self.valid)


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
        data, xp = self.data_term(features, probabilities, valid), namespace(features)
        if item.truth is None:
            labels = xp.astype(xp.argmax(data, axis=-2), xp.int32)
            labels = xp.where(xp.asarray(truth >= 0), labels, xp.full_like(labels, -1))
        else:
            labels = xp.asarray(label_indices(truth, self.classes))
        found = Prepared(features, labels, data, valid=valid)
        return found if view is None or view.hidden is None else found.hiding(view.hidden, seed)

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
            fields = log_likelihood(distances(image, self.label_prototypes, self.metric, valid=valid), self.rho)
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
