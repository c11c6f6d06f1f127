"""The description of a labeling: prototypes, weights, scale of the data, time and solver; applied to any image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..averaging.base import Averaging
from ..averaging.grid import as_averaging
from ..averaging.sources import WeightSource
from ..backend.array import is_array
from ..backend.validation import (
    Pixels,
    check_range,
    check_rho,
    check_spacing,
    image_features,
    label_fields,
    log_probabilities,
)
from ..fields import pixel_shape, to_rows
from ..flows.assignment import LONGEST
from ..integrators.base import Integrator, check_time, layer_times
from ..integrators.nonlinear import Scheme
from ..integrators.taylor import Taylor
from .blocks import Window, label_parts
from .hints import unused_labels, warn_of_distances, warn_of_labels, warn_of_values
from .likelihood import distance_spread, distances, log_likelihood, tempered
from .metrics import Metric, check_metric, value_scale
from .noise import SignPatterns, check_sigma, noise_level, noisy_pairs
from .prior import check_prior
from .prototypes import in_units, prototype_array
from .result import Labeling
from .sample import sampled_pixels
from .table import label_pixels
from .uncertainty import Uncertainty, uncertainty_options

__all__ = ["Labeler", "Labeling"]

#: Integration time of the linearized flow where none is given.
TIME = 3.0


@dataclass(frozen=True, eq=False)
class Labeler:
    """Label images by the linearized assignment flow (2.22), or by the nonlinear one (2.9).

    Parameters
    ----------
    prototypes : int or (J, C) array
        One feature per label, in the units of the image ((J,) for grey images), or the number of labels, whose
        prototypes are then found by k-means in each image. None for a labeler that only refines.
    weights : array, Graph, WeightSource or list of them, optional
        Weight patches (H, N, W) of one image, learned or bilateral; a :class:`gpulaf.Graph` for features of its nodes;
        or a map from an image to its weights, as :class:`gpulaf.averaging.BilateralWeights` and what a predictor gives.
        Uniform 3×3 averaging if None. A list of arrays or Graphs holds those of layers: linearized flows in
        succession, (1.5)–(1.6).
    rho : float
        Scale of the data: the distance, in scaled image units, that matters. Of probabilities the temperature,
        ℓ = log(probabilities)/rho: 1 takes them as they are.
    time : float or sequence of float, optional
        Integration time T, dimensionless; the larger, the smoother. A sequence holds that of each layer, which share
        their weights where these are no list; a number is the time of all layers together, in equal parts. None: 3; of
        the nonlinear flow at most 50, as it ends when it comes to rest.
    solver : Taylor, Krylov or Euler; GeometricEuler, DormandPrince or LinearizedFlows
        An integrator of the linearized flow, or a scheme of the nonlinear flow, which is solved instead.
    scaled : bool
        The prototypes are in scaled image units, 0 to 1 for uint8 and uint16 images, not in those of the image.
    range : (low, high), optional
        The values of images that become 0 and 1, whatever their type: (0, 4095) of 12 bits in uint16, (0, 255) of
        floats that were bytes. None: integers of up to 16 bits are divided by the largest value of their type, floats
        are taken as they are.
    metric : str or callable
        Distance of pixels to prototypes, in whose units rho is: "euclidean"; "sqeuclidean" for normal noise, whose
        variance is rho/2; others and functions as of :func:`gpulaf.labeling.distances`, which get scaled values.
        k-means, which finds a number of prototypes, looks at Euclidean ones, and is refused beside a function.
    prior : (J,) or (H, W, J) array, optional
        W₀, where the flow starts (2.20): a positive probability of each label, of all pixels or at each of one image,
        (D, H, W, J) of a volume, (n, J) on a graph. ℓ = log W₀ − D/ρ, and W(T) = softmax(log W₀ + v). None: the
        barycenter, 1/J.
    uncertainty : bool or Uncertainty
        Also the probability that another noise of the same size changes the label of a pixel, by 16 runs more of a
        linearized flow; weights that are made from the image are made in each of them. :class:`gpulaf.Uncertainty`
        holds the options.

    Raises
    ------
    ValueError, TypeError
        With the value, what is accepted and the next step, for options of other types and values out of range; what
        depends on the image is checked with it.

    Examples
    --------
    >>> import gpulaf
    >>> scene = gpulaf.scenes.voronoi_colors(32, noise=0.2)
    >>> labeler = gpulaf.Labeler(scene.prototypes, rho=0.2)
    >>> labeler(scene.image).labels.shape
    (32, 32)
    """

    prototypes: Any = None
    weights: Any = None
    rho: float = 0.1
    time: float | Sequence[float] | None = None
    solver: Integrator | Scheme = Taylor()
    scaled: bool = False
    range: tuple[float, float] | None = None
    metric: Metric = "euclidean"
    prior: Any = None
    uncertainty: Uncertainty | bool | None = None

    def __post_init__(self) -> None:
        check_rho(self.rho)
        check_metric(self.metric)
        if callable(self.metric) and self.prototypes is not None and np.ndim(self.prototypes) == 0:
            raise ValueError(
                f"prototypes is {self.prototypes}, and metric a function; k-means, which finds that many, knows only "
                "Euclidean distances. Give an array (J, C) of prototypes."
            )
        check_range(self.range)
        check_prior(self.prior)
        if isinstance(self.solver, type) or not isinstance(self.solver, Integrator | Scheme):
            raise TypeError(
                f"solver is {self.solver!r}; accepted are Taylor, Krylov and Euler for the linearized flow, and "
                "GeometricEuler, DormandPrince and LinearizedFlows for the nonlinear one."
            )
        for x in self.layers:
            alone = isinstance(x, WeightSource) and x is self.weights
            if not (x is None or alone or isinstance(x, Averaging) or is_array(x)):
                raise TypeError(
                    f"weights are a {type(x).__name__}; accepted are an array, a Graph, a list of those of layers, or "
                    "one WeightSource such as BilateralWeights, which may return a list. A map of your own needs "
                    "__call__, radius, reach and workspace."
                )
        if isinstance(self.solver, Scheme) and (len(self.layers) > 1 or np.ndim(0 if self.time is None else self.time)):
            raise ValueError(
                f"there are layers and the scheme {self.solver}; accepted is one of them. The nonlinear flow has one "
                "field of weights and one time."
            )
        object.__setattr__(self, "uncertainty", uncertainty_options(self.uncertainty))
        if self.uncertainty is not None and isinstance(self.solver, Scheme):
            raise ValueError(
                f"uncertainty is asked for and the solver is {self.solver}; accepted are Taylor, Krylov and Euler. "
                "Label by the linearized flow, or leave uncertainty out."
            )
        _ = self.times

    @property
    def layers(self) -> list[Any]:
        """The weights of each layer, or alone those that all of them share."""
        return list(self.weights) if isinstance(self.weights, (list, tuple)) else [self.weights]

    @property
    def times(self) -> list[float]:
        """T of each layer; the longest time of a nonlinear flow."""
        if isinstance(self.solver, Scheme):
            return [check_time(LONGEST if self.time is None else self.time)]  # type: ignore[arg-type]
        return layer_times(TIME if self.time is None else self.time, self.weights)

    @property
    def radius(self) -> float:
        """Of the largest weight patches, 1 for 3×3."""
        given = [x if isinstance(x, WeightSource) else as_averaging(x) for x in self.layers if x is not None]
        return max((x.radius for x in given), default=1)

    @property
    def memory_options(self) -> dict[str, Any]:
        """What :func:`gpulaf.backend.memory.memory_estimate` has to know of this labeling."""
        shared = not isinstance(self.weights, list | tuple | WeightSource)
        return {"solver": self.solver, "times": self.times, "radius": self.radius, "shared": shared}

    @property
    def on_graph(self) -> bool:
        """Whether it labels the nodes of a graph."""
        return any(isinstance(x, Averaging) and x.axes == 1 for x in self.layers)

    def __call__(
        self,
        image: Any,
        *,
        channel_axis: int | None = -1,
        mask: Any = None,
        spacing: tuple[float, ...] | None = None,
    ) -> Labeling:
        """Label every pixel of an image or volume, or every node of a graph; see :func:`gpulaf.label`."""
        pixels = self._pixels(image, channel_axis, mask)
        check_spacing(spacing, pixels.features.ndim - 1)
        values, told = self.looked_at(sampled_pixels(pixels))
        result = self._labeled(pixels, values, spacing)
        unused = unused_labels(label_pixels(result.labels, result.valid, len(values)))
        if not (told or self.scaled):
            warn_of_labels(unused)
        units = in_units(values, pixels.range)
        return result._replace(reason=f"{result.reason} {unused}".strip(), prototypes=units)

    def of_part(
        self, image: Any, *, mask: Any = None, axes: int = 2, spacing: tuple[float, ...] | None = None
    ) -> Labeling:
        """Label a part of an image, or where `axes` is 3 of a volume, as :meth:`__call__` does, without warnings about
        its values."""
        pixels = self._pixels(image, None if image.ndim == axes else axes, mask)
        return self._labeled(pixels, self._prototypes(pixels), spacing)

    def looked_at(self, sample: Pixels) -> tuple[np.ndarray, bool]:
        """The label prototypes, scaled, and whether a sample of the image does not go with them, which is warned of."""
        values, ranged = self._prototypes(sample), self.range is not None or sample.range != (0, 1)
        rho = value_scale(self.metric, self.rho)
        if rho is None:
            return values, warn_of_distances(distance_spread(sample, values, self.metric), float(self.rho))
        return values, warn_of_values(sample, values, rho, ranged=ranged, learned=self.scaled)

    def refine(
        self,
        probabilities: Any,
        *,
        image: Any = None,
        label_axis: int = -1,
        channel_axis: int | None = -1,
        mask: Any = None,
        normalize: bool = False,
        spacing: tuple[float, ...] | None = None,
    ) -> Labeling:
        """Regularize the soft predictions of a classifier; see :func:`gpulaf.refine`."""
        pixels = None if image is None else self._pixels(image, channel_axis, mask)
        mask = mask if pixels is None else pixels.valid
        options = {"mask": mask, "on_graph": self.on_graph, "normalize": normalize}
        return self.refine_fields(*log_probabilities(probabilities, label_axis, **options), pixels, spacing)

    def refine_logits(
        self,
        logits: Any,
        *,
        image: Any = None,
        label_axis: int = -1,
        channel_axis: int | None = -1,
        mask: Any = None,
        spacing: tuple[float, ...] | None = None,
    ) -> Labeling:
        """Regularize the scores of a network before its softmax; see :func:`gpulaf.refine_logits`."""
        pixels = None if image is None else self._pixels(image, channel_axis, mask)
        mask = mask if pixels is None else pixels.valid
        return self.refine_fields(
            *label_fields(logits, label_axis, "logits", mask=mask, on_graph=self.on_graph), pixels, spacing
        )

    def _pixels(self, image: Any, channel_axis: int | None, mask: Any) -> Pixels:
        """Validate an image and convert it to features."""
        return image_features(image, channel_axis, mask=mask, range=self.range, on_graph=self.on_graph)

    def _prototypes(self, pixels: Pixels) -> np.ndarray:
        """The label prototypes, (J, C), scaled like the image."""
        bounds = (0.0, 1.0) if self.scaled else pixels.range
        return prototype_array(self.prototypes, pixels.features, bounds)

    def _labeled(self, pixels: Pixels, prototypes: np.ndarray, spacing: Any) -> Labeling:
        """Label by the distances to scaled prototypes."""
        features, asked = pixels.features, self.uncertainty

        def fields(window: Window, noise: Any = None) -> Any:
            given = features[window] if noise is None else features[window] + noise
            valid = None if pixels.valid is None else pixels.valid[window]
            return log_likelihood(distances(given, prototypes, self.metric, valid=valid), self.rho)

        probes = None
        if isinstance(asked, Uncertainty):
            sigma = noise_level(pixels) if asked.sigma is None else asked.sigma
            check_sigma(sigma, pixels.range, "sigma")
            patterns = SignPatterns(tuple(features.shape), asked.probes // 2, asked.seed)
            probes = noisy_pairs(fields, patterns, sigma, features)
        return label_parts(self, fields, features, len(prototypes), features, pixels.valid, spacing, probes=probes)

    def refine_fields(self, fields: Any, valid: Any, pixels: Pixels | None, spacing: Any) -> Labeling:
        """Label by predictions (H, J, W) over rho, with the image where there is one."""
        check_spacing(spacing, fields.ndim - 1)
        features, shape = None if pixels is None else pixels.features, pixel_shape(fields)
        if features is not None and tuple(features.shape[:-1]) != shape:
            raise ValueError(
                f"the image has {tuple(features.shape[:-1])} pixels and the predictions {shape}; "
                "accepted are as many. Check the pair."
            )

        def part(window: Window, noise: Any = None) -> Any:
            given = fields if window is ... else fields[window[0], :, window[1]]
            return tempered(given if noise is None else given + to_rows(noise), self.rho)

        probes, asked = None, self.uncertainty
        if isinstance(asked, Uncertainty):
            if asked.sigma is None:
                raise ValueError(
                    "uncertainty does not say the noise of the predictions, and nothing tells it. Pass "
                    "uncertainty=gpulaf.Uncertainty(sigma=…), the standard deviation of their logits."
                )
            patterns = SignPatterns((*shape, fields.shape[-2]), asked.probes // 2, asked.seed)
            probes = noisy_pairs(part, patterns, asked.sigma, fields, soft=True)
        return label_parts(self, part, fields, fields.shape[-2], features, valid, spacing, probes=probes, soft=True)
