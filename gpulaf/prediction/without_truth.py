"""Learning without ground truth: what is known of the labels and their noise, from the images alone.

The value of a hidden pixel is no part of what its labeling is computed from. For noise that is independent between
pixels, its noisy pixelwise label y then follows P(y = j | rest) = Σ_k Q_jk P(k | rest), and −log (Q W)_y is lowest
where W is P(k | rest). Hiding pixels for that is of Krull, Buchholz, Jug, Noise2Void, CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.array import host_array
from ..backend.numbers import check_number
from ..backend.validation import Pixels, image_features
from ..io.prototypes import PrototypeTable
from ..labeling.likelihood import distances
from ..labeling.noise import check_sigma, noise_deviation
from ..labeling.prototypes import check_label_count, kmeans_prototypes, prototype_array, shared_sample
from ..learning.loss import check_transition, cosine_loss, cross_entropy_loss
from .noise import label_noise, mixture_means
from .samples import Samples, channel_axis, read_item
from .statistics import Survey, collected
from .training import Training

__all__ = ["check_labels_known", "survey_without_truth"]


def survey_without_truth(
    samples: Samples,
    prototypes: Any,
    noise: Any = None,
    *,
    metric: str = "euclidean",
    bounds: tuple[float, float] | None = None,
    seed: int = 0,
) -> tuple[Survey, np.ndarray]:
    """Read every image: label prototypes, the variance of the noise, and how often it changes pixelwise labels.

    Parameters
    ----------
    samples : Samples
        Without truths.
    prototypes : int, (J, C) array or gpulaf.io.PrototypeTable
        A number: a mixture of normal distributions over all images, from where k-means ends.
    noise : float or (J, J) array, optional
        Standard deviation in scaled image units, 0 to 1, or Q itself; by the differences of neighbors if None.
    metric : str
    bounds : (low, high), optional
        The values of images that become 0 and 1.
    seed : int

    Returns
    -------
    Survey, (J, J) float64 array
        Labels by number or by the values that a table gives them, their pixels by pixelwise labels; and Q, how often
        the noise makes label j of label k, columns with the sum 1.
    """
    found = collected(samples, bounds)
    matrix = noise is not None and np.ndim(noise) > 0
    if noise is None or matrix:
        variances = [noise_deviation(*_on_host(samples, k, bounds)) ** 2 for k in range(len(samples))]
        variance = float(np.nanmean(variances)) if np.isfinite(variances).any() else 0.0
        if not variance > 0 and not matrix:
            raise ValueError(
                "no two by two pixels of the images show noise that could be told; accepted is its standard deviation. "
                "Pass noise."
            )
    else:
        sigma = check_number(noise, "noise", usual="It is a standard deviation in image units scaled from 0 to 1.")
        check_sigma(sigma, found.range, "noise")
        variance = sigma**2
    values, prototypes = _prototypes(samples, prototypes, bounds, found.range, variance, seed)
    if matrix:
        transition = check_transition(noise, len(prototypes), "noise")
    else:
        transition = label_noise(prototypes, variance**0.5, metric)
    counts = np.zeros(len(prototypes), np.int64)
    for k in range(len(samples)):
        features, valid = _on_host(samples, k, bounds)
        labels = distances(features, prototypes, metric, valid=valid).argmin(axis=-2)
        counts += np.bincount(labels.ravel() if valid is None else labels[valid], minlength=len(counts))
    known = Survey(values, counts, prototypes, found.digest, variance, found.range, found.extremes)
    return known, transition


def check_labels_known(truths: Any, without: dict[str, Any], with_truth: dict[str, Any], training: Training) -> None:
    """Raise an error for arguments of a fit that do not go with truths, or without them.

    Parameters
    ----------
    truths : sequence, optional
    without, with_truth : dict
        Arguments by name, with their values, that are for images without truths, and for images with them.
    training : Training
    """
    if truths is not None:
        if any(value is not None for value in without.values()):
            raise ValueError(
                f"{' and '.join(without)} are of images without truths, and there are some. Leave them out."
            )
        return
    if without["prototypes"] is None:
        raise ValueError(
            "there are neither truths nor prototypes; accepted are truths, or without them a number of labels or one "
            "row for each as prototypes. Pass prototypes to learn from the images alone."
        )
    given = [name for name, value in with_truth.items() if value is not None]
    if given:
        why = ": the errors of a classifier are not independent between pixels" if given[0] == "probabilities" else ""
        raise ValueError(f"{given[0]} goes with truths, and there are none{why}. Leave {given[0]} out, or give truths.")
    if training.balanced:
        raise ValueError("balanced is True, and without truths the classes are not known. Leave balanced out.")
    if training.loss not in (cosine_loss, cross_entropy_loss):
        raise ValueError(
            f"loss is {training.loss!r}; without truths the loss is gpulaf.learning.NoisyLabelLoss of the hidden "
            "pixels. Leave loss out."
        )


def _prototypes(
    samples: Samples,
    prototypes: Any,
    bounds: tuple[float, float] | None,
    unit: tuple[float, float],
    variance: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Values of the labels, sorted, and scaled prototypes (J, C)."""
    table = prototypes if isinstance(prototypes, PrototypeTable) else PrototypeTable(prototypes)
    rows = table.prototypes
    if np.ndim(rows) == 0 and not isinstance(rows, Sequence):
        check_label_count(np.asarray(rows).item())
        images = (_pixels(samples, k, bounds) for k in range(len(samples)))
        pixels, _ = shared_sample(images, [samples.called(k) for k in range(len(samples))], seed=seed)
        start = kmeans_prototypes(pixels, int(rows), seed=seed)
        scaled = mixture_means(pixels, start, variance) if variance > 0 else start
    else:
        scaled = prototype_array(rows, _pixels(samples, 0, bounds).features, unit)
    values = np.arange(len(scaled)) if table.values is None else np.asarray(table.values, np.int64)
    order = np.argsort(values)
    return values[order].astype(np.int64), scaled[order]


def _pixels(samples: Samples, k: int, bounds: tuple[float, float] | None) -> Pixels:
    """The k-th image, scaled."""
    image, _, _, valid = read_item(samples[k])
    return image_features(image, channel_axis(image, samples.axes), mask=valid, range=bounds)


def _on_host(samples: Samples, k: int, bounds: tuple[float, float] | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Features (H, W, C) of the k-th image and its valid pixels, on the host."""
    pixels = _pixels(samples, k, bounds)
    return host_array(pixels.features), None if pixels.valid is None else host_array(pixels.valid)
