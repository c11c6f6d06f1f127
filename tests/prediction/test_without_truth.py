"""Learning from images alone: what is hidden, noise of labels, the objective, training, files, refusals, warnings."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import IMAGES, SCENES, TRUTHS, change, same
from oracles import relative, tol
from realdata import DATA, realdata
from scipy import stats
from scipy.ndimage import gaussian_filter

import gpulaf
from gpulaf import DataWarning, Taylor, WeightNetwork, WeightPredictor
from gpulaf.backend.array import host_array
from gpulaf.io import read_image, write_array
from gpulaf.io.prototypes import PrototypeTable
from gpulaf.labeling.noise import noise_deviation
from gpulaf.learning import Checkpoint, NoisyLabelLoss
from gpulaf.prediction import Features, Training, label_noise, load_predictor
from gpulaf.prediction.dataset import Reader
from gpulaf.prediction.hiding import SIDE, hidden_pixels
from gpulaf.prediction.independence import noise_correlation
from gpulaf.prediction.network import starting_network
from gpulaf.prediction.noise import mixture_means
from gpulaf.prediction.objective import Objective
from gpulaf.prediction.samples import Files, Item
from gpulaf.prediction.views import View

GREY = np.array([[0.0], [1.0]])
CUBE = np.array(list(product((0.1, 0.9), repeat=3)))


def blind(count: int = 3, kind: type = WeightPredictor, **options: Any) -> Any:
    """A predictor that has learned from the images alone, in a few steps."""
    training = options.pop("training", Training(steps=3))
    own = {"n_prototypes": 8} if kind is WeightPredictor else {"hidden": (8,), "features": "patch:1", "n_layers": 2}
    return kind(**own, training=training).fit(IMAGES[:count], **{"prototypes": GREY, "progress": False} | options)


# --- what is hidden ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(9, 13), (4, 4), (1, 9), (2, 3), (5, 6, 7)])
def test_hidden_pixels_lie_on_a_lattice_and_show_a_neighbor(shape: tuple[int, ...]) -> None:
    seen = np.zeros(shape, int)
    for seed in range(500):
        hidden, source = hidden_pixels(np.ones(shape, bool), SIDE, (seed,))
        at = np.argwhere(hidden)
        assert len(at) >= 1
        assert all(len(set(x % SIDE)) == 1 for x in at.T)
        shown = np.stack(np.unravel_index(source[hidden], shape), axis=1)
        assert (np.abs(shown - at).max(axis=1) == 1).all()
        assert not hidden[tuple(shown.T)].any()
        assert (source[~hidden] == np.arange(hidden.size).reshape(shape)[~hidden]).all()
        seen += hidden
    assert (seen > 0).all()


def test_every_neighbor_is_shown_as_often() -> None:
    counts = np.zeros(8)
    for seed in range(400):
        hidden, source = hidden_pixels(np.ones((16, 16), bool), SIDE, (seed,))
        y, x = np.argwhere(hidden)[len(np.argwhere(hidden)) // 2]
        if 0 < y < 15 and 0 < x < 15:
            steps = [(a, b) for a, b in product((-1, 0, 1), repeat=2) if a or b]
            counts[steps.index((source[y, x] // 16 - y, source[y, x] % 16 - x))] += 1
    assert stats.chisquare(counts).pvalue > 1e-3


def test_invalid_pixels_are_neither_hidden_nor_shown() -> None:
    valid = np.random.default_rng(0).random((12, 12)) < 0.4
    for seed in range(30):
        hidden, source = hidden_pixels(valid, SIDE, (seed,))
        assert valid[hidden].all()
        assert valid.ravel()[source[hidden]].all()


@pytest.mark.parametrize(("places", "count"), [([], 0), ([(3, 3)], 1), ([(3, 3), (3, 4)], 1), ([(0, 0), (6, 6)], 1)])
def test_few_valid_pixels(places: list[tuple[int, int]], count: int) -> None:
    valid = np.zeros((7, 7), bool)
    for place in places:
        valid[place] = True
    for seed in range(10):
        hidden, source = hidden_pixels(valid, SIDE, (seed,))
        assert hidden.sum() == count
        assert valid.ravel()[source[hidden]].all()


def reader(features: Any = 1) -> Reader:
    return Reader(features, 0.2, np.arange(2), GREY, metric="sqeuclidean")


@pytest.mark.parametrize("kept", [False, True])
def test_the_value_of_a_hidden_pixel_changes_nothing_but_its_own_label(xp: Any, dtype: Any, kept: bool) -> None:
    """Neither data nor features anywhere; that label is the nearest prototype, and other pixels have none."""
    image, seed, view = IMAGES[0].astype(dtype), (3, 1), View(hidden=SIDE)
    hidden = hidden_pixels(np.ones(image.shape[:2], bool), SIDE, (*seed, SIDE))[0]
    other = image.copy()
    other[hidden] = 1 - other[hidden]

    def prepared(pixels: np.ndarray) -> Any:
        own = reader(1 if xp.name == "strict" else Features("patch:2+gaussian:1,2+affinity"))
        item = Item(xp(pixels), None)
        return own.with_features(own(item).viewed(view, seed) if kept else own(item, view, seed))

    first, second = prepared(image), prepared(other)
    for name in ("image", "log_likelihood", "features"):
        a, b = (host_array(getattr(x, name)) for x in (first, second))
        np.testing.assert_array_equal(a, b)
        assert a.dtype == dtype
    assert not host_array(first.log_likelihood)[np.broadcast_to(hidden[:, None], (32, 2, 32))].any()
    for found, pixels in ((first, image), (second, other)):
        nearest = (np.abs(pixels - GREY[:, 0]).argmin(axis=-1)).astype(np.int32)
        np.testing.assert_array_equal(host_array(found.truth), np.where(hidden, nearest, -1))


def test_crops_flips_and_masks_go_before_hiding() -> None:
    mask = np.random.default_rng(0).random((32, 32)) < 0.7
    view, seed = View(12, True, SIDE), (5, 2, 0)
    own = reader()
    read = own(Item(IMAGES[0], None, mask=mask), view, seed)
    kept = own(Item(IMAGES[0], None, mask=mask)).viewed(view, seed)
    for a, b in zip(read[:3], kept[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    assert read.truth.shape == (12, 12)
    assert read.valid[read.truth >= 0].all()
    assert 1 <= (read.truth >= 0).sum() <= 9


# --- noise ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cityblock"])
def test_noise_of_grey_labels_by_the_normal_distribution(metric: str) -> None:
    means, sigma = np.array([0.1, 0.4, 1.0]), 0.25
    borders = np.concatenate([[-np.inf], (means[1:] + means[:-1]) / 2, [np.inf]])
    expected = np.array([np.diff(stats.norm.cdf(borders, mean, sigma)) for mean in means]).T
    found = label_noise(means[:, None], sigma, metric)
    assert np.abs(found - expected).max() < 4 * 0.5 / 50_000**0.5
    assert found.sum(axis=0) == pytest.approx(1)
    assert (found > 0).all()


def test_noise_of_colors_by_the_product_of_channels() -> None:
    wrong = stats.norm.sf(0.4, scale=0.55)
    one = np.array([[1 - wrong, wrong], [wrong, 1 - wrong]])
    found = label_noise(CUBE, 0.55)
    assert np.abs(found - np.kron(np.kron(one, one), one)).max() < 4 * 0.5 / 50_000**0.5


@pytest.mark.parametrize("masked", [False, True])
def test_the_variance_of_noise_by_differences_of_neighbors(dtype: np.dtype[Any], masked: bool) -> None:
    for sigma, channels, shape in ((0.05, 1, (64, 64)), (0.5, 3, (64, 64)), (0.2, 1, (12, 20, 20))):
        rng = np.random.default_rng(0)
        labels = np.kron(rng.integers(0, 2, tuple(-(-n // 16) for n in shape)), np.ones(len(shape) * (16,)))
        clean = labels[tuple(slice(0, n) for n in shape)][..., None]
        image = (clean + sigma * rng.standard_normal((*shape, channels))).astype(dtype)
        valid = rng.random(shape) < 0.8 if masked else None
        image[~valid if masked else np.zeros(shape, bool)] = 99
        assert noise_deviation(image, valid) == pytest.approx(sigma, rel=0.08)
    assert np.isnan(noise_deviation(np.ones((1, 1, 1))))


def test_a_mixture_finds_a_rare_label_where_k_means_splits_the_frequent_one() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(20_000) < 0.9).astype(int)
    pixels = (labels + 0.35 * rng.standard_normal(20_000))[:, None]
    start = gpulaf.labeling.kmeans_prototypes(pixels, 2)
    assert np.abs(np.sort(start, axis=0) - GREY).max() > 0.2
    found = mixture_means(pixels, start, 0.35**2)
    assert np.abs(np.sort(found, axis=0) - GREY).max() < 0.04
    p = np.exp(-((pixels - found.T) ** 2) / (2 * 0.35**2)) * [0.9, 0.1]  # nearly a fixed point of the maximization
    p /= p.sum(axis=1, keepdims=True)
    assert np.abs((p.T @ pixels)[:, 0] / p.sum(axis=0) - found[:, 0]).max() < 0.02


def test_a_label_of_no_pixel_stays_finite() -> None:
    found = mixture_means(np.zeros((50, 1)), np.array([[0.0], [1e3]]), 1e-4)
    np.testing.assert_allclose(found, [[0.0], [1e3]], atol=1e-6)


# --- the objective ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", [True, False])
def test_the_derivative_of_the_hidden_pixels_against_central_differences(through: bool) -> None:
    """Of a network that sees the state, in float64."""
    own = reader()
    start = starting_network(
        np.zeros(9), 2, hidden=(4,), stages=2, radius=1, reach=1 if through else -1, correction=True, seed=0
    )
    network = start.moved(0.4 * np.random.default_rng(1).standard_normal(start.vector.size))
    loss = NoisyLabelLoss(label_noise(GREY, 0.3))
    objective = Objective(own, [1.5, 1.5], Taylor(degree=14), loss)
    image = SCENES[0].image[:9, :11]
    prepared = own.with_features(own(Item(image, None), View(hidden=SIDE), (0,)))
    found, h, x = objective(network, prepared).derivative, 1e-6, network.vector
    at = np.random.default_rng(2).choice(x.size, 40, replace=False)
    for k in at:
        e = np.zeros(x.size)
        e[k] = h
        d = (objective(network.moved(x + e), prepared).loss - objective(network.moved(x - e), prepared).loss) / (2 * h)
        assert found[k] == pytest.approx(d, abs=1e-8)


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prototypes", [GREY, 2])
def test_it_labels_unseen_lines_better_than_pixels_and_uniform_weights(prototypes: Any) -> None:
    """Without a truth or a number about the noise, and where asked for without prototypes."""
    scenes = [gpulaf.scenes.voronoi_lines(64, sites=10, seed=seed) for seed in range(6)]
    predictor = WeightPredictor(n_prototypes=30, training=Training(steps=25, step_size=0.1))
    predictor.fit([s.image for s in scenes[:4]], prototypes=prototypes, progress=False)
    dark = int(predictor.label_prototypes_[:, 0].argmin())
    assert np.abs(np.sort(predictor.label_prototypes_, axis=0) - GREY).max() < 0.15
    wrong = []
    for s in scenes[4:]:
        labels = [
            np.where(predictor.label(s.image).labels == dark, 0, 1),
            np.abs(s.image - GREY[:, 0]).argmin(axis=-1),
            gpulaf.label(s.image, s.prototypes).labels,
        ]
        wrong.append([(x != s.truth).mean() for x in labels])
    learned, pixels, uniform = np.mean(wrong, axis=0)
    assert learned < 0.6 * min(pixels, uniform)


def test_learning_repeats_bit_for_bit_wherever_images_are(tmp_path: Path) -> None:
    """In memory or read at every step, as arrays, paths or files of the command line."""
    training = Training(steps=3, batch=2, crop=20, flips=True)
    first = blind(training=training)
    same(first, blind(training=replace(training, memory=0)))
    paths = [tmp_path / f"{k}.npy" for k in range(3)]
    for path, image in zip(paths, IMAGES, strict=False):
        write_array(path, image[..., 0])
    for images in (paths, Files(paths, "cpu")):
        own = WeightPredictor(8, training=training).fit(images, prototypes=GREY, progress=False)
        np.testing.assert_array_equal(own.tangents_, first.tangents_)


@pytest.mark.parametrize("kind", [WeightPredictor, WeightNetwork])
def test_a_killed_training_resumes_bit_for_bit(tmp_path: Path, kind: type) -> None:
    def training(**options: Any) -> Training:
        own = {"steps": 4, "batch": 2, "crop": 20, "step_size": 0.02}
        return Training(**own, loss=gpulaf.cross_entropy_loss, checkpoint=Checkpoint(tmp_path / "c", **options))

    held = {"validation": (IMAGES[3:],)}
    whole = blind(kind=kind, training=replace(training(), checkpoint=None), **held)
    blind(kind=kind, training=training(every=1), callback=lambda row, _: row.step == 2, **held)
    resumed = blind(kind=kind, training=training(resume=True), **held)
    np.testing.assert_array_equal(whole.weight_map().vector, resumed.weight_map().vector)
    assert [row[:5] for row in whole.history_] == [row[:5] for row in resumed.history_]
    with pytest.raises(ValueError, match="other noise"):
        blind(kind=kind, training=training(resume=True), noise=0.2, **held)
    even = np.array([[0.7, 0.3], [0.3, 0.7]])
    blind(kind=kind, training=replace(training(), checkpoint=Checkpoint(tmp_path / "d", every=1)), noise=even)
    again = replace(training(), checkpoint=Checkpoint(tmp_path / "d", resume=True))
    with pytest.raises(ValueError, match="other prototypes"):
        blind(kind=kind, training=again, noise=even, prototypes=GREY[::-1])


def test_training_in_every_library(xp: Any) -> None:
    training = Training(steps=2, crop=20)
    expected = WeightPredictor(8, training=training).fit(IMAGES[:2], prototypes=GREY, progress=False)
    found = WeightPredictor(8, training=training).fit([xp(x) for x in IMAGES[:2]], prototypes=GREY, progress=False)
    assert relative(found.tangents_, expected.tangents_) < 100 * tol(np.float32)


def test_the_progress_bar_says_that_pixels_differ_and_not_that_they_are_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = blind(2, progress=True)
    shown = capsys.readouterr().err.split("\r")[-1]
    assert f"loss {own.history_[-1].loss:.4f}, differs {100 * own.history_[-1].wrong:.2f} %" in shown


def test_the_history_says_what_hidden_pixels_say() -> None:
    """By hand for the first step: uniform weights leave the shares that the loss and the row tell."""
    network = blind(2, WeightNetwork, training=Training(steps=0))
    (row,) = network.history_
    own, losses, shares = network.reader, [], []
    loss = NoisyLabelLoss(network.transition_)
    for k, image in enumerate(IMAGES[:2]):
        prepared = own(Item(image, None), View(hidden=SIDE), (0, 0, k))
        flow = gpulaf.flows.DeepFlow(gpulaf.uniform_weights((32, 32)), network.starting_times, solver=network.solver)
        v = flow.solve(prepared.log_likelihood).v
        losses.append(loss(v, prepared.truth).value)
        shares.append((v.argmax(axis=-2) != prepared.truth)[prepared.truth >= 0].mean())
    assert row.loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert row.wrong == pytest.approx(np.mean(shares))


def test_the_best_parameters_on_hidden_pixels_of_other_images_are_kept() -> None:
    training = Training(steps=5, step_size=0.3, patience=4)
    predictor = blind(validation=(IMAGES[3:],), training=training)
    losses = [row.validation_loss for row in predictor.history_]
    assert f"step {int(np.argmin(losses))}." in predictor.reason_
    assert all(0 < row.validation_wrong < 0.5 for row in predictor.history_)


def test_a_training_that_ends_behind_uniform_weights_says_so() -> None:
    own = blind(2, training=Training(steps=2, step_size=30.0))
    told = r"Uniform weights say other labels than ([\d.]+) % of the hidden pixels on the training images and the "
    said = re.search(told + r"model ([\d.]+) %: take more steps", own.reason_)
    assert said is not None
    assert float(said[1]) < float(said[2])


def test_masks_volumes_and_units() -> None:
    mask = np.ones((32, 32), bool)
    mask[:, 20:] = False
    spoilt = IMAGES[0].copy()
    spoilt[:, 20:] = 1e3
    parts = [blind(2, masks=[mask, None]), WeightPredictor(8, training=Training(steps=3))]
    parts[1].fit([spoilt, IMAGES[1]], masks=[mask, None], prototypes=GREY, progress=False)
    same(*parts)
    assert parts[0].label_pixels_.sum() == mask.sum() + 32 * 32

    rng = np.random.default_rng(0)
    cube = np.kron(rng.integers(0, 2, (2, 3, 3)), np.ones((4, 4, 4)))
    volumes = [(1000 * (cube + 0.3 * rng.standard_normal(cube.shape))).astype(np.float32) for _ in range(2)]
    own = WeightPredictor(8, spacing=(2, 1, 1), range=(-1000, 2000), training=Training(steps=2))
    own.fit(volumes, prototypes=[[0], [1000]], noise=0.1, progress=False)
    assert own.label(volumes[0]).labels.shape == cube.shape
    np.testing.assert_allclose(own.label_prototypes_, (GREY + 1) / 3)
    np.testing.assert_allclose(own.transition_, label_noise(GREY, 0.3), atol=1e-9)


def test_a_matrix_of_noise_and_values_of_a_table() -> None:
    transition = np.array([[0.9, 0.2], [0.1, 0.8]])
    table = PrototypeTable(np.array([[1.0], [0.0]]), [40, 7], ["cell", "line"])
    own = blind(prototypes=table, noise=transition)
    np.testing.assert_array_equal(own.transition_, transition)
    assert own.classes_.tolist() == [7, 40]
    np.testing.assert_array_equal(own.label_prototypes_, GREY)
    values = np.where(TRUTHS[3] == 0, 7, 40)
    plain = blind(noise=transition)
    assert own.score(IMAGES[3:], [values]) == plain.score(IMAGES[3:], TRUTHS[3:])
    found = gpulaf.evaluate(own, IMAGES[3:], [values], progress=False)
    assert found.wrong["predicted weights"] == [pytest.approx(1 - plain.score(IMAGES[3:], TRUTHS[3:]))]


@pytest.mark.parametrize("kind", [WeightPredictor, WeightNetwork])
def test_save_and_load_bit_for_bit(tmp_path: Path, kind: type) -> None:
    own, path = blind(kind=kind), tmp_path / "model.safetensors"
    own.save(path)
    found = load_predictor(path)
    np.testing.assert_array_equal(found.transition_, own.transition_)
    np.testing.assert_array_equal(found.predict(IMAGES[3:])[0], own.predict(IMAGES[3:])[0])
    assert found.history_ == own.history_
    with_truth = kind(training=Training(steps=0)).fit(IMAGES[:2], TRUTHS[:2], progress=False)
    with_truth.save(path)
    assert load_predictor(path).transition_ is with_truth.transition_ is None


@pytest.mark.parametrize("stored", [[[0.9, 0.2], [0.2, 0.8]], [[1.0]], "x", 3])
def test_damaged_noise_in_a_file(tmp_path: Path, stored: Any) -> None:
    path = tmp_path / "model.safetensors"
    blind().save(path)
    change(path, {"transition": stored})
    with pytest.raises(ValueError, match="damaged metadata"):
        load_predictor(path)


# --- what is refused --------------------------------------------------------------------------------------------------

SOFT = [np.full((32, 32, 2), 0.5)] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prototypes": None}, "neither truths nor prototypes; accepted .* Pass prototypes"),
        ({"prototypes": 1}, "prototypes is 1; accepted"),
        ({"prototypes": [[0.0, 1.0]]}, r"prototypes have shape \(1, 2\); accepted"),
        ({"noise": 0}, "noise is 0"), ({"noise": float("nan")}, "noise is nan"),
        ({"noise": np.eye(3)}, r"noise is .*accepted is \(2, 2\)"),
        ({"noise": [0.3, 0.3]}, r"noise is [\s\S]*accepted is \(2, 2\)"),
        ({"probabilities": SOFT[:3]}, "probabilities goes with truths.* not independent between pixels"),
        ({"clean": IMAGES[:3]}, "clean goes with truths"), ({"unlabeled": 3}, "unlabeled goes with truths"),
        ({"validation": (IMAGES[3:], TRUTHS[3:])}, "validation holds more than images"),
        ({"validation": ()}, "validation holds more than images"),
        ({"prototypes": [[0.5], [0.5]]}, "transition makes the labels 0 and 1 alike"),
        ({"training": Training(balanced=True, loss=gpulaf.cross_entropy_loss)}, "balanced is True"),
        ({"training": Training(loss=gpulaf.learning.BoundaryLoss())}, "loss is BoundaryLoss.*Leave loss out"),
        ({"training": Training(patience=2)}, "patience is 2"),
    ],
    ids=lambda x: x if isinstance(x, str) else ",".join(x),
)  # fmt: skip
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        blind(**options)


def test_what_else_is_refused() -> None:
    with pytest.raises(ValueError, match="prototypes and noise are of images without truths"):
        WeightPredictor(8).fit(IMAGES[:1], TRUTHS[:1], prototypes=GREY)
    with pytest.raises(ValueError, match=r"no two by two pixels of the images show noise.* Pass noise\."):
        WeightPredictor(8).fit([np.zeros((8, 8))], prototypes=GREY)
    with pytest.raises(ValueError, match="training image 1: its mask holds no valid pixel"):
        blind(2, masks=[None, np.zeros((32, 32), bool)])
    with pytest.raises(TypeError, match="noise is 'much'; accepted are positive numbers"):
        blind(noise="much")
    bytes_ = [(255 * x.clip(0, 1)).astype(np.uint8) for x in IMAGES[:2]]
    with pytest.raises(ValueError, match=r"noise is 20; accepted .* range 0 to 255 .* 20 of 255 are 0\.0784"):
        WeightPredictor(8).fit(bytes_, prototypes=[[0], [255]], noise=20)
    for images, held in ((IMAGES[0], None), (IMAGES[:2], IMAGES[3:4])):
        with pytest.raises(TypeError, match=r"are one array of shape \(32, 32.*Put a single one into a list"):
            WeightPredictor(8).fit(images, prototypes=GREY, validation=held)


def test_a_model_that_numbers_labels_in_another_order_is_told() -> None:
    own = blind(prototypes=GREY[::-1])
    with pytest.warns(DataWarning, match=r"numbers its labels in another order: 1 for 0, 0 for 1\. So matched"):
        gpulaf.evaluate(own, IMAGES[3:], TRUTHS[3:], progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gpulaf.evaluate(blind(), IMAGES[3:], TRUTHS[3:], progress=False)
    with pytest.raises(ValueError, match="training image 1: it has 3 channels; accepted is 2 channels"):
        WeightPredictor(8, spacing=(1, 1)).fit([np.zeros((8, 8, 2)), np.ones((8, 8, 3))], prototypes=GREY)


# --- noise that neighbors share ---------------------------------------------------------------------------------------


def noisy(make: Any, sigma: float, seed: int, blur: float = 0.0, size: int = 64) -> np.ndarray:
    """A scene with noise of standard deviation σ, independent or blurred."""
    clean, rng = make(size, sites=10, noise=0.0, seed=seed).clean, np.random.default_rng(1000 + seed)
    noise = rng.standard_normal(clean.shape)
    if blur:
        noise = gaussian_filter(noise, (blur, blur, 0))
        noise /= noise.std()
    return clean + sigma * noise


def warned(images: list[np.ndarray], prototypes: Any) -> str:
    """The warning of a fit without steps, or none."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        own = WeightPredictor(2, rho=0.2, training=Training(steps=0))
        even = 0.5 * np.eye(len(prototypes)) + 0.5 / len(prototypes)  # spares drawing it
        own.fit(images, prototypes=prototypes, noise=even, progress=False)
    return " ".join(str(w.message) for w in found if issubclass(w.category, DataWarning))


@pytest.mark.parametrize(
    ("make", "sigma", "prototypes"),
    [
        (gpulaf.scenes.voronoi_lines, 0.3, GREY), (gpulaf.scenes.voronoi_lines, 0.5, GREY),
        (gpulaf.scenes.voronoi_colors, 0.3, CUBE), (gpulaf.scenes.voronoi_colors, 0.55, CUBE),
    ],
    ids=["lines 0.3", "lines 0.5", "colors 0.3", "colors 0.55"],
)  # fmt: skip
def test_noise_that_neighbors_share_is_told_and_other_noise_is_not(make: Any, sigma: float, prototypes: Any) -> None:
    for seed in range(20):
        assert "correlation" not in warned([noisy(make, sigma, seed)], prototypes), seed
    for seed, blur in product(range(5), (0.7, 1.0)):
        said = warned([noisy(make, sigma, seed, blur)], prototypes)
        assert re.search(r"correlation of 0\.\d+ between pixels at a distance of .* image\[::3, ::3\]", said), seed


@pytest.mark.parametrize(("blur", "step"), [(0.7, 3), (1.0, 4)])
def test_noise_of_pixels_further_apart_is_independent(blur: float, step: int) -> None:
    """The step that the warning names."""
    whole = noisy(gpulaf.scenes.voronoi_colors, 0.55, 0, blur=blur, size=192)
    assert "correlation" in warned([whole], CUBE)
    assert "correlation" not in warned([whole[::step, ::step]], CUBE)


def test_a_weak_blur_is_not_told() -> None:
    """Where the page draws the line."""
    assert "correlation" not in warned([noisy(gpulaf.scenes.voronoi_lines, 0.3, 0, blur=0.4, size=128)], GREY)


def test_textures_are_told() -> None:
    y, x = np.indices((64, 64))
    texture = 0.5 * (x > 32) + 0.15 * np.sin(y / 1.5) * np.sin(x / 1.5)
    image = texture + 0.05 * np.random.default_rng(0).standard_normal((64, 64))
    assert "texture" in warned([image], [[0.0], [0.5]])


@realdata
def test_micrographs_are_told() -> None:
    images = [read_image(DATA / "em" / f"image_0{k}.png")[:128, :128] for k in range(2)]
    assert "texture" in warned(images, [[0.32], [0.61]])


@pytest.mark.parametrize("shape", [(40, 50), (12, 20, 24)])
def test_correlations_by_their_definition(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Of normal noise smoothed by (1, 1)/√2 along the last axis, whose correlation is 1/2 at one step along it."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((*shape[:-1], shape[-1] + 1, 2)).astype(dtype)
    image = (z[..., :-1, :] + z[..., 1:, :]) / np.sqrt(2).astype(dtype)
    labels = np.where(np.arange(shape[-1]) < shape[-1] // 2, 0, 1) + np.zeros(shape, int)
    labels[0] = -1
    found = noise_correlation([image + 5 * labels[..., None].clip(0)], [labels])
    for c in found:
        along = c.lag[:-1] == (0,) * (len(shape) - 1) and c.lag[-1] == 1
        assert c.value == pytest.approx(0.5 if along else 0.0, abs=5 * c.deviation)
    pairs = np.prod(labels[1:].shape[:-1]) * (shape[-1] - 2) * 2
    deviation = next(c for c in found if c.lag[-1] == 1 and sum(c.lag) == 1).deviation
    assert deviation == pytest.approx(np.pi / 2 / pairs**0.5)


def test_labels_of_single_pixels_tell_nothing() -> None:
    found = noise_correlation([np.random.default_rng(0).random((4, 4, 1))], [np.arange(16).reshape(4, 4)])
    assert all(np.isnan(c.value) for c in found)
