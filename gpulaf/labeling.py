"""Label an image, or refine the soft predictions of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .array import contiguous, host_dtype, is_device_array, like, namespace
from .deep_flow import DeepFlow
from .distance import distances, log_likelihood
from .door import image_features, label_fields, log_probabilities, prototype_array
from .integrators import Krylov
from .integrators.solution import Integrator, check_time
from .memory import check_memory
from .patches import check_weights, uniform_weights
from .simplex import softmax

__all__ = ["Labeling", "label", "refine", "refine_logits"]


class Labeling(NamedTuple):
    """A labeled image."""

    #: (H, W) array of label indices, in the smallest unsigned type that holds them.
    labels: Any
    #: (H, W, J) array: the probability of every label, W(T).
    probabilities: Any
    #: Error of v relative to v, as the integrator states it; the sum of those of layers.
    error: float
    #: Products with A that were spent.
    products: int
    #: Whether the integrator met its tolerance.
    converged: bool


def label(
    image: Any,
    prototypes: Any,
    *,
    weights: Any = None,
    rho: float = 0.1,
    time: float | Sequence[float] = 3.0,
    integrator: Integrator | None = None,
    channel_axis: int | None = None,
) -> Labeling:
    """Label every pixel by the linearized assignment flow (2.22).

    Parameters
    ----------
    image : (H, W) or (H, W, C) array of any real dtype and memory order
        uint8 and uint16 values are divided by 255 and 65535, and prototypes given as an array with them; every
        other type is taken as it is. A CuPy array runs on the GPU.
    prototypes : int or (J, C) array
        One feature per label, in the units of the image ((J,) for grey images), or the number of labels, whose
        prototypes are then found by k-means.
    weights : (N, H, W) array, or sequence of them, optional
        Weight patches for this image, learned or bilateral; uniform 3×3 averaging if None. A sequence holds those of
        layers: linearized flows one after the other, (1.5)–(1.6).
    rho : float
        Scale of the data: the distance, in scaled image units, that matters.
    time : float, or sequence of float
        Integration time T, dimensionless; the larger, the smoother. A sequence holds that of each layer, which share
        their weights where these are no sequence; a number is the time of all layers together, in equal parts.
    integrator : Krylov, Taylor or Euler, optional
        Krylov() if None.
    channel_axis : int, optional
        The axis of the channels; the last one if None.

    Returns
    -------
    Labeling
        Arrays are in the library of `image`. float64 for float64 images, float32 otherwise.

    Raises
    ------
    ValueError, TypeError
        With the value, what is accepted and the next step.
    MemoryError
        If the image takes more memory than is free; the message says how much, and which tiles would fit.

    Examples
    --------
    >>> import gpulaf
    >>> scene = gpulaf.voronoi_colors(32, noise=0.2)
    >>> result = gpulaf.label(scene.image, scene.prototypes)
    >>> result.labels.shape, result.labels.dtype.name, result.probabilities.shape
    ((32, 32), 'uint8', (32, 32, 8))
    """
    features, scale = image_features(image, channel_axis)
    if not rho > 0:
        raise ValueError(f"rho is {rho}; accepted are positive numbers. 0.1 suits images with values in [0, 1].")
    layers = _layers(weights, time)
    values = prototype_array(prototypes, features, scale)
    longest = max(layers[1])
    check_memory(features, tuple(features.shape[:2]), len(values), integrator=integrator or Krylov(), time=longest)
    return _solve(log_likelihood(distances(features, values), rho), *layers, integrator)


def refine(
    probabilities: Any,
    *,
    weights: Any = None,
    rho: float = 1.0,
    time: float | Sequence[float] = 3.0,
    integrator: Integrator | None = None,
    label_axis: int = -1,
) -> Labeling:
    """Regularize the soft predictions of any classifier.

    Parameters
    ----------
    probabilities : (H, W, J) floating array
        Non-negative, summing to 1 over the labels (within 1e-3).
    weights, time, integrator
        As in :func:`label`.
    rho : float
        Temperature: ℓ = log(probabilities)/rho. Above 1 the predictions count for less.
    label_axis : int
        The axis of the labels.

    Returns
    -------
    Labeling

    Raises
    ------
    ValueError, TypeError
        With the value, what is accepted and the next step.
    MemoryError
        If the image takes more memory than is free; the message says how much, and which tiles would fit.
    """
    return _refine(log_probabilities(probabilities, label_axis), weights, rho, time, integrator)


def refine_logits(
    logits: Any,
    *,
    weights: Any = None,
    rho: float = 1.0,
    time: float | Sequence[float] = 3.0,
    integrator: Integrator | None = None,
    label_axis: int = -1,
) -> Labeling:
    """Regularize logits, the scores of a network before its softmax; see :func:`refine`.

    Parameters
    ----------
    logits : (H, W, J) floating array
        Finite; a constant per pixel changes nothing.
    weights, rho, time, integrator, label_axis
        As in :func:`refine`.

    Returns
    -------
    Labeling

    Raises
    ------
    ValueError, TypeError
        With the value, what is accepted and the next step.
    """
    return _refine(label_fields(logits, label_axis, "logits"), weights, rho, time, integrator)


def smallest_unsigned(labels: int) -> np.dtype[Any]:
    """The smallest unsigned dtype for label indices 0 … labels−1."""
    return np.min_scalar_type(labels - 1)


def _refine(fields: Any, weights: Any, rho: float, time: Any, integrator: Integrator | None) -> Labeling:
    if not rho > 0:
        raise ValueError(f"rho is {rho}; accepted are positive numbers. 1 takes the predictions as they are.")
    layers = _layers(weights, time)
    longest = max(layers[1])
    check_memory(fields, tuple(fields.shape[1:]), fields.shape[0], integrator=integrator or Krylov(), time=longest)
    centred = fields - namespace(fields).max(fields, axis=0, keepdims=True)
    return _solve(centred * float(1.0 / rho), *layers, integrator)


def _layers(weights: Any, time: Any) -> tuple[list[Any], list[float]]:
    """Weights, None for uniform ones, and time of each layer."""
    listed, time = isinstance(weights, (list, tuple)), getattr(time, "times", time)
    if not np.ndim(time) and not (listed and weights and all(getattr(x, "ndim", 0) > 2 for x in weights)):
        return [weights], [check_time(time)]
    times = [check_time(t) for t in (time if np.ndim(time) else [time / len(weights)] * len(weights))]
    own = list(weights) if listed else [weights] * len(times)
    if not times or len(own) != len(times):
        raise ValueError(
            f"there are {len(own)} weights and {len(times)} times; accepted are as many, one of each for every layer, "
            "or one array of weights that the layers share."
        )
    return own, times


def _solve(fields: Any, weights: list[Any], times: list[float], integrator: Integrator | None) -> Labeling:
    xp, shape = namespace(fields), tuple(fields.shape[1:])
    for omega in weights:
        if omega is not None:
            check_weights(omega if is_device_array(omega) else np.asarray(omega), shape)
    own = (uniform_weights(shape, dtype=host_dtype(fields)) if omega is None else omega for omega in weights)
    layers = [contiguous(like(omega, fields)) for omega in own]
    with np.errstate(over="ignore", invalid="ignore"):
        solution = DeepFlow(layers, times, integrator=integrator or Krylov()).solve(fields, keep_basis=False)
    parts = [part for _, part in solution.layers]
    error, products = sum(part.error for part in parts), sum(part.products for part in parts)
    if not (np.isfinite(error) and bool(xp.all(xp.isfinite(solution.v)))):  # synchronize
        raise ValueError(f"the flow overflows before time {sum(times)}. Take a shorter time: 1 to 5 are usual.")
    labels = xp.astype(xp.argmax(solution.v, axis=0), getattr(xp, smallest_unsigned(fields.shape[0]).name))
    probabilities = xp.permute_dims(softmax(solution.v), (1, 2, 0))
    return Labeling(labels, probabilities, error, products, all(part.converged for part in parts))
