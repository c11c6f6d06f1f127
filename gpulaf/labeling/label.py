"""Label an image, or refine the soft predictions of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..averaging.grid import Grid
from ..averaging.patches import check_weights, spaced_weights, uniform_weights
from ..backend.array import contiguous, host_dtype, is_device_array, like, namespace
from ..backend.memory import check_memory
from ..backend.validation import image_features, label_fields, log_probabilities, spatial_axes
from ..flows.assignment import LONGEST, AssignmentFlow
from ..flows.deep import DeepFlow, Layers
from ..integrators import Krylov
from ..integrators.base import Integrator, check_integrator, layer_times
from ..integrators.nonlinear import Scheme
from ..kernels.stencil import radius_of
from ..simplex import softmax
from .likelihood import distances, log_likelihood, prototype_array

__all__ = ["Labeling", "label", "refine", "refine_logits"]


class Labeling(NamedTuple):
    """A labeled image, or a volume with its D planes on a first axis."""

    #: (H, W) array of label indices, in the smallest unsigned type that holds them.
    labels: Any
    #: (H, W, J) array: the probability of every label, W(T).
    probabilities: Any
    #: Error of v relative to v, as the integrator states it, the sum of those of layers; with a scheme, the accepted
    #: error of one of its steps relative to 1 + ‖v‖_∞, NaN where the steps are fixed.
    error: float
    #: Products with A, or evaluations of the right-hand side, that were spent.
    products: int
    #: Whether the integrator met its tolerance; with a scheme, whether the flow came to rest: the mean entropy of the
    #: probabilities fell under a thousandth of log J, and the labels are their rounding.
    converged: bool
    #: Why it stopped, in one sentence.
    reason: str


def label(
    image: Any,
    prototypes: Any,
    *,
    weights: Any = None,
    rho: float = 0.1,
    time: float | Sequence[float] | None = None,
    integrator: Integrator | None = None,
    scheme: Scheme | None = None,
    channel_axis: int | None = None,
    spacing: tuple[float, ...] | None = None,
) -> Labeling:
    """Label every pixel by the linearized assignment flow (2.22), or by the nonlinear one (2.9).

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
    time : float or sequence of float, optional
        Integration time T, dimensionless; the larger, the smoother. 3 if None. A sequence holds that of each layer,
        which share their weights where these are no sequence; a number is the time of all layers together, in equal
        parts. With a scheme the longest time, 50 if None: the flow ends when it comes to rest.
    integrator : Krylov, Taylor or Euler, optional
        Of the linearized flow; Krylov() if None.
    scheme : GeometricEuler, DormandPrince or LinearizedFlows, optional
        Of the nonlinear flow, which is solved instead of the linearized one.
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
    FloatingPointError
        If the nonlinear flow overflows: the steps of its scheme are far too long.

    Examples
    --------
    >>> import gpulaf
    >>> scene = gpulaf.voronoi_colors(32, noise=0.2)
    >>> result = gpulaf.label(scene.image, scene.prototypes)
    >>> result.labels.shape, result.labels.dtype.name, result.probabilities.shape
    ((32, 32), 'uint8', (32, 32, 8))
    >>> gpulaf.label(scene.image, scene.prototypes, scheme=gpulaf.DormandPrince()).converged
    True
    """
    features, scale = image_features(image, channel_axis, spatial_axes(spacing))
    if not rho > 0:
        raise ValueError(f"rho is {rho}; accepted are positive numbers. 0.1 suits images with values in [0, 1].")
    solver, layers = _solver(integrator, scheme), _layers(weights, time, scheme, spacing)
    values = prototype_array(prototypes, features, scale)
    _check_memory(features, tuple(features.shape[:-1]), len(values), solver, *layers)
    return _solve(log_likelihood(distances(features, values), rho), *layers, solver, spacing)


def refine(
    probabilities: Any,
    *,
    weights: Any = None,
    rho: float = 1.0,
    time: float | Sequence[float] | None = None,
    integrator: Integrator | None = None,
    scheme: Scheme | None = None,
    label_axis: int = -1,
    spacing: tuple[float, ...] | None = None,
) -> Labeling:
    """Regularize the soft predictions of any classifier.

    Parameters
    ----------
    probabilities : (H, W, J) floating array, of a volume with its spacing (D, H, W, J)
        Non-negative, summing to 1 over the labels (within 1e-3).
    weights, time, integrator, scheme, spacing
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
    return _refine(fields, rho, _layers(weights, time, scheme, spacing), _solver(integrator, scheme), spacing)


def refine_logits(
    logits: Any,
    *,
    weights: Any = None,
    rho: float = 1.0,
    time: float | Sequence[float] | None = None,
    integrator: Integrator | None = None,
    scheme: Scheme | None = None,
    label_axis: int = -1,
    spacing: tuple[float, ...] | None = None,
) -> Labeling:
    """Regularize logits, the scores of a network before its softmax; see :func:`refine`.

    Parameters
    ----------
    logits : (H, W, J) floating array, of a volume with its spacing (D, H, W, J)
        Finite; a constant per pixel changes nothing.
    weights, rho, time, integrator, scheme, label_axis, spacing
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
    return _refine(fields, rho, _layers(weights, time, scheme, spacing), _solver(integrator, scheme), spacing)


def smallest_unsigned(labels: int) -> np.dtype[Any]:
    """The smallest unsigned dtype for label indices 0 … labels−1."""
    return np.min_scalar_type(labels - 1)


def _solver(integrator: Integrator | None, scheme: Scheme | None) -> Any:
    """The integrator of linearized flows or the scheme of the nonlinear one."""
    if integrator is not None and scheme is not None:
        raise ValueError(
            f"integrator is {integrator} and scheme is {scheme}; accepted is one of them. A scheme of linearized flows "
            "takes an integrator itself: LinearizedFlows(integrator=...)."
        )
    if integrator is not None:
        check_integrator(integrator, "Pass a scheme of the nonlinear flow as scheme.")
    if scheme is not None and not hasattr(scheme, "step"):
        raise TypeError(
            f"scheme is {scheme!r}; accepted are GeometricEuler, DormandPrince and LinearizedFlows. Pass an integrator "
            "of the linearized flow as integrator."
        )
    return scheme or integrator or Krylov()


def _layers(weights: Any, time: Any, scheme: Scheme | None, spacing: Any) -> tuple[Any, float | list[float]]:
    """Weights, None for uniform ones, or a list of those of layers; and the time, or a list of that of each layer."""
    # a list of patches or of None holds layers; one of planes or numbers is a field of patches itself
    axes = spatial_axes(spacing)
    listed = isinstance(weights, (list, tuple)) and all(x is None or getattr(x, "ndim", 0) > axes for x in weights)
    if not listed and weights is not None and not hasattr(weights, "ndim"):
        weights = np.asarray(weights)
    if time is None:
        time = 3.0 if scheme is None else LONGEST
    times = layer_times(time, weights)
    if scheme is not None and isinstance(times, list):
        raise ValueError(
            f"there are layers and the scheme {scheme}; accepted is one of them. The nonlinear flow has one field of "
            "weights and one time."
        )
    return weights, times


def _check_memory(
    array: Any, shape: tuple[int, ...], labels: int, solver: Any, weights: Any, times: float | list[float]
) -> None:
    """Refuse what cannot fit, by all of the layers and the largest of their patches."""
    listed = isinstance(weights, (list, tuple))
    radii = [radius_of(omega) for omega in (weights if listed else [weights]) if getattr(omega, "ndim", 0) > len(shape)]
    time = Layers(tuple(times), shared=not listed) if isinstance(times, list) else times
    check_memory(array, shape, labels, integrator=solver, time=time, radius=max(radii, default=1))


def _refine(fields: Any, rho: float, layers: tuple[Any, float | list[float]], solver: Any, spacing: Any) -> Labeling:
    if not rho > 0:
        raise ValueError(f"rho is {rho}; accepted are positive numbers. 1 takes the predictions as they are.")
    _check_memory(fields, tuple(fields.shape[1:]), fields.shape[0], solver, *layers)
    centred = fields - namespace(fields).max(fields, axis=0, keepdims=True)
    return _solve(centred * float(1.0 / rho), *layers, solver, spacing)


def _solve(fields: Any, weights: Any, times: float | list[float], solver: Any, spacing: Any) -> Labeling:
    listed, shape = isinstance(weights, (list, tuple)), tuple(fields.shape[1:])
    for omega in weights if listed else [weights]:
        if omega is not None:
            check_weights(omega if is_device_array(omega) else np.asarray(omega), shape)
    plain = uniform_weights if spacing is None else partial(spaced_weights, spacing=spacing)

    def patches(omega: Any) -> Any:
        return contiguous(like(plain(shape, dtype=host_dtype(fields)) if omega is None else omega, fields))

    own = [patches(omega) for omega in weights] if listed else patches(weights)
    with np.errstate(over="ignore", invalid="ignore"):
        if hasattr(solver, "step"):
            end = AssignmentFlow(Grid(own), fields).solve(solver, time=times)  # type: ignore[arg-type]
            return _labeling(end.v, solver.accuracy, end.evaluations, end.converged, end.reason)
        every = times if isinstance(times, list) else [times]
        solution = DeepFlow(own, every, integrator=solver).solve(fields, keep_basis=False)
    return _labeling(solution.v, *solution.summary)


def _labeling(v: Any, *found: Any) -> Labeling:
    """Round and normalize v; `found` are the remaining entries."""
    xp = namespace(v)
    labels = xp.astype(xp.argmax(v, axis=0), getattr(xp, smallest_unsigned(v.shape[0]).name))
    return Labeling(labels, xp.moveaxis(softmax(v), 0, -1), *found)
