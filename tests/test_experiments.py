"""The experiments: their baselines and helpers against oracles, their findings on numbers that say yes and no."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import random_problem, relative, tol

from gpulaf import (
    Euler,
    Krylov,
    LinearFlow,
    RiemannianGradient,
    Taylor,
    cosine_loss,
    exact_gradient,
    fit_weights,
    uniform_weights,
    voronoi_colors,
    weight_gradient,
)
from gpulaf.averaging import Grid
from gpulaf.experiments import fig3, learning

TIME = 3.0


def autodiff(integrator, weights, likelihood, truth):
    pytest.importorskip("torch", reason="PyTorch is not installed: there is no automatic differentiation to compare")
    from gpulaf.experiments.autodiff import derivative

    return derivative(integrator, weights, likelihood, truth, TIME)


def labeled_problem(labels=3, height=5, width=6, seed=0, dtype=np.float64):
    """Weights, log-likelihood and truth without unlabeled pixels."""
    problem = random_problem(labels, height, width, seed=seed)
    return problem.weights.astype(dtype), problem.log_likelihood.astype(dtype), np.maximum(problem.truth, 0)


def ours(integrator, weights, likelihood, truth, **options):
    flow = LinearFlow(Grid(weights), likelihood)
    solution = integrator.solve(flow, TIME)
    value, g = cosine_loss(solution.v, truth)
    return learning.Derivative(value, solution.v, weight_gradient(flow, solution, g, **options).weights)


# --- automatic differentiation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_krylov_at_full_rank_is_the_derivative_of_krylov_where_both_have_converged(seed):
    problem = labeled_problem(seed=seed)
    found, expected = ours(Krylov(14), *problem, rank=14), autodiff(Krylov(14), *problem)
    assert found.loss == pytest.approx(expected.loss, rel=1e-10)
    assert relative(found.weights, expected.weights) < 1e-8


@pytest.mark.parametrize("steps", [1, 7, 30])
def test_euler_adjoint_is_the_derivative_of_euler_to_rounding(dtype, steps):
    problem = labeled_problem(4, 7, 6, dtype=dtype)
    found, expected = ours(Euler(steps), *problem), autodiff(Euler(steps), *problem)
    assert expected.weights.dtype == dtype
    assert relative(found.v, expected.v) < tol(dtype)
    assert relative(found.weights, expected.weights) < tol(dtype)


@pytest.mark.parametrize("integrator", [Euler(9), Krylov(3)], ids=str)
def test_autodiff_is_the_slope_of_its_own_loss(integrator):
    """Central differences: also where the Krylov space is too small to be the flow."""
    weights, likelihood, truth = labeled_problem(height=3, width=4)
    direction = np.random.default_rng(0).standard_normal(weights.shape) * (weights > 0)
    h = 1e-6
    plus, minus = (autodiff(integrator, weights + s * h * direction, likelihood, truth).loss for s in (1, -1))
    slope = (autodiff(integrator, weights, likelihood, truth).weights * direction).sum()
    assert slope == pytest.approx((plus - minus) / (2 * h), rel=1e-6)


def test_autodiff_of_a_dimension_that_is_not_given():
    with pytest.raises(ValueError, match="dimension is None; accepted are whole numbers"):
        autodiff(Krylov(), *labeled_problem())


# --- the descent loop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.0, 0.01])
def test_the_loop_is_that_of_fit_weights(tau):
    p = learning.problem(voronoi_colors(20, sites=5))
    integrator = Taylor(8)
    course = learning.descend(p, learning.closed_form(integrator, tol=0.0), RiemannianGradient(0.5), 4, tau=tau)
    fit = fit_weights(
        p.likelihood, p.scene.truth, integrator=integrator, descent=RiemannianGradient(0.5), steps=4, tau=tau
    )
    np.testing.assert_array_equal(course.weights, fit.weights)
    assert [row["loss"] for row in course.rows] == [row.loss for row in fit.history]
    assert [row["wrong %"] for row in course.rows] == [row.wrong for row in fit.history]
    seconds = [row["seconds"] for row in course.rows]
    assert seconds[0] == 0
    assert seconds == sorted(seconds)


def test_what_is_watched_stands_in_the_rows():
    p = learning.problem(voronoi_colors(12, sites=3))
    course = learning.descend(
        p, learning.closed_form(), RiemannianGradient(), 2, watch=lambda k, w: {"sum": float(w.sum())}
    )
    assert [row["sum"] for row in course.rows] == pytest.approx([144.0] * 3, rel=1e-5)


# --- cosines --------------------------------------------------------------------------------------------------------


def test_cosines_by_a_loop_over_pixels_and_where_a_gradient_is_zero():
    rng = np.random.default_rng(0)
    weights = uniform_weights((4, 5), dtype=np.float64)
    found, exact = rng.standard_normal((2, 9, 4, 5))
    found[:, 1, 1], exact[:, 2, 2] = 3.0, -1.0  # constants: no tangent part
    c = fig3.cosines(fig3.tangent(found, weights), fig3.tangent(exact, weights))
    for y in range(4):
        for x in range(5):
            inside = weights[:, y, x] > 0
            a, b = (f[inside, y, x] - f[inside, y, x].mean() for f in (found, exact))
            if (y, x) == (2, 2):
                assert np.isnan(c[y, x])
            elif (y, x) == (1, 1):
                assert c[y, x] == 0
            else:
                assert c[y, x] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-12)


def test_the_whole_core_at_full_rank_is_the_exact_gradient():
    problem = random_problem(3, 5, 6)
    flow = problem.flow()
    whole = fig3.whole_core_gradient(flow, TIME, problem.g, rank=20)
    assert relative(whole, exact_gradient(flow, TIME, problem.g).weights) < 1e-9
