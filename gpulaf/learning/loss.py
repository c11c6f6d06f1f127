"""Losses of a labeling v against ground truth, with their derivatives, and the regularizer of the weights.

Truth is an (H, W) array of labels 0 … J−1; −1 marks pixels without ground truth, which do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import columns, host_array, host_dtype, like, namespace, total
from ..backend.dispatch import implementation
from ..simplex import softmax

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
        If no pixel has ground truth, or the class weights are not J positive numbers.
    """
    sums, labels, counts = _agreement(v, truth, class_weights)
    numbers = [float(x) for x in host_array(sums)]  # synchronize
    _check_labeled(numbers[3])
    xp, fields = namespace(v, truth), columns(v)
    derivative = xp.reshape(implementation("cosine", fields)(fields, labels, counts, sums), v.shape)
    return Loss(cosine_value(numbers, v.shape[0]), derivative)


def cosine_value(sums: Sequence[float], labels: int) -> float:
    """The cosine loss from the sums of the kernel ``agreement``."""
    t, s, q, mass = sums[:4]
    lengths = (q * mass * (1 - 1 / labels)) ** 0.5
    return 1 - (t - s / labels) / lengths if lengths else 1.0


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
        If no pixel has ground truth, or the class weights are not J positive numbers.
    """
    xp = namespace(v, truth)
    labels = xp.reshape(xp.arange(v.shape[0], dtype=truth.dtype), (-1, *(1 for _ in truth.shape)))
    weights = xp.reshape(_class_weights(class_weights, v), labels.shape)
    target = xp.where(labels == truth[None, ...], weights, xp.zeros_like(weights))
    counts = xp.sum(target, axis=0)
    mass = total(counts)
    _check_labeled(mass)
    shifted = v - xp.max(v, axis=0, keepdims=True)
    log_sum = xp.log(xp.sum(xp.exp(shifted), axis=0))
    value = total(counts * log_sum) - total(target * shifted)
    return Loss(value / mass, (softmax(v) * counts - target) / mass)


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
    wrong, labeled = (float(x) for x in host_array(_agreement(v, truth)[0])[4:])  # synchronize
    _check_labeled(labeled)
    return wrong / labeled


def _agreement(v: Any, truth: Any, class_weights: Any = None) -> tuple[Any, Any, Any]:
    """The sums of the kernel ``agreement``, the truth as (n) int32 and the class weights as (J)."""
    xp, fields, weights = namespace(v, truth), columns(v), _class_weights(class_weights, v)
    labels = xp.reshape(xp.asarray(truth, dtype=xp.int32), (-1,))
    return implementation("agreement", fields)(fields, labels, weights), labels, weights


def _class_weights(class_weights: Any, v: Any) -> Any:
    """(J) numbers of the library and dtype of v, 1 for every label where there are none."""
    weights = np.ones(v.shape[0]) if class_weights is None else host_array(class_weights)
    if weights.shape != (v.shape[0],) or not (np.isfinite(weights) & (weights > 0)).all():
        raise ValueError(
            f"class_weights are {np.array2string(weights, threshold=8)}; "
            f"accepted are {v.shape[0]} positive numbers, one for each label."
        )
    return like(np.asarray(weights, host_dtype(v)), v)


def _check_labeled(count: float) -> None:
    if count == 0:
        raise ValueError("truth holds no labeled pixel; accepted are labels from 0, and -1 where there is none.")
