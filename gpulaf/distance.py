"""Distances of features to label prototypes (2.15), prototypes by k-means, and the log-likelihood field ℓ."""

from __future__ import annotations

from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from .array import host_array, namespace

__all__ = ["distances", "kmeans_prototypes", "log_likelihood"]


def distances(features: Any, prototypes: Any) -> Any:
    """Euclidean distance (not squared) of every pixel's feature to every prototype (2.15).

    Parameters
    ----------
    features : (H, W, C) floating array
    prototypes : (J, C) array

    Returns
    -------
    (J, H, W) array in the library and dtype of `features`.
    """
    xp = namespace(features)
    prototypes = xp.asarray(prototypes, dtype=features.dtype)
    return xp.stack([xp.sqrt(xp.sum((features - prototypes[j, :]) ** 2, axis=-1)) for j in range(prototypes.shape[0])])


def log_likelihood(distances: Any, rho: float) -> Any:
    """ℓ = −D/ρ, the log-likelihood of each label at each pixel, for a flow that starts at the barycenter (2.16).

    Parameters
    ----------
    distances : (J, H, W) floating array
    rho : float
        Scale of the data, in the units of the distances.

    Returns
    -------
    (J, H, W) array, same dtype and library.
    """
    return distances * float(-1.0 / rho)


def kmeans_prototypes(features: Any, labels: int, *, seed: int = 0, sample: int = 20_000) -> np.ndarray:
    """Label prototypes as k-means centres of the pixels' features, the largest cluster first.

    Parameters
    ----------
    features : (H, W, C) floating array
    labels : int
        J, the number of prototypes.
    seed : int
        Of the sample and of the initial centres (k-means++).
    sample : int
        Pixels that are clustered at most.

    Returns
    -------
    (J, C) float64 array on the host.

    Raises
    ------
    ValueError
        If the image has fewer than J different features.
    """
    rng = np.random.default_rng(seed)
    pixels = host_array(features).reshape(-1, features.shape[-1]).astype(np.float64)
    chosen = pixels if len(pixels) <= sample else pixels[rng.choice(len(pixels), sample, replace=False)]
    colors, counts = np.unique(chosen, axis=0, return_counts=True)
    if len(colors) <= labels and chosen is not pixels:  # rare colors may be missing from the sample
        chosen = pixels
        colors, counts = np.unique(pixels, axis=0, return_counts=True)
    if len(colors) < labels:
        raise ValueError(
            f"{labels} prototypes were asked for, but the image has only {len(colors)} different values. Ask for fewer."
        )
    if len(colors) == labels:
        return colors[np.argsort(-counts, kind="stable")]
    return min((_cluster(chosen, labels, rng) for _ in range(4)), key=lambda result: result[0])[1]


def _cluster(pixels: np.ndarray, labels: int, rng: np.random.Generator) -> tuple[float, np.ndarray]:
    """One run of k-means: the squared error, infinite if a cluster ran empty, and the centres, largest first."""
    from scipy.cluster.vq import kmeans2

    with catch_warnings():
        simplefilter("ignore")  # an empty cluster is told by its infinite error
        centres, members = kmeans2(pixels, labels, iter=30, minit="++", rng=rng)
    sizes = np.bincount(members, minlength=labels)
    error = float(((pixels - centres[members]) ** 2).sum()) if sizes.min() else np.inf
    return error, centres[np.argsort(-sizes, kind="stable")]
