"""Ω as an object, and the weight patches it is made of."""

import sys

import numpy as np
import pytest
from oracles import dense_average, random_problem, relative, tol

import gpulaf
from gpulaf import Grid, bilateral_weights, uniform_weights
from gpulaf.averaging import check_weights, normalize_weights
from gpulaf.backend.array import host_array


def test_adjoint_pairing(xp, dtype):
    problem = random_problem(labels=4, height=9, width=7)
    flow = problem.flow(xp, dtype)
    rng = np.random.default_rng(1)
    u, w = (rng.standard_normal(problem.g.shape).astype(dtype) for _ in range(2))
    for apply, adjoint in ((flow.A, flow.At), (flow.averaging.apply, flow.averaging.adjoint)):
        one = np.vdot(np.asarray(host_array(apply(xp(u))), np.float64), w)
        other = np.vdot(np.asarray(u, np.float64), host_array(adjoint(xp(w))))
        assert abs(one - other) < tol(dtype) * np.linalg.norm(u) * np.linalg.norm(w)


def test_averages_of_constants_are_constant(xp, dtype):
    for radius in (1, 2):
        weights = uniform_weights((3, 8), radius, dtype=dtype)
        ones = xp(np.ones((3, 2, 8), dtype))
        assert relative(Grid(xp(weights)).apply(ones), ones) < tol(dtype)


def test_periodic_uniform_averaging_has_plane_waves_as_eigenvectors():
    height, width, ky, kx = 8, 6, 3, 1
    y, x = np.mgrid[:height, :width]
    phase = 2 * np.pi * (ky * y / height + kx * x / width)
    wave = np.stack([np.cos(phase), np.sin(phase)], axis=-2)
    eigenvalue = (1 + 2 * np.cos(2 * np.pi * ky / height)) * (1 + 2 * np.cos(2 * np.pi * kx / width)) / 9
    grid = Grid(np.full((height, 9, width), 1 / 9), periodic=True)
    np.testing.assert_allclose(grid.apply(wave), eigenvalue * wave, atol=1e-14)
    np.testing.assert_allclose(grid.adjoint(wave), eigenvalue * wave, atol=1e-14)


def test_uniform_weights_are_shares_of_the_neighbors_that_exist():
    weights = uniform_weights((5, 4))
    assert weights.shape == (5, 9, 4)
    np.testing.assert_allclose(weights.sum(axis=-2), 1, rtol=1e-6)
    assert {round(1 / float(w)) for w in np.unique(weights[weights > 0])} == {4, 6, 9}
    assert weights[0, 0, 0] == 0
    assert weights[0, 8, 0] == np.float32(0.25)


def test_bilateral_weights_against_the_formula(xp):
    rng = np.random.default_rng(0)
    image = rng.random((5, 6, 3))
    found = host_array(bilateral_weights(xp(image), sigma=0.4))
    dense = np.exp(-((image.reshape(30, 1, 3) - image.reshape(1, 30, 3)) ** 2).sum(-1) / (2 * 0.4**2))
    dense *= dense_average(uniform_weights((5, 6), dtype=np.float64)) > 0
    dense /= dense.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(dense_average(found), dense, atol=1e-9)


def test_bilateral_weights_do_not_cross_an_edge():
    image = np.zeros((6, 8))
    image[:, 4:] = 1
    weights = bilateral_weights(image, sigma=0.05)
    assert weights[3, 5, 3] < 1e-8  # the pixel left of the edge, looking right
    assert weights[3, 3, 3] > 0.15


def test_normalized_weights_pass_the_check_and_keep_a_floor(xp, dtype):
    raw = np.zeros((4, 9, 5), dtype)
    raw[:, 4] = 1
    raw[:, 0] = 7  # points outside in the first row and column
    weights = normalize_weights(xp(raw))
    check_weights(weights, (4, 5))
    weights = host_array(weights)
    assert weights[0, 0, 0] == 0
    assert weights[weights > 0].min() > 5e-11
    np.testing.assert_allclose(weights[2, 0, 2], 7 / 8, rtol=1e-5)


def broken(change):
    weights = uniform_weights((4, 5), dtype=np.float64)
    change(weights)
    return weights


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.__setitem__((2, 4, 3), np.nan), r"pixel \(2, 3\) is not finite"),
        (lambda w: w.__setitem__((1, 4, 2), -0.5), r"pixel \(1, 2\) is negative \(value -0.5\)"),
        (lambda w: w.__setitem__((0, 0, 0), 0.25), r"pixel \(0, 0\) points outside the image.*normalize_weights"),
        (lambda w: w.__setitem__((3, 4, 4), 0.9), r"pixel \(3, 4\).*does not sum to 1.*normalize_weights"),
    ],
)
def test_check_weights_names_the_pixel(change, words):
    with pytest.raises(ValueError, match=words):
        check_weights(broken(change), (4, 5))


def test_check_weights_names_the_shape():
    with pytest.raises(ValueError, match=r"\(4, 9, 5\); accepted is \(5, N, 4\)"):
        check_weights(uniform_weights((4, 5)), (5, 4))
    with pytest.raises(ValueError, match="8 neighbors"):
        check_weights(np.ones((4, 8, 5)) / 8, (4, 5))
    with pytest.raises(TypeError, match=r"int64.*float32 and float64"):
        check_weights(np.ones((4, 9, 5), int), (4, 5))


@pytest.mark.parametrize("call", [
    lambda: uniform_weights((0, 4)), lambda: uniform_weights((4,)), lambda: uniform_weights((4, 4), 0),
    lambda: uniform_weights((4, 4), 1.5), lambda: bilateral_weights(np.ones((4, 4)), sigma=0),
    lambda: bilateral_weights(np.ones(4)), lambda: bilateral_weights(np.full((4, 4), np.inf)),
])  # fmt: skip
def test_bad_patches(call):
    with pytest.raises(ValueError, match=r"accepted|replace"):
        call()


def test_without_numba_the_reference_does_the_work(monkeypatch):
    problem = random_problem()
    fast = problem.flow().A(problem.g)
    monkeypatch.setattr(sys.modules["gpulaf.kernels._numba"], "available", False)
    called = []
    module = sys.modules["gpulaf.kernels.operator"]
    reference = module.reference
    monkeypatch.setattr(module, "reference", lambda *a, **k: called.append(1) or reference(*a, **k))
    slow = problem.flow().A(problem.g)
    assert called
    assert relative(fast, slow) < 1e-14


def test_gpu_that_is_missing_says_why(without_cupy):
    from gpulaf.backend.array import device_array

    with pytest.raises(RuntimeError, match=r"no GPU: .*CuPy"):
        device_array(np.ones(3), "gpu")
    assert device_array(np.ones(3), "auto").sum() == 3


def test_public_names_exist_and_are_documented():
    for name in gpulaf.__all__:
        value = getattr(gpulaf, name)
        assert name == "__version__" or value.__doc__
