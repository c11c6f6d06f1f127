"""Ω ⊗ C: averaging with a matrix that couples the labels."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from oracles import dense_average, dense_flow, flat, patches, random_problem, relative, tol, unflat
from scipy.linalg import expm

from gpulaf import DormandPrince, Euler, Graph, Grid, Krylov, Labeler, Taylor, label, uniform_weights
from gpulaf.averaging import CoupledLabels
from gpulaf.backend import memory
from gpulaf.backend.array import host_dtype
from gpulaf.flows import DeepFlow, FlowNetwork, LinearFlow, weight_gradient

RNG = np.random.default_rng(3)
C = RNG.uniform(-1, 1, (3, 3))
C /= 1.05 * abs(C).sum(axis=1).max()


def dense_v(problem, matrix, time):
    """T φ(T A (C ⊗ I)) B by one bordered exponential."""
    _, A, B = dense_flow(problem)
    n = len(B)
    bordered = np.zeros((n + 1, n + 1))
    bordered[:n, :n], bordered[:n, n] = time * A @ np.kron(matrix, np.eye(n // len(matrix))), time * B
    return unflat(expm(bordered)[:n, n], problem.log_likelihood)


def flow_of(problem, xp=np.asarray, dtype=np.float64, matrix=C):
    averaging = CoupledLabels(xp(problem.weights.astype(dtype)), matrix)
    return LinearFlow(averaging, xp(problem.log_likelihood.astype(dtype)))


@pytest.mark.parametrize("solver", [Taylor(), Krylov(), Euler(400)], ids=str)
def test_solutions_are_those_of_dense_matrices(xp, dtype, solver):
    problem = random_problem(labels=3)
    found = solver.solve(flow_of(problem, xp, dtype), 2.0)
    accepted = 2e-3 if isinstance(solver, Euler) else 1e-4
    assert relative(found.v, dense_v(problem, C, 2.0)) < accepted
    assert host_dtype(found.v) == dtype


def test_products_and_their_adjoints(xp, dtype):
    problem = random_problem(labels=3)
    flow = flow_of(problem, xp, dtype)
    _, A, _ = dense_flow(problem)
    A = A @ np.kron(C, np.eye(A.shape[0] // 3))
    u, w = (RNG.standard_normal(problem.g.shape) for _ in range(2))
    given = [xp(x.astype(dtype)) for x in (u, w)]
    assert relative(flow.A(given[0]), unflat(A @ flat(u), u)) < tol(dtype)
    assert relative(flow.At(given[0]), unflat(A.T @ flat(u), u)) < tol(dtype)
    assert relative(flow.At(given[0], given[1], 0.5), unflat(A.T @ flat(u) + 0.5 * flat(w), u)) < tol(dtype)
    assert np.linalg.norm(A, np.inf) <= flow.alpha * (1 + 1e-6)


@pytest.mark.parametrize("solver", [Taylor(tol=1e-12), Taylor(9), Euler(7), Krylov(24)], ids=str)
def test_gradients_are_central_differences(solver):
    problem, time, h = random_problem(labels=3, height=4, width=3), 1.5, 1e-5
    flow = flow_of(problem)
    found = weight_gradient(flow, solver.solve(flow, time), problem.g)

    def value(weights=problem.weights, ell=problem.log_likelihood, matrix=C):
        v = solver.solve(LinearFlow(CoupledLabels(weights, matrix), ell), time).v
        return float((v * problem.g).sum())

    def slope(name, x, at):
        e = np.zeros_like(x)
        e[at] = h
        return (value(**{name: x + e}) - value(**{name: x - e})) / (2 * h)

    accepted = 1e-3 if isinstance(solver, Krylov) else 3e-8
    of_labels = np.array([[slope("matrix", C, (j, k)) for k in range(3)] for j in range(3)])
    assert relative(found.labels, of_labels) < accepted
    for name, x, gradient in (
        ("weights", problem.weights, found.weights),
        ("ell", problem.log_likelihood, found.log_likelihood),
    ):
        places = [at for at in np.ndindex(x.shape) if name == "ell" or x[at] > 0][::7]
        assert relative([gradient[at] for at in places], [slope(name, x, at) for at in places]) < accepted


def test_the_network_of_one_flow_is_the_same():
    problem = random_problem(labels=3)
    network = FlowNetwork([problem.weights], 2.0, {}, mixing={(0, 0): C})
    solution = network.solve([problem.log_likelihood])
    flow = DeepFlow(CoupledLabels(problem.weights, C), 2.0)
    own = flow.solve(problem.log_likelihood)
    assert relative(own.v, solution.v[0]) < 1e-6
    found, other = flow.gradient(own, problem.g), network.gradient(solution, problem.g)
    assert relative(found.labels[0], other.mixing[0, 0]) < 1e-6
    assert relative(found.weights[0], other.weights[0]) < 1e-6


def test_on_a_graph(dtype):
    problem = random_problem(labels=3)
    height, width = problem.log_likelihood.shape[0], problem.log_likelihood.shape[-1]
    graph = Graph(sp.csr_array(dense_average(problem.weights).astype(dtype)))
    nodes = np.moveaxis(problem.log_likelihood, 1, 0).reshape(3, height * width).astype(dtype)
    found = Taylor().solve(LinearFlow(CoupledLabels(graph, C), nodes), 2.0).v
    grid = np.moveaxis(dense_v(problem, C, 2.0), 1, 0).reshape(3, -1)
    assert relative(found, grid) < 1e-4
    labeler = Labeler([0.1, 0.5, 0.9], CoupledLabels(graph, np.eye(3)))
    features = RNG.random(height * width)
    np.testing.assert_array_equal(labeler(features).labels, label(features, [0.1, 0.5, 0.9], weights=graph).labels)


@pytest.mark.parametrize("masked", [False, True])
def test_blocks_are_the_whole_image(monkeypatch, masked):
    image, mask = RNG.random((150, 170)), RNG.random((150, 170)) < 0.9
    labeler = Labeler([0.2, 0.5, 0.8], CoupledLabels(patches((150, 170), seed=0), C))
    whole = labeler(image, mask=mask if masked else None)
    monkeypatch.setattr(memory, "BLOCK", 1.0)
    monkeypatch.setattr(memory, "HALOS", 5)
    parts = labeler(image, mask=mask if masked else None)
    np.testing.assert_array_equal(parts.probabilities, whole.probabilities)


def test_labels_that_exclude_themselves_stand_beside_others():
    """C = [[0, 1], [1, 0]]: neighbors vote for the other label; a noisy checkerboard comes out on four of them."""
    y, x = np.indices((16, 16))
    truth = (x + y) % 2
    image = truth + 0.6 * np.random.default_rng(0).standard_normal((16, 16))
    weights = uniform_weights((16, 16), dtype=np.float64)
    weights[:, [0, 2, 4, 6, 8]] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    wrong = {}
    for name, matrix in (("apart", [[0, 1], [1, 0]]), ("together", np.eye(2))):
        ell = np.stack([-((image - j) ** 2) / (2 * 0.6**2) for j in (0.0, 1.0)], axis=1)
        own = np.zeros_like(weights)
        own[:, 4] = 1
        flow = LinearFlow(CoupledLabels(weights, matrix), ell, Grid(own).similarity(ell))
        v = ell + Taylor().solve(flow, 4.0).v
        wrong[name] = np.mean(v.argmax(axis=1) != truth)
    assert wrong["apart"] < 0.5 * wrong["together"]


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.eye(3)[:2], r"matrix has shape \(2, 3\) .* accepted is \(J, J\)"),
        (np.eye(3) * np.nan, "accepted is .* of finite real numbers"),
        (np.eye(3) * 1j, "complex128; accepted"),
        (1.5 * np.eye(3), "the sum 1.5 of absolute values; accepted is 1 at most.*FlowNetwork"),
    ],
)
def test_matrices_that_cannot_be(matrix, said):
    with pytest.raises(ValueError, match=said):
        CoupledLabels(uniform_weights((4, 4)), matrix)


def test_a_matrix_of_other_labels_and_the_nonlinear_flow_are_refused():
    weights = CoupledLabels(uniform_weights((6, 6)), np.eye(3))
    with pytest.raises(ValueError, match=r"matrix has shape \(3, 3\), and there are 2 labels; accepted is"):
        label(np.zeros((6, 6)), [0.0, 1.0], weights=weights)
    with pytest.raises(ValueError, match="accepted in the nonlinear flow are weights without them"):
        label(np.zeros((6, 6)), [0.0, 0.5, 1.0], weights=weights, solver=DormandPrince())


def test_arrays_of_the_device_stay_there(xp):
    problem = random_problem(labels=3)
    flow = flow_of(problem, xp)
    found = weight_gradient(flow, Taylor().solve(flow, 1.0), xp(problem.g))
    assert type(found.weights) is type(xp(problem.g))
    assert isinstance(found.labels, np.ndarray)
    host = flow_of(problem)
    assert relative(found.weights, weight_gradient(host, Taylor().solve(host, 1.0), problem.g).weights) < 1e-12
