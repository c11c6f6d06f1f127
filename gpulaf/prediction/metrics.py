"""How well labels agree with the truth: the confusion matrix and what is read from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Scores", "confusion_matrix", "scores"]


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
    for name, values in (("truth", truth), ("labels", labels)):
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "bui":
            found = getattr(values, "dtype", type(values).__name__)
            raise TypeError(f"{name} holds {found}; accepted is an array of integers. Convert it first.")
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


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
