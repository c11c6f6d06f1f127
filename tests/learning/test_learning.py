"""Losses, regularizer, descent, and fitting with checkpoints."""

import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from oracles import flat, random_problem, relative, tol

from gpulaf import (
    DormandPrince,
    Euler,
    Grid,
    Krylov,
    RiemannianAdam,
    RiemannianGradient,
    Taylor,
    cosine_loss,
    cross_entropy_loss,
    fit_weights,
    uniform_weights,
)
from gpulaf.averaging import check_weights
from gpulaf.backend.array import host_array
from gpulaf.fields import from_rows
from gpulaf.flows import LinearFlow
from gpulaf.labeling import distances, log_likelihood
from gpulaf.learning import Adam, AdaMax, Checkpoint, FitOptions, Loss
from gpulaf.learning.descent import squared_norms
from gpulaf.learning.loss import weight_regularizer, wrong_share
from gpulaf.learning.stepper import FitStep
from gpulaf.prediction import Training
from gpulaf.scenes import voronoi_colors, voronoi_lines


def central(function, x, h=1e-6):
    """The whole derivative by central differences."""
    derivative = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = h
        derivative[at] = (function(x + step) - function(x - step)) / (2 * h)
    return derivative


@pytest.mark.parametrize("loss", [cosine_loss, cross_entropy_loss])
def test_loss_derivatives_against_central_differences(xp, loss):
    problem = random_problem()
    assert (problem.truth == -1).any()
    found = loss(xp(problem.g), xp(problem.truth))
    assert relative(found.derivative, central(lambda v: loss(v, problem.truth).value, problem.g)) < 1e-8
    assert (from_rows(host_array(found.derivative))[problem.truth == -1] == 0).all()


@pytest.mark.parametrize("loss", [cosine_loss, cross_entropy_loss])
def test_losses_in_both_precisions(xp, dtype, loss):
    problem = random_problem(4, 30, 31)
    found = loss(xp(problem.g.astype(dtype)), xp(problem.truth))
    expected = loss(problem.g, problem.truth)
    assert found.value == pytest.approx(expected.value, rel=tol(dtype))
    assert relative(found.derivative, expected.derivative) < tol(dtype)
    assert host_array(found.derivative).dtype == dtype


def test_cosine_loss_by_its_formula():
    problem = random_problem()
    labeled = problem.truth.ravel() >= 0
    target = np.eye(3)[problem.truth.ravel()][labeled] - 1 / 3
    v = from_rows(problem.g).reshape(-1, 3)[labeled]
    angle = (target * v).sum() / np.linalg.norm(target) / np.linalg.norm(v)
    assert cosine_loss(problem.g, problem.truth).value == pytest.approx(1 - angle, rel=1e-12)


def test_cross_entropy_by_its_formula():
    problem = random_problem()
    p = np.exp(problem.g) / np.exp(problem.g).sum(axis=-2, keepdims=True)
    truth = problem.truth
    logs = [math.log(p[y, truth[y, x], x]) for y, x in np.ndindex(4, 5) if truth[y, x] >= 0]
    assert cross_entropy_loss(problem.g, problem.truth).value == pytest.approx(-np.mean(logs), rel=1e-12)


@pytest.mark.parametrize("loss", [cosine_loss, cross_entropy_loss])
def test_class_weights_against_central_differences(xp, dtype, loss):
    problem, c = random_problem(), np.array([0.5, 3.0, 1.5])
    found = loss(xp(problem.g.astype(dtype)), xp(problem.truth), class_weights=c)
    assert found.value == pytest.approx(loss(problem.g, problem.truth, class_weights=c).value, rel=tol(dtype))
    expected = central(lambda v: loss(v, problem.truth, class_weights=c).value, problem.g)
    assert relative(found.derivative, expected) < tol(dtype) + 1e-8
    assert host_array(found.derivative).dtype == dtype


@pytest.mark.parametrize("loss", [cosine_loss, cross_entropy_loss])
def test_a_class_of_weight_two_counts_like_pixels_that_are_there_twice(loss):
    problem = random_problem()
    v, truth = flat(problem.g).reshape(1, 3, -1), problem.truth.reshape(1, -1)
    again = truth[0] == 1
    longer = np.concatenate([v, v[..., again]], axis=-1), np.concatenate([truth, truth[:, again]], axis=-1)
    assert loss(v, truth, class_weights=[1, 2, 1]).value == pytest.approx(loss(*longer).value, rel=1e-12)
    assert loss(v, truth, class_weights=[4, 4, 4]).value == pytest.approx(loss(v, truth).value, rel=1e-12)
    with pytest.raises(ValueError, match=r"class_weights are .*; accepted are 3 positive numbers"):
        loss(v, truth, class_weights=[1, 2])


def test_perfect_and_hopeless_labelings():
    truth = np.array([[0, 1, -1]])
    v = np.array([[[2.0, -2, 9], [-2.0, 2, 5]]])
    assert cosine_loss(v, truth).value == pytest.approx(0, abs=1e-15)
    assert cosine_loss(-v, truth).value == pytest.approx(2)
    assert wrong_share(v, truth) == 0
    assert wrong_share(-v, truth) == 1


def test_losses_at_zero_and_without_labels():
    v, truth = np.zeros((2, 2, 2)), np.zeros((2, 2), int)
    assert cosine_loss(v, truth).value == 1
    assert (cosine_loss(v, truth).derivative == 0).all()
    assert cross_entropy_loss(v, truth).value == pytest.approx(math.log(2))
    for loss in (cosine_loss, cross_entropy_loss):
        with pytest.raises(ValueError, match="no labeled pixel"):
            loss(v, truth - 1)


def test_cross_entropy_of_huge_scores(dtype):
    v = np.array([[[1e4], [-1e4]]], dtype)
    assert cross_entropy_loss(v, np.array([[0]])).value == pytest.approx(0, abs=1e-6)
    assert cross_entropy_loss(v, np.array([[1]])).value == pytest.approx(2e4)


def test_regularizer_against_central_differences(xp):
    weights = random_problem(2, 3, 3).weights
    found = weight_regularizer(xp(weights), 0.7)
    inside = weights > 0
    direction = np.random.default_rng(0).standard_normal(weights.shape) * inside * weights
    values = [weight_regularizer(weights + h * direction, 0.7).value for h in (1e-6, -1e-6)]
    assert (host_array(found.derivative) * direction).sum() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6)
    logs = [np.log(weights[y, :, x][inside[y, :, x]]) for y in range(3) for x in range(3)]
    assert found.value == pytest.approx(0.35 * sum(((t - t.mean()) ** 2).sum() for t in logs), rel=1e-12)
    assert weight_regularizer(uniform_weights((3, 3), dtype=np.float64), 1.0).value == pytest.approx(0, abs=1e-25)


def test_plain_step_is_the_exponentiated_gradient(xp, dtype):
    problem = random_problem()
    weights, gradient = (
        x.astype(dtype) for x in (problem.weights, 0.01 * np.random.default_rng(0).standard_normal((4, 9, 5)))
    )
    moved, _ = RiemannianGradient(0.5).update(xp(weights), xp(gradient), {}, 0)
    expected = problem.weights * np.exp(-0.5 * 20 * gradient)
    assert relative(moved, expected / expected.sum(axis=-2, keepdims=True)) < tol(dtype)


def test_adam_steps_by_its_formula(xp, dtype):
    weights, rng = random_problem().weights, np.random.default_rng(0)
    method, state, first, second = RiemannianAdam(0.05, 0.8, 0.9), None, 0.0, 0.0
    found, expected = xp(weights.astype(dtype)), weights
    state = method.start(found)
    for count in range(3):
        gradient = 0.01 * rng.standard_normal(weights.shape)
        found, state = method.update(found, xp(gradient.astype(dtype)), state, count)
        scaled = 20 * gradient
        tangent = scaled - (expected * scaled).sum(axis=-2, keepdims=True)
        first = 0.8 * first + 0.2 * tangent
        second = 0.9 * second + 0.1 * (expected * tangent**2).sum(axis=-2, keepdims=True)
        length = np.sqrt(second / (1 - 0.9 ** (count + 1)))
        direction = first / (1 - 0.8 ** (count + 1)) / (length + 1e-3 * np.sqrt((length**2).mean()))
        expected = expected * np.exp(-0.05 * direction)
        expected = expected / expected.sum(axis=-2, keepdims=True)
    assert relative(found, expected) < tol(dtype)


@pytest.mark.parametrize("method", [Adam(0.05, 0.8, 0.9), AdaMax(0.05, 0.8, 0.9)], ids=str)
def test_adam_and_adamax_on_log_weights_by_their_formulas(xp, dtype, method):
    """On θ with Ω = softmax(θ): the derivative in θ by a dense Jacobian, Algorithms 1 and 2 entry by entry."""
    problem, rng = random_problem(), np.random.default_rng(0)
    inside, logs = problem.weights > 0, np.where(problem.weights > 0, np.log(problem.weights + 1e-300), -np.inf)
    found, state = xp(problem.weights.astype(dtype)), None
    state, first, second = method.start(found), 0.0, np.zeros_like(logs)
    for count in range(3):
        gradient = 0.01 * rng.standard_normal(logs.shape)
        found, state = method.update(found, xp(gradient.astype(dtype)), state, count)
        exponential = np.exp(logs)
        p = exponential / exponential.sum(axis=-2, keepdims=True)
        jacobian = p[:, :, None] * (np.eye(9)[:, :, None] - p[:, None])  # dΩ_a/dθ_b
        x = 20 * np.einsum("yabx,yax->ybx", jacobian, gradient)
        first = 0.8 * first + 0.2 * x
        if isinstance(method, Adam):
            second = 0.9 * second + 0.1 * x**2
            length = np.sqrt(second / (1 - 0.9 ** (count + 1)))
        else:
            second = length = np.maximum(0.9 * second, abs(x))
        length = length + 1e-3 * np.sqrt((length**2).mean())
        logs = np.where(inside, logs - 0.05 * first / (1 - 0.8 ** (count + 1)) / length, -np.inf)
    expected = np.exp(logs) / np.exp(logs).sum(axis=-2, keepdims=True)
    assert relative(found, expected) < tol(dtype)


def test_squared_norms_are_those_of_the_riemannian_gradient():
    weights, rng = random_problem().weights, np.random.default_rng(0)
    x = rng.standard_normal(weights.shape)
    riemannian = weights * (x - (weights * x).sum(axis=-2, keepdims=True))
    expected = (x * riemannian).sum(axis=-2)
    np.testing.assert_allclose(squared_norms(weights, x), expected, rtol=1e-12)


METHODS = [RiemannianGradient(1e6), RiemannianAdam(1e3), RiemannianAdam(1e-3), Adam(1e3), Adam(1e-3), AdaMax(1e3)]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_no_step_size_leaves_the_simplex(xp, dtype, method):
    weights = xp(random_problem().weights.astype(dtype))
    state, rng = method.start(weights), np.random.default_rng(0)
    for count in range(20):
        gradient = (rng.standard_normal((4, 9, 5)) * 10.0 ** rng.integers(-8, 8)).astype(dtype)
        weights, state = method.update(weights, xp(gradient), state, count)
        check_weights(weights, (4, 5))


def test_no_gradient_no_step(dtype):
    weights = random_problem().weights.astype(dtype)
    for method in (RiemannianGradient(), RiemannianAdam(), Adam(), AdaMax()):
        moved, _ = method.update(weights, np.zeros_like(weights), method.start(weights), 0)
        assert relative(moved, weights) < tol(dtype)


@pytest.mark.parametrize("call", [
    lambda: RiemannianGradient(0), lambda: RiemannianAdam(-1), lambda: RiemannianAdam(beta1=1),
    lambda: RiemannianAdam(beta2=-0.1), lambda: RiemannianGradient(float("nan")), lambda: RiemannianAdam(epsilon=-1),
    lambda: Adam(0), lambda: Adam(beta1=1), lambda: AdaMax(epsilon=float("nan")), lambda: AdaMax(beta2=1.5),
    lambda: Checkpoint("x", every=0),
])  # fmt: skip
def test_bad_descent_options(call):
    with pytest.raises(ValueError, match="accepted are"):
        call()


def scene_problem(scene, dtype=np.float32):
    return log_likelihood(distances(scene.image.astype(dtype), scene.prototypes), 0.1), scene.truth


@pytest.mark.parametrize("solver", [Krylov(), Taylor(), Euler(30)], ids=str)
@pytest.mark.parametrize("loss", [cosine_loss, cross_entropy_loss])
def test_learning_lowers_loss_and_error(xp, solver, loss):
    l, truth = scene_problem(voronoi_colors(20, sites=5))
    result = fit_weights(xp(l), truth, steps=8, solver=solver, loss=loss, descent=RiemannianAdam(0.2))
    first, last = result.history[0], result.history[-1]
    assert last.loss < 0.5 * first.loss
    assert last.wrong < 0.5 * first.wrong
    assert [row.step for row in result.history] == list(range(9))
    check_weights(result.weights, truth.shape)
    assert "8 steps" in result.reason


def test_last_row_of_the_history_describes_the_weights():
    l, truth = scene_problem(voronoi_lines(20, sites=5), np.float64)
    result = fit_weights(l, truth, steps=3, solver=Taylor())
    v = Taylor().solve(LinearFlow(Grid(result.weights), l), 3.0).v
    assert result.history[-1].wrong == wrong_share(v, truth)
    assert result.history[-1].loss == cosine_loss(v, truth).value


def test_unlabeled_pixels_do_not_count():
    """Only pixels within reach of a labeled one learn: three products forward and two back are five columns."""
    l, truth = scene_problem(voronoi_colors(16, sites=4))
    hidden = truth.copy()
    hidden[:, 8:] = -1
    start = uniform_weights(truth.shape)
    result = fit_weights(l, hidden, steps=2, solver=Taylor(3), descent=RiemannianGradient(1.0))
    moved = np.abs(result.weights - start).max(axis=(0, 1))
    np.testing.assert_allclose(moved[13:], 0, atol=1e-7)
    assert (moved[:7] > 1e-3).all()


def test_pixels_that_hardly_matter_hardly_move():
    l, truth = scene_problem(voronoi_lines(32, sites=5))
    hidden = np.where(np.arange(32) < 4, truth, -1)
    result = fit_weights(l, hidden, steps=10, solver=Taylor(), descent=RiemannianAdam(0.1))
    moved = np.abs(result.weights - uniform_weights(truth.shape)).max(axis=(0, 1))
    assert moved[12:].max() < 0.02 * moved[:4].max()


def test_numpy_scalars_as_options_keep_float32(tmp_path):
    l, truth = scene_problem(voronoi_lines(16, sites=4))
    for descent in (RiemannianAdam(np.float64(0.1)), RiemannianGradient(np.float64(0.1))):
        result = fit_weights(
            l, truth, steps=2, time=np.float64(2), descent=descent, options=FitOptions(tau=np.float64(0.1))
        )
        assert result.weights.dtype == np.float32
    fit_weights(
        l, truth, steps=2, loss=lambda v, t: (np.float32(cosine_loss(v, t)[0]), cosine_loss(v, t)[1]),
        options=FitOptions(checkpoint=Checkpoint(tmp_path / "state.safetensors", every=1)),
    )  # fmt: skip


def test_resume_with_fewer_steps_than_were_taken(tmp_path):
    l, truth = scene_problem(voronoi_lines(16, sites=4))
    path = tmp_path / "state.safetensors"
    whole = fit_weights(l, truth, steps=4, options=FitOptions(checkpoint=Checkpoint(path, every=1)))
    with pytest.raises(ValueError, match="has taken 4 steps, not 2"):
        fit_weights(l, truth, steps=2, options=FitOptions(checkpoint=Checkpoint(path, resume=True)))
    again = fit_weights(l, truth, steps=4, options=FitOptions(checkpoint=Checkpoint(path, resume=True)))
    assert [row.step for row in again.history] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(again.weights, whole.weights)


def test_regularizer_pulls_towards_uniform_weights():
    l, truth = scene_problem(voronoi_colors(20, sites=5))
    free = fit_weights(l, truth, steps=10, descent=RiemannianGradient(1.0))
    held = fit_weights(l, truth, steps=10, descent=RiemannianGradient(1.0), options=FitOptions(tau=0.02))
    distance = [weight_regularizer(r.weights, 1.0).value for r in (free, held)]
    assert distance[1] < 0.9 * distance[0]


def test_callback_patience_and_no_steps():
    l, truth = scene_problem(voronoi_lines(16, sites=4))
    rows = []
    result = fit_weights(
        l, truth, steps=9, options=FitOptions(callback=lambda row, weights: rows.append(row) or row.step == 2)
    )
    assert [row.step for row in rows] == [0, 1, 2]
    assert "callback" in result.reason
    stuck = fit_weights(l, truth, steps=50, descent=RiemannianGradient(1e-12), options=FitOptions(patience=3))
    assert "did not fall" in stuck.reason
    assert len(stuck.history) < 10
    start = uniform_weights(truth.shape)
    np.testing.assert_array_equal(fit_weights(l, truth, steps=0).weights, start)
    assert len(fit_weights(l, truth, steps=0).history) == 1


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "descent", [RiemannianAdam(0.2), RiemannianGradient(0.5), AdaMax(0.2)], ids=["adam", "plain", "adamax"]
)
@pytest.mark.parametrize("killed_at", [1, 3, 4, 7])
def test_killed_and_resumed_ends_in_the_same_bits(tmp_path, dtype, descent, killed_at):
    l, truth = scene_problem(voronoi_colors(20, sites=5), dtype)
    options = {"steps": 8, "descent": descent}
    whole = fit_weights(l, truth, **options)

    def kill(row, weights):
        if row.step == killed_at:
            raise Killed

    path = tmp_path / "state.safetensors"
    with pytest.raises(Killed):
        fit_weights(l, truth, **options, options=FitOptions(checkpoint=Checkpoint(path, every=2), callback=kill))
    assert path.exists() == (killed_at >= 2)
    resumed = fit_weights(l, truth, **options, options=FitOptions(checkpoint=Checkpoint(path, every=2, resume=True)))
    np.testing.assert_array_equal(resumed.weights, whole.weights)
    timeless = [[FitStep(*row[:-1], 0.0) for row in result.history] for result in (resumed, whole)]
    assert timeless[0] == timeless[1]
    assert resumed.history[-1].seconds >= resumed.history[0].seconds


def test_a_checkpoint_is_not_overwritten_nor_mixed_up(tmp_path):
    l, truth = scene_problem(voronoi_lines(16, sites=4))
    path = tmp_path / "state.safetensors"
    fit_weights(l, truth, steps=2, options=FitOptions(checkpoint=Checkpoint(path, every=1)))
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="Resume from it, or name another"):
        fit_weights(l, truth, steps=2, options=FitOptions(checkpoint=Checkpoint(path)))
    resumed = FitOptions(checkpoint=Checkpoint(path, resume=True))
    for changed, word in (
        ({"time": 2.0}, "time"),
        ({"options": replace(resumed, tau=1.0)}, "tau"),
        ({"options": replace(resumed, rank=1)}, "rank"),
        ({"solver": Krylov()}, "solver"),
        ({"loss": cross_entropy_loss}, "loss"),
    ):
        with pytest.raises(ValueError, match=f"belongs to a fit with other {word}"):
            fit_weights(l, truth, **({"steps": 2, "options": resumed} | changed))
    with pytest.raises(ValueError, match="other log_likelihood"):
        fit_weights(l + 1e-3, truth, steps=2, options=resumed)
    assert path.read_bytes() == before


L, TRUTH = np.zeros((3, 2, 4)), np.zeros((3, 4), int)


@pytest.mark.parametrize(("l", "truth", "options", "words"), [
    (L[:, 0], TRUTH, {}, r"\(3, 4\); accepted is \(H, J, W\)"),
    (L[:, :1], TRUTH, {}, r"\(3, 1, 4\); accepted"),
    (L * np.nan, TRUTH, {}, "not finite"),
    (L, TRUTH.T, {}, r"\(4, 3\); accepted is \(3, 4\)"),
    (L, TRUTH + 2, {}, "from 2 to 2; accepted are 0 to 1"),
    (L, TRUTH - 2, {}, "from -2"),
    (L, TRUTH - 1, {}, "no labeled pixel"),
    (L, TRUTH, {"steps": -1}, "steps is -1"),
    (L, TRUTH, {"time": 0.0}, "time is 0"),
    (L, TRUTH, {"weights": uniform_weights((4, 3))}, r"accepted is \(3, N, 4\)"),
])  # fmt: skip
def test_bad_problems(l, truth, options, words):
    with pytest.raises(ValueError, match=words):
        fit_weights(l, truth, **options)


@pytest.mark.parametrize(("option", "words"), [
    ({"tau": -1.0}, "tau is -1.0; accepted are numbers from 0"), ({"tau": float("nan")}, "tau is nan"),
    ({"patience": 0}, "patience is 0; accepted are whole numbers"), ({"patience": 1.5}, "patience is 1.5"),
    ({"rank": 0}, "rank is 0; accepted are whole numbers from 1, or None"), ({"rank": 1.5}, "rank is 1.5"),
])  # fmt: skip
def test_bad_options(option, words):
    with pytest.raises(ValueError, match=words):
        FitOptions(**option)


@pytest.mark.parametrize(("options", "words"), [
    ({"loss": "cosine"}, "loss is 'cosine'; accepted are cosine_loss"), ({"loss": None}, "loss is None"),
    ({"loss": Loss}, "loss is <class"), ({"descent": "adam"}, "descent is 'adam'; accepted are RiemannianAdam"),
    ({"descent": RiemannianAdam}, "descent is <class"), ({"descent": None}, "descent is None"),
    ({"solver": Krylov}, "solver is <class"), ({"steps": "3"}, "steps is '3'"), ({"steps": None}, "steps is None"),
    ({"time": "3"}, "time is '3'"), ({"options": FitOptions}, "options is <class"),
])  # fmt: skip
def test_what_a_fit_is_not_made_of(options, words):
    with pytest.raises(TypeError, match=words):
        fit_weights(L, TRUTH, **options)


@pytest.mark.parametrize(("option", "words"), [
    ({"tau": "x"}, "tau is 'x'; accepted are numbers"), ({"rank": "x"}, "rank is 'x'; accepted are whole numbers"),
    ({"patience": "x"}, "patience is 'x'"), ({"callback": "x"}, "callback is 'x'; accepted are functions"),
])  # fmt: skip
def test_what_options_are_not_made_of(option, words):
    with pytest.raises(TypeError, match=words):
        FitOptions(**option)
    with pytest.raises(ValueError, match="tau is inf; accepted are numbers from 0 to 1e12"):
        FitOptions(tau=float("inf"))
    for wrong in ({"path": None}, {"path": 3}):
        with pytest.raises(TypeError, match="accepted is the name of a file"):
            Checkpoint(**wrong)


def test_bad_types():
    with pytest.raises(TypeError, match="Weights are learned by the linearized flow"):
        fit_weights(L, TRUTH, solver=DormandPrince())
    with pytest.raises(TypeError, match=r"int64; accepted are float32"):
        fit_weights(np.zeros((3, 2, 4), int), TRUTH)
    with pytest.raises(TypeError, match="float64; accepted are integers"):
        fit_weights(L, TRUTH.astype(float))
    for weights in ("uniform", [None, 3]):
        with pytest.raises(TypeError, match=r"weights are a (str|int); accepted are an array or Graph"):
            fit_weights(L, TRUTH, weights=weights)
    with pytest.raises(TypeError, match=r"solver is <class .*Taylor'>; accepted are Taylor"):
        fit_weights(L, TRUTH, solver=Taylor)
    with pytest.raises(TypeError, match=r"options is 3; accepted is a gpulaf\.learning\.FitOptions"):
        fit_weights(L, TRUTH, options=3)
    for options in (FitOptions, Training):
        with pytest.raises(TypeError, match=r"checkpoint is 'x'; accepted is a gpulaf\.learning\.Checkpoint\(path\)"):
            options(checkpoint="x")


def test_a_loss_that_is_not_finite_ends_the_fit():
    l, truth = scene_problem(voronoi_lines(16, sites=4))
    with pytest.raises(FloatingPointError, match="nan after 0 steps"):
        fit_weights(l, truth, loss=lambda v, truth: (float("nan"), v))


@pytest.mark.parametrize("cached", [False, True])
def test_compiled_functions_are_counted_where_they_are_compiled(tmp_path, cached):
    pytest.importorskip("numba")
    code = (
        "import numpy as np, gpulaf\n"
        "from gpulaf.kernels import _numba, combination\n"
        "told = []\n"
        "with _numba.compiling(told.append):\n"
        "    combination.cpu(np.ones((1, 2)), np.ones((2, 9)))\n"
        "    combination.cpu(np.ones((1, 2)), np.ones((2, 9), np.float32))\n"
        "print(len(told), told == list(range(1, len(told) + 1)))\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for first in (True, False)[: 1 + cached]:
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        count, in_order = done.stdout.split()
        assert in_order == "True"
        assert (int(count) > 0) == first
