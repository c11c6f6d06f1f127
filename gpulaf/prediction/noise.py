"""What noise does to labels: their means under it, and how often it makes one label of another."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..labeling.likelihood import distances

__all__ = ["label_noise", "mixture_means"]

#: The most steps towards the means of a mixture, and the step in σ that is small.
STEPS, SMALL = 500, 1e-4

#: Draws for each label.
DRAWS = 50_000


def mixture_means(pixels: np.ndarray, means: np.ndarray, variance: float) -> np.ndarray:
    """Means of a mixture of normal distributions of one known variance, by expectation and maximization.

    Those of k-means are drawn to where values overlap, and split a frequent label rather than find a rare one: it takes
    every pixel for one of the nearest mean.

    Parameters
    ----------
    pixels : (n, C) array
    means : (J, C) array
        Where to start.
    variance : float
        σ² of each channel.

    Returns
    -------
    (J, C) float64 array
    """
    pixels, shares = np.asarray(pixels, np.float64), np.full(len(means), 1 / len(means))
    squares = (pixels**2).sum(axis=1, keepdims=True)
    for _ in range(STEPS):
        logs = np.log(shares) - (squares - 2 * pixels @ means.T + (means**2).sum(axis=1)) / (2 * variance)
        p = np.exp(logs - logs.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        counts = p.sum(axis=0) + 1e-9  # a label that no pixel is of stays where it is
        before, means, shares = means, (p.T @ pixels + 1e-9 * means) / counts[:, None], counts / counts.sum()
        if np.abs(means - before).max() < SMALL * variance**0.5:
            break
    return means


def label_noise(prototypes: Any, sigma: float, metric: str = "euclidean", *, seed: int = 0) -> np.ndarray:
    """How often pixelwise labels are taken for others: Q_jk = P(nearest prototype is j | label k, normal noise).

    Parameters
    ----------
    prototypes : (J, C) array
    sigma : float
        Standard deviation of the noise of each channel, in their units.
    metric : str
        Distance to prototypes, as in :class:`gpulaf.Labeler`.
    seed : int
        Of 50 000 draws of each label.

    Returns
    -------
    (J, J) float64 array
        Columns with the sum 1. No entry is 0: each counts one draw more than there were.

    Examples
    --------
    >>> import gpulaf
    >>> gpulaf.prediction.label_noise([[0.0], [1.0]], 0.3).round(2).tolist()
    [[0.95, 0.05], [0.05, 0.95]]
    """
    prototypes, rng = np.asarray(prototypes, np.float64), np.random.default_rng(seed)
    labels, channels = prototypes.shape
    noise = sigma * rng.standard_normal((DRAWS, channels))
    columns = []
    for prototype in prototypes:
        nearest = distances(prototype + noise, prototypes, metric).argmin(axis=0)
        columns.append((np.bincount(nearest, minlength=labels) + 1) / (DRAWS + labels))
    return np.stack(columns, axis=1)
