"""Predictors of volumes: derivatives against central differences, views, files, kinds, and unseen volumes."""

from __future__ import annotations

import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import cells, change
from oracles import relative, tol

import gpulaf
from gpulaf import Taylor, WeightNetwork, WeightPredictor
from gpulaf.averaging import check_weights
from gpulaf.backend.array import host_array
from gpulaf.io.images import FileWarning, write_array
from gpulaf.io.place import Place
from gpulaf.prediction import Features, Parameters, load_predictor, predict_weights, prediction_gradient
from gpulaf.prediction.dataset import Reader
from gpulaf.prediction.network import starting_network
from gpulaf.prediction.objective import Objective
from gpulaf.prediction.samples import Item
from gpulaf.prediction.stage import state_derivative, state_patches
from gpulaf.prediction.views import View, ways

SPACING = (2.0, 1.0, 1.0)
SHAPE = (3, 4, 5)
KINDS = ("network", "prototypes")


def fitted(kind: str, volumes: Any, truths: Any, steps: int = 3, **options: Any) -> Any:
    if kind == "network":
        given = {"hidden": (6,), "features": "patch:1+gaussian:1", "n_layers": 2, "spacing": SPACING} | options
        untrained: Any = WeightNetwork.of_volumes(**given)
    else:
        untrained = WeightPredictor(6, **{"spacing": SPACING} | options)
    return untrained.set_params(training__steps=steps).fit(volumes, truths, progress=False)


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    volumes, truths = zip(*(cells(k, (6, 9, 8)) for k in range(2)), strict=True)
    return {kind: fitted(kind, volumes, truths) for kind in KINDS}


# --- derivatives ------------------------------------------------------------------------------------------------------


def problem(features: Any, masked: bool) -> tuple[Objective, Any]:
    rng = np.random.default_rng(3)
    volume, truth = rng.random((*SHAPE, 2)), rng.choice([-1, 3, 5, 9], SHAPE)
    valid = rng.random(SHAPE) > 0.3 if masked else None
    reader = Reader(features, 0.5, np.array([3, 5, 9]), rng.random((3, 2)), metric="sqeuclidean", spacing=SPACING)
    objective = Objective(reader, [1.5, 1.5], Taylor(degree=14), gpulaf.cross_entropy_loss)
    return objective, reader.with_features(reader(Item(volume, truth, mask=valid)))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("radius", "reach"), [(1, -1), (1, 1), (2, 0)])
def test_the_derivative_of_a_network_against_central_differences(masked: bool, radius: int, reach: int) -> None:
    objective, prepared = problem(Features("patch:1+gaussian:0.7", SPACING), masked)
    count, rng, h = prepared.features.shape[-2], np.random.default_rng(1), 1e-6
    start = starting_network(
        np.zeros(count), 3, hidden=(5,), stages=2, radius=radius, reach=reach, correction=True, seed=0, axes=3
    )
    vector = 0.3 * rng.standard_normal(start.vector.size)
    found = objective(start.moved(vector), prepared).derivative
    for _ in range(6):
        step = rng.standard_normal(vector.size)
        ends = [objective(start.moved(vector + s * h * step), prepared, False).loss for s in (1, -1)]
        assert abs((ends[0] - ends[1]) / (2 * h) - found @ step) < 2e-6 * np.linalg.norm(found)
    for k in [*rng.choice(vector.size, 12, replace=False), *range(vector.size - 4, vector.size)]:
        step = h * np.eye(1, vector.size, k)[0]
        ends = [objective(start.moved(vector + s * step), prepared, False).loss for s in (1, -1)]
        assert abs((ends[0] - ends[1]) / (2 * h) - found[k]) < 2e-6 * np.abs(found).max()


@pytest.mark.parametrize("masked", [False, True])
def test_the_derivative_of_prototypes_against_central_differences(masked: bool) -> None:
    objective, prepared = problem(1, masked)
    rng, h = np.random.default_rng(1), 1e-6
    start = Parameters(rng.random((3, 54)), rng.standard_normal((2, 3, 27)), 0.3)
    vector, found = start.vector, objective(start, prepared).derivative
    for _ in range(8):
        step = rng.standard_normal(vector.size)
        ends = [objective(start.moved(vector + s * h * step), prepared, False).loss for s in (1, -1)]
        assert abs((ends[0] - ends[1]) / (2 * h) - found @ step) < 1e-6 * np.linalg.norm(found)


@pytest.mark.parametrize("radius", [1, 2])
def test_predicted_patches_voxel_by_voxel(xp: Any, dtype: Any, radius: int) -> None:
    """Ω̂ by loops, and ∂p, ∂ν, ∂σ by central differences of them."""
    rng, side = np.random.default_rng(radius), 2 * radius + 1
    p, nu, sigma = rng.standard_normal((3, 2)), rng.standard_normal((3, side**3)), 0.7
    f = rng.standard_normal((*SHAPE[:2], 2, SHAPE[2]))

    def patches(p: np.ndarray, nu: np.ndarray, sigma: float) -> np.ndarray:
        found = np.zeros((*SHAPE[:2], side**3, SHAPE[2]))
        for z, y, x in np.ndindex(SHAPE):
            a = np.exp(-sigma * np.linalg.norm(f[z, y, :, x] - p, axis=1))
            for o, offset in enumerate(product(range(-radius, radius + 1), repeat=3)):
                if all(0 <= i + d < n for i, d, n in zip((z, y, x), offset, SHAPE, strict=True)):
                    found[z, y, o, x] = np.exp(a @ nu[:, o] / a.sum())
        return found / found.sum(axis=-2, keepdims=True)

    parameters = Parameters(p.astype(dtype), nu.astype(dtype), sigma)
    found = predict_weights(parameters, xp(f.astype(dtype)))
    assert relative(found, patches(p, nu, sigma)) < tol(dtype)
    check_weights(host_array(found), SHAPE)
    G, h = rng.standard_normal(found.shape), 1e-6
    gradient = prediction_gradient(parameters, xp(f.astype(dtype)), xp(G.astype(dtype)))
    dp, dn, ds = rng.standard_normal(p.shape), rng.standard_normal(nu.shape), 0.5
    ends = [(G * patches(p + s * dp, nu + s * dn, sigma + s * ds)).sum() for s in (h, -h)]
    slope = (host_array(gradient[0]) * dp).sum() + (host_array(gradient[1]) * dn).sum() + gradient.sigma * ds
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=max(1e-6, 20 * tol(dtype)))


@pytest.mark.parametrize("radius", [0, 1])
def test_patches_of_the_state_and_their_adjoint(xp: Any, radius: int) -> None:
    rng, side = np.random.default_rng(0), 2 * radius + 1
    p = rng.random((3, 4, 2, 5))
    found = host_array(state_patches(xp(p), radius))
    padded = np.pad(p, ((radius, radius), (radius, radius), (0, 0), (radius, radius)))
    for z, y, x in np.ndindex(SHAPE):
        expected = padded[z : z + side, y : y + side, :, x : x + side].transpose(0, 1, 3, 2)
        np.testing.assert_array_equal(found[z, y, :, x], expected.ravel())
    other = rng.standard_normal(found.shape)
    back = host_array(state_derivative(xp(other), radius, 2))
    assert abs((found * other).sum() - (p * back).sum()) < 1e-12


# --- views ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spacing", "count"),
    [((1, 1), 8), ((2, 1), 4), ((1, 1, 1), 48), ((3, 1, 1), 16), ((1, 2, 1), 16), ((3, 2, 1), 8)],
)
def test_volumes_are_turned_where_distances_stay(spacing: tuple[float, ...], count: int) -> None:
    """As many ways as the grid has symmetries, all different; distances of all pairs of pixels stay."""
    shape = (3,) * len(spacing)
    x = np.arange(3 ** len(spacing)).reshape(shape)
    every = [way(x) for way in ways(spacing)]
    assert len({y.tobytes() for y in every}) == len(every) == count
    np.testing.assert_array_equal(every[0], x)

    def distances(y: np.ndarray) -> np.ndarray:
        at = np.argwhere(np.ones(shape))[np.argsort(y.ravel())] * spacing
        return np.linalg.norm(at[:, None] - at, axis=-1)

    for y in every:
        np.testing.assert_allclose(distances(y), distances(x), atol=1e-12)
    fields = np.stack([x, -x], axis=-2)
    for way, y in zip(ways(spacing), every, strict=True):
        np.testing.assert_array_equal(way(fields, fields=True), np.stack([y, -y], axis=-2))
        np.testing.assert_array_equal(way(x[..., None])[..., 0], y)


def test_a_crop_of_a_prepared_volume_is_the_prepared_crop() -> None:
    volume, truth = cells(0, (7, 9, 8))
    truth = np.where(np.random.default_rng(0).random(truth.shape) < 0.1, -1, truth.astype(int))
    valid = np.random.default_rng(1).random(truth.shape) < 0.9
    reader = Reader(1, 0.3, np.arange(3), np.array([[0.0], [0.5], [1.0]]), spacing=SPACING)
    item, shapes = Item(volume, truth, mask=valid), set()
    for seed in range(20):
        view = View(5, True)
        one, other = reader(item, view, (seed,)), reader(item).viewed(view, (seed,), SPACING)
        for x, y in zip(one, other, strict=True):
            np.testing.assert_array_equal(x, y)
        shapes.add(one.truth.shape)
    assert shapes == {(5, 5, 5)}
    around = View(4).choose(np.where(np.arange(7 * 9 * 8).reshape(7, 9, 8) == 500, 1, -1), (0,))[0]
    assert [part.stop - part.start for part in around] == [4, 4, 4]


# --- use --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_files_keep_the_spacing(models: dict[str, Any], kind: str, tmp_path: Path) -> None:
    model, volume = models[kind], cells(9, (5, 8, 7))[0]
    model.save(tmp_path / "m.safetensors")
    again = load_predictor(tmp_path / "m.safetensors")
    assert again.spacing == again.trained_spacing == SPACING
    assert again.axes == 3
    np.testing.assert_array_equal(again.label(volume).probabilities, model.label(volume).probabilities)
    assert repr(again.weight_source()) == repr(model.weight_source())
    for spacing in (np.ones(2), np.ones(4), np.array([1.0, 0.0, 1.0])):
        model.save(tmp_path / "other.safetensors")
        change(tmp_path / "other.safetensors", spacing=spacing)
        with pytest.raises(ValueError, match="holds tensors of"):
            load_predictor(tmp_path / "other.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_masks_of_a_volume(models: dict[str, Any], kind: str) -> None:
    """Invalid voxels are never looked at; weights are patches on the valid ones."""
    model, (volume, truth) = models[kind], cells(9, (5, 8, 7))
    mask = np.random.default_rng(0).random(volume.shape) < 0.8
    weights = model.weights(volume, mask=mask)
    for layer in weights if isinstance(weights, list) else [weights]:
        check_weights(layer, volume.shape)
    spoiled = np.where(mask, volume, np.float32(1e6))
    one, other = (model.label(x, mask=mask) for x in (volume, spoiled))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    found = model.predict([volume], masks=[mask])[0]
    assert (found[~mask] == -1).all()
    assert np.isin(found[mask], [0, 1, 2]).all()
    compared = gpulaf.evaluate(model, [volume], [truth], masks=[mask], progress=False)
    assert compared.wrong["predicted weights"][0] == pytest.approx(np.mean(found[mask] != truth[mask]))


@pytest.mark.parametrize("kind", KINDS)
def test_images_and_volumes_are_not_taken_for_each_other(models: dict[str, Any], kind: str) -> None:
    volume, truth = cells(9, (5, 8, 7))
    model = models[kind]
    with pytest.raises(ValueError, match=r"\(8, 7\); accepted are \(D, H, W\).*on volumes, and this is an image"):
        model.label(volume[0])
    with pytest.raises(ValueError, match="its truth has 2 axes; the training was on volumes"):
        gpulaf.evaluate(model, [volume[0]], [truth[0]], progress=False)
    flat = WeightPredictor(4, training=gpulaf.prediction.Training(steps=1))
    flat.fit([volume[0]], [truth[0]], progress=False)
    with pytest.raises(ValueError, match=r"image has 7 channels; accepted are 1.*A volume .* needs a model of volumes"):
        flat.label(volume)
    with pytest.raises(ValueError, match=r"accepted are \(H, W\).*on images, and this is a volume"):
        flat.label(volume[..., None])
    with pytest.raises(ValueError, match="its truth has 3 axes; the training was on images"):
        gpulaf.evaluate(flat, [volume], [truth], progress=False)
    with pytest.raises(ValueError, match="it has a volume of 1 channels; accepted is 1 channels"):
        fitted(kind, [volume[0], volume], [truth[0], truth], spacing=None)
    with pytest.raises(ValueError, match=r"spacing is \(1, 2\) and the truths are volumes"):
        fitted(kind, [volume], [truth], spacing=(1, 2))
    with pytest.raises(ValueError, match=r"spacing is \(1, 2, 3, 4\); accepted are \(sy, sx\)"):
        fitted(kind, [volume], [truth], spacing=(1, 2, 3, 4))


def test_the_spacing_of_files_is_learned_and_another_is_said(tmp_path: Path) -> None:
    """OME-TIFFs say their distances; so does the model, and warns of files that say others."""
    for k in range(3):
        volume, truth = cells(k, (6, 9, 8))
        scale = (3.0, 0.5, 0.5) if k < 2 else (1.0, 0.5, 0.5)
        write_array(tmp_path / f"v{k}.ome.tif", volume, volume=True, place=Place(scale=scale, unit="micrometer"))
        write_array(tmp_path / f"t{k}.ome.tif", truth, volume=True)
    volumes, truths = ([str(tmp_path / f"{name}{k}.ome.tif") for k in range(3)] for name in "vt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fitted("network", volumes[:2], truths[:2], spacing=None)
        assert model.trained_spacing == (3.0, 0.5, 0.5)
        model.label(volumes[0])
    with pytest.warns(FileWarning, match=r"voxels at distances of 3, 0.5, 0.5, and .*v2.ome.tif says 1, 0.5, 0.5"):
        model.label(volumes[2])
    with pytest.warns(FileWarning, match="training image 2 .* says distances of 1, 0.5, 0.5 .* takes 3, 0.5, 0.5"):
        fitted("prototypes", volumes, truths, spacing=None)
    model = fitted("prototypes", [cells(0, (6, 9, 8))[0]], truths[:1], spacing=None)  # arrays say nothing
    assert model.trained_spacing == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_of_a_classifier_are_refined(kind: str) -> None:
    volumes, truths = zip(*(cells(k, (6, 9, 8)) for k in range(2)), strict=True)
    soft = [gpulaf.label(v, [0, 0.5, 1], channel_axis=None, spacing=SPACING).probabilities for v in volumes]
    model = WeightNetwork.of_volumes(hidden=(6,), features="patch:1", spacing=SPACING) if kind == "network" else (
        WeightPredictor(6, rho=1.0, spacing=SPACING)
    )  # fmt: skip
    model.set_params(training__steps=2).fit(volumes, truths, probabilities=soft, progress=False)
    found = model.refine(volumes[0], soft[0])
    assert found.labels.shape == truths[0].shape
    np.testing.assert_array_equal(model.predict(volumes[:1], soft[:1])[0], found.labels)
    with pytest.raises(ValueError, match=r"accepted is \(D, H, W, 3\)"):
        model.refine(volumes[0], soft[0][0])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0)])
def test_unseen_volumes(spacing: tuple[float, ...]) -> None:
    """A network beats pixelwise labels and the weights of the spacing on volumes that it was not trained on."""
    shape = (round(30 / spacing[0]), 20, 20)
    volumes, truths = zip(*(cells(k, shape, spacing, 0.6) for k in range(6)), strict=True)
    network = WeightNetwork.of_volumes(
        hidden=(24,), features="patch:1+gaussian:1,2+affinity:0.7,1.5", n_layers=2, spacing=spacing
    )
    network.set_params(training__steps=60, training__step_size=1e-2, training__crop=16)
    network.fit(volumes[:4], truths[:4], progress=False)
    unseen = [cells(k, shape, spacing, 0.6) for k in range(500, 502)]
    found = gpulaf.evaluate(network, *zip(*unseen, strict=True), progress=False).wrong
    pixelwise, uniform, predicted = (np.mean(found[name]) for name in found)
    assert pixelwise > 0.4
    assert predicted < 0.75 * uniform < 0.5 * pixelwise
