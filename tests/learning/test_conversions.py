"""Fields are rows of labels from the door on: nothing inside turns their axes or copies them to be contiguous."""

import sys
from collections import Counter

import array_api_compat.numpy as compat
import numpy as np
import pytest
from oracles import random_problem

from gpulaf import (
    Euler,
    Grid,
    Krylov,
    RiemannianAdam,
    RiemannianGradient,
    Taylor,
    cosine_loss,
    cross_entropy_loss,
    label,
    refine,
)
from gpulaf.backend.array import contiguous
from gpulaf.fields import from_rows, to_rows
from gpulaf.flows import LinearFlow, exact_gradient, weight_gradient
from gpulaf.learning import Adam
from gpulaf.learning.cuda_graph import FixedStep
from gpulaf.learning.problem import ClosedForm, FitProblem
from gpulaf.learning.stepper import StepByStep

#: Numbers in the smallest fields here; matrices of the integrators are smaller and may do what they like.
LEAST = 3 * 40 * 41


@pytest.fixture
def conversions(monkeypatch):
    """Counts what a call does to arrays as large as fields: conversions by name, turns of axes, copies."""
    counts = Counter()

    def count(name, array):
        counts[name] += getattr(array, "size", 0) >= LEAST

    def copying(function):
        def counted(x, *arguments, **options):
            result = function(x, *arguments, **options)
            if not np.may_share_memory(x, result):
                count("copies", result)
            return result

        return counted

    for module, name in ((np, "ascontiguousarray"), (np, "reshape"), (compat, "reshape")):
        monkeypatch.setattr(module, name, copying(getattr(module, name)))

    def profile(frame, event, function):
        if event == "call" and frame.f_code.co_name in ("to_rows", "from_rows"):
            count(frame.f_code.co_name, frame.f_locals[frame.f_code.co_varnames[0]])
        elif event == "c_call" and function.__name__ in ("transpose", "swapaxes"):
            count("turns", function.__self__)

    def counted(run):
        run()  # kernels are compiled before
        counts.clear()
        sys.setprofile(profile)
        try:
            run()
        finally:
            sys.setprofile(None)
        return +counts

    return counted


def test_conversions_are_seen(conversions):
    field = np.zeros((40, 3, 41))
    assert conversions(lambda: to_rows(from_rows(field))) == {"from_rows": 1, "to_rows": 1, "turns": 2}
    assert conversions(lambda: to_rows(np.zeros((40, 41, 3)))) == {"to_rows": 1, "turns": 1, "copies": 1}
    assert conversions(lambda: contiguous(field.swapaxes(0, 1))) == {"turns": 1, "copies": 1}
    assert conversions(lambda: compat.reshape(field.T, (-1,))) == {"copies": 1}
    assert conversions(lambda: to_rows(np.zeros((4, 5, 3)))) == {}


DEPTHS = pytest.mark.parametrize("depth", [None, 4], ids=["image", "volume"])
SOLVERS = pytest.mark.parametrize("solver", [Taylor(), Krylov(8), Euler(6)], ids=["taylor", "krylov", "euler"])


@DEPTHS
@SOLVERS
def test_a_solve_and_a_gradient_convert_nothing(conversions, dtype, solver, depth):
    problem = random_problem(3, 40, 41) if depth is None else random_problem(3, 10, 41, depth=depth)
    g = problem.g.astype(dtype)
    weights, l = problem.weights.astype(dtype), problem.log_likelihood.astype(dtype)

    def run(rank=None):
        flow = LinearFlow(Grid(weights), l)
        gradient = weight_gradient(flow, solver.solve(flow, 2.0), g, rank=rank)
        assert gradient.log_likelihood.shape == gradient.added_to(g).shape == g.shape

    assert conversions(run) == {}
    assert conversions(lambda: run(2)) == {}
    assert conversions(lambda: exact_gradient(LinearFlow(Grid(weights), l), 1.0, g, nodes=2)) == {}


@pytest.mark.parametrize("solver", [Taylor(), Euler(6)], ids=["taylor", "euler"])
def test_a_batch_converts_nothing(conversions, solver):
    problems = [random_problem(3, 40, 41, seed=seed) for seed in range(2)]
    weights, l, truth = (np.stack([getattr(p, x) for p in problems]) for x in ("weights", "log_likelihood", "truth"))

    def run():
        flow, descent = LinearFlow(Grid(weights), l), RiemannianAdam()
        solution = solver.solve(flow, 2.0)
        loss = cosine_loss(solution.v, truth, batch=1)
        gradient = weight_gradient(flow, solution, loss.derivative)
        descent.update(weights, gradient.weights, descent.start(weights), 0)

    assert conversions(run) == {}


@DEPTHS
@pytest.mark.parametrize("loss", [cosine_loss, cross_entropy_loss])
@pytest.mark.parametrize("descent", [RiemannianAdam(), RiemannianGradient(), Adam()], ids=["adam", "plain", "log-adam"])
def test_a_step_of_a_fit_converts_nothing(conversions, dtype, loss, descent, depth):
    problem = random_problem(3, 40, 41) if depth is None else random_problem(3, 10, 41, depth=depth)
    l, grid = problem.log_likelihood.astype(dtype), Grid(problem.weights.astype(dtype))
    for start, times in (([grid], [2.0]), ([grid, grid], [1.0, 1.0])):
        given = FitProblem(l, problem.truth, start, times, own=len(start) == 2)
        fit = StepByStep(given, ClosedForm(Taylor(), loss), descent, tau=0.1)

        def run(fit=fit):
            fit.evaluate(0)
            fit.advance(0)

        assert conversions(run) == {}


def test_a_step_of_fixed_shape_converts_nothing(conversions, dtype):
    problem, descent = random_problem(3, 40, 41), RiemannianAdam()
    weights = problem.weights.astype(dtype)
    step = FixedStep(problem.log_likelihood.astype(dtype), problem.truth, 2.0, 6, descent)
    state = descent.start(weights)
    assert conversions(lambda: step(weights, state, descent.corrections(0))) == {}


@pytest.mark.parametrize("times", [3.0, [1.0, 1.0]], ids=["one", "layers"])
def test_an_image_is_converted_once_for_its_distances_and_probabilities_are_a_view(conversions, dtype, times):
    image, prototypes = np.random.default_rng(0).random((40, 41, 3)).astype(dtype), np.eye(3)
    # the turns: of the image's channels to the last axis, and those of the two conversions
    found = conversions(lambda: label(image, prototypes, time=times))
    assert found == {"to_rows": 1, "from_rows": 1, "turns": 3, "copies": 1}
    grey = np.random.default_rng(0).random((80, 81)).astype(dtype)  # rows of one channel as it is
    assert conversions(lambda: label(grey, [0, 0.5, 1], time=times)) == {"to_rows": 1, "from_rows": 1, "turns": 2}
    probabilities = label(image, prototypes, time=times).probabilities
    assert np.may_share_memory(to_rows(probabilities), probabilities)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_predictions_are_copied_once_at_most(conversions, dtype, axis):
    soft = np.random.default_rng(0).dirichlet(np.ones(3), (40, 41)).astype(dtype)
    given = np.ascontiguousarray(np.moveaxis(soft, -1, axis))
    found = conversions(lambda: refine(given, label_axis=axis))
    assert found == {"to_rows": 1, "from_rows": 1, "turns": 2} | ({} if axis == 1 else {"copies": 1})
