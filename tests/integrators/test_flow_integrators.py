"""The linearized flow against its dense matrix, and every integrator against the matrix exponential."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import dense_flow, dense_solution, flat, random_problem, relative, tol, unflat

from gpulaf import DormandPrince, Euler, GeometricEuler, Grid, Krylov, LinearizedFlows, Taylor, uniform_weights
from gpulaf.backend.array import host_array
from gpulaf.flows import AssignmentFlow, LinearFlow, weight_gradient
from gpulaf.integrators.phi import phi1, tail

INTEGRATORS = [Krylov(tol=1e-5), Krylov(12), Taylor(tol=1e-5), Taylor(14)]


def test_flow_is_its_dense_matrix(xp, dtype):
    problem = random_problem()
    S, A, B = dense_flow(problem)
    flow = problem.flow(xp, dtype)
    v = problem.g.astype(dtype)
    assert relative(flow.S, unflat(S, like=v)) < tol(dtype)
    assert relative(flow.B, unflat(B, like=v)) < tol(dtype)
    assert relative(flow.A(xp(v)), unflat(A @ flat(v), like=v)) < tol(dtype)
    assert relative(flow.At(xp(v)), unflat(A.T @ flat(v), like=v)) < tol(dtype)
    assert abs(flow.alpha - (2 * S * (1 - S)).max()) < tol(dtype)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(1, 5), st.floats(0, 50), st.integers(0, 10**6))
def test_row_sums_are_bounded_by_alpha_and_one_half(labels, height, width, sharpness, seed):
    problem = random_problem(labels, height, width, seed=seed)
    problem = type(problem)(problem.weights, sharpness * problem.log_likelihood, problem.g, problem.truth)
    _, A, _ = dense_flow(problem)
    alpha = problem.flow().alpha
    assert np.abs(A).sum(axis=1).max() <= alpha + 1e-14
    assert alpha <= 0.5 + 1e-15


@pytest.mark.parametrize("integrator", INTEGRATORS, ids=str)
@pytest.mark.parametrize("time", [0.5, 3.0])
def test_solution_against_the_exponential(xp, dtype, integrator, time):
    problem = random_problem()
    solution = integrator.solve(problem.flow(xp, dtype), time)
    assert relative(solution.v, dense_solution(problem, time)) < max(1e-5, tol(dtype))
    assert solution.converged
    assert solution.reason.endswith(".")


@pytest.mark.parametrize("integrator", [*INTEGRATORS, Euler(20)], ids=str)
def test_constants_per_pixel_change_nothing(dtype, integrator):
    problem = random_problem()
    flow = problem.flow(dtype=dtype)
    constant = np.random.default_rng(3).standard_normal((4, 1, 5)).astype(dtype)
    moved = LinearFlow(flow.averaging, flow.log_likelihood + constant)
    assert relative(integrator.solve(moved, 3.0).v, integrator.solve(flow, 3.0).v) < tol(dtype)
    assert np.abs(flow.A(np.broadcast_to(constant, problem.g.shape).copy())).max() < tol(dtype)
    assert np.abs(integrator.solve(flow, 3.0).v.sum(axis=-2)).max() < tol(dtype)


@pytest.mark.parametrize("integrator", [Krylov(), Krylov(5), Taylor(), Taylor(4), Euler(5)], ids=str)
def test_no_source_no_solution(xp, dtype, integrator):
    middle = xp(np.full((3, 3, 4), 1 / 3, dtype)), xp(np.full(1, 4 / 9, dtype))  # S, and its bound
    flow = LinearFlow(Grid(xp(uniform_weights((3, 4), dtype=dtype))), xp(np.zeros((3, 3, 4), dtype)), middle)
    solution = integrator.solve(flow, 3.0)
    assert (host_array(solution.v) == 0).all()
    assert solution.error == 0
    assert solution.converged


@pytest.mark.parametrize("integrator", [*INTEGRATORS, Euler(2000)], ids=str)
@pytest.mark.parametrize(("labels", "height", "width", "radius"), [
    (2, 1, 1, 1), (3, 1, 7, 1), (3, 7, 1, 1), (2, 2, 2, 2), (40, 3, 3, 1), (4, 5, 6, 2),
])  # fmt: skip
def test_small_and_odd_images(integrator, labels, height, width, radius):
    problem = random_problem(labels, height, width, radius)
    solution = integrator.solve(problem.flow(), 3.0)
    assert relative(solution.v, dense_solution(problem, 3.0)) < 1e-3


def test_krylov_spaces_larger_than_the_problem_are_exact():
    problem = random_problem(2, 2, 2)
    solution = Krylov(100).solve(problem.flow(), 3.0)
    assert solution.error < 1e-15
    assert "invariant" in solution.reason
    assert relative(solution.v, dense_solution(problem, 3.0)) < 1e-13


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("time", "dimension"), [(1.0, 3), (3.0, 4), (3.0, 6), (5.0, 8)])
def test_krylov_estimate_is_within_a_factor_of_two(seed, time, dimension):
    problem = random_problem(3, 8, 8, seed=seed)
    solution = Krylov(dimension).solve(problem.flow(), time)
    exact = Taylor(tol=1e-14).solve(problem.flow(), time).v
    true = np.linalg.norm(solution.v - exact) / np.linalg.norm(solution.v)
    assert true / 2 < solution.error < 2 * true


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8])
def test_krylov_dimension_follows_the_tolerance(tolerance):
    problem = random_problem(3, 8, 8)
    solution = Krylov(tol=tolerance).solve(problem.flow(), 3.0)
    assert relative(solution.v, Taylor(tol=1e-14).solve(problem.flow(), 3.0).v) < 2 * tolerance
    assert Krylov(solution.products - 1, tol=tolerance).solve(problem.flow(), 3.0).error > tolerance


def test_krylov_that_cannot_converge_says_so(monkeypatch):
    monkeypatch.setattr("gpulaf.integrators.krylov.MAX_DIMENSION", 3)
    solution = Krylov(tol=1e-8).solve(random_problem(3, 8, 8).flow(), 3.0)
    assert not solution.converged
    assert "shorten the time" in solution.reason
    assert not Taylor(2, tol=1e-8).solve(random_problem().flow(), 3.0).converged


@settings(deadline=None, max_examples=60)
@given(
    labels=st.integers(2, 5), height=st.integers(1, 6), width=st.integers(1, 6), time=st.floats(0.01, 20),
    degree=st.integers(1, 16), sharpness=st.floats(0, 5), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_taylor_bound_is_never_violated(labels, height, width, time, degree, sharpness, seed):
    problem = random_problem(labels, height, width, seed=seed)
    problem = type(problem)(problem.weights, sharpness * problem.log_likelihood, problem.g, problem.truth)
    solution = Taylor(degree).solve(problem.flow(), time)
    exact = dense_solution(problem, time)
    # S is known up to a unit in the last place or two, and the flow stretches that by T φ(T/2)
    rounding = 1e-12 * max(np.abs(exact).max(), np.abs(solution.v).max()) + 1e-15 * time * phi1(time / 2)
    assert np.abs(solution.v - exact).max() <= solution.error * np.abs(solution.v).max() + rounding


@pytest.mark.parametrize("time", [0.1, 3.0, 20.0])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-10])
def test_taylor_degree_is_the_smallest_that_meets_the_tolerance(time, tolerance):
    flow = random_problem(3, 6, 6).flow()
    substeps, degree, bound = Taylor(tol=tolerance).plan(time)
    assert bound <= tolerance < Taylor(degree - 1, tol=tolerance).plan(time)[2] or degree == 1
    solution = Taylor(tol=tolerance).solve(flow, time)
    exact = dense_solution(random_problem(3, 6, 6), time)
    scale = time * phi1(time / 2) * np.abs(flow.B).max()
    assert np.abs(solution.v - exact).max() <= tolerance * scale + 1e-12 * np.abs(exact).max()
    assert solution.products == substeps * degree - 1


def test_errors_count_rounding():
    problem = random_problem(3, 8, 8)
    exact = Taylor(tol=1e-14).solve(problem.flow(), 3.0).v
    for integrator in (Krylov(tol=1e-12), Taylor(tol=1e-12)):
        solution = integrator.solve(problem.flow(dtype=np.float32), 3.0)
        assert relative(solution.v, exact) < 2 * solution.error
        assert type(solution.error) is float
        assert type(solution.converged) is bool


@pytest.mark.parametrize("integrator", [Krylov(), Taylor(), Taylor(100), Euler(10)], ids=str)
def test_numpy_scalars_do_not_change_the_dtype(integrator):
    problem = random_problem()
    flow = problem.flow(dtype=np.float32)
    solution = integrator.solve(flow, np.float64(3.0))
    assert solution.v.dtype == np.float32
    gradient = weight_gradient(flow, solution, problem.g)
    assert gradient.weights.dtype == gradient.log_likelihood.dtype == np.float32


def test_small_matrices_from_many_threads_leave_the_blas_threads_alone():
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_info

    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    problem, before = random_problem(), threads()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: Krylov().solve(problem.flow(), 3.0).v, range(60)))
    assert threads() == before
    assert all((v == results[0]).all() for v in results)


def test_tail_of_the_series():
    from math import factorial

    for reach, degree in ((0.5, 3), (2.0, 1), (2.5, 10)):
        direct = sum(reach**k / factorial(k + 1) for k in range(degree, 60))
        assert tail(reach, degree) == pytest.approx(direct, rel=1e-12)
    assert tail(0.0, 3) == 0


@pytest.mark.parametrize("reach", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("accuracy", [1e-3, 1e-6])
def test_degrees_of_the_a_priori_bound(reach, accuracy):
    from math import factorial

    terms = [reach**k / factorial(k + 1) for k in range(60)]
    expected = next(d for d in range(60) if sum(terms[d:]) <= accuracy * sum(terms))
    assert Taylor(tol=accuracy).plan(2 * reach)[:2] == (1, expected)  # ‖A‖ ≤ 1/2


@pytest.mark.parametrize("degree", [3, 8])
@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("keep", [True, False])
def test_tile_with_a_halo_equals_the_whole_image_bit_for_bit(dtype, degree, radius, keep):
    problem = random_problem(3, 61, 83, radius)
    weights, l = problem.weights.astype(dtype), problem.log_likelihood.astype(dtype)
    integrator, halo = Taylor(degree), degree * radius
    whole = integrator.solve(LinearFlow(Grid(weights), l), 3.0, keep_basis=keep).v
    for top, left, height, width in ((0, 0, 20, 30), (20, 30, 20, 23), (40, 53, 21, 30), (30, 7, 1, 1)):
        y0, x0 = max(0, top - halo), max(0, left - halo)
        y1, x1 = min(61, top + height + halo), min(83, left + width + halo)
        cut = (slice(y0, y1), slice(None), slice(x0, x1))
        tile = integrator.solve(LinearFlow(Grid(weights[cut].copy()), l[cut].copy()), 3.0, keep_basis=keep).v
        inner = tile[top - y0 : top - y0 + height, :, left - x0 : left - x0 + width]
        np.testing.assert_array_equal(inner, whole[top : top + height, :, left : left + width])


def test_tile_with_a_smaller_halo_differs():
    problem = random_problem(3, 40, 40)
    whole = Taylor(8).solve(problem.flow(), 3.0).v
    cut = (slice(10, 30), slice(None), slice(10, 30))
    tile = Taylor(8).solve(LinearFlow(Grid(problem.weights[cut].copy()), problem.log_likelihood[cut].copy()), 3.0).v
    assert (tile[7:13, :, 7:13] != whole[17:23, :, 17:23]).any()


def test_euler_has_order_one():
    problem = random_problem()
    exact = dense_solution(problem, 3.0)
    errors = [np.linalg.norm(Euler(n).solve(problem.flow(), 3.0).v - exact) for n in (100, 200, 400)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 1, atol=0.03)


def test_euler_estimate_has_the_right_size():
    problem = random_problem()
    solution = Euler(200).solve(problem.flow(), 3.0)
    true = relative(solution.v, dense_solution(problem, 3.0))
    assert true / 3 < solution.error < 3 * true


def test_time_splits_into_a_sequence_of_linearized_flows():
    """(1.5)–(1.6): ℓ_{s+1} = ℓ_s + v_s converges at second order to the assignment flow, integrated by SciPy."""
    from scipy.integrate import solve_ivp

    problem, T = random_problem(3, 5, 6), 6.0
    grid, l, shape = Grid(problem.weights), problem.log_likelihood, problem.g.shape

    def right_side(_, v):
        S = LinearFlow(grid, l + v.reshape(shape)).S
        return (S - S.mean(axis=-2, keepdims=True)).ravel()

    exact = solve_ivp(right_side, (0, T), np.zeros(l.size), rtol=1e-11, atol=1e-12).y[:, -1].reshape(shape)
    errors = []
    for steps in (8, 16, 32):
        field = l
        for _ in range(steps):
            field = field + Krylov(tol=1e-12).solve(LinearFlow(grid, field), T / steps).v
        errors.append(np.linalg.norm(field - l - exact))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > 1.8).all()
    assert (orders < 2.2).all()


@pytest.mark.parametrize("call", [
    lambda: Krylov(0), lambda: Krylov(2.5), lambda: Krylov(tol=0), lambda: Taylor(0), lambda: Taylor(tol=-1),
    lambda: Euler(0), lambda: Krylov().solve(random_problem().flow(), -1.0),
    lambda: Taylor().solve(random_problem().flow(), float("nan")),
    lambda: Euler().solve(random_problem().flow(), float("inf")),
])  # fmt: skip
def test_bad_options(call):
    with pytest.raises(ValueError, match="accepted are"):
        call()


# --- odd options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [6, 7, 80, 1000])
def test_a_krylov_space_is_not_larger_than_its_problem(dimension):
    """2×2 pixels with 2 labels have 8 numbers; what is asked for beyond them is not tried."""
    rng = np.random.default_rng(0)
    flow = LinearFlow(Grid(uniform_weights((2, 2), dtype=np.float64)), rng.standard_normal((2, 2, 2)))
    solution = Krylov(dimension).solve(flow, 3.0)
    assert solution.products <= 8
    np.testing.assert_allclose(solution.v, Taylor(tol=1e-14).solve(flow, 3.0).v, atol=1e-12)


@pytest.mark.parametrize("make", [
    lambda: Krylov(10_000), lambda: Krylov(0), lambda: Krylov(2.0), lambda: Krylov(tol=float("inf")),
    lambda: Krylov(tol=2), lambda: Krylov(tol=float("nan")), lambda: Taylor(10_000), lambda: Taylor(substeps=10**12),
    lambda: Taylor(tol=float("inf")), lambda: Taylor(tol=0), lambda: Euler(10**12), lambda: Euler(0),
    lambda: DormandPrince(float("inf")), lambda: GeometricEuler(0), lambda: LinearizedFlows(length=float("nan")),
])  # fmt: skip
def test_options_out_of_range(make):
    with pytest.raises(ValueError, match=r" is .*; accepted are (positive|whole) numbers.* (usual|suits|Take) ?"):
        make()


@pytest.mark.parametrize("make", [
    lambda: Krylov("10"), lambda: Krylov(True), lambda: Krylov(tol=None), lambda: Taylor("10"), lambda: Taylor(tol="x"),
    lambda: Euler(None), lambda: DormandPrince("x"), lambda: GeometricEuler([0.1]), lambda: LinearizedFlows(length="x"),
    lambda: LinearizedFlows(solver=Taylor), lambda: LinearizedFlows(solver="taylor"),
])  # fmt: skip
def test_options_of_other_types(make):
    with pytest.raises(TypeError, match=r" is .*; accepted (are|is) "):
        make()


def test_a_tolerance_under_the_rounding_of_a_dtype_ends():
    averaging = Grid(uniform_weights((4, 4)))
    flow = AssignmentFlow(averaging, np.random.default_rng(0).standard_normal((4, 3, 4)).astype(np.float32))
    for scheme in (DormandPrince(1e-300), LinearizedFlows(1e-12, solver=Taylor(tol=1e-6))):
        assert flow.solve(scheme, time=0.2).steps < 2000
