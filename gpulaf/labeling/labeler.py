"""The description of a labeling: prototypes, weights, scale of the data, time and solver; applied to any image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..averaging.base import Averaging
from ..averaging.graph import Graph
from ..averaging.grid import as_averaging
from ..averaging.patches import extended, spaced_weights, uniform_weights
from ..averaging.sources import WeightSource
from ..backend.array import filled, host_dtype, is_array, namespace
from ..backend.memory import check_memory
from ..backend.validation import (
    Pixels,
    check_range,
    check_rho,
    check_spacing,
    image_features,
    label_fields,
    log_probabilities,
)
from ..fields import from_rows, pixel_shape
from ..flows.assignment import LONGEST, AssignmentFlow
from ..flows.deep import DeepFlow, Stage
from ..integrators.base import Integrator, check_time, layer_times
from ..integrators.nonlinear import Scheme
from ..integrators.taylor import Taylor
from ..simplex import softmax
from .hints import unused_labels, warn_of_labels, warn_of_values
from .likelihood import check_metric, distances, in_units, log_likelihood, prototype_array, tempered
from .table import label_pixels

__all__ = ["Labeler", "Labeling", "labels_dtype", "smallest_unsigned"]

#: Integration time of the linearized flow where none is given.
TIME = 3.0


class Labeling(NamedTuple):
    """A labeled image (H, W), volume (D, H, W) or set of nodes (n,)."""

    #: (H, W) array of label indices, in the smallest unsigned type that holds them; with a mask, in the smallest that
    #: holds one number more: its largest one, 255 of uint8, stands for no data.
    labels: Any
    #: (H, W, J) array: the probability of every label, W(T); NaN where there is no data.
    probabilities: Any
    #: Error of v relative to v, as the integrator states it, the sum of those of layers; with a scheme, the accepted
    #: error of one of its steps relative to 1 + ‖v‖_∞, NaN where the steps are fixed.
    error: float
    #: Products with A, or evaluations of the right-hand side, that were spent.
    products: int
    #: Whether the integrator met its tolerance, that of Taylor relative to the largest v which any flow over this time
    #: may reach, so that `error` may be larger; with a scheme, whether the flow came to rest: the mean entropy of the
    #: probabilities fell under a thousandth of log J, and the labels are their rounding.
    converged: bool
    #: Why it stopped, in one sentence; of images a second one where no pixel got some label.
    reason: str
    #: (H, W) array of bool, True where there is data; None where no mask was given.
    valid: Any = None
    #: (J, C) array on the host, in the units of the image: given, learned, or found by k-means; None without an image.
    prototypes: np.ndarray | None = None

    @property
    def nodata(self) -> int | None:
        """The number that stands for no data in `labels`, the largest of its type; None where no mask was given."""
        return None if self.valid is None else int(np.iinfo(host_dtype(self.labels)).max)


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
    metric : str
        Distance of pixels to prototypes: "euclidean", or "sqeuclidean" for normal noise, whose variance is rho/2.

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
    metric: str = "euclidean"

    def __post_init__(self) -> None:
        check_rho(self.rho)
        check_metric(self.metric)
        check_range(self.range)
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
        return any(isinstance(x, Graph) for x in self.layers)

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
        values = self._prototypes(pixels)
        ranged = self.range is not None or pixels.range != (0, 1)
        rho = float(self.rho) if self.metric == "euclidean" else float(self.rho) ** 0.5
        told = warn_of_values(pixels, values, rho, ranged=ranged, learned=self.scaled)
        fields = self._fields(pixels, values)
        result = self.on_fields(fields, pixels.features, valid=pixels.valid, spacing=spacing)
        unused = unused_labels(label_pixels(result.labels, result.valid, len(values)))
        if not (told or self.scaled):
            warn_of_labels(unused)
        units = in_units(values, pixels.range)
        return result._replace(reason=f"{result.reason} {unused}".strip(), prototypes=units)

    def of_part(self, image: Any, *, mask: Any = None) -> Labeling:
        """Label a part of an image, as :meth:`__call__` does, without warnings about its values."""
        pixels = self._pixels(image, -1 if image.ndim < 3 else 2, mask)
        return self.on_fields(self._fields(pixels, self._prototypes(pixels)), pixels.features, valid=pixels.valid)

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
        return self._refine(*log_probabilities(probabilities, label_axis, **options), pixels, spacing)

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
        return self._refine(
            *label_fields(logits, label_axis, "logits", mask=mask, on_graph=self.on_graph), pixels, spacing
        )

    def on_fields(
        self, log_likelihood: Any, features: Any = None, *, valid: Any = None, spacing: tuple[float, ...] | None = None
    ) -> Labeling:
        """Label by ℓ (H, J, W), and where the weights are made from them by features (H, W, C), at `valid` pixels.

        All of them are trusted.
        """
        holes = None if valid is None or bool(namespace(valid).all(valid)) else valid  # synchronize
        if holes is not None:
            log_likelihood = filled(log_likelihood, holes[..., None, :])
        averagings = self._averagings(log_likelihood, features, holes, spacing)
        with np.errstate(over="ignore", invalid="ignore"):
            if isinstance(self.solver, Scheme):
                if isinstance(averagings[0], Stage):
                    raise TypeError(
                        f"the weights are made layer by layer; accepted are linearized flows, not {self.solver!r}. "
                        "Leave solver out."
                    )
                end = AssignmentFlow(averagings[0], log_likelihood, holes).solve(self.solver, time=self.times[0])
                return _labeling(end.v, valid, self.solver.accuracy, end.evaluations, end.converged, end.reason)
            shared = len(averagings) == 1
            flow = DeepFlow(averagings[0] if shared else averagings, self.times, solver=self.solver)
            solution = flow.solve(log_likelihood, keep_basis=False)
        return _labeling(solution.v, valid, *solution.summary)

    def _pixels(self, image: Any, channel_axis: int | None, mask: Any) -> Pixels:
        """Validate an image and convert it to features."""
        return image_features(image, channel_axis, mask=mask, range=self.range, on_graph=self.on_graph)

    def _prototypes(self, pixels: Pixels) -> np.ndarray:
        """The label prototypes, (J, C), scaled like the image."""
        bounds = (0.0, 1.0) if self.scaled else pixels.range
        return prototype_array(self.prototypes, pixels.features, bounds, valid=pixels.valid)

    def _fields(self, pixels: Pixels, prototypes: np.ndarray) -> Any:
        """ℓ by the distances to scaled prototypes; MemoryError where the labeling does not fit."""
        self._check_memory(pixels.features, tuple(pixels.features.shape[:-1]), len(prototypes))
        return log_likelihood(distances(pixels.features, prototypes, self.metric), self.rho)

    def _refine(self, fields: Any, valid: Any, pixels: Pixels | None, spacing: Any) -> Labeling:
        """Label by predictions (H, J, W) over rho, with the image where there is one."""
        check_spacing(spacing, fields.ndim - 1)
        features, shape = None if pixels is None else pixels.features, pixel_shape(fields)
        if features is not None and tuple(features.shape[:-1]) != shape:
            raise ValueError(
                f"the image has {tuple(features.shape[:-1])} pixels and the predictions {shape}; "
                "accepted are as many. Check the pair."
            )
        self._check_memory(fields, shape, fields.shape[-2])
        return self.on_fields(tempered(fields, self.rho), features, valid=valid, spacing=spacing)

    def _averagings(self, fields: Any, features: Any, valid: Any, spacing: Any) -> list[Averaging | Stage]:
        """Ω of each layer for these fields, or alone that which all of them share."""
        layers = self._made(self.weights, features, valid) if isinstance(self.weights, WeightSource) else self.layers
        plain = uniform_weights if spacing is None else partial(spaced_weights, spacing=spacing)
        shape, dtype = pixel_shape(fields), host_dtype(fields)
        found = [
            x if isinstance(x, Stage) else as_averaging(plain(shape, dtype=dtype) if x is None else x).like(fields)
            for x in layers
        ]
        return found if valid is None else [x.masked(valid) for x in found]

    def _made(self, source: WeightSource, features: Any, valid: Any) -> list[Any]:
        """The weights that a source makes from features, those of each layer or one for all."""
        if features is None:
            raise ValueError(f"weights is {source!r}, but there is no image for it to look at. Pass image, too.")
        weights = source(features if valid is None else extended(features, valid, source.reach))
        made = list(weights) if isinstance(weights, (list, tuple)) else [weights]
        if len(made) > 1 and len(made) != len(self.times):
            raise ValueError(
                f"the weights made from the image are those of {len(made)} layers and time is {self.time}; accepted is "
                "the time of each layer. Give times like [1.0, 1.0, 1.0]."
            )
        for radius in ((x if isinstance(x, Stage) else as_averaging(x)).radius for x in made):
            if radius != source.radius:
                raise ValueError(
                    f"the weights made from the image are patches of radius {radius}; accepted is the radius "
                    f"{source.radius} that {source!r} tells. Set its radius."
                )
        return made

    def _check_memory(self, array: Any, shape: tuple[int, ...], labels: int) -> None:
        """Raise MemoryError for what cannot fit, by all of the layers and the largest of their patches."""
        check_memory(array, shape, labels, **self.memory_options)


def smallest_unsigned(labels: int) -> np.dtype[Any]:
    """The smallest unsigned dtype for label indices 0 … labels−1."""
    return np.min_scalar_type(labels - 1)


def labels_dtype(labels: int, masked: bool) -> np.dtype[Any]:
    """The dtype of labels 0 … labels−1; with a mask, one whose largest number is none of them."""
    return smallest_unsigned(labels + masked)


def _labeling(v: Any, valid: Any, error: float, products: int, converged: bool, reason: str) -> Labeling:
    """Round v to labels and normalize it to probabilities."""
    xp, W = namespace(v), softmax(v)
    dtype = labels_dtype(v.shape[-2], valid is not None)
    labels = xp.astype(xp.argmax(v, axis=-2), getattr(xp, dtype.name))
    if valid is not None:
        labels = filled(labels, valid, int(np.iinfo(dtype).max))
        W = filled(W, valid[..., None, :], float("nan"))
    return Labeling(labels, from_rows(W), error, products, converged, reason, valid)
