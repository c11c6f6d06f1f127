"""Label an image, or refine the soft predictions of a classifier, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..integrators.base import Integrator
from ..integrators.nonlinear import Scheme
from ..integrators.taylor import Taylor
from .labeler import Labeler, Labeling
from .metrics import Metric
from .uncertainty import Uncertainty

__all__ = ["label", "refine", "refine_logits"]


def label(
    image: Any,
    prototypes: Any,
    *,
    weights: Any = None,
    rho: float = 0.1,
    time: float | Sequence[float] | None = None,
    solver: Integrator | Scheme = Taylor(),
    channel_axis: int | None = -1,
    mask: Any = None,
    range: tuple[float, float] | None = None,
    metric: Metric = "euclidean",
    prior: Any = None,
    spacing: tuple[float, ...] | None = None,
    uncertainty: Uncertainty | bool | None = None,
) -> Labeling:
    """Label every pixel by the linearized assignment flow (2.22), or by the nonlinear one (2.9).

    Parameters
    ----------
    image : (H, W) or (H, W, C) array of any real dtype and memory order
        Integers of up to 16 bits are divided by the largest value of their type, 255 of uint8, and prototypes given as
        an array with them; larger ones need a `range`, and floats are taken as they are. A volume is (D, H, W, C), or
        (D, H, W) with ``channel_axis=None``; on a graph, features (n, C) or (n,). A CuPy array runs on the GPU. What is
        masked in a masked array is no data. Tensors of torch become NumPy arrays, on a GPU CuPy arrays; axes that
        xarray names are found by their names, whatever their order.
    prototypes, weights, rho, time, solver, range, metric, prior, uncertainty
        As of a :class:`gpulaf.Labeler`, which describes a labeling once for many images.
    channel_axis : int or None
        The axis of the channels; None where every axis is spatial. An array with two axes is a grey image.
    mask : (H, W) array of bool, optional
        True where a pixel is valid; of a volume (D, H, W), on a graph (n,). Others are as outside the image: k-means
        does not see them, no neighbor looks at them, whatever their values, NaN included. Their labels are the largest
        value of the type, their probabilities NaN.
    spacing : (sy, sx) or (sz, sy, sx), optional
        Distance of the pixels on each axis, which uniform averaging then respects; see
        :func:`gpulaf.averaging.spaced_weights`.

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

    Warns
    -----
    DataWarning
        If the values of the image do not go with its range, rho or the prototypes, or no pixel got some label.

    Examples
    --------
    >>> import gpulaf
    >>> scene = gpulaf.scenes.voronoi_colors(32, noise=0.2)
    >>> result = gpulaf.label(scene.image, scene.prototypes)
    >>> result.labels.shape, result.labels.dtype.name, result.probabilities.shape
    ((32, 32), 'uint8', (32, 32, 8))
    >>> gpulaf.label(scene.image, scene.prototypes, solver=gpulaf.DormandPrince()).converged
    True
    """
    options: dict[str, Any] = {"range": range, "metric": metric, "prior": prior, "uncertainty": uncertainty}
    labeler = Labeler(prototypes, weights, rho, time, solver, **options)
    return labeler(image, channel_axis=channel_axis, mask=mask, spacing=spacing)


def refine(
    probabilities: Any,
    *,
    weights: Any = None,
    rho: float = 1.0,
    time: float | Sequence[float] | None = None,
    solver: Integrator | Scheme = Taylor(),
    image: Any = None,
    label_axis: int = -1,
    channel_axis: int | None = -1,
    mask: Any = None,
    normalize: bool = False,
    range: tuple[float, float] | None = None,
    spacing: tuple[float, ...] | None = None,
    uncertainty: Uncertainty | bool | None = None,
) -> Labeling:
    """Regularize the soft predictions of any classifier.

    Parameters
    ----------
    probabilities : (H, W, J) floating array; (D, H, W, J) of a volume, (n, J) on a graph
        Non-negative, summing to 1 over the labels (within 1e-3); 0 and 1 of any type, too. What is masked in a masked
        array is no data.
    weights, time, solver
        As of a :class:`gpulaf.Labeler`.
    rho : float
        Temperature: ℓ = log(probabilities)/rho. Above 1 the predictions count for less.
    image : (H, W) or (H, W, C) array, optional
        What weights are made from, where they are a map from an image to its weights.
    label_axis : int
        The axis of the labels.
    channel_axis : int or None
        The axis of the channels of `image`.
    mask : (H, W) array of bool, optional
        As in :func:`label`.
    normalize : bool
        Divide the predictions of every pixel by their sum first.
    range : (low, high), optional
        The values of `image` that become 0 and 1; see :class:`gpulaf.Labeler`.
    spacing : (sy, sx) or (sz, sy, sx), optional
        As in :func:`label`.
    uncertainty : Uncertainty, optional
        As of a :class:`gpulaf.Labeler`, with the noise of the logits as its sigma.

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
    labeler = Labeler(None, weights, rho, time, solver, range=range, uncertainty=uncertainty)
    options = {"image": image, "label_axis": label_axis, "channel_axis": channel_axis, "mask": mask, "spacing": spacing}
    return labeler.refine(probabilities, normalize=normalize, **options)


def refine_logits(
    logits: Any,
    *,
    weights: Any = None,
    rho: float = 1.0,
    time: float | Sequence[float] | None = None,
    solver: Integrator | Scheme = Taylor(),
    image: Any = None,
    label_axis: int = -1,
    channel_axis: int | None = -1,
    mask: Any = None,
    range: tuple[float, float] | None = None,
    spacing: tuple[float, ...] | None = None,
    uncertainty: Uncertainty | bool | None = None,
) -> Labeling:
    """Regularize logits, the scores of a network before its softmax.

    Parameters
    ----------
    logits : (H, W, J) floating array; (D, H, W, J) of a volume, (n, J) on a graph
        Finite; a constant per pixel changes nothing.
    weights, rho, time, solver, image, label_axis, channel_axis, mask, range, spacing, uncertainty
        As in :func:`refine`.

    Returns
    -------
    Labeling

    Raises
    ------
    ValueError, TypeError, MemoryError
        As in :func:`refine`.
    """
    labeler = Labeler(None, weights, rho, time, solver, range=range, uncertainty=uncertainty)
    options = {"image": image, "label_axis": label_axis, "channel_axis": channel_axis, "mask": mask, "spacing": spacing}
    return labeler.refine_logits(logits, **options)
