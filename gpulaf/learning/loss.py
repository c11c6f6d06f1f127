"""Losses of a labeling v against ground truth, with their derivatives, and the regularizer of the weights.

Truth is an (H, W) array of labels 0 … J−1; −1 marks pixels without ground truth, which do not count, as what is masked
in a masked array. In a batch every image has its own loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import contiguous, host_array, is_device_array, is_host_array, like, namespace, total
from ..backend.dispatch import implementation
from ..backend.foreign import named_axes
from ..backend.numbers import check_number
from ..backend.operands import check_floating
from ..backend.validation import real_array, unmasked
from ..fields import pixel_shape
from ..simplex import softmax

__all__ = ["Loss", "cosine_loss", "cross_entropy_loss", "weight_regularizer", "wrong_share"]

#: By how much the columns of two labels have to differ in Q, as a share: noise that makes them alike teaches nothing.
LEAST_APART = 0.01


class Loss(NamedTuple):
    """A value and its derivative."""

    #: The loss; that of every image of a batch, a float64 array on the host.
    value: Any
    #: Its derivative, an array of the shape of the argument.
    derivative: Any


def cosine_loss(v: Any, truth: Any, *, class_weights: Any = None, batch: int = 0) -> Loss:
    """1 − ⟨v*, v⟩/(‖v*‖‖v‖) with v* = Π₀W*, norms over all labeled pixels (3.4).

    Parameters
    ----------
    v : (H, J, W) floating array; (D, H, J, W) of a volume, (J, n) on a graph
        The solution of the flow; its label sums are 0.
    truth : (H, W) integer array; (D, H, W) of a volume, (n,) on a graph
        −1 for pixels without ground truth.
    class_weights : (J,) array, optional
        c > 0: pixels count c_truth times in inner products and norms; once if None.
    batch : int
        How many leading axes count images: 1 for v (B, H, J, W) and truth (B, H, W), which give B losses.

    Returns
    -------
    Loss
        The value is in [0, 2]; for v = 0, where the angle is not defined, it is 1 and the derivative 0.

    Raises
    ------
    ValueError
        If an image has no pixel with ground truth, v and truth differ in their pixels, a label is none of −1 … J−1, or
        the class weights are not J positive numbers.
    TypeError
        If v holds no floating numbers, or the truth no integers.
    """
    fields, labels, counts = _operands(v, truth, class_weights, batch)
    sums = implementation("agreement", fields)(fields, labels, counts)
    numbers = host_array(sums)  # synchronize
    _check_labeled(numbers[:, 3])
    derivative = namespace(v).reshape(implementation("cosine", fields)(fields, labels, counts, sums), v.shape)
    return Loss(_each(np.array([cosine_value(row, v.shape[-2]) for row in numbers]), v, batch), derivative)


def cosine_value(sums: Sequence[float], labels: int) -> float:
    """The cosine loss from the sums of the kernel ``agreement``."""
    t, s, q, mass = (float(x) for x in sums[:4])
    lengths = (q * mass * (1 - 1 / labels)) ** 0.5
    return 1 - (t - s / labels) / lengths if lengths else 1.0


def cross_entropy_loss(
    v: Any, truth: Any, *, class_weights: Any = None, pixel_weights: Any = None, transition: Any = None, batch: int = 0
) -> Loss:
    """Mean over the labeled pixels of −log W_truth with W = softmax(v), or of −log (Q W)_truth for a noisy truth.

    For a flow that starts at W₀, pass v + log W₀.

    Parameters
    ----------
    v : (H, J, W) floating array; (D, H, J, W) of a volume, (J, n) on a graph
    truth : (H, W) integer array; (D, H, W) of a volume, (n,) on a graph
        −1 for pixels without ground truth.
    class_weights : (J,) array, optional
        c > 0: pixels count c_truth times in the mean; once if None.
    pixel_weights : array of the shape of the truth, optional
        Positive: how many times each pixel counts in the mean, besides its class.
    transition : (J, J) array, optional
        Q_jk = P(the truth says j | k is right), columns with the sum 1: the truth is noisy, and the labeling explains
        it through Q (the forward correction of Patrini et al., CVPR 2017). The truth is right if None.
    batch : int
        How many leading axes count images: 1 for v (B, H, J, W) and truth (B, H, W), which give B losses.

    Returns
    -------
    Loss
        The value is in nats per labeled pixel.

    Raises
    ------
    ValueError
        If an image has no pixel with ground truth, v and truth differ in their pixels, a label is none of −1 … J−1, or
        the class weights are not J positive numbers, the pixel weights not one for each pixel, or the transition no
        (J, J) array of probabilities.
    TypeError
        If v holds no floating numbers, or the truth no integers.
    """
    fields, labels, counts = _operands(v, truth, class_weights, batch)
    xp, counts = namespace(fields), counts[:, None]
    each = xp.arange(fields.shape[-2], dtype=labels.dtype)[:, None]
    target = xp.where(each == labels[..., None, :], counts, xp.zeros_like(counts))
    if pixel_weights is not None:
        target = target * xp.reshape(_pixel_weights(pixel_weights, fields, pixel_shape(v)), labels.shape)[..., None, :]
    counts = xp.sum(target, axis=-2, keepdims=True)
    mass = _totals(counts)
    _check_labeled(mass)
    shifted = fields - xp.max(fields, axis=-2, keepdims=True)
    value = _totals(counts * _log_sum(shifted))
    if transition is None:
        value = value - _totals(target * shifted)
    else:
        explained = shifted + _log_rows(transition, labels, fields)
        value, target = value - _totals(counts * _log_sum(explained)), counts * softmax(explained)
    derivative = (softmax(fields) * counts - target) / xp.reshape(like(mass, fields), (-1, 1, 1, 1))
    return Loss(_each(value / mass, v, batch), xp.reshape(derivative, v.shape))


def weight_regularizer(weights: Any, tau: float) -> Loss:
    """𝓡 = τ/2 Σ_i ‖Π₀ log Ω_i‖² over the neighbors inside the image, and ∂𝓡 = τ t_i/Ω_i (3.5).

    Parameters
    ----------
    weights : (H, N, W) floating array; (D, H, N, W) of a volume, (K, n) of a graph
        Weight patches; entries that are exactly 0 are outside the image.
    tau : float
        Strength; 0 is no regularization. Its Riemannian gradient is τ Π₀ log Ω_i.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError, TypeError
        If the weights are no patches of floating numbers, or tau is no number from 0.
    """
    tau = check_number(tau, "tau", 0, usual="1e-3 is usual.")
    check_floating(weights, "weights", "(H, N, W), (D, H, N, W) or (K, n)")
    xp = namespace(weights)
    mask = xp.astype(weights > 0, weights.dtype)
    safe = xp.where(weights > 0, weights, xp.ones_like(weights))
    logs = xp.log(safe)
    t = (logs - xp.sum(logs, axis=-2, keepdims=True) / xp.sum(mask, axis=-2, keepdims=True)) * mask
    return Loss(0.5 * tau * total(t * t), tau * t / safe)


def wrong_share(v: Any, truth: Any, *, batch: int = 0) -> Any:
    """Share of the labeled pixels whose label argmax_j v is not the truth, 0 to 1; that of every image of a batch."""
    fields, *operands = _operands(v, truth, None, batch)
    sums = host_array(implementation("agreement", fields)(fields, *operands))  # synchronize
    _check_labeled(sums[:, 5])
    return _each(sums[:, 4] / sums[:, 5], v, batch)


def known_truth(truth: Any) -> Any:
    """The truth as an array of numbers, with −1 at what is masked in a masked array of integers."""
    truth, known = unmasked(real_array(named_axes(truth, None, "truth")[0], "truth"))
    return np.where(known, truth.astype(np.int64), -1) if known is not None and truth.dtype.kind in "bui" else truth


def _operands(v: Any, truth: Any, class_weights: Any, batch: int) -> tuple[Any, Any, Any]:
    """What the kernels take: v as (B, R, J, W), the truth as (B, R, W) int32 and the class weights as (J)."""
    check_floating(v, "v", "(H, J, W), (D, H, J, W) or (J, n)")
    if int(batch) != batch or not 0 <= batch <= v.ndim - 2:
        raise ValueError(f"batch is {batch}; accepted are 0 to {v.ndim - 2} leading axes of v {tuple(v.shape)}.")
    truth = known_truth(truth)
    if not (is_host_array(v) or is_device_array(v)):
        truth = namespace(v).asarray(truth)
    xp, labels = namespace(v, truth), v.shape[-2]
    if tuple(truth.shape) != pixel_shape(v):
        raise ValueError(
            f"truth has shape {tuple(truth.shape)}; accepted is {pixel_shape(v)}, the pixels of v {tuple(v.shape)} "
            "with its labels on axis -2. Convert v by gpulaf.fields.to_rows."
        )
    if xp.isdtype(truth.dtype, ("real floating", "complex floating")):
        raise TypeError(f"truth has dtype {truth.dtype}; accepted are integers, -1 where there is no ground truth.")
    truth = xp.astype(truth, xp.int32) if xp.isdtype(truth.dtype, "bool") else truth
    least, most = (int(x) for x in host_array(xp.stack([xp.min(truth), xp.max(truth)])))  # synchronize
    if least < -1 or most >= labels:
        raise ValueError(
            f"truth holds labels from {least} to {most}; accepted are 0 to {labels - 1}, and -1 where there is none. "
            "Number the labels from 0, and give void pixels -1."
        )
    images, rows, width = prod(v.shape[:batch]), prod(v.shape[batch:-2]), v.shape[-1]
    weights = np.ones(labels) if class_weights is None else host_array(real_array(class_weights, "class_weights"))
    if weights.shape != (labels,) or not (np.isfinite(weights) & (weights > 0)).all():
        raise ValueError(
            f"class_weights are {np.array2string(weights, threshold=8)}; "
            f"accepted are {labels} positive numbers, one for each label."
        )
    fields = xp.reshape(contiguous(v), (images, rows, labels, width))
    labels = xp.reshape(xp.asarray(truth, dtype=xp.int32), (images, rows, width))
    return fields, labels, like(weights, fields)


def _pixel_weights(weights: Any, fields: Any, shape: tuple[int, ...]) -> Any:
    weights = real_array(weights, "pixel_weights")
    xp = namespace(weights)
    if tuple(weights.shape) != shape:
        raise ValueError(f"pixel_weights have shape {tuple(weights.shape)}; accepted is {shape}, one for each pixel.")
    if not bool(xp.all((weights > 0) & (weights < float("inf")))):  # synchronize
        raise ValueError("pixel_weights hold values that are none of the positive numbers; give void pixels truth -1.")
    return like(weights, fields)


def check_transition(transition: Any, labels: int, name: str = "transition") -> np.ndarray:
    """Q as (J, J) float64 on the host; ValueError where its columns are no probabilities of the label that is told."""
    values = host_array(real_array(transition, name)).astype(np.float64)
    fits = values.shape == (labels, labels) and bool(np.isfinite(values).all() and (values >= 0).all())
    told = np.round(values, 4).tolist() if values.size <= 16 else f"a matrix {values.shape}"
    if not fits or not (values.sum(axis=1) > 0).all() or abs(values.sum(axis=0) - 1).max() > 1e-6:
        raise ValueError(
            f"{name} is {told}; accepted is ({labels}, {labels}) of "
            "numbers from 0, the sum of each column 1, no row 0: Q[j, k] = P(the truth says j | k is right). Divide "
            "counts by the sums of their columns."
        )
    apart = abs(values[:, :, None] - values[:, None, :]).sum(axis=0) / 2 + np.eye(labels)
    if labels > 1 and apart.min() < LEAST_APART:
        j, k = sorted(map(int, np.unravel_index(apart.argmin(), apart.shape)))
        raise ValueError(
            f"{name} makes the labels {j} and {k} alike: their columns differ by {apart.min():.2g}; accepted is "
            f"{LEAST_APART} at least, as nothing else tells them apart. Check prototypes and noise."
        )
    return values


def _log_rows(transition: Any, labels: Any, fields: Any) -> Any:
    """log Q_yk at every pixel for its label y, (B, R, J, W), −∞ where Q is 0; of label 0 where there is none."""
    xp, count = namespace(fields), fields.shape[-2]
    with np.errstate(divide="ignore"):
        logs = like(np.log(check_transition(transition, count)), fields)
    known = xp.where(labels < 0, xp.zeros_like(labels), labels)
    rows = xp.take(logs, xp.astype(xp.reshape(known, (-1,)), xp.int64), axis=0)
    return xp.permute_dims(xp.reshape(rows, (*labels.shape, count)), (0, 1, 3, 2))


def _log_sum(x: Any) -> Any:
    """log Σ e^x over the labels, (…, 1, W)."""
    xp = namespace(x)
    largest = xp.max(x, axis=-2, keepdims=True)
    return largest + xp.log(xp.sum(xp.exp(x - largest), axis=-2, keepdims=True))


def _totals(x: Any) -> np.ndarray:
    """Sum over every image (B, …), in float64."""
    xp = namespace(x)
    return host_array(xp.stack([xp.sum(x[b, ...], dtype=xp.float64) for b in range(x.shape[0])]))  # synchronize


def _each(numbers: np.ndarray, v: Any, batch: int) -> Any:
    """The numbers of all images, shaped like the batch; one number where there is none."""
    return numbers.reshape(v.shape[:batch]) if batch else float(numbers[0])


def _check_labeled(counts: np.ndarray) -> None:
    if not counts.all():
        image = f" of image {int(np.argmin(counts != 0))}" if len(counts) > 1 else ""
        raise ValueError(
            f"truth{image} holds no labeled pixel; accepted are labels from 0, and -1 where there is none."
        )
