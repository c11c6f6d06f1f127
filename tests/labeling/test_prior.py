"""Flows that start at W₀: against the exponential in the coordinates V of the paper, and SciPy on the simplex."""

import warnings

import numpy as np
import pytest
from oracles import dense_average, dense_remaining, relative, tol
from scipy.integrate import solve_ivp
from scipy.linalg import block_diag, expm
from scipy.sparse import csr_array

import gpulaf
from gpulaf import DormandPrince, Graph, Labeler, label
from gpulaf.averaging import BilateralWeights, normalize_weights
from gpulaf.backend.array import host_array
from gpulaf.io import write_array

RNG = np.random.default_rng(0)
SHAPE, J, RHO, TIME = (4, 5), 3, 0.4, 2.0
IMAGE, COLORS = RNG.random((*SHAPE, 3)), RNG.random((J, 3))
WEIGHTS = normalize_weights(RNG.random((4, 9, 5)) ** 2)
EVERY, LABELS = RNG.dirichlet(np.ones(J), SHAPE) * 0.9 + 0.1 / J, np.array([0.1, 0.6, 0.3])
PRIORS = pytest.mark.parametrize("prior", [LABELS, EVERY], ids=["labels", "pixels"])


def rows(prior):
    """W₀ and D of every pixel, (n, J)."""
    D = np.linalg.norm(IMAGE[:, :, None] - COLORS, axis=-1).reshape(-1, J)
    return np.broadcast_to(prior, (*SHAPE, J)).reshape(-1, J), D


def replicator(p):
    return np.diag(p) - np.outer(p, p)


def similarity(W, D, omega):
    """S(W) of (2.17), by exponential maps on the simplex pixel by pixel."""
    L = W * np.exp(-D / RHO)
    L /= L.sum(axis=1, keepdims=True)
    S = np.empty_like(W)
    for i, p in enumerate(W):
        V = sum(omega[i, k] * replicator(p) @ np.log(L[k] / p) for k in range(len(W)))
        S[i] = p * np.exp(V / p)
    return S / S.sum(axis=1, keepdims=True)


def dense_start(prior, omega):
    """W(T) of V' = R_{W₀}(S + R_S Ω(V/W₀)), V(0) = 0, W = Exp_{W₀}(V): (2.20)–(2.24) with V as the paper has it."""
    W, D = rows(prior)
    S = similarity(W, D, omega)
    outer, inner = (block_diag(*map(replicator, p)) for p in (W, S))
    A = outer @ inner @ np.kron(omega, np.eye(J)) @ np.diag(1 / W.ravel())
    B = outer @ S.ravel()
    bordered = np.zeros((len(B) + 1,) * 2)
    bordered[:-1, :-1], bordered[:-1, -1] = TIME * A, TIME * B
    W = W * np.exp(expm(bordered)[:-1, -1].reshape(-1, J) / W)
    return (W / W.sum(axis=1, keepdims=True)).reshape(*SHAPE, J)


@PRIORS
def test_the_flow_starts_there(xp, dtype, prior):
    expected = dense_start(prior, dense_average(WEIGHTS))
    weights, image, start = (xp(x.astype(dtype)) for x in (WEIGHTS, IMAGE, prior))
    found = label(image, COLORS, weights=weights, rho=RHO, time=TIME, solver=gpulaf.Taylor(tol=1e-13), prior=start)
    assert relative(found.probabilities, expected) < tol(dtype)
    assert host_array(found.probabilities).dtype == dtype
    np.testing.assert_array_equal(host_array(found.labels), expected.argmax(axis=-1))


@PRIORS
def test_so_does_the_nonlinear_flow(prior):
    W, D = rows(prior)
    omega = dense_average(WEIGHTS)

    def rate(_, w):
        W = w.reshape(-1, J)
        S = similarity(W, D, omega)
        return (W * (S - (W * S).sum(axis=1, keepdims=True))).ravel()

    expected = solve_ivp(rate, (0, TIME), W.ravel(), rtol=1e-9, atol=1e-10).y[:, -1].reshape(*SHAPE, J)
    found = label(IMAGE, COLORS, weights=WEIGHTS, rho=RHO, time=TIME, solver=DormandPrince(1e-10), prior=prior)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-7)
    end = label(IMAGE, COLORS, weights=WEIGHTS, rho=RHO, solver=DormandPrince(), prior=prior)
    W = end.probabilities
    assert end.converged
    assert -(W * np.log(W)).sum(axis=-1).mean() / np.log(J) < 1e-3


@PRIORS
def test_on_a_graph(prior):
    omega = dense_average(WEIGHTS)
    pixels, start = IMAGE.reshape(-1, 3), prior.reshape(-1, J) if prior.ndim > 1 else prior
    options = {"rho": RHO, "time": TIME, "solver": gpulaf.Taylor(tol=1e-13)}
    found = label(pixels, COLORS, weights=Graph(csr_array(omega)), prior=start, **options)
    assert relative(found.probabilities, dense_start(prior, omega).reshape(-1, J)) < tol(np.float64)


def test_the_barycenter_changes_nothing():
    plain = label(IMAGE, COLORS, weights=WEIGHTS, rho=RHO)
    for prior in (np.full(J, 1 / J), np.full((*SHAPE, J), 1 / J)):
        found = label(IMAGE, COLORS, weights=WEIGHTS, rho=RHO, prior=prior)
        np.testing.assert_allclose(found.probabilities, plain.probabilities, atol=1e-12)


def test_predictions_are_refined_from_it(dtype):
    soft = RNG.dirichlet(np.ones(J), SHAPE).astype(dtype)
    found = Labeler(prior=EVERY, rho=1.0).refine(soft)
    assert found.probabilities.dtype == dtype
    expected = EVERY * Labeler(rho=1.0).refine(soft * EVERY.astype(dtype), normalize=True).probabilities
    np.testing.assert_allclose(
        found.probabilities, expected / expected.sum(axis=-1, keepdims=True), atol=10 * tol(dtype)
    )


def test_data_that_says_nothing_leaves_the_prior_to_decide():
    found = label(np.zeros(SHAPE), [-1.0, 1.0], prior=[0.2, 0.8])
    assert (found.labels == 1).all()
    longer = label(np.zeros(SHAPE), [-1.0, 1.0], prior=[0.2, 0.8], time=6.0)
    assert (longer.probabilities[..., 1] > found.probabilities[..., 1]).all()
    assert (found.probabilities[..., 1] > 0.8).all()


def test_invalid_pixels_need_no_prior():
    mask = RNG.random(SHAPE) < 0.8
    prior = np.where(mask[..., None], EVERY, np.nan)
    found = label(IMAGE, COLORS, weights=WEIGHTS, rho=RHO, time=TIME, mask=mask, prior=prior,
                  solver=gpulaf.Taylor(tol=1e-13))  # fmt: skip
    W, D = rows(EVERY)
    v = np.log(dense_remaining(np.log(W) - D / RHO, dense_average(WEIGHTS), mask.ravel(), TIME))
    expected = W[mask.ravel()] * np.exp(v)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probabilities[mask], expected, atol=tol(np.float64))
    assert np.isnan(found.probabilities[~mask]).all()


@pytest.mark.parametrize("weights", [None, BilateralWeights(0.3)], ids=["uniform", "bilateral"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_blocks_and_tiles_are_the_whole_image(weights, masked, monkeypatch):
    dask = pytest.importorskip("dask.array", reason="Dask is not installed")
    shape = (140, 90)
    image, every = RNG.random(shape).astype(np.float32), RNG.dirichlet(np.ones(J), shape) * 0.9 + 0.1 / J
    mask = RNG.random(shape) < 0.9 if masked else None
    for prior in (LABELS, every):
        labeler = Labeler([0.2, 0.5, 0.8], weights, prior=prior)
        whole = labeler(image, mask=mask)
        with monkeypatch.context() as patched:
            patched.setattr("gpulaf.backend.memory.BLOCK", 1.0)
            np.testing.assert_array_equal(labeler(image, mask=mask).probabilities, whole.probabilities)
        chunks = dask.from_array(image, chunks=(64, 64))
        if prior.ndim == 1:
            tiles = gpulaf.tiling.label_array(chunks, labeler, channel_axis=None, mask=mask)
            np.testing.assert_array_equal(tiles.probabilities.compute(), whole.probabilities)
        else:
            with pytest.raises(ValueError, match=r"prior has shape \(140, 90, 3\).*accepted in tiles is one"):
                gpulaf.tiling.label_array(chunks, labeler, channel_axis=None, mask=mask)


def test_files_are_labeled_with_a_prior(tmp_path):
    image = RNG.random((70, 80)).astype(np.float32)
    write_array(tmp_path / "x.npy", image)
    labeler, tiling = Labeler([0.2, 0.5, 0.8], prior=LABELS), gpulaf.tiling.Tiling(side=64)
    gpulaf.label_file(tmp_path / "x.npy", tmp_path / "y.tif", labeler, tiling=tiling)
    np.testing.assert_array_equal(gpulaf.io.read_image(tmp_path / "y.tif"), labeler(image).labels)


def test_volumes_have_priors():
    volume, every = RNG.random((1, 5, 6)), RNG.dirichlet(np.ones(2), (1, 5, 6)) * 0.9 + 0.05
    found = label(volume, [0.3, 0.7], prior=every, channel_axis=None)
    image = label(volume[0], [0.3, 0.7], prior=every[0])  # a slice alone has the neighbors of an image
    np.testing.assert_allclose(found.probabilities[0], image.probabilities, atol=1e-12)
    with pytest.raises(ValueError, match=r"prior has shape \(5, 6, 2\); accepted are \(2,\).*\(1, 5, 6, 2\)"):
        label(volume, [0.3, 0.7], prior=every[0], channel_axis=None)


@pytest.mark.parametrize(("prior", "kind", "said"), [
    ([0.0, 0.5, 0.5], ValueError, "prior goes down to 0; accepted are positive.*as 1e-6"),
    ([-0.5, 1.0, 0.5], ValueError, "prior goes down to -0.5"),
    ([np.nan, 0.5, 0.5], ValueError, "prior goes down to nan"),
    ([np.inf, 0.5, 0.5], ValueError, "misses a sum of 1 over the labels by up to inf"),
    ([0.5, 0.5, 0.5], ValueError, "misses a sum of 1 over the labels by up to 0.5; accepted is 0.001"),
    ([0.5, 0.5], ValueError, r"prior has shape \(2,\); accepted are \(3,\).*\(4, 5, 3\)"),
    (0.5, ValueError, r"prior has shape \(\); accepted are \(J,\)"),
    (EVERY[1:], ValueError, r"prior has shape \(3, 5, 3\)"),
    (EVERY * 0, ValueError, "prior goes down to 0"),
    (2 * EVERY, ValueError, "misses a sum of 1"),
    (["a", "b", "c"], TypeError, "prior has dtype"),
    (EVERY + 0j, TypeError, "prior has dtype complex128"),
])  # fmt: skip
def test_what_is_no_prior_is_refused(prior, kind, said):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(kind, match=said):
            label(IMAGE, COLORS, prior=prior)
