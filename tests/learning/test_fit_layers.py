"""Fits of layers, of graphs, and of layers of graphs, against dense matrices, central differences and fits of grids."""

import tracemalloc

import numpy as np
import pytest
from oracles import dense_average, flat, random_problem, relative, tol
from scipy import sparse
from scipy.linalg import expm

from gpulaf import (
    Graph,
    Grid,
    Krylov,
    RiemannianAdam,
    RiemannianGradient,
    Taylor,
    cosine_loss,
    cross_entropy_loss,
    fit_weights,
    label,
    uniform_weights,
)
from gpulaf.averaging import check_weights, nearest_neighbor_graph
from gpulaf.backend import memory, memory_estimate
from gpulaf.flows import DeepFlow
from gpulaf.labeling import distances, log_likelihood
from gpulaf.learning import Adam, AdaMax, Checkpoint, FitOptions
from gpulaf.learning.loss import weight_regularizer
from gpulaf.learning.problem import ClosedForm, FitProblem
from gpulaf.learning.stepper import FitStep, StepByStep
from gpulaf.scenes import voronoi_colors, voronoi_lines

TIMES = [1.0, 2.0]


def random_matrix(n, seed=0):
    """Rows of very different lengths, one of a single entry."""
    rng = np.random.default_rng(seed)
    dense = rng.random((n, n)) * (rng.random((n, n)) < rng.random((n, 1))) + 0.1 * np.eye(n)
    dense[3] = np.eye(n)[3]
    return sparse.csr_array(dense / dense.sum(axis=1, keepdims=True))


def dense_deep(matrices, times, l):
    """Σ v_s on dense matrices, by bordered exponentials."""
    v, labels = np.zeros(l.shape), len(l)
    for matrix, time in zip(matrices, times, strict=True):
        averaged = (l + v) @ matrix.T
        S = np.exp(averaged - averaged.max(axis=0))
        S /= S.sum(axis=0)
        A = np.block([[(S[j] * ((j == k) - S[k]))[:, None] * matrix for k in range(labels)] for j in range(labels)])
        bordered = np.zeros((l.size + 1,) * 2)
        bordered[:-1, :-1], bordered[:-1, -1] = time * A, time * (S - 1 / labels).ravel()
        v = v + expm(bordered)[:-1, -1].reshape(l.shape)
    return v


def scene_problem(dtype=np.float32, size=20):
    scene = voronoi_colors(size, sites=5)
    return log_likelihood(distances(scene.image.astype(dtype), scene.prototypes), 0.1), scene.truth


def on_nodes(field):
    """An image's field (H, J, W) as that of the nodes of a graph, (J, H·W)."""
    return flat(field).reshape(field.shape[-2], -1)


def grid_graph(shape, dtype):
    return Graph(sparse.csr_array(dense_average(uniform_weights(shape, dtype=np.float64)).astype(dtype)))


def matrix_of(weights):
    """Ω as a dense matrix, of patches or of a graph."""
    return weights.matrix.toarray() if isinstance(weights, Graph) else dense_average(np.asarray(weights, float))


def test_patches_of_a_graph_are_its_rows(dtype):
    graph = Graph(random_matrix(9).astype(dtype))
    patches = graph.patches
    assert patches.shape == (np.diff(graph.matrix.indptr).max(), 9)
    for i in range(9):
        row = graph.matrix.data[graph.matrix.indptr[i] : graph.matrix.indptr[i + 1]]
        np.testing.assert_array_equal(patches[:, i], np.append(row, np.zeros(len(patches) - len(row))))
    other = graph.with_patches(patches**2)
    np.testing.assert_array_equal(other.matrix.toarray(), graph.matrix.toarray() ** 2)
    x = np.random.default_rng(0).standard_normal((2, 9)).astype(dtype)
    assert relative(other.adjoint(x), x @ graph.matrix.toarray() ** 2) < tol(dtype)
    assert relative(graph.adjoint(x, x), x @ graph.matrix.toarray() + x) < tol(dtype)


@pytest.mark.parametrize("shared", [False, True])
def test_derivatives_of_layers_of_graphs_against_central_differences(dtype, shared):
    """In the padded rows, entry by entry."""
    rng, n = np.random.default_rng(1), 8
    graphs = [Graph(random_matrix(n, seed).astype(dtype)) for seed in ((0,) if shared else (0, 5))]
    l, truth = 2 * rng.standard_normal((3, n)), rng.integers(-1, 3, n).astype(np.int32)
    times, h = [1.0, 1.5], 1e-5
    problem = FitProblem(l.astype(dtype), truth, graphs, times, not shared)
    step = StepByStep(problem, ClosedForm(Taylor(tol=1e-13), cross_entropy_loss), RiemannianAdam())
    row = step.evaluate(0)
    dense = [x.matrix.toarray().astype(float) for x in graphs]

    def loss(matrices):
        return cross_entropy_loss(dense_deep(matrices * 2 if shared else matrices, times, l), truth).value

    assert row.loss == pytest.approx(loss(dense), rel=tol(dtype))
    squared = 0.0
    for s, graph in enumerate(graphs):
        pattern, expected = graph.matrix.tocoo(), np.zeros(graph.patches.shape)
        for i in range(n):
            for k, j in enumerate(pattern.col[pattern.row == i]):
                moved = [[m.copy() for m in dense] for _ in range(2)]
                moved[0][s][i, j] += h
                moved[1][s][i, j] -= h
                expected[k, i] = (loss(moved[0]) - loss(moved[1])) / (2 * h)
        assert relative(step._derivatives[s], expected) < max(1e-7, 20 * tol(dtype))
        p = graph.patches.astype(float)
        squared += (p * (expected - (p * expected).sum(axis=0)) ** 2).sum()
    assert row.gradient_norm == pytest.approx(squared**0.5, rel=max(1e-6, 20 * tol(dtype)))


@pytest.mark.parametrize("descent", [RiemannianAdam(0.2), RiemannianGradient(0.5), Adam(0.1), AdaMax(0.1)], ids=str)
@pytest.mark.parametrize("kind", ["one", "own", "shared"])
def test_a_grid_as_a_graph_learns_the_same(dtype, kind, descent):
    l, truth = scene_problem(dtype, 9)
    start, graph = uniform_weights(truth.shape, dtype=dtype), grid_graph(truth.shape, dtype)
    options = {"time": 3.0 if kind == "one" else TIMES, "steps": 3, "solver": Taylor(8), "descent": descent}
    options |= {"options": FitOptions(tau=0.01)}
    own = kind == "own"
    grid = fit_weights(l, truth, weights=[start] * 2 if own else start, **options)
    graph = fit_weights(on_nodes(l), truth.ravel(), weights=[graph] * 2 if own else graph, **options)
    for one, other in zip(grid.history, graph.history, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=50 * tol(dtype))
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=200 * tol(dtype))
    pairs = [(grid.weights, graph.weights)]
    if own:
        assert [type(x) for x in graph.weights] == [Graph, Graph]
        pairs = list(zip(grid.weights, graph.weights, strict=True))
    for one, other in pairs:
        assert relative(matrix_of(other), matrix_of(one)) < 50 * tol(dtype)
        assert ((matrix_of(other) > 0) == (matrix_of(one) > 0)).all()


@pytest.mark.parametrize("solver", [Taylor(), Krylov()], ids=["taylor", "krylov"])
@pytest.mark.parametrize("own", [True, False], ids=["own", "shared"])
def test_layers_learn(xp, solver, own):
    l, truth = scene_problem()
    start = None if own else uniform_weights(truth.shape)
    options = {"weights": start, "time": TIMES, "steps": 6, "solver": solver, "descent": RiemannianAdam(0.2)}
    result = fit_weights(xp(l), truth, **options)
    assert result.history[-1].loss < 0.5 * result.history[0].loss
    weights = result.weights if own else [result.weights]
    assert len(weights) == (2 if own else 1)
    for x in weights:
        check_weights(x, truth.shape)
    flow = DeepFlow(result.weights, TIMES, solver=solver)  # what is learned is what is applied
    value = cosine_loss(flow.solve(xp(l)).v, xp(truth)).value
    assert result.history[-1].loss == pytest.approx(float(value), rel=1e-6)


def test_weights_and_times_say_which_layers_there_are():
    l, truth = scene_problem(size=12)
    start = uniform_weights(truth.shape)
    same = {
        "own": [(None, TIMES), ([start, start], TIMES), ([None, None], TIMES), ([Grid(start), start], np.array(TIMES))],
        "equal parts": [(None, [1.5, 1.5]), ([start, start], 3.0), ((start, start), [1.5, 1.5])],
        "shared": [(start, TIMES), (Grid(start), tuple(TIMES))],
        "one": [(None, 3.0), (start, 3.0), (None, [3.0]), ([start], 3.0), (start, [3.0])],
    }
    for kind, given in same.items():
        fits = [fit_weights(l, truth, weights=weights, time=time, steps=2) for weights, time in given]
        for fit, (weights, time) in zip(fits, given, strict=True):
            listed = isinstance(weights, list | tuple) or (weights is None and not isinstance(time, float))
            assert isinstance(fit.weights, list) == listed
            assert np.shape(fit.weights)[: int(listed)] == ((1 if kind == "one" else 2),) * listed
            np.testing.assert_array_equal(np.ravel(fit.weights), np.ravel(fits[0].weights))


@pytest.mark.parametrize("shared", [False, True])
def test_a_plain_step_of_layers_by_its_formula(dtype, shared):
    problem = random_problem(3, 5, 6)
    l, start = problem.log_likelihood.astype(dtype), problem.weights.astype(dtype)
    options = {"weights": start if shared else [start] * 2, "time": TIMES, "steps": 1, "solver": Taylor(8)}
    found = fit_weights(l, problem.truth, descent=RiemannianGradient(0.1), **options)
    flow = DeepFlow([problem.weights] * 2, TIMES, solver=Taylor(8))
    solution = flow.solve(problem.log_likelihood)
    gradients = flow.gradient(solution, cosine_loss(solution.v, problem.truth).derivative).weights
    gradients = [sum(gradients)] if shared else gradients
    norms = 0.0
    for x, gradient in zip([found.weights] if shared else found.weights, gradients, strict=True):
        expected = problem.weights * np.exp(-0.1 * 30 * gradient)
        assert relative(x, expected / expected.sum(axis=-2, keepdims=True)) < 4 * tol(dtype)
        tangent = gradient - (problem.weights * gradient).sum(axis=-2, keepdims=True)
        norms += (problem.weights * tangent**2).sum()
    assert found.history[0].gradient_norm == pytest.approx(norms**0.5, rel=4 * tol(dtype))


def test_the_regularizer_counts_in_every_layer():
    l, truth = scene_problem(np.float64)
    start = [random_problem(2, 20, 20, seed=seed).weights for seed in (0, 1)]
    options = {"weights": start, "time": TIMES, "steps": 0}
    free, held = (fit_weights(l, truth, options=FitOptions(tau=tau), **options) for tau in (0.0, 0.3))
    expected = sum(weight_regularizer(x, 0.3 / truth.size).value for x in start)
    assert held.history[0].loss - free.history[0].loss == pytest.approx(expected, rel=1e-10)


def test_rank_and_start_of_every_layer():
    l, truth = scene_problem()
    start = [uniform_weights(truth.shape, radius) for radius in (1, 2)]
    result = fit_weights(l, truth, weights=start, time=TIMES, steps=2, options=FitOptions(rank=1))
    assert [x.shape[-2] for x in result.weights] == [9, 25]
    assert [row.rank for row in result.history] == [1, 1, 1]


class Killed(Exception):
    pass


@pytest.mark.parametrize("kind", ["own", "shared", "graph", "graphs"])
@pytest.mark.parametrize("descent", [RiemannianAdam(0.2), RiemannianGradient(0.5)], ids=["adam", "plain"])
def test_killed_and_resumed_ends_in_the_same_bits(tmp_path, dtype, kind, descent):
    l, truth = scene_problem(dtype, 12)
    start = uniform_weights(truth.shape) if kind == "shared" else None
    if kind.startswith("graph"):
        l, truth, start = on_nodes(l), truth.ravel(), grid_graph((12, 12), dtype)
    options = {"steps": 5, "descent": descent, "time": 3.0 if kind == "graph" else TIMES}
    options |= {"weights": [start] * 2 if kind == "graphs" else start}
    whole, seen = fit_weights(l, truth, **options), []

    def kill(row, weights):
        seen.append(weights)
        if row.step == 3:
            raise Killed

    path = tmp_path / "state.safetensors"
    with pytest.raises(Killed):
        fit_weights(l, truth, **options, options=FitOptions(checkpoint=Checkpoint(path, every=2), callback=kill))
    assert type(seen[0]) is type(whole.weights)
    resumed = fit_weights(l, truth, **options, options=FitOptions(checkpoint=Checkpoint(path, every=2, resume=True)))
    several = isinstance(whole.weights, list)
    assert several == (kind in ("own", "graphs"))
    for one, other in zip(*(x.weights if several else [x.weights] for x in (whole, resumed)), strict=True):
        np.testing.assert_array_equal(matrix_of(one), matrix_of(other))
    timeless = [[FitStep(*row[:-1], 0.0) for row in result.history] for result in (resumed, whole)]
    assert timeless[0] == timeless[1]


def test_checkpoints_of_other_layers_or_graphs_are_refused(tmp_path):
    l, truth = scene_problem(size=6)
    path = tmp_path / "state.safetensors"

    def save(path, *arguments, **options):
        fit_weights(*arguments, steps=1, options=FitOptions(checkpoint=Checkpoint(path, every=1)), **options)

    def refused(path, words, *arguments, **options):
        with pytest.raises(ValueError, match=f"other {words}. Resume"):
            fit_weights(*arguments, options=FitOptions(checkpoint=Checkpoint(path, resume=True)), **options)

    save(path, l, truth, time=TIMES)
    refused(path, "time", l, truth, time=[2.0, 1.0])
    refused(path, "weights", l, truth, time=TIMES, weights=uniform_weights(truth.shape))
    refused(path, "weights, time", l, truth, time=3.0)
    path, nodes = tmp_path / "graph.safetensors", (on_nodes(l), truth.ravel())
    matrix = np.eye(36, dtype=np.float32)
    save(path, *nodes, weights=Graph(sparse.csr_array(matrix)))
    refused(path, "weights", *nodes, weights=Graph(sparse.csr_array(matrix[::-1])))


L, TRUTH = np.zeros((3, 2, 4)), np.zeros((3, 4), int)
GRAPH, START = Graph(sparse.csr_array(np.eye(12))), uniform_weights((3, 4), dtype=np.float64)


@pytest.mark.parametrize(("l", "truth", "options", "words"), [
    (L, TRUTH, {"weights": [START], "time": TIMES}, "there are 1 weights and 2 times; accepted are as many"),
    (L, TRUTH, {"weights": []}, "there are 0 weights and 1 times"),
    (L, TRUTH, {"time": []}, "there are 0 weights and 0 times"),
    (L, TRUTH, {"time": [1.0, -1.0]}, "time is -1"),
    (L, TRUTH, {"weights": GRAPH}, r"\(3, 2, 4\); accepted is \(J, n\) for a graph"),
    (L[:, 0], TRUTH[0], {}, r"\(3, 4\); accepted is \(H, J, W\)"),
    (on_nodes(L)[:, 1:], TRUTH.ravel()[1:], {"weights": GRAPH}, r"12 nodes, the fields have shape \(2, 11\)"),
    (on_nodes(L), TRUTH, {"weights": GRAPH}, r"\(3, 4\); accepted is \(12,\)"),
])  # fmt: skip
def test_layers_and_graphs_that_do_not_fit(l, truth, options, words):
    with pytest.raises(ValueError, match=words):
        fit_weights(l, truth, **options)


def test_a_graph_takes_the_precision_of_the_evidence():
    l, truth = scene_problem(np.float32, 6)
    options = {"weights": grid_graph((6, 6), np.float64), "steps": 1}
    assert fit_weights(on_nodes(l), truth.ravel(), **options).weights.matrix.dtype == np.float32


def peak(call):
    call()  # what is compiled and imported does not count
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("solver", [Taylor(), Krylov(8)], ids=["taylor", "krylov"])
@pytest.mark.parametrize("times", [[2.0] * 3, [1.0] * 5], ids=["own", "shared"])
@pytest.mark.parametrize("labels", [2, 8])
def test_the_estimate_of_layers_is_above_the_peak_and_not_far(solver, times, labels):
    shared = len(times) == 5
    l = random_problem(labels, 128, 128).log_likelihood.astype(np.float32)
    truth = np.random.default_rng(0).integers(0, labels, (128, 128))
    start = uniform_weights(truth.shape) if shared else None
    given = l.nbytes + (start.nbytes if shared else 0)
    found = peak(lambda: fit_weights(l, truth, weights=start, time=times, steps=2, solver=solver)) + given
    estimate = memory_estimate((128, 128), labels, learn=True, solver=solver, times=times, shared=shared)
    assert 0.97 < estimate / found < 1.75


@pytest.mark.parametrize("time", [3.0, [1.0, 1.0]], ids=str)
@pytest.mark.parametrize(("labels", "neighbors"), [(2, 8), (8, 8), (4, 20)])
def test_what_is_refused_for_graphs_is_above_the_peak_and_not_far(time, labels, neighbors, monkeypatch):
    rng, told = np.random.default_rng(0), []
    graph = nearest_neighbor_graph(rng.random((20_000, 2)).astype(np.float32), neighbors)
    l, truth = rng.standard_normal((labels, 20_000)).astype(np.float32), rng.integers(0, labels, 20_000)

    def run():
        fit_weights(l, truth, weights=[graph] * 2 if isinstance(time, list) else graph, time=time, steps=2)

    found = peak(run) + l.nbytes + 2 * graph.matrix.data.nbytes
    estimate = memory.memory_estimate
    monkeypatch.setattr(memory, "memory_estimate", lambda *a, **k: told.append(estimate(*a, **k)) or told[-1])
    run()
    assert 0.97 < told[0] / found < 1.75


def test_a_number_is_the_time_of_all_layers_together(dtype):
    scene = voronoi_lines(16, sites=4)
    image = scene.image.astype(dtype)
    weights = [random_problem(2, 16, 16, seed=seed).weights.astype(dtype) for seed in (0, 1)]
    times = 3.0, [1.5, 1.5]
    whole, part = (label(image, scene.prototypes, weights=weights, time=time) for time in times)
    np.testing.assert_array_equal(whole.probabilities, part.probabilities)
    l = log_likelihood(distances(image, scene.prototypes), 0.1)
    v = DeepFlow(weights, [1.5, 1.5], solver=Taylor(tol=1e-9)).solve(l).v
    assert relative(np.log(whole.probabilities[..., 0] / whole.probabilities[..., 1]), v[:, 0] - v[:, 1]) < 1e-3
