"""Networks of flows and their gradients against dense matrices and central differences."""

from functools import cache

import numpy as np
import pytest
from oracles import dense_average, dense_flow, dense_solution, flat, random_problem, relative, tol, unflat
from scipy import sparse
from scipy.linalg import expm

from gpulaf import Euler, Graph, Grid, Krylov, Taylor, cross_entropy_loss, uniform_weights
from gpulaf.averaging import normalize_weights
from gpulaf.backend.array import host_array
from gpulaf.fields import field_shape, to_rows
from gpulaf.flows import FlowNetwork, LinearFlow, weight_gradient

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
        place = [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
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
            rates = np.concatenate([np.full(n, T * (o == now)) for n, T, o in zip(sizes, self.times, self.order)])
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
