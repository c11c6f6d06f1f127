"""Pixel weights of the cross entropy, and those of boundaries by brute force."""

import math

import numpy as np
import pytest
from oracles import random_problem, relative, tol

from gpulaf import cross_entropy_loss
from gpulaf.backend.array import host_array
from gpulaf.learning import BoundaryLoss, boundary_weights


def by_hand(truth, weight, width):
    """Distances of all pixels to all pixels that have a neighbor of another label."""
    pixels = list(np.ndindex(truth.shape))
    border = [
        p for p in pixels for q in pixels
        if sum(abs(a - b) for a, b in zip(p, q, strict=True)) == 1 and -1 != truth[p] != truth[q] != -1
    ]  # fmt: skip
    found = np.ones(truth.shape)
    for p in pixels if border else ():
        found[p] += weight * math.exp(-min(math.dist(p, q) for q in border) ** 2 / (2 * width**2))
    return found


@pytest.mark.parametrize("shape", [(1, 7), (6, 1), (5, 6), (3, 4, 5)])
@pytest.mark.parametrize("labels", [1, 2, 3])
def test_boundary_weights_by_hand(shape, labels):
    truth = np.random.default_rng(0).integers(0, labels, shape)
    truth[np.random.default_rng(1).random(shape) < 0.5] = -1
    np.testing.assert_allclose(boundary_weights(truth, 4.0, 1.5), by_hand(truth, 4.0, 1.5), rtol=1e-12)


def test_a_line_counts_more_than_what_is_far_away():
    truth = np.zeros((9, 30), int)
    truth[:, 3] = 1
    weights = boundary_weights(truth, 5.0, 2.0)
    np.testing.assert_allclose(weights[4, [2, 3, 4]], 6)
    assert weights[4, 6] == pytest.approx(1 + 5 * math.exp(-0.5))
    assert weights[4, 20] == pytest.approx(1)
    np.testing.assert_array_equal(boundary_weights(np.ma.masked_array(truth, truth == 1), 5.0, 2.0), 1)


def test_the_loss_is_the_weighted_mean(xp, dtype):
    problem, loss = random_problem(), BoundaryLoss(weight=3.0, width=1.0)
    found = loss(xp(problem.g.astype(dtype)), xp(problem.truth))
    weights = by_hand(problem.truth, 3.0, 1.0)
    p = np.exp(problem.g) / np.exp(problem.g).sum(axis=-2, keepdims=True)
    at = [(y, x) for y, x in np.ndindex(problem.truth.shape) if problem.truth[y, x] >= 0]
    logs = [weights[y, x] * math.log(p[y, problem.truth[y, x], x]) for y, x in at]
    assert found.value == pytest.approx(-sum(logs) / sum(weights[i] for i in at), rel=tol(dtype))
    assert host_array(found.derivative).dtype == dtype


def test_derivative_of_weighted_pixels_against_central_differences(xp, dtype):
    problem, h = random_problem(), 1e-6
    weights, c = np.random.default_rng(0).uniform(0.1, 3, problem.truth.shape), [0.5, 3.0, 1.5]
    v, options = problem.g, {"class_weights": c, "pixel_weights": weights}
    found = cross_entropy_loss(xp(v.astype(dtype)), xp(problem.truth), class_weights=c, pixel_weights=xp(weights))
    expected = np.zeros_like(v)
    for at in np.ndindex(v.shape):
        step = np.zeros_like(v)
        step[at] = h
        above, below = (cross_entropy_loss(v + sign * step, problem.truth, **options).value for sign in (1, -1))
        expected[at] = (above - below) / (2 * h)
    assert relative(found.derivative, expected) < tol(dtype) + 1e-8


def test_pixels_of_weight_two_count_like_two_pixels():
    problem = random_problem(3, 1, 9)
    again = np.arange(9) % 2 == 0
    v, truth = (np.concatenate([x, x[..., again]], axis=-1) for x in (problem.g, problem.truth))
    found = cross_entropy_loss(problem.g, problem.truth, pixel_weights=np.where(again, 2, 1)[None])
    assert found.value == pytest.approx(cross_entropy_loss(v, truth).value, rel=1e-12)


def test_a_batch_has_the_losses_of_each_image(xp, dtype):
    problems = [random_problem(seed=seed) for seed in range(3)]
    v, truth = xp(np.stack([p.g for p in problems]).astype(dtype)), xp(np.stack([p.truth for p in problems]))
    found = BoundaryLoss()(v, truth, batch=1, class_weights=[1, 2, 3])
    for b in range(3):
        one = BoundaryLoss()(v[b, ...], truth[b, ...], class_weights=[1, 2, 3])
        assert found.value[b] == one.value
        np.testing.assert_array_equal(host_array(found.derivative[b, ...]), host_array(one.derivative))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (np.ones((5, 4)), r"pixel_weights have shape \(5, 4\); accepted is \(4, 5\)"),
        (np.zeros((4, 5)), "none of the positive numbers"),
        (np.full((4, 5), np.nan), "none of the positive numbers"),
        (np.full((4, 5), np.inf), "none of the positive numbers"),
    ],
)
def test_pixel_weights_that_are_refused(weights, said):
    problem = random_problem()
    with pytest.raises(ValueError, match=said):
        cross_entropy_loss(problem.g, problem.truth, pixel_weights=weights)


def test_options_that_are_refused():
    for options, said in (
        ({"weight": -1}, "weight is -1; accepted are numbers from 0"),
        ({"width": 0}, "width is 0; accepted are positive"),
        ({"width": math.nan}, "width is nan"),
    ):
        with pytest.raises(ValueError, match=said):
            BoundaryLoss(**options)
    with pytest.raises(ValueError, match=r"v has shape \(3, 6\); accepted are \(H, J, W\)"):
        BoundaryLoss()(np.zeros((3, 6)), np.zeros(6, int))
