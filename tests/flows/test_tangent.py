"""The derivative of v in a direction of ℓ: central differences of dense solutions, and the adjoint."""

import numpy as np
import pytest
from oracles import Problem, dense_solution, random_problem, tol
from scipy.sparse import csr_array

from gpulaf import Euler, Graph, Grid, Taylor
from gpulaf.averaging import CoupledLabels, normalize_weights
from gpulaf.backend.array import host_array
from gpulaf.flows import DeepFlow, Tangent

TIMES = (1.0, 2.0, 0.5)


def direction(problem: Problem, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(problem.log_likelihood.shape)


def central(function, x, d, h=1e-5):
    return (function(x + h * d) - function(x - h * d)) / (2 * h)


@pytest.mark.parametrize("time", [3.0, 12.0])  # one substep, and several
def test_against_central_differences_of_dense_solutions(xp, dtype, time):
    problem = random_problem(3, 4, 5)
    x = direction(problem)
    flow = DeepFlow(xp(problem.weights.astype(dtype)), time, solver=Taylor(tol=1e-13))
    found = Tangent(flow, xp(problem.log_likelihood.astype(dtype)))(xp(x.astype(dtype)))
    expected = central(
        lambda l: dense_solution(Problem(problem.weights, l, problem.g, problem.truth), time), problem.log_likelihood, x
    )
    assert host_array(found).dtype == dtype
    error = np.abs(host_array(found) - expected).max() / np.abs(expected).max()
    assert error < max(1e-8, 4 * tol(dtype))


def test_the_derivative_of_a_series_of_few_terms_is_that_of_these_terms():
    problem = random_problem(4, 5, 4)
    x, flow = direction(problem), DeepFlow(problem.weights, 3.0, solver=Taylor(degree=3))
    expected = central(lambda l: flow.solve(l).v, problem.log_likelihood, x)
    np.testing.assert_allclose(Tangent(flow, problem.log_likelihood)(x), expected, rtol=0, atol=1e-8)
    other = DeepFlow(problem.weights, 3.0, solver=Euler(200))  # the series stands for it
    np.testing.assert_allclose(Tangent(other, problem.log_likelihood)(x), expected, rtol=0, atol=0.3)


@pytest.mark.parametrize("depth", [None, 3])
def test_the_adjoint_is_the_gradient_of_layers(xp, dtype, depth):
    problem, rng = random_problem(3, 4, 5, depth=depth), np.random.default_rng(2)
    weights = [xp(normalize_weights(rng.random(problem.weights.shape)).astype(dtype)) for _ in TIMES]
    flow = DeepFlow(weights, TIMES, solver=Taylor(tol=1e-13))
    l, x, z = (xp(a.astype(dtype)) for a in (problem.log_likelihood, direction(problem), problem.g))
    left = float((problem.g * host_array(Tangent(flow, l)(x))).sum())
    right = float((host_array(x) * host_array(flow.gradient(flow.solve(l), z).log_likelihood)).sum())
    assert left == pytest.approx(right, rel=20 * tol(dtype))


def test_nodes_of_a_graph():
    rng = np.random.default_rng(0)
    graph = Graph(csr_array(np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.0, 0.4, 0.6]])))
    l, x = rng.standard_normal((2, 2, 3))
    flow = DeepFlow(graph, 2.0, solver=Taylor(tol=1e-13))
    expected = central(lambda l: flow.solve(l).v, l, x)
    np.testing.assert_allclose(Tangent(flow, l)(x), expected, rtol=0, atol=1e-8)


def test_coupled_labels():
    problem = random_problem(3, 4, 5)
    C = np.array([[0.4, -0.5, 0.1], [0.3, 0.2, 0.5], [-0.6, 0.2, 0.2]])
    flow = DeepFlow(CoupledLabels(problem.weights, C), 3.0, solver=Taylor(tol=1e-13))
    x = direction(problem)
    expected = central(lambda l: flow.solve(l).v, problem.log_likelihood, x)
    np.testing.assert_allclose(Tangent(flow, problem.log_likelihood)(x), expected, rtol=0, atol=1e-8)


class Own:
    """A layer that makes its weights from the state."""

    radius = 1

    def __call__(self, log_likelihood):
        return Grid(np.full((*log_likelihood.shape[:1], 9, log_likelihood.shape[-1]), 1 / 9)), log_likelihood

    def pull(self, weights, log_likelihood):
        return log_likelihood

    def masked(self, valid):
        return self


def test_what_is_refused():
    with pytest.raises(TypeError, match="weights are made layer by layer"):
        Tangent(DeepFlow([Own()], [1.0]), np.zeros((4, 2, 4)))
    problem = random_problem(3, 4, 5)
    with pytest.raises((ValueError, TypeError), match="direction"):
        Tangent(DeepFlow(problem.weights, 1.0), problem.log_likelihood)(np.zeros((4, 2, 5)))
