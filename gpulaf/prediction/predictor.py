"""Weights for images without ground truth: learned from images with it, applied to any other (Sect. 4.4)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..backend.array import host_array
from ..integrators import Taylor
from ..integrators.base import Integrator
from ..labeling.labeler import Labeler, Labeling
from ..learning.loop import best, run
from .checks import check_fit, check_options, validation_samples
from .dataset import Reader, Samples, check_sequence, read_image_array, read_probabilities
from .estimator import Estimator
from .features import check_channels, features_name
from .initialization import starting_parameters
from .model import Parameters
from .objective import Objective
from .serialization import Model, read_model, write_model
from .statistics import checked_digest, survey
from .training import PredictorTraining, Training, TrainingStep
from .weights import PredictedWeights

__all__ = ["WeightPredictor"]


class WeightPredictor(Estimator):
    """Predicts the weight patches of unseen images from prototypes of their features (4.3)–(4.4).

    Ω̂_i = exp_1(Σ_j a_ij ν_j) with a_i = softmax_j(−σ‖f_i − p_j‖); prototypes p, tangent vectors ν and σ are learned
    end to end: image to weights to labeling to loss. With several layers, the labeling is a sequence of linearized
    flows (1.5)–(1.6), and every layer has tangent vectors of its own. Conventions are those of scikit-learn.

    Parameters
    ----------
    n_prototypes : int
        K, the number of feature prototypes; fewer are taken where the images have fewer different features.
    features : int or callable
        Radius of the raw patch that a pixel's weights depend on, or ``features(image)``: (H, W, C) to (H, W, F), for
        example :class:`gpulaf.prediction.Features`; each of its features is scaled to the standard deviation 1.
    radius : int
        Of the predicted weight patches; 1 for 3×3.
    rho : float
        Scale of the data term, in scaled image units; with probabilities their temperature, where 1 is neutral.
    time : float
        Integration time T.
    n_layers : int
        L, the number of linearized flows, each over T/L.
    shared_layers : bool
        All layers have the same tangent vectors, and so the same weights.
    solver : Taylor, Krylov or Euler
    training : Training
        Steps, step size, loss, batches, crops, early stopping, checkpoint.
    seed : int
        Of the feature prototypes that learning starts from.

    Attributes
    ----------
    classes_ : (J,) int64 array
        The value of the truth images that each label stands for.
    label_prototypes_ : (J, C) float64 array
        Mean value of each label's pixels, in scaled image units.
    feature_prototypes_ : (K, F) float64 array
        Of scaled features.
    tangents_ : (K, N) float64 array, or (L, K, N) where L layers have their own
    sigma_ : float
    feature_scale_ : (F,) float64 array
        What features are multiplied by; 1 for raw patches.
    n_channels_ : int
        C, of the images.
    on_probabilities_ : bool
        Whether it was trained to refine probabilities, rather than to label images.
    history_ : list of TrainingStep
    reason_ : str
        Why the training ended, in one sentence.

    Examples
    --------
    >>> import gpulaf
    >>> scenes = [gpulaf.scenes.voronoi_lines(32, sites=5, seed=seed) for seed in range(3)]
    >>> predictor = gpulaf.WeightPredictor(n_prototypes=20).set_params(training__steps=5)
    >>> _ = predictor.fit([s.image for s in scenes[:2]], [s.truth for s in scenes[:2]])
    >>> predictor.history_[-1].loss < predictor.history_[0].loss
    True
    >>> predictor.weights(scenes[2].image).shape, predictor.predict([scenes[2].image])[0].shape
    ((9, 32, 32), (32, 32))
    """

    classes_: np.ndarray
    label_prototypes_: np.ndarray
    feature_prototypes_: np.ndarray
    tangents_: np.ndarray
    sigma_: float
    feature_scale_: np.ndarray
    n_channels_: int
    on_probabilities_: bool
    history_: list[TrainingStep]
    reason_: str

    def __init__(
        self,
        n_prototypes: int = 50,
        *,
        features: int | Callable[[Any], Any] = 1,
        radius: int = 1,
        rho: float = 0.1,
        time: float = 3.0,
        n_layers: int = 1,
        shared_layers: bool = False,
        solver: Integrator = Taylor(),
        training: Training = Training(),
        seed: int = 0,
    ) -> None:
        self.n_prototypes = n_prototypes
        self.features = features
        self.radius = radius
        self.rho = rho
        self.time = time
        self.n_layers = n_layers
        self.shared_layers = shared_layers
        self.solver = solver
        self.training = training
        self.seed = seed

    def fit(
        self,
        images: Sequence[Any],
        truths: Sequence[Any],
        *,
        probabilities: Sequence[Any] | None = None,
        clean: Sequence[Any] | None = None,
        validation: tuple[Sequence[Any], ...] | None = None,
        unlabeled: int | None = None,
        callback: Callable[[TrainingStep, Parameters], object] | None = None,
        progress: bool | None = None,
        cluster: Any = None,
    ) -> WeightPredictor:
        """Learn from images with ground truth.

        Every sequence has a length and holds arrays or paths; items are fetched one at a time. Prepared images are
        kept between steps as far as ``training.memory`` allows.

        Parameters
        ----------
        images : sequence of (H, W) or (H, W, C) arrays, or of paths
            As in :func:`gpulaf.label`; sizes may differ, the number of channels not. CuPy arrays run on the GPU.
        truths : sequence of (H, W) integer arrays, or of paths
            Any values: the sorted set of them all is `classes_`. −1 and `unlabeled` mark pixels without ground
            truth.
        probabilities : sequence of (H, W, J) arrays, or of paths, optional
            Soft predictions of a classifier, which then are the data term.
        clean : sequence of images, optional
            Images without noise, whose features the prototypes start from; without them, raw patches are taken from
            the truth, each label shown as its mean value.
        validation : (images, truths) or (images, truths, probabilities), optional
            Images that are not learned from: the parameters of the smallest loss on them are kept.
        unlabeled : int, optional
            A value of the truths that is no label.
        callback : callable, optional
            ``callback(training_step, parameters)`` after each evaluation; a true return value ends the training.
        progress : bool, optional
            Progress bar on standard error; None shows it where that is a terminal.
        cluster : distributed.Client, optional
            Spreads the images of each step over its workers, which read those given as paths themselves. The result
            is the same bit for bit.

        Returns
        -------
        WeightPredictor
            This one.

        Raises
        ------
        ValueError, TypeError
            With the number of the image that cannot be used, the value, what is accepted and the next step.
        FileExistsError, FloatingPointError
            As in :func:`gpulaf.fit_weights`.
        """
        options, training = self.get_params(deep=False), self.training
        check_options(options)
        nothing = -1 if unlabeled is None else int(unlabeled)
        samples = Samples(images, truths, probabilities, nothing)
        held = None if validation is None else validation_samples(validation, nothing)
        check_fit(samples, held, training, clean, cluster)
        known = survey(samples)
        reader = Reader(self.features, float(self.rho), known.classes, known.label_prototypes)
        start, scale = starting_parameters(samples, reader, self.n_prototypes, self.radius, clean=clean, seed=self.seed)
        if self.n_layers > 1 and not self.shared_layers:  # all start alike
            start = start._replace(tangents=np.stack([start.tangents] * self.n_layers))
        reader = replace(reader, feature_scale=scale if callable(self.features) else None)
        digests = {"images": known.digest, "validation": checked_digest(held, reader) if held else ""}
        named = {k: repr(v) for k, v in options.items() if k not in ("training", "seed")}
        counts, loss = np.maximum(known.counts, 1), training.loss
        if training.balanced:
            loss = partial(loss, class_weights=counts.sum() / (len(counts) * counts))
        fingerprint = named | {"features": features_name(self.features)} | digests
        objective = Objective(reader, self.times, self.solver, loss)
        trained = PredictorTraining(start, objective, samples, held, training, fingerprint, cluster)
        history, reason = run(
            trained, steps=training.steps, patience=training.patience, checkpoint=training.checkpoint,
            callback=callback, progress=progress,
        )  # fmt: skip
        kept = best(history, trained.watched)
        reason += f" The parameters are those of step {kept.step}." if kept else ""
        tensors = trained.best()._asdict() | {"feature_scale": scale}
        tensors |= {"classes": known.classes, "label_prototypes": known.label_prototypes}
        return self._set(Model(tensors, options, probabilities is not None, history, reason))

    @property
    def times(self) -> list[float]:
        """Integration time of each layer, T/L."""
        return [float(self.time) / self.n_layers] * self.n_layers

    @property
    def reader(self) -> Reader:
        """How images and truths are validated and converted to fields; ValueError before a fit."""
        self._check_trained()
        scale = self.feature_scale_ if callable(self.features) else None
        return Reader(self.features, float(self.rho), self.classes_, self.label_prototypes_, scale)

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
        return Labeler(prototypes, source, self.rho, self.times, self.solver, scaled=True)

    def weights(self, image: Any) -> Any:
        """Predict the weight patches of an image.

        Parameters
        ----------
        image : (H, W) or (H, W, C) array, or a path
            Of the kind that the predictor was trained on.

        Returns
        -------
        (N, H, W) array in the library of `image`; float64 for float64 images, float32 otherwise. Where layers have
        weights of their own, a list of one for each of them; :func:`gpulaf.label` takes both, with `times` as its time.

        Raises
        ------
        ValueError, TypeError
            If the predictor is not trained or the image is of another kind.
        """
        return self.weight_source()(self.reader.image(read_image_array(image)))

    def label(self, image: Any) -> Labeling:
        """Label an image, an array or a path, with predicted weights; label j stands for ``classes_[j]``."""
        self._check_use(soft=False)
        image = read_image_array(image)
        check_channels(image, self.n_channels_)
        return self.labeler()(image)

    def refine(self, image: Any, probabilities: Any) -> Labeling:
        """Refine (H, W, J) probabilities with the weights predicted from an image, arrays or paths."""
        self._check_use(soft=True)
        probabilities, labels = read_probabilities(probabilities), len(self.classes_)
        if probabilities.shape[-1] != labels:
            raise ValueError(f"probabilities have shape {tuple(probabilities.shape)}; accepted is (H, W, {labels}).")
        return self.labeler().refine(probabilities, image=read_image_array(image))

    def predict(self, images: Sequence[Any], probabilities: Sequence[Any] | None = None) -> list[np.ndarray]:
        """Predict the class of every pixel.

        Parameters
        ----------
        images : sequence of (H, W) or (H, W, C) arrays, or of paths
        probabilities : sequence of (H, W, J) arrays, or of paths, optional
            For a predictor that was trained on them.

        Returns
        -------
        list of (H, W) int64 arrays of values of `classes_`, on the host.
        """
        check_sequence(images, "images")
        if probabilities is None:
            found = (self.label(images[k]) for k in range(len(images)))
        else:
            check_sequence(probabilities, "probabilities")
            if len(probabilities) != len(images):
                raise ValueError(
                    f"there are {len(images)} images and {len(probabilities)} probabilities; accepted are as many."
                )
            found = (self.refine(images[k], probabilities[k]) for k in range(len(images)))
        return [self.classes_[host_array(x.labels)] for x in found]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned and how to one safetensors file, whole or not at all.

        A feature callable that is not of this library cannot be stored: its name is, and :meth:`load` asks for it. Of
        the training, checkpoint, memory and a loss of your own are left out.
        """
        self._check_trained()
        names = ("feature_prototypes", "tangents", "sigma", "feature_scale", "label_prototypes", "classes")
        tensors = {name: np.asarray(getattr(self, f"{name}_")) for name in names}
        options = self.get_params(deep=False)
        write_model(path, Model(tensors, options, self.on_probabilities_, self.history_, self.reason_))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, features: Callable[[Any], Any] | None = None) -> WeightPredictor:
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
        model = read_model(path, features)
        return cls(**model.options)._set(model)

    def _set(self, model: Model) -> WeightPredictor:
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
