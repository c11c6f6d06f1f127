"""Conventions of scikit-learn: parameters by name, nested options, clones, pickles, predicted classes."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import IMAGES, TRUTHS, fitted, same

import gpulaf
from gpulaf import Krylov, Taylor, WeightPredictor
from gpulaf.io.images import write_array
from gpulaf.learning import Checkpoint
from gpulaf.prediction import Features, NotFittedError, Training, gaussian_features


def test_parameters_are_stored_as_they_are() -> None:
    features = partial(gaussian_features, scales=(1,))
    options = {
        "n_prototypes": 7, "features": features, "radius": 2, "rho": 0.3, "metric": "sqeuclidean",
        "time": 1, "n_layers": 2, "shared_layers": True, "solver": gpulaf.Euler(), "training": Training(steps=2),
        "seed": 5, "range": (0, 255), "spacing": (2, 1),
    }  # fmt: skip
    predictor = WeightPredictor(**options)
    assert all(predictor.get_params()[name] is value for name, value in options.items())
    assert list(predictor.get_params(deep=False)) == list(options)
    assert predictor.set_params(rho=0.7, radius=1) is predictor
    assert (predictor.rho, predictor.radius, predictor.seed) == (0.7, 1, 5)
    assert "rho=0.7" in repr(predictor)


def test_nested_options_have_names() -> None:
    checkpoint = Checkpoint("state", every=3)
    predictor = WeightPredictor(features=Features("patch:2"), training=Training(steps=4, checkpoint=checkpoint))
    found = predictor.get_params()
    assert found["solver__tol"] == 1e-4
    assert found["training__steps"] == 4
    assert found["training__checkpoint__every"] == 3
    assert found["features__names"] == "patch:2"
    assert not any("__" in name for name in predictor.get_params(deep=False))
    before = predictor.training
    predictor.set_params(training__steps=5, training__checkpoint__every=7, solver__tol=1e-6)
    assert predictor.training == Training(steps=5, checkpoint=Checkpoint("state", every=7))
    assert before.steps == 4
    assert predictor.solver == Taylor(tol=1e-6)
    predictor.set_params(solver__tol=1e-2, solver=Krylov())  # the whole first, whatever the order
    assert predictor.solver == Krylov(tol=1e-2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sigma", "'sigma' is no parameter of WeightPredictor; accepted are n_prototypes, "),
        ("solver__steps", "'steps' is no parameter of Taylor; accepted are degree, tol, substeps"),
        ("rho__tol", "'tol' is no parameter of float; accepted are none"),
        ("training__checkpoint__every", "'every' is no parameter of NoneType"),
        ("training__steps", "steps is -1; accepted are whole numbers from 0"),
    ],
)
def test_parameters_that_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightPredictor().set_params(**{name: -1})


def test_sklearn_clones_it() -> None:
    base = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed")
    predictor = fitted(solver=Krylov(tol=1e-3), features=0)
    clone = base.clone(predictor)
    assert clone.get_params() == predictor.get_params()
    assert not hasattr(clone, "feature_prototypes_")
    same(clone.fit(IMAGES[:2], TRUTHS[:2], progress=False), predictor)
    assert base.clone(predictor.set_params(training__steps=1)).training.steps == 1


def test_copies_and_pickles_predict_the_same() -> None:
    predictor = fitted(2, 2, n_layers=2, validation=(IMAGES[2:3], TRUTHS[2:3]))
    for other in (copy.deepcopy(predictor), pickle.loads(pickle.dumps(predictor))):
        same(other, predictor)
        np.testing.assert_array_equal(other.predict(IMAGES[3:])[0], predictor.predict(IMAGES[3:])[0])
        found, expected = (x.label(IMAGES[3]).probabilities for x in (other, predictor))
        np.testing.assert_array_equal(found, expected)


def test_classes_of_arrays_and_of_paths(tmp_path: Path) -> None:
    truths = [np.where(t == 0, 7, 255) for t in TRUTHS]
    predictor = WeightPredictor(8, training=Training(steps=2)).fit(IMAGES[:2], truths[:2], progress=False)
    assert predictor.classes_.tolist() == [7, 255]
    write_array(tmp_path / "image.npy", IMAGES[3])
    found = predictor.predict([IMAGES[2], IMAGES[3], tmp_path / "image.npy", str(tmp_path / "image.npy")])
    assert [x.shape for x in found] == [(32, 32)] * 4
    for classes, image in zip(found, [*IMAGES[2:], IMAGES[3], IMAGES[3]], strict=True):
        np.testing.assert_array_equal(classes, predictor.classes_[predictor.label(image).labels])
    assert predictor.predict([]) == []
    with pytest.raises(TypeError, match="images are a str; accepted is a sequence of arrays or of paths"):
        predictor.predict(str(tmp_path / "image.npy"))
    with pytest.raises(ValueError, match="the predictor was trained without probabilities"):
        predictor.predict(IMAGES[3:], [np.full((32, 32, 2), 0.5)])
    with pytest.raises(ValueError, match=r"not trained\. Call fit"):
        WeightPredictor().predict(IMAGES[3:])


def test_classes_of_refined_probabilities(tmp_path: Path) -> None:
    soft = [np.random.default_rng(k).dirichlet(np.ones(2), t.shape) for k, t in enumerate(TRUTHS)]
    predictor = fitted(2, 1, rho=1.0, probabilities=soft[:2])
    write_array(tmp_path / "soft.npy", soft[3])
    expected = predictor.refine(IMAGES[3], soft[3]).labels
    for given in (soft[3], tmp_path / "soft.npy"):
        np.testing.assert_array_equal(predictor.predict(IMAGES[3:], [given])[0], expected)
    with pytest.raises(ValueError, match="trained to refine probabilities"):
        predictor.predict(IMAGES[3:])
    with pytest.raises(ValueError, match="there are 1 images and 2 probabilities"):
        predictor.predict(IMAGES[3:], soft[2:])


def test_the_training_comes_back_with_the_model(tmp_path: Path) -> None:
    training: Any = Training(
        steps=2, step_size=0.1, decay=True, batch=1, crop=20, loss=gpulaf.cross_entropy_loss, balanced=True, seed=3
    )
    predictor = fitted(training=training, solver=Taylor(tol=1e-3))
    predictor.save(tmp_path / "f")
    back = WeightPredictor.load(tmp_path / "f")
    assert back.get_params() == predictor.get_params()
    same(back.fit(IMAGES[:2], TRUTHS[:2], progress=False), predictor)
    running = Training(steps=1, checkpoint=Checkpoint(tmp_path / "state"), memory=0, loss=partial(gpulaf.cosine_loss))
    fitted(training=running).save(tmp_path / "g")
    assert WeightPredictor.load(tmp_path / "g").training == Training(steps=1)


# --- scikit-learn ---------------------------------------------------------------------------------------------------


def test_probabilities_and_score() -> None:
    truths = [np.where(t == 0, 7, 255) for t in TRUTHS]
    predictor = WeightPredictor(8, training=Training(steps=2)).fit(IMAGES[:2], truths[:2], progress=False)
    found, classes = predictor.predict_proba(IMAGES[2:]), predictor.predict(IMAGES[2:])
    for image, each, values in zip(IMAGES[2:], found, classes, strict=True):
        np.testing.assert_array_equal(each, predictor.label(image).probabilities)
        np.testing.assert_array_equal(predictor.classes_[each.argmax(axis=-1)], values)
    right = np.concatenate([(a == b).ravel() for a, b in zip(classes, truths[2:], strict=True)])
    assert predictor.score(IMAGES[2:], truths[2:]) == right.mean()


def test_the_score_counts_pixels_with_truth(tmp_path: Path) -> None:
    predictor = fitted(2, 1)
    (found,) = predictor.predict(IMAGES[2:3])
    truth = found.astype(np.int64)
    truth[:4], truth[4:8], truth[8:10] = -1, 9, 1 - truth[8:10]
    assert predictor.score(IMAGES[2:3], [truth], unlabeled=9) == 1 - 2 * 32 / (24 * 32)
    assert predictor.score(IMAGES[2:3], [truth]) == 1 - 6 * 32 / (28 * 32)  # a strange class is wrong
    mask = np.ones((32, 32), bool)
    mask[8:10] = False
    assert predictor.score(IMAGES[2:3], [truth], masks=[mask], unlabeled=9) == 1
    write_array(tmp_path / "t.npy", truth)
    assert predictor.score(IMAGES[2:3], [tmp_path / "t.npy"], unlabeled=9) == 1 - 2 * 32 / (24 * 32)
    with pytest.raises(ValueError, match="no pixel of the images has ground truth"):
        predictor.score(IMAGES[2:3], [np.full((32, 32), -1)])
    with pytest.raises(ValueError, match="there are 1 scored images and 2 of their truths"):
        predictor.score(IMAGES[2:3], [truth, truth])


@pytest.mark.parametrize("kind", [WeightPredictor, gpulaf.WeightNetwork])
def test_what_is_not_fitted(kind: Any) -> None:
    calls = [
        lambda p: p.predict(IMAGES), lambda p: p.predict_proba(IMAGES), lambda p: p.score(IMAGES, TRUTHS),
        lambda p: p.labeler(), lambda p: p.weights(IMAGES[0]), lambda p: p.save("m"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(NotFittedError, match=rf"this {kind.__name__} is not trained\. Call fit, or ") as found:
            call(kind())
        assert isinstance(found.value, ValueError)
        assert isinstance(found.value, AttributeError)


def test_scikit_learn_is_not_imported() -> None:
    code = "import sys, gpulaf; p = gpulaf.WeightNetwork().get_params(); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.fixture
def sklearn() -> Any:
    return pytest.importorskip("sklearn", reason="scikit-learn is not installed")


def smoothed(images: Any) -> list[np.ndarray]:
    return [0.5 * (x + np.roll(x, 1, axis=0)) for x in images]


@pytest.mark.parametrize("predictor", [
    WeightPredictor(4, features=0, training=Training(steps=1)),
    gpulaf.WeightNetwork((4,), features="patch:1", training=Training(steps=1), n_layers=1),
], ids=lambda p: type(p).__name__)  # fmt: skip
def test_pipelines_and_searches(sklearn: Any, predictor: Any) -> None:
    from sklearn.exceptions import NotFittedError as Theirs
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.utils.validation import check_is_fitted

    with pytest.raises(Theirs):
        check_is_fitted(predictor)
    with pytest.raises(Theirs, match="is not trained"):
        predictor.predict(IMAGES)
    pipeline = Pipeline([("smooth", FunctionTransformer(smoothed)), ("weights", predictor)])
    pipeline.fit(IMAGES[:2], TRUTHS[:2])
    check_is_fitted(predictor)
    np.testing.assert_array_equal(pipeline.predict(IMAGES[2:3])[0], predictor.predict(smoothed(IMAGES[2:3]))[0])
    assert pipeline.predict_proba(IMAGES[2:3])[0].shape == (32, 32, 2)
    assert pipeline.score(IMAGES[2:], TRUTHS[2:]) == predictor.score(smoothed(IMAGES[2:]), TRUTHS[2:])
    assert pipeline.classes_ is predictor.classes_
    search = GridSearchCV(pipeline, {"weights__time": [0.1, 3.0], "weights__training__steps": [0, 2]}, cv=2)
    search.fit(IMAGES, TRUTHS)
    assert len(search.cv_results_["mean_test_score"]) == 4
    best = search.best_params_
    alone = predictor.set_params(time=best["weights__time"], training__steps=best["weights__training__steps"])
    scores = cross_val_score(alone, smoothed(IMAGES), TRUTHS, cv=2)
    assert search.best_score_ == scores.mean()
    assert search.score(IMAGES, TRUTHS) == search.best_estimator_.score(IMAGES, TRUTHS)


def test_tags_of_scikit_learn(sklearn: Any) -> None:
    from sklearn.utils import get_tags

    tags = get_tags(WeightPredictor())
    assert tags.target_tags.required
    assert not tags.input_tags.two_d_array


@pytest.mark.parametrize("kind", [WeightPredictor, gpulaf.WeightNetwork])
def test_an_image_without_its_truth_is_named(kind: Any) -> None:
    predictor = kind(training=Training(steps=1))
    with pytest.raises(ValueError, match="training image 1 has no truth, it is None; accepted is one for every image"):
        predictor.fit(IMAGES[:3], [TRUTHS[0], None, TRUTHS[2]], progress=False)
    predictor.fit(IMAGES[:2], TRUTHS[:2], progress=False)
    with pytest.raises(ValueError, match="validation image 0 has no truth"):
        predictor.fit(IMAGES[:2], TRUTHS[:2], validation=(IMAGES[2:3], [None]), progress=False)
    with pytest.raises(ValueError, match="evaluated image 0 has no truth"):
        gpulaf.evaluate(predictor, IMAGES[2:3], [None], progress=False)
    with pytest.raises(TypeError, match="truths is None; accepted is a sequence"):
        gpulaf.evaluate(predictor, IMAGES[2:3], None, progress=False)


def test_predictors_say_how_sure_labels_are() -> None:
    predictor = fitted()
    found = predictor.label(IMAGES[2], uncertainty=gpulaf.Uncertainty(0.3, 8))
    expected = replace(predictor.labeler(), uncertainty=gpulaf.Uncertainty(0.3, 8))(IMAGES[2])
    np.testing.assert_array_equal(found.uncertainty, expected.uncertainty)
    assert predictor.label(IMAGES[2]).uncertainty is None
