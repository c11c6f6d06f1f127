"""Distances by name against SciPy, by function against loops; what has no meaning is refused, and rho has its units."""

import math
import warnings

import numpy as np
import pytest
from commands import run_here
from oracles import relative, tol
from scipy.spatial.distance import cdist

import gpulaf
from gpulaf import Labeler, label
from gpulaf.backend.array import host_array
from gpulaf.cli.label import METRICS as NAMES
from gpulaf.io import write_array
from gpulaf.labeling import DataWarning, distances, log_likelihood
from gpulaf.labeling.metrics import METRICS, OWN
from gpulaf.prediction import WeightNetwork, WeightPredictor
from gpulaf.prediction.dataset import Reader

RNG = np.random.default_rng(0)
FEATURES, PROTOTYPES = RNG.random((6, 7, 4)) + 0.05, RNG.random((5, 4)) + 0.05
HUES = 60.0 * np.arange(6)


def circular(angles, prototype):
    """Degrees around the circle."""
    return 180 - abs(180 - abs(angles - prototype)[..., 0])


def scipy_distances(features, prototypes, metric):
    found = cdist(np.asarray(features, float).reshape(-1, features.shape[-1]), prototypes, metric)
    return found.reshape(*features.shape[:-1], -1).transpose(0, 2, 1)


@pytest.mark.parametrize("metric", METRICS)
def test_names_are_those_of_scipy(metric, dtype):
    features = FEATURES.astype(dtype)
    found = distances(features, PROTOTYPES, metric)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, scipy_distances(features, PROTOTYPES, metric), atol=tol(dtype))
    np.testing.assert_array_equal(distances(np.stack([features] * 2), PROTOTYPES, metric)[1], found)


@pytest.mark.parametrize("metric", OWN)
def test_every_library_computes_them(xp, dtype, metric):
    found = distances(xp(FEATURES.astype(dtype)), PROTOTYPES, metric)
    assert relative(found, scipy_distances(FEATURES.astype(dtype), PROTOTYPES, metric)) < tol(dtype)
    assert host_array(found).dtype == dtype


def test_a_function_sees_every_pixel_and_prototype(xp, dtype):
    angles = (360 * RNG.random((5, 6, 1))).astype(dtype)
    found = host_array(distances(xp(angles), HUES[:, None], circular))
    expected = [
        [[min(abs(a - p), 360 - abs(a - p)) for a in row] for p in HUES] for row in angles[..., 0].astype(float)
    ]
    np.testing.assert_allclose(found, expected, atol=360 * tol(dtype))
    assert found.dtype == dtype


def test_small_angles_keep_their_digits():
    prototypes = np.array([[1.0, 0.0], [math.cos(1e-3), math.sin(1e-3)]])
    found = distances(np.float32(3 * prototypes[None, :1]), prototypes, "cosine")
    np.testing.assert_allclose(found[0, :, 0], [0, 1 - math.cos(1e-3)], rtol=1e-4)
    huge = distances(np.full((1, 1, 2), 1e30, np.float32), [[1.0, 1.0], [1.0, 0.0]], "cosine")
    np.testing.assert_allclose(huge[0, :, 0], [0, 1 - 0.5**0.5], atol=1e-6)


@pytest.mark.parametrize(("metric", "pixel"), [("cosine", [0.0, 0, 0, 0]), ("correlation", [0.3, 0.3, 0.3, 0.3])])
def test_a_pixel_without_direction_prefers_no_label(metric, pixel):
    found = distances(np.array([[pixel]]), PROTOTYPES, metric)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, found[0, 0, 0], rtol=1e-12)


def test_labels_of_circular_data():
    scene = gpulaf.scenes.voronoi_colors(24, sites=6, seed=1)
    truth = scene.truth % 6
    seen = (HUES[truth] + RNG.normal(0, 15, truth.shape)) % 360
    found = label(seen, HUES, metric=circular, rho=20.0)
    alone = np.abs(np.exp(1j * np.radians(seen))[..., None] - np.exp(1j * np.radians(HUES))).argmin(axis=-1)
    assert (found.labels != truth).mean() < (alone != truth).mean() < 0.2
    turned = label((seen + 90) % 360, (HUES + 90) % 360, metric=circular, rho=20.0)
    np.testing.assert_allclose(turned.probabilities, found.probabilities, atol=1e-10)
    scaled = label(
        np.round(seen).astype(np.uint16) % 360, HUES, range=(0, 360), rho=20 / 360,
        metric=lambda x, p: circular(360 * x, 360 * p) / 360,
    )  # fmt: skip
    assert (scaled.labels == found.labels).mean() > 0.98


def test_blocks_and_arrays_of_dask_take_functions(monkeypatch):
    dask = pytest.importorskip("dask.array", reason="Dask is not installed")
    seen = 360 * RNG.random((150, 90))
    labeler = Labeler(HUES, metric=circular, rho=20.0)
    whole = labeler(seen)
    monkeypatch.setattr("gpulaf.backend.memory.BLOCK", 1.0)
    np.testing.assert_array_equal(labeler(seen).probabilities, whole.probabilities)
    tiles = gpulaf.tiling.label_array(dask.from_array(seen, chunks=(64, 64)), labeler, channel_axis=None)
    np.testing.assert_array_equal(tiles.labels.compute(), whole.labels)


@pytest.mark.parametrize(("metric", "features", "prototypes", "said"), [
    ("hamming", FEATURES, PROTOTYPES, "metric is 'hamming'; accepted are euclidean, .*jensenshannon, and a function"),
    (3, FEATURES, PROTOTYPES, "metric is 3; accepted are"),
    (["cosine"], FEATURES, PROTOTYPES, "metric is .*accepted are"),
    ("cosine", FEATURES[..., :1], PROTOTYPES[:, :1], "'cosine', and there are 1 channels; accepted are at least 2"),
    ("correlation", FEATURES[..., :2], PROTOTYPES[:, :2], "there are 2 channels; accepted are at least 3"),
    ("cosine", FEATURES, np.eye(5, 4), "has no direction. Give one that is not 0"),
    ("correlation", FEATURES, np.ones((2, 4)), "has no direction. Give one that is not the same in all channels"),
    ("jensenshannon", -FEATURES, PROTOTYPES, "jensenshannon' gives 210 distance.*NaN or infinite; accepted are finite"),
    (lambda x, p: x - p, FEATURES, PROTOTYPES, r"metric gives shape \(.*4\) for.*one distance for each"),
    (lambda x, p: 1.0, FEATURES, PROTOTYPES, r"metric gives shape \(\)"),
    (lambda x, p: np.log(0 * x[..., 0]), FEATURES, PROTOTYPES, "<lambda> gives 210 distance"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_no_distance_is_refused(metric, features, prototypes, said):
    with pytest.raises(ValueError, match=said):
        distances(features, prototypes, metric)
    with pytest.raises(ValueError, match=said):
        label(features, prototypes, metric=metric)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_pixels_without_data_need_no_distance():
    image, mask = FEATURES.copy(), np.ones((6, 7), bool)
    image[2, 3], mask[2, 3] = 0, False
    found = label(image, PROTOTYPES, metric="jensenshannon", mask=mask)
    assert np.isfinite(found.probabilities[mask]).all()
    with pytest.raises(ValueError, match="5 distance"):
        label(image, PROTOTYPES, metric="jensenshannon")


def test_scipy_has_no_gpu():
    cupy = pytest.importorskip("cupy", reason="there is neither CuPy nor a compiler to simulate it")
    with pytest.raises(TypeError, match="'canberra', which SciPy computes on the CPU; accepted on a GPU are euclidean"):
        distances(cupy.asarray(FEATURES), PROTOTYPES, "canberra")


def test_functions_where_they_cannot_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match="prototypes is 5, and metric a function; k-means"):
        label(FEATURES, 5, metric=circular)
    for kind in (WeightPredictor, WeightNetwork):
        with pytest.raises(ValueError, match=r"the function .*which a file cannot hold"):
            kind(metric=circular).fit([FEATURES], [np.arange(42).reshape(6, 7) % 3])
    write_array(tmp_path / "x.npy", FEATURES[..., 0])
    with pytest.raises(ValueError, match=r"the function .*which a file cannot hold"):
        gpulaf.label_file(tmp_path / "x.npy", tmp_path / "y.tif", Labeler(HUES, metric=circular))
    with pytest.raises(ValueError, match="rho is None and metric 'cosine'; accepted is a number"):
        WeightNetwork(metric="cosine").fit([FEATURES], [np.arange(42).reshape(6, 7) % 3])


def warned(*arguments, **options):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        label(*arguments, **options)
    return " ".join(str(w.message) for w in seen if issubclass(w.category, DataWarning))


def test_hints_are_in_the_units_of_the_metric():
    colors, image = RNG.random((4, 3)), RNG.random((20, 20, 3))
    angles = 360 * RNG.random((20, 20))
    for metric in METRICS:
        assert not warned(image, colors, metric=metric, rho=0.1), metric
    assert "Pass range=(0, 255)" in warned(255 * image, 255 * colors, metric="cityblock")
    assert not warned(255 * image, 255 * colors, metric="cosine")  # of any scale
    assert not warned(angles, HUES, metric=circular, rho=20.0)
    assert "is 0.056 % of that. Pass rho in the units of the metric" in warned(angles, HUES, metric=circular)
    assert "times as large, which hardly tells" in warned(image, colors, metric="cosine", rho=1e4)


def test_predictors_learn_with_it():
    scene = gpulaf.scenes.voronoi_colors(16, noise=0.2)
    rows = scene.truth.astype(np.int64)
    predictor = WeightPredictor(
        n_prototypes=3, rho=0.05, metric="cosine", training=gpulaf.prediction.Training(steps=1)
    ).fit([scene.image], [rows])  # fmt: skip
    reader = predictor.reader
    assert isinstance(reader, Reader)
    expected = log_likelihood(distances(scene.image, predictor.label_prototypes_, "cosine"), 0.05)
    np.testing.assert_allclose(reader.data_term(scene.image), expected, rtol=1e-12)
    assert predictor.labeler().metric == "cosine"


def test_the_command_takes_the_names(tmp_path, capsys):
    assert sorted(NAMES) == sorted(METRICS)
    image = (255 * RNG.random((20, 30, 3))).astype(np.uint8)
    write_array(tmp_path / "x.npy", image)
    np.savetxt(tmp_path / "p.csv", [[200, 40, 30], [30, 200, 60], [40, 50, 200]], delimiter=",")
    options = ["-o", tmp_path / "y.npy", "--prototypes", tmp_path / "p.csv", "--metric", "cosine", "--device", "cpu"]
    assert run_here(capsys, "label", tmp_path / "x.npy", *options)[0] == 0
    expected = label(image, np.loadtxt(tmp_path / "p.csv", delimiter=","), metric="cosine")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected.labels)
