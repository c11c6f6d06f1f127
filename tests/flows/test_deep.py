"""The sequence of linearized flows and its gradient against dense matrices and central differences."""

import tracemalloc

import numpy as np
import pytest
from oracles import dense_average, dense_solution, flat, random_problem, relative, tol
from scipy import sparse

from gpulaf import Graph, Grid, Krylov, LinearizedFlows, Taylor
from gpulaf.averaging import normalize_weights
from gpulaf.backend.array import host_array
from gpulaf.flows import AssignmentFlow, DeepFlow, weight_gradient
from gpulaf.integrators import layer_times

TIMES = (1.0, 2.0, 0.5)


def layers(problem, seed=3):
    rng = np.random.default_rng(seed)
    return [normalize_weights(rng.random(problem.weights.shape)) for _ in TIMES]


def dense_v(problem, weights, l):
    """Σ v_s through dense matrices only."""
    v = np.zeros(l.shape)
    for omega, time in zip(weights, TIMES, strict=True):
        v = v + dense_solution(type(problem)(omega, l + v, problem.g, problem.truth), time)
    return v


def central(function, x, direction, h=1e-5):
    return (function(x + h * direction) - function(x - h * direction)) / (2 * h)


@pytest.mark.parametrize("integrator", [Taylor(tol=1e-13), Krylov(tol=1e-13)], ids=str)
def test_forward_against_dense_matrices(xp, dtype, integrator):
    problem = random_problem(3, 4, 5)
    weights = layers(problem)
    flow = DeepFlow([xp(w.astype(dtype)) for w in weights], TIMES, solver=integrator)
    found = flow.solve(xp(problem.log_likelihood.astype(dtype))).v
    assert relative(found, dense_v(problem, weights, problem.log_likelihood)) < 4 * tol(dtype)
    assert host_array(found).dtype == dtype


def test_gradients_of_three_layers_against_central_differences(xp, dtype):
    problem, rng = random_problem(3, 4, 5), np.random.default_rng(0)
    weights, l, g = layers(problem), problem.log_likelihood, problem.g
    flow = DeepFlow([xp(w.astype(dtype)) for w in weights], TIMES, solver=Taylor(tol=1e-12))
    gradient = flow.gradient(flow.solve(xp(l.astype(dtype))), xp(g.astype(dtype)))
    assert len(gradient.weights) == 3
    accuracy = max(1e-7, 100 * tol(dtype))
    for s in range(3):
        direction = rng.standard_normal(weights[s].shape) * (weights[s] > 0)

        def loss(w, s=s):
            return float((g * dense_v(problem, [*weights[:s], w, *weights[s + 1 :]], l)).sum())

        found = (np.asarray(host_array(gradient.weights[s]), float) * direction).sum()
        assert found == pytest.approx(central(loss, weights[s], direction), rel=accuracy)
    direction = rng.standard_normal(l.shape)
    found = (np.asarray(host_array(gradient.log_likelihood), float) * direction).sum()
    expected = central(lambda x: float((g * dense_v(problem, weights, x)).sum()), l, direction)
    assert found == pytest.approx(expected, rel=accuracy)


def test_shared_weights_have_the_sum_of_the_gradients(xp):
    problem = random_problem(3, 4, 5)
    one = DeepFlow(xp(problem.weights), TIMES)
    other = DeepFlow([xp(problem.weights)] * 3, TIMES)
    l, g = xp(problem.log_likelihood), xp(problem.g)
    shared, single = (flow.gradient(flow.solve(l), g) for flow in (one, other))
    assert len(shared.weights) == 1
    assert relative(shared.weights[0], sum(host_array(w) for w in single.weights)) < 1e-14
    assert relative(shared.log_likelihood, single.log_likelihood) < 1e-14


def test_equal_layers_are_the_sequence_of_linearized_flows(dtype):
    problem = random_problem(3, 4, 5)
    weights, l = problem.weights.astype(dtype), problem.log_likelihood.astype(dtype)
    deep = DeepFlow(weights, [0.5] * 4).solve(l).v
    scheme = LinearizedFlows(length=0.5, solver=Taylor(tol=1e-4))
    assert relative(AssignmentFlow(Grid(weights), l).solve(scheme, time=2.0, threshold=0).v, deep) < tol(dtype)


def test_layers_on_a_graph(dtype):
    problem = random_problem(3, 4, 5)
    graph = Graph(sparse.csr_array(dense_average(problem.weights).astype(dtype)))
    flow, grid = DeepFlow(graph, TIMES), DeepFlow(problem.weights.astype(dtype), TIMES)
    l, g = (x.astype(dtype) for x in (problem.log_likelihood, problem.g))
    one, other = flow.solve(flat(l).reshape(3, -1)), grid.solve(l)
    assert relative(flat(one.v), flat(other.v)) < 4 * tol(dtype)
    found = flow.gradient(one, flat(g).reshape(3, -1)).log_likelihood
    assert relative(flat(found), flat(grid.gradient(other, g).log_likelihood)) < 20 * tol(dtype)


def test_only_the_last_layer_keeps_a_basis():
    problem = random_problem()
    solution = DeepFlow(problem.weights, TIMES, solver=Krylov()).solve(problem.log_likelihood)
    assert len(solution.log_likelihoods) == 3
    assert [layer.basis is None for _, layer in solution.layers] == [True, True, False]
    assert all("B" not in vars(flow) for flow, _ in solution.layers[:-1])
    assert DeepFlow(problem.weights, [1.0]).solve(problem.log_likelihood).last[1].basis is None  # in one wave


@pytest.mark.parametrize("integrator", [Taylor(6), Taylor(tol=1e-6), Krylov(6)], ids=str)
@pytest.mark.parametrize("time", [1.0, 9.0])
def test_a_basis_that_is_made_again_gives_the_same_gradient(dtype, integrator, time):
    """In one wave, by the stored series and in several substeps."""
    problem = random_problem(4, 9, 11)
    flow, g = problem.flow(dtype=dtype), problem.g.astype(dtype)
    tol_ = 0.0 if isinstance(integrator, Taylor) else 1e-3
    one, other = (
        weight_gradient(flow, integrator.solve(flow, time, keep_basis=keep), g, tol=tol_) for keep in (True, False)
    )
    assert one.rank == other.rank
    assert relative(other.weights, one.weights) < tol(dtype)
    assert relative(other.log_likelihood, one.log_likelihood) < tol(dtype)


def test_rank_of_every_layer():
    problem = random_problem(3, 6, 7)
    flow = DeepFlow(layers(problem), TIMES, solver=Taylor(tol=1e-10))
    solution = flow.solve(problem.log_likelihood)
    exact = flow.gradient(solution, problem.g)
    errors = [
        relative(flow.gradient(solution, problem.g, rank=rank).weights[0], exact.weights[0]) for rank in (1, 2, 5)
    ]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert flow.gradient(solution, problem.g, rank=2).rank == 2


@pytest.mark.parametrize("integrator", [Taylor(8), Krylov(8)], ids=str)
def test_memory_grows_by_two_fields_a_layer(integrator):
    problem = random_problem(8, 96, 96)
    l, g, weights = (x.astype("float32") for x in (problem.log_likelihood, problem.g, problem.weights))
    field, peaks = l.nbytes, []
    for count in (1, 3, 5):
        flow = DeepFlow(weights, [1.0] * count, solver=integrator)
        flow.gradient(flow.solve(l), g)  # what is compiled and imported does not count
        tracemalloc.start()
        try:
            flow.gradient(flow.solve(l), g)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    more = 3 if isinstance(integrator, Taylor) else 12  # threads let go of fields late, and two bases differ in length
    assert peaks[1] <= peaks[0] + (2 * 3 + 4 + more) * field
    assert peaks[2] <= peaks[1] + (2 * 2 + more) * field


def test_bad_layers_are_refused():
    problem = random_problem()
    for weights, times in ((problem.weights, []), ([problem.weights], [1.0, 2.0])):
        with pytest.raises(ValueError, match="accepted are as many"):
            DeepFlow(weights, times)
    with pytest.raises(ValueError, match="time is -1"):
        DeepFlow(problem.weights, [-1.0])
    with pytest.raises(ValueError, match="time is 0"):
        DeepFlow(problem.weights, (1.0, 0))


def test_times_of_layers():
    weights = random_problem().weights
    assert layer_times(3.0) == [3.0]
    assert layer_times([1, 2]) == [1.0, 2.0] == layer_times((1.0, 2.0), [weights, weights])
    assert layer_times(3.0, [weights] * 2) == [1.5, 1.5]
    assert layer_times(np.float32(2), weights) == [2.0]
