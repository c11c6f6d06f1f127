"""φ-functions of small matrices and the Arnoldi iteration."""

import numpy as np
import pytest
from array_api_compat import array_namespace
from oracles import relative, tol
from scipy.integrate import quad_vec
from scipy.linalg import expm

from gpulaf.backend.array import host_array
from gpulaf.integrators.krylov_space import arnoldi
from gpulaf.integrators.phi import coupled_integral, phi_columns


@pytest.mark.parametrize("t", [0.3, 3.0])
def test_phi_columns_against_the_inverse(t):
    rng = np.random.default_rng(0)
    H = rng.standard_normal((6, 6))
    inverse = np.linalg.inv(H)
    phi1 = inverse @ (expm(t * H) - np.eye(6))
    phi2 = inverse @ (phi1 - t * np.eye(6))
    first, second = phi_columns(H, t)
    assert relative(first, phi1[:, 0]) < 1e-12
    assert relative(second, phi2[:, 0]) < 1e-11


def test_phi_of_zero():
    first, second = phi_columns(np.zeros((3, 3)), 2.0)
    np.testing.assert_allclose(first, [2, 0, 0])
    np.testing.assert_allclose(second, [2, 0, 0])


def test_coupled_integral_against_quadrature():
    rng = np.random.default_rng(1)
    H_g, H_b, T = rng.standard_normal((4, 4)) / 2, rng.standard_normal((3, 3)) / 2, 2.5

    def integrand(s):
        v = np.append(1.7 * phi_columns(H_b, s)[0], 1.0)
        return np.outer(expm((T - s) * H_g)[:, 0] * 0.6, v)

    expected = quad_vec(integrand, 0, T, epsabs=1e-12, epsrel=1e-12)[0]
    assert relative(coupled_integral(H_g, H_b, 0.6, 1.7, T), expected) < 1e-11


@pytest.mark.parametrize("m", [1, 7, 16])
def test_arnoldi_relation(xp, dtype, m):
    rng = np.random.default_rng(0)
    A = (rng.standard_normal((30, 30)) / 6).astype(dtype)
    b = rng.standard_normal((5, 6)).astype(dtype)
    device_A = xp(A)

    def apply(x):
        library = array_namespace(x)
        return library.reshape(library.matmul(device_A, library.reshape(x, (30,))), (5, 6))

    space = arnoldi(apply, xp(b), m)
    Q = np.asarray(host_array(space.basis), np.float64).reshape(m, 30)
    assert np.abs(Q @ Q.T - np.eye(m)).max() < tol(dtype)
    assert relative(Q @ A @ Q.T, space.hessenberg) < tol(dtype)
    rest = Q @ A.T - space.hessenberg.T @ Q
    assert abs(np.linalg.norm(rest[-1]) - space.residual) < tol(dtype)
    assert np.abs(rest[:-1]).max(initial=0) < tol(dtype)
    assert space.norm == pytest.approx(np.linalg.norm(b), rel=1e-5)


def test_arnoldi_ends_where_the_space_is_invariant(dtype):
    A = np.diag([1.0, 1, 2, 2, 3, 3]).astype(dtype)
    space = arnoldi(lambda x: A @ x, np.ones(6, dtype), 6)
    assert space.basis.shape == (3, 6)
    assert space.residual == 0
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(space.hessenberg).real), [1, 2, 3], rtol=1e-4)


def test_arnoldi_of_zero_and_more_dimensions_than_unknowns(dtype):
    assert len(arnoldi(lambda x: x, np.zeros(4, dtype), 3).hessenberg) == 0
    rng = np.random.default_rng(0)
    A = rng.standard_normal((4, 4)).astype(dtype)
    space = arnoldi(lambda x: A @ x, rng.standard_normal(4).astype(dtype), 50)
    assert space.basis.shape == (4, 4)
    assert space.residual == 0


def test_arnoldi_keeps_orthogonality_when_products_hardly_leave_the_space(dtype):
    A = (np.eye(40) + 1e-3 * np.diag(np.arange(40.0))).astype(dtype)
    space = arnoldi(lambda x: A @ x, np.ones(40, dtype), 4)
    Q = np.asarray(space.basis, np.float64)
    assert np.abs(Q @ Q.T - np.eye(len(Q))).max() < tol(dtype)


def test_arnoldi_asks_when_to_stop():
    A = np.random.default_rng(0).standard_normal((20, 20))
    space = arnoldi(lambda x: A @ x, np.ones(20), 15, stop=lambda H, h, beta: len(H) == 5)
    assert space.basis.shape == (5, 20)
