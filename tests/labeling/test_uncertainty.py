"""Flip probabilities: exact for small noise, near to many draws for large, the same in blocks; noise of images."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from oracles import Problem, dense_solution
from scipy.stats import norm, spearmanr

import gpulaf
from gpulaf import DormandPrince, Euler, Krylov, Labeler, Uncertainty, label, refine, refine_logits
from gpulaf.averaging import BilateralWeights, normalize_weights
from gpulaf.backend import memory
from gpulaf.backend.array import host_array
from gpulaf.backend.validation import image_features
from gpulaf.flows import DeepFlow, certificate
from gpulaf.labeling import blocks as module
from gpulaf.labeling.blocks import blocks
from gpulaf.labeling.noise import SignPatterns, lattice, noise_level
from gpulaf.labeling.uncertainty import normal_tail
from gpulaf.tiling import tile_halo

SHAPE, RHO, TIME = (4, 5), 0.4, 3.0
RNG = np.random.default_rng(0)
IMAGE, PROTOTYPES = RNG.random((*SHAPE, 1)), np.array([[0.1], [0.5], [0.8]])
WEIGHTS = normalize_weights(RNG.random((SHAPE[0], 9, SHAPE[1])))
SCENE = gpulaf.scenes.voronoi_colors(48, sites=9, noise=0.4, seed=3)


def field(image: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    return -np.sqrt(((image[..., None, :] - prototypes) ** 2).sum(axis=-1)).transpose(0, 2, 1) / RHO


def probabilities(margin: np.ndarray, variance: Any) -> np.ndarray:
    """Of the likeliest rival; 0 is the margin of a label to itself."""
    ratio = np.where(margin == 0, np.inf, margin / np.sqrt(np.maximum(variance, 1e-300)))
    return norm.sf(ratio.min(axis=-2))


def test_small_noise_of_few_pixels_is_exact(xp: Any, dtype: Any) -> None:
    """J Σ_ℓ Jᵀ by dense central differences; every pixel has a column of its own, so that nothing is left to chance."""
    values, size = np.array([[0.0], [1.0]]), 1e-3  # near the middle, where noise decides and all is linear
    image = 0.5 + size * RNG.standard_normal((*SHAPE, 1))

    def dense_v(image: np.ndarray) -> np.ndarray:
        l = field(image, values)
        return dense_solution(Problem(WEIGHTS, l, l, l), TIME)

    labels, variance = dense_v(image).argmax(axis=-2)[:, None, :], 0.0
    margins = lambda v: np.take_along_axis(v, labels, -2) - v  # noqa: E731
    for pixel in np.ndindex(*SHAPE):
        step = np.zeros_like(image)
        step[pixel] = 1e-5
        variance = variance + (size * margins(dense_v(image + step) - dense_v(image - step)) / 2e-5) ** 2
    expected = probabilities(margins(dense_v(image)), variance)
    options = {"weights": xp(WEIGHTS.astype(dtype)), "rho": RHO, "solver": gpulaf.Taylor(degree=14)}
    asked = Uncertainty(size, probes=64)
    found = host_array(label(xp(image.astype(dtype)), values, **options, uncertainty=asked).uncertainty)
    assert found.dtype == dtype
    assert np.ptp(expected) > 0.2
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 if dtype == np.float32 else 1e-5)


@pytest.mark.filterwarnings("ignore::gpulaf.DataWarning")
def test_the_variance_is_that_of_the_tangent() -> None:
    """J in directions of single values of an image near the middle of eight colors."""
    size, prototypes = 0.005, np.array(list(np.ndindex(2, 2, 2)), float)
    image = 0.5 + size * np.random.default_rng(1).standard_normal((12, 12, 3))
    flow, l = DeepFlow(gpulaf.uniform_weights((12, 12), dtype=np.float64), TIME), field(image, prototypes)
    tangent, v = gpulaf.flows.Tangent(flow, l), flow.solve(l).v
    labels, variance = v.argmax(axis=-2)[:, None, :], 0.0
    for index in np.ndindex(12, 12, 3):
        step = np.zeros_like(image)
        step[index] = 1e-5
        change = size * tangent((field(image + step, prototypes) - field(image - step, prototypes)) / 2e-5)
        variance = variance + (np.take_along_axis(change, labels, -2) - change) ** 2
    expected = probabilities(np.take_along_axis(v, labels, -2) - v, variance)
    for probes, most in ((64, 0.03), (16, 0.1)):
        asked = Uncertainty(size, probes)
        found = label(image, prototypes, rho=RHO, uncertainty=asked).uncertainty
        assert np.abs(found - expected).max() < most
        assert spearmanr(found.ravel(), expected.ravel())[0] > 0.95


def test_against_draws_of_noise_as_large_as_images_have() -> None:
    image, rng, labeler = SCENE.image.astype(np.float32), np.random.default_rng(0), Labeler(SCENE.prototypes, rho=0.3)
    labels, flips = labeler(image).labels, 0.0
    for _ in range(150):
        noise = 0.4 * rng.standard_normal(image.shape).astype(np.float32)
        flips = flips + (labeler(image + noise).labels != labels) / 150
    found = label(image, SCENE.prototypes, rho=0.3, uncertainty=Uncertainty(0.4)).uncertainty
    assert spearmanr(found.ravel(), flips.ravel())[0] > 0.88
    assert abs(found.mean() - flips.mean()) < 0.05
    assert np.array_equal(labeler(image).labels, label(image, SCENE.prototypes, rho=0.3, uncertainty=True).labels)
    assert labeler(image).uncertainty is None


@pytest.mark.parametrize("weights", [WEIGHTS, BilateralWeights(0.3)], ids=["given", "made"])
def test_a_run_is_the_labeling_of_the_noisy_image(weights: Any) -> None:
    """Margins are differences of logarithms of its probabilities; weights are made from the noisy image."""
    sigma, options = 0.2, {"weights": weights, "rho": RHO, "solver": gpulaf.Taylor(degree=8)}
    patterns = SignPatterns((*SHAPE, 1), 4)
    labels = label(IMAGE, PROTOTYPES, **options).labels[..., None].astype(int)

    def margins(image: np.ndarray) -> np.ndarray:
        logarithms = np.log(label(image, PROTOTYPES, **options).probabilities)
        return np.take_along_axis(logarithms, labels, -1) - logarithms

    mean = variance = 0.0
    for k in range(4):
        signs = sigma * patterns(k)
        plus, minus = (10 * np.arcsinh(margins(image) / 10) for image in (IMAGE + signs, IMAGE - signs))
        mean, variance = mean + (plus + minus) / 8, variance + ((plus - minus) / 2) ** 2 / 4
    expected = probabilities(np.moveaxis(mean, -1, -2), np.moveaxis(variance, -1, -2))
    found = label(IMAGE, PROTOTYPES, **options, uncertainty=Uncertainty(sigma, 8)).uncertainty
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore::gpulaf.DataWarning")
@pytest.mark.parametrize("time", [20.0, 40.0])
def test_after_long_times_flips_are_as_rare_as_draws_say(time: float) -> None:
    """Margins grow exponentially, and their standard deviation with them."""
    scene, rng = gpulaf.scenes.voronoi_lines(48, sites=8, noise=0.3, seed=3), np.random.default_rng(0)
    labeler = Labeler(scene.prototypes, time=time)
    labels, flips = labeler(scene.image).labels, 0.0
    for _ in range(60):
        flips += np.mean(labeler(scene.image + 0.3 * rng.standard_normal(scene.image.shape)).labels != labels) / 60
    found = label(scene.image, scene.prototypes, time=time, uncertainty=Uncertainty(0.3)).uncertainty
    assert abs(found.mean() - flips) < 0.004


def test_noise_in_the_units_of_the_image_is_refused() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"sigma is 20; accepted .* range 0 to 255 .* 20 of 255 are 0\.0784"):
        label(image, [50, 200], uncertainty=Uncertainty(20))


def test_normal_tail() -> None:
    z = np.linspace(-12, 12, 501)
    np.testing.assert_allclose(normal_tail(z), norm.sf(z), rtol=3e-7)


@pytest.mark.parametrize(("shape", "count"), [((9, 11, 2), 8), ((9, 11, 1), 16), ((4, 5, 6, 1), 8), ((30, 1), 4)])
def test_samples_of_signs_cancel_between_columns(shape: tuple[int, ...], count: int) -> None:
    patterns = SignPatterns(shape, count, seed=4)
    samples = np.stack([patterns(k) for k in range(count)]).astype(int)
    assert set(np.unique(samples)) == {-1, 1}
    flat = samples[..., 0].reshape(count, -1)
    products = np.abs(flat.T @ flat)
    same = np.equal.outer(patterns.columns.ravel(), patterns.columns.ravel())
    assert (products == count * same).all()
    window = (slice(2, 4), slice(1, 5))[: len(shape) - 1]
    np.testing.assert_array_equal(patterns(3, window), samples[3][window])


@pytest.mark.parametrize(("count", "axes", "least"), [(8, 2, 8), (16, 2, 16), (32, 2, 32), (8, 3, 4)])
def test_pixels_of_a_column_are_far_from_each_other(count: int, axes: int, least: int) -> None:
    strides = lattice(count, axes)
    places = [p for p in np.ndindex(*(6,) * axes) if p @ np.array(strides) % count == 0]
    assert min(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) for p, q in combinations(places, 2)) >= least


def in_both_ways(monkeypatch: pytest.MonkeyPatch, run: Any) -> tuple[Any, Any, int]:
    used: list[Any] = []
    monkeypatch.setattr(module, "blocks", lambda *options: used.extend(blocks(*options)) or used)
    monkeypatch.setattr(memory, "BLOCK", 1.0)
    monkeypatch.setattr(memory, "HALOS", 6)
    parts = run()
    monkeypatch.setattr(memory, "BLOCK", 1e12)
    return parts, run(), len(used)


@pytest.mark.parametrize("weights", [None, BilateralWeights(0.4)], ids=["uniform", "made"])
def test_blocks_are_the_whole_bit_for_bit(monkeypatch: pytest.MonkeyPatch, weights: Any) -> None:
    scene = gpulaf.scenes.voronoi_lines(150, noise=0.3, seed=1)
    mask = np.random.default_rng(0).random((150, 150)) < 0.9
    options = {"weights": weights, "mask": mask, "prior": [0.3, 0.7], "uncertainty": True}
    one, other, used = in_both_ways(monkeypatch, lambda: label(scene.image, scene.prototypes, **options))
    assert used > 1
    np.testing.assert_array_equal(one.uncertainty, other.uncertainty)
    np.testing.assert_array_equal(np.isnan(one.uncertainty), ~mask)
    # the series of the radius looks farther than a block: it is found at once
    options = {"uncertainty": Uncertainty(probes=4, radius=True)}
    one, other, used = in_both_ways(monkeypatch, lambda: label(scene.image, scene.prototypes, **options))
    assert used == 0
    np.testing.assert_array_equal(one.radius, other.radius)


def test_the_radius_is_that_of_the_certificate(xp: Any) -> None:
    mask = np.ones(SHAPE, bool)
    mask[0, 0] = False
    result = label(
        xp(IMAGE), PROTOTYPES, weights=xp(WEIGHTS), rho=RHO, mask=xp(mask), uncertainty=Uncertainty(0.1, radius=True)
    )
    radius = host_array(result.radius)
    np.testing.assert_array_equal(np.isnan(radius), ~mask)
    l = np.where(mask[:, None, :], -np.abs(IMAGE - PROTOTYPES[:, 0]).transpose(0, 2, 1) / RHO, 0.0)
    expected = certificate(DeepFlow(gpulaf.Grid(WEIGHTS).masked(mask), TIME), l)
    np.testing.assert_allclose(radius[mask], expected.radius[mask], rtol=1e-5, atol=1e-9)


def test_volumes_graphs_layers_and_other_solvers() -> None:
    rng = np.random.default_rng(0)
    volume = rng.random((3, 6, 6))
    found = label(volume, PROTOTYPES, channel_axis=None, uncertainty=True).uncertainty
    assert found.shape == volume.shape
    assert 0 < found.mean() < 0.6
    graph = gpulaf.averaging.nearest_neighbor_graph(rng.random((30, 2)), 4)
    found = label(rng.random((30, 1)), PROTOTYPES, weights=graph, uncertainty=Uncertainty(0.1)).uncertainty
    assert found.shape == (30,)
    whole = label(IMAGE, PROTOTYPES, rho=RHO, time=[1.0, 2.0], uncertainty=Uncertainty(0.1, 4)).uncertainty
    for solver in (Krylov(8), Euler(400)):
        other = label(IMAGE, PROTOTYPES, rho=RHO, time=[1.0, 2.0], solver=solver, uncertainty=Uncertainty(0.1, 4))
        np.testing.assert_allclose(other.uncertainty, whole, atol=0.01)


def test_predictions_have_noise_in_their_logits() -> None:
    logits = 2 * np.random.default_rng(0).standard_normal((6, 7, 3))
    asked = Uncertainty(0.5)
    one = refine_logits(logits, uncertainty=asked)
    p = np.exp(logits)
    other = refine(p / p.sum(axis=-1, keepdims=True), uncertainty=asked)
    np.testing.assert_allclose(one.uncertainty, other.uncertainty, atol=1e-6)
    assert 0 < one.uncertainty.mean() < 0.5
    with pytest.raises(ValueError, match=r"noise of the predictions.*Uncertainty\(sigma=…\)"):
        refine_logits(logits, uncertainty=True)


@pytest.mark.parametrize("sigma", [0.02, 0.3])
def test_the_noise_is_read_off_the_image(sigma: float) -> None:
    for scene in (
        gpulaf.scenes.voronoi_colors(128, noise=sigma, seed=1), gpulaf.scenes.voronoi_lines(128, noise=sigma, seed=1)
    ):  # fmt: skip
        pixels = image_features(scene.image, -1)
        assert noise_level(pixels) == pytest.approx(sigma, rel=0.15)
        valid = np.random.default_rng(0).random((128, 128)) < 0.8
        wild = np.where(valid[..., None], scene.image, 1e3 * np.random.default_rng(1).random(scene.image.shape))
        assert noise_level(image_features(wild, -1, mask=valid)) == pytest.approx(sigma, rel=0.15)
    volume = np.random.default_rng(0).normal(0, sigma, (20, 30, 30, 1))
    assert noise_level(image_features(volume, -1)) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"probes": 12}, ValueError, "probes is 12; accepted are 4, 8, 16, 32 and 64"),
        ({"probes": 2}, ValueError, "probes is 2"),
        ({"sigma": 0.0}, ValueError, "sigma is 0"),
        ({"sigma": "much"}, TypeError, "sigma is 'much'"),
        ({"seed": -1}, ValueError, "seed is -1"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Uncertainty(**options)


def test_labelings_that_have_no_uncertainty() -> None:
    with pytest.raises(TypeError, match=r"uncertainty is 0\.3; accepted are True, False and"):
        Labeler(PROTOTYPES, uncertainty=0.3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"solver is DormandPrince.*Label by the linearized flow"):
        Labeler(PROTOTYPES, solver=DormandPrince(), uncertainty=True)
    with pytest.raises(ValueError, match="shows no noise"):
        label(np.tile([[0.0], [1.0]], (8, 16))[..., None], 2, uncertainty=True)
    graph = gpulaf.averaging.nearest_neighbor_graph(RNG.random((30, 2)), 4)
    with pytest.raises(ValueError, match="cannot be read off neighbors"):
        label(RNG.random((30, 1)), PROTOTYPES, weights=graph, uncertainty=True)
    with pytest.raises(ValueError, match="uncertainty is asked for; accepted in tiles"):
        tile_halo(Labeler(PROTOTYPES, uncertainty=True))
