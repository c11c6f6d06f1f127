"""Cross entropy through the noise of labels: against loops, central differences, and what it is lowest for."""

import re
from functools import partial

import numpy as np
import pytest
from oracles import random_problem, relative, tol

import gpulaf
from gpulaf import cross_entropy_loss
from gpulaf.backend.array import host_array
from gpulaf.learning import NoisyLabelLoss

Q = np.array([[0.8, 0.15, 0.0], [0.2, 0.7, 0.3], [0.0, 0.15, 0.7]])


def by_loops(v, truth, transition):
    """−log Σ_k Q_yk W_k, pixel by pixel."""
    values = []
    for place in np.argwhere(truth >= 0):
        w = np.exp(v[(*place[:-1], slice(None), place[-1])].astype(np.float64))
        values.append(-np.log(transition[truth[tuple(place)]] @ w / w.sum()))
    return np.mean(values)


@pytest.mark.parametrize("depth", [None, 2])
def test_the_loss_by_loops_and_its_derivative_by_central_differences(xp, dtype, depth):
    problem = random_problem(depth=depth)
    v, truth = problem.log_likelihood.astype(dtype), problem.truth
    value, derivative = cross_entropy_loss(xp(v), xp(truth), transition=Q)
    assert value == pytest.approx(by_loops(v, truth, Q), rel=tol(dtype))
    assert derivative.dtype == xp(v).dtype
    numbers, h, d = v.astype(np.float64), 1e-5, np.zeros(v.shape)
    for place in np.ndindex(v.shape):
        e = np.zeros(v.shape)
        e[place] = h
        d[place] = (by_loops(numbers + e, truth, Q) - by_loops(numbers - e, truth, Q)) / (2 * h)
    assert relative(derivative, d) < max(1e-8, tol(dtype))
    assert not host_array(derivative)[np.broadcast_to((truth < 0)[..., None, :], v.shape)].any()


def test_each_image_of_a_batch_has_its_own_loss(xp, dtype):
    problems = [random_problem(seed=seed) for seed in range(2)]
    v, truth = (np.stack([getattr(p, name) for p in problems]) for name in ("log_likelihood", "truth"))
    value, derivative = cross_entropy_loss(xp(v.astype(dtype)), xp(truth), transition=Q, batch=1)
    for b in range(2):
        own = cross_entropy_loss(v[b].astype(dtype), truth[b], transition=Q)
        assert value[b] == pytest.approx(own.value, rel=tol(dtype))
        assert relative(host_array(derivative)[b], own.derivative) < tol(dtype)


@pytest.mark.parametrize("weights", [{}, {"class_weights": [1.0, 2.0, 0.5]}, {"pixel_weights": np.full((4, 5), 3.0)}])
def test_without_noise_it_is_cross_entropy(xp, dtype, weights):
    problem = random_problem()
    v, truth = xp(problem.log_likelihood.astype(dtype)), xp(problem.truth)
    weights = {name: xp(np.asarray(x)) for name, x in weights.items()}
    plain, noisy = (cross_entropy_loss(v, truth, transition=t, **weights) for t in (None, np.eye(3)))
    assert noisy.value == pytest.approx(plain.value, rel=tol(dtype))
    assert relative(noisy.derivative, host_array(plain.derivative)) < tol(dtype)


def test_labels_without_truth_do_not_count():
    problem = random_problem()
    more = np.where(problem.truth < 0, -1, problem.truth)
    v = problem.log_likelihood.copy()
    value = cross_entropy_loss(v, more, transition=Q).value
    v[np.broadcast_to((more < 0)[:, None, :], v.shape)] = 7.0
    assert cross_entropy_loss(v, more, transition=Q).value == value


def test_labels_that_are_all_but_sure_do_not_overflow(dtype):
    v = np.array([[[1000.0], [-1000.0], [0.0]]], dtype)
    value, derivative = cross_entropy_loss(v, np.array([[2]]), transition=Q)
    assert value == pytest.approx(1000 - np.log(0.7), rel=tol(dtype))  # Q has no way from 0 to 2, and W_2 is e^-1000
    assert np.isfinite(derivative).all()


def test_it_is_lowest_for_the_shares_that_are_right():
    """Labels drawn through Q from shares W: the expected loss of a pixel is lowest at W, that without Q at Q W."""
    w = np.array([0.6, 0.3, 0.1])
    told = Q @ w
    v = np.log(w)[None, :, None]

    def slope(transition):
        parts = [cross_entropy_loss(v, np.array([[y]]), transition=transition).derivative for y in range(3)]
        return np.tensordot(told, np.array(parts), axes=1)

    assert np.abs(slope(Q)).max() < 1e-15
    assert np.abs(slope(None)).max() > 0.05


@pytest.mark.parametrize(
    "transition", [np.eye(2), Q.T, -Q, Q * np.nan, np.array([[1.0, 1, 1], [0, 0, 0], [0, 0, 0]]), [1.0, 0, 0]]
)
def test_what_is_no_transition_is_refused(transition):
    problem = random_problem()
    with pytest.raises(ValueError, match=re.escape("transition is ") + r".*; accepted is \(3, 3\).*Divide"):
        cross_entropy_loss(problem.log_likelihood, problem.truth, transition=transition)


@pytest.mark.parametrize("transition", [np.full((2, 2), 0.5), [[1, 0.995], [0, 0.005]]])
def test_noise_that_makes_labels_alike_is_refused(transition):
    with pytest.raises(ValueError, match="transition makes the labels 0 and 1 alike: their columns differ by"):
        NoisyLabelLoss(transition)


@pytest.mark.parametrize("transition", [0.1, None, [0.9, 0.1], np.zeros((2, 2, 2))])
def test_what_is_no_matrix_is_refused(transition):
    with pytest.raises(TypeError, match=r"accepted is \(J, J\), as"):
        NoisyLabelLoss(transition)


def test_a_fit_learns_from_noisy_labels():
    """A third of the labels of the truth is wrong: after a fit through Q less than a tenth is."""
    scene, rng, share = gpulaf.scenes.voronoi_lines(48, sites=6, noise=0.3), np.random.default_rng(0), 0.35
    noisy = np.where(rng.random(scene.truth.shape) < share, 1 - scene.truth, scene.truth)
    transition = np.array([[1 - share, share], [share, 1 - share]])
    l = gpulaf.fields.to_rows(-((scene.image - [0.0, 1.0]) ** 2) / 0.18)
    losses = NoisyLabelLoss(transition), partial(cross_entropy_loss, transition=transition)
    fits = [gpulaf.fit_weights(l, noisy, loss=loss, steps=10) for loss in losses]
    np.testing.assert_array_equal(fits[0].weights, fits[1].weights)
    assert fits[0].history[-1].loss < fits[0].history[0].loss
    found = gpulaf.label(scene.image, scene.prototypes, weights=fits[0].weights, rho=0.18, metric="sqeuclidean")
    assert (found.labels != scene.truth).mean() < 0.1 < 0.3 < (noisy != scene.truth).mean()
