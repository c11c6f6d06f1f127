"""Averaging on any graph: a grid written as a graph gives the grid's numbers, and a random graph the dense ones."""

import numpy as np
import pytest
from oracles import dense_average, flat, random_problem, relative, tol
from scipy import sparse
from scipy.linalg import expm

from gpulaf import Euler, Graph, Krylov, Taylor, cosine_loss, fit_weights, label, refine
from gpulaf.averaging import nearest_neighbor_graph
from gpulaf.backend.array import gpu_missing, host_array, is_device_array
from gpulaf.flows import LinearFlow, exact_gradient, weight_gradient

TIME = 3.0


@pytest.fixture(params=["numpy", "cupy"])
def place(request):
    """Bring arrays and sparse matrices to where the work runs."""
    if request.param == "numpy":
        return lambda x: x
    if missing := gpu_missing():
        pytest.skip(missing)
    import cupy
    from cupyx.scipy.sparse import csr_matrix

    return lambda x: csr_matrix(x) if sparse.issparse(x) else cupy.asarray(x)


def grid_as_graph(problem, dtype):
    return sparse.csr_array(dense_average(problem.weights).astype(dtype))


def nodes(field):
    """Rows of labels as a field (J, n) of the nodes."""
    return flat(field).reshape(field.shape[-2], -1)


def random_graph(n=14, seed=0):
    rng = np.random.default_rng(seed)
    dense = rng.random((n, n)) * (rng.random((n, n)) < 0.3) + np.eye(n)
    return sparse.csr_array(dense / dense.sum(axis=1, keepdims=True))


def test_a_grid_as_a_graph_gives_the_same_numbers(place, dtype):
    problem = random_problem(3, 5, 6)
    l, g = (place(nodes(x).astype(dtype)) for x in (problem.log_likelihood, problem.g))
    grid = problem.flow(dtype=dtype)
    graph = LinearFlow(Graph(place(grid_as_graph(problem, dtype))), l)
    assert graph.averaging.shape == (30,)
    assert graph.alpha == pytest.approx(grid.alpha, rel=tol(dtype))
    x = problem.g.astype(dtype)
    for one, other in ((grid.A(x), graph.A(g)), (grid.At(x), graph.At(g))):
        assert relative(other, nodes(one)) < tol(dtype)
    out = place(np.full((3, 30), np.nan, dtype))
    assert graph.At(g, l, 0.5, out=out) is out
    assert relative(out, nodes(grid.At(x, problem.log_likelihood.astype(dtype), 0.5))) < tol(dtype)
    for integrator in (Krylov(6), Taylor(8), Euler(10)):
        here, there = integrator.solve(grid, TIME), integrator.solve(graph, TIME)
        assert relative(there.v, nodes(here.v)) < tol(dtype)
        loss = cosine_loss(here.v, problem.truth), cosine_loss(there.v, place(problem.truth.ravel()))
        assert loss[1].value == pytest.approx(loss[0].value, rel=tol(dtype))
        gradient = weight_gradient(grid, here, loss[0].derivative, tol=1e-6)
        other = weight_gradient(graph, there, loss[1].derivative, tol=1e-6)
        pattern = grid_as_graph(problem, dtype)
        dense = sparse.csr_array((host_array(other.weights), pattern.indices, pattern.indptr)).toarray()
        assert relative(dense, dense_average(gradient.weights)) < 20 * tol(dtype)
        assert relative(other.log_likelihood, nodes(gradient.log_likelihood)) < 20 * tol(dtype)


def dense_loss(matrix, l, g):
    """⟨g, v(T)⟩ by the exponential of the bordered dense matrix."""
    labels, n = l.shape
    averaged = l @ matrix.T
    S = np.exp(averaged) / np.exp(averaged).sum(axis=0)
    A = np.block([[(S[j] * ((j == k) - S[k]))[:, None] * matrix for k in range(labels)] for j in range(labels)])
    bordered = np.zeros((labels * n + 1,) * 2)
    bordered[:-1, :-1], bordered[:-1, -1] = TIME * A, TIME * (S - 1 / labels).ravel()
    return float(g.ravel() @ expm(bordered)[:-1, -1])


def test_gradient_on_a_random_graph_against_central_differences(place, dtype):
    matrix, rng = random_graph(), np.random.default_rng(1)
    l, g = 2 * rng.standard_normal((2, 3, 14))
    flow = LinearFlow(Graph(place(matrix.astype(dtype))), place(l.astype(dtype)))
    gradient = exact_gradient(flow, TIME, place(g.astype(dtype)))
    h = 1e-5

    def along(dw, dl):
        def at(h):
            changed = sparse.csr_array((matrix.data + h * dw, matrix.indices, matrix.indptr))
            return dense_loss(changed.toarray(), l + h * dl, g)

        return (at(h) - at(-h)) / (2 * h)

    nothing = np.zeros(matrix.nnz), np.zeros(l.shape)
    for k in rng.choice(matrix.nnz, 5, replace=False):
        dw = np.eye(matrix.nnz)[k]
        assert host_array(gradient.weights)[k] == pytest.approx(along(dw, nothing[1]), rel=max(1e-6, 100 * tol(dtype)))
    dl = rng.standard_normal(l.shape)
    expected = along(nothing[0], dl)
    assert (host_array(gradient.log_likelihood) * dl).sum() == pytest.approx(expected, rel=max(1e-6, 100 * tol(dtype)))


def random_nodes(dtype, n=40):
    """A graph of points, ℓ and truth of its nodes."""
    rng = np.random.default_rng(0)
    graph = nearest_neighbor_graph(rng.random((n, 2)).astype(dtype), 5, sigma=0.3)
    return graph.matrix, rng.standard_normal((3, n)).astype(dtype), rng.integers(0, 3, n).astype(np.int32)


@pytest.mark.parametrize("layers", [False, True])
def test_weights_of_a_graph_are_learned_where_they_are(place, dtype, layers):
    matrix, l, truth = random_nodes(dtype)
    options = {"time": [1.0, 2.0] if layers else 3.0, "steps": 4}
    here = fit_weights(l, truth, weights=[Graph(matrix)] * 2 if layers else Graph(matrix), **options)
    start = Graph(place(matrix))
    there = fit_weights(place(l), place(truth), weights=[start] * 2 if layers else start, **options)
    for one, other in zip(here.history, there.history, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=10 * tol(dtype))
        assert other.wrong == one.wrong
    for one, other in zip(*([x.weights] if not layers else x.weights for x in (here, there)), strict=True):
        assert isinstance(other.weights, type(place(l)))
        assert relative(other.weights, one.weights) < 100 * tol(dtype)


def test_nodes_are_labeled_where_they_are(place, dtype):
    matrix, l, _ = random_nodes(dtype)
    soft = np.exp(l.T) / np.exp(l.T).sum(axis=1, keepdims=True)
    calls = (
        lambda put: label(put(l.T.copy()), np.eye(3), weights=Graph(put(matrix)), rho=0.5),
        lambda put: refine(put(soft), weights=[Graph(put(matrix))] * 2, time=[1.0, 3.0]),
    )
    for call in calls:
        here, there = call(lambda x: x), call(place)
        assert isinstance(there.probabilities, type(place(l)))
        np.testing.assert_array_equal(host_array(there.labels), here.labels)
        assert relative(there.probabilities, here.probabilities) < 10 * tol(dtype)


def test_entries_of_a_row_in_any_order_and_twice(place, dtype):
    """∂Ω belongs to the entries as the graph holds them: CuPy brings them into order, SciPy leaves them."""
    dense = random_graph().toarray()
    rows, columns = np.nonzero(dense)
    values = dense[rows, columns] / 2
    order = np.random.default_rng(0).permutation(2 * len(rows))
    order = order[np.argsort(np.tile(rows, 2)[order], kind="stable")]
    indptr = np.concatenate([[0], np.cumsum(2 * np.bincount(rows))])
    shuffled = sparse.csr_array((np.tile(values, 2)[order].astype(dtype), np.tile(columns, 2)[order], indptr))
    rng = np.random.default_rng(1)
    l, g = (rng.standard_normal((3, 14)).astype(dtype) for _ in range(2))
    expected = exact_gradient(LinearFlow(Graph(sparse.csr_array(dense.astype(dtype))), l), TIME, g)
    graph = Graph(place(shuffled))
    found = exact_gradient(LinearFlow(graph, place(l)), TIME, place(g))
    matrix = graph.matrix.get() if is_device_array(graph.weights) else graph.matrix
    assert found.weights.shape == matrix.data.shape
    full = np.zeros((14, 14))
    full[np.nonzero(dense)] = expected.weights
    at = np.repeat(np.arange(14), np.diff(matrix.indptr)), matrix.indices
    assert relative(host_array(found.weights), full[at]) < 20 * tol(dtype)
    assert relative(graph.adjoint(place(l)), l @ dense) < tol(dtype)


def test_a_graph_and_fields_in_two_places_are_refused(place, dtype):
    matrix, l, _ = random_nodes(dtype)
    if type(place(l)) is np.ndarray:
        return
    for here, there in ((matrix, place(l)), (place(matrix), l)):
        with pytest.raises(TypeError, match=r"accepted are both on the CPU or both on the GPU\. Move one of them"):
            LinearFlow(Graph(here).like(there), there)
    other = np.float32 if dtype == np.float64 else np.float64
    assert Graph(place(matrix)).like(place(l.astype(other))).weights.dtype == other


@pytest.mark.parametrize(("matrix", "message"), [
    (np.eye(3), "is 'ndarray'; accepted are CSR matrices"),
    (sparse.coo_array(np.eye(3)), "is 'coo'; accepted are CSR matrices"),
    (sparse.csr_array(np.ones((2, 3)) / 3), r"shape \(2, 3\); accepted is \(n, n\)"),
    (sparse.csr_array(np.eye(3, dtype=int)), "dtype int64; accepted are float32 and float64"),
    (sparse.csr_array(np.diag([1.0, 0.5, 1.0])), "row 1 of the matrix sums to 0.5; accepted is 1"),
    (sparse.csr_array(np.array([[1.5, -0.5], [0, 1.0]])), "holds the weight -0.5; accepted are 0 and above"),
    (sparse.csr_array(np.array([[np.nan, 0.5], [0, 1.0]])), "row 0 of the matrix sums to nan"),
])  # fmt: skip
def test_what_is_no_averaging_is_refused(matrix, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Graph(matrix)
