"""Losses of a labeling v against ground truth, with their derivatives, and the regularizer of the weights.

Truth is an (H, W) array of labels 0 … J−1; −1 marks pixels without ground truth, which do not count.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .array import like, namespace, total
from .simplex import softmax
from .vectors import norm

__all__ = ["Loss", "cosine_loss", "cross_entropy_loss", "weight_regularizer", "wrong_share"]


class Loss(NamedTuple):
    """A value and its derivative."""

    #: The loss.
    value: float
    #: Its derivative, an array of the shape of the argument.
    derivative: Any


def cosine_loss(v: Any, truth: Any, *, class_weights: Any = None) -> Loss:
    """1 − ⟨v*, v⟩/(‖v*‖‖v‖) with v* = Π₀W*, norms over all labeled pixels (3.4).

    Parameters
    ----------
    v : (J, H, W) floating array
        The solution of the flow; its label sums are 0.
    truth : (H, W) integer array
        −1 for pixels without ground truth.
    class_weights : (J,) array, optional
        c > 0: pixels count c_truth times in inner products and norms; once if None.

    Returns
    -------
    Loss
        The value is in [0, 2]; for v = 0, where the angle is not defined, it is 1 and the derivative 0.

    Raises
    ------
    ValueError
        If no pixel has ground truth.
    """
    xp, share = namespace(v, truth), 1.0 / v.shape[0]
    hit, labeled, count = _hits(v, truth, class_weights)
    everywhere = class_weights is None and count == truth.size
    seen = v if everywhere else v * labeled
    size = (count * (1 - share)) ** 0.5
    length = norm(seen if class_weights is None else v * xp.sqrt(labeled))
    if length == 0:
        return Loss(1.0, xp.zeros_like(v))
    product = total(xp.where(hit, seen, xp.zeros_like(seen[:1, ...]))) - share * total(seen)
    scale = -1 / (size * length)
    derivative = seen * float(product / (size * length**3)) + xp.where(hit, labeled * scale, labeled * 0)
    derivative -= share * scale * labeled
    return Loss(float(1 - product / (size * length)), derivative)


def cross_entropy_loss(v: Any, truth: Any, *, class_weights: Any = None) -> Loss:
    """Mean over the labeled pixels of −log W_truth with W = softmax(v).

    For a flow that starts at W₀, pass v + log W₀.

    Parameters
    ----------
    v : (J, H, W) floating array
    truth : (H, W) integer array
        −1 for pixels without ground truth.
    class_weights : (J,) array, optional
        c > 0: pixels count c_truth times in the mean; once if None.

    Returns
    -------
    Loss
        The value is in nats per labeled pixel.

    Raises
    ------
    ValueError
        If no pixel has ground truth.
    """
    xp = namespace(v, truth)
    hit, labeled, count = _hits(v, truth, class_weights)
    target = xp.astype(hit, v.dtype) * labeled
    shifted = v - xp.max(v, axis=0, keepdims=True)
    log_sum = xp.log(xp.sum(xp.exp(shifted), axis=0))
    value = total(labeled * log_sum) - total(target * shifted)
    return Loss(value / count, (softmax(v) * labeled - target) / count)


def weight_regularizer(weights: Any, tau: float) -> Loss:
    """𝓡 = τ/2 Σ_i ‖Π₀ log Ω_i‖² over the neighbors inside the image, and ∂𝓡 = τ t_i/Ω_i (3.5).

    Parameters
    ----------
    weights : (N, H, W) floating array
        Weight patches; entries that are exactly 0 are outside the image.
    tau : float
        Strength; 0 is no regularization. Its Riemannian gradient is τ Π₀ log Ω_i.

    Returns
    -------
    Loss
    """
    xp = namespace(weights)
    mask = xp.astype(weights > 0, weights.dtype)
    safe = xp.where(weights > 0, weights, xp.ones_like(weights))
    logs = xp.log(safe)
    t = (logs - xp.sum(logs, axis=0, keepdims=True) / xp.sum(mask, axis=0, keepdims=True)) * mask
    return Loss(0.5 * float(tau) * total(t * t), float(tau) * t / safe)


def wrong_share(v: Any, truth: Any) -> float:
    """Share of the labeled pixels whose label argmax_j v is not the truth, between 0 and 1."""
    xp = namespace(v, truth)
    if not bool(xp.any(truth >= 0)):  # synchronize
        raise ValueError("truth holds no labeled pixel; accepted are labels from 0, and -1 where there is none.")
    wrong = xp.astype((xp.argmax(v, axis=0) != truth) & (truth >= 0), xp.float64)
    return total(wrong) / total(xp.astype(truth >= 0, xp.float64))


def _hits(v: Any, truth: Any, class_weights: Any = None) -> tuple[Any, Any, float]:
    """Where the label is the true one (J, H, W), how much a pixel counts (H, W) in the dtype of v, and the sum of it.

    A pixel without ground truth counts 0, every other 1 or the weight of its class.
    """
    xp = namespace(v, truth)
    labels = xp.reshape(xp.arange(v.shape[0], dtype=truth.dtype), (-1, *(1 for _ in truth.shape)))
    labeled = xp.astype(truth >= 0, v.dtype)
    if not bool(xp.any(truth >= 0)):  # synchronize
        raise ValueError("truth holds no labeled pixel; accepted are labels from 0, and -1 where there is none.")
    hit = labels == truth[None, ...]
    if class_weights is not None:
        if tuple(np.shape(class_weights)) != (v.shape[0],):
            raise ValueError(
                f"class_weights have shape {np.shape(class_weights)}; accepted is ({v.shape[0]},), one for each label."
            )
        weights = xp.reshape(like(class_weights, v), (-1, *(1 for _ in truth.shape)))
        labeled = xp.sum(xp.where(hit, weights, xp.zeros_like(weights)), axis=0)
    return hit, labeled, total(labeled)
