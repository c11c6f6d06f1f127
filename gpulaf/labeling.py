"""Label an image, or refine the soft predictions of a classifier."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .array import contiguous, host_dtype, is_device_array, like, namespace
from .averaging import Grid
from .distance import distances, log_likelihood
from .door import image_features, label_fields, log_probabilities, prototype_array, spatial_axes
from .flow import LinearFlow
from .integrators import Krylov
from .integrators.solution import Integrator, check_time
from .memory import check_memory
from .patches import check_weights, spaced_weights, uniform_weights
from .simplex import softmax

__all__ = ["Labeling", "label", "refine", "refine_logits"]


class Labeling(NamedTuple):
    """A labeled image, or a volume with its D planes on a first axis."""

    #: (H, W) array of label indices, in the smallest unsigned type that holds them.
    labels: Any
    #: (H, W, J) array: the probability of every label, W(T).
    probabilities: Any
    #: Error of v relative to v, as the integrator states it.
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
    time: float = 3.0,
    integrator: Integrator | None = None,
    channel_axis: int | None = None,
    spacing: tuple[float, ...] | None = None,
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
    weights : (N, H, W) array, optional
        Weight patches for this image, learned or bilateral; uniform 3×3 averaging if None.
    rho : float
        Scale of the data: the distance, in scaled image units, that matters.
    time : float
        Integration time T, dimensionless; the larger, the smoother.
    integrator : Krylov, Taylor or Euler, optional
        Krylov() if None.
    channel_axis : int, optional
        The axis of the channels; the last one if None.
    spacing : (sy, sx) or (sz, sy, sx), optional
        Distance of the pixels on each axis, which uniform averaging then respects; see :func:`gpulaf.spaced_weights`.
        Three numbers say that the image is a volume, (D, H, W) or (D, H, W, C): of three axes alone it does not show
        whether the last one holds channels. Weights then are (N, D, H, W).

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
    features, scale = image_features(image, channel_axis, spatial_axes(spacing))
    if not rho > 0:
        raise ValueError(f"rho is {rho}; accepted are positive numbers. 0.1 suits images with values in [0, 1].")
    check_time(time)
    values = prototype_array(prototypes, features, scale)
    check_memory(features, tuple(features.shape[:-1]), len(values), integrator=integrator or Krylov(), time=time)
    fields = log_likelihood(distances(features, values), rho)
    return _solve(fields, _spaced(weights, spacing, fields), time, integrator)


def refine(
    probabilities: Any,
    *,
    weights: Any = None,
    rho: float = 1.0,
    time: float = 3.0,
    integrator: Integrator | None = None,
    label_axis: int = -1,
    spacing: tuple[float, ...] | None = None,
) -> Labeling:
    """Regularize the soft predictions of any classifier.

    Parameters
    ----------
    probabilities : (H, W, J) floating array, of a volume with its spacing (D, H, W, J)
        Non-negative, summing to 1 over the labels (within 1e-3).
    weights, time, integrator, spacing
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
    fields = log_probabilities(probabilities, label_axis, spatial_axes(spacing))
    return _refine(fields, _spaced(weights, spacing, fields), rho, time, integrator)


def refine_logits(
    logits: Any,
    *,
    weights: Any = None,
    rho: float = 1.0,
    time: float = 3.0,
    integrator: Integrator | None = None,
    label_axis: int = -1,
    spacing: tuple[float, ...] | None = None,
) -> Labeling:
    """Regularize logits, the scores of a network before its softmax; see :func:`refine`.

    Parameters
    ----------
    logits : (H, W, J) floating array, of a volume with its spacing (D, H, W, J)
        Finite; a constant per pixel changes nothing.
    weights, rho, time, integrator, label_axis, spacing
        As in :func:`refine`.

    Returns
    -------
    Labeling

    Raises
    ------
    ValueError, TypeError
        With the value, what is accepted and the next step.
    """
    fields = label_fields(logits, label_axis, "logits", spatial_axes(spacing))
    return _refine(fields, _spaced(weights, spacing, fields), rho, time, integrator)


def smallest_unsigned(labels: int) -> np.dtype[Any]:
    """The smallest unsigned dtype for label indices 0 … labels−1."""
    return np.min_scalar_type(labels - 1)


def _spaced(weights: Any, spacing: Any, fields: Any) -> Any:
    """The weights; where there are none but a spacing, uniform averaging that respects it."""
    if weights is not None or spacing is None:
        return weights
    return spaced_weights(tuple(fields.shape[1:]), spacing, dtype=host_dtype(fields))


def _refine(fields: Any, weights: Any, rho: float, time: float, integrator: Integrator | None) -> Labeling:
    if not rho > 0:
        raise ValueError(f"rho is {rho}; accepted are positive numbers. 1 takes the predictions as they are.")
    check_time(time)
    check_memory(fields, tuple(fields.shape[1:]), fields.shape[0], integrator=integrator or Krylov(), time=time)
    centred = fields - namespace(fields).max(fields, axis=0, keepdims=True)
    return _solve(centred * float(1.0 / rho), weights, time, integrator)


def _solve(fields: Any, weights: Any, time: float, integrator: Integrator | None) -> Labeling:
    xp, shape = namespace(fields), tuple(fields.shape[1:])
    if weights is None:
        weights = uniform_weights(shape, dtype=host_dtype(fields))
    else:
        check_weights(weights if is_device_array(weights) else np.asarray(weights), shape)
    flow = LinearFlow(Grid(contiguous(like(weights, fields))), fields)
    with np.errstate(over="ignore", invalid="ignore"):
        solution = (integrator or Krylov()).solve(flow, time, keep_basis=False)
    if not (np.isfinite(solution.error) and bool(xp.all(xp.isfinite(solution.v)))):  # synchronize
        raise ValueError(f"the flow overflows before time {time}. Take a shorter time: 1 to 5 are usual.")
    labels = xp.astype(xp.argmax(solution.v, axis=0), getattr(xp, smallest_unsigned(fields.shape[0]).name))
    probabilities = xp.moveaxis(softmax(solution.v), 0, -1)
    return Labeling(labels, probabilities, solution.error, solution.products, solution.converged)
