"""What a predictor does once it is trained: weights, labels and classes of images, and its file."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Self
from warnings import warn

import numpy as np

from ..backend.validation import calling_level
from ..flows.deep import Stage
from ..integrators.base import Integrator
from ..io.images import FileWarning, read_spacing
from ..labeling.labeler import Labeler, Labeling
from ..labeling.prototypes import in_units
from ..labeling.table import LabelTable
from .classification import PixelClassifier
from .dataset import Reader
from .estimator import not_fitted
from .features import Features, check_channels, on_spacing
from .model import WeightMap
from .samples import channel_axis, is_path, read_image_array, read_probabilities
from .serialization import Model, read_model, write_model
from .spacing import told_spacing
from .training import Training, TrainingStep
from .weights import PredictedWeights

__all__ = ["TrainedPredictor"]


class TrainedPredictor(PixelClassifier):
    """What :class:`gpulaf.WeightPredictor` and :class:`gpulaf.WeightNetwork` have in common once they are trained."""

    #: Whether one that refines probabilities sees them beside the channels of the image.
    sees_probabilities: ClassVar[bool] = False
    #: Options that a file holds as they are, and their types.
    STORED: ClassVar[dict[str, Callable[[Any], Any]]]

    features: int | str | Callable[[Any], Any]
    radius: int
    rho: float | None
    metric: str
    time: float
    n_layers: int
    solver: Integrator
    training: Training
    range: tuple[float, float] | None
    spacing: tuple[float, ...] | None

    label_prototypes_: np.ndarray
    label_pixels_: np.ndarray
    feature_scale_: np.ndarray
    rho_: float
    spacing_: np.ndarray
    n_channels_: int
    on_probabilities_: bool
    history_: list[TrainingStep]
    reason_: str
    transition_: np.ndarray | None

    @abstractmethod
    def weight_map(self) -> WeightMap:
        """The map from features to weights that was learned."""

    @classmethod
    @abstractmethod
    def check_tensors(cls, path: Any, tensors: dict[str, np.ndarray], options: dict[str, Any]) -> None:
        """Raise ValueError for tensors that do not fit to each other or to the options."""

    @property
    def starting_times(self) -> list[float]:
        """Integration time of each layer where learning starts, T/L."""
        return [float(self.time) / self.n_layers] * self.n_layers

    @property
    def times(self) -> list[float]:
        """Integration time of each layer."""
        return self.starting_times

    @property
    def pixel_features(self) -> int | Callable[[Any], Any]:
        """The features, names as a callable."""
        return Features(self.features) if isinstance(self.features, str) else self.features

    @property
    def trained_spacing(self) -> tuple[float, ...]:
        """Distance of the pixels on each axis in the training; three of volumes."""
        self._check_trained()
        return tuple(self.spacing_.tolist())

    @property
    def axes(self) -> int:
        """2 where it was trained on images, 3 on volumes."""
        return len(self.trained_spacing)

    @property
    def reader(self) -> Reader:
        """How images and truths are validated and converted to fields; ValueError before a fit."""
        spacing = self.trained_spacing
        features = on_spacing(self.pixel_features, spacing)
        scale = self.feature_scale_ if callable(features) else None
        return Reader(
            features, self.rho_, self.classes_, self.label_prototypes_, scale, self.range, self.metric, spacing,
            self.sees_probabilities and self.on_probabilities_,
        )  # fmt: skip

    def weight_source(self) -> PredictedWeights:
        """The map from an image to its weights, what a :class:`gpulaf.Labeler` takes."""
        reader = self.reader
        channels = self.n_channels_ + (len(self.classes_) - 1) * reader.soft
        scale, spacing = reader.feature_scale, reader.spacing
        return PredictedWeights(self.weight_map(), reader.features, channels, scale, spacing, reader.soft)

    def labeler(self) -> Labeler:
        """The labeling with predicted weights, of images, files and arrays of Dask; label j is the class classes_[j].

        That of a predictor which was trained on probabilities has no prototypes: it refines.
        """
        source = self.weight_source()
        prototypes = None if self.on_probabilities_ else self.label_prototypes_
        return Labeler(
            prototypes, source, self.rho_, self.times, self.solver, scaled=True, range=self.range, metric=self.metric
        )

    def label_table(self) -> LabelTable:
        """The classes, with their pixels in the ground truth and their mean values, in the units of `range` if given.

        Of images without a range these are scaled, the largest value of an integer type to 1.
        """
        self._check_trained()
        prototypes = in_units(self.label_prototypes_, self.range or (0.0, 1.0))
        heading = "scaled prototype" if self.range is None else "prototype"
        return LabelTable(self.classes_.tolist(), self.label_pixels_, prototypes, heading=heading)

    def weights(self, image: Any, probabilities: Any = None, *, mask: Any = None) -> Any:
        """Predict the weight patches of an image.

        Parameters
        ----------
        image : (H, W) or (H, W, C) array, of a volume with D before H, or a path
            Of the kind that the predictor was trained on.
        probabilities : (H, W, J) array, or a path, optional
            Of a classifier, for one that was trained on them and whose layers look at the labeling before them.
        mask : (H, W) array of bool, optional
            True where a pixel is valid; others get no weight from their neighbors.

        Returns
        -------
        (H, N, W) array in the library of `image`; float64 for float64 images, float32 otherwise. Where layers have
        weights of their own, a list of one for each of them; :func:`gpulaf.label` takes both, with `times` as its time.

        Raises
        ------
        ValueError, TypeError
            If the predictor is not trained or the image is of another kind.
        """
        reader = self.reader
        features, _, valid = reader.pixels(self._read(image), mask)
        soft = None if probabilities is None else read_probabilities(probabilities, self.axes)
        if soft is None and reader.soft:
            raise ValueError("its layers look at the labeling before them. Give the probabilities, too.")
        data = None if soft is None and self.on_probabilities_ else reader.data_term(features, soft, valid)
        bound = self.weight_map().bound(reader.pixel_features(features, valid, data), valid)
        if not any(isinstance(x, Stage) for x in (bound.layers if isinstance(bound.layers, list) else [bound.layers])):
            return bound.layers
        bound.keep().flow(self.starting_times, self.solver).solve(data, keep_basis=False)
        return [stage.weights for stage in bound.layers]

    def label(self, image: Any, *, mask: Any = None, uncertainty: Any = None) -> Labeling:
        """Label an image, an array or a path, with predicted weights; label j stands for ``classes_[j]``.

        So is a volume by a predictor that was trained on volumes. `mask` and `uncertainty` are as in
        :func:`gpulaf.label`.
        """
        self._check_use(soft=False)
        image = self._read(image)
        check_channels(image, self.n_channels_, self.axes)
        labeler = replace(self.labeler(), uncertainty=uncertainty)
        return labeler(image, channel_axis=channel_axis(image, self.axes), mask=mask)

    def refine(self, image: Any, probabilities: Any, *, mask: Any = None, uncertainty: Any = None) -> Labeling:
        """Refine (H, W, J) probabilities with the weights predicted from an image, arrays or paths.

        `mask` and `uncertainty` are as in :func:`gpulaf.refine`.
        """
        self._check_use(soft=True)
        axes, labels = self.axes, len(self.classes_)
        image, probabilities = self._read(image), read_probabilities(probabilities, axes)
        check_channels(image, self.n_channels_, axes)
        if probabilities.ndim != axes + 1 or probabilities.shape[-1] != labels:
            accepted = f"({'D, ' * (axes == 3)}H, W, {labels})"
            raise ValueError(f"probabilities have shape {tuple(probabilities.shape)}; accepted is {accepted}.")
        channels = channel_axis(image, axes)
        labeler = replace(self.labeler(), uncertainty=uncertainty)
        return labeler.refine(probabilities, image=image, mask=mask, label_axis=axes, channel_axis=channels)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned and how to one safetensors file, whole or not at all.

        A feature callable that is not of this library cannot be stored: its name is, and :meth:`load` asks for it. Of
        the training, checkpoint, memory and a loss of your own are left out.
        """
        self._check_trained()
        shared = ("feature_scale", "label_prototypes", "label_pixels", "classes")
        tensors = self.weight_map().tensors | {name: np.asarray(getattr(self, f"{name}_")) for name in shared}
        tensors |= {"rho": np.array(self.rho_), "spacing": self.spacing_}
        options = self.get_params(deep=False)
        self.check_tensors(f"this {type(self).__name__}", tensors, options)
        write_model(
            path,
            type(self).__name__,
            self.STORED,
            Model(tensors, options, self.on_probabilities_, self.history_, self.reason_, self.transition_),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, features: Callable[[Any], Any] | None = None) -> Self:
        """Read a predictor that :meth:`save` wrote.

        Parameters
        ----------
        path : path
        features : callable, optional
            The feature callable of a predictor that was trained with one of your own.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, incomplete, of another kind or of a newer version, or `features` is missing.
        """
        model = read_model(path, cls.__name__, cls.STORED, features)
        cls.check_tensors(path, model.tensors, model.options)
        return cls(**model.options)._set(model)

    def _set(self, model: Model) -> Self:
        """Take over what was learned."""
        for name, value in model.tensors.items():
            setattr(self, f"{name}_", value if value.ndim else float(value))
        self.n_channels_ = self.label_prototypes_.shape[1]
        self.on_probabilities_, self.history_, self.reason_ = model.on_probabilities, model.history, model.reason
        self.transition_ = model.transition
        return self

    def _read(self, image: Any) -> Any:
        """Read an image from a path or an array; a warning says where its file tells another spacing than that of the
        training."""
        if is_path(image) and (line := self.other_spacing(image)):
            warn(line, FileWarning, stacklevel=calling_level())
        return read_image_array(image, self.axes)

    def other_spacing(self, path: Any, *, channel_axis: int | None = None) -> str | None:
        """A sentence where the file of a volume says another spacing than that of the training."""
        own = self.trained_spacing
        return told_spacing(own, read_spacing(path, channel_axis=channel_axis), path) if len(own) == 3 else None

    def _check_trained(self) -> None:
        if not hasattr(self, "classes_"):
            name = type(self).__name__
            raise not_fitted(f"this {name} is not trained. Call fit, or {name}.load for a saved one.")

    def _check_use(self, *, soft: bool) -> None:
        """Raise ValueError where it was trained for the other of labeling images and refining probabilities."""
        self._check_trained()
        if self.on_probabilities_ and not soft:
            raise ValueError("the predictor was trained to refine probabilities. Call refine(image, probabilities).")
        if soft and not self.on_probabilities_:
            raise ValueError("the predictor was trained without probabilities. Call label(image), or train it on them.")
