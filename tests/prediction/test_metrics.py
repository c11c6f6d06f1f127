"""Metrics of labels against counting by hand and against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpulaf.prediction.metrics import confusion_matrix, scores


def test_by_hand() -> None:
    truth = np.array([[0, 0, 1], [1, 1, -1]], np.int32)
    labels = np.array([[0, 1, 1], [1, 0, 2]], np.uint8)
    confusion = confusion_matrix(truth, labels, 3)
    np.testing.assert_array_equal(confusion, [[1, 1, 0], [1, 2, 0], [0, 0, 0]])
    assert confusion.dtype == np.int64
    found = scores(confusion)
    assert found.wrong == pytest.approx(0.4)
    np.testing.assert_allclose(found.recall, [1 / 2, 2 / 3, np.nan])
    np.testing.assert_allclose(found.precision, [1 / 2, 2 / 3, np.nan])
    np.testing.assert_allclose(found.iou, [1 / 3, 2 / 4, np.nan])
    assert found.mean_iou == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_classes_that_are_missed_or_made_up() -> None:
    found = scores(np.array([[0, 3, 0], [0, 5, 0], [0, 0, 0]]))
    np.testing.assert_allclose(found.recall, [0, 1, np.nan])
    np.testing.assert_allclose(found.precision, [np.nan, 5 / 8, np.nan])
    np.testing.assert_allclose(found.iou, [0, 5 / 8, np.nan])
    made_up = scores(np.array([[4, 1], [0, 0]]))
    np.testing.assert_allclose(made_up.recall, [4 / 5, np.nan])
    np.testing.assert_allclose(made_up.iou, [4 / 5, 0])
    assert made_up.mean_iou == pytest.approx(2 / 5)


def test_nothing_to_count() -> None:
    found = scores(confusion_matrix(np.full((2, 2), -1), np.zeros((2, 2), int), 2))
    assert np.isnan([found.wrong, found.mean_iou, *found.recall, *found.precision, *found.iou]).all()


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
def test_against_scikit_learn(kind: Any) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, (40, 30))
    labels = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 5, truth.shape)).astype(kind)
    confusion = confusion_matrix(truth, labels, 5)
    y, x = truth.ravel(), labels.ravel()
    np.testing.assert_array_equal(confusion, metrics.confusion_matrix(y, x))
    found = scores(confusion)
    np.testing.assert_allclose(found.recall, metrics.recall_score(y, x, average=None))
    np.testing.assert_allclose(found.precision, metrics.precision_score(y, x, average=None))
    np.testing.assert_allclose(found.iou, metrics.jaccard_score(y, x, average=None))
    assert found.mean_iou == pytest.approx(metrics.jaccard_score(y, x, average="macro"))
    assert found.wrong == pytest.approx(1 - metrics.accuracy_score(y, x))
    half = np.where(rng.random(truth.shape) < 0.5, -1, truth)
    np.testing.assert_array_equal(
        confusion_matrix(half, labels, 5), metrics.confusion_matrix(half[half >= 0], labels[half >= 0])
    )


@pytest.mark.parametrize(
    ("truth", "labels", "said"),
    [
        ([0, 2], [0, 1], "values of the truth go from 0 to 2; accepted are 0 to 1"),
        ([0, -2], [0, 1], "values of the truth go from -2 to 0"),
        ([0, 1], [0, 5], "labels go from 0 to 5"),
        ([0, 1], [0], r"labels have shape \(1,\); accepted is \(2,\)"),
    ],
)
def test_values_that_are_refused(truth: list[int], labels: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        confusion_matrix(np.array(truth), np.array(labels), 2)
