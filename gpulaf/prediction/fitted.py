"""How a predictor is trained: read the images, start, lower the loss of their labelings, keep the best."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np

from ..io.tensors import digest
from ..labeling.hints import warn_of_range
from ..labeling.metrics import value_scale
from ..learning.loop import best, run
from ..learning.loss import Loss
from ..learning.noisy import NoisyLabelLoss
from .checks import check_fit, validation_samples
from .dataset import Reader
from .features import features_name, on_spacing
from .hiding import SIDE
from .independence import warn_of_correlated_noise
from .model import WeightMap
from .objective import Objective
from .samples import Samples
from .serialization import Model
from .spacing import common_spacing
from .statistics import Survey, checked_digest, survey
from .summary import less_is_more, still_falling
from .trained import TrainedPredictor
from .training import PredictorTraining, TrainingStep
from .without_truth import check_labels_known, survey_without_truth

__all__ = ["FittedPredictor"]


class FittedPredictor(TrainedPredictor):
    """A predictor that learns: :class:`gpulaf.WeightPredictor` and :class:`gpulaf.WeightNetwork`."""

    @abstractmethod
    def check_options(self) -> None:
        """Raise an error for arguments of the constructor that cannot work."""

    @abstractmethod
    def starting_rho(self, known: Survey, soft: bool) -> float:
        """The scale of the data term, of images or where `soft` of probabilities."""

    @abstractmethod
    def starting_map(self, samples: Samples, reader: Reader, clean: Any) -> tuple[WeightMap, np.ndarray]:
        """Where learning starts, and what the features of a callable are multiplied by."""

    def fit(
        self,
        images: Sequence[Any],
        truths: Sequence[Any] | None = None,
        *,
        prototypes: Any = None,
        noise: Any = None,
        probabilities: Sequence[Any] | None = None,
        masks: Sequence[Any] | None = None,
        clean: Sequence[Any] | None = None,
        validation: tuple[Any, ...] | None = None,
        unlabeled: int | None = None,
        callback: Callable[[TrainingStep, WeightMap], object] | None = None,
        progress: bool | None = None,
        cluster: Any = None,
    ) -> Self:
        """Learn from images with ground truth, or without it from noise that is independent between pixels.

        Without truths every step hides some pixels of an image, and the labeling around them has to explain what their
        own values say, through the noise of those (:mod:`gpulaf.prediction.without_truth`).

        Every sequence has a length and holds arrays or paths; items are fetched one at a time. Prepared images are
        kept between steps as far as ``training.memory`` allows.

        Parameters
        ----------
        images : sequence of (H, W) or (H, W, C) arrays, of volumes with D before H, or of paths
            As in :func:`gpulaf.label`; sizes may differ, the number of channels not. CuPy arrays run on the GPU.
        truths : sequence of (H, W) integer arrays, of volumes (D, H, W), or of paths, optional
            Any values: the sorted set of them all is `classes_`. −1 and `unlabeled` mark pixels without ground
            truth. None: there are none, and images are volumes where the predictor's `spacing` has three numbers.
        prototypes : int, (J, C) array or gpulaf.io.PrototypeTable, optional
            Without truths: the labels, one row for each in the units of the images, or how many are to be found (those
            of k-means, corrected for the noise; the most frequent at its end is the first).
        noise : float or (J, J) array, optional
            Without truths: standard deviation of the noise in scaled image units, 0 to 1, by default from differences
            of neighbors; or Q_jk = P(pixelwise label j | label k), columns with the sum 1.
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
            Images that are not learned from: the parameters of the smallest loss on them are kept. Without truths
            (images,) or (images, None, None, masks).
        unlabeled : int, optional
            A value of the truths that is no label.
        callback : callable, optional
            ``callback(training_step, weight_map)`` after each evaluation; a true return value ends the training.
        progress : bool, optional
            Progress bar on standard error; None shows it where that is a terminal.
        cluster : distributed.Client, optional
            Spreads the images of each step over its workers, which read those given as paths themselves. The result
            is the same bit for bit.

        Returns
        -------
        This one.

        Raises
        ------
        ValueError, TypeError
            With the number of the image that cannot be used, the value, what is accepted and the next step.
        FileExistsError, FloatingPointError
            As in :func:`gpulaf.fit_weights`.
        """
        options, training = self.get_params(deep=False), self.training
        self.check_options()
        nothing = -1 if unlabeled is None else int(unlabeled)
        with_truth = {"probabilities": probabilities, "clean": clean, "unlabeled": unlabeled}
        check_labels_known(truths, {"prototypes": prototypes, "noise": noise}, with_truth, training)
        axes = len(self.spacing or (1.0, 1.0))
        samples = Samples(images, truths, probabilities, nothing, masks=masks, plain_axes=axes)
        held = None if validation is None else validation_samples(validation, nothing, samples)
        check_fit(samples, held, training, clean, cluster)
        spacing = common_spacing(samples, self.spacing)
        known, transition = self._survey(samples, prototypes, noise)
        rho = self.starting_rho(known, probabilities is not None)
        if probabilities is None:
            distance, ranged = value_scale(self.metric, rho), known.range != (0, 1)
            if distance is not None:
                warn_of_range(known.range, *known.extremes, distance, ranged=ranged or self.range is not None)
        reader = Reader(
            on_spacing(self.pixel_features, spacing), rho, known.classes, known.label_prototypes, range=self.range,
            metric=self.metric, spacing=spacing, soft=self.sees_probabilities and probabilities is not None,
        )  # fmt: skip
        start, scale = self.starting_map(samples, reader, clean)
        reader = replace(reader, feature_scale=scale if callable(reader.features) else None)
        digests = {"images": known.digest, "validation": checked_digest(held, reader) if held else ""}
        named = {k: repr(v) for k, v in options.items() if k not in ("training", "seed")}
        hidden = None
        if transition is not None:
            named |= {"noise": digest(transition), "prototypes": digest(known.label_prototypes)}
            hidden = SIDE
        fingerprint = named | {"features": features_name(reader.features), "spacing": repr(spacing)} | digests
        objective = Objective(reader, self.starting_times, self.solver, self._loss(known, transition))
        if hidden is not None:
            warn_of_correlated_noise(objective, samples)
        trained = PredictorTraining(start, objective, samples, held, training, fingerprint, cluster, hidden)
        history, reason = run(
            trained, steps=training.steps, patience=training.patience, checkpoint=training.checkpoint,
            callback=callback, progress=progress,
        )  # fmt: skip
        kept = best(history, trained.watched)
        reason += f" The parameters are those of step {kept.step}." if kept else ""
        if still_falling([row.loss for row in history]):
            reason += " The loss was still falling: more steps would lower it."
        best_map = trained.best()
        less = less_is_more(
            objective, best_map, trained.prepared, held or samples, steps=history[-1].step, hidden=hidden
        )
        reason = f"{reason} {less}".strip()
        tensors = best_map.tensors | {"feature_scale": scale, "rho": np.array(rho)}
        tensors |= {"classes": known.classes, "label_prototypes": known.label_prototypes}
        tensors |= {"label_pixels": known.counts, "spacing": np.array(spacing)}
        return self._set(Model(tensors, options, probabilities is not None, history, reason, transition))

    def _survey(self, samples: Samples, prototypes: Any, noise: Any) -> tuple[Survey, np.ndarray | None]:
        """What is known of all images, and without truths Q of their pixelwise labels."""
        if samples.truths is not None:
            return survey(samples, self.range), None
        seed = int(self.get_params(deep=False)["seed"])
        return survey_without_truth(samples, prototypes, noise, metric=self.metric, bounds=self.range, seed=seed)

    def _loss(self, known: Survey, transition: np.ndarray | None) -> Callable[[Any, Any], Loss]:
        """The loss of the training; without truths that of the hidden pixels."""
        if transition is not None:
            return NoisyLabelLoss(tuple(map(tuple, transition.tolist())))
        counts = np.maximum(known.counts, 1)
        weights = counts.sum() / (len(counts) * counts)
        return partial(self.training.loss, class_weights=weights) if self.training.balanced else self.training.loss
