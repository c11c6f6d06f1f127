"""Weights for images without ground truth by a small network, which sees the image and the labeling so far."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from ..integrators import Taylor
from ..integrators.base import Integrator
from ..learning.loss import cross_entropy_loss
from .checks import check_options
from .dataset import Reader
from .features import Features
from .fitted import FittedPredictor
from .initialization import feature_moments
from .network import Network, network_of, starting_network
from .samples import Samples
from .serialization import NEXT, check_dimensions
from .statistics import Survey
from .training import Training

__all__ = ["WeightNetwork"]

#: The usual training of a network.
TRAINING = Training(
    steps=600, step_size=3e-3, decay=True, batch=2, crop=128, flips=True, warmup=20, loss=cross_entropy_loss
)


#: Features of volumes, and the side of the cubes that a step sees.
VOLUME_FEATURES, VOLUME_CROP = "patch:1+gaussian:1,2,4+affinity", 24


def _widths(values: Any) -> list[int]:
    return [int(n) for n in values]


def _optional(value: Any) -> int | None:
    return None if value is None else int(value)


class WeightNetwork(FittedPredictor):
    """Predicts the weight patches of unseen images, and a correction of their data, by a perceptron at every pixel.

    The labeling is a sequence of linearized flows (1.5)–(1.6). Before each of them a perceptron of its own sees the
    features of the pixel and what the flows before made of its surroundings; it gives log-weights to its neighbors and
    adds to the log-likelihood of its labels. Everything is learned end to end by closed-form gradients. Conventions are
    those of scikit-learn.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the hidden layers of each perceptron.
    features : str, int or callable
        Names of :class:`gpulaf.prediction.Features`, the radius of the raw patch, or ``features(image)``: (H, W, C) to
        (H, F, W). Each feature is scaled to the standard deviation 1. Of one that refines probabilities they see those
        of all labels but the last as channels beside the image's.
    state : int, optional
        Radius of the patch of label probabilities, as the flows before left them, that a perceptron sees; None: it
        sees the image alone.
    state_gradient : bool
        Learn with the exact derivative, through what a perceptron sees of the flows before; False takes that as given.
    label_state : int, optional
        Radius of the patch of one label's probabilities that a second perceptron sees, the same for all labels; it
        adds to the log-likelihood of that label. For scenes of many labels that are alike; None: there is none.
    label_hidden : sequence of int
        Widths of its hidden layers.
    correction : bool
        Also learn what is added to the log-likelihood of every label.
    label_coupling : bool
        Also learn C, how much label k of the neighbors supports label j, the same in all flows; see
        :class:`gpulaf.averaging.CoupledLabels`.
    radius : int
        Of the predicted weight patches; 1 for 3×3.
    rho : float, optional
        Scale of the data term, as in :class:`gpulaf.Labeler`; None: from the variance of the labels' pixels, so that
        the data term is the log-likelihood of normal noise, and 1 with probabilities. Not beside metrics in other units
        than those of the values, as "cosine".
    metric : str
        Distance of pixels to label prototypes, by its name, as in :class:`gpulaf.Labeler`.
    time : float
        Integration time T of all flows together, where learning starts; that of each flow is learned.
    n_layers : int
        L, the number of linearized flows, each over T/L.
    solver : Taylor, Krylov or Euler
    training : gpulaf.prediction.Training
        Steps, step size, loss, batches, crops, flips, early stopping, checkpoint.
    seed : int
        Of the numbers that learning starts from.
    range : (low, high), optional
        The values of images that become 0 and 1, as in :class:`gpulaf.Labeler`.
    spacing : (sy, sx) or (sz, sy, sx), optional
        Distance of the pixels on each axis, in any unit: features reach as far in it on all axes. Three are those of
        volumes. None: what the files of volumes say, and equal distances.

    Attributes
    ----------
    classes_ : (J,) int64 array
        The value of the truth images that each label stands for.
    label_prototypes_ : (J, C) float64 array
        Mean value of each label's pixels, in scaled image units; without ground truth those given or found.
    label_pixels_ : (J,) int64 array
        How many pixels of the ground truth have each label; without it by pixelwise labels.
    network_ : gpulaf.prediction.Network
        The perceptron of each flow, and the logarithm of what it multiplies the log-likelihood by, float64.
    rho_ : float
    feature_scale_ : (F,) float64 array
        What features are multiplied by.
    spacing_ : (A,) float64 array
        Distance of the pixels on each axis in the training; three of volumes.
    n_channels_ : int
        C, of the images.
    on_probabilities_ : bool
        Whether it was trained to refine probabilities, rather than to label images.
    history_ : list of TrainingStep
    reason_ : str
        Why the training ended, in one sentence.
    transition_ : (J, J) float64 array or None
        How often noise makes label j of label k, where it was learned without ground truth.

    Examples
    --------
    >>> import gpulaf
    >>> scenes = [gpulaf.scenes.voronoi_lines(32, sites=5, seed=seed) for seed in range(3)]
    >>> network = gpulaf.WeightNetwork((16,), features="patch:2").set_params(training__steps=20)
    >>> _ = network.fit([s.image for s in scenes[:2]], [s.truth for s in scenes[:2]])
    >>> network.history_[-1].loss < network.history_[0].loss
    True
    >>> network.predict([scenes[2].image])[0].shape
    (32, 32)
    """

    sees_probabilities = True
    STORED: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "hidden": _widths, "state": _optional, "state_gradient": bool, "label_state": _optional,
        "label_hidden": _widths, "correction": bool, "label_coupling": bool, "radius": int,
        "rho": lambda x: None if x is None else float(x),
        "metric": str, "time": float, "n_layers": int, "seed": int,
    }  # fmt: skip

    network_: Network

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        *,
        features: str | int | Callable[[Any], Any] = "patch:3+gaussian:1,2,4+affinity",
        state: int | None = 2,
        state_gradient: bool = True,
        label_state: int | None = None,
        label_hidden: Sequence[int] = (32, 32),
        correction: bool = True,
        label_coupling: bool = False,
        radius: int = 1,
        rho: float | None = None,
        metric: str = "sqeuclidean",
        time: float = 6.0,
        n_layers: int = 3,
        solver: Integrator = Taylor(tol=1e-3),
        training: Training = TRAINING,
        seed: int = 0,
        range: tuple[float, float] | None = None,
        spacing: tuple[float, ...] | None = None,
    ) -> None:
        self.hidden = hidden
        self.features = features
        self.state = state
        self.state_gradient = state_gradient
        self.label_state = label_state
        self.label_hidden = label_hidden
        self.correction = correction
        self.label_coupling = label_coupling
        self.radius = radius
        self.rho = rho
        self.metric = metric
        self.time = time
        self.n_layers = n_layers
        self.solver = solver
        self.training = training
        self.seed = seed
        self.range = range
        self.spacing = spacing

    @classmethod
    def of_volumes(cls, **options: Any) -> WeightNetwork:
        """The usual network of volumes: one that looks at fewer pixels on each axis, as there are three of them.

        Examples
        --------
        >>> import gpulaf
        >>> gpulaf.WeightNetwork.of_volumes(spacing=(3, 1, 1)).features
        'patch:1+gaussian:1,2,4+affinity'
        """
        usual: dict[str, Any] = {"features": VOLUME_FEATURES, "state": 1}
        return cls(**usual | {"training": replace(TRAINING, crop=VOLUME_CROP)} | options)

    @property
    def pixel_features(self) -> int | Callable[[Any], Any]:
        """The features as a callable, raw patches of a radius included: all of them are scaled."""
        radius = self.features
        is_radius = isinstance(radius, int | np.integer) and not isinstance(radius, bool)
        return Features(f"patch:{radius}") if is_radius else super().pixel_features

    @property
    def times(self) -> list[float]:
        """Integration time of each layer as it was learned; T/L before that."""
        return self.network_.times(self.starting_times) if hasattr(self, "network_") else self.starting_times

    def weight_map(self) -> Network:
        """The perceptrons that were learned."""
        return self.network_

    def check_options(self) -> None:
        """Raise an error for arguments of the constructor that cannot work."""
        check_options(self.get_params(deep=False))

    def starting_rho(self, known: Survey, soft: bool) -> float:
        """ρ, or by the noise of the images."""
        if self.rho is not None or soft:
            return 1.0 if self.rho is None else float(self.rho)
        variance = max(known.variance, 1e-6)
        return 2 * variance if self.metric == "sqeuclidean" else variance**0.5

    def starting_map(self, samples: Samples, reader: Reader, clean: Any) -> tuple[Network, np.ndarray]:
        """Uniform weights and no correction, and what features are multiplied by."""
        if clean is not None:
            raise ValueError("clean images are given; a network does not start from them. Leave clean out.")
        mean, scale = feature_moments(samples, reader, seed=self.seed)
        network = self.starting_network(mean, len(reader.classes), reader.axes)
        return replace(network, through=self.state_gradient), scale

    def starting_network(self, mean: np.ndarray, labels: int, axes: int) -> Network:
        """Random perceptrons for features of this mean."""
        reach, single = (-1 if x is None else int(x) for x in (self.state, self.label_state))
        return starting_network(
            mean, labels, hidden=self.hidden, stages=self.n_layers, radius=self.radius, reach=reach,
            correction=self.correction, seed=self.seed, label_hidden=self.label_hidden, label_reach=single, axes=axes,
            coupled=self.label_coupling,
        )  # fmt: skip

    @classmethod
    def check_tensors(cls, path: Any, tensors: dict[str, np.ndarray], options: dict[str, Any]) -> None:
        """Raise ValueError for tensors that do not fit to each other or to the options."""
        own = {
            "feature_scale": 1,
            "label_prototypes": 2,
            "label_pixels": 1,
            "classes": 1,
            "rho": 0,
            "spacing": 1,
            "scales": 1,
            "clocks": 1,
        }
        fits = check_dimensions(path, tensors, own)
        labels, features = (tensors[name].shape[:1] for name in ("classes", "feature_scale"))
        fits = fits and 0 not in labels + features and tensors["label_prototypes"].shape[:1] == labels
        fits = fits and tensors["label_pixels"].shape == labels
        fits = fits and tensors["spacing"].shape in ((2,), (3,)) and bool((tensors["spacing"] > 0).all())
        expected = cls(**options).shapes(features[0], labels[0], len(tensors["spacing"])) if fits else {}
        found = {name: x.shape for name, x in tensors.items() if name not in own or name in ("scales", "clocks")}
        if not fits or found != expected:
            wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
            raise ValueError(
                f"{path} holds tensors of other shapes than its options say, {', '.join(wrong[:5])} first. {NEXT}"
            )

    def shapes(self, features: int, labels: int, axes: int = 2) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors of its network, by name."""
        seen = 0 if self.state is None else labels * (2 * self.state + 1) ** axes
        sizes = {"": [features + seen, *self.hidden, (2 * self.radius + 1) ** axes + labels * self.correction]}
        if self.label_state is not None:
            sizes["label_"] = [(2 * self.label_state + 1) ** axes + 1, *self.label_hidden, 1]
        shapes: dict[str, tuple[int, ...]] = {"scales": (self.n_layers,), "clocks": (self.n_layers,)}
        shapes |= {"coupling": (labels, labels)} if self.label_coupling else {}
        for s, (kind, own) in itertools.product(range(self.n_layers), sizes.items()):
            for k, (before, after) in enumerate(itertools.pairwise(own)):
                shapes |= {f"stage{s}_{kind}matrix{k}": (after, before), f"stage{s}_{kind}offset{k}": (after,)}
        return shapes

    def _set(self, model: Any) -> WeightNetwork:
        """Take over what was learned."""
        own = {
            name: x
            for name, x in model.tensors.items()
            if not name.startswith("stage") and name not in ("scales", "clocks", "coupling")
        }
        super()._set(model._replace(tensors=own))
        start = self.starting_network(np.zeros(len(self.feature_scale_)), len(self.classes_), self.axes)
        self.network_ = network_of(start, model.tensors)
        return self
