"""Krylov spaces from powers and their Gram matrix, against dense linear algebra and Arnoldi iteration."""

import numpy as np
import pytest
from oracles import dense_flow, flat, random_problem, relative, tol

from gpulaf import Krylov, Taylor
from gpulaf.backend.array import host_array
from gpulaf.integrators import krylov
from gpulaf.integrators.krylov_space import arnoldi, powers


def extension(flow):
    return lambda x, out: flow.chain(x, None, np.zeros(out.shape[0]), out=out)


@pytest.mark.parametrize("m", [1, 4, 7])
def test_the_space_is_that_of_the_dense_matrix(xp, dtype, m):
    problem = random_problem(3, 6, 7)
    flow, (_, A, B) = problem.flow(xp, dtype), dense_flow(problem)
    space = powers(extension(flow), flow.B, m)
    F = np.stack([flat(x) for x in host_array(space.basis)], axis=1).astype(float)
    Q = F @ space.coordinates
    loss = 1 / np.abs(np.diag(np.linalg.inv(space.coordinates))).min()  # digits that the powers share
    accuracy = tol(dtype) * max(1.0, loss)
    assert np.abs(Q.T @ Q - np.eye(m)).max() < accuracy
    assert np.abs(Q.T @ A @ Q - space.hessenberg).max() < accuracy
    residue = A @ Q - Q @ space.hessenberg
    assert np.abs(residue[:, :-1]).max(initial=0) < accuracy
    assert np.linalg.norm(residue[:, -1]) == pytest.approx(space.residual, rel=accuracy)
    assert space.norm == pytest.approx(np.linalg.norm(B), rel=tol(dtype))


def test_the_same_numbers_as_arnoldi_iteration(xp, dtype):
    flow = random_problem(4, 8, 9).flow(xp, dtype)
    one, other = powers(extension(flow), flow.B, 6), arnoldi(flow.A, flow.B, 6)
    np.testing.assert_allclose(one.hessenberg, other.hessenberg, atol=20 * tol(dtype))
    assert one.residual == pytest.approx(other.residual, rel=100 * tol(dtype))


def test_the_smallest_accepted_dimension_is_taken(xp, dtype):
    flow, asked = random_problem(4, 8, 9).flow(xp, dtype), []

    def stop(hessenberg, residual, norm):
        asked.append(len(hessenberg))
        return len(hessenberg) == 5

    space = powers(extension(flow), flow.B, 6, stop=stop)
    assert asked == [1, 2, 3, 4, 5]
    assert len(space.hessenberg) == 5
    assert space.basis.shape[0] == 5
    whole = powers(extension(flow), flow.B, 5)
    np.testing.assert_allclose(space.hessenberg, whole.hessenberg, atol=20 * tol(dtype))
    assert powers(extension(flow), flow.B, 4, stop=lambda *_: False) is None


def test_powers_that_are_alike_are_refused_and_arnoldi_takes_over(xp, dtype):
    flow = random_problem(2, 1, 2).flow(xp, dtype)  # four unknowns: no space of dimension 9
    assert powers(extension(flow), flow.B, 9) is None
    solution = Krylov(9).solve(flow, 2.0)
    assert solution.basis.coordinates is None
    assert relative(solution.v, Taylor(tol=1e-15).solve(flow, 2.0).v) < tol(dtype)
    assert powers(extension(flow), flow.B * 0, 3) is None


@pytest.mark.parametrize("time", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_krylov_with_and_without_orthogonalization_agree(xp, dtype, time, tolerance, monkeypatch):
    flow = random_problem(3, 9, 8).flow(xp, dtype)
    fast = Krylov(tol=tolerance).solve(flow, time)
    assert fast.basis.coordinates is not None
    monkeypatch.setattr(krylov, "MOST", 0)
    slow = Krylov(tol=tolerance).solve(flow, time)
    assert slow.basis.coordinates is None
    assert abs(len(fast.basis.hessenberg) - len(slow.basis.hessenberg)) <= (dtype == np.float32)
    exact = Taylor(tol=1e-14).solve(random_problem(3, 9, 8).flow(), time).v
    for solution in (fast, slow):
        assert relative(solution.v, exact) < max(2 * tolerance, tol(dtype))
