"""What a predictor brings: the numbers of an evaluation, and the figures."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import relative, tol

import gpulaf
from gpulaf import WeightPredictor, evaluate
from gpulaf.fields import from_rows
from gpulaf.io.images import write_array
from gpulaf.plots import confusion_figure, predictor_figure
from gpulaf.plots.predictor import CELL, ROWS, display_colors, own_weights, prototype_patches
from gpulaf.prediction import Features, Training
from gpulaf.prediction.evaluation import compare
from gpulaf.prediction.samples import Item

SCENES = [gpulaf.scenes.voronoi_lines(32, sites=6, noise=0.3, seed=seed) for seed in range(4)]
IMAGES = [s.image.astype(np.float32) for s in SCENES]
TRUTHS = [s.truth for s in SCENES]
VALUES = [np.array([40, 200])[t] for t in TRUTHS]


def trained(**options: Any) -> WeightPredictor:
    validation = options.pop("validation", None)
    predictor = WeightPredictor(**({"n_prototypes": 12, "training": Training(steps=4)} | options))
    return predictor.fit(IMAGES[:2], VALUES[:2], validation=validation, progress=False)


def labelings(predictor: WeightPredictor, image: Any) -> dict[str, np.ndarray]:
    return compare(predictor, Item(image, np.full(image.shape[:2], -1))).labels


def soft(truth: np.ndarray, seed: int) -> np.ndarray:
    logits = 2 * np.eye(2)[truth] + np.random.default_rng(seed).standard_normal((*truth.shape, 2))
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


SOFT = [soft(t, seed) for seed, t in enumerate(TRUTHS)]


def test_three_labelings_of_an_image(xp: Any, dtype: np.dtype[Any]) -> None:
    predictor = trained()
    image = IMAGES[3].astype(dtype)
    found = labelings(predictor, xp(image))
    assert list(found) == ["pixelwise", "uniform weights", "predicted weights"]
    distance = np.abs(image[..., 0, None] - predictor.label_prototypes_.ravel())
    np.testing.assert_array_equal(found["pixelwise"], distance.argmin(axis=-1))
    uniform = gpulaf.label(image, predictor.label_prototypes_)
    np.testing.assert_array_equal(found["uniform weights"], uniform.labels)
    np.testing.assert_array_equal(found["predicted weights"], predictor.label(image).labels)
    assert all(isinstance(labels, np.ndarray) for labels in found.values())


def test_the_numbers_of_an_evaluation() -> None:
    """Counted again by loops over the labels of single images; −1 and the value named do not count."""
    predictor = trained()
    truths = [VALUES[2].copy(), VALUES[3].copy()]
    truths[0][:10], truths[1][5] = -1, 7
    found = evaluate(predictor, IMAGES[2:], truths, unlabeled=7, progress=False)
    assert found.classes.tolist() == [40, 200]
    for method in ("pixelwise", "uniform weights", "predicted weights"):
        labels = [predictor.classes_[labelings(predictor, image)[method]] for image in IMAGES[2:]]
        for row, value in enumerate((40, 200)):
            for column, other in enumerate((40, 200)):
                pixels = sum(((t == value) & (l == other)).sum() for t, l in zip(truths, labels, strict=True))
                assert found.confusion[method][row, column] == pixels
        for k, (t, l) in enumerate(zip(truths, labels, strict=True)):
            known = (t == 40) | (t == 200)
            assert found.wrong[method][k] == pytest.approx((t != l)[known].mean())
    assert sum(found.wrong["predicted weights"]) < sum(found.wrong["uniform weights"])


def test_an_evaluation_of_refined_probabilities() -> None:
    predictor = WeightPredictor(8, rho=1.0, training=Training(steps=3))
    predictor.fit(IMAGES[:2], TRUTHS[:2], probabilities=SOFT[:2], progress=False)
    found = evaluate(predictor, IMAGES[3:], TRUTHS[3:], probabilities=SOFT[3:], progress=False)
    expected = {
        "pixelwise": SOFT[3].argmax(axis=-1),
        "uniform weights": gpulaf.refine(SOFT[3]).labels,
        "predicted weights": predictor.refine(IMAGES[3], SOFT[3]).labels,
    }
    for method, labels in expected.items():
        assert found.wrong[method] == [pytest.approx((labels != TRUTHS[3]).mean())]
    with pytest.raises(ValueError, match=r"evaluated image 0: the predictor was trained to refine probabilities"):
        evaluate(predictor, IMAGES[3:], TRUTHS[3:], progress=False)


def test_files_are_named_by_errors_and_nothing_labeled_is_no_number(tmp_path: Path) -> None:
    predictor = trained()
    write_array(tmp_path / "im.npy", IMAGES[3])
    write_array(tmp_path / "truth.npy", VALUES[3])
    nothing = evaluate(predictor, [tmp_path / "im.npy"], [np.full((32, 32), -1)], progress=False)
    assert np.isnan(nothing.wrong["pixelwise"]).all()
    write_array(tmp_path / "other.npy", VALUES[3] + 1)
    with pytest.raises(ValueError, match=r"evaluated image 0 \(.*im\.npy\): its truth holds the value (41|201)"):
        evaluate(predictor, [tmp_path / "im.npy"], [tmp_path / "other.npy"], progress=False)


# --- figures --------------------------------------------------------------------------------------------------------


def drawn(figure: Any) -> list[str]:
    """The figure is drawn; its titles."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=40)
    assert file.getvalue().startswith(b"\x89PNG")
    return [axis.get_title() for axis in figure.axes]


def test_the_figure_of_a_predictor() -> None:
    predictor = trained(validation=(IMAGES[2:3], VALUES[2:3]))
    figure = predictor_figure(predictor, IMAGES[3], VALUES[3])
    labels = labelings(predictor, IMAGES[3])
    wrong = {method: 100 * np.mean(found != TRUTHS[3]) for method, found in labels.items()}
    titles = drawn(figure)
    assert titles[:5] == ["unseen image", "truth", *(f"{method}\n{w:.2f} % wrong" for method, w in wrong.items())]
    assert titles[5].startswith("prototype patches (left) and the 3×3 weights")
    assert titles[5].endswith("12 of 12 prototypes, most used first")
    for axis, found in zip(figure.axes[1:5], [TRUTHS[3], *labels.values()], strict=True):  # black lines on white
        np.testing.assert_array_equal(axis.images[0].get_array(), 255 * found[..., None].repeat(3, axis=2))
    np.testing.assert_allclose(figure.axes[0].images[0].get_array()[..., 0], IMAGES[3][..., 0].clip(0, 1), rtol=1e-6)
    training, validation, kept = figure.axes[6].lines
    history = predictor.history_
    np.testing.assert_array_equal(training.get_ydata(), [100 * row.wrong for row in history])
    np.testing.assert_array_equal(validation.get_ydata(), [100 * row.validation_wrong for row in history])
    best = int(np.argmin([row.validation_loss for row in history]))
    assert (kept.get_xdata()[0], kept.get_ydata()[0]) == (best, 100 * history[best].validation_wrong)
    first, last = 100 * history[0].validation_wrong, 100 * history[best].validation_wrong
    assert titles[6].endswith(f"{first:.2f} → {last:.2f} % of validation")


def test_prototypes_are_drawn_beside_their_weights() -> None:
    shown = 7 * ROWS
    predictor = trained(n_prototypes=shown + 5)
    figure = predictor_figure(predictor, IMAGES[3], VALUES[3])
    canvas = np.asarray(figure.axes[5].images[0].get_array())
    assert f"{shown} of {shown + 5} prototypes" in figure.axes[5].get_title()
    patches, used = prototype_patches(predictor, IMAGES[3])
    features = from_rows(gpulaf.prediction.patch_features(IMAGES[3]))
    distance = np.linalg.norm(features[:, :, None, :] - predictor.feature_prototypes_, axis=-1)
    np.testing.assert_array_equal(used, np.bincount(distance.argmin(axis=-1).ravel(), minlength=shown + 5))
    first = np.argmax(used)
    third = CELL // 3
    shown = canvas[3 : 3 + CELL, 3 : 3 + CELL][third // 2 :: third, third // 2 :: third]
    np.testing.assert_allclose(shown[..., 0], predictor.feature_prototypes_[first].reshape(3, 3).clip(0, 1))
    np.testing.assert_array_equal(shown, patches[first])
    blue = canvas[3 : 3 + CELL, 3 + CELL + 16 : 3 + 2 * CELL + 16][third // 2 :: third, third // 2 :: third]
    weights = own_weights(predictor)[first]
    np.testing.assert_array_equal(np.argsort(blue.sum(axis=-1).ravel()), np.argsort(-weights))  # darker is more


@pytest.mark.parametrize("radius", [1, 2])
def test_weights_of_a_prototype_by_their_formula(radius: int) -> None:
    predictor = trained(radius=radius)
    p, nu, sigma = predictor.feature_prototypes_, predictor.tangents_, predictor.sigma_
    expected = []
    for k in range(len(p)):
        a = np.exp(-sigma * np.linalg.norm(p[k] - p, axis=1))
        logits = np.exp(a / a.sum() @ nu)
        expected.append(logits / logits.sum())
    assert relative(own_weights(predictor), expected) < tol(np.float64)


@pytest.mark.parametrize(
    ("features", "radius"), [(Features("gaussian:1"), 1), (2, 2), (Features("patch:1+gaussian"), 1)]
)
def test_figures_of_other_features(features: Any, radius: int) -> None:
    predictor = trained(features=features, radius=radius)
    titles = drawn(predictor_figure(predictor, IMAGES[3], VALUES[3], title="training image"))
    assert titles[0] == "training image"
    kind = "surroundings of the pixel nearest" if callable(features) else "prototype patches"
    assert titles[5].startswith(kind)
    if callable(features):
        patches, _ = prototype_patches(predictor, IMAGES[3])
        f = from_rows(predictor.reader.pixel_features(IMAGES[3]))
        y, x = np.unravel_index(np.linalg.norm(f - predictor.feature_prototypes_[0], axis=-1).argmin(), (32, 32))
        assert patches.shape == (12, 5, 5, 3)
        np.testing.assert_allclose(patches[0, 2, 2], IMAGES[3][y, x].clip(0, 1).repeat(3), rtol=1e-6)
    assert titles[6].endswith("% of training")


def test_figures_of_colors_and_of_soft_predictions() -> None:
    scenes = [gpulaf.scenes.voronoi_colors(24, sites=6, seed=seed) for seed in range(2)]
    training = Training(steps=1)
    predictor = WeightPredictor(10, training=training)
    predictor.fit([scenes[0].image], [scenes[0].truth], progress=False)
    unseen = np.where(np.isin(scenes[1].truth, predictor.classes_), scenes[1].truth, 99)
    unseen[:3] = 99
    figure = predictor_figure(predictor, scenes[1].image, unseen, unlabeled=99)
    drawn(figure)
    truth = np.asarray(figure.axes[1].images[0].get_array())
    assert (truth[:3] == [245, 190, 180]).all()
    value = unseen[unseen != 99][0]
    mean = predictor.label_prototypes_[np.searchsorted(predictor.classes_, value)]
    np.testing.assert_allclose(np.unique(truth[unseen == value], axis=0), [255 * mean.clip(0, 1)], atol=0.6)
    refining = WeightPredictor(8, rho=1.0, training=training)
    refining.fit(IMAGES[:1], TRUTHS[:1], probabilities=SOFT[:1], progress=False)
    assert drawn(predictor_figure(refining, IMAGES[3], TRUTHS[3], probabilities=SOFT[3]))[0] == "unseen image"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[[0.25]], [[1.0]]], [0.25, 1.0]),
        ([[[1000.0]], [[3000.0]]], None),
        ([[[-1.2, 5.0]], [[0.5, 5.0]], [[1.5, 5.0]]], None),
    ],
)
def test_colors_of_any_numbers(values: Any, expected: Any) -> None:
    found = display_colors(np.array(values))
    assert found.shape == (*np.shape(values)[:-1], 3)
    if expected is None:  # stretched to what is there
        assert (found[0, 0, 0], found[-1, 0, 0]) == pytest.approx((0, 1))
    else:
        np.testing.assert_allclose(found[:, 0, 0], expected)


@pytest.mark.parametrize("count", [2, 9])
def test_the_confusion_matrix_is_written_in_percent_of_each_class(count: int) -> None:
    rng = np.random.default_rng(0)
    confusion = rng.integers(0, 1000, (count, count))
    confusion[-1] = 0
    figure = confusion_figure(confusion, [str(10 * j) for j in range(count)])
    title = drawn(figure)[0]
    assert f"{100 * (1 - np.trace(confusion) / confusion.sum()):.2f} % of all pixels wrong" in title
    axis = figure.axes[0]
    shown = np.array([text.get_text() for text in axis.texts]).reshape(count, count)
    for row in range(count - 1):
        for column in range(count):
            assert shown[row, column] == f"{100 * confusion[row, column] / confusion[row].sum():.1f}"
    assert set(shown[-1]) == {"–"}
    assert [label.get_text() for label in axis.get_yticklabels()] == [str(10 * j) for j in range(count)]
