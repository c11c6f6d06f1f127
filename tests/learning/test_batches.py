"""A batch of images has the losses and the steps of each image alone, bit for bit."""

import numpy as np
import pytest
from oracles import random_problem, relative, tol

from gpulaf import RiemannianAdam, RiemannianGradient, cosine_loss, cross_entropy_loss
from gpulaf.backend.array import host_array
from gpulaf.learning import Adam, AdaMax, wrong_share
from gpulaf.learning.descent import squared_norms

LOSSES = pytest.mark.parametrize("loss", [cosine_loss, cross_entropy_loss])


def stacked(name, sizes=(3, 4, 5), count=3, **options):
    return np.stack([getattr(random_problem(*sizes, seed=seed, **options), name) for seed in range(count)])


@LOSSES
@pytest.mark.parametrize("class_weights", [None, [0.5, 3.0, 1.5]], ids=["equal", "weighted"])
@pytest.mark.parametrize("sizes", [(3, 4, 5), (3, 1, 7), (3, 90, 101)], ids=str)
def test_losses_of_a_batch_are_those_of_each_image(xp, dtype, loss, class_weights, sizes):
    v, truth = xp(stacked("g", sizes).astype(dtype)), xp(stacked("truth", sizes))
    options = {"class_weights": class_weights}
    found = loss(v, truth, batch=1, **options)
    assert isinstance(found.value, np.ndarray)
    assert (found.value.shape, found.value.dtype) == ((3,), np.float64)
    assert (found.derivative.shape, host_array(found.derivative).dtype) == (v.shape, dtype)
    wrong = wrong_share(v, truth, batch=1)
    for b in range(3):
        one = loss(v[b, ...], truth[b, ...], **options)
        assert isinstance(one.value, float)
        assert found.value[b] == one.value
        np.testing.assert_array_equal(host_array(found.derivative[b, ...]), host_array(one.derivative))
        assert wrong[b] == wrong_share(v[b, ...], truth[b, ...])


@LOSSES
def test_derivatives_of_a_batch_against_central_differences(xp, loss):
    v, truth, h = stacked("g"), stacked("truth"), 1e-6
    found = host_array(loss(xp(v), xp(truth), batch=1).derivative)
    for at in np.ndindex(v.shape[1:]):
        step = np.zeros_like(v)
        step[:, *at] = h
        values = [loss(v + sign * step, truth, batch=1).value for sign in (1, -1)]
        np.testing.assert_allclose(found[:, *at], (values[0] - values[1]) / (2 * h), rtol=1e-6, atol=1e-9)


@LOSSES
def test_batches_of_volumes_and_of_batches(loss):
    v, truth = stacked("g", depth=2, count=4), stacked("truth", depth=2, count=4)
    found = loss(v, truth, batch=1)
    nested = loss(v.reshape(2, 2, *v.shape[1:]), truth.reshape(2, 2, *truth.shape[1:]), batch=2)
    assert nested.value.shape == (2, 2)
    np.testing.assert_array_equal(nested.value.ravel(), found.value)
    np.testing.assert_array_equal(nested.derivative.reshape(v.shape), found.derivative)
    for b in range(4):
        assert found.value[b] == loss(v[b], truth[b]).value
    flat = loss(v, truth)  # as one image of all the pixels
    assert isinstance(flat.value, float)
    assert flat.derivative.shape == v.shape


@LOSSES
def test_an_image_of_a_batch_without_labels_is_told(loss):
    v, truth = stacked("g"), stacked("truth")
    truth[1] = -1
    with pytest.raises(ValueError, match=r"truth of image 1 holds no labeled pixel; accepted are"):
        loss(v, truth, batch=1)
    with pytest.raises(ValueError, match=r"truth has shape \(3, 4, 5\); accepted is \(3, 3, 5\), the pixels of v"):
        loss(np.moveaxis(v, -2, 1), truth, batch=1)


METHODS = [RiemannianGradient(0.5), RiemannianAdam(0.05), Adam(0.05), AdaMax(0.05)]


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize(("sizes", "radius"), [((2, 4, 5), 1), ((2, 6, 7), 2), ((2, 70, 83), 1)], ids=str)
def test_a_batch_descends_as_each_image(xp, dtype, method, sizes, radius):
    weights, rng = stacked("weights", sizes, radius=radius).astype(dtype), np.random.default_rng(0)
    scales = np.array([1.0, 1e-3, 1e2])[:, None, None, None]  # what one image needs is no measure for another
    gradients = [(scales * rng.standard_normal(weights.shape)).astype(dtype) for _ in range(3)]

    def descend(start, part):
        moved = xp(start)
        state = method.start(moved)
        for count, gradient in enumerate(gradients):
            moved, state = method.update(moved, xp(gradient[part]), state, count)
        return host_array(moved), {name: host_array(x) for name, x in state.items()}

    found, state = descend(weights, slice(None))
    for b in range(3):
        one, own = descend(weights[b], b)
        for together, alone in ((found[b], one), *((state[name][b], array) for name, array in own.items())):
            if xp.name == "cupy":  # whose means over an image add up in another order beside other images
                assert relative(together, alone) < tol(dtype)
            else:
                np.testing.assert_array_equal(together, alone)


def test_a_volume_is_no_batch(dtype):
    """Steps per pixel count all pixels of the volume; a batch counts those of an image."""
    problem = random_problem(2, 4, 5, depth=3)
    gradient = 0.01 * np.random.default_rng(0).standard_normal(problem.weights.shape)
    moved, _ = RiemannianGradient(0.5).update(problem.weights.astype(dtype), gradient.astype(dtype), {}, 0)
    expected = problem.weights * np.exp(-0.5 * 60 * gradient)
    assert relative(moved, expected / expected.sum(axis=-2, keepdims=True)) < tol(dtype)
    weights, gradient = stacked("weights"), 0.01 * np.random.default_rng(0).standard_normal((3, 4, 9, 5))
    moved, _ = RiemannianGradient(0.5).update(weights.astype(dtype), gradient.astype(dtype), {}, 0)
    expected = weights * np.exp(-0.5 * 20 * gradient)
    assert relative(moved, expected / expected.sum(axis=-2, keepdims=True)) < tol(dtype)
    norms = squared_norms(weights, gradient)
    np.testing.assert_array_equal(norms[2], squared_norms(weights[2], gradient[2]))
