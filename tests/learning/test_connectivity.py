"""The loss of connectivity against all maximin paths by Floyd and Warshall, and by central differences."""

import math
from itertools import combinations

import numpy as np
import pytest
from gpulaf.kernels.maximin import pairs
from oracles import relative, tol

from gpulaf import cosine_loss, cross_entropy_loss
from gpulaf.backend.array import host_array
from gpulaf.learning import BoundaryLoss, ConnectivityLoss, Loss


def nothing(v, truth, batch=0):
    """No loss of pixels."""
    return Loss(np.zeros(v.shape[:batch]) if batch else 0.0, 0 * v)


def maximin(scores):
    """Of every pair of pixels, the smallest score on the best path: Floyd and Warshall, pixels that share a face."""
    at = np.argwhere(np.ones(scores.shape, bool))
    near = abs(at[:, None] - at).sum(axis=-1) <= 1
    best = np.where(near, np.minimum(scores.reshape(-1, 1), scores.ravel()), -np.inf)
    for k in range(len(best)):
        best = np.maximum(best, np.minimum(best[:, k, None], best[k]))
    return best


def by_paths(v, truth, foreground, merges):
    """The loss from its definition, pair by pair."""
    p = np.exp(v) / np.exp(v).sum(axis=-2, keepdims=True)
    ones = p[..., list(foreground), :].sum(axis=-2)
    s, inside, unknown = np.log(ones / (1 - ones)), np.isin(truth, foreground), truth == -1
    within = maximin(np.where(inside, s, np.where(unknown, np.inf, -np.inf)))
    between = maximin(np.where(inside | unknown, np.inf, s))
    same, different = [], []
    for a, b in combinations(np.flatnonzero(inside), 2):
        if within[a, b] > -np.inf:
            same.append(math.log1p(math.exp(-within[a, b])))
        else:
            different.append(math.log1p(math.exp(between[a, b])))
    return sum((c * np.mean(x)) if x else 0.0 for c, x in ((1 - merges, same), (merges, different)))


def cells(shape, labels=2, seed=0, unknown=0.15):
    """Scores v and a truth of cells between walls, some of it not known."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(shape) < 0.7) * rng.integers(1, labels, shape)
    truth[rng.random(shape) < unknown] = -1
    truth.flat[0] = 1
    return 2 * rng.standard_normal((*shape[:-1], labels, shape[-1])), truth


SHAPES = [(1, 9), (8, 1), (5, 6), (7, 7), (3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pixels_decide_the_pairs_whose_best_path_is_as_weak(shape):
    rng = np.random.default_rng(0)
    scores = np.where(rng.random(shape) < 0.2, -np.inf, rng.standard_normal(shape))
    masses = rng.integers(0, 3, shape)
    whole = (*(1,) * (3 - len(shape)), *shape)
    found, best = pairs(scores.reshape(whole), masses.reshape(whole)).ravel(), maximin(scores)
    expected = np.zeros(scores.size, int)
    for a, b in combinations(range(scores.size), 2):
        if best[a, b] > -np.inf:
            expected[np.flatnonzero(scores.ravel() == best[a, b])[0]] += masses.flat[a] * masses.flat[b]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("labels", "foreground"), [(2, (1,)), (4, (1, 3)), (3, (0,))], ids=str)
def test_values_against_all_paths(xp, shape, labels, foreground):
    for seed, merges in enumerate((0.5, 0.9)):
        v, truth = cells(shape, labels, seed)
        loss = ConnectivityLoss(foreground, merges=merges, loss=nothing)
        assert loss(xp(v), xp(truth)).value == pytest.approx(by_paths(v, truth, foreground, merges), rel=1e-10)


@pytest.mark.parametrize(("labels", "foreground"), [(2, 1), (4, (1, 3))], ids=str)
@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 4)], ids=str)
def test_derivatives_against_central_differences(xp, shape, labels, foreground):
    (v, truth), h = cells(shape, labels), 1e-6
    loss = ConnectivityLoss(foreground, weight=3.0)
    found, expected = loss(xp(v), xp(truth)), np.zeros_like(v)
    for at in np.ndindex(v.shape):
        step = np.zeros_like(v)
        step[at] = h
        expected[at] = (loss(v + step, truth).value - loss(v - step, truth).value) / (2 * h)
    assert relative(found.derivative, expected) < 1e-8
    assert (np.moveaxis(host_array(found.derivative), -2, -1)[truth == -1] == 0).all()


def test_both_precisions(xp, dtype):
    v, truth = cells((30, 31), 3)
    v = v.astype(np.float32)
    loss = ConnectivityLoss((1, 2), weight=2.0)
    found, expected = loss(xp(v.astype(dtype)), xp(truth)), loss(v.astype(np.float64), truth)
    assert found.value == pytest.approx(expected.value, rel=tol(dtype))
    assert relative(found.derivative, expected.derivative) < tol(dtype)
    assert host_array(found.derivative).dtype == dtype


def test_the_gap_of_a_wall_is_what_counts():
    truth = np.ones((5, 9), int)
    truth[:, 4] = 0
    v = np.zeros((5, 2, 9))
    v[:, 1] = np.where(truth == 1, 4, -4)
    v[2, 1, 4] = 3  # the wall has a gap: it decides all 20·20 pairs
    found = ConnectivityLoss(loss=nothing)(v, truth)
    assert found.derivative[2, 1, 4] == pytest.approx(0.5 / (1 + math.exp(-3)))
    assert found.derivative[2, 0, 4] == -found.derivative[2, 1, 4]
    assert (np.delete(found.derivative[:, 1, 4], 2) == 0).all()
    assert found.value == pytest.approx(0.5 * math.log1p(math.exp(3)) + 0.5 * math.log1p(math.exp(-4)))


def test_pixels_without_truth_connect_what_touches_them():
    v = np.array([[[0.0] * 7, [2.0, 1.5, -9, 1, -9, 3, 2.5]]])
    truth = np.array([[1, 1, -1, 1, 0, 1, -1]])
    found = ConnectivityLoss(loss=nothing)(v, truth)  # segments {0, 1, 3} and {5}
    same = [math.log1p(math.exp(-s)) for s in (1.5, 1, 1)]
    assert found.value == pytest.approx(0.5 * np.mean(same) + 0.5 * math.log1p(math.exp(-9)))
    hidden = np.ma.masked_array(np.where(truth == -1, 0, truth), truth == -1)
    assert ConnectivityLoss(loss=nothing)(v, hidden).value == found.value


@pytest.mark.parametrize("ones", [0, 1])
def test_no_pairs_no_loss(ones):
    v, truth = np.random.default_rng(0).standard_normal((3, 2, 4)), np.zeros((3, 4), int)
    truth[1, :ones] = 1
    found = ConnectivityLoss(loss=nothing)(v, truth)
    assert found.value == 0
    assert (found.derivative == 0).all()


@pytest.mark.parametrize("own", [cross_entropy_loss, cosine_loss, BoundaryLoss()])
def test_it_adds_to_a_loss_of_pixels(own, dtype):
    v, truth = cells((6, 7))
    v, options = v.astype(dtype), {"class_weights": [1.0, 2.0]}
    found, pixels = (loss(v, truth, **options) for loss in (ConnectivityLoss(weight=0.3, loss=own), own))
    pairwise = ConnectivityLoss(loss=nothing)(v, truth)
    assert found.value == pytest.approx(pixels.value + 0.3 * pairwise.value, rel=1e-12)
    assert relative(found.derivative, pixels.derivative + 0.3 * pairwise.derivative) < tol(dtype)


def test_a_batch_has_the_losses_of_each_image(xp, dtype):
    images = [cells((6, 7), 3, seed) for seed in range(3)]
    v, truth = xp(np.stack([v for v, _ in images]).astype(dtype)), xp(np.stack([t for _, t in images]))
    loss = ConnectivityLoss((1, 2))
    found = loss(v, truth, batch=1)
    for b in range(3):
        one = loss(v[b, ...], truth[b, ...])
        assert found.value[b] == one.value
        np.testing.assert_array_equal(host_array(found.derivative[b, ...]), host_array(one.derivative))


def test_descent_closes_a_gap():
    truth = np.ones((12, 13), int)
    truth[:, 6] = 0
    v = np.zeros((12, 2, 13))
    v[:, 1] = np.where(truth == 1, 1.0, -1.0)
    v[5, 1, 6] = 6.0
    values = []
    for _ in range(60):
        found = ConnectivityLoss(loss=nothing)(v, truth)
        values.append(found.value)
        v = v - 2 * found.derivative
    assert values[-1] < 0.2 * values[0]
    assert (v[:, 1, 6] < v[:, 0, 6]).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"foreground": -1}, "foreground is -1; accepted are a label from 0"),
        ({"foreground": ()}, r"foreground is \(\)"),
        ({"foreground": 0.5}, "foreground is 0.5"),
        ({"weight": -1}, "weight is -1; accepted are numbers from 0"),
        ({"merges": 1.5}, "merges is 1.5; accepted are shares"),
    ],
)
def test_options_that_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        ConnectivityLoss(**options)


@pytest.mark.parametrize("foreground", [2, (0, 1)])
def test_a_foreground_that_the_labels_do_not_have(foreground):
    with pytest.raises(ValueError, match=r"accepted are some of the labels 0 to 1"):
        ConnectivityLoss(foreground)(*cells((4, 5)))


def test_graphs_are_refused():
    with pytest.raises(ValueError, match=r"v has shape \(2, 6\); accepted are \(H, J, W\)"):
        ConnectivityLoss()(np.zeros((2, 6)), np.zeros(6, int))
