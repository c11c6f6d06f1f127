"""Fits with a mask: what invalid pixels hold changes nothing, and the others learn as on the image without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpulaf import Graph, RiemannianAdam, RiemannianGradient, cross_entropy_loss, fit_weights, label, uniform_weights
from gpulaf.averaging import check_weights, nearest_neighbor_graph
from gpulaf.fields import to_rows
from gpulaf.learning import FitOptions

SHAPE = (8, 10)


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ℓ (H, J, W), a truth and a mask that takes the left third and some pixels away."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, SHAPE)
    ell = to_rows(rng.standard_normal((*SHAPE, 3)) + 2 * np.eye(3)[truth])
    valid = np.ones(SHAPE, bool)
    valid[:, :3] = valid[2:4, 6] = valid[7, 9] = False
    return ell, truth, valid


def spoiled(ell: np.ndarray, valid: np.ndarray, value: float) -> np.ndarray:
    return np.where(valid[:, None, :], ell, value)


@pytest.mark.parametrize("layers", [None, 2])
def test_nothing_depends_on_invalid_pixels(layers: int | None) -> None:
    ell, truth, valid = problem()
    options: dict[str, Any] = {"steps": 4, "mask": valid, "options": FitOptions(tau=0.1)}
    if layers:
        options["weights"] = [uniform_weights(SHAPE, dtype=float)] * layers
    one = fit_weights(spoiled(ell, valid, np.nan), truth, **options)
    two = fit_weights(spoiled(ell, valid, 1e30), np.where(valid, truth, -1), **options)
    every = zip(*(x.weights if layers else [x.weights] for x in (one, two)), strict=True)
    for first, second in every:
        np.testing.assert_array_equal(first, second)
        check_weights(first, SHAPE)
        assert (first[:, 4][~valid] == 1).all()
        assert not first[:, 3, 3].any()  # the left neighbor of the first valid column
    assert [row.loss for row in one.history] == [row.loss for row in two.history]
    assert one.history[-1].loss < one.history[0].loss


def test_a_strip_without_data_is_a_smaller_image() -> None:
    ell, truth, valid = problem()
    valid[:, 3:] = True
    options: dict[str, Any] = {"steps": 5, "descent": RiemannianAdam(epsilon=0.0), "options": FitOptions(tau=0.05)}
    whole = fit_weights(ell, truth, mask=valid, **options)
    cut = fit_weights(np.ascontiguousarray(ell[:, :, 3:]), np.ascontiguousarray(truth[:, 3:]), **options)
    np.testing.assert_allclose(whole.weights[:, :, 3:], cut.weights, rtol=0, atol=1e-10)
    np.testing.assert_allclose(whole.history[-1].loss, cut.history[-1].loss, rtol=1e-10)
    assert whole.history[-1].wrong == cut.history[-1].wrong


def test_masked_truths_and_likelihoods() -> None:
    ell, truth, valid = problem()
    plain = fit_weights(ell, truth, mask=valid, steps=2, loss=cross_entropy_loss)
    masked = np.ma.masked_array(ell, np.repeat(~valid[:, None], 3, axis=1))
    one = fit_weights(masked, truth, steps=2, loss=cross_entropy_loss)
    np.testing.assert_array_equal(plain.weights, one.weights)
    unlabeled = fit_weights(ell, np.ma.masked_array(truth.astype(np.uint8), ~valid), steps=2)
    other = fit_weights(ell, np.where(valid, truth, -1), steps=2)
    np.testing.assert_array_equal(unlabeled.weights, other.weights)


def test_graphs() -> None:
    rng = np.random.default_rng(5)
    graph, valid = nearest_neighbor_graph(rng.random((30, 2)), 4), np.arange(30) % 4 > 0
    truth, ell = rng.integers(0, 2, 30), rng.standard_normal((2, 30))
    fit = fit_weights(np.where(valid, ell, np.inf), truth, weights=graph, mask=valid, steps=3)
    assert isinstance(fit.weights, Graph)
    learned = fit.weights.matrix.toarray()
    np.testing.assert_array_equal(learned[~valid], np.eye(30)[~valid])
    assert not learned[np.ix_(valid, ~valid)].any()


def test_learned_weights_label_the_masked_image() -> None:
    ell, truth, valid = problem()
    fit = fit_weights(ell, truth, mask=valid, steps=3, descent=RiemannianGradient())
    image = np.random.default_rng(1).random(SHAPE)
    result = label(np.where(valid, image, np.nan), [0.2, 0.5, 0.8], weights=fit.weights, mask=valid)
    assert (result.labels[~valid] == result.nodata).all()


@pytest.mark.parametrize(("options", "kind", "words"), [
    ({"mask": np.ones((10, 8), bool)}, ValueError, r"mask has shape \(10, 8\)"),
    ({"mask": np.ones(SHAPE)}, TypeError, "mask has dtype float64"),
    ({"mask": np.zeros(SHAPE, bool)}, ValueError, "no labeled pixel"),
])  # fmt: skip
def test_masks_that_do_not_fit(options: dict[str, Any], kind: type[Exception], words: str) -> None:
    ell, truth, _ = problem()
    with pytest.raises(kind, match=words):
        fit_weights(ell, truth, **options)


def test_values_that_are_not_finite_name_the_mask() -> None:
    ell, truth, valid = problem()
    with pytest.raises(ValueError, match=r"mask=numpy.isfinite\(log_likelihood\).all\(axis=-2\)"):
        fit_weights(spoiled(ell, valid, np.nan), truth)
