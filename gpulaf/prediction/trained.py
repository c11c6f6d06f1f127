"""What a predictor does once it is trained: weights, labels and classes of images, and its file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from ..averaging.patches import extended, masked_patches
from ..backend.array import host_array
from ..integrators.base import Integrator
from ..labeling.labeler import Labeler, Labeling
from ..labeling.likelihood import in_units
from ..labeling.table import LabelTable
from .dataset import Reader, check_sequence, read_image_array, read_probabilities
from .estimator import Estimator
from .features import check_channels
from .model import Parameters
from .serialization import Model, write_model
from .training import Training, TrainingStep
from .weights import PredictedWeights

__all__ = ["TrainedPredictor"]


class TrainedPredictor(Estimator):
    """The half of :class:`gpulaf.WeightPredictor` that applies what was learned; see there for all attributes."""

    features: int | Callable[[Any], Any]
    radius: int
    rho: float
    time: float
    n_layers: int
    solver: Integrator
    training: Training
    range: tuple[float, float] | None

    classes_: np.ndarray
    label_prototypes_: np.ndarray
    label_pixels_: np.ndarray
    feature_prototypes_: np.ndarray
    tangents_: np.ndarray
    sigma_: float
    feature_scale_: np.ndarray
    n_channels_: int
    on_probabilities_: bool
    history_: list[TrainingStep]
    reason_: str

    @property
    def times(self) -> list[float]:
        """Integration time of each layer, T/L."""
        return [float(self.time) / self.n_layers] * self.n_layers

    @property
    def reader(self) -> Reader:
        """How images and truths are validated and converted to fields; ValueError before a fit."""
        self._check_trained()
        scale = self.feature_scale_ if callable(self.features) else None
        return Reader(self.features, float(self.rho), self.classes_, self.label_prototypes_, scale, self.range)

    def weight_source(self) -> PredictedWeights:
        """The map from an image to its weights, what a :class:`gpulaf.Labeler` takes."""
        scale = self.reader.feature_scale
        parameters = Parameters(self.feature_prototypes_, self.tangents_, self.sigma_)
        return PredictedWeights(parameters, self.features, self.n_channels_, scale)

    def labeler(self) -> Labeler:
        """The labeling with predicted weights, of images, files and arrays of Dask; label j is the class classes_[j].

        That of a predictor which was trained on probabilities has no prototypes: it refines.
        """
        source = self.weight_source()
        prototypes = None if self.on_probabilities_ else self.label_prototypes_
        return Labeler(prototypes, source, self.rho, self.times, self.solver, scaled=True, range=self.range)

    def label_table(self) -> LabelTable:
        """The classes, with their pixels in the ground truth and their mean values, in the units of `range` if given.

        Of images without a range these are scaled, the largest value of an integer type to 1.
        """
        self._check_trained()
        prototypes = in_units(self.label_prototypes_, self.range or (0.0, 1.0))
        heading = "scaled prototype" if self.range is None else "prototype"
        return LabelTable(self.classes_.tolist(), self.label_pixels_, prototypes, heading=heading)

    def weights(self, image: Any, *, mask: Any = None) -> Any:
        """Predict the weight patches of an image.

        Parameters
        ----------
        image : (H, W) or (H, W, C) array, or a path
            Of the kind that the predictor was trained on.
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
        source, (features, _, valid) = self.weight_source(), self.reader.pixels(read_image_array(image), mask)
        if valid is None:
            return source(features)
        weights = source(extended(features, valid, source.reach))
        several = isinstance(weights, list)
        return [masked_patches(x, valid) for x in weights] if several else masked_patches(weights, valid)

    def label(self, image: Any, *, mask: Any = None) -> Labeling:
        """Label an image, an array or a path, with predicted weights; label j stands for ``classes_[j]``.

        Pixels where `mask`, (H, W) of bool, is False are no data, as in :func:`gpulaf.label`.
        """
        self._check_use(soft=False)
        image = read_image_array(image)
        check_channels(image, self.n_channels_)
        return self.labeler()(image, channel_axis=-1 if image.ndim < 3 else 2, mask=mask)

    def refine(self, image: Any, probabilities: Any, *, mask: Any = None) -> Labeling:
        """Refine (H, W, J) probabilities with the weights predicted from an image, arrays or paths."""
        self._check_use(soft=True)
        probabilities, labels = read_probabilities(probabilities), len(self.classes_)
        if probabilities.shape[-1] != labels:
            raise ValueError(f"probabilities have shape {tuple(probabilities.shape)}; accepted is (H, W, {labels}).")
        return self.labeler().refine(probabilities, image=read_image_array(image), mask=mask)

    def predict(
        self,
        images: Sequence[Any],
        probabilities: Sequence[Any] | None = None,
        *,
        masks: Sequence[Any] | None = None,
    ) -> list[np.ndarray]:
        """Predict the class of every pixel.

        Parameters
        ----------
        images : sequence of (H, W) or (H, W, C) arrays, or of paths
        probabilities : sequence of (H, W, J) arrays, or of paths, optional
            For a predictor that was trained on them.
        masks : sequence of (H, W) arrays of bool, or of None, optional
            True where a pixel is valid.

        Returns
        -------
        list of (H, W) int64 arrays of values of `classes_`, −1 where there is no data, on the host.
        """
        check_sequence(images, "images")
        for name, values in (("probabilities", probabilities), ("masks", masks)):
            if values is not None:
                check_sequence(values, name)
                if len(values) != len(images):
                    raise ValueError(f"there are {len(images)} images and {len(values)} {name}; accepted are as many.")
        found = []
        for k in range(len(images)):
            mask = None if masks is None else masks[k]
            if probabilities is None:
                found.append(self._classes(self.label(images[k], mask=mask)))
            else:
                found.append(self._classes(self.refine(images[k], probabilities[k], mask=mask)))
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned and how to one safetensors file, whole or not at all.

        A feature callable that is not of this library cannot be stored: its name is, and :meth:`load` asks for it. Of
        the training, checkpoint, memory and a loss of your own are left out.
        """
        self._check_trained()
        names = ["feature_prototypes", "tangents", "sigma", "feature_scale"]
        names += ["label_prototypes", "label_pixels", "classes"]
        tensors = {name: np.asarray(getattr(self, f"{name}_")) for name in names}
        options = self.get_params(deep=False)
        write_model(path, Model(tensors, options, self.on_probabilities_, self.history_, self.reason_))

    def _classes(self, result: Labeling) -> np.ndarray:
        """The classes of labels; −1 where there is no data."""
        labels = host_array(result.labels)
        if result.valid is None:
            return self.classes_[labels]
        valid = host_array(result.valid)
        return np.where(valid, self.classes_[np.where(valid, labels, 0)], -1)

    def _set(self, model: Model) -> Self:
        """Take over what was learned."""
        for name, value in model.tensors.items():
            setattr(self, f"{name}_", value)
        self.sigma_, self.n_channels_ = float(self.sigma_), self.label_prototypes_.shape[1]
        self.on_probabilities_, self.history_, self.reason_ = model.on_probabilities, model.history, model.reason
        return self

    def _check_trained(self) -> None:
        if not hasattr(self, "classes_"):
            raise ValueError("this WeightPredictor is not trained. Call fit, or WeightPredictor.load for a saved one.")

    def _check_use(self, *, soft: bool) -> None:
        """Raise ValueError where it was trained for the other of labeling images and refining probabilities."""
        self._check_trained()
        if self.on_probabilities_ and not soft:
            raise ValueError("the predictor was trained to refine probabilities. Call refine(image, probabilities).")
        if soft and not self.on_probabilities_:
            raise ValueError("the predictor was trained without probabilities. Call label(image), or train it on them.")
