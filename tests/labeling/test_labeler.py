"""One description of a labeling: each image is validated once, and eleven calls lead from it to a kernel."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from oracles import random_problem

from gpulaf import Graph, Labeler, Taylor, label, refine, refine_logits
from gpulaf.averaging import BilateralWeights, nearest_neighbor_graph, uniform_weights
from gpulaf.flows import DeepFlow
from gpulaf.labeling import distances, log_likelihood
from gpulaf.labeling.solve import label_by


def calls_of(run: Any) -> tuple[Counter[str], int]:
    """How often each function of gpulaf is called in a run, and how deep calls lead to a kernel's implementation."""
    counts: Counter[str] = Counter()
    depth = deepest = 0

    def profile(frame: Any, event: str, _: Any) -> None:
        nonlocal depth, deepest
        if "gpulaf" not in frame.f_globals.get("__name__", ""):
            return
        if event == "call":
            depth += 1
            counts[frame.f_code.co_name] += 1
            if frame.f_code.co_name == "cpu":
                deepest = max(deepest, depth)
        elif event == "return":
            depth -= 1

    run()  # imports and compilation are no part of it
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return counts, deepest


IMAGE = np.random.default_rng(0).random((12, 13, 3)).astype(np.float32)
SOFT = np.random.default_rng(1).dirichlet(np.ones(3), (12, 13)).astype(np.float32)
COLORS = np.eye(3)
POINTS = np.random.default_rng(2).random((30, 2))


@pytest.mark.parametrize(
    ("run", "validated"),
    [
        (lambda: label(IMAGE, COLORS), {"image_features": 1, "prototype_array": 1}),
        (lambda: label(IMAGE, COLORS, weights=BilateralWeights()), {"image_features": 1, "check_weights": 1}),
        (lambda: label(IMAGE, COLORS, weights=uniform_weights((12, 13))), {"image_features": 1, "check_weights": 1}),
        (lambda: label(POINTS, 3, weights=nearest_neighbor_graph(POINTS)), {"image_features": 1}),
        (lambda: refine(SOFT), {"log_probabilities": 1, "label_fields": 1, "image_features": 0}),
        (lambda: refine_logits(SOFT), {"label_fields": 1, "image_features": 0}),
        (lambda: refine(SOFT, weights=BilateralWeights(), image=IMAGE), {"label_fields": 1, "image_features": 1}),
    ],
    ids=["label", "bilateral", "weights", "graph", "refine", "logits", "refine by an image"],
)
def test_everything_is_validated_once(run: Any, validated: dict[str, int]) -> None:
    counts, _ = calls_of(run)
    assert {name: counts[name] for name in validated} == validated
    assert counts["_check_finite"] == validated.get("image_features", 0) + validated.get("label_fields", 0)


def test_eleven_calls_lead_from_an_image_to_a_kernel_and_back() -> None:
    pytest.importorskip("numba")
    assert 0 < calls_of(lambda: label(IMAGE, COLORS))[1] <= 11
    assert 0 < calls_of(lambda: label(IMAGE, COLORS, weights=BilateralWeights()))[1] <= 11


def test_trusted_fields_give_what_the_image_gives() -> None:
    labeler = Labeler(COLORS, rho=0.3, time=[1.0, 2.0])
    fields = log_likelihood(distances(IMAGE, COLORS), 0.3)
    one, other = labeler(IMAGE), label_by(labeler, fields)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    solution = DeepFlow(uniform_weights((12, 13)), [1.0, 2.0]).solve(fields)
    np.testing.assert_array_equal(one.labels, solution.v.argmax(axis=-2))


class Twice:
    """Weights of two layers from an image; layer by layer more uniform."""

    radius, reach = 1, 1

    def __call__(self, features: Any) -> list[Any]:
        made = BilateralWeights(0.2)(features)
        return [made, uniform_weights(features.shape[:2], dtype=features.dtype)]

    def workspace(self, channels: int) -> int:
        return 100


def test_a_map_to_weights_of_layers_needs_their_times() -> None:
    with pytest.raises(ValueError, match=r"those of 2 layers and time is None.*Give times like \[1\.0"):
        label(IMAGE, COLORS, weights=Twice())
    given = [BilateralWeights(0.2)(IMAGE), uniform_weights((12, 13))]
    one, other = (label(IMAGE, COLORS, weights=weights, time=[1.0, 0.5]) for weights in (Twice(), given))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    with pytest.raises(ValueError, match="no image for it to look at"):
        refine(SOFT, weights=Twice(), time=[1.0, 0.5])
    with pytest.raises(ValueError, match=r"\(5, 5\) pixels and the predictions \(12, 13\)"):
        refine(SOFT, weights=BilateralWeights(), image=np.ones((5, 5)))


def test_the_image_that_weights_are_made_from_has_its_channels_on_any_axis() -> None:
    options: dict[str, Any] = {"weights": BilateralWeights()}
    first = refine(SOFT, image=IMAGE, **options)
    moved = refine(SOFT, image=np.moveaxis(IMAGE, -1, 0), channel_axis=0, **options)
    np.testing.assert_array_equal(moved.probabilities, first.probabilities)
    logits = refine_logits(np.log(SOFT), image=np.moveaxis(IMAGE, -1, 0), channel_axis=0, **options)
    np.testing.assert_array_equal(logits.labels, first.labels)


def test_prototypes_in_scaled_units() -> None:
    image = (255 * IMAGE).astype(np.uint8)
    one, other = Labeler(255 * COLORS)(image), Labeler(COLORS, scaled=True)(image)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rho": np.inf}, "rho is inf"),
        ({"rho": None}, "rho is None; accepted are positive numbers"),
        ({"rho": "0.1"}, "rho is '0.1'"),
        ({"time": "3"}, "time is '3'; accepted are positive numbers"),
        ({"time": [1.0, None]}, "time is None"),
        ({"time": [[1.0, 2.0]]}, r"time is \[1.0, 2.0\]; accepted are positive numbers\. .* a list holds"),
        ({"solver": Taylor}, "solver is <class"),
        ({"weights": "bilateral"}, "weights are a str"),
        ({"weights": [[0.1, 0.2]]}, "weights are a list"),
        ({"time": [1.0], "weights": [None, None]}, "there are 2 weights and 1 times"),
    ],
)
def test_a_labeler_that_could_label_nothing_is_refused_when_it_is_made(options: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        Labeler(COLORS, **options)


def test_a_labeler_without_prototypes_only_refines() -> None:
    with pytest.raises(TypeError, match=r"prototypes is None, .* Call refine"):
        Labeler()(IMAGE)
    assert Labeler(rho=1.0).refine(SOFT).labels.shape == (12, 13)


def test_a_graph_of_another_size_is_refused() -> None:
    graph = nearest_neighbor_graph(POINTS)
    assert isinstance(graph, Graph)
    with pytest.raises(ValueError, match="the graph has 30 nodes"):
        label(POINTS[:7], 2, weights=graph)
    with pytest.raises(ValueError, match="accepted is"):
        label(IMAGE, COLORS, weights=random_problem().weights)
