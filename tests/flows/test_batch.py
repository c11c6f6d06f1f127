"""A batch of images, with weights of their own or shared, against one image at a time: bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import random_problem, relative, tol

from gpulaf import DormandPrince, Euler, Grid, Krylov, Taylor
from gpulaf.averaging import check_weights, normalize_weights
from gpulaf.backend.array import host_array
from gpulaf.flows import (
    AssignmentFlow,
    DeepFlow,
    exact_gradient,
    s_flow_solution,
    weight_gradient,
)

TIME, IMAGES = 3.0, 3

#: In one wave and by a stored series; several substeps, of one term and of several; every step.
INTEGRATORS = [Taylor(8), Taylor(tol=1e-6), Taylor(5, substeps=3), Taylor(1, substeps=2), Euler(5)]


@pytest.fixture(params=["own", "shared"])
def shared(request):
    """Whether one set of weights serves every image."""
    return request.param == "shared"


def batch(shared, images=IMAGES, seed=0, **size):
    """A problem of several images, and those of each."""
    single = [random_problem(seed=seed + i, **size) for i in range(images)]
    if shared:
        single = [type(p)(single[0].weights, p.log_likelihood, p.g, p.truth) for p in single]
    fields = (np.stack([getattr(p, name) for p in single]) for name in ("log_likelihood", "g", "truth"))
    weights = single[0].weights if shared else np.stack([p.weights for p in single])
    return type(single[0])(weights, *fields), single


def equal(whole, parts, *, exact=True):
    """Check that the images of a batch have the bits that each has alone, or its numbers up to rounding."""
    whole, parts = host_array(whole), [host_array(part) for part in parts]
    assert whole.shape == (len(parts), *parts[0].shape)
    assert whole.dtype == parts[0].dtype
    if exact:
        np.testing.assert_array_equal(whole, np.stack(parts))
    assert relative(whole, np.stack(parts)) < tol(whole.dtype)


def test_similarity_and_products(xp, dtype, shared):
    problem, single = batch(shared, labels=4, height=7, width=9)
    flow, flows = problem.flow(xp, dtype), [p.flow(xp, dtype) for p in single]
    assert flow.averaging.shape == ((7, 9) if shared else (IMAGES, 7, 9))
    equal(flow.S, [f.S for f in flows])
    equal(flow.B, [f.B for f in flows])
    assert flow.alpha == max(f.alpha for f in flows)
    x, xs = xp(problem.g.astype(dtype)), [xp(p.g.astype(dtype)) for p in single]
    for name in ("A", "At"):
        equal(getattr(flow, name)(x), [getattr(f, name)(one) for f, one in zip(flows, xs, strict=True)])
        scaled = [getattr(f, name)(one, f.B, 0.3) for f, one in zip(flows, xs, strict=True)]
        equal(getattr(flow, name)(x, flow.B, 0.3), scaled)
    for name in ("apply", "adjoint"):
        alone = [getattr(f.averaging, name)(one) for f, one in zip(flows, xs, strict=True)]
        equal(getattr(flow.averaging, name)(x), alone)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("integrator", INTEGRATORS, ids=str)
def test_solutions(xp, dtype, shared, integrator, keep):
    problem, single = batch(shared, labels=3, height=6, width=7)
    flow = problem.flow(xp, dtype)
    solution = integrator.solve(flow, TIME, keep_basis=keep)
    alone = [integrator.solve(p.flow(xp, dtype), TIME, keep_basis=keep) for p in single]
    equal(solution.v, [s.v for s in alone])
    assert solution.products == alone[0].products
    assert solution.converged == all(s.converged for s in alone)
    similarities = [s_flow_solution(p.flow(xp, dtype), s.v).S for p, s in zip(single, alone, strict=True)]
    equal(s_flow_solution(flow, solution.v).S, similarities)


@pytest.mark.parametrize("integrator", INTEGRATORS, ids=str)
def test_gradients_belong_to_each_image_even_where_the_weights_are_shared(xp, dtype, shared, integrator):
    problem, single = batch(shared, labels=4, height=6, width=7)

    def gradient(problem):
        flow = problem.flow(xp, dtype)
        return weight_gradient(flow, integrator.solve(flow, TIME), xp(problem.g.astype(dtype)))

    found, alone = gradient(problem), [gradient(p) for p in single]
    assert host_array(found.weights).shape == (IMAGES, 6, 9, 7)
    equal(found.weights, [one.weights for one in alone])
    equal(found.log_likelihood, [one.log_likelihood for one in alone])
    assert found.rank == alone[0].rank


def test_exact_gradients(xp, dtype, shared):
    problem, single = batch(shared)
    found, *alone = (
        exact_gradient(p.flow(xp, dtype), TIME, xp(p.g.astype(dtype)), nodes=4) for p in (problem, *single)
    )
    equal(found.weights, [one.weights for one in alone])
    equal(found.log_likelihood, [one.log_likelihood for one in alone])


@pytest.mark.parametrize("integrator", [Taylor(8), Taylor(4, substeps=2), Euler(4)], ids=str)
@pytest.mark.parametrize("times", [(1.0, 2.0, 0.5), (2.0,)], ids=["three layers", "one layer"])
def test_layers(xp, dtype, shared, integrator, times):
    problem, single = batch(shared, labels=3, height=5, width=6)
    rng = np.random.default_rng(5)
    layers = [normalize_weights(rng.random(problem.weights.shape)).astype(dtype) for _ in times]

    def solve(problem, layers):
        flow = DeepFlow([xp(w) for w in layers], times, solver=integrator)
        solution = flow.solve(xp(problem.log_likelihood.astype(dtype)))
        return solution, flow.gradient(solution, xp(problem.g.astype(dtype)))

    (found, gradient), own = solve(problem, layers), lambda i: layers if shared else [w[i] for w in layers]
    alone = [solve(p, own(i)) for i, p in enumerate(single)]
    equal(found.v, [one.v for one, _ in alone])
    for s in range(len(times)):
        equal(found.log_likelihoods[s], [one.log_likelihoods[s] for one, _ in alone])
        equal(gradient.weights[s], [one.weights[s] for _, one in alone])
    equal(gradient.log_likelihood, [one.log_likelihood for _, one in alone])
    assert found.summary[1:3] == alone[0][0].summary[1:3]


def test_layers_that_share_their_weights(xp, dtype, shared):
    problem, single = batch(shared)

    def gradient(problem):
        flow = DeepFlow(xp(problem.weights.astype(dtype)), [1.0, 2.0])
        return flow.gradient(flow.solve(xp(problem.log_likelihood.astype(dtype))), xp(problem.g.astype(dtype)))

    found, alone = gradient(problem), [gradient(p) for p in single]
    assert len(found.weights) == 1
    equal(found.weights[0], [one.weights[0] for one in alone])
    equal(found.log_likelihood, [one.log_likelihood for one in alone])


@pytest.mark.parametrize("integrator", [Taylor(5), Taylor(3, substeps=2), Euler(3)], ids=str)
def test_volumes(xp, dtype, shared, integrator):
    problem, single = batch(shared, images=2, height=4, width=5, depth=3)
    assert problem.weights.shape == ((3, 4, 27, 5) if shared else (2, 3, 4, 27, 5))

    def solve(problem):
        flow = problem.flow(xp, dtype)
        solution = integrator.solve(flow, TIME)
        return solution.v, weight_gradient(flow, solution, xp(problem.g.astype(dtype)))

    (v, gradient), alone = solve(problem), [solve(p) for p in single]
    equal(v, [one for one, _ in alone])
    equal(gradient.weights, [one.weights for _, one in alone])
    equal(gradient.log_likelihood, [one.log_likelihood for _, one in alone])


def test_several_axes_of_a_batch(xp, dtype, shared):
    problem, _ = batch(shared, images=6)
    weights = problem.weights if shared else problem.weights.reshape(2, 3, *problem.weights.shape[1:])
    fields = (x.reshape(2, 3, *x.shape[1:]) for x in (problem.log_likelihood, problem.g, problem.truth))
    folded = type(problem)(weights, *fields)
    for integrator in (Taylor(6), Euler(4)):
        flow, other = problem.flow(xp, dtype), folded.flow(xp, dtype)
        one, two = integrator.solve(flow, TIME), integrator.solve(other, TIME)
        found = weight_gradient(other, two, xp(folded.g.astype(dtype))).weights
        expected = weight_gradient(flow, one, xp(problem.g.astype(dtype))).weights
        for x, y in ((two.v, one.v), (found, expected)):
            x, y = host_array(x), host_array(y)
            assert x.shape == (2, 3, *y.shape[1:])
            np.testing.assert_array_equal(x.reshape(y.shape), y)


@settings(deadline=None, max_examples=40)
@given(
    shared=st.booleans(), images=st.integers(1, 4), labels=st.integers(2, 5), height=st.integers(1, 6),
    width=st.integers(1, 20), radius=st.integers(1, 2), time=st.floats(0.01, 12), degree=st.integers(1, 7),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_any_size(shared, images, labels, height, width, radius, time, degree, seed):
    size = {"labels": labels, "height": height, "width": width, "radius": radius}
    problem, single = batch(shared, images, seed, **size)

    def solve(problem):
        flow = problem.flow()
        solution = Taylor(degree).solve(flow, time)
        return solution.v, weight_gradient(flow, solution, problem.g)

    (v, gradient), alone = solve(problem), [solve(p) for p in single]
    equal(v, [one for one, _ in alone])
    equal(gradient.weights, [one.weights for _, one in alone])
    equal(gradient.log_likelihood, [one.log_likelihood for _, one in alone])


def test_rows_of_many_images_are_shared_among_threads(dtype, shared):
    problem, single = batch(shared, images=5, labels=4, height=33, width=70)
    flow, flows = problem.flow(dtype=dtype), [p.flow(dtype=dtype) for p in single]
    for integrator in (Taylor(8), Taylor(3, substeps=2)):
        solution, alone = integrator.solve(flow, TIME), [integrator.solve(f, TIME) for f in flows]
        equal(solution.v, [s.v for s in alone])
        gradients = [weight_gradient(f, s, p.g.astype(dtype)) for f, s, p in zip(flows, alone, single, strict=True)]
        equal(weight_gradient(flow, solution, problem.g.astype(dtype)).weights, [x.weights for x in gradients])


@pytest.mark.parametrize(("call", "said"), [
    (lambda flow, g: Krylov().solve(flow, TIME), "a Krylov space"),
    (lambda flow, g: Krylov(5).solve(flow, TIME, keep_basis=False), "a Krylov space"),
    (lambda flow, g: DeepFlow(flow.averaging, [1.0], solver=Krylov()).solve(g), "a Krylov space"),
    (lambda flow, g: weight_gradient(flow, Taylor().solve(flow, TIME), g, rank=2), "a splitting in few terms"),
    (lambda flow, g: weight_gradient(flow, Taylor().solve(flow, TIME), g, tol=1e-3), "a splitting in few terms"),
    (lambda flow, g: AssignmentFlow(flow.averaging, g).solve(DormandPrince()), "the nonlinear flow"),
])  # fmt: skip
def test_what_belongs_to_one_image_is_refused(xp, dtype, shared, call, said):
    problem, _ = batch(shared)
    flow, g = problem.flow(xp, dtype), xp(problem.g.astype(dtype))
    with pytest.raises(ValueError, match=rf"shape \(3, 4, 3, 5\), a batch of images; {said} .* one by one"):
        call(flow, g)


def test_one_image_in_a_batch_of_one_is_still_a_batch(shared):
    problem, _ = batch(shared, images=1)
    with pytest.raises(ValueError, match="a batch of images"):
        Krylov().solve(problem.flow(), TIME)
    volume = random_problem(depth=2)
    assert Krylov().solve(volume.flow(), TIME).converged


def test_weights_of_a_batch_are_checked(xp, dtype):
    problem, single = batch(False)
    weights, one = problem.weights.astype(dtype), single[0].weights.astype(dtype)
    check_weights(xp(weights), (IMAGES, 4, 5))
    check_weights(xp(one), (IMAGES, 4, 5))
    np.testing.assert_array_equal(
        host_array(normalize_weights(xp(weights))), np.stack([host_array(normalize_weights(xp(w))) for w in weights])
    )
    field, negative = xp(problem.log_likelihood.astype(dtype)), weights.copy()
    negative[2, 1, 4, 3] = -0.5
    assert Grid(xp(weights)).like(field).shape == (IMAGES, 4, 5)
    assert Grid(xp(one)).like(field).shape == (4, 5)
    for broken, said in (
        (weights[:2], r"\(2, 4, 9, 5\); accepted is \(3, 4, N, 5\)"),
        (one[1:], r"\(3, 9, 5\); accepted is \(3, 4, N, 5\)"),
        (negative, r"pixel \(2, 1, 3\) is negative \(value -0.5\)"),
    ):
        with pytest.raises(ValueError, match=said):
            Grid(xp(broken)).like(field)
