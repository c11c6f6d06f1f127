"""Weights for images without ground truth: learned from images with it, applied to any other (Sect. 4.4)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

import numpy as np

from ..integrators import Taylor
from ..integrators.base import Integrator, check_time
from ..io.tensors import qualified_name
from ..labeling.label import Labeling, label, refine
from ..tiling.dask_array import LabelArrays, predicted_array
from .dataset import Reader, Samples
from .features import feature_names, feature_reach
from .initialization import starting_parameters
from .model import Parameters, predict_weights
from .serialization import Model, read_model, stored_options, write_model
from .statistics import checked_digest, survey
from .training import Course, Training, TrainingStep, fingerprint, train

__all__ = ["PredictedWeights", "WeightPredictor"]


class WeightPredictor:
    """Predicts the weight patches of unseen images from prototypes of their features (4.3)–(4.4).

    Ω̂_i = exp_1(Σ_j a_ij ν_j) with a_i = softmax_j(−σ‖f_i − p_j‖); prototypes p, tangent vectors ν and σ are learned
    end to end: image to weights to labeling to loss. With several layers, the labeling is a sequence of linearized
    flows (1.5)–(1.6), and every layer has tangent vectors of its own.

    Parameters
    ----------
    prototypes : int
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
    integrator : Krylov, Taylor or Euler, optional
        Taylor(tol=1e-3) if None.
    seed : int
        Of the prototypes that learning starts from.
    layers : int
        L, the number of linearized flows, each over T/L.
    shared_layers : bool
        All layers have the same tangent vectors, and so the same weights.

    Attributes
    ----------
    prototypes_ : (K, F) float64 array
        Of scaled features.
    tangents_ : (K, N) float64 array, or (L, K, N) where L layers have their own
    sigma_ : float
    feature_scale_ : (F,) float64 array
        What features are multiplied by; 1 for raw patches.
    label_values_ : (J,) int64 array
        The value of the truth images that each label stands for.
    label_prototypes_ : (J, C) float64 array
        Mean value of each label's pixels, in scaled image units.
    n_channels_ : int
    on_probabilities_ : bool
        Whether it was trained to refine probabilities, rather than to label images.
    history_ : list of TrainingStep
    reason_ : str
        Why the training ended, in one sentence.

    Examples
    --------
    >>> import gpulaf
    >>> scenes = [gpulaf.scenes.voronoi_lines(32, sites=5, seed=seed) for seed in range(3)]
    >>> predictor = gpulaf.WeightPredictor(prototypes=20)
    >>> training = gpulaf.prediction.Training(steps=5)
    >>> _ = predictor.fit([s.image for s in scenes[:2]], [s.truth for s in scenes[:2]], training=training)
    >>> predictor.history_[-1].loss < predictor.history_[0].loss
    True
    >>> predictor.weights(scenes[2].image).shape, predictor.label(scenes[2].image).labels.shape
    ((9, 32, 32), (32, 32))
    """

    prototypes_: np.ndarray
    tangents_: np.ndarray
    sigma_: float
    feature_scale_: np.ndarray
    label_values_: np.ndarray
    label_prototypes_: np.ndarray
    n_channels_: int
    on_probabilities_: bool
    history_: list[TrainingStep]
    reason_: str

    def __init__(
        self,
        prototypes: int = 50,
        *,
        features: int | Callable[[Any], Any] = 1,
        radius: int = 1,
        rho: float = 0.1,
        time: float = 3.0,
        integrator: Integrator | None = None,
        seed: int = 0,
        layers: int = 1,
        shared_layers: bool = False,
    ) -> None:
        self.prototypes = prototypes
        self.features = features
        self.radius = radius
        self.rho = rho
        self.time = time
        self.integrator = integrator
        self.seed = seed
        self.layers = layers
        self.shared_layers = shared_layers

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, by name."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def set_params(self, **parameters: Any) -> WeightPredictor:
        """Set arguments of the constructor by name; what was learned stays until the next fit."""
        names = list(signature(type(self)).parameters)
        for name, value in parameters.items():
            if name not in names:
                raise ValueError(f"{name!r} is no parameter of WeightPredictor; accepted are {', '.join(names)}.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return f"WeightPredictor({', '.join(f'{k}={v!r}' for k, v in self.get_params().items())})"

    def fit(
        self,
        images: Sequence[Any],
        truths: Sequence[Any],
        *,
        probabilities: Sequence[Any] | None = None,
        clean: Sequence[Any] | None = None,
        validation: tuple[Sequence[Any], ...] | None = None,
        unlabeled: int | None = None,
        training: Training | None = None,
        callback: Callable[[TrainingStep, Parameters], object] | None = None,
        progress: bool | None = None,
        cluster: Any = None,
    ) -> WeightPredictor:
        """Learn from images with ground truth.

        Every sequence has a length and holds arrays or paths; items are fetched one at a time, each time that they
        are needed, and never kept.

        Parameters
        ----------
        images : sequence of (H, W) or (H, W, C) arrays, or of paths
            As in :func:`gpulaf.label`; sizes may differ, the number of channels not. CuPy arrays run on the GPU.
        truths : sequence of (H, W) integer arrays, or of paths
            Any values: the sorted set of them all is `label_values_`. −1 and `unlabeled` mark pixels without ground
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
        training : Training, optional
            Steps, step size, loss, batches, crops, early stopping, checkpoint.
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
        training = training or Training()
        nothing = -1 if unlabeled is None else int(unlabeled)
        samples = Samples(images, truths, probabilities, nothing)
        held = None if validation is None else _held(validation, nothing)
        self._check(samples, held, training, clean, cluster)
        known = survey(samples)
        reader = Reader(self.features, float(self.rho), known.label_values, known.label_prototypes)
        options: dict[str, Any] = {"clean": clean, "seed": self.seed}
        start, scale = starting_parameters(samples, reader, self.prototypes, self.radius, **options)
        if self.layers > 1 and not self.shared_layers:  # all begin alike, and each goes its own way
            start = start._replace(tangents=np.stack([start.tangents] * self.layers))
        reader = replace(reader, feature_scale=scale if callable(self.features) else None)
        digests = {"images": known.digest, "validation": checked_digest(held, reader) if held else ""}
        named = stored_options(self.get_params()) | {"integrator": self.solver, "features": _name(self.features)}
        counts = np.maximum(known.counts, 1)
        course = Course(
            samples, held, reader, training, float(self.time), self.solver, (self.layers, self.shared_layers),
            counts.sum() / (len(counts) * counts), fingerprint(named | digests, training, start), cluster,
        )  # fmt: skip
        parameters, self.history_, self.reason_ = train(course, start, callback, progress)
        self.prototypes_, self.tangents_, self.sigma_ = parameters
        self.label_values_, self.label_prototypes_ = known.label_values, known.label_prototypes
        self.feature_scale_ = scale
        self.n_channels_ = known.label_prototypes.shape[1]
        self.on_probabilities_ = probabilities is not None
        return self

    def weights(self, image: Any) -> Any:
        """The weight patches of an image.

        Parameters
        ----------
        image : (H, W) or (H, W, C) array
            Of the kind that the predictor was trained on.

        Returns
        -------
        (N, H, W) array in the library of `image`; float64 for float64 images, float32 otherwise. With several layers,
        a list of one for each of them, for :func:`gpulaf.label` with `layer_times` as its time.

        Raises
        ------
        ValueError, TypeError
            If the predictor is not trained or the image is of another kind.
        """
        image = self.reader.image(image)
        parameters = Parameters(self.prototypes_, self.tangents_, self.sigma_)
        weights = predict_weights(parameters, self.reader.pixel_features(image))
        return weights if isinstance(weights, list) or self.layers == 1 else [weights] * self.layers

    @property
    def layer_times(self) -> float | list[float]:
        """The integration time T, or with several layers a list of that of each."""
        return self.time if self.layers == 1 else [self.time / self.layers] * self.layers

    def label(self, image: Any) -> Labeling:
        """Label an image with predicted weights; label j stands for ``label_values_[j]``. See :func:`gpulaf.label`."""
        weights = self.weights(image)
        self._check_use(soft=False)
        image, values = self.reader.image(image), self.label_prototypes_
        return label(image, values, weights=weights, rho=self.rho, time=self.layer_times, integrator=self.solver)

    def refine(self, image: Any, probabilities: Any) -> Labeling:
        """Refine (H, W, J) probabilities with the weights predicted from the image; see :func:`gpulaf.refine`."""
        weights = self.weights(image)
        self._check_use(soft=True, probabilities=probabilities)
        return refine(probabilities, weights=weights, rho=self.rho, time=self.layer_times, integrator=self.solver)

    def label_array(self, image: Any) -> LabelArrays:
        """Label a Dask array tile by tile: what :meth:`label` gives with ``Taylor.fixed(time)``, bit for bit.

        See :func:`gpulaf.tiling.label_array`; the halo is ``tile_halo(layer_times, integrator=…, weights=predictor)``.
        Features that are a callable of your own have to tell their ``reach`` in pixels.
        """
        self._check_use(soft=False)
        return predicted_array(self, image)

    def refine_array(self, image: Any, probabilities: Any) -> LabelArrays:
        """Refine a Dask array of probabilities as :meth:`refine` does; see :meth:`label_array`."""
        self._check_use(soft=True, probabilities=probabilities)
        return predicted_array(self, image, probabilities)

    @property
    def reach(self) -> int:
        """Pixels around a pixel that its weights depend on; ValueError for features that do not tell."""
        return feature_reach(self.features)

    def floats(self, channels: int) -> int:
        """Numbers per pixel that are held while weights are predicted, at most."""
        return 2 * len(self.feature_scale_) + self.layers * (2 * self.radius + 1) ** 2 + 2 * channels + 8

    def _check_use(self, *, soft: bool, probabilities: Any = None) -> None:
        """Whether it was trained for labeling images or for refining probabilities, of so many labels."""
        labels = len(self.reader.label_values)
        if self.on_probabilities_ and not soft:
            raise ValueError("the predictor was trained to refine probabilities. Call refine(image, probabilities).")
        if soft and not self.on_probabilities_:
            raise ValueError("the predictor was trained without probabilities. Call label(image), or train it on them.")
        if soft and probabilities.shape[-1] != labels:
            raise ValueError(f"probabilities have shape {tuple(probabilities.shape)}; accepted is (H, W, {labels}).")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned and how to one safetensors file, whole or not at all.

        A feature callable that is not of this library cannot be stored: its name is, and :meth:`load` asks for it.
        """
        reader = self.reader
        tensors = {"prototypes": self.prototypes_, "tangents": self.tangents_, "sigma": np.array(self.sigma_)}
        tensors |= {"feature_scale": self.feature_scale_}
        tensors |= {"label_prototypes": reader.label_prototypes, "label_values": reader.label_values}
        write_model(path, Model(tensors, self.get_params(), self.on_probabilities_, self.history_, self.reason_))

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
        predictor = cls(**model.options)
        own = dict(model.tensors)
        predictor.prototypes_, predictor.tangents_ = own["prototypes"], own["tangents"]
        predictor.sigma_, predictor.feature_scale_ = float(own["sigma"]), own["feature_scale"]
        predictor.label_values_, predictor.label_prototypes_ = own["label_values"], own["label_prototypes"]
        predictor.n_channels_ = own["label_prototypes"].shape[1]
        predictor.on_probabilities_ = model.on_probabilities
        predictor.history_, predictor.reason_ = model.history, model.reason
        return predictor

    @property
    def solver(self) -> Integrator:
        """The integrator, Taylor(tol=1e-3) where none was given."""
        return self.integrator or Taylor(tol=1e-3)

    @property
    def reader(self) -> Reader:
        """How images and truths become what the predictor works on."""
        if not hasattr(self, "label_values_"):
            raise ValueError("this WeightPredictor is not trained. Call fit, or WeightPredictor.load for a saved one.")
        scale = self.feature_scale_ if callable(self.features) else None
        return Reader(self.features, float(self.rho), self.label_values_, self.label_prototypes_, scale)

    def _check(self, samples: Samples, held: Samples | None, training: Training, clean: Any, cluster: Any) -> None:
        """Everything that can be said before an image is read."""
        for name, least in (("prototypes", 1), ("radius", 1), ("seed", 0), ("layers", 1), ("features", 0)):
            value = getattr(self, name)
            if name == "features" and callable(value):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                more = ", or a callable" if name == "features" else ""
                raise ValueError(f"{name} is {value!r}; accepted are whole numbers from {least}{more}.")
        if not isinstance(self.shared_layers, bool):
            raise ValueError(f"shared_layers is {self.shared_layers!r}; accepted are True and False.")
        if not self.rho > 0:
            raise ValueError(
                f"rho is {self.rho}; accepted are positive numbers. 0.1 suits images with values in [0, 1]."
            )
        check_time(self.time)
        if held is not None and (held.probabilities is None) != (samples.probabilities is None):
            raise ValueError("probabilities are given for one of training and validation only. Give them for both.")
        if clean is not None and len(clean) != len(samples):
            raise ValueError(f"there are {len(samples)} images and {len(clean)} clean ones; accepted are as many.")
        if training.patience is not None and held is None:
            raise ValueError(f"patience is {training.patience}, but there is no validation to watch. Pass validation.")
        if cluster is not None and not (hasattr(cluster, "submit") and hasattr(cluster, "scatter")):
            raise TypeError(
                f"cluster is a {type(cluster).__name__}; accepted is a distributed.Client. "
                "Install it with: python -m pip install 'gpulaf[large]'."
            )


def _name(features: Any) -> str:
    return (feature_names(features) or qualified_name(features)) if callable(features) else repr(features)


def _held(validation: Sequence[Any], unlabeled: int) -> Samples:
    if len(validation) not in (2, 3):
        raise ValueError(
            f"validation holds {len(validation)} parts; accepted are (images, truths) and "
            "(images, truths, probabilities)."
        )
    images, truths, probabilities = (*validation, None)[:3]
    return Samples(images, truths, probabilities, unlabeled, "validation")


@dataclass(frozen=True)
class PredictedWeights:
    """The weights that a :class:`gpulaf.WeightPredictor` predicts; `name` tells it from others."""

    predictor: WeightPredictor = field(repr=False)
    name: str

    @property
    def radius(self) -> int:
        """Of the patches."""
        return self.predictor.radius

    @property
    def reach(self) -> int:
        """Pixels that the weights of a pixel look around."""
        return self.predictor.reach

    def floats(self, channels: int) -> int:
        """Numbers per pixel that are held while weights are predicted, at most."""
        return self.predictor.floats(channels)

    def __call__(self, features: Any) -> Any:
        """(H, W, C) image to (N, H, W) weight patches."""
        return self.predictor.weights(features)
