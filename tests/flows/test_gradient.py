"""The closed-form gradient against central differences, the Kronecker form of Theorem 3.8, quadrature and unrolling."""

from math import factorial

import numpy as np
import pytest
from oracles import dense_flow, dense_solution, flat, random_problem, relative, tol
from scipy.linalg import expm

from gpulaf import Euler, Grid, Krylov, Taylor, cosine_loss, uniform_weights
from gpulaf.backend.array import host_array
from gpulaf.backend.products import combine
from gpulaf.flows import LinearFlow, exact_gradient, weight_gradient
from gpulaf.labeling import distances, log_likelihood
from gpulaf.scenes import voronoi_colors, voronoi_lines

TIME = 3.0


def linear_loss(problem, weights, l):
    """⟨g, v(T)⟩ through dense matrices only."""
    changed = type(problem)(weights, l, problem.g, problem.truth)
    return float((problem.g * dense_solution(changed, TIME)).sum())


def directional(function, x, direction, h=1e-5):
    return (function(x + h * direction) - function(x - h * direction)) / (2 * h)


@pytest.mark.parametrize("seed", range(3))
def test_exact_gradient_against_central_differences(xp, seed):
    problem = random_problem(3, 3, 4, seed=seed)
    rng = np.random.default_rng(seed)
    gradient = exact_gradient(problem.flow(xp), TIME, xp(problem.g))
    dw = rng.standard_normal(problem.weights.shape) * (problem.weights > 0)
    dl = rng.standard_normal(problem.log_likelihood.shape)
    by_weights = directional(lambda w: linear_loss(problem, w, problem.log_likelihood), problem.weights, dw)
    by_field = directional(lambda l: linear_loss(problem, problem.weights, l), problem.log_likelihood, dl)
    assert (host_array(gradient.weights) * dw).sum() == pytest.approx(by_weights, rel=1e-7)
    assert (host_array(gradient.log_likelihood) * dl).sum() == pytest.approx(by_field, rel=1e-7)


def test_weights_outside_the_image_have_no_gradient(dtype):
    problem = random_problem()
    gradient = exact_gradient(problem.flow(dtype=dtype), TIME, problem.g.astype(dtype)).weights
    assert (gradient[problem.weights == 0] == 0).all()
    assert (gradient[problem.weights > 0] != 0).all()


def test_kronecker_form_of_theorem_3_8():
    """∂L/∂𝒜 = vec_r⁻¹(φ(−𝒜ᵀ ⊕ 𝒜) [(e^{𝒜ᵀ}ĝ) ⊗ e]) equals the M and m̄ that the gradient is made of."""
    problem = random_problem(2, 2, 3)
    _, A, B = dense_flow(problem)
    n = len(B)
    augmented = np.zeros((n + 1, n + 1))
    augmented[:n, :n], augmented[:n, n] = TIME * A, TIME * B
    ghat, e = np.append(flat(problem.g), 0.0), np.eye(n + 1)[n]
    identity = np.eye(n + 1)
    sum_ = np.kron(-augmented.T, identity) + np.kron(identity, augmented)
    start = np.kron(expm(augmented.T) @ ghat, e)
    bordered = np.zeros(((n + 1) ** 2 + 1,) * 2)
    bordered[:-1, :-1], bordered[:-1, -1] = sum_, start
    theorem = expm(bordered)[:-1, -1].reshape(n + 1, n + 1)

    sensitivity = Krylov(60).sensitivity(problem.flow(), Krylov(60).solve(problem.flow(), TIME), problem.g, tol=1e-15)
    M = sum(np.outer(flat(u), flat(v)) for u, v in zip(sensitivity.left, sensitivity.right, strict=True))
    assert relative(M / TIME, theorem[:n, :n]) < 1e-11
    assert relative(flat(sensitivity.mean) / TIME, theorem[:n, n]) < 1e-11


@pytest.mark.parametrize("integrator", [Krylov(tol=1e-12), Krylov(20), Taylor(tol=1e-12), Taylor(20)], ids=str)
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 1, 9), (5, 9, 8)])
def test_full_rank_against_quadrature(integrator, shape):
    problem = random_problem(*shape)
    flow = problem.flow()
    exact = exact_gradient(flow, TIME, problem.g)
    found = weight_gradient(flow, integrator.solve(flow, TIME), problem.g, tol=1e-13)
    assert relative(found.weights, exact.weights) < 1e-9
    assert relative(found.log_likelihood, exact.log_likelihood) < 1e-9


@pytest.mark.parametrize("integrator", [Krylov(tol=1e-6), Taylor(tol=1e-6), Taylor(12)], ids=str)
def test_all_libraries_and_dtypes(xp, dtype, integrator):
    problem = random_problem(4, 7, 6)
    flow = problem.flow(xp, dtype)
    found = weight_gradient(flow, integrator.solve(flow, TIME), xp(problem.g.astype(dtype)), tol=1e-6)
    exact = exact_gradient(problem.flow(), TIME, problem.g)
    accuracy = max(2e-5, 4 * tol(dtype))
    assert relative(found.weights, exact.weights) < accuracy
    assert relative(found.log_likelihood, exact.log_likelihood) < accuracy


@pytest.mark.parametrize("integrator", [Krylov(tol=1e-10), Taylor(tol=1e-10)], ids=str)
def test_long_times(integrator):
    problem = random_problem(3, 6, 6)
    flow = problem.flow()
    exact = exact_gradient(flow, 20.0, problem.g, nodes=40)
    found = weight_gradient(flow, integrator.solve(flow, 20.0), problem.g, tol=1e-12)
    assert relative(found.weights, exact.weights) < 1e-7


def unrolled_euler(problem, steps, weights):
    changed = type(problem)(weights, problem.log_likelihood, problem.g, problem.truth)
    _, A, B = dense_flow(changed)
    v = np.zeros_like(B)
    for _ in range(steps):
        v = v + TIME / steps * (A @ v + B)
    return float(flat(problem.g) @ v)


def test_euler_adjoint_is_the_derivative_of_the_unrolled_scheme():
    problem = random_problem(3, 3, 4)
    flow = problem.flow()
    gradient = weight_gradient(flow, Euler(7).solve(flow, TIME), problem.g)
    assert gradient.rank == 7
    direction = np.random.default_rng(0).standard_normal(problem.weights.shape) * (problem.weights > 0)
    slope = directional(lambda w: unrolled_euler(problem, 7, w), problem.weights, direction)
    assert (gradient.weights * direction).sum() == pytest.approx(slope, rel=1e-8)


def truncated_series(problem, degree, time, weights):
    """⟨g, v_d⟩ in two substeps where T asks for them, through dense matrices."""
    changed = type(problem)(weights, problem.log_likelihood, problem.g, problem.truth)
    _, A, B = dense_flow(changed)
    substeps = Taylor(degree).plan(time)[0]
    v, h = np.zeros_like(B), time / substeps
    for _ in range(substeps):
        term = A @ v + B
        for k in range(degree):
            v = v + h ** (k + 1) / factorial(k + 1) * term
            term = A @ term
    return float(flat(problem.g) @ v)


@pytest.mark.parametrize(("degree", "time"), [(1, 1.0), (2, 3.0), (6, 3.0), (5, 8.0), (1, 8.0)])
def test_reverse_horner_is_the_derivative_of_the_truncated_series(xp, degree, time):
    problem = random_problem(3, 3, 4)
    flow = problem.flow(xp)
    gradient = weight_gradient(flow, Taylor(degree).solve(flow, time), xp(problem.g), tol=0)
    direction = np.random.default_rng(0).standard_normal(problem.weights.shape) * (problem.weights > 0)
    slope = directional(lambda w: truncated_series(problem, degree, time, w), problem.weights, direction)
    assert (host_array(gradient.weights) * direction).sum() == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize("time", [3.0, 20.0])
def test_reverse_horner_against_quadrature(dtype, time):
    problem = random_problem(4, 9, 8)
    flow = problem.flow(dtype=dtype)
    exact = exact_gradient(problem.flow(), time, problem.g, nodes=40)
    accuracy = 100 * tol(dtype)
    solution = Taylor(tol=float(np.finfo(dtype).eps)).solve(flow, time)
    found = weight_gradient(flow, solution, problem.g.astype(dtype), tol=0)
    assert relative(found.weights, exact.weights) < accuracy
    assert relative(found.log_likelihood, exact.log_likelihood) < accuracy


def test_horner_forward_equals_the_sum_of_powers(xp, dtype):
    flow = random_problem(3, 6, 7).flow(xp, dtype)
    for time in (3.0, 12.0):
        kept, bare = (Taylor(9).solve(flow, time, keep_basis=keep).v for keep in (True, False))
        assert relative(kept, bare) < tol(dtype)


def test_gradient_without_a_kept_basis_is_the_same():
    problem = random_problem()
    flow = problem.flow()
    for integrator in (Krylov(8), Taylor(8), Euler(8)):
        kept = weight_gradient(flow, integrator.solve(flow, TIME), problem.g)
        bare = integrator.solve(flow, TIME, keep_basis=False)
        assert bare.basis is None
        np.testing.assert_array_equal(weight_gradient(flow, bare, problem.g).weights, kept.weights)
        low, again = (weight_gradient(flow, x, problem.g, rank=2) for x in (integrator.solve(flow, TIME), bare))
        np.testing.assert_array_equal(low.weights, again.weights)


def test_singular_values_are_those_of_the_dense_integral():
    problem = random_problem(2, 3, 3)
    flow = problem.flow()
    nodes, quadrature = np.polynomial.legendre.leggauss(20)
    _, A, _ = dense_flow(problem)
    times = TIME * (nodes + 1) / 2
    M = sum(
        TIME / 2 * q * np.outer(expm((TIME - t) * A.T) @ flat(problem.g), flat(dense_solution(problem, t)))
        for t, q in zip(times, quadrature, strict=True)
    )
    expected = np.linalg.svd(M, compute_uv=False)[:4]
    for integrator in (Krylov(15), Taylor(tol=1e-13)):
        found = weight_gradient(flow, integrator.solve(flow, TIME), problem.g, tol=1e-3).singular_values[:4]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def scene_flow(scene, time):
    l = log_likelihood(distances(scene.image, scene.prototypes), 0.1)
    flow = LinearFlow(Grid(uniform_weights(scene.truth.shape, dtype=np.float64)), l)
    solution = Krylov(tol=1e-8).solve(flow, time)
    g = cosine_loss(solution.v, scene.truth).derivative
    return flow, solution, g, exact_gradient(flow, time, g).weights


def cosines(found, exact, weights):
    """Per pixel, both gradients projected on the tangent space of the pixel's simplex."""
    mask = weights > 0

    def tangent(x):
        return (x - (x * mask).sum(axis=-2, keepdims=True) / mask.sum(axis=-2, keepdims=True)) * mask

    a, b = tangent(found), tangent(exact)
    return (a * b).sum(axis=-2) / np.sqrt((a * a).sum(axis=-2) * (b * b).sum(axis=-2))


@pytest.mark.parametrize("scene", [voronoi_lines(), voronoi_colors()], ids=["lines", "colors"])
@pytest.mark.parametrize(("time", "rank", "share"), [(1.0, 1, 0.99), (3.0, 1, 0.99), (3.0, 2, 0.999)])
def test_low_rank_points_the_right_way_at_almost_every_pixel(scene, time, rank, share):
    flow, solution, g, exact = scene_flow(scene, time)
    found = weight_gradient(flow, solution, g, rank=rank)
    assert found.rank == rank
    assert (cosines(found.weights, exact, flow.averaging.weights) >= 0.9).mean() >= share


@pytest.mark.parametrize("scene", [voronoi_lines(), voronoi_colors()], ids=["lines", "colors"])
@pytest.mark.parametrize("integrator", [Krylov(), Taylor()], ids=str)
def test_rank_by_tolerance_is_accurate(scene, integrator):
    flow, _, g, exact = scene_flow(scene, TIME)
    found = weight_gradient(flow, integrator.solve(flow, TIME), g, tol=1e-3)
    assert relative(found.weights, exact) <= 2e-3
    assert found.rank <= 3


def test_mean_outside_the_truncation_makes_rank_one_an_order_more_accurate():
    """Truncating the core with the column of m̄ in it, as (3.45) does, costs a factor of over ten in ∂Ω at rank 1."""
    from gpulaf.integrators.krylov_space import arnoldi
    from gpulaf.integrators.phi import coupled_integral

    flow, solution, g, exact = scene_flow(voronoi_lines(), TIME)
    forward, backward = arnoldi(flow.A, flow.B, len(solution.basis.hessenberg)), arnoldi(flow.At, g, 20)
    core = coupled_integral(backward.hessenberg, forward.hessenberg, backward.norm, forward.norm, TIME)
    Y, sigma, Zt = np.linalg.svd(core, full_matrices=False)
    left = combine(Y[:, 0] * sigma[0], backward.basis)
    whole, _ = flow.derivative(left * Zt[0, -1], left[None], combine(Zt[0, :-1], forward.basis)[None])
    outside = weight_gradient(flow, solution, g, rank=1).weights
    assert 0.05 < relative(whole, exact) < 0.15
    assert relative(outside, exact) < relative(whole, exact) / 10


@pytest.mark.parametrize("options", [{"rank": 0}, {"rank": 1.5}, {"tol": -1e-9}, {"tol": float("nan")}])
def test_bad_options(options):
    flow = random_problem().flow()
    with pytest.raises(ValueError, match="accepted are"):
        weight_gradient(flow, Krylov().solve(flow, 1.0), random_problem().g, **options)


def test_derivative_of_another_shape():
    flow = random_problem().flow()
    with pytest.raises(ValueError, match=r"\(4, 2, 5\); accepted is \(4, 3, 5\)"):
        weight_gradient(flow, Krylov().solve(flow, 1.0), np.ones((4, 2, 5)))
