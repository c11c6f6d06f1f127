"""Weights for images without ground truth: learned from images with it, applied to any other (Sect. 4.4)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..integrators import Taylor
from ..integrators.base import Integrator
from ..learning.loop import best, run
from .checks import check_fit, check_options, validation_samples
from .dataset import Reader, Samples
from .features import features_name
from .initialization import starting_parameters
from .model import Parameters
from .objective import Objective
from .serialization import Model, read_model
from .statistics import checked_digest, survey
from .trained import TrainedPredictor
from .training import PredictorTraining, Training, TrainingStep

__all__ = ["WeightPredictor"]


class WeightPredictor(TrainedPredictor):
    """Predicts the weight patches of unseen images from prototypes of their features (4.3)–(4.4).

    Ω̂_i = exp_1(Σ_j a_ij ν_j) with a_i = softmax_j(−σ‖f_i − p_j‖); prototypes p, tangent vectors ν and σ are learned
    end to end: image to weights to labeling to loss. With several layers, the labeling is a sequence of linearized
    flows (1.5)–(1.6), and every layer has tangent vectors of its own. Conventions are those of scikit-learn.

    Parameters
    ----------
    n_prototypes : int
        K, the number of feature prototypes; fewer are taken where the images have fewer different features.
    features : int or callable
        Radius of the raw patch that a pixel's weights depend on, or ``features(image)``: (H, W, C) to (H, F, W), for
        example :class:`gpulaf.prediction.Features`; :func:`gpulaf.fields.to_rows` makes (H, F, W) of (H, W, F). Each of
        these features is scaled to the standard deviation 1.
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
    training : gpulaf.prediction.Training
        Steps, step size, loss, batches, crops, early stopping, checkpoint.
    seed : int
        Of the feature prototypes that learning starts from.
    range : (low, high), optional
        The values of images that become 0 and 1, in the training and in all images afterwards, whatever their type; see
        :class:`gpulaf.Labeler`.

    Attributes
    ----------
    classes_ : (J,) int64 array
        The value of the truth images that each label stands for.
    label_prototypes_ : (J, C) float64 array
        Mean value of each label's pixels, in scaled image units.
    label_pixels_ : (J,) int64 array
        How many pixels of the ground truth have each label.
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
    ((32, 9, 32), (32, 32))
    """

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
        range: tuple[float, float] | None = None,
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
        self.range = range

    def fit(
        self,
        images: Sequence[Any],
        truths: Sequence[Any],
        *,
        probabilities: Sequence[Any] | None = None,
        masks: Sequence[Any] | None = None,
        clean: Sequence[Any] | None = None,
        validation: tuple[Any, ...] | None = None,
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
        masks : sequence of (H, W) arrays of bool, or of None, optional
            True where a pixel is valid, as in :func:`gpulaf.label`. Others have no ground truth, and weights and
            features of their neighbors do not look at them. What is masked in images that are masked arrays, or that
            their files say to be no data, is not valid either.
        clean : sequence of images, optional
            Images without noise, whose features the prototypes start from; without them, raw patches are taken from
            the truth, each label shown as its mean value.
        validation : (images, truths), (images, truths, probabilities) or with masks as a fourth, optional
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
        samples = Samples(images, truths, probabilities, nothing, masks=masks)
        held = None if validation is None else validation_samples(validation, nothing)
        check_fit(samples, held, training, clean, cluster)
        known = survey(samples, self.range)
        reader = Reader(self.features, float(self.rho), known.classes, known.label_prototypes, range=self.range)
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
        tensors |= {"label_pixels": known.counts}
        return self._set(Model(tensors, options, probabilities is not None, history, reason))

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
