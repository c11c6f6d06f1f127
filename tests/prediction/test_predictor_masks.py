"""Masks of a predictor: training and labels do not depend on invalid pixels; the derivative is that of the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from gpulaf import Taylor, WeightPredictor, cross_entropy_loss, evaluate
from gpulaf.io import read_tensors, write_tensors
from gpulaf.prediction import Features, Parameters
from gpulaf.prediction.dataset import Reader
from gpulaf.prediction.objective import Objective
from gpulaf.prediction.prepared import PreparedImages
from gpulaf.prediction.samples import Files, Item, Samples, read_item
from gpulaf.prediction.views import View
from gpulaf.scenes import voronoi_lines

SCENES = [voronoi_lines(32, sites=5, seed=seed, noise=0.1) for seed in range(3)]
IMAGES, TRUTHS = [s.image.astype(np.float32) for s in SCENES], [s.truth for s in SCENES]


def holes(seed: int = 0, shape: tuple[int, int] = (32, 32)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    valid = rng.random(shape) < 0.95
    valid[5:15, -8:] = valid[:, 3] = False
    return valid


MASKS = [holes(seed) for seed in range(3)]


def spoiled(value: float) -> list[np.ndarray]:
    return [
        np.where(mask[..., None], image, value).astype(np.float32) for image, mask in zip(IMAGES, MASKS, strict=True)
    ]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("soft", [False, True])
def test_the_derivative_of_one_image_against_central_differences(layers: int, soft: bool) -> None:
    rng = np.random.default_rng(4)
    shape, valid = (6, 7), holes(2, (6, 7))
    valid[0, 0] = True
    image, truth = rng.random((*shape, 2)), rng.choice([3, 5, 9], shape)
    image[~valid] = np.nan
    probabilities = rng.dirichlet(np.ones(3), shape) if soft else None
    reader = Reader(1, 0.5, np.array([3, 5, 9]), rng.random((3, 2)))
    tangents = rng.standard_normal((4, 9) if layers == 1 else (layers, 4, 9))
    shapes = Parameters(rng.random((4, 18)), tangents, 1.3)
    objective = Objective(reader, [1.0] * layers, Taylor(tol=1e-9), cross_entropy_loss)
    prepared = reader.with_features(reader(Item(image, truth, probabilities, mask=valid)))
    vector = shapes.vector
    gradient = objective(shapes, prepared).derivative
    for direction in rng.standard_normal((4, len(vector))):
        h = 1e-5
        ends = [objective(shapes.moved(vector + s * h * direction), prepared, False).loss for s in (1, -1)]
        assert abs((ends[0] - ends[1]) / (2 * h) - gradient @ direction) < 1e-6 * np.linalg.norm(gradient)


@pytest.mark.parametrize("features", [1, Features("gaussian:1")])
def test_nothing_depends_on_invalid_pixels(features: Any) -> None:
    found = []
    for value in (np.nan, -9999.0, 1e20):
        predictor = WeightPredictor(8, features=features).set_params(training__steps=2)
        predictor.fit(spoiled(value), TRUTHS, masks=MASKS)
        result = predictor.label(spoiled(value)[2], mask=MASKS[2])
        found.append((predictor.tangents_, predictor.label_prototypes_, result.probabilities))
        assert (result.labels[~MASKS[2]] == result.nodata).all()
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


def test_masked_arrays_and_unlabeled_pixels_are_masks() -> None:
    masked = [np.ma.masked_invalid(x) for x in spoiled(np.nan)]
    one = WeightPredictor(8).set_params(training__steps=2).fit(masked, TRUTHS)
    two = WeightPredictor(8).set_params(training__steps=2).fit(spoiled(0), TRUTHS, masks=MASKS)
    np.testing.assert_array_equal(one.tangents_, two.tangents_)
    truths = [np.ma.masked_array(t, ~m) for t, m in zip(TRUTHS, MASKS, strict=True)]
    reader = Reader(1, 0.1, np.arange(2), np.array([[0.0], [1.0]]))
    prepared = reader(Item(IMAGES[0], truths[0]))
    np.testing.assert_array_equal(prepared.truth == -1, ~MASKS[0])
    assert prepared.valid is None


def test_crops_kept_or_read_are_the_same_bits() -> None:
    samples = Samples(spoiled(np.nan), TRUTHS, masks=MASKS)
    reader = Reader(Features("patch:2+gaussian:1"), 0.1, np.arange(2), np.array([[0.0], [1.0]]), np.ones(29))
    kept, read = PreparedImages(reader, 10**9), PreparedImages(reader, 0)
    for seed in ((0, 1), (2, 3)):
        for x, y in zip(kept.get(samples, 1, View(12), seed), read.get(samples, 1, View(12), seed), strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_strip_without_data_is_a_smaller_image() -> None:
    predictor = WeightPredictor(8).set_params(training__steps=2).fit(IMAGES[:2], TRUTHS[:2])
    mask = np.arange(32) >= 6 + np.zeros((32, 1))
    source = predictor.weights(np.where(mask[..., None], IMAGES[2], np.nan), mask=mask)
    cut = predictor.weights(np.ascontiguousarray(IMAGES[2][:, 6:]))
    np.testing.assert_allclose(
        source[:, :, 7:], cut[:, :, 1:], rtol=0, atol=1e-6
    )  # the rim is not mirrored, but goes on
    assert not source[:, [0, 3, 6], 6].any()


def test_validation_prediction_and_evaluation() -> None:
    validation = (spoiled(np.nan)[2:], TRUTHS[2:], None, MASKS[2:])
    predictor = WeightPredictor(8).set_params(training__steps=2)
    predictor.fit(spoiled(np.nan)[:2], TRUTHS[:2], masks=MASKS[:2], validation=validation)
    assert predictor.history_[0].validation_loss is not None
    (labels,) = predictor.predict(spoiled(np.nan)[2:], masks=MASKS[2:])
    np.testing.assert_array_equal(labels == -1, ~MASKS[2])
    found = evaluate(predictor, spoiled(np.nan)[2:], TRUTHS[2:], masks=MASKS[2:], progress=False)
    assert found.confusion["predicted weights"].sum() == MASKS[2].sum()
    wrong = (labels != TRUTHS[2])[MASKS[2]].mean()
    np.testing.assert_allclose(found.wrong["predicted weights"][0], wrong, rtol=1e-12)


def test_soft_predictions() -> None:
    rng = np.random.default_rng(0)
    soft = [np.where(m[..., None], rng.dirichlet(np.ones(2), (32, 32)), np.nan) for m in MASKS]
    predictor = WeightPredictor(8, rho=1.0).set_params(training__steps=1)
    predictor.fit(IMAGES, TRUTHS, probabilities=soft, masks=MASKS)
    masked = np.ma.masked_invalid(soft[0])
    one, two = predictor.refine(IMAGES[0], soft[0], mask=MASKS[0]), predictor.refine(IMAGES[0], masked)
    np.testing.assert_array_equal(one.labels[MASKS[0]], two.labels[MASKS[0]])
    assert (one.labels[~MASKS[0]] == 255).all()


def test_the_range_of_the_training_is_that_of_new_images(tmp_path: Path) -> None:
    counts = [(4095 * np.clip(x, 0, 1)).astype(np.uint16) for x in IMAGES]
    predictor = WeightPredictor(8, range=(0, 4095)).set_params(training__steps=2).fit(counts[:2], TRUTHS[:2])
    predictor.save(tmp_path / "model.safetensors")
    loaded = WeightPredictor.load(tmp_path / "model.safetensors")
    assert loaded.range == (0, 4095)
    assert loaded.labeler().range == (0, 4095)
    expected = predictor.label(counts[2])
    for dtype in (np.uint16, np.int32, np.float32):
        np.testing.assert_array_equal(loaded.label(counts[2].astype(dtype)).probabilities, expected.probabilities)
    np.testing.assert_array_equal(loaded.label(counts[2].astype(np.float64)).labels, expected.labels)
    assert predictor.label_prototypes_.max() > 0.5


@pytest.mark.parametrize(("masks", "words"), [
    (MASKS[:1], "2 training images and 1 of their masks"),
    ([MASKS[0], np.ones((5, 5), bool)], "training image 1: mask has shape"),
    ([MASKS[0], np.zeros((32, 32), bool)], "training image 1: its truth holds no labeled pixel"),
])  # fmt: skip
def test_masks_that_do_not_fit(masks: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        WeightPredictor(8).fit(IMAGES[:2], TRUTHS[:2], masks=masks)


def test_a_range_that_is_none() -> None:
    with pytest.raises(ValueError, match="two increasing"):
        WeightPredictor(8, range=(1, 1)).fit(IMAGES, TRUTHS)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint64", "bool"])
def test_truths_of_any_type_that_holds_whole_numbers(dtype: str) -> None:
    truth = TRUTHS[0].astype(dtype)
    _, values, _, _ = read_item(Item(IMAGES[0], truth))
    assert values.dtype == np.int64
    np.testing.assert_array_equal(values, truth)
    if dtype == "uint64":
        with pytest.raises(ValueError, match=r"its truth holds the value 922337203685477580.; accepted are labels up"):
            read_item(Item(IMAGES[0], truth + np.uint64(2**63)))


def test_what_files_say_to_be_no_data_is_a_mask(tmp_path: Path) -> None:
    for name, value in (("one", -9999.0), ("two", np.nan)):
        extra = [(42113, "s", 0, "-9999", True)] if name == "one" else []
        tifffile.imwrite(tmp_path / f"{name}.tif", spoiled(value)[0][..., 0], extratags=extra)
    paths = [tmp_path / "one.tif", tmp_path / "two.tif"]
    found = [Samples(images, [TRUTHS[0]] * 2)[k] for images in (paths, Files(paths, "cpu")) for k in (0, 1)]
    for item in found:
        image, truth, _, valid = read_item(item)
        np.testing.assert_array_equal(valid, MASKS[0])
        np.testing.assert_array_equal(image[valid], IMAGES[0][..., 0][MASKS[0]])
        assert (truth[~valid] == -1).all()


@pytest.mark.parametrize("features", [float("inf"), float("nan"), -1, 1.5, True, None, [1]])
def test_a_model_whose_features_are_none(tmp_path: Path, features: Any) -> None:
    predictor = WeightPredictor(4).set_params(training__steps=0).fit(IMAGES[:1], TRUTHS[:1])
    predictor.save(tmp_path / "model.safetensors")
    tensors, metadata = read_tensors(tmp_path / "model.safetensors", "predictor")
    write_tensors(tmp_path / "model.safetensors", "predictor", tensors, metadata | {"features": features})
    with pytest.raises(ValueError, match=r"damaged metadata"):
        WeightPredictor.load(tmp_path / "model.safetensors")
