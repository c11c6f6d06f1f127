"""The geometry of the simplex, by identities."""

import numpy as np
from oracles import relative, tol

from gpulaf.backend.array import host_array
from gpulaf.fields import to_rows
from gpulaf.simplex import entropy, geodesic_step, lift, project, replicator, softmax


def points(dtype, seed=0):
    rng = np.random.default_rng(seed)
    p = to_rows(rng.dirichlet(np.ones(5), size=(3, 4)))
    return p.astype(dtype), rng.standard_normal((3, 5, 4)).astype(dtype)


def test_projection_is_idempotent_and_kills_constants(xp, dtype):
    _, x = points(dtype)
    once = project(xp(x))
    assert relative(project(once), once) < tol(dtype)
    assert np.abs(host_array(once).sum(axis=-2)).max() < tol(dtype)
    assert relative(project(xp(x + dtype.type(3))), once) < tol(dtype)


def test_replicator_is_the_covariance_matrix(xp, dtype):
    p, x = points(dtype)
    found = host_array(replicator(xp(p), xp(x)))
    at = (1, slice(None), 2)
    covariance = np.diag(p[at]) - np.outer(p[at], p[at])
    np.testing.assert_allclose(found[at], covariance @ x[at], atol=tol(dtype))
    assert np.abs(found.sum(axis=-2)).max() < tol(dtype)


def test_lift_is_a_softmax_and_its_derivative_is_the_replicator(xp):
    p, x = points(np.dtype("float64"))
    expected = p * np.exp(x) / (p * np.exp(x)).sum(axis=-2, keepdims=True)
    assert relative(lift(xp(p), xp(x)), expected) < 1e-14
    h = 1e-6
    slope = (host_array(lift(xp(p), xp(h * x))) - host_array(lift(xp(p), xp(-h * x)))) / (2 * h)
    assert relative(slope, host_array(replicator(xp(p), xp(x)))) < 1e-8


def test_softmax_of_large_numbers(xp, dtype):
    x = np.array([[[1e4], [1e4 - 1], [-1e4]]], dtype)
    found = host_array(softmax(xp(x)))[0, :, 0]
    np.testing.assert_allclose(found, [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0], rtol=1e-5)


def test_entropy(xp, dtype):
    p = np.stack([np.eye(4)[0], np.full(4, 0.25), [0.5, 0.5, 0, 0]], axis=1).astype(dtype)
    np.testing.assert_allclose(host_array(entropy(xp(p))), [0, np.log(4), np.log(2)], atol=1e-6)


def test_geodesic_step_follows_the_geodesic_for_small_steps(xp, dtype):
    p, x = points(dtype)
    expected = p * np.exp(0.1 * x) / (p * np.exp(0.1 * x)).sum(axis=-2, keepdims=True)
    assert relative(geodesic_step(xp(p), xp(dtype.type(0.1) * x)), expected) < tol(dtype)


def test_geodesic_step_stays_in_the_open_simplex_for_any_step(xp, dtype):
    p, x = points(dtype)
    p[0, 0, :] = 0  # a face of the simplex
    p /= p.sum(axis=-2, keepdims=True)
    for size in (1e3, 1e30):
        q = xp(p)
        for _ in range(40):
            q = geodesic_step(q, xp((size * x).astype(dtype)))
        q = host_array(q)
        assert np.isfinite(q).all()
        assert (q[0, 0, :] == 0).all()
        assert (q[p > 0] >= 0.9e-10).all()
        np.testing.assert_allclose(q.sum(axis=-2), 1, rtol=1e-5)
