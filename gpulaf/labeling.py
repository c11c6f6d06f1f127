"""The user's door: label an image, or refine the soft predictions of a classifier."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .array import contiguous, floating_dtype, host_array, host_dtype, is_device_array, is_host_array, like, namespace
from .averaging import Grid
from .distance import distances, kmeans_prototypes, log_likelihood
from .flow import LinearFlow
from .integrators import Krylov
from .integrators.solution import Integrator, check_time
from .memory import check_memory
from .patches import check_weights, uniform_weights
from .simplex import softmax

#: The next step for prototypes that are none.
NEXT = "Give one row per label with one value per channel."

__all__ = ["Labeling", "label", "refine", "refine_logits"]


class Labeling(NamedTuple):
    """A labeled image."""

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
    check_time(time)
    values = prototype_array(prototypes, features, scale)
    check_memory(features, tuple(features.shape[:2]), len(values), integrator=integrator or Krylov(), time=time)
    return _solve(log_likelihood(distances(features, values), rho), weights, time, integrator)


def refine(
    probabilities: Any,
    *,
    weights: Any = None,
    rho: float = 1.0,
    time: float = 3.0,
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
    time: float = 3.0,
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
    return _refine(_label_fields(logits, label_axis, "logits"), weights, rho, time, integrator)


def image_features(image: Any, channel_axis: int | None = None) -> tuple[Any, float]:
    """Check an image and bring it to (H, W, C) features in float32 or float64; also the factor it was scaled by."""
    image = _real_array(image, "image")
    if image.ndim not in (2, 3):
        raise ValueError(f"image has shape {tuple(image.shape)}; accepted are (H, W) and (H, W, C). Pass one image.")
    _check_size(image.shape, "image")
    xp = namespace(image)
    if image.ndim == 2:
        if channel_axis is not None:
            raise ValueError(
                f"channel_axis is {channel_axis}, but the image has no channels: its shape is "
                f"{tuple(image.shape)}. Leave channel_axis out."
            )
        image = image[..., None]
    else:
        image = xp.moveaxis(image, _axis(channel_axis if channel_axis is not None else -1, 3, "channel_axis"), -1)
    scale = {"uint8": 1 / 255, "uint16": 1 / 65535}.get(str(image.dtype), 1.0)
    features = xp.asarray(image, dtype=floating_dtype(image), copy=True) * scale if scale != 1 else contiguous(image)
    _check_finite(features, "image")
    return contiguous(features), scale


def log_probabilities(probabilities: Any, label_axis: int = -1) -> Any:
    """Check predictions and take their logarithm, finite even at 0: (H, W, J) to (J, H, W), float32 or float64."""
    fields = _label_fields(probabilities, label_axis, "probabilities")
    xp = namespace(fields)
    lowest, sums = float(xp.min(fields)), xp.sum(fields, axis=0)  # synchronize
    if lowest < 0:
        raise ValueError(
            f"probabilities go down to {lowest:.4g}; accepted are numbers from 0. For logits, use refine_logits."
        )
    worst = float(xp.max(xp.abs(sums - 1)))  # synchronize
    if worst > 1e-3:
        raise ValueError(
            f"probabilities miss a sum of 1 by up to {worst:.4g}; accepted is 0.001. "
            "Check label_axis, normalize them, or use refine_logits."
        )
    floor = float(xp.finfo(fields.dtype).smallest_normal)
    return xp.log(xp.clip(fields, floor, None))


def prototype_array(prototypes: Any, features: Any, scale: float = 1.0, *, seed: int = 0) -> np.ndarray:
    """Check prototypes against (H, W, C) features, or find that many by k-means: (J, C) float64 on the host."""
    scalar = not isinstance(prototypes, (list, tuple)) and np.ndim(prototypes) == 0 and not is_device_array(prototypes)
    if scalar and np.asarray(prototypes).dtype.kind not in "uif":
        raise TypeError(f"prototypes is {prototypes!r}; accepted are a number of labels or an array (J, C). {NEXT}")
    if scalar:
        if not np.isfinite(prototypes) or int(prototypes) != prototypes or not 2 <= prototypes <= 65536:
            raise ValueError(f"prototypes is {prototypes}; accepted are 2 to 65536 labels, or an array (J, C). {NEXT}")
        return kmeans_prototypes(features, int(prototypes), seed=seed)
    values = host_array(_real_array(prototypes, "prototypes")).astype(np.float64)
    channels = int(features.shape[-1])
    if values.ndim == 1 and channels == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != channels:
        hint = "Transpose them: labels first." if values.ndim == 2 and values.shape[0] == channels else ""
        hint = hint or "Give one row per label with one value per channel."
        raise ValueError(f"prototypes have shape {values.shape}; accepted is (J, {channels}) for this image. {hint}")
    if len(values) < 2:
        raise ValueError(f"prototypes hold {len(values)} label; accepted are at least 2. Add a row per label.")
    if not np.isfinite(values).all():
        raise ValueError("prototypes hold values that are not finite. Remove NaN and infinite values.")
    return values * scale


def smallest_unsigned(labels: int) -> np.dtype[Any]:
    """The smallest unsigned dtype for label indices 0 … labels−1."""
    return np.min_scalar_type(labels - 1)


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
    probabilities = xp.permute_dims(softmax(solution.v), (1, 2, 0))
    return Labeling(labels, probabilities, solution.error, solution.products, solution.converged)


def _label_fields(values: Any, label_axis: int, name: str) -> Any:
    """(J, H, W) contiguous floating fields from predictions with their labels on any axis."""
    values = _real_array(values, name)
    if values.ndim != 3:
        raise ValueError(
            f"{name} have shape {tuple(values.shape)}; accepted is (H, W, J). "
            "Pass one image, and name another order by label_axis."
        )
    xp = namespace(values)
    if not xp.isdtype(values.dtype, "real floating"):
        raise TypeError(f"{name} have dtype {values.dtype}; accepted are floating dtypes. Convert them first.")
    shape = values.shape
    values = xp.moveaxis(values, _axis(label_axis, 3, "label_axis"), 0)
    if values.shape[0] < 2:
        raise ValueError(
            f"{name} hold {values.shape[0]} label on axis {label_axis}; accepted are at least 2. Check label_axis; "
            "for the probability p of one class, stack [1 − p, p]."
        )
    _check_size(shape, name)
    fields = contiguous(values)
    _check_finite(fields, name)
    return fields


def _real_array(x: Any, name: str) -> Any:
    """An array of numbers, of the library it came in; sequences become NumPy arrays."""
    try:
        xp = namespace(x)
    except TypeError:
        try:
            x = np.asarray(x)
        except ValueError:
            raise ValueError(
                f"{name} is a sequence whose rows differ in length. Give every row as many values."
            ) from None
        xp = namespace(x)
    if is_host_array(x) and x.dtype.kind not in "buif":
        raise TypeError(f"{name} has dtype {x.dtype}; accepted are real numbers. Convert it first.")
    if is_host_array(x) and not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("="))
    if not is_host_array(x) and not xp.isdtype(x.dtype, ("bool", "integral", "real floating")):
        raise TypeError(f"{name} has dtype {x.dtype}; accepted are real numbers. Convert it first.")
    return x


def _axis(axis: int, ndim: int, name: str) -> int:
    if int(axis) != axis or not -ndim <= axis < ndim:
        raise ValueError(f"{name} is {axis}; accepted are {-ndim} to {ndim - 1}. Count the axes from 0.")
    return int(axis)


def _check_size(shape: tuple[int, ...], name: str) -> None:
    if 0 in shape:
        raise ValueError(
            f"{name} of shape {tuple(shape)} is empty; accepted is at least one pixel. Check how it was cut."
        )


def _check_finite(x: Any, name: str) -> None:
    xp = namespace(x)
    bad = ~xp.isfinite(x)
    if bool(xp.any(bad)):  # synchronize
        count = int(xp.sum(xp.astype(bad, xp.int64)))
        raise ValueError(
            f"{name} holds {count} value(s) that are NaN or infinite. Replace them, for example by a mask."
        )
