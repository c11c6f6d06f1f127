"""Networks of weights: perceptrons, stages and their derivatives against loops and central differences."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import relative, tol

import gpulaf
from gpulaf import Taylor, WeightNetwork
from gpulaf.averaging import check_weights
from gpulaf.backend.array import host_array
from gpulaf.flows import DeepFlow
from gpulaf.prediction import Network, Training, affinity_features, load_predictor
from gpulaf.prediction.dataset import Reader
from gpulaf.prediction.network import starting_network
from gpulaf.prediction.objective import Objective
from gpulaf.prediction.perceptron import Layer, applied, pulled
from gpulaf.prediction.samples import Item
from gpulaf.prediction.stage import NetworkStage, state_derivative, state_patches
from gpulaf.tiling import label_array, refine_array, tile_halo

SHAPES = [(1, 1), (1, 70), (5, 1), (4, 64), (3, 131)]
SCENES = [gpulaf.scenes.voronoi_lines(32, sites=6, seed=seed) for seed in range(4)]
IMAGES, TRUTHS = [s.image.astype(np.float32) for s in SCENES], [s.truth for s in SCENES]


def layers(*sizes: int, seed: int = 0) -> list[Layer]:
    rng = np.random.default_rng(seed)
    return [Layer(rng.standard_normal((b, a)), rng.standard_normal(b)) for a, b in itertools.pairwise(sizes)]


def network(labels: int, features: int, **options: Any) -> Network:
    """A network with random numbers in every place."""
    given = {"stages": 2, "radius": 1, "reach": 1, "correction": True} | options
    start = starting_network(np.zeros(features), labels, hidden=(6, 5), seed=0, **given)
    return start.moved(0.4 * np.random.default_rng(1).standard_normal(start.vector.size))


def fitted(steps: int = 3, **options: Any) -> WeightNetwork:
    given = {"hidden": (8,), "features": "patch:1+gaussian:1", "n_layers": 2} | options
    return WeightNetwork(**given).set_params(training__steps=steps).fit(IMAGES[:3], TRUTHS[:3], progress=False)


# --- the perceptron and the state -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_perceptron_and_its_derivative_pixel_by_pixel(xp: Any, dtype: Any, shape: tuple[int, int]) -> None:
    rng, own = np.random.default_rng(0), layers(3, 5, 4)
    x = rng.standard_normal((shape[0], 3, shape[1])).astype(dtype)
    G = rng.standard_normal((shape[0], 4, shape[1])).astype(dtype)
    kept: list[Any] = []
    found = host_array(applied(own, xp(x), kept))
    derivative, inputs = pulled(own, kept, xp(G), inputs=slice(None))
    expected, dx = np.zeros_like(G), np.zeros_like(x)
    d = [Layer(np.zeros((5, 3)), np.zeros(5)), Layer(np.zeros((4, 5)), np.zeros(4))]
    for i, j in np.ndindex(shape):
        before = own[0].matrix @ x[i, :, j] + own[0].offset
        hidden = np.maximum(before, 0)
        expected[i, :, j] = own[1].matrix @ hidden + own[1].offset
        d[1].matrix[...] += np.outer(G[i, :, j], hidden)
        d[1].offset[...] += G[i, :, j]
        back = (own[1].matrix.T @ G[i, :, j]) * (before > 0)
        d[0].matrix[...] += np.outer(back, x[i, :, j])
        d[0].offset[...] += back
        dx[i, :, j] = own[0].matrix.T @ back
    assert relative(found, expected) < tol(dtype)
    assert relative(host_array(inputs), dx) < tol(dtype)
    _, some = pulled(own, kept, xp(G), inputs=slice(1, None))
    assert relative(host_array(some), dx[:, 1:]) < tol(dtype)
    for one, other in zip(derivative, d, strict=True):
        assert relative(host_array(one.matrix), other.matrix) < tol(dtype)
        assert relative(host_array(one.offset), other.offset) < tol(dtype)


def test_the_outputs_of_a_pixel_do_not_depend_on_its_place() -> None:
    rng, own = np.random.default_rng(0), layers(133, 64, 64, 27)
    x = rng.standard_normal((9, 133, 300)).astype(np.float32)
    whole = applied(own, x)
    for start, stop in ((0, 300), (1, 300), (17, 18), (63, 150), (200, 299)):
        np.testing.assert_array_equal(applied(own, x[2:5, :, start:stop]), whole[2:5, :, start:stop])


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_patches_of_the_state_and_their_adjoint(xp: Any, radius: int) -> None:
    rng = np.random.default_rng(0)
    p = rng.random((4, 3, 5))
    found = host_array(state_patches(xp(p), radius))
    side = 2 * radius + 1
    padded = np.pad(p, ((radius, radius), (0, 0), (radius, radius)))
    for i, j in np.ndindex(4, 5):
        expected = padded[i : i + side, :, j : j + side].transpose(0, 2, 1)
        np.testing.assert_array_equal(found[i, :, j], expected.ravel())
    y = rng.standard_normal(found.shape)
    back = host_array(state_derivative(xp(y), radius, 3))
    assert abs((found * y).sum() - (p * back).sum()) < 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_affinities_pixel_by_pixel(xp: Any, dtype: Any) -> None:
    from scipy.ndimage import gaussian_filter

    if xp.name == "strict":
        pytest.skip("Gaussians are those of SciPy and CuPy")

    image = np.random.default_rng(0).random((6, 5, 2)).astype(dtype)
    found = host_array(affinity_features(xp(image), (0.5, 1.0), radius=1))
    assert found.dtype == dtype
    assert found.shape == (6, 16, 5)
    at = 0
    for s in (0.5, 1.0):
        smooth = np.stack([gaussian_filter(image[..., c].astype(float), s, mode="mirror") for c in (0, 1)], axis=-1)
        padded = np.pad(smooth, ((1, 1), (1, 1), (0, 0)), mode="reflect")
        for o in (0, 1, 2, 3, 5, 6, 7, 8):
            moved = padded[o // 3 : o // 3 + 6, o % 3 : o % 3 + 5]
            np.testing.assert_allclose(found[:, at], np.linalg.norm(smooth - moved, axis=-1), atol=20 * tol(dtype))
            at += 1


# --- derivatives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("stages", "radius", "reach", "correction", "label_reach", "coupled"),
    [
        (1, 1, -1, True, -1, False), (3, 1, 1, True, -1, False), (2, 2, 0, True, 0, False), (2, 1, 2, False, -1, False),
        (2, 1, -1, False, 2, False), (3, 1, 1, True, -1, True), (2, 2, -1, False, 2, True),
    ],
)  # fmt: skip
def test_the_derivative_of_one_image_against_central_differences(
    stages: int, radius: int, reach: int, correction: bool, label_reach: int, coupled: bool, masked: bool
) -> None:
    """From the stored image through all stages to every matrix, offset and scale, the state and C included."""
    rng, h = np.random.default_rng(3), 1e-6
    image, truth = rng.random((6, 7, 2)), rng.choice([-1, 3, 5, 9], (6, 7))
    valid = rng.random((6, 7)) > 0.3 if masked else None
    reader = Reader(1, 0.5, np.array([3, 5, 9]), rng.random((3, 2)), metric="sqeuclidean")
    objective = Objective(reader, [3 / stages] * stages, Taylor(degree=14), gpulaf.cross_entropy_loss)
    prepared = reader.with_features(reader(Item(image, truth, mask=valid)))
    more = {"label_reach": label_reach, "label_hidden": (4,), "coupled": coupled}
    own = network(3, 18, stages=stages, radius=radius, reach=reach, correction=correction, **more)
    vector = own.vector
    found = objective(own, prepared).derivative
    for _ in range(6):
        step = rng.standard_normal(vector.size)
        ends = [objective(own.moved(vector + s * h * step), prepared, False).loss for s in (1, -1)]
        assert abs((ends[0] - ends[1]) / (2 * h) - found @ step) < 2e-6 * np.linalg.norm(found)
    last = np.arange(vector.size - 2 * stages - 9 * coupled, vector.size)  # scales, times and C
    single = np.concatenate([rng.choice(vector.size, 20, replace=False), last])
    for k in single:
        step = h * np.eye(1, vector.size, k)[0]
        ends = [objective(own.moved(vector + s * step), prepared, False).loss for s in (1, -1)]
        assert abs((ends[0] - ends[1]) / (2 * h) - found[k]) < 2e-6 * np.abs(found).max()


@pytest.mark.parametrize("state", [{"reach": 1}, {"reach": -1, "label_reach": 2, "label_hidden": (4,)}])
def test_the_derivative_can_take_the_state_as_given(state: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Against central differences where every stage goes on seeing what it saw before the step."""
    rng, h = np.random.default_rng(3), 1e-6
    reader = Reader(1, 0.5, np.array([0, 1, 2]), rng.random((3, 2)), metric="sqeuclidean")
    objective = Objective(reader, [1.0, 1.0], Taylor(degree=14), gpulaf.cross_entropy_loss)
    prepared = reader.with_features(reader(Item(rng.random((6, 7, 2)), rng.integers(0, 3, (6, 7)))))
    own = network(3, 18, **state)
    exact, given = (objective(replace(own, through=x), prepared).derivative for x in (True, False))
    assert relative(given, exact) > 1e-3
    seen: list[Any] = []
    outputs, labels = NetworkStage._outputs, NetworkStage._of_labels
    monkeypatch.setattr(NetworkStage, "_outputs", lambda stage, p: seen.append(p) or outputs(stage, p))
    monkeypatch.setattr(NetworkStage, "_of_labels", lambda stage, p, l: seen.append((p, l)) or labels(stage, p, l))
    objective(own, prepared, False)
    again = iter(())
    monkeypatch.setattr(NetworkStage, "_outputs", lambda stage, p: outputs(stage, next(again)))
    monkeypatch.setattr(NetworkStage, "_of_labels", lambda stage, p, l: labels(stage, *next(again)))
    for _ in range(4):
        step, ends = rng.standard_normal(own.vector.size), []
        for s in (1, -1):
            again = iter(seen)
            ends.append(objective(own.moved(own.vector + s * h * step), prepared, False).loss)
        assert abs((ends[0] - ends[1]) / (2 * h) - given @ step) < 2e-6 * np.linalg.norm(given)


def test_one_perceptron_for_all_labels_treats_them_alike() -> None:
    """Labels in another order: the corrections in that order, the same weights."""
    rng = np.random.default_rng(0)
    own = network(4, 5, stages=1, reach=-1, correction=False, label_reach=2, label_hidden=(6,))
    features, l, order = rng.standard_normal((7, 5, 8)), rng.standard_normal((7, 4, 8)), [2, 0, 3, 1]
    (stage,) = own.bound(features).layers
    weights, data = stage(l)
    others, moved = stage(np.ascontiguousarray(l[:, order]))
    np.testing.assert_array_equal(others, weights)
    np.testing.assert_allclose(moved, data[:, order], rtol=1e-12, atol=1e-12)
    assert np.abs(data - stage.factor * l).max() > 0.1


@pytest.mark.parametrize("stages", [1, 3])
def test_the_derivative_in_the_data_goes_through_the_state(stages: int) -> None:
    """∂ℓ of a sequence of stages against central differences."""
    rng, h = np.random.default_rng(0), 1e-6
    features, l, g = rng.random((5, 4, 6)), rng.standard_normal((5, 3, 6)), rng.standard_normal((5, 3, 6))
    own = network(3, 4, stages=stages)

    def value(l: Any) -> float:
        flow = DeepFlow(own.bound(features).layers, [1.0] * stages, solver=Taylor(degree=14))
        return float((flow.solve(l).v * g).sum())

    flow = DeepFlow(own.bound(features).keep().layers, [1.0] * stages, solver=Taylor(degree=14))
    found = flow.gradient(flow.solve(l), g).log_likelihood
    for _ in range(5):
        step = rng.standard_normal(l.shape)
        slope = (value(l + h * step) - value(l - h * step)) / (2 * h)
        assert abs(slope - (found * step).sum()) < 1e-6 * np.linalg.norm(found)


def test_a_stage_keeps_nothing_unasked() -> None:
    own, rng = network(2, 3), np.random.default_rng(0)
    flow = DeepFlow(own.bound(rng.random((4, 3, 5))).layers, [1.0, 1.0])
    solution = flow.solve(rng.standard_normal((4, 2, 5)))
    with pytest.raises(ValueError, match="kept nothing"):
        flow.gradient(solution, np.ones((4, 2, 5)))


def test_device_and_host_agree(xp: Any) -> None:
    rng, own = np.random.default_rng(0), network(3, 4)
    features, l, g = rng.random((5, 4, 70)), rng.standard_normal((5, 3, 70)), rng.standard_normal((5, 3, 70))
    found = []
    for to in (np.asarray, xp):
        bound = own.bound(to(features)).keep()
        flow = bound.flow([1.0, 1.0], Taylor())
        solution = flow.solve(to(l), keep_states=True)
        found.append((host_array(solution.v), bound.derivative(flow.gradient(solution, to(g), times=True))))
    for one, other in zip(*found, strict=True):
        assert relative(one, other) < 1e-10


# --- the predictor ----------------------------------------------------------------------------------------------------


def test_learning_starts_at_uniform_weights_and_the_plain_data() -> None:
    net = fitted(0)
    uniform = gpulaf.Labeler(
        net.label_prototypes_, rho=net.rho_, time=net.times, scaled=True, metric=net.metric, solver=net.solver
    )
    np.testing.assert_array_equal(net.label(IMAGES[3]).probabilities, uniform(IMAGES[3]).probabilities)
    values = np.concatenate([(IMAGES[k][..., 0] - net.label_prototypes_[TRUTHS[k], 0]).ravel() for k in range(3)])
    assert net.rho_ == pytest.approx(2 * (values**2).mean(), rel=1e-5)


def test_unseen_images_have_fewer_wrong_pixels() -> None:
    net = fitted(150, features="patch:2")
    uniform = gpulaf.label(IMAGES[3], [[0.0], [1.0]]).labels
    assert (net.predict([IMAGES[3]])[0] != TRUTHS[3]).mean() < 0.3 * (uniform != TRUTHS[3]).mean()


@pytest.mark.parametrize("radius", [1, 2])
def test_weights_are_patches_of_every_layer(radius: int) -> None:
    net = fitted(4, radius=radius)
    found = net.weights(IMAGES[3])
    assert len(found) == 2
    for weights in found:
        check_weights(weights, (32, 32))
        assert weights.shape == (32, (2 * radius + 1) ** 2, 32)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("state", "coupled"), [(None, False), (0, False), (3, False), (1, True)])
def test_tiles_equal_the_whole_image_bit_for_bit(state: int | None, coupled: bool, masked: bool) -> None:
    da = pytest.importorskip("dask.array")
    single = {"label_state": None if state else 2, "label_hidden": (3,)}
    net = fitted(4, state=state, label_coupling=coupled, time=2.0, **single)
    image = gpulaf.scenes.voronoi_lines(150, sites=30, seed=9).image.astype(np.float32)
    mask = np.random.default_rng(0).random((150, 150)) > 0.05 if masked else None
    whole = net.label(image, mask=mask)
    found = label_array(da.from_array(image, chunks=(70, 51, 1)), net.labeler(), mask=mask)
    np.testing.assert_array_equal(found.labels.compute(), whole.labels)
    np.testing.assert_array_equal(found.probabilities.compute(), whole.probabilities)


def test_the_halo_counts_the_state() -> None:
    halos = [tile_halo(fitted(0, state=state, n_layers=2).labeler()) for state in (None, 1, 3)]
    assert halos[0] == halos[1] == halos[2] - 2


@pytest.mark.parametrize("coupled", [False, True])
def test_a_file_holds_a_network(tmp_path: Path, coupled: bool) -> None:
    net = fitted(3, label_state=1, label_hidden=(4, 3), label_coupling=coupled)
    net.save(tmp_path / "n.safetensors")
    for again in (WeightNetwork.load(tmp_path / "n.safetensors"), load_predictor(tmp_path / "n.safetensors")):
        assert again.get_params()["hidden"] == [8]
        assert (again.reason_, len(again.history_)) == (net.reason_, 4)
        np.testing.assert_array_equal(again.label(IMAGES[3]).probabilities, net.label(IMAGES[3]).probabilities)
    with pytest.raises(ValueError, match=r"holds a WeightNetwork, no WeightPredictor"):
        gpulaf.WeightPredictor.load(tmp_path / "n.safetensors")
    net.n_layers = 3
    with pytest.raises(ValueError, match=r"tensors of other shapes than its options say, clocks"):
        net.save(tmp_path / "n.safetensors")


def test_coupled_labels_are_learned() -> None:
    net = fitted(8, label_coupling=True)
    C = net.network_.label_coupling
    assert C is not None
    start = np.exp(3 * np.eye(2))
    assert abs(C - start / start.sum(axis=1)).max() > 1e-5
    np.testing.assert_allclose(C.sum(axis=1), 1)
    assert fitted(0).network_.label_coupling is None
    with pytest.raises(ValueError, match="label_coupling is 1; accepted are True and False"):
        fitted(0, label_coupling=1)


def test_a_resumed_training_ends_in_the_same_bits(tmp_path: Path) -> None:
    from gpulaf.learning import Checkpoint

    whole = fitted(8)
    net = WeightNetwork((8,), features="patch:1+gaussian:1", n_layers=2)
    path = tmp_path / "c.safetensors"
    for stop in (5, None):
        net.set_params(training__steps=8, training__checkpoint=Checkpoint(path, every=2, resume=True))
        net.fit(IMAGES[:3], TRUTHS[:3], callback=lambda row, _, stop=stop: row.step == stop, progress=False)
    np.testing.assert_array_equal(net.network_.vector, whole.network_.vector)


@pytest.mark.parametrize(
    "bad",
    [
        {"hidden": "64"}, {"hidden": (0,)}, {"state": -1}, {"state": 1.5}, {"correction": 1}, {"metric": "hamming"},
        {"features": "patch:x"}, {"rho": 0.0},
    ],
)  # fmt: skip
def test_options_that_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        fitted(1, **bad)


def test_probabilities_are_refined_better_than_they_were() -> None:
    rng = np.random.default_rng(0)
    soft = []
    for truth in TRUTHS:
        logits = np.eye(2)[truth] + 0.8 * rng.standard_normal((*truth.shape, 2))
        soft.append((np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32))
    net = WeightNetwork((16,), features="patch:1").set_params(training__steps=60)
    net.fit(IMAGES[:3], TRUTHS[:3], probabilities=soft[:3], progress=False)
    assert net.rho_ == 1
    found = net.refine(IMAGES[3], soft[3]).labels
    assert (found != TRUTHS[3]).mean() < 0.5 * (soft[3].argmax(-1) != TRUTHS[3]).mean()


@pytest.mark.parametrize("masked", [False, True])
def test_features_see_the_probabilities_that_are_refined(masked: bool) -> None:
    """Beside the image, all but the last; tiles equal the whole image bit for bit."""
    da = pytest.importorskip("dask.array")
    rng = np.random.default_rng(0)
    scene = gpulaf.scenes.voronoi_lines(140, sites=30, seed=9)
    image, classes = scene.image.astype(np.float32), rng.choice([2, 5, 9], (140, 140))
    soft = rng.dirichlet([1, 1, 1], (140, 140)).astype(np.float32)
    mask = rng.random((140, 140)) > 0.05 if masked else None
    net = WeightNetwork((8,), features="patch:1+affinity:1", n_layers=2, rho=0.5, time=2.0, state=1)
    net.set_params(training__steps=2, training__crop=32)
    net.fit([image], [classes], probabilities=[soft], masks=[mask] if masked else None, progress=False)
    assert len(net.feature_scale_) == 3 * 9 + 24
    reader = net.reader
    data = reader.data_term(image, soft, mask)
    p = soft / soft.sum(axis=-1, keepdims=True)
    if masked:
        p[~mask] = 1 / 3
    seen = np.concatenate([image, p[..., :2]], axis=-1)
    expected = replace(reader, soft=False).pixel_features(seen, mask)
    assert relative(reader.pixel_features(image, mask, data), expected) < 1e-5
    whole = net.refine(image, soft, mask=mask)
    chunks = {"image": da.from_array(image, chunks=(70, 51, 1)), "mask": mask}
    found = refine_array(da.from_array(soft, chunks=(70, 51, 3)), net.labeler(), **chunks)
    np.testing.assert_array_equal(found.probabilities.compute(), whole.probabilities)
    with pytest.raises(ValueError, match="Give the probabilities"):
        net.weights(image)
    given = net.weights(image, soft, mask=mask)
    assert [w.shape for w in given] == 2 * [(140, 9, 140)]


def test_nothing_depends_on_invalid_pixels() -> None:
    mask = np.random.default_rng(0).random((32, 32)) > 0.2
    found = []
    for value in (np.nan, 1e6):
        images = [np.where(mask[..., None], x, np.float32(value)) for x in IMAGES]
        net = WeightNetwork((8,), features="patch:1+gaussian:1").set_params(training__steps=3)
        net.fit(images[:3], TRUTHS[:3], masks=[mask] * 3, progress=False)
        result = net.label(images[3], mask=mask)
        assert (result.labels[~mask] == result.nodata).all()
        found.append((net.network_.vector, result.probabilities))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_scheme_and_layers_do_not_go_together() -> None:
    from dataclasses import replace

    labeler = replace(fitted(0, n_layers=1).labeler(), solver=gpulaf.DormandPrince(), time=None)
    with pytest.raises(TypeError, match="made layer by layer"):
        labeler(IMAGES[3])


# --- what is said and chosen ------------------------------------------------------------------------------------------


def test_options_are_chosen_on_images_held_back() -> None:
    start = WeightNetwork((8,), features="patch:1", n_layers=1, time=1.0)
    told: list[Any] = []
    candidates = [[{"features": "patch:2"}], [{"time": 3.0, "n_layers": 2}, {"radius": 2}]]
    found = gpulaf.prediction.tune(start, IMAGES, TRUTHS, candidates=candidates, steps=8, callback=told.append)
    assert found.trials == told
    assert [trial.options for trial in told[:2]] == [{}, {"features": "patch:2"}]
    first = min(told[:2], key=lambda trial: trial.wrong).options
    assert [trial.options for trial in told[2:]] == [first | options for options in candidates[1]]
    best = min(told, key=lambda trial: trial.wrong)
    assert found.predictor.get_params(deep=False) == start.get_params(deep=False) | best.options
    alone = WeightNetwork((8,), features="patch:1", n_layers=1, time=1.0).set_params(training__steps=8)
    alone.fit(IMAGES[:3], TRUTHS[:3], progress=False)
    assert told[0].wrong == (alone.predict(IMAGES[3:])[0] != TRUTHS[3]).mean()
    with pytest.raises(ValueError, match="two or more"):
        gpulaf.prediction.tune(start, IMAGES[:1], TRUTHS[:1])


def test_a_loss_that_still_falls_is_told() -> None:
    from gpulaf.prediction.summary import still_falling

    noise = 0.02 * np.random.default_rng(0).standard_normal(100)
    assert still_falling(np.linspace(2, 1, 100) + noise)
    assert not still_falling(1 + noise)
    assert not still_falling([3.0, 2.0, 1.0])
    net = WeightNetwork((8,), features="patch:2", training=Training(steps=20, step_size=3e-3))
    assert "still falling" in net.fit(IMAGES[:3], TRUTHS[:3], progress=False).reason_


def test_a_model_that_is_worse_than_nothing_warns() -> None:
    net = WeightNetwork((8,), features="patch:1", training=Training(steps=30, step_size=30.0))
    with pytest.warns(gpulaf.DataWarning, match=r"% wrong pixels on the training images and the model"):
        net.fit(IMAGES[:2], TRUTHS[:2], progress=False)
