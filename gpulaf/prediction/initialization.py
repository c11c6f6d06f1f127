"""Where the learning of a prediction starts: prototypes by k-means, tangent vectors by counting equal labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.array import host_array, like
from ..fields import from_rows
from ..kernels.stencil import offsets, shifted
from ..labeling.prototypes import kmeans_prototypes
from .dataset import Reader
from .model import Parameters
from .samples import Item, Samples, read_image_array

__all__ = ["feature_moments", "starting_parameters"]

#: Numbers of features that are clustered, at most.
CLUSTERED = 400_000


def starting_parameters(
    samples: Samples, reader: Reader, prototypes: int, radius: int, *, clean: Sequence[Any] | None = None, seed: int = 0
) -> tuple[Parameters, np.ndarray]:
    """Prototypes by k-means, tangent vectors by how often neighbors share the label, σ = 1.

    Prototypes are centres of the features of `clean` images; without them, raw patches are taken from the image
    that shows the mean value of its label at each pixel, other features from the image itself. With π_jo the share of
    the pixels of cluster j whose neighbor o has their own label (counts plus one of two, Laplace), ν_j = Π₀ log π_j:
    the weights of a pixel that lies on a prototype are proportional to π_j.

    Returns
    -------
    Parameters, (F,) array
        float64 on the host: at most that many prototypes, fewer where the features are fewer; and what the features
        of a callable are multiplied by, so that each has the standard deviation 1. Raw patches stay as they are.
    """
    from scipy.cluster.vq import vq

    parts: list[Any] = []
    for k in range(len(samples)):
        image = None if clean is None else clean[k]
        parts.append(_neighborhoods(samples[k], image, reader, radius, (seed, k, len(samples))))
    f, same, known = (np.concatenate(x) for x in zip(*parts, strict=True))
    scale = np.ones(f.shape[1])
    if callable(reader.features):
        scale = _unit_scale(f)
        f = f * scale
    distinct = len(np.unique(f, axis=0))
    centres = kmeans_prototypes(f[:, None, :], min(prototypes, distinct), seed=seed)
    member = vq(f, centres)[0]
    same, known = (np.stack([np.bincount(member, c, len(centres)) for c in x.T], axis=1) for x in (same, known))
    logs = np.log((same + 1) / (known + 2))
    return Parameters(centres, logs - logs.mean(axis=1, keepdims=True), 1.0), scale


def feature_moments(samples: Samples, reader: Reader, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the features times their scale, and the scale: one over the standard deviation, 1 for constant ones.

    Returns
    -------
    two (F,) float64 arrays on the host
    """
    f = np.concatenate(
        [_neighborhoods(samples[k], None, reader, 1, (seed, k, len(samples)))[0] for k in range(len(samples))]
    )
    scale = _unit_scale(f)
    return f.mean(axis=0) * scale, scale


def _unit_scale(f: np.ndarray) -> np.ndarray:
    """What makes the standard deviation of features (n, F) 1."""
    deviation = f.std(axis=0)
    return 1 / np.where(deviation > 1e-6 * np.abs(f).max(), deviation, 1.0)  # constant ones stay


def _neighborhoods(
    item: Item, clean: Any, reader: Reader, radius: int, seed: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of random pixels of one image, which neighbors share their label, and which have one: (n, F), (n, N)."""
    prepared = reader(item)
    image, labels = prepared.image, host_array(prepared.truth)
    if clean is not None:
        image = reader.pixels(read_image_array(clean, reader.axes), prepared.valid).features
        if tuple(image.shape[:-1]) != labels.shape:
            raise ValueError(f"clean image {seed[1]} has shape {tuple(image.shape)}; accepted is that of the image.")
    elif not callable(reader.features):
        means = reader.label_prototypes[labels.clip(0)]
        image = like(np.where(labels[..., None] >= 0, means, host_array(image)), image)
    f = host_array(reader.pixel_features(image, prepared.valid, prepared.log_likelihood))
    at = np.flatnonzero(labels >= 0)
    most = max(1, min(20_000, CLUSTERED // f.shape[-2]) // seed[2])
    at = np.random.default_rng(seed).choice(at, min(len(at), most), replace=False)
    there = (shifted(labels + 1, o, labels=False) for o in offsets(radius, labels.ndim))  # 0: none
    neighbors = np.stack([x.ravel()[at] for x in there], axis=1)
    f = from_rows(f).reshape(-1, f.shape[-2])[at].astype(np.float64)
    return f, neighbors == labels.ravel()[at, None] + 1, neighbors > 0
