"""Graphs of points and regions against brute force; labels of nodes against those of pixels."""

import importlib.util

import imageio.v3 as iio
import numpy as np
import pytest
from oracles import dense_average, relative, tol
from realdata import DATA, realdata
from scipy import sparse

from gpulaf import (
    Graph,
    Krylov,
    RiemannianAdam,
    Taylor,
    fit_weights,
    label,
    refine,
    uniform_weights,
)
from gpulaf.averaging import nearest_neighbor_graph, region_graph, region_means
from gpulaf.labeling import distances, log_likelihood
from gpulaf.scenes import voronoi_colors


@pytest.mark.parametrize("neighbors", [1, 4, 50])
@pytest.mark.parametrize("sigma", [None, 0.3])
def test_nearest_neighbors_against_all_distances(dtype, neighbors, sigma):
    points = np.random.default_rng(0).random((30, 3)).astype(dtype)
    found = nearest_neighbor_graph(points, neighbors, sigma=sigma)
    assert found.matrix.dtype == dtype
    expected = np.zeros((30, 30))
    for i in range(30):
        squared = [sum(float(a - b) ** 2 for a, b in zip(points[i], points[k], strict=True)) for k in range(30)]
        for k in sorted(range(30), key=squared.__getitem__)[: neighbors + 1]:
            expected[i, k] = 1.0 if sigma is None else np.exp(-squared[k] / (2 * sigma**2))
        expected[i] /= expected[i].sum()
    assert relative(found.matrix.toarray(), expected) < tol(dtype)
    assert (found.matrix.diagonal() > 0).all()


def test_points_that_are_equal_or_far_keep_themselves_and_positive_weights():
    points = np.repeat([[0.0], [1e6]], 5, axis=0)
    for sigma in (None, 1e-3):
        graph = nearest_neighbor_graph(points, 2, sigma=sigma)
        assert (graph.matrix.diagonal() > 0).all()
        assert np.diff(graph.matrix.indptr).tolist() == [3] * 10
    assert nearest_neighbor_graph([[1.0, 2.0]]).matrix.toarray() == [[1.0]]
    far = nearest_neighbor_graph(np.array([[0.0], [1.0], [99.0]]), 2, sigma=1e-3)
    assert (far.matrix.data > 0).all()
    assert nearest_neighbor_graph(np.array([[1], [2], [3]])).matrix.dtype == np.float32


@pytest.mark.parametrize("by_border", [False, True])
@pytest.mark.parametrize("shape", [(7, 9), (1, 6), (4, 5, 3)])
def test_regions_against_loops_over_pixels(dtype, by_border, shape):
    segments = np.random.default_rng(0).choice([-3, 2, 7, 40], shape, p=[0.4, 0.3, 0.2, 0.1])
    found = region_graph(segments, by_border=by_border, dtype=dtype)
    assert found.matrix.dtype == dtype
    numbers = sorted(set(segments.ravel().tolist()))
    border = np.zeros((len(numbers),) * 2)
    for at in np.ndindex(shape):
        for axis in range(len(shape)):
            near = tuple(x + (k == axis) for k, x in enumerate(at))
            if near[axis] < shape[axis] and segments[at] != segments[near]:
                a, b = numbers.index(segments[at]), numbers.index(segments[near])
                border[a, b] += 1
                border[b, a] += 1
    touch = (border > 0).astype(float)
    own = 1 / (1 + touch.sum(axis=1))
    share = border if by_border else touch
    expected = np.diag(own) + (1 - own)[:, None] * share / np.maximum(share.sum(axis=1, keepdims=True), 1)
    assert relative(found.matrix.toarray(), expected) < tol(dtype)


def test_one_region_and_regions_apart():
    assert region_graph(np.full((3, 3), 7)).matrix.toarray() == [[1.0]]
    strips = np.array([[0, 1, 2]])
    np.testing.assert_allclose(region_graph(strips).matrix.toarray(), [[0.5, 0.5, 0], [1 / 3] * 3, [0, 0.5, 0.5]])


def test_means_over_regions_by_loops(dtype):
    rng = np.random.default_rng(0)
    segments, image = rng.integers(0, 4, (6, 7)) * 3, rng.random((6, 7, 2)).astype(dtype)
    found = region_means(image, segments)
    expected = [image[segments == number].mean(axis=0) for number in (0, 3, 6, 9)]
    assert relative(found, expected) < tol(dtype)
    assert found.dtype == dtype
    assert region_means(image[..., 0], segments).shape == (4, 1)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: nearest_neighbor_graph(np.ones(3)), r"shape \(3,\); accepted is \(n, D\)"),
    (lambda: nearest_neighbor_graph(np.full((3, 1), np.nan)), "not finite"),
    (lambda: nearest_neighbor_graph(np.array([["a"]])), "accepted are real numbers"),
    (lambda: nearest_neighbor_graph(np.ones((3, 1)), 0), "neighbors is 0"),
    (lambda: nearest_neighbor_graph(np.ones((3, 1)), sigma=0.0), "sigma is 0"),
    (lambda: region_graph(np.ones((3, 3))), "dtype float64; accepted are integers"),
    (lambda: region_graph(np.ones(3, int)), r"shape \(3,\); accepted is \(H, W\)"),
    (lambda: region_means(np.ones((2, 3)), np.ones((3, 2), int)), "accepted are as many pixels"),
])  # fmt: skip
def test_what_makes_no_graph_is_refused(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


def grid_graph(shape, dtype):
    return Graph(sparse.csr_array(dense_average(uniform_weights(shape, dtype=np.float64)).astype(dtype)))


@pytest.mark.parametrize("time", [3.0, [1.0, 2.0]], ids=str)
def test_pixels_as_nodes_get_the_labels_of_pixels(dtype, time):
    scene = voronoi_colors(12, sites=4)
    image, graph = scene.image.astype(dtype), grid_graph((12, 12), dtype)
    options = {"time": time, "solver": Taylor(tol=1e-6)}
    pixels, nodes = label(image, scene.prototypes, **options), None
    nodes = label(image.reshape(144, 3), scene.prototypes, weights=graph, **options)
    np.testing.assert_array_equal(nodes.labels, pixels.labels.ravel())
    assert nodes.labels.dtype == np.uint8
    assert relative(nodes.probabilities, pixels.probabilities.reshape(144, -1)) < 50 * tol(dtype)
    assert (nodes.products, nodes.converged) == (pixels.products, True)
    assert nodes.reason.split(":")[0] == pixels.reason.split(":")[0] != ""
    soft = np.random.default_rng(0).dirichlet(np.ones(5), (12, 12)).astype(dtype)
    pixels = refine(soft, rho=0.5, **options)
    graphs = [graph] * np.size(time) if np.ndim(time) else graph
    nodes = refine(soft.reshape(144, 5), weights=graphs, rho=0.5, **options)
    assert relative(nodes.probabilities, pixels.probabilities.reshape(144, 5)) < 50 * tol(dtype)


def test_a_number_is_the_time_of_all_graphs_together():
    rng = np.random.default_rng(0)
    points, soft = rng.random((30, 2)), rng.dirichlet(np.ones(3), 30)
    graphs = [nearest_neighbor_graph(points, 4), nearest_neighbor_graph(points, 9)]
    together, each = (refine(soft, weights=graphs, time=time) for time in (3.0, [1.5, 1.5]))
    np.testing.assert_array_equal(together.probabilities, each.probabilities)


def test_features_of_bytes_are_scaled_and_prototypes_found():
    points = np.random.default_rng(0).random((60, 2))
    grey, graph = (255 * points[:, :1]).astype(np.uint8), nearest_neighbor_graph(points)
    one = label(grey, [50, 200], weights=graph)
    other = label(grey[:, 0] / np.float32(255), [50 / 255, 200 / 255], weights=graph)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
    assert label(grey, 3, weights=graph).probabilities.shape == (60, 3)


NODES, SOFT = nearest_neighbor_graph(np.random.default_rng(0).random((6, 2))), np.full((6, 2), 0.5)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: label(np.ones((2, 3, 1)), [0, 1], weights=NODES), r"\(2, 3, 1\); accepted are \(n,\) and \(n, C\)"),
    (lambda: label(np.ones((5, 1)), [0, 1], weights=NODES), "the graph has 6 nodes"),
    (lambda: label(np.ones((6, 1)), [0, 1], weights=NODES.matrix), "a csr_array; accepted are an array, a Graph"),
    (lambda: label(np.ones((6, 1)), [0, 1], weights=NODES, rho=0), "rho is 0"),
    (lambda: label(np.ones((6, 1)), [0, 1], weights=NODES, time=-1.0), "time is -1"),
    (lambda: refine(SOFT[None], weights=NODES), r"\(1, 6, 2\); accepted is \(n, J\)"),
    (lambda: refine(2 * SOFT, weights=NODES), "miss a sum of 1"),
    (lambda: refine(SOFT, weights=[NODES] * 2, time=[1.0]), "2 weights and 1 times"),
    (lambda: label(np.arange(6.0), [0, 5], weights=NODES, time=1e4), "overflows before time 1"),
])  # fmt: skip
def test_nodes_that_cannot_be_labeled(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


def painted_surface(n, seed=0):
    """Points of a sphere in four painted regions, noisy colors, and who is whose neighbor."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    truth = 2 * (points[:, 2] > 0.4 * np.sin(3 * np.arctan2(points[:, 1], points[:, 0]))) + (points[:, 0] > 0)
    prototypes = np.eye(4)
    return points, truth, prototypes, prototypes[truth] + 0.6 * rng.standard_normal((n, 4))


def test_a_painted_surface_is_learned():
    points, truth, prototypes, colors = painted_surface(1500)
    graph = nearest_neighbor_graph(points, 8)
    l = log_likelihood(distances(colors.astype(np.float32), prototypes), 0.2)
    fit = fit_weights(
        l, truth, weights=graph, time=3.0, solver=Taylor(), descent=RiemannianAdam(0.2), steps=15
    )
    pixelwise = np.mean(l.argmax(axis=0) != truth)
    uniform, learned = fit.history[0].wrong, fit.history[-1].wrong
    assert learned < 0.3 * uniform < 0.1 * pixelwise
    applied = label(colors.astype(np.float32), prototypes, weights=fit.weights, rho=0.2)
    assert np.mean(applied.labels != truth) == pytest.approx(learned, abs=0.003)


@realdata
@pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="scikit-image, for superpixels, is absent")
def test_superpixels_of_a_photograph():
    """Weights of superpixels reproduce a coarse segmentation that single superpixels do not give."""
    from skimage.segmentation import slic

    photo = iio.imread(next((DATA / "photos").glob("*.jpg")))[::2, ::2] / np.float32(255)
    segments = slic(photo, n_segments=600, compactness=10.0)
    graph, means = region_graph(segments, by_border=True), region_means(photo, segments)
    count = len(np.unique(segments))
    assert graph.shape == (count,)
    assert means.shape == (count, 3)
    assert 200 < count < 1000
    truth = label(means, 4, weights=graph, time=6.0).labels  # smooth regions of four colors
    rng = np.random.default_rng(0)
    noisy = means + 0.1 * rng.standard_normal(means.shape).astype(np.float32)
    prototypes = np.stack([means[truth == j].mean(axis=0) for j in np.unique(truth)])
    numbers = np.unique(truth, return_inverse=True)[1]
    l = log_likelihood(distances(noisy, prototypes), 0.1)
    fit = fit_weights(
        l, numbers, weights=graph, steps=20, solver=Krylov(), descent=RiemannianAdam(0.2)
    )
    pixelwise = np.mean(l.argmax(axis=0) != numbers)
    assert fit.history[0].wrong < pixelwise
    assert fit.history[-1].wrong < 0.3 * pixelwise
