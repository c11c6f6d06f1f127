"""Predictors with layers: weights, derivatives and labelings against dense matrices and central differences."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import IMAGES, SCENES, TRUTHS, change, fitted, same
from oracles import dense_solution, random_problem, relative, tol

import gpulaf
from gpulaf import Taylor, WeightPredictor, cosine_loss
from gpulaf.backend.array import host_array
from gpulaf.fields import from_rows, to_rows
from gpulaf.flows import DeepFlow
from gpulaf.learning import Checkpoint
from gpulaf.learning.loss import wrong_share
from gpulaf.plots.predictor import own_weights
from gpulaf.prediction import Parameters, Training, predict_weights
from gpulaf.prediction.dataset import Reader
from gpulaf.prediction.evaluation import compare
from gpulaf.prediction.model import prediction_gradient
from gpulaf.prediction.objective import Objective
from gpulaf.prediction.samples import Item
from gpulaf.simplex import softmax

TIMES = [1.0, 0.5, 2.0]


def parameters(layers: int = 3, radius: int = 1, seed: int = 0) -> Parameters:
    rng = np.random.default_rng(seed)
    return Parameters(rng.random((4, 3)), rng.standard_normal((layers, 4, (2 * radius + 1) ** 2)), 1.7)


def dense_v(problem: Any, weights: list[np.ndarray], times: list[float] = TIMES) -> np.ndarray:
    """Σ v_s through dense matrices only."""
    v = np.zeros(problem.log_likelihood.shape)
    for omega, time in zip(weights, times, strict=True):
        v = v + dense_solution(type(problem)(omega, problem.log_likelihood + v, problem.g, problem.truth), time)
    return v


# --- weights and flows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [1, 2])
def test_weights_of_layers_are_those_of_each(xp: Any, dtype: np.dtype[Any], radius: int) -> None:
    own, f = parameters(radius=radius), np.random.default_rng(1).random((5, 3, 6)).astype(dtype)
    cast = Parameters(xp(own.feature_prototypes.astype(dtype)), xp(own.tangents.astype(dtype)), own.sigma)
    found = predict_weights(cast, xp(f))
    assert isinstance(found, list)
    for omega, nu in zip(found, own.tangents, strict=True):
        assert relative(omega, predict_weights(own._replace(tangents=nu), f.astype(np.float64))) < tol(dtype)
        assert host_array(omega).dtype == dtype


def test_derivatives_through_three_layers_against_central_differences(dtype: np.dtype[Any]) -> None:
    """Loss of the sum of three dense flows, in every entry of p, of ν of each layer, and in σ."""
    problem, own, h = random_problem(3, 4, 5, seed=1), parameters(), 1e-6
    f = np.random.default_rng(2).random((4, 3, 5))

    def loss(p: Parameters) -> float:
        return cosine_loss(dense_v(problem, predict_weights(p, f)), problem.truth).value

    cast = Parameters(own.feature_prototypes.astype(dtype), own.tangents.astype(dtype), own.sigma)
    flow = DeepFlow(predict_weights(cast, f.astype(dtype)), TIMES, solver=Taylor(tol=1e-12))
    solution = flow.solve(problem.log_likelihood.astype(dtype))
    G = flow.gradient(solution, cosine_loss(solution.v, problem.truth).derivative).weights
    found = prediction_gradient(cast, f.astype(dtype), G)
    assert found.tangents.shape == (3, 4, 9)
    for name in ("feature_prototypes", "tangents", "sigma"):
        value = np.asarray(getattr(own, name), float)
        expected = np.zeros_like(value)
        for at in np.ndindex(value.shape):
            step = np.zeros_like(value)
            step[at] = h
            up, down = (loss(own._replace(**{name: value + s})) for s in (step, -step))
            expected[at] = (up - down) / (2 * h)
        assert relative(getattr(found, name), expected) < max(1e-6, 20 * tol(dtype)), name


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("data_term", ["distances", "probabilities"])
def test_the_derivative_of_one_image_against_central_differences(shared: bool, data_term: str) -> None:
    """From the stored image through three layers to ∂p, ∂ν and ∂log σ."""
    rng, h = np.random.default_rng(0), 1e-6
    image, truth = rng.random((6, 5, 2)), rng.choice([-1, 3, 5, 9], (6, 5))
    probabilities = rng.dirichlet(np.ones(3), (6, 5)) if data_term == "probabilities" else None
    reader = Reader(0, 0.5, np.array([3, 5, 9]), rng.random((3, 2)))
    loss = partial(gpulaf.cross_entropy_loss, class_weights=[1.0, 2.0, 0.5])
    objective = Objective(reader, [4 / 3] * 3, Taylor(degree=14), loss)
    shapes = Parameters(rng.random((3, 2)), rng.standard_normal((3, 9) if shared else (3, 3, 9)), 0.3)
    vector, prepared = shapes.vector, reader.with_features(reader(Item(image, truth, probabilities)))
    found = objective(shapes.moved(vector), prepared).derivative
    steps = h * np.eye(len(vector))
    values = [
        [objective(shapes.moved(vector + sign * s), prepared, False).loss for sign in (1, -1)] for s in steps
    ]
    assert relative(found, [(up - down) / (2 * h) for up, down in values]) < 1e-6


@pytest.mark.parametrize("solver", [Taylor(tol=1e-3), gpulaf.Krylov(tol=1e-3), gpulaf.Euler(steps=6)], ids=str)
def test_one_layer_is_one_flow_bit_for_bit(solver: Any) -> None:
    reader = Reader(1, 0.1, np.array([0, 1]), np.array([[0.0], [1.0]]))
    rng, prepared = np.random.default_rng(0), reader.with_features(reader(Item(IMAGES[0], TRUTHS[0])))
    own, features = Parameters(rng.random((5, 9)), rng.standard_normal((5, 9)), 1.5), prepared.features
    found = Objective(reader, [3.0], solver, cosine_loss)(own, prepared)
    flow = gpulaf.flows.LinearFlow(gpulaf.Grid(predict_weights(own, features)), prepared.log_likelihood)
    solution = solver.solve(flow, 3.0)
    value, g = cosine_loss(solution.v, prepared.truth)
    G = gpulaf.flows.weight_gradient(flow, solution, g, tol=0.0 if isinstance(solver, Taylor) else 1e-3).weights
    p, nu, sigma = prediction_gradient(own, features, G)
    assert (found.loss, found.wrong) == (value, wrong_share(solution.v, prepared.truth))
    np.testing.assert_array_equal(found.derivative, np.concatenate([p.ravel(), nu.ravel(), [sigma * own.sigma]]))


# --- the predictor --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("shared", [False, True])
def test_layers_learn(shared: bool, radius: int) -> None:
    predictor = fitted(2, 4, n_layers=3, shared_layers=shared, radius=radius)
    losses = [row.loss for row in predictor.history_]
    assert losses[-1] < losses[0]
    N = (2 * radius + 1) ** 2
    assert predictor.tangents_.shape == ((8, N) if shared else (3, 8, N))
    weights = predictor.weights(IMAGES[3])
    assert predictor.times == [1.0] * 3
    layers = [weights] if shared else weights
    assert [w.shape for w in layers] == [(32, N, 32)] * (1 if shared else 3)
    assert all(relative(one, other) > 1e-3 for one, other in pairwise(layers))
    for omega in layers:
        gpulaf.averaging.check_weights(omega, (32, 32))
    likelihood = predictor.reader.data_term(predictor.reader.pixels(IMAGES[3]).features)
    v = DeepFlow(weights, predictor.times).solve(likelihood).v
    np.testing.assert_array_equal(predictor.label(IMAGES[3]).labels, v.argmax(axis=-2))


def test_layers_in_every_library(xp: Any, dtype: np.dtype[Any]) -> None:
    predictor, image = fitted(1, 2, n_layers=2), IMAGES[3].astype(dtype)
    expected, found = predictor.label(image), predictor.label(xp(image))
    assert relative(found.probabilities, expected.probabilities) < 20 * tol(dtype)
    for omega, other in zip(predictor.weights(xp(image)), predictor.weights(image), strict=True):
        assert relative(omega, other) < 10 * tol(dtype)


@pytest.mark.parametrize("data_term", ["distances", "probabilities"])
def test_labels_are_those_that_the_training_saw(data_term: str) -> None:
    soft = None if data_term == "distances" else np.random.default_rng(0).dirichlet(np.ones(2), (32, 32))
    training = Training(steps=2, loss=gpulaf.cross_entropy_loss)
    predictor = WeightPredictor(8, rho=0.4, time=6.0, n_layers=3, training=training)
    predictor.fit(
        IMAGES[:1], TRUTHS[:1], probabilities=None if soft is None else [soft], progress=False,
        validation=(IMAGES[:1], TRUTHS[:1]) if soft is None else (IMAGES[:1], TRUTHS[:1], [soft]),
    )  # fmt: skip
    found = predictor.label(IMAGES[0]) if soft is None else predictor.refine(IMAGES[0], soft)
    row = predictor.history_[-1]
    assert row.wrong == pytest.approx((found.labels != TRUTHS[0]).mean())
    assert row.validation_wrong == pytest.approx(row.wrong)
    value = gpulaf.cross_entropy_loss(np.log(to_rows(found.probabilities)), TRUTHS[0]).value
    assert row.loss == pytest.approx(value, rel=1e-4)
    assert row.validation_loss == pytest.approx(value, rel=1e-4)


def test_a_killed_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    def run(checkpoint: Checkpoint | None, callback: Any = None, layers: int = 2) -> WeightPredictor:
        training = Training(steps=6, checkpoint=checkpoint, batch=1)
        return fitted(2, training=training, callback=callback, n_layers=layers)

    def killed(row: Any, parameters: Any) -> None:
        assert parameters.tangents.shape == (2, 8, 9)
        if row.step == 5:
            raise KeyboardInterrupt

    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoint(path, every=2), killed)
    with pytest.raises(ValueError, match=r"belongs to a training with other .*\bn_layers\b"):
        run(Checkpoint(path, resume=True), layers=3)
    same(run(Checkpoint(path, every=2, resume=True)), run(None))


@pytest.mark.parametrize("shared", [False, True])
def test_save_and_load_bit_for_bit(tmp_path: Path, shared: bool) -> None:
    predictor = fitted(2, 2, n_layers=3, shared_layers=shared)
    predictor.save(tmp_path / "f")
    back = WeightPredictor.load(tmp_path / "f")
    same(back, predictor)
    assert back.get_params() == predictor.get_params()
    assert back.shared_layers is shared
    np.testing.assert_array_equal(back.label(IMAGES[3]).probabilities, predictor.label(IMAGES[3]).probabilities)
    change(tmp_path / "f", tangents=np.zeros((2, 8, 9)))
    message = "do not fit together for weight patches of radius 1" + ("" if shared else " in 3 layers")
    with pytest.raises(ValueError, match=message):
        WeightPredictor.load(tmp_path / "f")


def test_spread_over_workers_layers_learn_the_same() -> None:
    distributed = pytest.importorskip("distributed", reason="the extra 'large' is not installed")
    options: dict[str, Any] = {"training": Training(steps=2), "n_layers": 2}
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        spread = fitted(2, cluster=client, **options)
    same(spread, fitted(2, **options))


# --- the user's door ------------------------------------------------------------------------------------------------


def test_label_and_refine_with_layers() -> None:
    scene, rng = SCENES[0], np.random.default_rng(0)
    weights = [gpulaf.averaging.normalize_weights(rng.random((32, 9, 32))) for _ in range(2)]
    likelihood = gpulaf.labeling.log_likelihood(gpulaf.labeling.distances(scene.image, scene.prototypes), 0.1)
    v = DeepFlow(weights, [1.0, 2.0], solver=Taylor(tol=1e-9)).solve(likelihood).v
    found = gpulaf.label(scene.image, scene.prototypes, weights=weights, time=[1.0, 2.0], solver=Taylor(tol=1e-9))
    np.testing.assert_array_equal(found.labels, v.argmax(axis=-2))
    soft = from_rows(softmax(likelihood))
    again = gpulaf.refine(soft, weights=weights, time=[1.0, 2.0], solver=Taylor(tol=1e-9))
    assert relative(again.probabilities, found.probabilities) < 1e-6
    parts = []
    for omega, l, time in zip(weights, (likelihood, None), (1.0, 2.0), strict=True):
        flow = gpulaf.flows.LinearFlow(gpulaf.Grid(omega), l if l is not None else likelihood + parts[0].v)
        parts.append(Taylor(tol=1e-9).solve(flow, time))
    assert found.products == sum(part.products for part in parts)
    assert found.error == pytest.approx(sum(part.error for part in parts))
    assert found.converged
    failing = gpulaf.label(scene.image, scene.prototypes, time=[0.01, 9.0], solver=gpulaf.Krylov(2, tol=1e-6))
    assert not failing.converged
    for times in ([1.0], [], [1.0, 1.0, 1.0]):
        with pytest.raises(ValueError, match=f"there are 2 weights and {len(times)} times; accepted are as many"):
            gpulaf.label(scene.image, scene.prototypes, weights=weights, time=times)
    with pytest.raises(ValueError, match="time is -1"):
        gpulaf.label(scene.image, scene.prototypes, weights=weights, time=[1.0, -1.0])


def test_uniform_weights_are_compared_in_as_many_layers() -> None:
    predictor = fitted(1, 1, n_layers=3, time=6.0)
    found = compare(predictor, Item(IMAGES[3], TRUTHS[3])).labels
    uniform = gpulaf.uniform_weights((32, 32))
    likelihood = predictor.reader.data_term(predictor.reader.pixels(IMAGES[3]).features)
    v = DeepFlow(uniform, [2.0] * 3).solve(likelihood).v
    np.testing.assert_array_equal(found["uniform weights"], v.argmax(axis=-2))
    np.testing.assert_array_equal(found["predicted weights"], predictor.label(IMAGES[3]).labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_layers": 0}, "n_layers is 0; accepted are whole numbers from 1"),
        ({"n_layers": 1.5}, "n_layers is 1.5; accepted are whole numbers from 1"),
        ({"n_layers": True}, "n_layers is True; accepted are whole numbers from 1"),
        ({"n_layers": 2, "shared_layers": 1}, "shared_layers is 1; accepted are True and False"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(1, **options)


def test_derivatives_that_do_not_fit_are_refused() -> None:
    own, f, G = parameters(), np.zeros((4, 3, 5)), np.zeros((4, 9, 5))
    for given, text in ((G, "one ndarray"), ([G, G], "a list of 2")):
        with pytest.raises(ValueError, match=f"derivative is {text}; accepted is a list of 3, one array for each"):
            prediction_gradient(own, f, given)
    with pytest.raises(ValueError, match=r"tangents have shape \(4, 8\); .* or several of those, one for each layer"):
        predict_weights(own._replace(tangents=own.tangents[..., :8]), f)


@pytest.mark.parametrize("shared", [False, True])
def test_the_figure_shows_the_weights_of_every_layer(shared: bool) -> None:
    predictor = fitted(2, 2, n_layers=3, shared_layers=shared, n_prototypes=20)
    weights = own_weights(predictor)
    assert weights.shape == ((20, 9) if shared else (3, 20, 9))
    for s in range(0 if shared else 3):
        single = fitted(1, 1, n_prototypes=20)
        single.feature_prototypes_, single.sigma_, single.tangents_ = (
            predictor.feature_prototypes_, predictor.sigma_, predictor.tangents_[s],
        )  # fmt: skip
        np.testing.assert_array_equal(weights[s], own_weights(single))
    figure = gpulaf.plots.predictor_figure(predictor, IMAGES[3], TRUTHS[3])
    figure.savefig(BytesIO(), format="png", dpi=40)
    title = figure.axes[5].get_title()
    assert ("in all 3 layers" if shared else "in layers 1 to 3, from left to right") in title
    assert f"{20 if shared else 15} of 20 prototypes" in title
