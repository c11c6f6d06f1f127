"""Predicted weight patches and their derivatives against loops over pixels, neighbors and prototypes."""

import numpy as np
import pytest
from oracles import random_problem, relative, tol

from gpulaf import Grid, Taylor, cosine_loss
from gpulaf.averaging import check_weights
from gpulaf.backend.array import host_array
from gpulaf.fields import field_shape, pixel_shape, to_rows
from gpulaf.flows import LinearFlow, weight_gradient
from gpulaf.prediction import Parameters, gaussian_features, patch_features, predict_weights, prediction_gradient

# 1×n, n×1, smaller than the patch, beyond one stretch and one block
SHAPES = [(1, 1), (1, 9), (7, 1), (2, 2), (5, 6), (67, 5), (3, 300)]


def operands(shape=(5, 6), prototypes=4, features=3, radius=1, seed=0):
    rng = np.random.default_rng(seed)
    parameters = Parameters(
        rng.random((prototypes, features)), rng.standard_normal((prototypes, (2 * radius + 1) ** 2)), 1.7
    )
    f, G = (field_shape(shape, count) for count in (features, (2 * radius + 1) ** 2))
    return parameters, rng.random(f), rng.standard_normal(G)


def cast(parameters, xp, dtype):
    p, nu = (xp(x.astype(dtype)) for x in parameters[:2])
    return Parameters(p, nu, parameters.sigma)


def pixel(parameters, f, offsets):
    """The distances, a and the patch of one pixel on the neighbors `offsets`, by the formulas."""
    d = np.array([np.sqrt(((f - p) ** 2).sum()) for p in parameters.feature_prototypes])
    s = np.exp(-parameters.sigma * d)
    a = s / s.sum()
    v = sum(share * nu for share, nu in zip(a, parameters.tangents, strict=True))[offsets]
    return d, a, np.exp(v) / np.exp(v).sum()


def looped(parameters, features, G):
    """Weights and (∂p, ∂ν, ∂σ), pixel by pixel, through the Jacobian of every softmax."""
    height, _, width = features.shape
    count = parameters.tangents.shape[1]
    radius, side = (round(count**0.5) - 1) // 2, round(count**0.5)
    weights, dp, dnu, dsigma = np.zeros(G.shape), *map(np.zeros_like, parameters[:2]), 0.0
    for y, x in np.ndindex(height, width):
        offsets = [
            o for o in range(count)
            if 0 <= y + o // side - radius < height and 0 <= x + o % side - radius < width
        ]  # fmt: skip
        d, a, patch = pixel(parameters, features[y, :, x], offsets)
        weights[y, offsets, x] = patch
        dv = np.zeros(count)
        dv[offsets] = (np.diag(patch) - np.outer(patch, patch)) @ G[y, offsets, x]
        dz = (np.diag(a) - np.outer(a, a)) @ (parameters.tangents @ dv)
        dnu += np.outer(a, dv)
        dsigma -= dz @ d
        for j in range(len(d)):
            if d[j] > 0:
                dp[j] += dz[j] * parameters.sigma * (features[y, :, x] - parameters.feature_prototypes[j]) / d[j]
    return weights, dp, dnu, dsigma


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [1, 2])
def test_weights_and_derivatives_against_loops(xp, dtype, shape, radius):
    parameters, features, G = operands(shape, radius=radius)
    own = cast(parameters, xp, dtype)
    weights, *expected = looped(parameters, features, G)
    f, g = xp(features.astype(dtype)), xp(G.astype(dtype))
    found = predict_weights(own, f)
    assert host_array(found).dtype == dtype
    assert relative(found, weights) < tol(dtype)
    assert ((host_array(found) == 0) == (weights == 0)).all()
    gradient = prediction_gradient(own, f, g)
    assert host_array(gradient.feature_prototypes).dtype == host_array(gradient.tangents).dtype == np.float64
    if shape == (1, 1):  # a patch of one neighbor moves nowhere
        assert all(np.abs(host_array(x)).max() < tol(dtype) for x in gradient)
        return
    for x, y in zip(gradient, expected, strict=True):
        assert relative(x, y) < 10 * tol(dtype)


@pytest.mark.parametrize(("prototypes", "features"), [(1, 1), (2, 30), (50, 9)])
def test_any_number_of_prototypes_and_features(xp, dtype, prototypes, features):
    parameters, f, G = operands((6, 5), prototypes, features)
    weights, dp, dnu, dsigma = looped(parameters, f, G)
    own, f, G = cast(parameters, xp, dtype), xp(f.astype(dtype)), xp(G.astype(dtype))
    assert relative(predict_weights(own, f), weights) < tol(dtype)
    gradient = prediction_gradient(own, f, G)
    assert relative(gradient.tangents, dnu) < 10 * tol(dtype)
    if prototypes > 1:  # one prototype has all of every pixel wherever it lies
        assert relative(gradient.feature_prototypes, dp) < 10 * tol(dtype)
        assert gradient.sigma == pytest.approx(dsigma, rel=100 * tol(dtype))


def test_the_definition_in_several_chunks(monkeypatch):
    from gpulaf.kernels import prediction

    parameters, features, G = operands((7, 8))
    whole = [prediction.reference(*parameters, features), *prediction.reference(*parameters, features, G)]
    monkeypatch.setattr(prediction, "CHUNK", 100)
    parts = [prediction.reference(*parameters, features), *prediction.reference(*parameters, features, G)]
    for x, y in zip(whole, parts, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)


def test_features_on_a_prototype(xp, dtype):
    """Distance 0: its derivative counts as 0, every other one as usual."""
    parameters, features, G = operands()
    features[1:3, :, 1:3] = parameters.feature_prototypes[2][:, None]
    expected = looped(parameters, features, G)[1:]
    found = prediction_gradient(cast(parameters, xp, dtype), xp(features.astype(dtype)), xp(G.astype(dtype)))
    for x, y in zip(found, expected, strict=True):
        assert relative(x, y) < 10 * tol(dtype)


def test_large_tangents_and_distances_do_not_overflow(xp, dtype):
    parameters, features, G = operands()
    own = Parameters(
        xp((1e4 * parameters.feature_prototypes).astype(dtype)), xp((300 * parameters.tangents).astype(dtype)), 1e3
    )
    f = xp(features.astype(dtype))
    weights = host_array(predict_weights(own, f))
    check_weights(weights, pixel_shape(features))
    gradient = prediction_gradient(own, f, xp(G.astype(dtype)))
    assert all(np.isfinite(host_array(x)).all() for x in gradient)


def test_small_distances_far_from_the_origin_keep_their_digits():
    """Squared norms near 1e6 would drown distances of 1e-2 in float32."""
    rng = np.random.default_rng(0)
    origin = rng.integers(500, 1000, 9) / 1.0
    p, f = (origin + rng.integers(-8, 9, (*n, 9)) / 512 for n in ((4,), (5, 6)))  # exact in float32
    f = to_rows(f)
    parameters = Parameters(p, rng.standard_normal((4, 9)), 100.0)
    found = predict_weights(cast(parameters, np.asarray, np.float32), f.astype(np.float32))
    assert relative(found, predict_weights(parameters, f)) < tol("float32")


def chain(parameters, features, problem, time=2.0):
    flow = LinearFlow(Grid(predict_weights(parameters, features)), problem.log_likelihood)
    solution = Taylor(degree=12).solve(flow, time)
    value, g = cosine_loss(solution.v, problem.truth)
    return value, weight_gradient(flow, solution, g, tol=0.0).weights


def test_the_whole_chain_against_central_differences():
    """Loss of v(T) of the flow with predicted weights, in every entry of ν and p and in σ."""
    problem, h = random_problem(3, 5, 6, seed=1), 1e-6
    parameters, features, _ = operands((5, 6), 4, 3)
    _, G = chain(parameters, features, problem)
    gradient = prediction_gradient(parameters, features, G)
    for name in ("feature_prototypes", "tangents", "sigma"):
        value = np.asarray(getattr(parameters, name), float)
        expected = np.zeros_like(value)
        for at in np.ndindex(value.shape):
            step = np.zeros_like(value)
            step[at] = h
            up, down = (chain(parameters._replace(**{name: value + s}), features, problem)[0] for s in (step, -step))
            expected[at] = (up - down) / (2 * h)
        assert relative(getattr(gradient, name), expected) < 1e-6, name


def test_results_repeat_bit_for_bit_whatever_the_threads(dtype, monkeypatch):
    numba = pytest.importorskip("numba")
    from gpulaf.kernels import _numba

    parameters, features, G = operands((131, 70), 7, 5)
    own, f, g = cast(parameters, np.asarray, dtype), features.astype(dtype), G.astype(dtype)
    monkeypatch.setattr(_numba, "SMALL", 1)
    before = numba.get_num_threads()
    several = [predict_weights(own, f), *prediction_gradient(own, f, g)]
    try:
        numba.set_num_threads(1)
        single = [predict_weights(own, f), *prediction_gradient(own, f, g)]
    finally:
        numba.set_num_threads(before)
    for x, y in zip(several, single, strict=True):
        np.testing.assert_array_equal(x, y)


def test_errors_say_what_is_accepted():
    parameters, features, G = operands()
    for wrong, match in [
        (features[:, :2], r"features have shape \(5, 2, 6\); accepted is \(H, 3, W\)"),
        (features[:, 0], r"features have shape \(5, 6\)"),
    ]:
        with pytest.raises(ValueError, match=match):
            predict_weights(parameters, wrong)
    with pytest.raises(TypeError, match="features have dtype float16"):
        predict_weights(parameters, features.astype(np.float16))
    with pytest.raises(ValueError, match=r"tangents have shape \(4, 8\)"):
        predict_weights(parameters._replace(tangents=parameters.tangents[:, :8]), features)
    for sigma in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=rf"sigma is {sigma}"):
            predict_weights(parameters._replace(sigma=sigma), features)
    with pytest.raises(ValueError, match=r"derivative has shape \(5, 9, 5\); accepted is \(5, 9, 6\)"):
        prediction_gradient(parameters, features, G[..., :5])


# --- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 2), (2, 3, 1), (6, 7, 3)])
@pytest.mark.parametrize("radius", [0, 1, 2])
def test_patches_against_a_padded_image(xp, dtype, shape, radius):
    image = np.random.default_rng(0).random(shape).astype(dtype)
    found = host_array(patch_features(xp(image), radius))
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    side = 2 * radius + 1
    assert found.shape == field_shape(shape[:2], shape[2] * side**2)
    assert found.dtype == dtype
    for y, x in np.ndindex(shape[:2]):
        np.testing.assert_array_equal(found[y, :, x], padded[y : y + side, x : x + side].ravel())


def test_gaussian_features_of_a_quadratic(dtype):
    """On f = ay²/2 + bxy + cx²/2 away from the border, derivatives are those of f whatever the scale."""
    y, x = np.mgrid[-60:61, -60:61] / 60.0
    a, b, c = 0.3, 0.2, -0.5
    image = (a * y**2 / 2 + b * x * y + c * x**2 / 2)[..., None].astype(dtype)
    found = gaussian_features(image, scales=(1, 3))
    assert found.shape == (121, 8, 121)
    assert found.dtype == dtype
    eigenvalues = np.linalg.eigvalsh([[a, b], [b, c]])[::-1] / 60**2
    for k, s in enumerate((1, 3)):
        value, size, larger, smaller = found[60, 4 * k : 4 * k + 4, 75].astype(float)
        assert value == pytest.approx(c * 0.25**2 / 2 + s**2 * (a + c) / 2 / 60**2, rel=1e-3)
        assert size == pytest.approx(s * np.hypot(b * 0.25, c * 0.25) / 60, rel=1e-3)
        assert (larger, smaller) == pytest.approx(tuple(s**2 * eigenvalues), rel=2e-2)


@pytest.mark.parametrize("shape", [(1, 1, 1), (6, 7, 2), (1, 30, 1)])
def test_gaussian_features_are_those_of_scipy(xp, dtype, shape):
    """Down to the smallest scale: below it CuPy would take the image for its derivative."""
    if xp.name == "strict":  # Gaussian filters are SciPy's and CuPy's
        return
    image = np.random.default_rng(0).random(shape).astype(dtype)
    scales = (0.125, 0.7, 4)
    found = host_array(gaussian_features(xp(image), scales))
    assert found.dtype == dtype
    assert np.abs(found - gaussian_features(image.astype(float), scales)).max() < 20 * np.finfo(dtype).eps


def test_features_of_channels_stand_side_by_side():
    image = np.random.default_rng(0).random((8, 9, 2))
    both = gaussian_features(image, (1, 2))
    for c in range(2):
        alone = gaussian_features(image[..., c : c + 1], (1, 2))
        for s in range(2):
            start = 8 * s + 4 * c
            np.testing.assert_array_equal(both[:, start : start + 4], alone[:, 4 * s : 4 * s + 4])


def test_feature_errors():
    image = np.zeros((4, 4, 1))
    for radius in (-1, 0.5):
        with pytest.raises(ValueError, match=rf"radius is {radius}; accepted are whole numbers from 0"):
            patch_features(image, radius)
    for function in (patch_features, gaussian_features):
        with pytest.raises(ValueError, match=r"image has shape \(4, 4\); accepted is \(H, W, C\)"):
            function(image[..., 0])
        with pytest.raises(TypeError, match="image has dtype uint8"):
            function(image.astype(np.uint8))
    for scales in ((), (0,), (1, np.inf), (0.124,)):
        with pytest.raises(ValueError, match="scales are"):
            gaussian_features(image, scales)
