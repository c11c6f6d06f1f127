"""The work of the napari plugin on layers without napari: bit for bit what gpulaf does with their arrays."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
from examples import IMAGES, TRUTHS, ball, fitted

import gpulaf
from gpulaf.averaging import BilateralWeights
from gpulaf.labeling import DataWarning, distances, log_likelihood
from gpulaf.learning import RiemannianAdam
from gpulaf.napari import Cancelled, Settings, apply_model, label_image, learn_weights, refine_probabilities, work
from gpulaf.scenes import voronoi_colors, voronoi_lines

COLORS = voronoi_colors(48, sites=6, noise=0.3)
LINES = voronoi_lines(40, sites=5)


@dataclass
class Layer:
    """What the work asks of a layer."""

    data: Any
    name: str = "cells"
    rgb: bool = False
    scale: Any = None
    translate: Any = None
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        axes = np.ndim(self.data[0] if isinstance(self.data, list) else self.data) - self.rgb
        self.scale = [1.0] * axes if self.scale is None else self.scale
        self.translate = [0.0] * axes if self.translate is None else self.translate
        self.__dict__ |= self.more


def labels_of(layers):
    [(data, attributes, kind)] = layers
    assert kind == "labels"
    return data, SimpleNamespace(**attributes)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


def painted():
    """Strokes of the labels 3, 5 and 9 on the colors."""
    strokes = np.zeros(COLORS.truth.shape, np.int32)
    for value, label in zip((3, 5, 9), np.unique(COLORS.truth)[:3], strict=True):
        rows, columns = (x[:12] for x in np.nonzero(COLORS.truth == label))
        strokes[rows, columns] = value
    return strokes


# label


def test_a_number_of_labels(dtype):
    image = COLORS.image.astype(dtype)
    data, layer = labels_of(label_image(Layer(image, rgb=True), 8, settings=Settings(rho=0.2, time=2.0)))
    own = gpulaf.label(image, 8, rho=0.2, time=2.0)
    np.testing.assert_array_equal(data, own.labels + 1)
    assert data.dtype == np.uint8
    assert layer.features["index"] == list(range(1, 9))
    assert layer.features["pixels"] == np.bincount(own.labels.ravel(), minlength=8).tolist()
    np.testing.assert_array_equal(layer.metadata["prototypes"], own.prototypes)
    assert len({layer.colormap[j] for j in range(1, 9)}) == 8
    assert layer.colormap[0] == layer.colormap[None] == "transparent"


def test_painted_strokes(dtype):
    image, strokes = COLORS.image.astype(dtype), painted()
    like = Layer(strokes, "strokes", more={"get_color": lambda label: (label / 10, 0, 0, 1)})
    data, layer = labels_of(label_image(Layer(image, rgb=True), strokes=like))
    prototypes = [[image[..., c][strokes == v].astype(float).mean() for c in range(3)] for v in (3, 5, 9)]
    own = gpulaf.label(image, prototypes)
    np.testing.assert_array_equal(data, np.array([3, 5, 9])[own.labels])
    assert layer.colormap[5] == (0.5, 0, 0, 1)


@pytest.mark.parametrize("kind", ["dask", "numpy", "scales", "strokes", "zarr"])
def test_large_images_tile_by_tile(kind, dtype, monkeypatch):
    image = COLORS.image.astype(dtype)
    monkeypatch.setattr(work, "SIDES", {2: 20})
    told = []
    if kind == "numpy":
        monkeypatch.setattr(work, "LARGE", 1000)
    data = {"numpy": image, "scales": [da.from_array(image, chunks=7), da.from_array(image[::2, ::2])]}
    if kind == "zarr":
        zarr = pytest.importorskip("zarr", reason="needs the extra large")
        data[kind] = zarr.create_array({}, data=image, chunks=(9, 9, 3))
    layer = Layer(data.get(kind, da.from_array(image, chunks=7)), rgb=True, more={"multiscale": kind == "scales"})
    options = {"strokes": Layer(painted(), "strokes")} if kind == "strokes" else {}
    own, _ = labels_of(label_image(Layer(image, rgb=True), 8, **options))
    found, _ = labels_of(label_image(layer, 8, **options, tell=lambda *x: told.append(x)))
    np.testing.assert_array_equal(found, own)
    assert isinstance(found, np.ndarray)
    total = told[-1][1]
    assert total >= 4
    assert told == [(0, 0), *((k, total) for k in range(total))]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_a_volume_with_the_spacing_of_its_scale(large, sigma, dtype, monkeypatch):
    volume = ball((2.0, 1.0, 1.0))[0].astype(dtype)
    if large:
        monkeypatch.setattr(work, "LARGE", 10)
        monkeypatch.setattr(work, "SIDES", {3: 9})
    layer = Layer(volume, scale=[4.0, 2.0, 2.0], translate=[1.0, 2.0, 3.0])
    data, found = labels_of(label_image(layer, 2, settings=Settings(sigma=sigma, time=1.0)))
    weights = BilateralWeights(sigma, spacing=(4, 2, 2)) if sigma else None
    own = gpulaf.label(volume, 2, weights=weights, time=1.0, channel_axis=None, spacing=(2, 1, 1))
    np.testing.assert_array_equal(data, own.labels + 1)
    assert (found.scale, found.translate) == ([4.0, 2.0, 2.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("kind", ["numpy", "dask"])
def test_what_is_nan_or_transparent_is_no_data(kind, dtype):
    image = LINES.image[..., 0].astype(dtype)
    image[3:9, 5:9] = np.nan
    wrapped = da.from_array(image, chunks=15) if kind == "dask" else image
    data, layer = labels_of(label_image(Layer(wrapped), 2))
    own = gpulaf.label(image, 2, mask=np.isfinite(image))
    np.testing.assert_array_equal(data, np.where(own.valid, own.labels + 1, 0))
    assert sum(layer.features["pixels"]) == np.isfinite(image).sum()
    colors = (255 * np.dstack([COLORS.image.clip(0, 1), COLORS.truth > 0])).astype(np.uint8)
    data, _ = labels_of(label_image(Layer(da.from_array(colors) if kind == "dask" else colors, rgb=True), 4))
    own = gpulaf.label(colors[..., :3], 4, mask=colors[..., 3] > 0)
    np.testing.assert_array_equal(data, np.where(own.valid, own.labels + 1, 0))


def test_contrast_limits_are_a_range():
    image = (4000 * LINES.image[..., 0].clip(0, 1)).astype(np.int32)
    layer = Layer(image, more={"contrast_limits": [0, 4000]})
    with pytest.raises(ValueError, match="Pass range"):
        label_image(layer, 2)
    data, _ = labels_of(label_image(layer, 2, settings=Settings(limits=True)))
    np.testing.assert_array_equal(data, gpulaf.label(image, 2, range=(0, 4000)).labels + 1)


def test_where_a_result_lies():
    more = {"units": ("um", "mm"), "axis_labels": ("y", "x"), "affine": np.eye(3), "rotate": np.eye(2)}
    layer = Layer(LINES.image[..., 0], scale=[0.5, 0.5], translate=[1.0, 2.0], more=more)
    _, found = labels_of(label_image(layer, 2))
    assert (found.scale, found.translate, found.units) == ([0.5, 0.5], [1.0, 2.0], ["um", "mm"])
    assert found.axis_labels == ["y", "x"]
    np.testing.assert_array_equal(found.affine, np.eye(3))


# refine


def soft(dtype, labels=3, shape=(24, 31)):
    return np.random.default_rng(0).dirichlet(np.ones(labels), shape).astype(dtype)


@pytest.mark.parametrize("kind", ["numpy", "dask"])
@pytest.mark.parametrize("axis", [0, -1])
def test_probabilities(axis, kind, dtype):
    probabilities = soft(dtype)
    moved = np.moveaxis(probabilities, -1, axis)
    scale = [9.0, 2.0, 3.0] if axis == 0 else [2.0, 3.0, 9.0]
    layer = Layer(da.from_array(moved, chunks=16) if kind == "dask" else moved, "soft", scale=scale)
    data, found = labels_of(refine_probabilities(layer, label_axis=axis))
    own = gpulaf.refine(probabilities, spacing=(2, 3))
    np.testing.assert_array_equal(data, own.labels + 1)
    assert (found.name, found.scale, found.translate) == ("soft refined", [2.0, 3.0], [0.0, 0.0])


@pytest.mark.parametrize("kind", ["numpy", "dask"])
def test_probabilities_with_an_image(kind, dtype):
    probabilities, image = soft(dtype, 4), np.random.default_rng(1).random((24, 31)).astype(dtype)
    wrap = (lambda x: da.from_array(x, chunks=13)) if kind == "dask" else (lambda x: x)
    layer, seen = Layer(wrap(probabilities), rgb=True), Layer(wrap(image), translate=[5.0, 6.0])
    data, found = labels_of(refine_probabilities(layer, seen, settings=Settings(rho=2.0, sigma=0.2)))
    own = gpulaf.refine(probabilities, weights=BilateralWeights(0.2), rho=2.0, image=image)
    np.testing.assert_array_equal(data, own.labels + 1)
    assert found.translate == [5.0, 6.0]


def test_bilateral_weights_of_probabilities_need_an_image():
    with pytest.raises(ValueError, match="Pass image"):
        refine_probabilities(Layer(soft("float32"), rgb=True), settings=Settings(sigma=0.2))


# learn


@pytest.mark.parametrize("zero", [False, True])
def test_learning(zero, dtype):
    image, truth = LINES.image[..., 0].astype(dtype), LINES.truth + (not zero)
    truth[:4] = 0
    told = []
    layers = learn_weights(
        Layer(image, scale=[0.1, 0.1]), Layer(truth, "truth"), zero=zero, steps=3, tell=lambda *x: told.append(x)
    )
    data, found = labels_of(layers)
    values = [0, 1] if zero else [1, 2]
    prototypes = np.array([[image[truth == v].astype(float).mean()] for v in values])
    likelihood = log_likelihood(distances(image[..., None], prototypes), 0.2)
    marks = truth - values[0]  # −1 is no ground truth
    fit = gpulaf.fit_weights(likelihood, marks, time=6.0, steps=3, descent=RiemannianAdam(0.2))
    np.testing.assert_array_equal(found.metadata["weights"], fit.weights)
    own = gpulaf.label(image, prototypes, weights=fit.weights, rho=0.2, time=6.0)
    np.testing.assert_array_equal(data, own.labels + values[0])
    assert [row[:3] for row in found.metadata["history"]] == [row[:3] for row in fit.history]
    assert [x for x in told if x[1]] == [(k, 3) for k in range(4)]
    assert (found.colormap[0] == "transparent") != zero


def test_learning_on_a_volume_of_integers():
    volume, truth = ball((2.0, 1.0, 1.0), side=20.0)
    volume = (100 + 60 * volume).clip(0, 255).astype(np.uint8)
    layer = Layer(volume, scale=[2.0, 1.0, 1.0])
    settings = Settings(rho=0.2, time=2.0)
    data, found = labels_of(learn_weights(layer, Layer(truth + 7, "truth"), steps=2, settings=settings))
    prototypes = np.array([[volume[truth == v].mean()] for v in (0, 1)])
    assert found.metadata["prototypes"] == pytest.approx(prototypes, rel=1e-5)
    weights = found.metadata["weights"]
    assert weights.shape == (*volume.shape[:-1], 27, volume.shape[-1])
    options = {"rho": 0.2, "time": 2.0, "channel_axis": None}
    own = gpulaf.label(volume, found.metadata["prototypes"], weights=weights, **options)
    assert (data == own.labels + 7).mean() > 0.999


# apply


@pytest.mark.parametrize("kind", ["numpy", "dask"])
def test_a_model(kind, tmp_path):
    predictor = fitted()
    predictor.save(tmp_path / "model.safetensors")
    image = da.from_array(IMAGES[2], chunks=20) if kind == "dask" else IMAGES[2]
    layer = Layer(image[..., 0], "unseen", translate=[1.0, 2.0])
    data, found = labels_of(apply_model(layer, tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(data, predictor.predict([IMAGES[2]])[0])
    assert (found.name, found.translate) == ("unseen model", [1.0, 2.0])
    assert found.colormap[0] != "transparent"  # a class


def test_a_model_of_more_channels(tmp_path):
    images = [np.dstack([x[..., 0]] * 2) for x in IMAGES[:2]]
    predictor = gpulaf.WeightPredictor(8).set_params(training__steps=1).fit(images, TRUTHS[:2])
    predictor.save(tmp_path / "model.safetensors")
    data, found = labels_of(apply_model(Layer(images[0], scale=[2.0, 3.0, 4.0]), tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(data, predictor.predict(images[:1])[0])
    assert found.scale == [2.0, 3.0]
    with pytest.raises(ValueError, match="image has 3 channels; accepted are 2"):
        apply_model(Layer(COLORS.image, rgb=True), tmp_path / "model.safetensors")


def test_a_model_that_refines(tmp_path):
    rng = np.random.default_rng(0)
    softs = [rng.dirichlet(np.ones(2), x.shape[:2]).astype(np.float32) for x in IMAGES]
    predictor = fitted(probabilities=softs[:2])
    path = tmp_path / "model.safetensors"
    predictor.save(path)
    image, layer = Layer(IMAGES[2][..., 0]), Layer(np.moveaxis(softs[2], -1, 0), "soft")
    data, _ = labels_of(apply_model(image, path, probabilities=layer))
    np.testing.assert_array_equal(data, predictor.predict([IMAGES[2]], [softs[2]])[0])
    with pytest.raises(ValueError, match=r"trained on probabilities\. Choose their layer"):
        apply_model(image, path)
    with pytest.raises(ValueError, match="soft holds 32 labels; accepted are 2"):
        apply_model(image, path, probabilities=layer, label_axis=-1)
    fitted().save(path)
    with pytest.raises(ValueError, match=r"trained without probabilities\. Choose none"):
        apply_model(image, path, probabilities=layer)


# what cannot be


def test_errors_say_what_to_do(tmp_path):
    image = Layer(LINES.image[..., 0])
    empty = np.zeros(LINES.truth.shape, int)
    with pytest.raises(ValueError, match=r"a layer is missing\. Open it"):
        label_image(None)
    with pytest.raises(ValueError, match=r"strokes has \(3, 3\) pixels and the image \(40, 40\)"):
        label_image(image, strokes=Layer(np.ones((3, 3), int), "strokes"))
    with pytest.raises(ValueError, match="strokes holds no label where"):
        label_image(image, strokes=Layer(empty, "strokes"))
    with pytest.raises(ValueError, match="truth holds only the label 4 where"):
        learn_weights(image, Layer(empty + 4, "truth"))
    with pytest.raises(ValueError, match="prototypes is 1; accepted are 2 to"):
        label_image(image, 1)
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        apply_model(image, tmp_path / "missing.safetensors")


def test_numbers_that_look_wrong_are_warned_of():
    with pytest.warns(DataWarning, match="range"):
        label_image(Layer(4000 * LINES.image[..., 0]), 2)
    with pytest.warns(DataWarning, match="Every pixel got the label"):
        label_image(Layer(da.from_array(1e-6 * LINES.image[..., 0])), 2, settings=Settings(time=30.0, rho=10.0))


@pytest.mark.parametrize("after", [0, 1, 2])
def test_cancelled(after, monkeypatch):
    monkeypatch.setattr(work, "SIDES", {2: 16})
    told = []

    def tell(done, total):
        told.append((done, total))
        if len(told) > after:
            raise Cancelled

    with pytest.raises(Cancelled):
        learn_weights(Layer(LINES.image[..., 0]), Layer(LINES.truth + 1), steps=50, tell=tell)
    told.clear()
    with pytest.raises(Cancelled):
        label_image(Layer(da.from_array(COLORS.image, chunks=(16, 16, 3)), rgb=True), 8, tell=tell)
    assert len(told) == after + 1
