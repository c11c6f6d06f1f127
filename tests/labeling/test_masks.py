"""Masks: valid pixels are labeled as by a dense flow that the invalid ones are taken out of, whatever those hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import dense_average, dense_remaining, distances, relative, tol
from scipy.sparse import csr_array

from gpulaf import DormandPrince, Euler, Graph, Krylov, Taylor, bilateral_weights, label, refine, refine_logits
from gpulaf import uniform_weights as uniform
from gpulaf.averaging import (
    BilateralWeights,
    mask_weights,
    nearest_neighbor_graph,
    normalize_weights,
    region_graph,
    region_means,
    spaced_weights,
)
from gpulaf.averaging.grid import Grid
from gpulaf.averaging.masks import extended, mask_gradient, masked_patches
from gpulaf.backend.array import host_array
from gpulaf.fields import field_shape
from gpulaf.labeling import kmeans_prototypes
from gpulaf.simplex import replicator

SHAPE, RHO, TIME = (5, 6), 0.4, 2.0
EXACT = Krylov(tol=1e-12)
PROTOTYPES = np.array([[0.1, 0.9], [0.6, 0.3], [0.9, 0.8]])


def scene(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of two channels, and a mask with a hole, a rim and a pixel that is left alone."""
    rng = np.random.default_rng(seed)
    valid = rng.random(shape) < 0.7
    valid[..., :2, :2] = False
    valid[..., 0, 0] = True
    return rng.random((*shape, 2)), valid


def random_weights(shape: tuple[int, ...] = SHAPE, radius: int = 1) -> np.ndarray:
    count = (2 * radius + 1) ** len(shape)
    return normalize_weights(np.random.default_rng(7).random(field_shape(shape, count)) ** 3)


def expected(ell: np.ndarray, omega: np.ndarray, valid: np.ndarray, time: float = TIME) -> np.ndarray:
    return dense_remaining(ell.reshape(-1, ell.shape[-1]), omega, valid.ravel(), time)


def check(result: Any, probabilities: np.ndarray, valid: np.ndarray, at_most: float = 1e-9) -> None:
    """Valid pixels are those of the oracle, others are no data."""
    labels, found = host_array(result.labels), host_array(result.probabilities)
    np.testing.assert_allclose(found[valid], probabilities, rtol=0, atol=at_most)
    np.testing.assert_array_equal(labels[valid], probabilities.argmax(axis=1))
    assert (labels[~valid] == 255).all()
    assert labels.dtype == np.uint8
    assert result.nodata == 255
    assert np.isnan(found[~valid]).all()
    np.testing.assert_array_equal(host_array(result.valid), valid)


# --- the flow without the invalid pixels ----------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [EXACT, Taylor(tol=1e-10)])
@pytest.mark.parametrize("made", ["uniform", "given", "5×5", "bilateral", "layers"])
def test_valid_pixels_are_those_of_the_flow_without_the_others(made: str, solver: Any) -> None:
    image, valid = scene()
    weights = {
        "uniform": None, "given": random_weights(), "5×5": random_weights(radius=2),
        "bilateral": BilateralWeights(sigma=0.3), "layers": [random_weights()] * 2,
    }[made]  # fmt: skip
    explicit = {"uniform": uniform(SHAPE, dtype=float), "bilateral": bilateral_weights(image, sigma=0.3)}
    omega = dense_average(explicit.get(made, random_weights(radius=2 if made == "5×5" else 1)))
    ell = -distances(image, PROTOTYPES) / RHO
    spoiled = np.where(valid[..., None], image, [np.nan, 1e300])
    result = label(spoiled, PROTOTYPES, weights=weights, rho=RHO, time=TIME, solver=solver, mask=valid)
    if made == "layers":  # two flows in succession, which the oracle does not know
        other = label(np.where(valid[..., None], image, -5.0), PROTOTYPES, weights=weights, rho=RHO, time=TIME,
                      solver=solver, mask=valid)  # fmt: skip
        np.testing.assert_array_equal(result.probabilities, other.probabilities)
        return
    check(result, expected(ell, omega, valid), valid, 1e-8)


def test_volumes() -> None:
    shape = (3, 3, 4)
    image, valid = scene(shape)
    ell = -np.linalg.norm(image[..., None, :] - PROTOTYPES, axis=-1) / RHO
    spaced = spaced_weights(shape, (2, 1, 1), dtype=float)
    for spacing, weights in ((None, uniform(shape, dtype=float)), ((2, 1, 1), spaced)):
        result = label(image, PROTOTYPES, rho=RHO, time=TIME, solver=EXACT, mask=valid, spacing=spacing)
        check(result, expected(ell, dense_average(weights), valid), valid)


@pytest.mark.parametrize("stored", [True, False])
def test_graphs(stored: bool) -> None:
    rng = np.random.default_rng(3)
    points, valid = rng.random((20, 2)), np.arange(20) % 3 != 1
    graph = nearest_neighbor_graph(points, 4)
    matrix = graph.matrix.toarray()
    if not stored:  # nodes that are not their own neighbors
        np.fill_diagonal(matrix, 0)
        matrix /= matrix.sum(axis=1, keepdims=True)
        graph = Graph(csr_array(matrix))
    ell = -np.linalg.norm(points[:, None] - PROTOTYPES, axis=-1) / RHO
    spoiled = np.where(valid[:, None], points, np.inf)
    result = label(spoiled, PROTOTYPES, weights=graph, rho=RHO, time=TIME, solver=EXACT, mask=valid)
    check(result, expected(ell, matrix, valid), valid)


def test_what_a_node_has_left_is_itself() -> None:
    matrix = np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    masked = Graph(csr_array(matrix)).masked(np.array([True, False, True]))
    np.testing.assert_allclose(masked.matrix.toarray(), [[1, 0, 0], [0, 1, 0], [2 / 7, 0, 5 / 7]], rtol=1e-14)


def test_soft_predictions_and_logits() -> None:
    rng = np.random.default_rng(4)
    logits, (_, valid) = rng.standard_normal((*SHAPE, 3)), scene()
    soft = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    reference = expected(logits, dense_average(uniform(SHAPE, dtype=float)), valid)
    holes = np.where(valid[..., None], soft, np.nan)
    options = {"time": TIME, "solver": EXACT}
    check(refine(holes, mask=valid, **options), reference, valid)
    check(refine(np.moveaxis(holes, -1, 0), mask=valid, label_axis=0, **options), reference, valid)
    check(refine(np.ma.masked_invalid(holes), **options), reference, valid)
    check(refine_logits(np.where(valid[..., None], logits, np.inf), mask=valid, **options), reference, valid)


def test_the_image_of_refine_takes_its_pixels_away_too() -> None:
    (image, valid), soft = scene(), np.full((*SHAPE, 2), 0.5)
    soft[2:] = [0.9, 0.1]
    masked = np.ma.masked_array(image, np.repeat(~valid[..., None], 2, axis=-1))
    mask = np.ones(SHAPE, bool)
    mask[-1] = False
    result = refine(soft, weights=BilateralWeights(), image=masked, mask=mask)
    np.testing.assert_array_equal(result.valid, valid & mask)


def test_the_nonlinear_flow_rests_though_invalid_pixels_never_do() -> None:
    image, valid = scene((12, 12))
    result = label(image, PROTOTYPES, solver=DormandPrince(), mask=valid)
    assert result.converged
    other = label(np.where(valid[..., None], image, 7.0), PROTOTYPES, solver=DormandPrince(), mask=valid)
    np.testing.assert_array_equal(result.labels, other.labels)


def test_no_bias_at_the_rim() -> None:
    image, valid = scene((9, 12))
    valid = np.ones((9, 12), bool)
    valid[:, :4] = valid[-2:] = False
    cut = label(image[:-2, 4:], PROTOTYPES, rho=RHO)
    result = label(np.where(valid[..., None], image, 1e6), PROTOTYPES, rho=RHO, mask=valid)
    np.testing.assert_allclose(result.probabilities[:-2, 4:], cut.probabilities, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(result.labels[:-2, 4:], cut.labels)


@pytest.mark.parametrize("weights", [None, BilateralWeights(), "given"])
def test_a_mask_that_takes_nothing_away_changes_no_bit(weights: Any) -> None:
    image, _ = scene()
    weights = random_weights() if weights == "given" else weights
    plain = label(image, PROTOTYPES, weights=weights)
    masked = label(image, PROTOTYPES, weights=weights, mask=np.ones(SHAPE, bool))
    np.testing.assert_array_equal(plain.probabilities, masked.probabilities)
    assert plain.valid is None
    assert plain.nodata is None


def test_libraries(xp: Any, dtype: Any) -> None:
    image, valid = scene()
    result = label(xp(image.astype(dtype)), PROTOTYPES, weights=BilateralWeights(0.3), rho=RHO, time=TIME,
                   solver=Taylor(tol=1e-6), mask=xp(valid))  # fmt: skip
    ell, omega = -distances(image, PROTOTYPES) / RHO, dense_average(bilateral_weights(image, sigma=0.3))
    check(result, expected(ell, omega, valid), valid, 1e-5)
    assert type(result.labels) is type(xp(valid))


# --- masked arrays, k-means, no data --------------------------------------------------------------------------------


def test_masked_arrays_are_masks() -> None:
    image, valid = scene()
    image = (255 * image).astype(np.uint8)
    entries = np.zeros(image.shape, bool)
    entries[..., 1] = ~valid  # one channel is enough
    masked = np.ma.masked_array(image, entries)
    one, two = label(masked, 3), label(image, 3, mask=valid)
    np.testing.assert_array_equal(one.probabilities, two.probabilities)
    both = label(masked, 3, mask=np.arange(6) > np.zeros((5, 1)))
    np.testing.assert_array_equal(both.valid, valid & (np.arange(6) > 0))
    first = label(np.ma.masked_array(np.moveaxis(image, -1, 0), np.moveaxis(entries, -1, 0)), 3, channel_axis=0)
    np.testing.assert_array_equal(first.labels, one.labels)
    assert label(np.ma.masked_array(image[..., 0]), 2).valid.all()


def test_k_means_does_not_see_invalid_pixels() -> None:
    image, valid = scene((30, 30))
    spoiled = np.where(valid[..., None], image, -9999.0)
    prototypes = kmeans_prototypes(image[valid][None], 3)
    one, two = label(spoiled, 3, mask=valid), label(spoiled, prototypes, mask=valid)
    np.testing.assert_array_equal(one.labels, two.labels)


@pytest.mark.parametrize(("labels", "dtype"), [(255, np.uint8), (256, np.uint16), (300, np.uint16)])
def test_no_data_is_the_largest_number_that_is_no_label(labels: int, dtype: Any) -> None:
    mask = np.ones((4, 5), bool)
    mask[2, 3] = False
    result = label(np.full((4, 5), labels - 1.0), np.arange(float(labels)), rho=0.01, mask=mask)
    assert result.labels.dtype == dtype
    assert result.labels[2, 3] == result.nodata == np.iinfo(dtype).max
    assert (result.labels[mask] == labels - 1).all()


def test_nothing_valid_is_no_data_everywhere() -> None:
    result = label(np.full((6, 7), np.nan), [0.2, 0.8], mask=np.zeros((6, 7), bool))
    assert (result.labels == 255).all()
    with pytest.raises(ValueError, match="leaves no valid pixel"):
        label(np.zeros((6, 7)), 2, mask=np.zeros((6, 7), bool))


IMAGE = np.random.default_rng(0).random((6, 7))


@pytest.mark.parametrize(("mask", "kind", "words"), [
    (np.ones((6, 7), np.uint8), TypeError, "mask has dtype uint8; accepted are bool"),
    (np.ones((7, 6), bool), ValueError, r"mask has shape \(7, 6\); accepted is \(6, 7\)"),
    (np.ones((6, 7, 1), bool), ValueError, "one value for each pixel"),
    (IMAGE, TypeError, "mask has dtype float64"),
])  # fmt: skip
def test_masks_that_are_none(mask: Any, kind: type[Exception], words: str) -> None:
    soft = np.stack([IMAGE, 1 - IMAGE], axis=-1)
    for call in (lambda: label(IMAGE, 2, mask=mask), lambda: refine(soft, mask=mask),
                 lambda: bilateral_weights(IMAGE, mask=mask)):  # fmt: skip
        with pytest.raises(kind, match=words):
            call()


def test_values_that_are_not_finite_name_the_way_out() -> None:
    holes = np.where(IMAGE < 0.1, np.nan, IMAGE)
    with pytest.raises(ValueError, match=r"mask=numpy.isfinite\(image\) or a masked array"):
        label(holes, 2)
    assert (label(holes, 2, mask=np.isfinite(holes)).labels[IMAGE < 0.1] == 255).all()
    with pytest.raises(ValueError, match=r"isfinite\(image\).all\(axis=-1\)"):
        label(np.stack([holes] * 3, axis=-1), 2)
    with pytest.raises(ValueError, match="NaN or infinite"):  # a pixel that is said to be valid
        label(holes, 2, mask=np.ones((6, 7), bool))


# --- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "radius"), [((5, 6), 1), ((7, 6), 2), ((3, 4, 5), 1)])
def test_masked_weights_are_the_remaining_ones(shape: tuple[int, ...], radius: int, dtype: Any) -> None:
    (_, valid), weights = scene(shape), random_weights(shape, radius).astype(dtype)
    masked = mask_weights(weights, valid)
    omega, remaining = dense_average(weights), dense_average(masked)
    keep = valid.ravel()
    kept = omega[np.ix_(keep, keep)]
    assert relative(remaining[np.ix_(keep, keep)], kept / kept.sum(axis=1, keepdims=True)) < tol(dtype)
    np.testing.assert_array_equal(remaining[~keep], np.eye(keep.size)[~keep])
    assert not remaining[np.ix_(keep, ~keep)].any()
    assert masked.dtype == dtype
    untouched = ~(omega[keep][:, ~keep] > 0).any(axis=1)
    np.testing.assert_array_equal(remaining[keep][untouched], omega[keep][untouched])


def test_bilateral_weights_of_a_mask() -> None:
    image, valid = scene()
    masked = bilateral_weights(np.where(valid[..., None], image, np.nan), mask=valid)
    np.testing.assert_allclose(masked, mask_weights(bilateral_weights(image), valid), rtol=0, atol=1e-9)


def test_periodic_neighbors_are_masked_as_well() -> None:
    weights = np.full((4, 9, 5), 1 / 9)
    valid = np.ones((4, 5), bool)
    valid[:, 0] = False
    masked = Grid(weights, periodic=True).masked(valid).weights
    assert not masked[:, [2, 5, 8], 4].any()
    np.testing.assert_allclose(masked.sum(axis=1), 1, rtol=1e-14)


def test_the_gradient_of_masked_weights_is_that_of_differences() -> None:
    (_, valid), weights = scene(), random_weights()
    G, direction = (np.random.default_rng(seed).standard_normal(weights.shape) for seed in (1, 2))
    h, direction = 1e-6, replicator(weights, direction)  # tangents: the patches still sum to 1
    moved = [masked_patches(weights + sign * h * direction, valid) for sign in (1, -1)]
    difference = float((G * (moved[0] - moved[1])).sum()) / (2 * h)
    assert abs(difference - float((mask_gradient(G, weights, valid) * direction).sum())) < 1e-7


def test_features_go_on_into_invalid_pixels() -> None:
    image, valid = np.zeros((5, 7, 1)), np.zeros((5, 7), bool)
    image[2, 1], valid[2, 1], image[0, 0] = 3.0, True, 99.0
    np.testing.assert_array_equal(
        extended(image, valid, 1)[..., 0] != 0,
        np.abs(np.mgrid[:5, :7] - np.array([2, 1])[:, None, None]).max(axis=0) <= 1,
    )
    np.testing.assert_allclose(extended(image, valid, None), 3.0, rtol=1e-12)
    assert not extended(image, np.zeros((5, 7), bool), None).any()
    kept = extended(image + 1, np.ones((5, 7), bool), 4)
    np.testing.assert_array_equal(kept, image + 1)


def test_euler_and_taylor_look_at_valid_pixels_alone() -> None:
    image, valid = scene((8, 9))
    for solver in (Euler(8), Taylor()):
        one, two = (
            label(np.where(valid[..., None], image, x), PROTOTYPES, solver=solver, mask=valid) for x in (0, 1e9)
        )
        np.testing.assert_array_equal(one.probabilities, two.probabilities)
        assert one.error == two.error


def test_superpixels_of_a_masked_image() -> None:
    image, valid = scene((8, 12))
    segments = np.add.outer(np.arange(8) // 2 * 4, np.arange(12) // 3)
    valid[:4, :3] = False  # two regions hold nothing
    means = region_means(np.ma.masked_array(image, np.repeat(~valid[..., None], 2, axis=-1)), segments)
    seen = np.isfinite(means).all(axis=-1)
    assert (~seen).sum() == 2
    np.testing.assert_allclose(means[5], image[valid & (segments == 5)].mean(axis=0), rtol=1e-12)
    result = label(means, PROTOTYPES, weights=region_graph(segments, dtype=float), rho=RHO, mask=seen)
    assert (result.labels[~seen] == result.nodata).all()
    with pytest.raises(TypeError, match="points are a masked array"):
        nearest_neighbor_graph(np.ma.masked_invalid(means))
