"""Distances of features to label prototypes (2.15), and the log-likelihood field ℓ."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.array import empty, like, namespace
from ..backend.operands import check_floating
from ..backend.validation import Pixels, check_rho, real_array
from ..fields import field_shape, from_rows, to_rows
from ..simplex import softmax
from .metrics import Metric, check_finite, check_metric, distance, needs_check
from .prototypes import NEXT, SAMPLE

__all__ = ["beside", "distance_spread", "distances", "log_likelihood", "tempered"]


def distances(features: Any, prototypes: Any, metric: Metric = "euclidean", *, valid: Any = None) -> Any:
    """Distance of every pixel's feature to every prototype (2.15).

    Parameters
    ----------
    features : (H, W, C) floating array; (D, H, W, C) of a volume, (n, C) on a graph
    prototypes : (J, C) array
    metric : str or callable
        As SciPy's ``cdist`` names them: "euclidean"; "sqeuclidean", with which for ρ = 2σ² ℓ is the log-likelihood of
        normal noise of the standard deviation σ; "cityblock", "chebyshev"; "cosine" and "correlation", to which a pixel
        without a direction, as black, is as far from every prototype; on NumPy "braycurtis", "canberra" and
        "jensenshannon". Or a function of features (…, C) and a prototype (C,), in one library and dtype, that gives
        finite distances (…), each of its own pixel alone.
    valid : (H, W) array of bool, optional
        Pixels whose distances must be finite.

    Returns
    -------
    (H, J, W) array in the library and dtype of `features`; (D, H, J, W) of a volume, (J, n) on a graph.

    Raises
    ------
    ValueError
        If prototypes and features have another number of channels, or the metric is none of these or gives distances
        that are NaN or infinite.
    TypeError
        If the features are no array of floating numbers, or a GPU's and the metric SciPy's.
    """
    check_metric(metric)
    check_floating(features, "features", "(H, W, C), (D, H, W, C) or (n, C)")
    xp, prototypes = namespace(features), real_array(prototypes, "prototypes")
    if prototypes.ndim != 2 or prototypes.shape[0] < 1 or prototypes.shape[1] != features.shape[-1]:
        raise ValueError(
            f"prototypes have shape {tuple(prototypes.shape)}; accepted is (J, {features.shape[-1]}) for features of "
            f"shape {tuple(features.shape)}. {NEXT}"
        )
    channels, prototypes = to_rows(features), xp.asarray(prototypes, dtype=features.dtype)
    labels = prototypes.shape[0]
    result = empty(field_shape(features.shape[:-1], labels), features)
    for j in range(labels):
        result[..., j, :] = distance(channels, prototypes[j, :], metric)
    if needs_check(metric):
        check_finite(result, metric, valid)
    return result


def distance_spread(sample: Pixels, prototypes: np.ndarray, metric: Metric) -> float:
    """By how much the distances of a pixel of a sample to two prototypes differ at most; some pixels are looked at."""
    xp, channels = namespace(sample.features), sample.features.shape[-1]
    pixels = xp.reshape(sample.features, (-1, channels))
    if not pixels.shape[0]:
        return 0.0
    found = distances(pixels[:: max(1, pixels.shape[0] // SAMPLE), :], prototypes, metric)
    return float(xp.max(xp.max(found, axis=-2) - xp.min(found, axis=-2)))  # synchronize


def log_likelihood(distances: Any, rho: float) -> Any:
    """ℓ = −D/ρ, the log-likelihood of each label at each pixel, for a flow that starts at the barycenter (2.16).

    Parameters
    ----------
    distances : (H, J, W) floating array
    rho : float
        Scale of the data, in the units of the distances.

    Returns
    -------
    (H, J, W) array, same dtype and library.

    Raises
    ------
    ValueError, TypeError
        If the distances are no floating array, or rho is no positive number.
    """
    check_floating(distances, "distances", "(H, J, W), (D, H, J, W) or (J, n)")
    check_rho(rho)
    return distances * float(-1.0 / rho)


def beside(features: Any, log_likelihood: Any, rho: float) -> Any:
    """Channels of an image and the probabilities behind ℓ of all labels but the last: (H, W, C) to (H, W, C + J − 1).

    Parameters
    ----------
    features : (H, W, C) floating array
    log_likelihood : (H, J, W) array
        Of probabilities, over ρ.
    rho : float
    """
    p = from_rows(softmax(log_likelihood * float(rho)))[..., :-1]
    return namespace(features).concat([features, like(p, features)], axis=-1)


def tempered(logits: Any, rho: float) -> Any:
    """ℓ of the log-probabilities or logits of a classifier over the temperature ρ; its largest at each pixel is 0.

    Parameters
    ----------
    logits : (H, J, W) floating array
    rho : float

    Returns
    -------
    (H, J, W) array, same dtype and library.
    """
    return (logits - namespace(logits).max(logits, axis=-2, keepdims=True)) * float(1.0 / rho)
