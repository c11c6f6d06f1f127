"""Predicted weights as a source of weights, and the labeler of a predictor."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from examples import IMAGES, TRUTHS, fitted

import gpulaf
from gpulaf import Labeler
from gpulaf.averaging import WeightSource
from gpulaf.prediction import Features, PredictedWeights


@pytest.mark.parametrize(
    ("options", "reach"),
    [
        ({}, 1),
        ({"radius": 2, "features": 0}, 0),
        ({"features": Features("patch:2+gaussian:1"), "n_layers": 2}, 4),
        ({"n_layers": 3, "shared_layers": True}, 1),
    ],
)
def test_a_labeler_labels_as_its_predictor(options: dict[str, Any], reach: int) -> None:
    """As a labeling with the predicted patches given, too."""
    predictor = fitted(1, 1, **options)
    labeler = predictor.labeler()
    source = labeler.weights
    assert isinstance(source, PredictedWeights)
    assert isinstance(source, WeightSource)
    assert (source.radius, source.reach, labeler.radius) == (predictor.radius, reach, predictor.radius)
    assert source.workspace(1) >= predictor.tangents_.shape[-1]
    expected = predictor.label(IMAGES[3])
    given = replace(labeler, weights=predictor.weights(IMAGES[3]))
    for found in (labeler(IMAGES[3]), given(IMAGES[3])):
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    stored = (255 * IMAGES[3].clip(0, 1)).astype(np.uint8)
    np.testing.assert_array_equal(labeler(stored).labels, predictor.label(stored).labels)


def test_the_labeler_of_a_refining_predictor_refines() -> None:
    soft = np.random.default_rng(0).dirichlet(np.ones(2), (32, 32))
    predictor = fitted(1, 1, probabilities=[soft], rho=1.0)
    found, expected = predictor.labeler().refine(soft, image=IMAGES[3]), predictor.refine(IMAGES[3], soft)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    with pytest.raises(TypeError, match="prototypes is None"):
        predictor.labeler()(IMAGES[3])
    with pytest.raises(ValueError, match="image has 3 channels; accepted are 1, as in the training"):
        predictor.labeler().refine(soft, image=np.zeros((32, 32, 3)))


def test_names_tell_models_apart() -> None:
    predictor, other = fitted(1, 1), fitted(1, 1, features=Features("patch:1"))
    named = repr(predictor.weight_source())
    assert re.fullmatch(r"PredictedWeights\([0-9a-f]{16}, features=1\)", named)
    assert repr(fitted(1, 1).weight_source()) == named
    assert "features=patch:1" in repr(other.weight_source())
    for name, value in (
        ("tangents_", predictor.tangents_ + 1e-12),
        ("sigma_", predictor.sigma_ * 2),
        ("feature_prototypes_", predictor.feature_prototypes_[::-1].copy()),
    ):
        changed = fitted(1, 1)
        setattr(changed, name, value)
        assert repr(changed.weight_source()) != named


def test_labelers_describe_nothing_again() -> None:
    predictor = fitted(1, 1, rho=0.3, time=2.0, n_layers=2, solver=gpulaf.Krylov(tol=1e-2))
    labeler = predictor.labeler()
    assert isinstance(labeler, Labeler)
    assert (labeler.rho, labeler.times, labeler.solver) == (0.3, [1.0, 1.0], predictor.solver)
    assert labeler.prototypes is predictor.label_prototypes_
    assert labeler.scaled
    with pytest.raises(ValueError, match=r"not trained\. Call fit"):
        gpulaf.WeightPredictor().labeler()
    assert (predictor.classes_ == np.unique(TRUTHS[0])).all()
