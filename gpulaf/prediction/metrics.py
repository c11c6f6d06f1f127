"""How well labels agree with the truth: pixels by the confusion matrix, segments by pairs of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["RandScores", "Scores", "confusion_matrix", "rand_scores", "scores", "segments"]


class Scores(NamedTuple):
    """Shares of pixels; NaN where there is nothing to divide by."""

    #: Of the labeled pixels, the share that is wrong.
    wrong: float
    #: (J,) float64 array: of the pixels of a class, the share that was found.
    recall: np.ndarray
    #: (J,) float64 array: of the pixels that were given to a class, the share that belongs to it.
    precision: np.ndarray
    #: (J,) float64 array: intersection over union of the pixels of a class and those given to it.
    iou: np.ndarray
    #: Mean of `iou` over the classes that occur in the truth or in the labels.
    mean_iou: float


class RandScores(NamedTuple):
    """How well pixels are grouped into segments, 0 to 1; NaN where there is nothing to divide by."""

    #: Of the pairs in one segment of the truth, the share that is found in one: less where segments are split.
    split: float
    #: Of the pairs found in one segment, the share that is in one of the truth: less where segments are merged.
    merge: float
    #: The harmonic mean of both, the foreground-restricted Rand score V^Rand.
    f_score: float
    #: The adapted Rand error, 1 − `f_score`.
    error: float


def confusion_matrix(truth: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """How many pixels of each class were given each label.

    Parameters
    ----------
    truth : integer array
        0 … J−1; −1 marks pixels that do not count.
    labels : integer array of the same shape
        0 … J−1.
    count : int
        J.

    Returns
    -------
    (J, J) int64 array: a row for each class of the truth, a column for each label.

    Raises
    ------
    ValueError
        If the shapes differ or a value is none of these.
    """
    truth, labels = _integers("truth", truth), _integers("labels", labels)
    if truth.shape != labels.shape:
        raise ValueError(f"labels have shape {labels.shape}; accepted is {truth.shape}, that of the truth.")
    known = truth != -1
    rows, columns = truth[known].astype(np.int64), labels[known].astype(np.int64)
    for name, values in (("values of the truth", rows), ("labels", columns)):
        if values.size and (values.min() < 0 or values.max() >= count):
            raise ValueError(f"{name} go from {values.min()} to {values.max()}; accepted are 0 to {count - 1}.")
    return np.bincount(rows * count + columns, minlength=count * count).reshape(count, count)


def scores(confusion: np.ndarray) -> Scores:
    """Error, recall, precision and intersection over union of a (J, J) confusion matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from gpulaf.prediction.metrics import scores
    >>> found = scores(np.array([[6, 2], [0, 2]]))
    >>> found.wrong, found.recall.tolist(), found.precision.tolist(), found.iou.tolist()
    (0.2, [0.75, 1.0], [1.0, 0.5], [0.75, 0.5])
    """
    if np.ndim(confusion) != 2 or confusion.shape[0] != confusion.shape[1] or confusion.dtype.kind not in "uif":
        raise ValueError(
            f"confusion has shape {np.shape(confusion)}; accepted is (J, J) of real numbers, as confusion_matrix "
            "counts them."
        )
    hits, rows, columns = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    total = int(rows.sum())
    iou = _shares(hits, rows + columns - hits)
    wrong = float(total - hits.sum()) / total if total else float("nan")
    occurs = ~np.isnan(iou)
    mean = float(iou[occurs].mean()) if occurs.any() else float("nan")
    return Scores(wrong, _shares(hits, rows), _shares(hits, columns), iou, mean)


def segments(labels: np.ndarray, foreground: int | Sequence[int] = 1) -> np.ndarray:
    """Number the parts of the foreground that faces of pixels connect.

    Parameters
    ----------
    labels : (H, W) or (D, H, W) integer array
        −1 marks pixels that are not known: they connect what touches them, and are of no segment.
    foreground : int or sequence of int
        The labels of the foreground.

    Returns
    -------
    int32 array of that shape: segments from 1, 0 elsewhere.
    """
    from scipy.ndimage import label

    labels = _integers("labels", labels)
    inside = np.isin(labels, foreground)
    return np.where(inside, label(inside | (labels == -1))[0], 0).astype(np.int32)


def rand_scores(truth: np.ndarray, found: np.ndarray) -> RandScores:
    """Foreground-restricted Rand scores of segments (Arganda-Carreras et al. 2015).

    Over the ordered pairs of pixels, each with itself among them, in segments of the truth. Pixels that are found in no
    segment are segments of one pixel, as in the challenge SNEMI3D.

    Parameters
    ----------
    truth, found : integer arrays of one shape
        As :func:`segments` numbers them: 0 is no segment. Pixels that are 0 in the truth do not count.

    Examples
    --------
    >>> import numpy as np
    >>> from gpulaf.prediction.metrics import rand_scores, segments
    >>> truth = segments(np.array([[1, 1, 0, 1, 1]]))
    >>> merged, broken = segments(np.array([[1, 1, 1, 1, 1]])), segments(np.array([[1, 1, 0, 1, 0]]))
    >>> rand_scores(truth, merged)
    RandScores(split=1.0, merge=0.5, f_score=0.6666666666666666, error=0.33333333333333337)
    >>> rand_scores(truth, broken)[:2]
    (0.75, 1.0)
    """
    truth, found = _integers("truth", truth), _integers("found", found)
    if truth.shape != found.shape:
        raise ValueError(f"found has shape {found.shape}; accepted is {truth.shape}, that of the truth.")
    rows, columns = truth[truth != 0], found[truth != 0]
    alone = int(np.count_nonzero(columns == 0))
    both = np.unique(np.stack([rows, columns])[:, columns != 0], axis=1, return_counts=True)[1]
    of_truth, of_found = (np.unique(x, return_counts=True)[1] for x in (rows, columns[columns != 0]))
    together, true, made = (float(np.sum(x.astype(np.float64) ** 2)) for x in (both, of_truth, of_found))
    together, made = together + alone, made + alone
    if not rows.size:
        return RandScores(*[float("nan")] * 4)
    f_score = 2 * together / (true + made)
    return RandScores(together / true, together / made, f_score, 1 - f_score)


def _integers(name: str, values: np.ndarray) -> np.ndarray:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "bui":
        found = getattr(values, "dtype", type(values).__name__)
        raise TypeError(f"{name} holds {found}; accepted is an array of integers. Convert it first.")
    return values


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
