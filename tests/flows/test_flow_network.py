"""Networks of flows and their gradients against dense matrices and central differences."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from oracles import dense_average, dense_flow, dense_solution, flat, random_problem, relative, tol, unflat
from scipy import sparse
from scipy.linalg import expm

from gpulaf import Euler, Graph, Grid, Krylov, Taylor, cross_entropy_loss, uniform_weights
from gpulaf.averaging import normalize_weights
from gpulaf.backend.array import host_array
from gpulaf.fields import field_shape, to_rows
from gpulaf.flows import FlowNetwork, weight_gradient

SHAPE, N = (2, 3), 6
FINE = Taylor(tol=1e-13)


def data(labels, seed):
    return 2 * np.random.default_rng(seed).standard_normal(field_shape(SHAPE, labels))


def patches(seed, radius=1):
    return normalize_weights(np.random.default_rng(seed).random(field_shape(SHAPE, (2 * radius + 1) ** 2)))


def projection(count):
    return np.eye(count) - 1 / count


class Case:
    """Three flows of 3, 2 and 4 labels and their matrices."""

    def __init__(self, edges, mixed=(), order=(0, 0, 0), seed=0):
        rng = np.random.default_rng(seed)
        self.labels, self.order = (3, 2, 4), order
        self.times = [1.5, 2.0, 0.7]
        self.weights = [patches(1), patches(2, radius=2), patches(3)]
        self.fields = [data(J, 4 + s) for s, J in enumerate(self.labels)]
        self.couplings = {(r, s): rng.standard_normal((self.labels[s], self.labels[r])) for r, s in edges}
        self.mixing = {(r, s): rng.standard_normal((self.labels[s], self.labels[r])) for r, s in mixed}
        self.g = [rng.standard_normal(x.shape) for x in self.fields]

    def network(self, xp, dtype, solver=FINE):
        weights, fields = ([xp(x.astype(dtype)) for x in part] for part in (self.weights, self.fields))
        options = {"mixing": self.mixing, "order": self.order, "solver": solver}
        return FlowNetwork(weights, self.times, self.couplings, **options), fields

    def dense(self, **changed):
        """v_s by one matrix exponential for every number of the order, and for nothing else."""
        parts = {name: changed.get(name, getattr(self, name)) for name in ("weights", "fields", "couplings", "mixing")}
        sizes, problem = [J * N for J in self.labels], random_problem()
        ends = np.cumsum([0, *sizes])
        place = [slice(a, b) for a, b in pairwise(ends)]
        A, B, own = np.zeros((ends[-1],) * 2), np.zeros(ends[-1]), []
        for s, (w, l) in enumerate(zip(parts["weights"], parts["fields"], strict=True)):
            _, A_s, B[place[s]] = dense_flow(type(problem)(w, l, problem.g, problem.truth))
            own.append(A_s)
        for s, J in enumerate(self.labels):
            for r, K in enumerate(self.labels):
                C = parts["mixing"].get((r, s), np.eye(J) if r == s else np.zeros((J, K)))
                L = projection(J) @ parts["couplings"].get((r, s), np.zeros((J, K))) @ projection(K)
                # R_S Ω acts on one field; Ω ⊗ C on the labels of r first
                A[place[s], place[r]] = own[s] @ np.kron(C, np.eye(N)) + np.kron(L, np.eye(N))
        v = np.zeros(ends[-1])
        for now in sorted(set(self.order)):
            rates = np.repeat([T * (o == now) for T, o in zip(self.times, self.order, strict=True)], sizes)
            bordered = np.zeros((ends[-1] + 1,) * 2)
            bordered[:-1, :-1], bordered[:-1, -1] = rates[:, None] * A, rates * B
            v = (expm(bordered) @ np.append(v, 1))[:-1]
        return [unflat(v[part], like=field) for part, field in zip(place, self.fields, strict=True)]

    def loss(self, **changed):
        return sum(float((g * x).sum()) for g, x in zip(self.g, self.dense(**changed), strict=True))


CASES = {
    "parallel": Case([(0, 1), (0, 2), (1, 2)]),
    "feedback": Case([(0, 1), (1, 0), (2, 1), (1, 2), (1, 1)]),
    "sequence": Case([(0, 1), (1, 2), (0, 2)], order=(0, 1, 2)),
    "pair, then one": Case([(0, 1), (1, 0), (1, 2), (2, 2)], mixed=[(0, 2), (1, 0), (2, 2)], order=(0, 0, 1)),
    "mixing": Case([], mixed=[(0, 0), (1, 1), (0, 1), (1, 0)]),
    "mixing in sequence": Case([], mixed=[(2, 2), (2, 0), (0, 1), (2, 1)], order=(1, 2, 0)),
}
case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@case
def test_forward_against_one_matrix_exponential(xp, dtype, case):
    network, fields = case.network(xp, dtype)
    for one, other in zip(network.solve(fields).v, case.dense(), strict=True):
        assert relative(one, other) < max(1e-12, 4 * tol(dtype))
        assert host_array(one).dtype == dtype


@pytest.mark.parametrize(("solver", "accuracy"), [(Krylov(tol=1e-10), 1e-8), (Euler(2000), 1e-2)], ids=str)
def test_other_integrators(solver, accuracy):
    case = CASES["pair, then one"]
    network, fields = case.network(np.asarray, np.float64, solver)
    for one, other in zip(network.solve(fields).v, case.dense(), strict=True):
        assert relative(one, other) < accuracy


def central(function, x, direction, h=1e-4):
    """Fourth order."""
    near, far = (function(x + d * direction) - function(x - d * direction) for d in (h, 2 * h))
    return (8 * near - far) / (12 * h)


@cache
def slopes(name):
    """Of the loss of a case, by the name of the part and its place: a direction and the central difference along it."""
    case, rng, found = CASES[name], np.random.default_rng(0), {}
    for part in ("weights", "fields", "couplings", "mixing"):
        values = getattr(case, part)
        for key, x in values.items() if isinstance(values, dict) else enumerate(values):

            def loss(x, part=part, key=key, values=values):
                new = values | {key: x} if isinstance(values, dict) else [*values[:key], x, *values[key + 1 :]]
                return case.loss(**{part: new})

            direction = rng.standard_normal(x.shape) * (x != 0)
            found[part, key] = direction, central(loss, x, direction)
    return found


@pytest.mark.parametrize("name", CASES)
def test_gradients_against_central_differences(xp, dtype, name):
    case, accuracy = CASES[name], {"rel": max(1e-8, 40 * tol(dtype)), "abs": 4 * tol(dtype)}
    network, fields = case.network(xp, dtype)
    gradient = network.gradient(network.solve(fields), [xp(g.astype(dtype)) for g in case.g])
    parts = {"weights": gradient.weights, "fields": gradient.log_likelihoods}
    parts |= {"couplings": gradient.couplings, "mixing": gradient.mixing}
    assert sum(map(len, parts.values())) == len(slopes(name))
    for (part, key), (direction, slope) in slopes(name).items():
        along = float((np.asarray(host_array(parts[part][key]), float) * direction).sum())
        assert along == pytest.approx(slope, **accuracy), (part, key)


def test_the_gradient_is_that_of_the_truncated_series():
    """Degree 3: far from the exponential, and exact for what was computed."""
    case = CASES["pair, then one"]
    network, fields = case.network(np.asarray, np.float64, Taylor(3))
    gradient = network.gradient(network.solve(fields), case.g)
    for edge in case.couplings:
        direction = np.random.default_rng(1).standard_normal(case.couplings[edge].shape)

        def loss(x, edge=edge):
            other = FlowNetwork(
                case.weights, case.times, case.couplings | {edge: x},
                mixing=case.mixing, order=case.order, solver=Taylor(3),
            )  # fmt: skip
            return sum(float((g * v).sum()) for g, v in zip(case.g, other.solve(fields).v, strict=True))

        slope = central(loss, case.couplings[edge], direction)
        assert float((gradient.couplings[edge] * direction).sum()) == pytest.approx(slope, rel=1e-9, abs=1e-9)


def test_one_flow_is_the_flow_alone(xp, dtype):
    problem = random_problem(seed=3)
    flow, time, solver = problem.flow(xp, dtype), 2.0, Taylor(tol=1e-8)
    network = FlowNetwork([flow.averaging], time, {}, solver=solver)
    found, expected = network.solve([flow.log_likelihood]), solver.solve(flow, time)
    assert relative(found.v[0], expected.v) < tol(dtype)
    assert found.systems[0][0].time == time
    assert found.systems[0][1].error == pytest.approx(expected.error, rel=1e-5)
    g = xp(problem.g.astype(dtype))
    one, other = network.gradient(found, g), weight_gradient(flow, expected, g)
    assert relative(one.weights[0], other.weights) < tol(dtype)
    assert relative(one.log_likelihoods[0], other.log_likelihood) < tol(dtype)


def test_composition_is_two_solutions_in_succession(xp, dtype):
    """(5.2): v₁ = T₁ φ(T₁A₁)(B₁ + L v₀), v₀ = T₀ φ(T₀A₀) B₀."""
    case = CASES["sequence"]
    L = case.couplings[0, 1]
    w, l = ([xp(x.astype(dtype)) for x in part[:2]] for part in (case.weights, case.fields))
    v0 = dense_solution(type(random_problem())(case.weights[0], case.fields[0], None, None), 1.5)
    _, A, B = dense_flow(type(random_problem())(case.weights[1], case.fields[1], None, None))
    bordered = np.zeros((len(B) + 1,) * 2)
    bordered[:-1, :-1], bordered[:-1, -1] = 2 * A, 2 * (B + np.kron(projection(2) @ L, np.eye(N)) @ flat(v0))
    found = FlowNetwork(w, [1.5, 2.0], {(0, 1): L}, order=(0, 1), solver=FINE).solve(l).v[1]
    assert relative(found, unflat(expm(bordered)[:-1, -1], like=case.fields[1])) < max(1e-12, 4 * tol(dtype))


@pytest.mark.parametrize("order", [(0, 1), (0, 0)])
def test_superposition_to_rounding(xp, dtype, order):
    """What flow 0 adds to flow 1 is linear in the coupling: the response to L + 2M is that to L and twice that to M."""
    case, rng = CASES["sequence"], np.random.default_rng(3)
    w, l = ([xp(x.astype(dtype)) for x in part[:2]] for part in (case.weights, case.fields))
    L, M = rng.standard_normal((2, 2, 3))

    def v(matrix):
        found = FlowNetwork(w, [1.5, 2.0], {(0, 1): matrix}, order=order, solver=Taylor(30)).solve(l)
        return np.asarray(host_array(found.v[1]), float)

    alone = v(np.zeros((2, 3)))
    assert relative(v(L + 2 * M) - alone, v(L) - alone + 2 * (v(M) - alone)) < tol(dtype)


def test_the_norm_is_bounded_by_that_of_the_parts():
    """‖𝒜‖_∞ ≤ max_s T_s (‖C_s·‖_∞/2 + Σ_r ‖L_sr‖_∞), and κ leaves at most 1/2."""
    for case in CASES.values():
        network, fields = case.network(np.asarray, np.float64)
        for system, solution in network.solve(fields).systems:
            columns = [system.A(unflat(e, like=system.B)) for e in np.eye(system.B.size)]
            norm = abs(np.stack([flat(x) for x in columns], axis=1)).sum(axis=1).max()
            assert norm <= system.alpha * (1 + 1e-12) <= 0.5 * (1 + 1e-12)
            assert solution.converged


def test_adjoint():
    for case in CASES.values():
        network, fields = case.network(np.asarray, np.float64)
        for system, _ in network.solve(fields).systems:
            x, y = np.random.default_rng(0).standard_normal((2, *system.B.shape))
            assert float((system.A(x) * y).sum()) == pytest.approx(float((x * system.At(y)).sum()), rel=1e-12)


def test_tiles_have_the_bits_of_the_whole(dtype):
    """v at a pixel depends on pixels within degree · radius, and no number of the whole image enters."""
    rng, solver = np.random.default_rng(0), Taylor(3, substeps=2)
    weights = normalize_weights(rng.random((4, 9, 40))).astype(dtype)
    l = rng.standard_normal((4, 3, 40)).astype(dtype)
    L, M = rng.standard_normal((2, 3, 3))

    def v(part):
        fields = [np.ascontiguousarray(l[..., part])] * 2
        couplings = {(0, 1): L, (1, 0): M}
        network = FlowNetwork(
            [normalize_weights(weights[..., part])] * 2, 1.0, couplings, mixing={(1, 1): M}, solver=solver
        )  # fmt: skip
        solution = network.solve(fields)
        return solution.v, solver.reach(solution.systems[0][0].time)

    (whole, halo), (tile, _) = v(slice(0, 40)), v(slice(10, 32))
    assert halo == 6
    for one, other in zip(tile, whole, strict=True):
        np.testing.assert_array_equal(one[..., halo:-halo], other[..., 10 + halo : 32 - halo])


def test_batches_and_graphs(dtype):
    rng, case = np.random.default_rng(0), CASES["feedback"]
    L, M = rng.standard_normal((2, 3, 3))
    w, l = case.weights[0].astype(dtype), rng.standard_normal((2, 2, 3, 3)).astype(dtype)
    g = rng.standard_normal(l.shape).astype(dtype)

    def solve(weights, l, g):
        network = FlowNetwork([weights] * 2, 1.0, {(0, 1): L, (1, 0): M}, mixing={(0, 0): M})
        solution = network.solve([l, None])
        return solution.v, network.gradient(solution, g)

    (v, both), alone = solve(w, l, g), [solve(w, *x) for x in zip(l, g, strict=True)]
    for s in range(2):
        assert relative(v[s], np.stack([x[s] for x, _ in alone])) < tol(dtype)
        assert relative(both.weights[s], np.stack([x.weights[s] for _, x in alone])) < tol(dtype)
        assert relative(both.log_likelihoods[s], np.stack([x.log_likelihoods[s] for _, x in alone])) < tol(dtype)
    for edge in both.couplings:
        assert relative(both.couplings[edge], sum(x.couplings[edge] for _, x in alone)) < tol(dtype)
    graph = Graph(sparse.csr_array(dense_average(case.weights[0]).astype(dtype)))
    x, y = (flat(z[0]).reshape(3, N) for z in (l, g))
    nodes, gradient = solve(graph, x, y)
    for s in range(2):
        assert relative(nodes[s], flat(alone[0][0][s]).reshape(3, N)) < tol(dtype)
        assert relative(gradient.log_likelihoods[s], flat(alone[0][1].log_likelihoods[s]).reshape(3, N)) < tol(dtype)


def test_a_coupling_is_learned_by_plain_descent(dtype):
    """Three colors make two classes: flow 0 finds the colors, L says which class each one belongs to."""
    rng = np.random.default_rng(0)
    colors = np.kron(rng.integers(0, 3, (4, 4)), np.ones((5, 5), int))
    truth = np.array([0, 1, 0])[colors]
    l = (2 * to_rows(np.eye(3)[colors]) + rng.standard_normal((20, 3, 20))).astype(dtype)
    weights, L, losses, wrong = uniform_weights((20, 20), dtype=dtype), np.zeros((2, 3)), [], []
    for _ in range(15):
        network = FlowNetwork([weights, weights], [2.0, 3.0], {(0, 1): L}, order=(0, 1))
        solution = network.solve([l, None])
        loss, g = cross_entropy_loss(solution.v[1], truth)
        losses.append(loss)
        wrong.append(np.mean(solution.v[1].argmax(axis=-2) != truth))
        L = L - 0.5 * network.gradient(solution, g).couplings[0, 1]
    assert losses[0] == pytest.approx(np.log(2), rel=1e-6)
    assert losses[-1] < 0.6 * losses[0]
    assert wrong[-1] < 0.1 < wrong[0]
    assert (L.argmax(axis=0) == [0, 1, 0]).all()


def test_labels_that_never_stand_beside_themselves():
    """A noisy checkerboard: a flow of single pixels hears one of what their four neighbors say; C and L are learned."""
    rng, truth = np.random.default_rng(0), np.indices((12, 12)).sum(axis=0) % 2
    patches = np.zeros((2, 12, 9, 12))
    patches[0, :, 4], patches[1][:, [1, 3, 5, 7]] = 1, 1
    weights = [normalize_weights(x * (uniform_weights((12, 12)) > 0)) for x in patches]
    first, second = (to_rows(np.eye(2)[truth] + rng.standard_normal((12, 12, 2))) for _ in range(2))

    def wrong(network, l):
        return float(np.mean(network.solve([l, None][: len(network.times)]).v[0].argmax(axis=-2) != truth))

    def network(C, L):
        return FlowNetwork(weights, 3.0, {(1, 0): L}, mixing={(0, 1): C})

    C, L = 0.1 * rng.standard_normal((2, 2, 2))
    for _ in range(30):
        solution = network(C, L).solve([first, None])
        found = network(C, L).gradient(solution, [cross_entropy_loss(solution.v[0], truth).derivative, None])
        C, L = C - 2 * found.mixing[0, 1], L - 2 * found.couplings[1, 0]
    alone = [FlowNetwork([w], 3.0, {}) for w in (weights[0], uniform_weights((12, 12), dtype=np.float64))]
    assert min(wrong(x, second) for x in alone) > 0.2
    assert wrong(network(C, L), second) < 0.1


W, L3, EYE = uniform_weights(SHAPE, dtype=np.float64), data(3, 0), np.eye(3)


def two(couplings, **options):
    return FlowNetwork([W, W], [1.0, 1.0], couplings, **options)


@pytest.mark.parametrize(("call", "kind", "said"), [
    (lambda: FlowNetwork([], [], {}), ValueError, "there are 0 weights, 0 times and 0 numbers in order; accepted are"),
    (lambda: FlowNetwork([W], [1.0, 1.0], {}), ValueError, "there are 1 weights, 2 times"),
    (lambda: FlowNetwork([W], [-1.0], {}), ValueError, "time is -1"),
    (lambda: two({}, solver=3), TypeError, "solver is 3; accepted are Taylor"),
    (lambda: two({}, order=(0,)), ValueError, "1 numbers in order"),
    (lambda: two({(1, 0): EYE}, order=(0, 1)), ValueError, "from flow 1 to flow 0, which is over by then; .* feedback"),
    (lambda: two({(0, 2): EYE}), ValueError, "from flow 0 to flow 2; accepted are flows 0 to 1"),
    (lambda: two({(0, 1): np.ones(3)}), ValueError, r"\(0, 1\) has shape \(3,\) and dtype float64; accepted"),
    (lambda: two({}, mixing={(0, 0): np.full((3, 3), np.nan)}), ValueError, "accepted is .* finite real numbers"),
    (lambda: two({(0, 1): [["a"]]}), ValueError, "dtype <U1"),
    (lambda: two({}).solve([L3]), ValueError, "there are 1 log-likelihoods and 2 flows; accepted are as many"),
    (lambda: two({}).solve([L3, None]), ValueError, "flow 1 has neither data nor a coupling. Give"),
    (lambda: two({(0, 1): EYE}).solve([None, None]), ValueError, "flow 0 has neither data"),
    (lambda: two({}).solve([L3, L3[1:]]), ValueError, r"flow 1 has shape \(1, 3, 3\); accepted is \(2, J, 3\)"),
    (lambda: FlowNetwork([W, Grid(W[:1])], 1.0, {}).solve([L3, L3[:1]]), ValueError, "the same for all flows"),
    (lambda: two({(0, 1): np.ones((3, 2))}).solve([L3, L3]), ValueError, r"\(3, 2\); accepted is \(3, 3\), a row"),
    (lambda: two({}).gradient(two({}).solve([L3, L3]), [L3]), ValueError, "there are 1 derivatives and 2 flows"),
    (lambda: two({}).gradient(two({}).solve([L3, L3]), L3[:, :2]), ValueError, r"g of flow 1 has shape \(2, 2, 3\); a"),
])  # fmt: skip
def test_what_is_no_network_is_refused(call, kind, said):
    with pytest.raises(kind, match=said):
        call()
