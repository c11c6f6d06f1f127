"""Sets of labels that hold the true one as often as asked, by quantiles of a calibration split.

A label j is in the set of a pixel where W_j ≥ t_j. With n pixels of the true label j in the calibration images, t_j is
the ⌊(1 − c)(n + 1)⌋-th smallest of their W_j: were pixels of the label j exchangeable, a new one would have j in its
set with probability at least c, and at most c + 1/(n + 1). Pixels of one image are not: the coverage holds on average
over images of the same kind, label by label, and differs from image to image.

V. Vovk, Conditional validity of inductive conformal predictors, Mach. Learn. 92 (2013): one threshold for each label.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from math import floor
from typing import Any

import numpy as np

from ..backend.array import filled, host_array, like
from ..backend.numbers import check_number
from ..backend.validation import unmasked
from .result import Labeling

__all__ = ["LabelSets", "calibrated_sets"]


@dataclass(frozen=True, eq=False)
class LabelSets:
    """Thresholds of the labels; called with a labeling, its sets.

    Parameters
    ----------
    thresholds : (J,) float64 array
        The least W_j of a label in a set; −inf of labels of which there were too few pixels: they are in every set.
    counts : (J,) int64 array
        Pixels of each label that the thresholds were found by.
    coverage : float
    """

    thresholds: np.ndarray
    counts: np.ndarray
    coverage: float

    def __call__(self, labeling: Labeling) -> Any:
        """The sets, (H, W, J) array of bool in the library of the labeling; a set without a label is a pixel of a kind
        that was rare in calibration. Pixels without data have none.

        Raises
        ------
        ValueError
            If the labeling has another number of labels.
        """
        if not isinstance(labeling, Labeling):
            raise TypeError(f"labeling is a {type(labeling).__name__}; accepted is what gpulaf.label gives.")
        W = labeling.probabilities
        if W.shape[-1] != len(self.thresholds):
            raise ValueError(
                f"the labeling has {W.shape[-1]} labels and the sets {len(self.thresholds)}; accepted are as many. "
                "Calibrate with labelings of the same labels."
            )
        sets = like(self.thresholds, W) <= W
        return sets if labeling.valid is None else filled(sets, labeling.valid[..., None], False)


def calibrated_sets(labelings: Iterable[Labeling], truths: Iterable[Any], coverage: float = 0.9) -> LabelSets:
    """Find the thresholds of sets that hold the true label with probability `coverage`, for each label alike.

    Parameters
    ----------
    labelings : iterable of Labeling
        Of images that nothing was learned on, labeled as others will be; taken one at a time.
    truths : iterable of (H, W) arrays of integers or bool
        Ground truth: 0 … J−1, −1 where there is none, as what is masked in a masked array.
    coverage : float
        c, from 0.5 to 0.9999.

    Returns
    -------
    LabelSets

    Raises
    ------
    ValueError, TypeError
        If the numbers of labelings and truths, or the shapes of two of them, differ, a truth holds other numbers, or no
        pixel has one.
    """
    check_number(coverage, "coverage", 0.5, 0.9999, "0.9 is usual.")
    found: list[list[np.ndarray]] = []
    for labeling, truth in zip_longest(labelings, truths):
        if labeling is None or truth is None:
            raise ValueError("there are more labelings than truths, or fewer; accepted are as many. Check the pairs.")
        if not isinstance(labeling, Labeling):
            raise TypeError(f"labelings hold a {type(labeling).__name__}; accepted is a list of results of label.")
        scores, (truth, own) = host_array(labeling.probabilities), unmasked(truth)
        truth = host_array(truth)
        if truth.shape != scores.shape[:-1] or truth.dtype.kind not in "uib":
            raise ValueError(
                f"the truth has shape {truth.shape} and dtype {truth.dtype}; accepted are integers "
                f"{scores.shape[:-1]}, as the labels. Check the pair."
            )
        known = np.ones(truth.shape, bool) if labeling.valid is None else host_array(labeling.valid)
        known = (known if own is None else known & own) & (truth != -1)
        wild = truth[known & ((truth < 0) | (truth >= scores.shape[-1]))]
        if wild.size:
            raise ValueError(
                f"the truth holds {wild[0]}; accepted are 0 to {scores.shape[-1] - 1}, the labels, and -1 where there "
                "is none. Map its values to labels first."
            )
        found = found or [[] for _ in range(scores.shape[-1])]
        if len(found) != scores.shape[-1]:
            raise ValueError(
                f"labelings have {len(found)} and {scores.shape[-1]} labels; accepted are as many in all of them."
            )
        for j, own in enumerate(found):
            own.append(scores[known & (truth == j), j])
    counts = np.array([sum(map(len, own)) for own in found])
    if not counts.sum():
        raise ValueError("there is no labeling with a pixel of known truth. Pass some, as two lists.")
    thresholds = [_threshold(np.concatenate(own), float(coverage)) for own in found]
    return LabelSets(np.array(thresholds), counts, float(coverage))


def _threshold(scores: np.ndarray, coverage: float) -> float:
    """The ⌊(1 − c)(n + 1)⌋-th smallest of W_j; −inf where that is none."""
    k = floor((1 - coverage) * (len(scores) + 1) + 1e-9)
    return float(np.partition(scores, k - 1)[k - 1]) if k else -np.inf
