"""The step of fixed shape gives what the fit gives step by step, whether it is recorded or not."""

import numpy as np
import pytest
from oracles import random_problem, relative, tol
from scipy import sparse

from gpulaf import (
    Euler,
    Graph,
    Grid,
    Krylov,
    RiemannianAdam,
    RiemannianGradient,
    Taylor,
    cosine_loss,
    cross_entropy_loss,
    fit_weights,
)
from gpulaf.backend.array import host_array, namespace
from gpulaf.backend.dispatch import observed
from gpulaf.learning import Adam, AdaMax, Checkpoint, FitOptions
from gpulaf.learning import stepper as steps
from gpulaf.learning.cuda_graph import CapturedStep, FixedStep, fixed_degree
from gpulaf.learning.problem import ClosedForm, FitProblem

DESCENTS = pytest.mark.parametrize(
    "descent", [RiemannianGradient(0.5), RiemannianAdam(0.1), Adam(0.1), AdaMax(0.1)],
    ids=["plain", "adam", "log-adam", "adamax"],
)  # fmt: skip


@DESCENTS
def test_recorded_steps_are_those_of_the_fit(xp, dtype, descent):
    problem, degree, count = random_problem(3, 8, 9), 8, 5
    l = problem.log_likelihood.astype(dtype)
    start = problem.weights.astype(dtype)
    expected = fit_weights(
        l, problem.truth, weights=start, solver=Taylor(degree), descent=descent, steps=count
    )
    weights, library = xp(start), namespace(xp(start))
    truth = library.asarray(problem.truth, dtype=library.int32)
    step = FixedStep(xp(l), truth, 3.0, degree, descent)
    state, rows = descent.start(weights), []
    for k in range(count + 1):
        new, new_state, numbers = step(weights, state, descent.corrections(k))
        rows.append(step.row(numbers))
        if k < count:
            weights, state = new, new_state
    assert relative(weights, expected.weights) < 20 * tol(dtype)
    for row, fit_row in zip(rows, expected.history, strict=True):
        assert row.loss == pytest.approx(fit_row.loss, rel=20 * tol(dtype))
        assert row.wrong == pytest.approx(fit_row.wrong)
        assert row.gradient_norm == pytest.approx(fit_row.gradient_norm, rel=100 * tol(dtype))


@pytest.mark.parametrize("name", ["numpy", "cupy"])
@DESCENTS
def test_arrays_of_a_captured_step_stay_in_place_and_are_handed_out_as_copies(name, descent, dtype):
    from gpulaf.backend.array import gpu_missing

    put = np.asarray
    if name == "cupy":
        if missing := gpu_missing():
            pytest.skip(missing)
        import cupy

        put = cupy.asarray
    problem = random_problem(3, 8, 9)
    l, start = put(problem.log_likelihood.astype(dtype)), put(problem.weights.astype(dtype))
    step = FixedStep(l, put(problem.truth), 3.0, 8, descent)
    captured = CapturedStep(step, start, descent.start(start))
    if name == "cupy":
        assert captured._graph is not None
    weights, state = start, descent.start(start)
    for k in range(4):
        row = captured.evaluate(k)
        held = captured.weights
        weights, state, numbers = step(weights, state, [put(np.full(1, c, dtype)) for c in descent.corrections(k)])
        assert row == step.row(numbers)
        captured.advance()
        np.testing.assert_array_equal(host_array(captured.weights), host_array(weights))
        assert not np.array_equal(host_array(held), host_array(captured.weights))
        for key, value in captured.state.items():
            np.testing.assert_array_equal(host_array(value), host_array(state[key]))
    np.testing.assert_array_equal(host_array(start), problem.weights.astype(dtype))


def test_only_one_series_has_a_fixed_degree():
    assert fixed_degree(Taylor(7), 3.0) == 7
    assert fixed_degree(Taylor(), 3.0) == Taylor().plan(3.0)[1]
    assert fixed_degree(Taylor(), 30.0) is None
    assert fixed_degree(Taylor(1), 1.0) is None
    assert fixed_degree(Krylov(), 3.0) is None
    assert fixed_degree(Euler(), 3.0) is None


@DESCENTS
def test_a_fit_of_recorded_steps_is_the_fit(dtype, descent, monkeypatch, tmp_path):
    """What a GPU does, with the recorded sequence run kernel by kernel."""
    problem, seen = random_problem(3, 8, 9), []
    options = {"solver": Taylor(8), "descent": descent, "steps": 6}
    arguments = problem.log_likelihood.astype(dtype), problem.truth
    plain = fit_weights(*arguments, **options)
    used = []
    monkeypatch.setattr(steps, "recordable", lambda *given: used.append(1) or 8)

    def see(row, weights):
        seen.append((row.step, weights))

    recorded = fit_weights(*arguments, **options, options=FitOptions(callback=see))
    assert used
    assert relative(recorded.weights, plain.weights) < 20 * tol(dtype)
    for one, other in zip(recorded.history, plain.history, strict=True):
        assert one[:1] + one[4:5] == other[:1] + other[4:5]
        assert one.loss == pytest.approx(other.loss, rel=20 * tol(dtype))
    assert [step for step, _ in seen] == list(range(7))
    np.testing.assert_array_equal(seen[-1][1], recorded.weights)  # what a callback was given stays as it was
    assert not np.array_equal(seen[-2][1], recorded.weights)

    path = tmp_path / "checkpoint.safetensors"
    fit_weights(*arguments, **(options | {"steps": 4}), options=FitOptions(checkpoint=Checkpoint(path, every=2)))
    resumed = fit_weights(*arguments, **options, options=FitOptions(checkpoint=Checkpoint(path, resume=True)))
    np.testing.assert_array_equal(resumed.weights, recorded.weights)


@pytest.mark.parametrize("changed", [
    {"loss": cross_entropy_loss}, {"rank": 1}, {"solver": Krylov()}, {"tau": 0.1}, {"descent": object()},
    {"times": [30.0]}, {"times": [1.0, 2.0]}, {"start": [Grid(random_problem().weights, periodic=True)]},
    {"start": [Graph(sparse.csr_array(np.eye(20)))]},
], ids=lambda changed: next(iter(changed)))  # fmt: skip
def test_what_has_no_fixed_shape_is_not_recorded(changed, monkeypatch):
    monkeypatch.setattr(steps, "is_device_array", lambda array: True)
    problem = random_problem()

    def recordable(
        start=[Grid(problem.weights)], times=[3.0], solver=Taylor(8), loss=cosine_loss, rank=None,  # noqa: B006, B008
        descent=RiemannianGradient(), tau=0.0,  # noqa: B008
    ):  # fmt: skip
        given = FitProblem(problem.log_likelihood, problem.truth, start, times)
        return steps.recordable(given, ClosedForm(solver, loss, rank), descent, tau)

    assert recordable() == 8
    assert recordable(**changed) is None
    with observed(lambda name, function: function):
        assert recordable() is None
