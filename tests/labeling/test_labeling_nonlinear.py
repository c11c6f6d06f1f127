"""The nonlinear flow at the user's door: against `AssignmentFlow`, SciPy and dense averages, and its end."""

import math

import numpy as np
import pytest
from oracles import dense_average, flat, random_problem, relative, tol
from scipy.integrate import solve_ivp

import gpulaf
from gpulaf import (
    DormandPrince,
    GeometricEuler,
    Grid,
    Krylov,
    LinearizedFlows,
    Taylor,
    label,
    refine,
    refine_logits,
    uniform_weights,
)
from gpulaf.backend.array import host_array
from gpulaf.fields import from_rows, to_rows
from gpulaf.flows import AssignmentFlow, LinearFlow

SCHEMES = [GeometricEuler(0.25), DormandPrince(), LinearizedFlows(), LinearizedFlows(length=0.5, solver=Krylov())]
SCENE = gpulaf.scenes.voronoi_colors(24, sites=6, noise=0.3)


def exact(weights, l, time):
    """W(T), labels last, by SciPy from dense averages, tolerance 1e-12."""
    omega, rows = dense_average(weights), flat(l).reshape(l.shape[-2], -1)

    def softmax(x):
        exponential = np.exp(x - x.max(axis=0))
        return exponential / exponential.sum(axis=0)

    def rate(_, v):
        return (softmax((rows + v.reshape(rows.shape)) @ omega.T) - 1 / len(rows)).ravel()

    v = solve_ivp(rate, (0, time), np.zeros(l.size), method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    return softmax(v.reshape(rows.shape)).T.reshape(*from_rows(l).shape)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_label_is_the_assignment_flow(dtype, scheme):
    image = SCENE.image.astype(dtype)
    result = label(image, SCENE.prototypes, rho=0.2, solver=scheme)
    l = gpulaf.labeling.log_likelihood(gpulaf.labeling.distances(image, SCENE.prototypes), 0.2)
    end = AssignmentFlow(Grid(uniform_weights(image.shape[:2], dtype=dtype)), l).solve(scheme)
    expected = np.exp(end.v) / np.exp(end.v).sum(axis=-2, keepdims=True)
    np.testing.assert_allclose(result.probabilities, from_rows(expected), atol=tol(dtype))
    np.testing.assert_array_equal(result.labels, end.v.argmax(axis=-2))
    assert (result.products, result.converged) == (end.evaluations, end.converged)
    assert result.reason.startswith(end.reason)
    assert result.probabilities.dtype == dtype
    if scheme in SCHEMES[1:3]:
        assert result.error == scheme.tol
    else:
        assert math.isnan(result.error)


@pytest.mark.parametrize(("scheme", "accuracy"), [
    (DormandPrince(1e-9), 1e-8), (LinearizedFlows(1e-8, solver=Taylor(tol=1e-12)), 1e-5),
    (GeometricEuler(1e-3), 1e-3),
], ids=str)  # fmt: skip
def test_against_scipy(xp, dtype, scheme, accuracy):
    problem = random_problem(3, 4, 5)
    expected = exact(problem.weights, problem.log_likelihood / 1.5, 4.0)
    logits = xp(from_rows(problem.log_likelihood).astype(dtype))
    result = refine_logits(logits, weights=xp(problem.weights.astype(dtype)), rho=1.5, time=4.0, solver=scheme)
    assert relative(result.probabilities, expected) < max(accuracy, 10 * tol(dtype))
    assert host_array(result.probabilities).dtype == dtype


def test_refine_is_refine_logits_of_the_logarithm():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), (5, 6))
    one = refine(probabilities, solver=DormandPrince())
    two = refine_logits(np.log(probabilities), solver=DormandPrince())
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-12)
    expected = exact(uniform_weights((5, 6), dtype=np.float64), to_rows(np.log(probabilities)), 2.0)
    tight = refine(probabilities, time=2.0, solver=DormandPrince(1e-9))
    np.testing.assert_allclose(tight.probabilities, expected, atol=1e-8)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_flow_ends_where_labels_are_certain(scheme):
    result = label(SCENE.image, SCENE.prototypes, solver=scheme)
    assert result.converged
    assert result.reason.startswith("The mean entropy fell under 0.001 at time ")
    W = result.probabilities.astype(float)
    entropy = -np.where(W > 0, W * np.log(np.where(W > 0, W, 1)), 0).sum(axis=-1).mean() / np.log(W.shape[-1])
    assert 0 < entropy < 1e-3
    np.testing.assert_array_equal(result.labels, W.argmax(axis=-1))
    short = label(SCENE.image, SCENE.prototypes, solver=scheme, time=2)
    assert not short.converged
    assert short.reason.startswith("The time 2 was reached after ")


def test_pixels_that_nothing_speaks_for_go_on_to_the_longest_time():
    result = refine(np.full((4, 5, 3), 1 / 3), solver=DormandPrince())
    assert not result.converged
    assert result.reason.startswith("The time 50 was reached")
    np.testing.assert_allclose(result.probabilities, 1 / 3)


def test_the_linear_flow_says_why_it_stopped():
    l = np.random.default_rng(0).standard_normal((5, 3, 6))
    solution = Taylor(tol=1e-5).solve(LinearFlow(Grid(uniform_weights((5, 6), dtype=np.float64)), l), 2.0)
    result = refine_logits(from_rows(l), time=2.0, solver=Taylor(tol=1e-5))
    assert result.reason == solution.reason
    default, three = (refine_logits(from_rows(l), **options) for options in ({}, {"time": 3.0}))
    np.testing.assert_array_equal(default.probabilities, three.probabilities)


@pytest.mark.parametrize(("options", "kind", "said"), [
    ({"solver": "euler"}, TypeError, "solver is 'euler'; accepted are Taylor, .*DormandPrince"),
    ({"solver": DormandPrince}, TypeError, "solver is <class .*accepted are Taylor"),
    ({"solver": DormandPrince(), "time": [1.0, 1.0]}, ValueError, "there are layers and the scheme Dormand"),
    ({"solver": DormandPrince(), "time": -1}, ValueError, "time is -1"),
    ({"solver": DormandPrince(), "time": math.inf}, ValueError, "time is inf"),
    ({"solver": LinearizedFlows(length=1e4), "time": 1e4}, FloatingPointError, "overflows.*smaller steps"),
])  # fmt: skip
def test_what_cannot_be_solved_is_refused(options, kind, said):
    logits = np.random.default_rng(0).standard_normal((5, 6, 3))
    calls = (
        lambda: refine_logits(logits, **options), lambda: label(SCENE.image, SCENE.prototypes, **options),
        lambda: refine(np.full((5, 6, 3), 1 / 3), **options),
    )  # fmt: skip
    for call in calls[: 2 if kind is FloatingPointError else 3]:
        with pytest.raises(kind, match=said):
            call()
