"""The nonlinear flow against SciPy's integrators, its orders, and its end."""

import numpy as np
import pytest
from oracles import dense_average, flat, random_problem, relative, tol, unflat
from scipy import sparse
from scipy.integrate import solve_ivp

from gpulaf import DormandPrince, GeometricEuler, Graph, Grid, LinearizedFlows, Taylor
from gpulaf.backend.array import host_array
from gpulaf.flows import AssignmentFlow

TIME = 6.0


def assignment_flow(problem, library=np.asarray, dtype=np.float64):
    return AssignmentFlow(Grid(library(problem.weights.astype(dtype))), library(problem.log_likelihood.astype(dtype)))


def exact(problem, time):
    """v(T) by SciPy from dense averages and the softmax in W, tolerance 1e-12."""
    omega, l = dense_average(problem.weights), flat(problem.log_likelihood)
    labels, n = problem.log_likelihood.shape[-2], omega.shape[0]

    def rate(_, v):
        x = (l + v).reshape(labels, n) @ omega.T
        S = np.exp(x - x.max(axis=0))
        return (S / S.sum(axis=0) - 1 / labels).ravel()

    solution = solve_ivp(rate, (0, time), np.zeros(l.size), method="DOP853", rtol=1e-12, atol=1e-12)
    return unflat(solution.y[:, -1], like=problem.log_likelihood)


@pytest.mark.parametrize("scheme", [DormandPrince(1e-10), LinearizedFlows(1e-9, solver=Taylor(tol=1e-13))], ids=str)
def test_adaptive_schemes_against_scipy(scheme):
    problem = random_problem(3, 4, 5)
    result = assignment_flow(problem).solve(scheme, time=TIME, threshold=0)
    assert result.time == pytest.approx(TIME, rel=1e-12)
    assert relative(result.v, exact(problem, TIME)) < (1e-8 if isinstance(scheme, DormandPrince) else 1e-6)


@pytest.mark.parametrize("scheme", [DormandPrince(1e-3), LinearizedFlows(1e-3)], ids=str)
def test_the_error_follows_the_tolerance(xp, dtype, scheme):
    problem = random_problem(3, 5, 6, seed=1)
    result = assignment_flow(problem, xp, dtype).solve(scheme, time=TIME, threshold=0)
    error = np.abs(host_array(result.v) - exact(problem, TIME)).max()
    assert error < 10 * result.steps * scheme.tol
    assert host_array(result.v).dtype == dtype
    tighter = type(scheme)(scheme.tol / 100)
    finer = assignment_flow(problem, xp, dtype).solve(tighter, time=TIME, threshold=0)
    assert finer.steps > result.steps
    assert np.abs(host_array(finer.v) - exact(problem, TIME)).max() < max(error, 100 * tol(dtype))


def slope(errors):
    """Of log error over log step, halved from one to the next."""
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


def test_orders_of_fixed_steps():
    problem = random_problem(3, 4, 5)
    flow, reference = assignment_flow(problem), exact(problem, TIME)
    lengths = [TIME / n for n in (8, 16, 32, 64)]

    def errors(scheme):
        return [relative(flow.solve(scheme(h), time=TIME, threshold=0).v, reference) for h in lengths]

    linear = errors(lambda h: LinearizedFlows(length=h, solver=Taylor(tol=1e-13)))
    assert ((slope(linear) > 1.8) & (slope(linear) < 2.2)).all()
    euler = errors(GeometricEuler)
    assert ((slope(euler) > 0.8) & (slope(euler) < 1.2)).all()


def test_geometric_euler_is_the_step_on_the_simplex():
    """W ← W e^{hS} / ⟨W, e^{hS}⟩, written in W."""
    problem = random_problem(3, 4, 5)
    omega, l = dense_average(problem.weights), problem.log_likelihood
    W = np.full(l.shape, 1 / 3)
    for _ in range(5):
        x = flat(np.log(W) - np.log(W).mean(axis=-2, keepdims=True) + l).reshape(3, -1) @ omega.T
        S = unflat(np.exp(x) / np.exp(x).sum(axis=0), like=l)
        W = W * np.exp(0.2 * S)
        W /= W.sum(axis=-2, keepdims=True)
    v = assignment_flow(problem).solve(GeometricEuler(0.2), time=1.0, threshold=0).v
    assert relative(np.exp(v) / np.exp(v).sum(axis=-2, keepdims=True), W) < 1e-13


@pytest.mark.parametrize("scheme", [GeometricEuler(0.5), DormandPrince(), LinearizedFlows()], ids=str)
def test_it_ends_nearly_integral_and_says_so(xp, scheme):
    flow = assignment_flow(random_problem(3, 6, 7), xp)
    result = flow.solve(scheme, time=100.0)
    assert result.converged
    assert result.entropy < 1e-3
    assert result.time < 100
    assert "entropy fell under 0.001" in result.reason
    short = flow.solve(scheme, time=0.5)
    assert not short.converged
    assert short.time == pytest.approx(0.5)
    assert "time 0.5 was reached" in short.reason


def test_a_grid_as_a_graph_flows_alike(dtype):
    problem = random_problem(3, 4, 5)
    graph = Graph(sparse.csr_array(dense_average(problem.weights).astype(dtype)))
    l = flat(problem.log_likelihood).reshape(3, -1).astype(dtype)
    other = AssignmentFlow(graph, l).solve(time=3.0, threshold=0)
    one = assignment_flow(problem, dtype=dtype).solve(time=3.0, threshold=0)
    assert relative(flat(other.v), flat(one.v)) < 20 * tol(dtype)
    assert other.steps == one.steps


@pytest.mark.parametrize("call", [
    lambda flow: flow.solve(time=0), lambda flow: flow.solve(threshold=-1), lambda flow: GeometricEuler(0),
    lambda flow: DormandPrince(-1), lambda flow: LinearizedFlows(tol=0), lambda flow: LinearizedFlows(length=-1),
])  # fmt: skip
def test_bad_options(call):
    with pytest.raises(ValueError, match="accepted are"):
        call(assignment_flow(random_problem()))
