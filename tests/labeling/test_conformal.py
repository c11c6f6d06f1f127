"""Conformal sets: exact thresholds, coverage of exchangeable pixels, coverage on unseen scenes."""

from typing import Any

import numpy as np
import pytest

import gpulaf
from gpulaf.backend.array import host_array
from gpulaf.labeling import Labeling, calibrated_sets

ABOUT: Any = (0.0, 0, True, "")


def labeling(W: Any, valid: Any = None) -> Labeling:
    return Labeling(W.argmax(axis=-1), W, *ABOUT, valid=valid)


def test_the_threshold_is_an_order_statistic_of_each_label() -> None:
    W = np.stack([np.linspace(0.01, 0.99, 99), 1 - np.linspace(0.01, 0.99, 99)], axis=-1)[None]
    truth = np.zeros((1, 99), np.uint8)
    sets = calibrated_sets([labeling(W)], [truth], 0.9)  # ⌊0.1 · 100⌋ = 10th smallest of W₀
    assert sets.thresholds[0] == W[0, 9, 0]
    assert sets.thresholds[1] == -np.inf  # no pixel of label 1: it is in every set
    np.testing.assert_array_equal(sets.counts, [99, 0])
    found = sets(labeling(W))
    assert found.dtype == bool
    assert found[..., 0].sum() == 90
    assert found[..., 1].all()


def test_coverage_of_exchangeable_pixels_is_between_its_bounds() -> None:
    rng, covered, n = np.random.default_rng(0), [], 49

    def draw(count: int) -> tuple[Labeling, np.ndarray]:
        truth = np.repeat([0, 1, 2], count)[None]
        W = rng.dirichlet([1, 1, 1], truth.shape) + (np.arange(3) == truth[..., None]) * rng.random((*truth.shape, 1))
        return labeling(W / W.sum(axis=-1, keepdims=True)), truth

    for _ in range(600):
        W, truth = draw(n)
        sets = calibrated_sets([W], [truth], 0.8)
        other, answer = draw(20)
        covered.append(np.take_along_axis(sets(other), answer[..., None], -1).reshape(3, 20).mean(axis=1))
    by_label = np.mean(covered, axis=0)  # 12,000 pixels each: a standard error of 0.4 % and that of calibration
    assert (by_label > 0.8 - 0.012).all()
    assert (by_label < 0.8 + 1 / (n + 1) + 0.012).all()


@pytest.mark.parametrize("make", [gpulaf.scenes.voronoi_lines, gpulaf.scenes.voronoi_colors])
def test_coverage_on_unseen_scenes(make: Any) -> None:
    def labeled(seed: int) -> tuple[Labeling, np.ndarray]:
        scene = make(48, sites=12, seed=seed)
        return gpulaf.label(scene.image.astype(np.float32), scene.prototypes, rho=0.5), scene.truth

    sets = calibrated_sets(*zip(*map(labeled, range(30)), strict=True), 0.9)
    held = [np.take_along_axis(sets(W), truth[..., None], -1).mean() for W, truth in map(labeled, range(500, 530))]
    assert np.mean(held) == pytest.approx(0.9, abs=0.02)


def test_pixels_without_data_or_truth_do_not_count(xp: Any) -> None:
    rng = np.random.default_rng(0)
    image, valid = rng.random((8, 9, 1)), rng.random((8, 9)) < 0.7
    result = gpulaf.label(xp(image), [[0.2], [0.8]], mask=xp(valid))
    truth = rng.integers(0, 2, (8, 9)) - (rng.random((8, 9)) < 0.2)
    sets = calibrated_sets([result], [xp(truth)], 0.6)
    np.testing.assert_array_equal(sets.counts, [(valid & (truth == j)).sum() for j in range(2)])
    found = sets(result)
    assert type(found) is type(result.labels)
    assert not host_array(found)[~valid].any()
    assert host_array(found)[valid].any()


def test_masked_truths_and_those_of_bool() -> None:
    rng = np.random.default_rng(0)
    W, truth = labeling(rng.dirichlet([1, 1], (20, 20))), rng.integers(0, 2, (20, 20))
    known = rng.random((20, 20)) < 0.6
    expected = calibrated_sets([W], [np.where(known, truth, -1)], 0.8)
    masked = calibrated_sets([W], [np.ma.masked_array(truth, ~known)], 0.8)
    np.testing.assert_array_equal(masked.thresholds, expected.thresholds)
    np.testing.assert_array_equal(masked.counts, expected.counts)
    plain = calibrated_sets([W], [truth == 1], 0.8)
    np.testing.assert_array_equal(plain.thresholds, calibrated_sets([W], [truth], 0.8).thresholds)


def test_what_is_refused() -> None:
    W = labeling(np.full((2, 3, 2), 0.5))
    truth = np.zeros((2, 3), int)
    with pytest.raises(ValueError, match="coverage is"):
        calibrated_sets([W], [truth], 1.5)
    with pytest.raises(ValueError, match="more labelings than truths"):
        calibrated_sets([W, W], [truth])
    with pytest.raises(ValueError, match=r"shape \(3, 2\)"):
        calibrated_sets([W], [truth.T])
    for labelings, truths in (([W], [truth - 1]), ([], [])):
        with pytest.raises(ValueError, match="there is no labeling with a pixel of known truth"):
            calibrated_sets(labelings, truths)
    with pytest.raises(ValueError, match="the truth holds 255; accepted are 0 to 1"):
        calibrated_sets([W], [255 * (truth + 1)])
    with pytest.raises(TypeError, match="labelings hold a ndarray; accepted is a list of results of label"):
        calibrated_sets([W.labels], [truth])
    with pytest.raises(TypeError, match="labeling is a ndarray; accepted is what"):
        calibrated_sets([W], [truth])(W.probabilities)
    with pytest.raises(ValueError, match="2 and 3 labels"):
        calibrated_sets([W, labeling(np.full((2, 3, 3), 0.5))], [truth, truth])
    with pytest.raises(ValueError, match="has 3 labels and the sets 2"):
        calibrated_sets([W], [truth])(labeling(np.full((2, 3, 3), 0.5)))
