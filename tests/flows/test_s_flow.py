"""The S-flow against its own equations, integrated by themselves: dense exponentials, SciPy in the variable S."""

import numpy as np
import pytest
from oracles import dense_average, dense_flow, flat, random_problem, relative, tol, unflat
from scipy import sparse
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from gpulaf import DormandPrince, Graph, Grid, Krylov, Taylor
from gpulaf.backend.array import host_array
from gpulaf.flows import AssignmentFlow, LinearFlow, s_flow_solution

TIME = 3.0


def dense_softmax(x):
    exponential = np.exp(x - x.max(axis=0))
    return exponential / exponential.sum(axis=0)


def dense_s_flow(problem):
    """y(T) of y' = Ω R_S y + ΩB, by the exponential of the bordered matrix."""
    omega, (S, _, B) = dense_average(problem.weights), dense_flow(problem)
    labels, n = S.shape
    replicator = np.block([[np.diag(S[j] * ((j == k) - S[k])) for k in range(labels)] for j in range(labels)])
    averaging = np.kron(np.eye(labels), omega)
    bordered = np.zeros((labels * n + 1,) * 2)
    bordered[:-1, :-1], bordered[:-1, -1] = TIME * averaging @ replicator, TIME * averaging @ B
    return unflat(expm(bordered)[:-1, -1], like=problem.log_likelihood)


def dense_similarity(problem, y):
    """softmax(Ωℓ + y)."""
    l, y = (flat(x).reshape(problem.log_likelihood.shape[-2], -1) for x in (problem.log_likelihood, y))
    return unflat(dense_softmax(l @ dense_average(problem.weights).T + y), like=problem.log_likelihood)


@pytest.mark.parametrize("integrator", [Taylor(tol=1e-13), Krylov(tol=1e-12)], ids=str)
def test_linearized(xp, dtype, integrator):
    problem = random_problem(3, 4, 5)
    flow, y = problem.flow(xp, dtype), dense_s_flow(problem)
    found = s_flow_solution(flow, integrator.solve(flow, TIME).v)
    assert relative(found.y, y) < max(1e-12, 4 * tol(dtype))
    assert relative(found.S, dense_similarity(problem, y)) < max(1e-12, 4 * tol(dtype))
    assert np.abs(host_array(found.y).sum(axis=-2)).max() < tol(dtype)
    assert host_array(found.y).dtype == host_array(found.S).dtype == dtype


def exact_similarity(problem):
    """S(T) of S' = R_S(ΩS), S(0) = softmax(Ωℓ), by SciPy in the variable S."""
    omega, labels = dense_average(problem.weights), problem.log_likelihood.shape[-2]

    def rate(_, S):
        S = S.reshape(labels, -1)
        averaged = S @ omega.T
        return (S * (averaged - (S * averaged).sum(axis=0))).ravel()

    start = flat(dense_similarity(problem, np.zeros_like(problem.log_likelihood)))
    return solve_ivp(rate, (0, TIME), start, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]


def test_nonlinear(xp, dtype):
    problem = random_problem(3, 4, 5)
    flow = AssignmentFlow(Grid(xp(problem.weights.astype(dtype))), xp(problem.log_likelihood.astype(dtype)))
    found = s_flow_solution(flow, flow.solve(DormandPrince(1e-10), time=TIME, threshold=0).v)
    expected = unflat(exact_similarity(problem), like=problem.log_likelihood)
    assert relative(found.S, expected) < max(1e-8, 4 * tol(dtype))
    assert relative(dense_similarity(problem, host_array(found.y).astype(float)), expected) < max(1e-8, 4 * tol(dtype))


def test_on_a_graph(dtype):
    problem = random_problem(3, 4, 5)
    graph = Graph(sparse.csr_array(dense_average(problem.weights).astype(dtype)))
    flow = LinearFlow(graph, flat(problem.log_likelihood).reshape(3, -1).astype(dtype))
    found, y = s_flow_solution(flow, Taylor(tol=1e-13).solve(flow, TIME).v), dense_s_flow(problem)
    assert relative(flat(found.y), flat(y)) < 4 * tol(dtype)
    assert relative(flat(found.S), flat(dense_similarity(problem, y))) < 4 * tol(dtype)


def test_another_shape_is_refused():
    flow = random_problem(3, 4, 5).flow()
    with pytest.raises(ValueError, match=r"v has shape \(5, 3, 4\); accepted is \(4, 3, 5\)"):
        s_flow_solution(flow, np.zeros((5, 3, 4)))
