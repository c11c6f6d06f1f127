"""A loss of connectivity: pairs of foreground pixels, joined or parted by the weakest pixel of their maximin path.

With s_i = log(p_i/(1 − p_i)), p_i the probability of the foreground at pixel i, two pixels are as connected as the best
path between them, and a path is as good as its weakest pixel: max over paths of the min of s. Over the pairs of
foreground pixels of the truth,

    𝓛 = (1 − c)·mean over pairs in one segment of φ(−max min s) + c·mean over pairs in different ones of φ(max min s)

with φ(s) = log(1 + eˢ), the cross entropy of the statement "connected". Segments are the parts of the foreground that
faces connect. Paths of the first mean stay in the foreground of the truth, those of the second are free in it, as in
constrained MALIS (Turaga et al. 2009; Funke et al. 2018): the first lifts foreground only, the second lowers background
only. Both means are sums over pixels, each φ counting the pairs that its pixel decides (kernel ``maximin``); where no
two scores are equal, the derivative is that of φ with these counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logsumexp

from ..backend.array import host_array, like
from .boundary import check_grid
from .loss import Loss, cross_entropy_loss, known_truth

__all__ = ["ConnectivityLoss"]


@dataclass(frozen=True)
class ConnectivityLoss:
    """A loss of each pixel, and `weight` times that of the connectivity of the foreground.

    Pixels without ground truth count in no pair and connect what touches them. Work on connectivity runs on the host.

    Parameters
    ----------
    foreground : int or sequence of int
        Labels whose segments the others part, as cells between membranes; a tuple afterwards.
    weight : float
        Of the connectivity beside the loss of each pixel.
    merges : float
        c, the share of pairs in different segments beside those in one: more parts segments, less keeps them whole.
    loss : callable
        That of each pixel, as :func:`gpulaf.cross_entropy_loss`.
    """

    foreground: int | Sequence[int] = 1
    weight: float = 1.0
    merges: float = 0.5
    loss: Callable[..., Loss] = cross_entropy_loss

    def __post_init__(self) -> None:
        labels = np.atleast_1d(self.foreground)
        if labels.dtype.kind not in "ui" or labels.ndim > 1 or not labels.size or labels.min() < 0:
            raise ValueError(f"foreground is {self.foreground}; accepted are a label from 0, or several.")
        object.__setattr__(self, "foreground", tuple(sorted({int(x) for x in labels})))
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"weight is {self.weight}; accepted are numbers from 0. 1 is usual.")
        if not 0 <= self.merges <= 1:
            raise ValueError(f"merges is {self.merges}; accepted are shares from 0 to 1. 0.5 is usual.")

    def __call__(self, v: Any, truth: Any, *, class_weights: Any = None, batch: int = 0) -> Loss:
        """The loss of v (…, H, J, W) with truth (…, H, W), as :func:`gpulaf.cross_entropy_loss`."""
        options = {} if class_weights is None else {"class_weights": class_weights}
        own = self.loss(v, truth, **options | ({"batch": batch} if batch else {}))
        check_grid(v, batch)
        fields, labels = host_array(v).astype(np.float64), host_array(known_truth(truth))  # synchronize
        values, derivative = np.empty(fields.shape[:batch]), np.empty_like(fields)
        for image in np.ndindex(values.shape):
            values[image], derivative[image] = self.connectivity(fields[image], labels[image])
        value = own.value + self.weight * (values if batch else float(values))
        return Loss(value, own.derivative + like(self.weight * derivative, v))

    def connectivity(self, v: np.ndarray, truth: np.ndarray) -> Loss:
        """𝓛 of one image, (H, J, W) and (H, W), or volume, on the host; a mean without pairs is 0."""
        inside = np.isin(np.arange(v.shape[-2]), self.foreground)
        if inside.all() or inside.sum() != np.size(self.foreground):
            raise ValueError(
                f"foreground is {self.foreground}; accepted are some of the labels 0 to {len(inside) - 1}."
            )
        (up, ones), (down, others) = (_log_sum(v[..., where, :]) for where in (inside, ~inside))
        scores = up - down
        split, merge = decided_pairs(scores, np.isin(truth, self.foreground), truth < 0)
        split, merge = (1 - self.merges) * split, self.merges * merge
        value = (split * np.logaddexp(0, -scores) + merge * np.logaddexp(0, scores)).sum()
        slope = (merge * expit(scores) - split * expit(-scores))[..., None, :]
        derivative = np.empty_like(v)
        derivative[..., inside, :], derivative[..., ~inside, :] = slope * ones, -slope * others
        return Loss(float(value), derivative)


def decided_pairs(scores: np.ndarray, foreground: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of the pairs in one segment, and of those in different ones, that each pixel decides."""
    from ..kernels.maximin import pairs

    shape, count = (*(1,) * (3 - scores.ndim), *scores.shape), foreground.astype(np.int64)
    within = np.where(foreground, scores, np.where(unknown, np.inf, -np.inf))
    between = np.where(foreground | unknown, np.inf, scores)
    split, merge = (pairs(x.reshape(shape), count.reshape(shape)).reshape(scores.shape) for x in (within, between))
    merge[foreground | unknown] = 0
    return split / max(1, split.sum()), merge / max(1, merge.sum())


def _log_sum(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log Σ_j exp v_j over the labels of axis −2, and its derivative."""
    sums = logsumexp(v, axis=-2)
    return sums, np.exp(v - sums[..., None, :])
