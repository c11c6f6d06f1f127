"""What crosses the bus, what is launched and how often the host waits, counted on the simulated GPU.

Fields never come to the host. A recorded step reads its numbers once; products, adjoints and gradients read nothing.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from oracles import random_problem

from gpulaf import Krylov, RiemannianAdam, Taylor, cosine_loss, fit_weights
from gpulaf.averaging import Grid
from gpulaf.flows import LinearFlow, weight_gradient
from gpulaf.learning import stepper
from gpulaf.learning.problem import ClosedForm, FitProblem

simulation = pytest.importorskip("cuda_simulation", reason="the GPU is a real one, which counts nothing")
DEGREE, LABELS = 8, 3
#: Bytes that may come to the host at once: less than a row of the image.
SMALL = 200


@pytest.fixture
def problem() -> tuple[Any, Any, Any]:
    """Weights, log-likelihood and truth on the device."""
    import cupy

    made = random_problem(LABELS, 20, 40)
    weights, l = (cupy.asarray(x.astype(np.float32)) for x in (made.weights, made.log_likelihood))
    return weights, l, cupy.asarray(made.truth.astype(np.int32))


def counted(run: Any) -> Any:
    """The counts of a second run."""
    run()
    with simulation.counting() as during:
        run()
    return during


def copies(during: Any) -> tuple[int, int, int]:
    """Reads, writes and waits."""
    assert during.read_bytes <= SMALL * max(1, during.reads)
    assert during.written_bytes <= SMALL * max(1, during.writes)
    return during.reads, during.writes, during.waits


def test_a_product_is_one_kernel(problem: Any) -> None:
    flow = LinearFlow(Grid(problem[0]), problem[1])
    v = flow.B
    for name, product in (("operator", flow.A), ("adjoint", flow.At)):
        during = counted(lambda product=product: product(v))
        assert during.kernels == {f"{name}_kernel": 1}
        assert not during.operations
        assert copies(during) == (0, 0, 0)


def test_a_taylor_solution_reads_three_numbers(problem: Any) -> None:
    flow = LinearFlow(Grid(problem[0]), problem[1])
    flow.alpha  # noqa: B018 - read once for all solutions of a flow
    during = counted(lambda: Taylor(DEGREE).solve(flow, 3.0))
    assert during.kernels == {"operator_kernel": DEGREE - 1, "combination_kernel": 1}
    assert during.operations.total() <= 8
    assert copies(during) == (1, 1, 1)


def test_the_gradient_of_a_taylor_solution_reads_nothing(problem: Any) -> None:
    weights, l, truth = problem
    flow = LinearFlow(Grid(weights), l)
    solution = Taylor(DEGREE).solve(flow, 3.0)
    during = counted(lambda: cosine_loss(solution.v, truth))
    assert during.kernels == {"agreement_kernel": 1, "agreement_sum": 1, "cosine_kernel": 1}
    assert copies(during) == (2, 1, 2)  # the range of the truth, the sums
    g = cosine_loss(solution.v, truth).derivative
    during = counted(lambda: weight_gradient(flow, solution, g))
    assert during.kernels == {"adjoint_kernel": DEGREE - 1, "weight_gradient_kernel": 1}
    assert copies(during) == (0, 0, 0)


def test_a_krylov_solution_and_its_gradient_read_a_gram_matrix_each(problem: Any) -> None:
    weights, l, truth = problem
    flow = LinearFlow(Grid(weights), l)
    during = counted(lambda: Krylov(6).solve(flow, 3.0))
    assert during.kernels["operator_kernel"] == 6
    assert during.kernels.total() == 9
    assert during.reads == during.waits == 1
    assert during.read_bytes <= 8 * 7 * 7
    solution = Krylov(6).solve(flow, 3.0)
    g = cosine_loss(solution.v, truth).derivative
    during = counted(lambda: weight_gradient(flow, solution, g))
    assert during.kernels["adjoint_kernel"] + during.kernels["operator_kernel"] == 8
    assert during.kernels.total() == 14
    assert during.reads == during.waits == 1
    assert during.read_bytes <= 8 * 7 * 7


def stepped(problem: Any, recorded: bool) -> Any:
    """The counts of a step of a fit."""
    weights, l, truth = problem
    given = FitProblem(l, truth, [Grid(weights)], [3.0])
    gradient, descent = ClosedForm(Taylor(DEGREE), cosine_loss, None), RiemannianAdam()
    fit = (
        stepper.Recorded(given, gradient, descent, DEGREE) if recorded
        else stepper.StepByStep(given, gradient, descent)
    )  # fmt: skip
    fit.evaluate(0)
    taken = iter(range(10))

    def step() -> None:
        k = next(taken)
        fit.advance(k)
        fit.evaluate(k + 1)

    return counted(step)


def test_a_step_kernel_by_kernel(problem: Any) -> None:
    during = stepped(problem, recorded=False)
    assert during.kernels == {
        "similarity_kernel": 1, "operator_kernel": DEGREE - 1, "adjoint_kernel": DEGREE - 1, "combination_kernel": 1,
        "agreement_kernel": 2, "agreement_sum": 2, "cosine_kernel": 1, "weight_gradient_kernel": 1,
        "moments_kernel": 2, "geodesic_kernel": 1,
    }  # fmt: skip
    assert during.operations.total() <= 29
    reads, _, waits = copies(during)
    assert reads == waits == 7  # ‖B‖ and ‖v‖, α, range of the truth twice, sums of the loss, ‖∂Ω‖, wrong pixels


def test_a_recorded_step_is_one_launch_and_one_read(problem: Any) -> None:
    during = stepped(problem, recorded=True)
    assert during.replays == 1
    assert not during.kernels
    assert set(during.operations) == {"copy"}
    assert during.launches == 3 + 2  # weights and moments are taken over, corrections written
    assert copies(during) == (1, 0, 1)
    assert during.read_bytes == 7 * 8


def test_a_fit_reads_one_row_a_step(problem: Any) -> None:
    weights, l, truth = problem
    host = sys.modules["cupy"].asnumpy

    def fit(steps: int) -> Any:
        with simulation.counting() as during:
            fit_weights(l, truth, weights=weights, solver=Taylor(DEGREE), steps=steps)
        return during

    fit(1)
    short, long = fit(2), fit(12)
    assert long.reads - short.reads == 10
    assert long.writes == short.writes
    assert long.replays - short.replays == 10
    assert host(weights).shape == (20, 9, 40)
