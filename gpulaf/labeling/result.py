"""The result of a labeling: v rounded to labels and normalized to probabilities."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend.array import filled, host_dtype, namespace
from ..fields import from_rows
from ..simplex import softmax

__all__ = ["Labeling", "labels_dtype", "rounded", "smallest_unsigned"]


class Labeling(NamedTuple):
    """A labeled image (H, W), volume (D, H, W) or set of nodes (n,)."""

    #: (H, W) array of label indices, in the smallest unsigned type that holds them; with a mask, in the smallest that
    #: holds one number more: its largest one, 255 of uint8, stands for no data.
    labels: Any
    #: (H, W, J) array: the probability of every label, W(T); NaN where there is no data.
    probabilities: Any
    #: Error of v relative to v, as the integrator states it, the sum of those of layers; with a scheme, the accepted
    #: error of one of its steps relative to 1 + ‖v‖_∞, NaN where the steps are fixed. Of a large image, which is
    #: labeled in blocks, the largest error of a block.
    error: float
    #: Products with A, or evaluations of the right-hand side, that were spent.
    products: int
    #: Whether the integrator met its tolerance, that of Taylor relative to the largest v which any flow over this time
    #: may reach, so that `error` may be larger; with a scheme, whether the flow came to rest: the mean entropy of the
    #: probabilities fell under a thousandth of log J, and the labels are their rounding.
    converged: bool
    #: Why it stopped, in one sentence; of images a second one where no pixel got some label.
    reason: str
    #: (H, W) array of bool, True where there is data; None where no mask was given.
    valid: Any = None
    #: (J, C) array on the host, in the units of the image: given, learned, or found by k-means; None without an image.
    prototypes: np.ndarray | None = None
    #: (H, W) array: the probability that another noise of the same size changes the label, NaN where there is no data;
    #: None where it was not asked for.
    uncertainty: Any = None
    #: (H, W) array: as long as no entry of ℓ = −D/ρ changes by more, the exact flow with these weights gives this
    #: label; times ρ, a change of pixels where D is Euclidean. NaN where there is no data; None where not asked for.
    radius: Any = None

    @property
    def nodata(self) -> int | None:
        """The number that stands for no data in `labels`, the largest of its type; None where no mask was given."""
        return None if self.valid is None else int(np.iinfo(host_dtype(self.labels)).max)


def smallest_unsigned(labels: int) -> np.dtype[Any]:
    """The smallest unsigned dtype for label indices 0 … labels−1."""
    return np.min_scalar_type(labels - 1)


def labels_dtype(labels: int, masked: bool) -> np.dtype[Any]:
    """The dtype of labels 0 … labels−1; with a mask, one whose largest number is none of them."""
    return smallest_unsigned(labels + masked)


def rounded(v: Any, valid: Any, error: float, products: int, converged: bool, reason: str) -> Labeling:
    """Round v to labels and normalize it to probabilities."""
    xp, W = namespace(v), softmax(v)
    dtype = labels_dtype(v.shape[-2], valid is not None)
    labels = xp.astype(xp.argmax(v, axis=-2), getattr(xp, dtype.name))
    if valid is not None:
        labels = filled(labels, valid, int(np.iinfo(dtype).max))
        W = filled(W, valid[..., None, :], float("nan"))
    return Labeling(labels, from_rows(W), error, products, converged, reason, valid)
