"""Coupled flows and their gradients against dense matrices, central differences and `DeepFlow`."""

import numpy as np
import pytest
from oracles import dense_average, dense_solution, flat, random_problem, relative, tol, unflat
from scipy import sparse

from gpulaf import Graph, Krylov, Taylor, cross_entropy_loss, uniform_weights
from gpulaf.averaging import normalize_weights
from gpulaf.backend.array import host_array, namespace
from gpulaf.fields import field_shape, to_rows
from gpulaf.flows import CoupledFlow, DeepFlow, LabelMap, LinearMap

SHAPE = (4, 5)
FINE = Taylor(tol=1e-12)


def data(labels, seed):
    return 2 * np.random.default_rng(seed).standard_normal(field_shape(SHAPE, labels))


def patches(seed):
    return normalize_weights(np.random.default_rng(seed).random(field_shape(SHAPE, 9)))


def dense_v(weights, times, fields, couplings):
    """v_s of every flow through dense matrices only; couplings (r, s) → dense matrix (J_s·n, J_r·n)."""
    problem, v = random_problem(), []
    for s, (omega, time) in enumerate(zip(weights, times, strict=True)):
        l = fields[s]
        for (r, t), L in couplings.items():
            if t == s:
                l = l + unflat(L @ flat(v[r]), like=l)
        v.append(dense_solution(type(problem)(omega, l, problem.g, problem.truth), time))
    return v


def of_labels(C):
    """A label matrix as a matrix of all unknowns."""
    return np.kron(C, np.eye(SHAPE[0] * SHAPE[1]))


def shift(labels):
    """One row down and one column to the left, half as large, and its adjoint."""

    def apply(v):
        return 0.5 * namespace(v).roll(v, (1, -1), axis=(0, 2))

    def adjoint(z):
        return 0.5 * namespace(z).roll(z, (-1, 1), axis=(0, 2))

    basis, field = np.eye(labels * SHAPE[0] * SHAPE[1]), data(labels, 0)
    dense = np.stack([flat(apply(unflat(e, like=field))) for e in basis], axis=1)
    return LinearMap(apply, adjoint), dense


def central(function, x, direction, h=1e-5):
    return (function(x + h * direction) - function(x - h * direction)) / (2 * h)


class Sequence:
    """Flow 0 of three labels speaks by C to flow 1 of two labels."""

    def __init__(self):
        self.weights, self.times = [patches(1), patches(2)], [1.5, 2.0]
        self.fields = [data(3, 3), data(2, 4)]
        self.matrices = {(0, 1): np.random.default_rng(5).standard_normal((2, 3))}
        self.g = [None, np.random.default_rng(6).standard_normal(field_shape(SHAPE, 2))]

    def couplings(self):
        return {edge: LabelMap(C) for edge, C in self.matrices.items()}

    def dense(self, matrices):
        return {edge: of_labels(C) for edge, C in matrices.items()}

    def loss(self, weights=None, fields=None, matrices=None):
        v = dense_v(
            weights or self.weights, self.times, fields or self.fields, self.dense(matrices or self.matrices)
        )  # fmt: skip
        return sum(float((g * x).sum()) for g, x in zip(self.g, v, strict=True) if g is not None)


class SideBySide(Sequence):
    """Flows 0 and 1 of three and four labels speak to flow 2 of three; the loss looks at all of them."""

    def __init__(self):
        rng = np.random.default_rng(7)
        self.weights, self.times = [patches(1), patches(2), patches(8)], [1.5, 0.5, 2.0]
        self.fields = [data(3, 3), data(4, 4), data(3, 9)]
        self.matrices = {(1, 2): rng.standard_normal((3, 4))}
        self.g = [rng.standard_normal(x.shape) for x in self.fields]

    def couplings(self):
        return {(0, 2): shift(3)[0]} | super().couplings()

    def dense(self, matrices):
        return {(0, 2): shift(3)[1]} | super().dense(matrices)


def coupled(case, xp, dtype, solver=FINE):
    weights, fields = ([xp(x.astype(dtype)) for x in part] for part in (case.weights, case.fields))
    return CoupledFlow(weights, case.times, case.couplings(), solver=solver), fields


@pytest.mark.parametrize("case", [Sequence, SideBySide])
@pytest.mark.parametrize("integrator", [FINE, Krylov(tol=1e-11)], ids=str)
def test_forward_against_dense_matrices(xp, dtype, case, integrator):
    case = case()
    flow, fields = coupled(case, xp, dtype, integrator)
    found = flow.solve(fields).v
    for one, other in zip(
        found, dense_v(case.weights, case.times, case.fields, case.dense(case.matrices)), strict=True
    ):  # fmt: skip
        assert relative(one, other) < max(1e-10, 8 * tol(dtype))
        assert host_array(one).dtype == dtype


@pytest.mark.parametrize("case", [Sequence, SideBySide])
def test_gradients_against_central_differences(xp, dtype, case):
    case, rng, accuracy = case(), np.random.default_rng(0), max(1e-7, 100 * tol(dtype))
    flow, fields = coupled(case, xp, dtype)
    gradient = flow.gradient(flow.solve(fields), [g if g is None else xp(g.astype(dtype)) for g in case.g])

    def check(found, name, parts, s):
        direction = rng.standard_normal(parts[s].shape) * (parts[s] != 0)

        def loss(x):
            changed = parts | {s: x} if isinstance(parts, dict) else [*parts[:s], x, *parts[s + 1 :]]
            return case.loss(**{name: changed})

        along = float((np.asarray(host_array(found), float) * direction).sum())
        assert along == pytest.approx(central(loss, parts[s], direction), rel=accuracy)

    for s in range(len(case.times)):
        check(gradient.weights[s], "weights", case.weights, s)
        check(gradient.log_likelihoods[s], "fields", case.fields, s)
        assert host_array(gradient.weights[s]).dtype == dtype
    assert set(gradient.couplings) == set(case.matrices)
    for edge, found in gradient.couplings.items():
        assert found.dtype == np.float64
        check(found, "matrices", case.matrices, edge)


@pytest.mark.parametrize("integrator", [FINE, Krylov(tol=1e-6)], ids=str)
def test_float32_is_near_float64(integrator):
    found = []
    for dtype in (np.float32, np.float64):
        case = SideBySide()
        flow, fields = coupled(case, np.asarray, dtype, integrator)
        found.append(flow.gradient(flow.solve(fields), [g.astype(dtype) for g in case.g]))
    for one, other in zip(*found, strict=True):
        for key in other if isinstance(other, dict) else range(len(other)):
            assert relative(one[key], other[key]) < 1e-4


def test_the_identity_between_equal_flows_is_a_deep_flow(xp, dtype):
    weights, l, times = [xp(patches(s).astype(dtype)) for s in range(3)], data(3, 3).astype(dtype), [1.0, 2.0, 0.5]
    g = xp(np.random.default_rng(0).standard_normal(l.shape).astype(dtype))
    deep, one = DeepFlow(weights, times), LabelMap(np.eye(3))
    flow = CoupledFlow(weights, times, {(0, 1): one, (1, 2): one, (0, 2): one})
    whole, parts = deep.solve(xp(l)), flow.solve([xp(l)] * 3)
    assert relative(sum(host_array(v) for v in parts.v), whole.v) < tol(dtype)
    expected, found = deep.gradient(whole, g), flow.gradient(parts, [g] * 3)
    for x, y in zip(found.weights, expected.weights, strict=True):
        assert relative(x, y) < 4 * tol(dtype)
    assert relative(sum(host_array(x) for x in found.log_likelihoods), expected.log_likelihood) < 4 * tol(dtype)


def test_another_resolution_and_a_flow_without_data():
    """A flow on 2×3 pixels of a graph speaks to one on 4×6, which has no data of its own."""
    rng = np.random.default_rng(0)
    coarse, fine = normalize_weights(rng.random((2, 9, 3))), normalize_weights(rng.random((4, 9, 6)))
    graph, l, g = Graph(sparse.csr_array(dense_average(coarse))), data(3, 0)[:2, :, :3], rng.standard_normal((4, 3, 6))

    def enlarged(field):
        return field.repeat(2, axis=0).repeat(2, axis=2)

    def double(v):
        return enlarged(unflat(v.ravel(), like=l))

    def halve(z):
        return flat(z.reshape(2, 2, 3, 3, 2).sum(axis=(1, 4))).reshape(3, 6)

    flow = CoupledFlow([graph, fine], [1.0, 2.0], {(0, 1): LinearMap(double, halve)}, solver=FINE)
    problem = random_problem()

    def dense(l):
        v = dense_solution(type(problem)(coarse, l, problem.g, problem.truth), 1.0)
        return dense_solution(type(problem)(fine, enlarged(v), problem.g, problem.truth), 2.0)

    solution = flow.solve([flat(l).reshape(3, 6), None])
    assert relative(solution.v[1], dense(l)) < 1e-11
    direction = rng.standard_normal(l.shape)
    found = float(flow.gradient(solution, g).log_likelihoods[0].ravel() @ flat(direction))
    assert found == pytest.approx(central(lambda l: float((g * dense(l)).sum()), l, direction), rel=1e-7)


def test_maps_may_give_views(dtype):
    weights, l, g = (x.astype(dtype) for x in (patches(1), data(3, 0), data(3, 1)))
    found = []
    for finish in (lambda x: x, np.ascontiguousarray):
        mirror = LinearMap(*[lambda x, finish=finish: finish(x[::-1])] * 2)
        flow = CoupledFlow([weights, weights], [1.0, 2.0], {(0, 1): mirror})
        solution = flow.solve([l, None])
        found.append((solution.v[1], *flow.gradient(solution, g).weights))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_the_loss_does_not_see_has_the_gradient_zero():
    case = SideBySide()
    flow, fields = coupled(case, np.asarray, np.float64)
    gradient = flow.gradient(flow.solve(fields), [case.g[0], None, None])
    for s in (1, 2):
        assert not gradient.weights[s].any()
        assert not gradient.log_likelihoods[s].any()
        assert gradient.weights[s].shape == case.weights[s].shape
    assert gradient.weights[0].any()
    assert not gradient.couplings[1, 2].any()


def test_one_basis_is_kept_and_adjoints_are_tested_once():
    kept, calls = [], []

    class Watched(Taylor):
        def solve(self, flow, time, *, keep_basis=True):
            kept.append(keep_basis)
            return super().solve(flow, time, keep_basis=keep_basis)

    case = SideBySide()
    L, _ = shift(3)
    couplings = case.couplings() | {(0, 2): LinearMap(lambda v: calls.append(1) or L.apply(v), L.adjoint)}
    flow = CoupledFlow(case.weights, case.times, couplings, solver=Watched())
    solution = flow.solve(case.fields)
    assert kept == [False, False, True]
    assert len(calls) == 2
    flow.gradient(solution, case.g[2])
    assert kept == [False, False, True, True, True]
    flow.solve(case.fields)
    assert len(calls) == 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_coupling_is_learned_by_plain_descent(dtype):
    """Three colors make two classes: flow 0 finds the colors, C says which class each one belongs to."""
    rng = np.random.default_rng(0)
    colors = np.kron(rng.integers(0, 3, (4, 4)), np.ones((5, 5), int))
    truth = np.array([0, 1, 0])[colors]
    l = (2 * to_rows(np.eye(3)[colors]) + rng.standard_normal((20, 3, 20))).astype(dtype)
    weights, C, losses, wrong = uniform_weights((20, 20), dtype=np.dtype(dtype)), np.zeros((2, 3)), [], []
    for _ in range(25):
        flow = CoupledFlow([weights, weights], [2.0, 3.0], {(0, 1): LabelMap(C)})
        solution = flow.solve([l, None])
        loss, g = cross_entropy_loss(solution.v[1], truth)
        losses.append(loss)
        wrong.append(np.mean(solution.v[1].argmax(axis=-2) != truth))
        C = C - 0.5 * flow.gradient(solution, g).couplings[0, 1]
    assert losses[0] == pytest.approx(np.log(2), rel=1e-6)
    assert (np.diff(losses) < 0).all()
    assert losses[-1] < 0.6 * losses[0]
    assert wrong[-1] < 0.1 < wrong[0]
    assert (C.argmax(axis=0) == [0, 1, 0]).all()


W, L3 = uniform_weights(SHAPE, dtype=np.float64), data(3, 0)
EYE = LabelMap(np.eye(3))


@pytest.mark.parametrize(("apply", "adjoint", "said"), [
    (lambda v: 2 * v, lambda z: z, "⟨Lx, y⟩ is .* Check that apply is linear and adjoint its transposed"),
    (lambda v: np.roll(v, 1, axis=0), lambda z: np.roll(z, 1, axis=0), "⟨Lx, y⟩"),
    (lambda v: np.roll(v, 1, axis=0), lambda z: z, "⟨Lx, y⟩"),
    (lambda v: v + 1, lambda z: z, "⟨Lx, y⟩"),
    (lambda v: v * abs(v), lambda z: z, "⟨Lx, y⟩"),
    (lambda v: v * np.nan, lambda z: z, "⟨Lx, y⟩ is nan"),
    (lambda v: np.cumsum(v, axis=1), lambda z: np.cumsum(z, axis=1), "⟨Lx, y⟩"),
    (lambda v: v, lambda z: z[:, :2], r"adjoint of the coupling \(0, 1\) gives shape \(4, 2, 5\); accepted is \(4, 3"),
    (lambda v: v[1:], lambda z: z, r"the coupling \(0, 1\) gives shape \(3, 3, 5\); accepted is \(4, 3, 5\)"),
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_adjoint_is_refused(apply, adjoint, said, dtype):
    w, l = W.astype(dtype), L3.astype(dtype)
    with pytest.raises(ValueError, match=said):
        CoupledFlow([w, w], [1.0, 1.0], {(0, 1): LinearMap(apply, adjoint)}).solve([l, l])


def two(couplings):
    return CoupledFlow([W, W], [1.0, 1.0], couplings)


@pytest.mark.parametrize(("call", "kind", "said"), [
    (lambda: CoupledFlow([], [], {}), ValueError, "there are 0 weights and 0 times; accepted are as many"),
    (lambda: CoupledFlow([W], [1.0, 1.0], {}), ValueError, "there are 1 weights and 2 times"),
    (lambda: CoupledFlow([W], [-1.0], {}), ValueError, "time is -1"),
    (lambda: two({(1, 0): EYE}), ValueError, "from flow 1 to flow 0; accepted are .* with 0 ≤ r < s < 2. Number"),
    (lambda: two({(0, 0): EYE}), ValueError, "from flow 0 to flow 0"),
    (lambda: two({(0, 2): EYE}), ValueError, "from flow 0 to flow 2"),
    (lambda: two({(0, 1): np.eye(3)}), TypeError, r"coupling \(0, 1\) is a ndarray; accepted are LabelMap"),
    (lambda: LabelMap(np.ones(3)), ValueError, r"matrix has shape \(3,\); accepted is"),
    (lambda: LabelMap(np.full((2, 2), np.nan)), ValueError, "matrix holds values that are NaN"),
    (lambda: LabelMap([["a"]]), TypeError, "matrix has dtype <U1; accepted are real numbers"),
    (lambda: two({}).solve([L3]), ValueError, "there are 1 log-likelihoods and 2 flows; accepted are as many"),
    (lambda: two({}).solve([L3, None]), ValueError, "flow 1 has neither data nor a coupling. Give"),
    (lambda: two({}).solve([L3, L3[1:]]), ValueError, r"flow 1 has shape \(3, 3, 5\); accepted is \(4, J, 5\)"),
    (lambda: two({(0, 1): LabelMap(np.ones((3, 2)))}).solve([L3, L3]), ValueError, r"\(3, 2\), and flow 0 has 3 labe"),
    (lambda: two({(0, 1): LabelMap(np.ones((2, 3)))}).solve([L3, L3]), ValueError, r"gives shape \(4, 2, 5\); accept"),
    (lambda: two({}).gradient(two({}).solve([L3, L3]), [L3]), ValueError, "there are 1 derivatives and 2 flows"),
    (lambda: two({}).gradient(two({}).solve([L3, L3]), L3[:, :2]), ValueError, r"flow 1 has shape \(4, 2, 5\); a"),
    (lambda: two({(0, 1): EYE}).gradient(two({}).solve([L3, L3]), [L3[:, :1], L3]), ValueError, r"flow 0 .*\(4, 1, "),
])  # fmt: skip
def test_what_cannot_be_coupled_is_refused(call, kind, said):
    with pytest.raises(kind, match=said):
        call()
