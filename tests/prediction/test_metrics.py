"""Metrics of labels against counting by hand and against scikit-learn and scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpulaf.prediction.metrics import confusion_matrix, rand_scores, scores, segments


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


def all_pairs(truth: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Split and merge scores by looking at every ordered pair of pixels."""
    t, f = truth[truth > 0], found[truth > 0]
    same = (f[:, None] == f) & (f > 0) | np.eye(len(f), dtype=bool)
    true = t[:, None] == t
    return float((same & true).sum() / true.sum()), float((same & true).sum() / same.sum())


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
@pytest.mark.parametrize("shape", [(1, 9), (12, 13), (3, 4, 5)], ids=str)
def test_rand_scores_against_all_pairs(shape: tuple[int, ...], kind: Any) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        truth, found = rng.integers(0, 4, shape).astype(kind), rng.integers(0, 5, shape).astype(kind)
        result, (split, merge) = rand_scores(truth, found), all_pairs(truth, found)
        assert result[:2] == pytest.approx((split, merge), rel=1e-12)
        assert result.f_score == pytest.approx(2 * split * merge / (split + merge), rel=1e-12)
        assert result.error == 1 - result.f_score


def test_rand_scores_against_scikit_image() -> None:
    """It leaves the pair of a pixel with itself out, which counts less the larger segments are.

    Which of its two shares is which is left to the pairs above: 0.26 gives them in the other order than it says.
    """
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    measure = pytest.importorskip("skimage.measure", reason="scikit-image is not installed")
    rng = np.random.default_rng(0)
    truth, labels = (np.kron(rng.random((20, 25)) < 0.6, np.ones((9, 9), int)) for _ in range(2))
    a, b = (measure.label(x, connectivity=1) for x in (truth, labels))
    alone = np.where(b == 0, b.max() + 1 + np.arange(b.size).reshape(b.shape), b)
    error, *both = metrics.adapted_rand_error(a, alone, ignore_labels=(0,))
    found = rand_scores(segments(truth), segments(labels))
    assert [*sorted(found[:2]), found.error] == pytest.approx([*sorted(both), error], rel=2e-3)


def test_rand_scores_of_what_is_right_merged_and_lost() -> None:
    labels = np.array([[1, 1, 0, 2, 2, 2], [1, 0, 0, 0, 2, 2]])
    truth = segments(labels, (1, 2))
    assert rand_scores(truth, 7 * truth) == (1, 1, 1, 0)
    assert rand_scores(truth, np.ones_like(truth))[:2] == (1, (9 + 25) / 64)
    assert rand_scores(truth, np.zeros_like(truth))[:2] == (8 / 34, 1)
    assert np.isnan(rand_scores(np.zeros_like(truth), truth)).all()


def test_segments_share_faces_and_unknown_pixels_join_them() -> None:
    labels = np.array([[1, 0, 2, -1, 1], [0, 1, 0, 0, -1], [1, 1, 0, 1, 0]])
    np.testing.assert_array_equal(segments(labels), [[1, 0, 0, 0, 2], [0, 3, 0, 0, 0], [3, 3, 0, 4, 0]])
    np.testing.assert_array_equal(segments(labels, (1, 2)), [[1, 0, 2, 0, 2], [0, 3, 0, 0, 0], [3, 3, 0, 4, 0]])
    assert segments(np.ones((2, 3, 4), np.uint8)).max() == 1
    assert segments(labels).dtype == np.int32


def test_segments_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found has shape \(3,\); accepted is \(2,\)"):
        rand_scores(np.ones(2, int), np.ones(3, int))
    with pytest.raises(TypeError, match="labels holds float64; accepted is an array of integers"):
        segments(np.ones((2, 2)))
