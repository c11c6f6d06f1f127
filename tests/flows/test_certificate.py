"""Certificates of labels against dense solutions: no perturbation within the radius flips one, larger ones do."""

import numpy as np
import pytest
from oracles import Problem, dense_average, dense_flow, dense_solution, random_problem

from gpulaf import Grid, Krylov, Taylor
from gpulaf.averaging import CoupledLabels, normalize_weights
from gpulaf.backend.array import host_array
from gpulaf.flows import DeepFlow, LinearFlow, certificate
from gpulaf.flows.certificate import _contractions, _moved, _reference
from gpulaf.integrators.phi import tail

TIME = 3.0


def smooth_problem(labels: int, size: int = 8, seed: int = 0) -> Problem:
    """Regions with noise: margins of all sizes."""
    rng, problem = np.random.default_rng(seed), random_problem(labels, size, size, seed=seed)
    truth = (np.add.outer(np.arange(size), 2 * np.arange(size)) // size) % labels
    l = 1.5 * (truth[:, None, :] == np.arange(labels)[:, None]) + 0.8 * rng.standard_normal((size, labels, size))
    return Problem(problem.weights, l, problem.g, problem.truth)


def span(v):
    return v.max(axis=-2) - v.min(axis=-2)


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("labels", [2, 3, 6])
def test_the_span_contracts_by_beta_and_its_change_by_gamma(labels):
    """osc(R_S y) ≤ β osc(y), reached; osc(R_S(x̃∘z̃)) ≤ γ osc(x) osc(z), of S anywhere on the path."""
    rng = np.random.default_rng(0)
    reached = 0.0
    for _ in range(40):
        logits = 2 * rng.standard_normal(labels)
        moved = float(rng.choice([0.0, 0.3, 1.5]))
        beta, gamma = (b.item() for b in _contractions(softmax(logits, 0)[None, :, None], np.full((1, 1, 1), moved)))
        for _ in range(200):
            S = softmax(logits + moved * rng.integers(0, 2, labels), 0)
            x, z, y = rng.integers(0, 2, (3, labels)).astype(float)

            def replicator(y, S=S):
                return S * (y - S @ y)

            changed = replicator((x - S @ x) * (z - S @ z))
            assert np.ptp(replicator(y)) <= beta * (1 + 1e-12)
            assert np.ptp(changed) <= gamma * (1 + 1e-12)
            reached = max(reached, np.ptp(replicator(y)) / beta)
    assert reached > 0.95


def test_the_error_bounds_that_of_a_series_and_is_under_the_bound_before(xp, dtype):
    problem = smooth_problem(3)
    exact = dense_solution(problem, TIME)
    S, _, B = dense_flow(problem)
    alpha = float((2 * S * (1 - S)).max())
    for degree in (1, 2, 4, 8):
        flow = DeepFlow(xp(problem.weights.astype(dtype)), TIME, solver=Taylor(degree=degree, tol=0.9))
        l = xp(problem.log_likelihood.astype(dtype))
        found, v = certificate(flow, l), host_array(flow.solve(l).v).astype(float)
        error = host_array(found.error)
        assert error.dtype == np.float64
        slack = 200 * np.finfo(dtype).eps  # data in float32 is another flow
        assert (span(v - exact) <= error + slack).all()
        assert error.max() <= 2 * np.abs(B).max() * TIME * tail(TIME * alpha, degree) + slack
        sure = host_array(found.exact)
        assert (v.argmax(axis=-2) == exact.argmax(axis=-2))[sure].all()
        if degree == 1:
            assert not sure.all()
            assert (v.argmax(axis=-2) != exact.argmax(axis=-2)).any()
        if degree == 8:
            assert sure.mean() > 0.9


def test_other_solvers_and_priors():
    problem = smooth_problem(3)
    start = np.log(np.array([0.6, 0.3, 0.1]))[:, None]
    l, flow = problem.log_likelihood + start, DeepFlow(problem.weights, TIME, solver=Krylov(4))
    found = certificate(flow, l, start=start)
    labels = (flow.solve(l).v + start).argmax(axis=-2)
    ordered = np.sort(dense_solution(Problem(problem.weights, l, problem.g, problem.truth), TIME) + start, axis=-2)
    right = labels == (dense_solution(Problem(problem.weights, l, problem.g, problem.truth), TIME) + start).argmax(-2)
    np.testing.assert_allclose(found.margin[right], (ordered[:, -1] - ordered[:, -2])[right], rtol=1e-6, atol=1e-7)
    assert right[found.exact].all()
    assert found.exact.mean() > 0.5


@pytest.mark.parametrize("labels", [2, 4])
@pytest.mark.parametrize("radius", [0.05, 0.4])
def test_no_change_of_the_data_moves_v_by_more_than_the_bound(labels, radius):
    problem, rng = smooth_problem(labels, 6), np.random.default_rng(0)
    layers, v, _ = _reference(DeepFlow(problem.weights, TIME), problem.log_likelihood)
    np.testing.assert_allclose(v, dense_solution(problem, TIME), rtol=0, atol=1e-9)
    bound = _moved(layers, radius)[..., 0, :]
    worst = 0.0
    for k in range(12):
        shape = problem.log_likelihood.shape
        delta = radius * (
            np.sign(rng.standard_normal(shape)) if k % 2 else np.sign(rng.standard_normal((1, shape[1], 1)))
        )
        delta = np.broadcast_to(delta, shape)
        moved = dense_solution(Problem(problem.weights, problem.log_likelihood + delta, problem.g, problem.truth), TIME)
        worst = max(worst, (span(moved - v) / bound).max())
    assert 0.1 < worst <= 1  # not more, and not by orders of magnitude less


def attacked(flow, l, radius, steps, rng, rounds):
    """Flips of a pixel each, all of them in a batch, by ±radius everywhere: toward a rival, or of random signs."""
    labels, pixels = flow.solve(l).v.argmax(axis=-2), list(np.ndindex(*radius.shape))
    rows, columns = (np.array(k) for k in zip(*pixels, strict=True))
    own, every, size = labels[rows, columns], np.arange(len(pixels)), radius[rows, columns][:, None, None, None]
    flips = 0
    for k in range(rounds):
        g = np.zeros((len(pixels), *l.shape))
        g[every, rows, (own + rng.integers(1, l.shape[1], len(pixels))) % l.shape[1], columns] = 1
        g[every, rows, own, columns] = -1
        delta = size * np.sign(rng.standard_normal(g.shape))
        for _ in range(steps if k % 2 else 0):
            delta = size * np.sign(flow.gradient(flow.solve(l + delta), g).log_likelihood)
        v = flow.solve(l + delta, keep_basis=False).v
        flips += int((v.argmax(axis=-2)[every, rows, columns] != own).sum())
    return flips, rounds * len(pixels)


@pytest.mark.parametrize("layers", [1, 2])
def test_ten_thousand_adversarial_perturbations_flip_nothing_and_larger_ones_do(layers):
    problem, rng = smooth_problem(3), np.random.default_rng(5)
    weights = [problem.weights, normalize_weights(rng.random(problem.weights.shape))][:layers]
    flow = DeepFlow(weights, [TIME / layers] * layers, solver=Taylor(tol=1e-8))
    l = problem.log_likelihood
    found = certificate(flow, l)
    assert found.exact.all()
    assert (found.radius > 0.01).mean() > 0.8
    assert attacked(flow, l, found.radius, 2, rng, 158) == (0, 10112)
    flips, tried = attacked(flow, l, 6 * found.radius, 2, rng, 4)
    assert flips > 0.1 * tried


def test_a_mask_an_image_of_a_batch_and_a_graph():
    problem, rng = smooth_problem(3), np.random.default_rng(0)
    valid = rng.random((8, 8)) < 0.8
    l = np.where(valid[:, None, :], problem.log_likelihood, 0.0)
    masked = certificate(DeepFlow(Grid(problem.weights).masked(valid), TIME), l)
    assert (masked.radius[~valid] == 0).all()
    assert (masked.radius[valid] > 0.01).mean() > 0.8
    alone = certificate(DeepFlow(problem.weights, TIME), problem.log_likelihood)
    both = np.stack([problem.log_likelihood, 2 * problem.log_likelihood])
    batch = certificate(DeepFlow(problem.weights, TIME), both)
    np.testing.assert_allclose(batch.margin[0], alone.margin, rtol=1e-12)
    np.testing.assert_allclose(batch.radius[0], alone.radius, rtol=0.02, atol=1e-6)
    from scipy.sparse import csr_array

    from gpulaf import Graph

    nodes = np.ascontiguousarray(np.moveaxis(problem.log_likelihood, -2, 0).reshape(3, -1))
    graph = certificate(DeepFlow(Graph(csr_array(dense_average(problem.weights))), TIME), nodes)
    np.testing.assert_allclose(graph.radius, alone.radius.ravel(), rtol=1e-6, atol=1e-9)


def test_absurd_changes_prove_nothing_and_layers_that_make_weights_are_refused():
    problem = smooth_problem(3)
    layers, _, _ = _reference(DeepFlow(problem.weights, [TIME] * 3), problem.log_likelihood)
    assert np.isinf(_moved(layers, 30.0)).all()
    assert LinearFlow(Grid(problem.weights), problem.log_likelihood).alpha <= 0.5

    class Own:
        radius = 1

        def __call__(self, log_likelihood):
            raise AssertionError

        def pull(self, weights, log_likelihood):
            raise AssertionError

        def masked(self, valid):
            return self

    flow, ell = DeepFlow(problem.weights, 1.0), problem.log_likelihood
    with pytest.raises(TypeError, match="flow is a ndarray; accepted is a DeepFlow"):
        certificate(problem.weights, ell)
    with pytest.raises(ValueError, match=r"v has shape \(2, 2\); accepted is"):
        certificate(flow, ell, np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"start has shape \(2,\); accepted are"):
        certificate(flow, ell, start=np.zeros(2))
    with pytest.raises(ValueError, match="log_likelihood holds values that are not finite"):
        certificate(flow, ell * np.nan, ell)
    with pytest.raises(TypeError, match="labels are coupled by a matrix"):
        certificate(DeepFlow(CoupledLabels(problem.weights, np.eye(3)), 1.0), problem.log_likelihood)
    with pytest.raises(TypeError, match="weights are made layer by layer"):
        certificate(DeepFlow([Own()], [1.0]), problem.log_likelihood, problem.log_likelihood)
