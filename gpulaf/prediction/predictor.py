"""Weights for images without ground truth: learned from images with it, applied to any other (Sect. 4.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..integrators import Taylor
from ..integrators.base import Integrator
from .checks import check_options
from .dataset import Reader
from .fitted import FittedPredictor
from .initialization import starting_parameters
from .model import Parameters
from .samples import Samples
from .serialization import NEXT, check_dimensions
from .statistics import Survey
from .training import Training

__all__ = ["WeightPredictor"]


class WeightPredictor(FittedPredictor):
    """Predicts the weight patches of unseen images from prototypes of their features (4.3)–(4.4).

    Ω̂_i = exp_1(Σ_j a_ij ν_j) with a_i = softmax_j(−σ‖f_i − p_j‖); prototypes p, tangent vectors ν and σ are learned
    end to end: image to weights to labeling to loss. With several layers, the labeling is a sequence of linearized
    flows (1.5)–(1.6), and every layer has tangent vectors of its own. Conventions are those of scikit-learn.

    Parameters
    ----------
    n_prototypes : int
        K, the number of feature prototypes; fewer are taken where the images have fewer different features.
    features : int, str or callable
        Radius of the raw patch that a pixel's weights depend on, names of :class:`gpulaf.prediction.Features`, or
        ``features(image)``: (H, W, C) to (H, F, W); :func:`gpulaf.fields.to_rows` makes (H, F, W) of (H, W, F). Each of
        the features but raw patches is scaled to the standard deviation 1.
    radius : int
        Of the predicted weight patches; 1 for 3×3.
    rho : float
        Scale of the data term, in scaled image units; with probabilities their temperature, where 1 is neutral.
    metric : str
        Distance of pixels to label prototypes, by its name, as in :class:`gpulaf.Labeler`.
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
    spacing : (sy, sx) or (sz, sy, sx), optional
        Distance of the pixels on each axis, in any unit: features by name reach as far in it on all axes. Three are
        those of volumes. None: what the files of volumes say, and equal distances.

    Attributes
    ----------
    classes_ : (J,) int64 array
        The value of the truth images that each label stands for.
    label_prototypes_ : (J, C) float64 array
        Mean value of each label's pixels, in scaled image units; without ground truth those given or found.
    label_pixels_ : (J,) int64 array
        How many pixels of the ground truth have each label; without it by pixelwise labels.
    feature_prototypes_ : (K, F) float64 array
        Of scaled features.
    tangents_ : (K, N) float64 array, or (L, K, N) where L layers have their own
    sigma_ : float
    feature_scale_ : (F,) float64 array
        What features are multiplied by; 1 for raw patches.
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
    >>> predictor = gpulaf.WeightPredictor(n_prototypes=20).set_params(training__steps=5)
    >>> _ = predictor.fit([s.image for s in scenes[:2]], [s.truth for s in scenes[:2]])
    >>> predictor.history_[-1].loss < predictor.history_[0].loss
    True
    >>> predictor.weights(scenes[2].image).shape, predictor.predict([scenes[2].image])[0].shape
    ((32, 9, 32), (32, 32))
    """

    STORED: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "n_prototypes": int, "radius": int, "rho": float, "metric": str, "time": float, "n_layers": int,
        "shared_layers": bool, "seed": int,
    }  # fmt: skip

    rho: float
    feature_prototypes_: np.ndarray
    tangents_: np.ndarray
    sigma_: float

    def __init__(
        self,
        n_prototypes: int = 50,
        *,
        features: int | str | Callable[[Any], Any] = 1,
        radius: int = 1,
        rho: float = 0.1,
        metric: str = "euclidean",
        time: float = 3.0,
        n_layers: int = 1,
        shared_layers: bool = False,
        solver: Integrator = Taylor(),
        training: Training = Training(),
        seed: int = 0,
        range: tuple[float, float] | None = None,
        spacing: tuple[float, ...] | None = None,
    ) -> None:
        self.n_prototypes = n_prototypes
        self.features = features
        self.radius = radius
        self.rho = rho
        self.metric = metric
        self.time = time
        self.n_layers = n_layers
        self.shared_layers = shared_layers
        self.solver = solver
        self.training = training
        self.seed = seed
        self.range = range
        self.spacing = spacing

    def weight_map(self) -> Parameters:
        """The prototypes, tangent vectors and σ that were learned."""
        return Parameters(self.feature_prototypes_, self.tangents_, self.sigma_)

    def check_options(self) -> None:
        """Raise an error for arguments of the constructor that cannot work."""
        check_options(self.get_params(deep=False))

    def starting_rho(self, known: Survey, soft: bool) -> float:
        """The scale of the data term, ρ."""
        return self.rho

    def starting_map(self, samples: Samples, reader: Reader, clean: Any) -> tuple[Parameters, np.ndarray]:
        """Prototypes by k-means, and what the features of a callable are multiplied by."""
        start, scale = starting_parameters(samples, reader, self.n_prototypes, self.radius, clean=clean, seed=self.seed)
        if self.n_layers > 1 and not self.shared_layers:  # all start alike
            start = start._replace(tangents=np.stack([start.tangents] * self.n_layers))
        return start, scale

    @classmethod
    def check_tensors(cls, path: Any, tensors: dict[str, np.ndarray], options: dict[str, Any]) -> None:
        """Raise ValueError for tensors that do not fit to each other or to the options."""
        radius, features = int(options["radius"]), options["features"]
        layers = 1 if options["shared_layers"] else int(options["n_layers"])
        several = (layers,) if layers > 1 else ()
        dimensions = {
            "feature_prototypes": 2, "tangents": 2 + len(several), "sigma": 0, "feature_scale": 1,
            "label_prototypes": 2, "label_pixels": 1, "classes": 1, "rho": 0, "spacing": 1,
        }  # fmt: skip
        fits = check_dimensions(path, tensors, dimensions)
        shapes = {name: tensors[name].shape for name in dimensions}
        K, J, C = shapes["feature_prototypes"][:1], shapes["classes"], shapes["label_prototypes"][1:]
        fits = fits and shapes["feature_scale"] == shapes["feature_prototypes"][1:]
        fits = fits and shapes["spacing"] in ((2,), (3,)) and bool((tensors["spacing"] > 0).all())
        axes = len(tensors["spacing"]) if fits else 2
        fits = fits and shapes["tangents"] == (*several, *K, (2 * radius + 1) ** axes)
        fits = fits and shapes["label_prototypes"][:1] == shapes["label_pixels"] == J
        patch = features if isinstance(features, int | np.integer) else None
        if fits and patch is not None:
            fits = shapes["feature_prototypes"][1] == C[0] * (2 * patch + 1) ** axes
        if not fits or 0 in K + J:
            raise ValueError(
                f"{path} holds tensors of shapes {shapes}, which do not fit together for weight patches of radius "
                f"{radius}"
                + (f" in {layers} layers" if several else "")
                + ("" if patch is None else f" and raw patches of radius {patch}")
                + f". {NEXT}"
            )
        if not tensors["sigma"] > 0:
            raise ValueError(f"{path} holds σ = {tensors['sigma']}, which is not positive. {NEXT}")
