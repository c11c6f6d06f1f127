"""Learning which label may stand beside which, with the weights of a flow."""

import numpy as np
import pytest
from oracles import dense_flow, random_problem, relative
from scipy.linalg import expm

from gpulaf import FitResult, RiemannianGradient, Taylor, cross_entropy_loss, fit_weights, refine, uniform_weights
from gpulaf.averaging import CoupledLabels
from gpulaf.fields import from_rows, to_rows
from gpulaf.flows import DeepFlow
from gpulaf.learning import Checkpoint, FitOptions, RiemannianAdam


def rims(noise, seed, size=24):
    """Dark cells with a grey rim of two pixels on a bright ground: grey stands between, dark never beside bright."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((size, size))
    r = np.hypot(y % 12 - 5.5, x % 12 - 5.5)
    truth = np.where(r < 3, 0, np.where(r < 5, 1, 2)).astype(np.int32)
    values = np.array([0.0, 0.5, 1.0])
    image = values[truth] + noise * rng.standard_normal(truth.shape)
    return to_rows(-abs(image[..., None] - values) / 0.2), truth


def dense_loss(C, problem, time):
    """Cross-entropy of the labeled pixels through one matrix exponential, A = R_S(Ω ⊗ C)."""
    _, A, B = dense_flow(problem)
    pixels, n = len(B) // len(C), len(B)
    bordered = np.zeros((n + 1, n + 1))
    bordered[:n, :n], bordered[:n, n] = time * A @ np.kron(C, np.eye(pixels)), time * B
    v = expm(bordered)[:n, n].reshape(len(C), pixels)
    truth = problem.truth.ravel()
    log_p = v - np.log(np.exp(v).sum(axis=0))
    return -np.mean([log_p[truth[i], i] for i in range(pixels) if truth[i] >= 0])


def fit(log_likelihood, truth, steps=12, **options):
    options = FitOptions(label_coupling=True, **options)
    return fit_weights(
        log_likelihood, truth, loss=cross_entropy_loss, descent=RiemannianAdam(0.2), steps=steps, options=options
    )  # fmt: skip


def test_the_first_loss_and_step_are_those_of_dense_matrices():
    problem, time, h = random_problem(), 1.5, 1e-5
    start = 0.9 * np.eye(3) + 0.1 / 3
    options = {"time": time, "solver": Taylor(tol=1e-12), "loss": cross_entropy_loss, "weights": problem.weights}
    found = fit_weights(
        problem.log_likelihood, problem.truth, steps=1, descent=RiemannianGradient(0.1),
        options=FitOptions(label_coupling=True), **options,
    )  # fmt: skip
    assert found.history[0].loss == pytest.approx(dense_loss(start, problem, time), rel=1e-9)
    slope = np.zeros((3, 3))
    for j, k in np.ndindex(3, 3):
        e = np.zeros((3, 3))
        e[j, k] = h
        slope[j, k] = (dense_loss(start + e, problem, time) - dense_loss(start - e, problem, time)) / (2 * h)
    moved = start * np.exp(-0.1 * 3 * slope)  # (3.7) on every row, h per row of C
    assert relative(found.weights.matrix, moved / moved.sum(axis=1, keepdims=True)) < 1e-7


def test_both_are_learned(dtype):
    l, truth = (x.astype(d) for x, d in zip(rims(0.25, 0), (dtype, np.int32), strict=True))
    found = fit(l, truth)
    assert isinstance(found, FitResult)
    C = found.weights.matrix
    np.testing.assert_allclose(C.sum(axis=1), 1, atol=1e-5)
    assert (C > 0).all()
    assert found.history[-1].loss < found.history[0].loss
    assert found.weights.weights.dtype == dtype


def test_a_killed_fit_goes_on_bit_for_bit(tmp_path, dtype):
    l, truth = rims(0.25, 0, 12)
    l = l.astype(dtype)
    whole = fit(l, truth, 6)
    fit(l, truth, 3, checkpoint=Checkpoint(tmp_path / "fit", every=1))
    rest = fit(l, truth, 6, checkpoint=Checkpoint(tmp_path / "fit", every=1, resume=True))
    np.testing.assert_array_equal(rest.weights.matrix, whole.weights.matrix)
    np.testing.assert_array_equal(rest.weights.weights, whole.weights.weights)
    with pytest.raises(ValueError, match="belongs to a fit with other weights"):
        fit_weights(
            l, truth, loss=cross_entropy_loss, descent=RiemannianAdam(0.2), steps=6,
            options=FitOptions(checkpoint=Checkpoint(tmp_path / "fit", every=1, resume=True)),
        )  # fmt: skip


def test_what_is_no_bool_is_refused():
    with pytest.raises(TypeError, match="label_coupling is 'x'; accepted are True and False"):
        FitOptions(label_coupling="x")


def test_without_it_nothing_is_learned_of_labels():
    l, truth = rims(0.25, 0, 12)
    assert isinstance(fit_weights(l, truth, steps=1).weights, np.ndarray)


@pytest.mark.parametrize("own", [True, False])
def test_layers_share_one_matrix(own):
    l, truth = rims(0.25, 0, 12)
    weights = uniform_weights((12, 12), dtype=l.dtype)
    options = {"time": [1.0, 0.5], "loss": cross_entropy_loss, "descent": RiemannianGradient(0.1)}
    found = fit_weights(
        l, truth, weights=[weights] * 2 if own else weights, steps=1, options=FitOptions(label_coupling=True), **options
    )
    layers, start = found.weights if own else [found.weights], 0.9 * np.eye(3) + 0.1 / 3
    assert [type(x) for x in layers] == [CoupledLabels] * (1 + own)
    h, slope = 1e-5, np.zeros((3, 3))
    for j, k in np.ndindex(3, 3):
        for sign in (1, -1):
            C = start / 1.01
            C[j, k] += sign * h
            flow = DeepFlow([CoupledLabels(weights, C)] * 2, [1.0, 0.5])
            slope[j, k] += sign * cross_entropy_loss(flow.solve(l).v, truth).value / (2 * h)
    flow = DeepFlow([CoupledLabels(weights, start / 1.01)] * 2, [1.0, 0.5])
    solution = flow.solve(l)
    gradient = flow.gradient(solution, cross_entropy_loss(solution.v, truth).derivative)
    assert relative(sum(gradient.labels), slope) < 1e-8
    flow = DeepFlow([CoupledLabels(weights, start)] * 2, [1.0, 0.5])
    solution = flow.solve(l)
    gradient = flow.gradient(solution, cross_entropy_loss(solution.v, truth).derivative)
    moved = start * np.exp(-0.1 * 3 * sum(gradient.labels))
    assert relative(layers[0].matrix, moved / moved.sum(axis=1, keepdims=True)) < 1e-9


def test_what_was_learned_labels_images():
    l, truth = rims(0.25, 0)
    found = fit(l, truth)
    probabilities = from_rows(np.exp(l) / np.exp(l).sum(axis=-2, keepdims=True))
    result = refine(probabilities, weights=found.weights, time=3.0, solver=Taylor())
    assert np.mean(result.labels != truth) == pytest.approx(found.history[-1].wrong, abs=1e-3)
