"""Volumes: the flow and its gradient against dense matrices, spaced patches against their moments, labels of a ball."""

import numpy as np
import pytest
from examples import ball
from oracles import dense_solution, random_problem, relative, tol

import gpulaf
from gpulaf import Krylov, Taylor, bilateral_weights, fit_weights, label, refine, refine_logits, uniform_weights
from gpulaf.averaging import spaced_weights
from gpulaf.backend import memory, memory_estimate
from gpulaf.backend.array import host_array
from gpulaf.fields import field_shape, from_rows
from gpulaf.flows import exact_gradient, weight_gradient
from gpulaf.labeling import log_likelihood
from gpulaf.learning import FitOptions

TIME = 3.0


@pytest.mark.parametrize("integrator", [Krylov(tol=1e-10), Taylor(tol=1e-10)], ids=str)
@pytest.mark.parametrize("shape", [(3, 2, 3, 4), (2, 1, 2, 5), (2, 3, 1, 3)])
def test_solution_against_dense_exponential(xp, integrator, shape):
    labels, depth, height, width = shape
    problem = random_problem(labels, height, width, depth=depth)
    found = integrator.solve(problem.flow(xp), TIME).v
    assert relative(found, dense_solution(problem, TIME)) < 1e-8


@pytest.mark.parametrize("integrator", [Krylov(tol=1e-6), Taylor(12)], ids=str)
def test_gradient_against_central_differences(xp, dtype, integrator):
    problem = random_problem(2, 3, 2, depth=3)
    rng, h = np.random.default_rng(2), 1e-5

    def loss(weights, l):
        changed = type(problem)(weights, l, problem.g, problem.truth)
        return float((problem.g * dense_solution(changed, TIME)).sum())

    dw = rng.standard_normal(problem.weights.shape) * (problem.weights > 0)
    dl = rng.standard_normal(problem.log_likelihood.shape)
    by_weights, by_field = (
        (loss(problem.weights + h * a, problem.log_likelihood + h * b)
         - loss(problem.weights - h * a, problem.log_likelihood - h * b)) / (2 * h)
        for a, b in ((dw, 0), (0, dl))
    )  # fmt: skip
    flow = problem.flow(xp, dtype)
    g = xp(problem.g.astype(dtype))
    accuracy = max(1e-5, 10 * tol(dtype))
    for gradient in (exact_gradient(flow, TIME, g), weight_gradient(flow, integrator.solve(flow, TIME), g, tol=1e-9)):
        assert (host_array(gradient.weights) * dw).sum() == pytest.approx(by_weights, rel=accuracy)
        assert (host_array(gradient.log_likelihood) * dl).sum() == pytest.approx(by_field, rel=accuracy)
        assert (host_array(gradient.weights)[problem.weights == 0] == 0).all()


def test_weights_of_a_volume_are_learned(xp, dtype):
    volume, truth = ball(noise=0.5, side=12.0)
    l = log_likelihood(np.stack([abs(volume - j) for j in (0, 1)], axis=-2), 0.1).astype(dtype)
    result = fit_weights(xp(l), xp(truth.astype(np.int32)), steps=6, options=FitOptions(progress=False))
    assert result.weights.shape == field_shape(truth.shape, 27)
    assert host_array(result.weights).dtype == dtype
    assert result.history[-1].loss < 0.7 * result.history[0].loss
    assert result.history[-1].wrong < result.history[0].wrong
    labels = label(xp(volume.astype(dtype)), [0, 1], weights=result.weights, channel_axis=None).labels
    assert (host_array(labels) != truth).mean() == pytest.approx(result.history[-1].wrong, abs=0.001)


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("spacing", [(2, 1, 1), (3.0, 0.5, 0.7), (1, 4), (0.2, 0.3)])
def test_spaced_patches_have_equal_moments(dtype, spacing, radius):
    side = 2 * radius + 1
    patch = spaced_weights((side,) * len(spacing), spacing, radius, dtype=dtype)
    assert patch.dtype == dtype
    patch = from_rows(patch)[(radius,) * len(spacing)].astype(np.float64).reshape((side,) * len(spacing))
    assert patch.sum() == pytest.approx(1, rel=tol(dtype))
    squares = np.arange(-radius, radius + 1) ** 2.0
    for axis, distance in enumerate(spacing):
        along = patch.sum(axis=tuple(k for k in range(len(spacing)) if k != axis))
        expected = min(spacing) ** 2 * sum(d * d for d in range(1, radius + 1)) * 2 / side
        assert distance**2 * (along @ squares) == pytest.approx(expected, rel=max(1e-6, 5 * tol(dtype)))


def test_spaced_patches_of_radius_one_in_closed_form():
    patch = spaced_weights((3, 3), (2, 1), dtype=np.float64)[1, :, 1]
    p = 2 / 3 / 4
    assert patch[1] / patch[4] == pytest.approx(p / (2 * (1 - p)), rel=1e-12)


def test_equal_spacing_is_the_uniform_patch():
    for shape, spacing in (((2, 3, 4), (0.3, 0.3, 0.3)), ((3, 5), (7, 7))):
        np.testing.assert_array_equal(spaced_weights(shape, spacing), uniform_weights(shape))


def test_bilateral_weights_of_a_volume(xp, dtype):
    rng = np.random.default_rng(0)
    volume, spacing = rng.random((2, 3, 4, 2)).astype(dtype), (2, 1, 1)
    found = host_array(bilateral_weights(xp(volume), sigma=0.5, spacing=spacing))
    factor = [[p / (2 * (1 - p)) if step else 1.0 for step in (-1, 0, 1)] for p in (1 / 6, 2 / 3, 2 / 3)]
    expected = np.zeros((2, 3, 27, 4))
    for pixel in np.ndindex(2, 3, 4):
        z, y, x = pixel
        for o, steps in enumerate(np.ndindex(3, 3, 3)):
            other = tuple(i + s - 1 for i, s in zip(pixel, steps, strict=True))
            if all(0 <= i < n for i, n in zip(other, (2, 3, 4), strict=True)):
                squared = ((volume[pixel].astype(float) - volume[other]) ** 2).sum()
                expected[z, y, o, x] = np.exp(-squared / 0.5) * np.prod([factor[a][s] for a, s in enumerate(steps)])
    assert relative(found, expected / expected.sum(axis=-2, keepdims=True)) < tol(dtype)
    gpulaf.averaging.check_weights(found, (2, 3, 4))


@pytest.mark.parametrize("spacing", [(1, 1, 1), (3, 1, 1)])
def test_a_ball_in_noise(xp, spacing):
    volume, truth = ball(spacing)
    result = label(xp(volume), [0.0, 1.0], channel_axis=None, spacing=spacing)
    pixelwise = np.mean((volume > 0.5) != truth)
    assert result.labels.shape == truth.shape
    assert result.probabilities.shape == (*truth.shape, 2)
    assert np.mean(host_array(result.labels) != truth) < 0.2 * pixelwise
    channels = label(xp(np.stack([volume, volume])), [[0.0, 0.0], [1.0, 1.0]], spacing=spacing, channel_axis=0)
    assert channels.labels.shape == truth.shape


def test_thick_slices_are_averaged_less_across():
    volume, truth = ball((4, 1, 1), noise=0.4)
    labelings = [label(volume, [0, 1], channel_axis=None, spacing=spacing) for spacing in ((4, 1, 1), (1, 1, 1))]
    wrong = [np.mean(result.labels != truth) for result in labelings]
    assert wrong[0] < 0.5 * wrong[1]


def test_spacing_of_an_image():
    image, _ = ball(noise=0.3)
    spaced = label(image[12], [0, 1], spacing=(2, 1))
    weights = spaced_weights(image[12].shape, (2, 1), dtype=np.float64)
    np.testing.assert_array_equal(spaced.probabilities, label(image[12], [0, 1], weights=weights).probabilities)


def test_predictions_of_a_volume(xp, dtype):
    logits = np.random.default_rng(0).standard_normal((3, 4, 5, 2)).astype(dtype)
    found = refine_logits(xp(logits), spacing=(2, 1, 1))
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    assert relative(refine(xp(p), spacing=(2, 1, 1)).probabilities, found.probabilities) < 10 * tol(dtype)
    assert found.labels.shape == (3, 4, 5)
    equal = refine_logits(logits, spacing=(1, 1, 1))
    np.testing.assert_array_equal(equal.probabilities, refine_logits(logits).probabilities)


@pytest.mark.parametrize(
    ("shape", "channel_axis", "spacing", "said"),
    [
        ((3, 4), None, (1, 1, 1), r"there are 2 spatial axes; accepted is one distance for each"),
        ((3, 4, 5), -1, (1, 1, 1), "there are 2 spatial axes.*channel_axis=None"),
        ((3, 4, 5, 2), None, None, r"\(3, 4, 5, 2\); accepted are \(H, W\) and \(D, H, W\) where channel_axis is None"),
        ((3, 4, 5), None, (1, 0, 1), r"spacing is \(1, 0, 1\); accepted are positive distances"),
        ((3, 4, 5), None, (1, np.inf, 1), r"spacing is .*inf.*; accepted"),
        ((3, 4, 5), None, (1, 1, 1, 1), "there are 3 spatial axes"),
        ((3, 4, 5), None, 2.0, "spacing is 2.0; accepted"),
    ],
)
def test_bad_volumes(shape, channel_axis, spacing, said):
    with pytest.raises(ValueError, match=said):
        label(np.zeros(shape), [0, 1], channel_axis=channel_axis, spacing=spacing)


def test_three_axes_are_channels_or_a_volume():
    image = np.random.default_rng(0).random((4, 5, 3))
    assert label(image, 2).labels.shape == (4, 5)
    assert label(image, 2, channel_axis=None).labels.shape == (4, 5, 3)
    assert label(image[..., None], 2).labels.shape == (4, 5, 3)


def test_bad_spaced_patches():
    with pytest.raises(ValueError, match=r"spacing is \(1, 2\); accepted are 3 positive numbers"):
        spaced_weights((3, 3, 3), (1, 2))
    with pytest.raises(ValueError, match=r"spacing is \(1, -2\)"):
        spaced_weights((3, 3), (1, -2))
    with pytest.raises(ValueError, match="radius is 0"):
        spaced_weights((3, 3), (1, 2), 0)
    with pytest.raises(ValueError, match=r"there are 3 spatial axes"):
        bilateral_weights(np.zeros((2, 3, 4, 5)), spacing=(1, 2))


def test_a_volume_that_cannot_fit_is_refused_with_the_tile_that_would(monkeypatch):
    estimate = memory_estimate((40, 50, 60), 2, solver=Taylor())
    monkeypatch.setattr(memory, "free_bytes", lambda on_device: estimate // 2)
    with pytest.raises(MemoryError, match=r"40×50×60 pixels takes.* A tile of 32×32×32 pixels would fit"):
        label(np.zeros((40, 50, 60), np.float32), [0, 1], channel_axis=None)
