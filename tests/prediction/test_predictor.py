"""The estimator: learning, lazy reading, resuming, spreading over workers, files, and what it refuses."""

from __future__ import annotations

import os
import pickle
import re
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import IMAGES, SCENES, TRUTHS, change, fitted, same
from oracles import relative, tol
from realdata import DATA, realdata

import gpulaf
from gpulaf import WeightPredictor
from gpulaf.backend.array import host_array
from gpulaf.fields import from_rows, to_rows
from gpulaf.io.images import write_array
from gpulaf.learning import Checkpoint
from gpulaf.learning.loss import wrong_share
from gpulaf.prediction import Features, Parameters, Training, gaussian_features, patch_features
from gpulaf.prediction.dataset import Reader
from gpulaf.prediction.features import feature_names
from gpulaf.prediction.initialization import starting_parameters
from gpulaf.prediction.objective import Objective
from gpulaf.prediction.samples import Item, Samples, batch_of
from gpulaf.prediction.statistics import survey
from gpulaf.prediction.views import View

# --- learning -------------------------------------------------------------------------------------------------------


def test_it_labels_unseen_lines_better_than_pixels_and_uniform_weights() -> None:
    scenes = [gpulaf.scenes.voronoi_lines(64, sites=10, seed=seed) for seed in range(4)]
    predictor = WeightPredictor(n_prototypes=30, training=Training(steps=12))
    predictor.fit([s.image for s in scenes[:2]], [s.truth for s in scenes[:2]], progress=False)
    found, pixels, uniform = [], [], []
    for s in scenes[2:]:
        found.append((predictor.label(s.image).labels != s.truth).mean())
        pixels.append(wrong_share(-gpulaf.labeling.distances(s.image, s.prototypes), s.truth))
        uniform.append((gpulaf.label(s.image, s.prototypes).labels != s.truth).mean())
    assert np.mean(found) < 0.3 * min(np.mean(pixels), np.mean(uniform))
    losses = [row.loss for row in predictor.history_]
    assert len(losses) == 13
    assert losses[-1] < 0.5 * losses[0]
    assert predictor.reason_ == "All 12 steps were taken."


@pytest.mark.parametrize("data_term", ["distances", "probabilities"])
@pytest.mark.parametrize("loss", [gpulaf.cosine_loss, gpulaf.cross_entropy_loss])
def test_the_derivative_of_one_image_against_central_differences(data_term: str, loss: Any) -> None:
    """From the stored image to ∂p, ∂ν and ∂log σ, with a balanced loss and unlabeled pixels."""
    rng, h = np.random.default_rng(0), 1e-6
    image, truth = rng.random((6, 7, 2)), rng.choice([-1, 3, 5, 9], (6, 7))
    probabilities = rng.dirichlet(np.ones(3), (6, 7)) if data_term == "probabilities" else None
    reader = Reader(1, 0.5, np.array([3, 5, 9]), rng.random((3, 2)))
    objective = Objective(reader, [2.0], gpulaf.Taylor(degree=14), partial(loss, class_weights=[1.0, 2.0, 0.5]))
    shapes = Parameters(rng.random((3, 18)), rng.standard_normal((3, 9)), 0.3)
    vector, prepared = shapes.vector, reader.with_features(reader(Item(image, truth, probabilities)))
    found = objective(shapes.moved(vector), prepared).derivative
    steps = h * np.eye(len(vector))
    values = [
        [objective(shapes.moved(vector + sign * s), prepared, False).loss for sign in (1, -1)] for s in steps
    ]
    assert relative(found, [(up - down) / (2 * h) for up, down in values]) < 1e-6


@pytest.mark.parametrize("decay", [False, True])
def test_adam_by_its_formula(decay: bool) -> None:
    """Three steps of the whole training, from the derivatives of single images."""
    predictor = fitted(2, training=Training(steps=3, decay=decay))
    samples = Samples(IMAGES[:2], TRUTHS[:2])
    known = survey(samples)
    reader = Reader(1, 0.1, known.classes, known.label_prototypes)
    start, _ = starting_parameters(samples, reader, 8, 1)
    objective = Objective(reader, [3.0], gpulaf.Taylor(), gpulaf.cosine_loss)
    prepared = [reader.with_features(reader(samples[i])) for i in range(2)]
    x = start.vector
    m = s = 0.0
    for k in range(1, 4):
        g = sum(objective(start.moved(x), image).derivative for image in prepared) / 2
        m, s = 0.9 * m + 0.1 * g, 0.99 * s + 0.01 * g**2
        h = 0.05 * (np.cos(np.pi * (k - 1) / 6) ** 2 if decay else 1)
        x = x - h * (m / (1 - 0.9**k)) / (np.sqrt(s / (1 - 0.99**k)) + 1e-8)
    found = predictor.weight_map().vector
    assert relative(found, x) < 1e-12


def test_the_start_counts_equal_labels() -> None:
    """A pixel alone at its prototype averages over neighbors in proportion to how often they share its label."""
    image = np.zeros((40, 40, 1))
    image[:, 20:] = 1.0
    truth = (image[..., 0] > 0).astype(int)
    samples = Samples([image], [truth])
    known = survey(samples)
    reader = Reader(1, 0.1, known.classes, known.label_prototypes)
    start, _ = starting_parameters(samples, reader, 10, 1)
    assert start.feature_prototypes.shape == (4, 9)  # inside both halves, and on both sides of the edge
    for p, nu in zip(start.feature_prototypes, start.tangents, strict=True):
        patch = p.reshape(3, 3)
        equal = patch == patch[1, 1]
        weights = np.exp(nu) / np.exp(nu).sum()
        assert weights.reshape(3, 3)[~equal].sum() < 0.03
        assert weights.reshape(3, 3)[equal].min() > 0.9 / equal.sum()
    assert start.sigma == 1.0
    np.testing.assert_allclose(start.tangents.sum(axis=1), 0, atol=1e-12)


def test_classes_of_any_kind_come_back() -> None:
    predictor = WeightPredictor(n_prototypes=5, training=Training(steps=1))
    truths = [np.where(TRUTHS[k] == 0, 7, 255).astype(np.uint8) for k in range(2)]
    predictor.fit(IMAGES[:2], truths, progress=False)
    assert predictor.classes_.tolist() == [7, 255]
    indices = fitted(2, 1, n_prototypes=5)
    for name in ("feature_prototypes_", "tangents_", "label_prototypes_"):
        np.testing.assert_array_equal(getattr(predictor, name), getattr(indices, name))
    pixels, labels = (np.concatenate([x[k].ravel() for k in range(2)]) for x in (IMAGES, TRUTHS))
    means = [pixels[labels == j].mean(dtype=np.float64) for j in (0, 1)]
    np.testing.assert_allclose(predictor.label_prototypes_.ravel(), means, rtol=1e-6)


def test_pixels_without_truth_do_not_count() -> None:
    """−1 and the value named are no labels; a crop always holds a labeled pixel."""
    rng = np.random.default_rng(0)
    masked = [np.where(rng.random(t.shape) < 0.5, -1, t) for t in TRUTHS[:2]]
    predictor = WeightPredictor(n_prototypes=8, training=Training(steps=2, crop=4))
    predictor.fit(IMAGES[:2], masked, progress=False)
    assert np.isfinite(predictor.tangents_).all()
    marked = [np.where(t == -1, 9, t) for t in masked]
    again = WeightPredictor(n_prototypes=8, training=Training(steps=2, crop=4))
    again.fit(IMAGES[:2], marked, unlabeled=9, progress=False)
    same(again, predictor)
    corner = np.full((32, 32), -1)
    corner[31, 30:] = 0, 1
    alone = WeightPredictor(2, training=Training(steps=2, crop=3)).fit(IMAGES[:1], [corner], progress=False)
    assert alone.label_prototypes_.ravel() == pytest.approx(IMAGES[0][31, 30:, 0])


def test_uint8_images_count_as_their_values_over_255(dtype: np.dtype[Any]) -> None:
    stored = [(np.clip(i, 0, 1) * 255).astype(np.uint8) for i in IMAGES[:2]]
    floats = [x * np.float32(1 / 255) for x in stored]
    a, b = (
        WeightPredictor(5, training=Training(steps=1)).fit(x, TRUTHS[:2], progress=False) for x in (stored, floats)
    )
    same(a, b)
    found = a.weights((stored[0] / 255).astype(dtype))
    assert host_array(found).dtype == dtype
    assert relative(found, a.weights(stored[0])) < 10 * tol("float32")
    assert a.label(stored[0]).labels.dtype == np.uint8


def test_weights_and_labels_in_every_library(xp: Any, dtype: np.dtype[Any]) -> None:
    predictor = fitted()
    image = IMAGES[3].astype(dtype)
    weights = predictor.weights(xp(image))
    gpulaf.averaging.check_weights(host_array(weights), (32, 32))
    assert relative(weights, predictor.weights(IMAGES[3].astype(np.float64))) < 10 * tol(dtype)
    labels = gpulaf.label(image, predictor.label_prototypes_, weights=host_array(weights))
    np.testing.assert_array_equal(host_array(predictor.label(xp(image)).labels), labels.labels)


def test_training_in_every_library(xp: Any) -> None:
    """Images of a library train there; the parameters come to the host."""
    predictor = WeightPredictor(n_prototypes=8, training=Training(steps=3))
    predictor.fit([xp(i) for i in IMAGES[:2]], TRUTHS[:2], progress=False)
    expected = fitted(2, 3)
    assert relative(predictor.tangents_, expected.tangents_) < 1e-3
    assert isinstance(predictor.feature_prototypes_, np.ndarray)


def test_probabilities_are_refined_with_the_weights_of_the_image() -> None:
    rng = np.random.default_rng(0)
    soft = [
        np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
        for x in (2 * np.eye(2)[t] + 1.2 * rng.standard_normal((*t.shape, 2)) for t in TRUTHS)
    ]
    predictor = WeightPredictor(n_prototypes=20, rho=1.0, training=Training(steps=10))
    predictor.fit(IMAGES[:2], TRUTHS[:2], probabilities=soft[:2], progress=False)
    wrong = (predictor.refine(IMAGES[3], soft[3]).labels != TRUTHS[3]).mean()
    assert wrong < 0.5 * (soft[3].argmax(axis=-1) != TRUTHS[3]).mean()
    assert wrong < 0.5 * (gpulaf.refine(soft[3]).labels != TRUTHS[3]).mean()
    with pytest.raises(ValueError, match=r"Call refine\(image, probabilities\)"):
        predictor.label(IMAGES[3])
    with pytest.raises(ValueError, match=r"probabilities have shape \(32, 32, 3\); accepted is \(H, W, 2\)"):
        predictor.refine(IMAGES[3], np.full((32, 32, 3), 1 / 3))
    with pytest.raises(ValueError, match="trained without probabilities"):
        fitted().refine(IMAGES[3], soft[3])


@pytest.mark.parametrize("data_term", ["distances", "probabilities"])
def test_labels_are_those_that_the_training_saw(data_term: str) -> None:
    """The last row of the history is what `label` and `refine` do on the training image."""
    soft = None if data_term == "distances" else np.random.default_rng(0).dirichlet(np.ones(2), (32, 32))
    training = Training(steps=2, loss=gpulaf.cross_entropy_loss)
    predictor = WeightPredictor(8, rho=0.4, time=2.0, training=training)
    predictor.fit(IMAGES[:1], TRUTHS[:1], probabilities=None if soft is None else [soft], progress=False)
    found = predictor.label(IMAGES[0]) if soft is None else predictor.refine(IMAGES[0], soft)
    assert predictor.history_[-1].wrong == pytest.approx((found.labels != TRUTHS[0]).mean())
    value = gpulaf.cross_entropy_loss(np.log(to_rows(found.probabilities)), TRUTHS[0]).value
    assert predictor.history_[-1].loss == pytest.approx(value, rel=1e-4)


def test_classes_without_a_pixel_are_allowed_with_probabilities() -> None:
    soft = [np.eye(4)[t] * 0.6 + 0.1 for t in TRUTHS[:1]]
    predictor = WeightPredictor(4, rho=1.0, training=Training(steps=1))
    predictor.fit(IMAGES[:1], TRUTHS[:1], probabilities=soft, progress=False)
    assert predictor.classes_.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"the truths hold the values \[0, 9\], the probabilities 4 labels"):
        predictor.fit(IMAGES[:1], [np.where(TRUTHS[0], 9, 0)], probabilities=soft, progress=False)


def test_balanced_losses_find_more_of_the_rare_class() -> None:
    noisy = [gpulaf.scenes.voronoi_lines(48, sites=6, noise=0.6, seed=seed) for seed in range(2)]
    shares = []
    for balanced in (False, True):
        training = Training(steps=10, balanced=balanced, loss=gpulaf.cross_entropy_loss)
        predictor = WeightPredictor(10, training=training)
        predictor.fit([s.image for s in noisy], [s.truth for s in noisy], progress=False)
        shares.append(np.mean([(predictor.label(s.image).labels == 0)[s.truth == 0].mean() for s in noisy]))
    assert shares[1] > shares[0] + 0.1


def test_feature_callables_and_larger_patches() -> None:
    assert fitted(features=2).feature_prototypes_.shape == (8, 25)
    predictor = fitted(features=partial(gaussian_features, scales=(1, 2)), radius=2)
    assert predictor.feature_prototypes_.shape == (8, 8)
    assert predictor.weights(IMAGES[0]).shape == (32, 25, 32)
    assert fitted(clean=[s.clean for s in SCENES[:2]]).feature_prototypes_.shape == (8, 9)


def test_the_units_of_features_do_not_matter() -> None:
    """Every feature of a callable is brought to the standard deviation 1, constant ones stay."""

    def features(image: Any, scale: Any = (1.0, 1.0, 1.0)) -> Any:
        values = np.concatenate([image, image**2, np.ones_like(image)], axis=-1)
        return to_rows(values * np.asarray(scale, image.dtype))

    predictor, other = fitted(features=features), fitted(features=partial(features, scale=(64.0, 2**-8, 8.0)))
    pixels = np.concatenate([from_rows(features(i)).reshape(-1, 3) for i in IMAGES[:2]])
    expected = 1 / pixels[:, :2].std(axis=0, dtype=np.float64)
    np.testing.assert_allclose(predictor.feature_scale_[:2], expected, rtol=1e-6)  # of all pixels, so few are there
    assert predictor.feature_scale_[2] == 1
    assert relative(other.weights(IMAGES[3]), predictor.weights(IMAGES[3])) < 1e-3
    assert (fitted().feature_scale_ == 1).all()


def test_fewer_different_patches_than_prototypes() -> None:
    image = np.add.outer(np.arange(8), np.arange(8)) % 2.0
    predictor = WeightPredictor(50, training=Training(steps=1)).fit([image], [image.astype(int)], progress=False)
    assert predictor.feature_prototypes_.shape == (2, 9)


# --- batches, crops, validation, early stopping ---------------------------------------------------------------------


def test_batches_take_every_image_equally_often() -> None:
    taken = [batch_of(step, 5, 2, 3) for step in range(5)]
    assert sorted(k for batch in taken for k in batch) == sorted([*range(5), *range(5)])
    assert taken != [batch_of(step, 5, 2, 3) for step in range(5, 10)]
    assert batch_of(4, 3, None, 0) == batch_of(0, 3, 7, 0) == [0, 1, 2]


def test_the_best_parameters_on_the_validation_are_kept() -> None:
    """Large steps on one image: the loss on another one falls and rises again."""
    seen: list[gpulaf.prediction.Parameters] = []
    predictor = fitted(
        1,
        validation=(IMAGES[3:], TRUTHS[3:]),
        training=Training(steps=40, step_size=0.2, patience=4),
        callback=lambda row, p: seen.append(p),
    )
    losses = [row.validation_loss for row in predictor.history_]
    best = int(np.argmin(losses))
    assert 0 < best == len(losses) - 5 < 35
    assert f"did not fall for 4 steps. The parameters are those of step {best}." in predictor.reason_
    np.testing.assert_array_equal(predictor.tangents_, seen[best].tangents)
    wrong = (predictor.label(IMAGES[3]).labels != TRUTHS[3]).mean()
    assert predictor.history_[best].validation_wrong == pytest.approx(wrong)
    assert predictor.history_[best].validation_wrong < predictor.history_[0].validation_wrong


def test_validation_every_few_steps_and_at_the_end() -> None:
    predictor = fitted(validation=(IMAGES[3:], TRUTHS[3:]), training=Training(steps=5, validate=3))
    assert [row.validation_loss is not None for row in predictor.history_] == [True, False, False, True, False, True]


def test_the_callback_ends_the_training() -> None:
    predictor = fitted(steps=9, callback=lambda row, parameters: row.step == 2)
    assert len(predictor.history_) == 3
    assert predictor.reason_ == "The callback ended the training after 2 steps."


# --- reading --------------------------------------------------------------------------------------------------------


class Counting:
    """A sequence of images that knows how many of them were alive at once."""

    def __init__(self, values: list[np.ndarray]) -> None:
        self.values, self.fetched, self.most = values, [], 0

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, k: int) -> np.ndarray:
        image = self.values[k].copy()
        self.fetched.append(weakref.ref(image))
        self.most = max(self.most, sum(reference() is not None for reference in self.fetched))
        return image


def test_one_image_at_a_time_is_in_memory() -> None:
    images, truths, held = Counting(IMAGES), Counting(TRUTHS), Counting(IMAGES[:3])
    predictor = WeightPredictor(6, training=Training(steps=2, memory=0))
    predictor.fit(images, truths, validation=(held, TRUTHS[:3]), progress=False)
    assert len(images.fetched) == 4 * 5  # survey, start, and three evaluations
    assert images.most == truths.most == held.most == 1
    assert not any(reference() is not None for reference in images.fetched)


def test_images_are_read_from_paths(tmp_path: Path) -> None:
    names: dict[str, list[Path]] = {"image": [], "truth": [], "soft": []}
    soft = [np.eye(2)[t].astype(np.float32) * 0.4 + 0.3 for t in TRUTHS[:2]]
    for k in range(2):
        for name, array in (("image", IMAGES[k]), ("truth", TRUTHS[k].astype(np.uint8)), ("soft", soft[k])):
            names[name].append(tmp_path / f"{name}{k}.{'png' if name == 'truth' else 'npy'}")
            write_array(names[name][k], array)
    training = Training(steps=2)
    read = WeightPredictor(8, training=training).fit(names["image"], [str(p) for p in names["truth"]], progress=False)
    same(read, fitted(2, 2))
    for probabilities in (names["soft"], soft):
        refined = WeightPredictor(8, training=training).fit(
            names["image"], TRUTHS[:2], probabilities=probabilities, progress=False
        )
        assert refined.on_probabilities_


def test_images_of_different_sizes() -> None:
    images, truths = [IMAGES[0], IMAGES[1][:20, :31]], [TRUTHS[0], TRUTHS[1][:20, :31]]
    for training in (Training(steps=1), Training(steps=1, crop=25)):
        WeightPredictor(8, training=training).fit(images, truths, progress=False)


# --- resuming -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"batch": 2, "crop": 20}, {"batch": 1, "validate": 2}])
def test_a_killed_training_resumes_bit_for_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "state"
    validation = (IMAGES[3:], TRUTHS[3:]) if "validate" in options else None

    def run(steps: int, checkpoint: Checkpoint | None, callback: Any = None) -> WeightPredictor:
        training = Training(steps=steps, checkpoint=checkpoint, **options)
        return fitted(3, training=training, validation=validation, callback=callback)

    def killed(row: Any, parameters: Any) -> None:
        if row.step == 5:
            raise KeyboardInterrupt

    whole = run(8, None)
    with pytest.raises(KeyboardInterrupt):
        run(8, Checkpoint(path, every=2), killed)
    same(run(8, Checkpoint(path, every=2, resume=True)), whole)
    same(run(11, Checkpoint(path, every=2, resume=True)), run(11, None))


def test_checkpoints_of_another_training_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    training = Training(steps=4, checkpoint=Checkpoint(path, every=2))
    fitted(training=training)
    with pytest.raises(FileExistsError, match="Resume from it, or name another"):
        fitted(training=training)
    again = Checkpoint(path, resume=True)
    for what, options in [
        ("rho", {"rho": 0.2}),
        ("time", {"time": 2.0}),
        ("solver", {"solver": gpulaf.Krylov()}),
        ("images", {"count": 3}),
        ("validation", {"validation": (IMAGES[3:], TRUTHS[3:])}),
        ("step_size", {"training": Training(steps=4, step_size=0.1, checkpoint=again)}),
        ("batch", {"training": Training(steps=4, batch=1, checkpoint=again)}),
        ("loss", {"training": Training(steps=4, loss=gpulaf.cross_entropy_loss, checkpoint=again)}),
        ("features", {"features": partial(gaussian_features, scales=(1, 2))}),
        ("features", {"features": Features("patch:1")}),
    ]:
        with pytest.raises(ValueError, match=rf"belongs to a training with other .*\b{what}\b"):
            fitted(**({"training": Training(steps=4, checkpoint=again)} | options))
    decaying = Training(steps=4, decay=True, checkpoint=Checkpoint(tmp_path / "other", every=2))
    fitted(training=decaying)
    for decay in (True, False):
        other = Training(steps=5, decay=decay, checkpoint=Checkpoint(tmp_path / "other", resume=True))
        with pytest.raises(ValueError, match="a training with other number of steps, over which the step size"):
            fitted(training=other)
    with pytest.raises(ValueError, match="has taken 4 steps, not 3"):
        fitted(training=Training(steps=3, checkpoint=again))


# --- a cluster ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["arrays", "paths"])
def test_spread_over_workers_it_learns_the_same(tmp_path: Path, stored: str) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra 'large' is not installed")
    images: list[Any] = IMAGES[:3]
    if stored == "paths":
        images = [tmp_path / f"{k}.npy" for k in range(3)]
        for path, image in zip(images, IMAGES, strict=False):
            write_array(path, image)
    training, options = Training(steps=3, crop=24), {"validation": (IMAGES[3:], TRUTHS[3:])}
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        spread = WeightPredictor(8, training=training)
        spread.fit(images, TRUTHS[:3], progress=False, cluster=client, **options)
    same(spread, fitted(3, training=training, **options))


def test_objectives_travel() -> None:
    """Between processes, everything that a worker needs is pickled."""
    reader = Reader(partial(gaussian_features, scales=(1,)), 0.1, np.array([0, 1]), np.array([[0.0], [1.0]]))
    loss = partial(gpulaf.cosine_loss, class_weights=np.ones(2))
    objective = Objective(reader, [3.0], gpulaf.Taylor(tol=1e-3), loss)
    parameters = Parameters(np.random.default_rng(0).random((5, 4)), np.eye(5, 9), 1.0)
    task = (parameters, Item(IMAGES[0], TRUTHS[0]), View(16, True), (0, 1, 2), True)
    there, arguments = pickle.loads(pickle.dumps((objective.of_item, task)))
    np.testing.assert_array_equal(there(*arguments).derivative, objective.of_item(*task).derivative)


def test_what_is_no_cluster() -> None:
    with pytest.raises(TypeError, match=r"cluster is a str; accepted is a distributed\.Client.*gpulaf\[large\]"):
        fitted(cluster="local")


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [gpulaf.Taylor(), gpulaf.Krylov(tol=1e-3), gpulaf.Euler(steps=8)])
def test_save_and_load_bit_for_bit(tmp_path: Path, solver: Any) -> None:
    predictor = fitted(solver=solver, rho=0.2, validation=(IMAGES[3:], TRUTHS[3:]))
    predictor.save(tmp_path / "model.safetensors")
    back = WeightPredictor.load(tmp_path / "model.safetensors")
    same(predictor, back)
    assert back.get_params() == predictor.get_params()
    assert back.history_ == predictor.history_
    np.testing.assert_array_equal(back.weights(IMAGES[3]), predictor.weights(IMAGES[3]))
    np.testing.assert_array_equal(back.label(IMAGES[3]).probabilities, predictor.label(IMAGES[3]).probabilities)
    assert os.listdir(tmp_path) == ["model.safetensors"]


def doubled(image: Any, factor: float = 2.0) -> Any:
    return to_rows(np.concatenate([image, factor * image**2], axis=-1))


def test_feature_callables_are_asked_for(tmp_path: Path) -> None:
    features = partial(doubled, factor=3.0)
    predictor = fitted(features=features)
    predictor.save(tmp_path / "f")
    with pytest.raises(ValueError, match=r"test_predictor\.doubled\(factor=3\.0\).*features=…"):
        WeightPredictor.load(tmp_path / "f")
    back = WeightPredictor.load(tmp_path / "f", features=features)
    np.testing.assert_array_equal(back.weights(IMAGES[3]), predictor.weights(IMAGES[3]))
    wrong = WeightPredictor.load(tmp_path / "f", features=gaussian_features)
    with pytest.raises(ValueError, match=r"features have shape \(32, 12, 32\); accepted is \(H, 2, W\)"):
        wrong.weights(IMAGES[3])
    fitted().save(tmp_path / "g")
    with pytest.raises(ValueError, match=r"raw patches of radius 1\. Leave features out"):
        WeightPredictor.load(tmp_path / "g", features=features)


@pytest.mark.parametrize(
    ("features", "names"),
    [
        (gaussian_features, "gaussian:1,2,4"),
        (partial(gaussian_features, scales=(0.7, 2)), "gaussian:0.7,2"),
        (patch_features, "patch:1"),
        (Features("patch"), "patch:1"),
        (Features("patch:2 + gaussian:1.5"), "patch:2+gaussian:1.5"),
    ],
)
def test_features_of_this_library_come_back_with_the_model(tmp_path: Path, features: Any, names: str) -> None:
    assert feature_names(features) == names
    predictor = fitted(features=features)
    predictor.save(tmp_path / "f")
    for given in (None, features):
        back = WeightPredictor.load(tmp_path / "f", features=given)
        same(back, predictor)
        np.testing.assert_array_equal(back.weights(IMAGES[3]), predictor.weights(IMAGES[3]))
    back.save(tmp_path / "g")
    same(WeightPredictor.load(tmp_path / "g"), predictor)
    with pytest.raises(ValueError, match=f"with the features {names.replace('+', '.')!r}. Leave features out"):
        WeightPredictor.load(tmp_path / "f", features=partial(gaussian_features, scales=(3,)))


def test_features_side_by_side_are_those_of_each(xp: Any, dtype: np.dtype[Any]) -> None:
    image = np.random.default_rng(0).random((7, 9, 2)).astype(dtype)
    parts = [patch_features(image, 2), gaussian_features(image, (1, 3)), patch_features(image, 0)]
    if xp.name != "strict":  # Gaussian derivatives are NumPy's and CuPy's
        found = host_array(Features("patch:2+gaussian:1,3+patch:0")(xp(image)))
        assert relative(found, np.concatenate(parts, axis=-2)) < tol(dtype)
        assert found.dtype == dtype
    found = host_array(Features("patch:2+patch:0")(xp(image)))
    np.testing.assert_array_equal(found, np.concatenate(parts[::2], axis=-2))


@pytest.mark.parametrize(
    "names",
    ["", "cats", "patch:", "patch:x", "patch:1.5", "patch:-1", "patch:inf", "patch:1,2", "gaussian:0", "gaussian:nan",
     "gaussian:", "patch+", "gaussian:1;2"],
)  # fmt: skip
def test_names_that_are_no_features(names: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"features are {names!r}") + r".*(like|accepted are) patch:1, "):
        Features(names)


def test_callables_of_others_have_no_names() -> None:
    for features in (doubled, partial(doubled), partial(gaussian_features, np.zeros((2, 2, 1))), np.sqrt):
        assert feature_names(features) is None


def test_an_unchanged_file_is_read(tmp_path: Path) -> None:
    fitted().save(tmp_path / "f")
    change(tmp_path / "f")
    same(WeightPredictor.load(tmp_path / "f"), fitted())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tangents": None}, "f lacks tangents"),
        ({"feature_scale": np.ones(8)}, "do not fit together"),
        ({"sigma": None, "classes": None}, "f lacks sigma, classes"),
        ({"tangents": np.zeros((8, 25))}, "do not fit together for weight patches of radius 1"),
        ({"tangents": np.zeros((7, 9))}, "do not fit together"),
        ({"feature_prototypes": np.zeros((8, 10))}, "do not fit together .* raw patches of radius 1"),
        ({"classes": np.zeros(3, np.int64)}, "do not fit together"),
        ({"sigma": np.zeros(1)}, "do not fit together"),
        ({"sigma": np.array(0.0)}, "which is not positive"),
        ({"tangents": np.full((8, 9), np.nan)}, "holds values that are not finite"),
        ({"metadata": {"integrator": ["Taylor", {}]}}, r"f was written by gpulaf 0\.1; .*Train the predictor again"),
        ({"metadata": {"options": None}}, r"damaged metadata \(KeyError\('options'\)\)"),
        ({"metadata": {"solver": ["Magic", {}]}}, "damaged metadata"),
        ({"metadata": {"features": {"names": "magic"}}}, "damaged metadata"),
        ({"metadata": {"features": {}}}, "damaged metadata"),
        ({"metadata": {"history": [[1]]}}, "damaged metadata"),
        ({"metadata": {"version": "2"}}, r"format version 2; accepted is up to 1\. Update gpulaf"),
    ],
)
def test_damaged_models(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    fitted().save(tmp_path / "f")
    change(tmp_path / "f", **changes)
    with pytest.raises(ValueError, match=message):
        WeightPredictor.load(tmp_path / "f")


@pytest.mark.parametrize("changed", [{"radius": 2}, {"n_layers": 2}, {"features": 2}])
def test_options_that_do_not_fit_what_was_learned_are_not_saved(tmp_path: Path, changed: dict[str, int]) -> None:
    predictor = fitted()
    before = predictor.get_params(deep=False)
    predictor.set_params(**changed)
    with pytest.raises(ValueError, match=r"this WeightPredictor holds .* do not fit together .*Set the options back"):
        predictor.save(tmp_path / "f")
    assert os.listdir(tmp_path) == []
    predictor.set_params(**before).save(tmp_path / "f")
    same(WeightPredictor.load(tmp_path / "f"), predictor)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    fitted().save(tmp_path / "f")
    content = (tmp_path / "f").read_bytes()
    (tmp_path / "half").write_bytes(content[: len(content) // 2])
    (tmp_path / "pickle").write_bytes(pickle.dumps({"feature_prototypes": np.zeros(3)}))
    gpulaf.io.write_tensors(tmp_path / "weights", "weights", {"weights": np.zeros(3)}, {})
    for name, message in (
        ("half", "no readable safetensors file"),
        ("pickle", "no readable safetensors file"),
        ("weights", "weights holds weights of gpulaf learn; accepted is a model"),
    ):
        with pytest.raises(ValueError, match=message):
            WeightPredictor.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        WeightPredictor.load(tmp_path / "none")


def test_solvers_of_your_own_cannot_be_stored(tmp_path: Path) -> None:
    class Mine(gpulaf.Taylor):
        pass

    with pytest.raises(ValueError, match="a file can hold Euler, Krylov, Taylor"):
        fitted(solver=Mine()).save(tmp_path / "f")
    assert os.listdir(tmp_path) == []


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_prototypes": 0}, "n_prototypes is 0; accepted are whole numbers from 1"),
        ({"radius": 0.5}, "radius is 0.5; accepted are whole numbers from 1"),
        ({"features": -1}, "features is -1; accepted are whole numbers from 0 to 100, names, or a callable"),
        ({"features": lambda i: to_rows(i[:3])}, r"the features have shape \(3, 1, 32\); accepted is \(32, F, 32\)"),
        ({"features": lambda image: image}, r"the features have shape \(32, 32, 1\); .*gpulaf\.fields\.to_rows"),
        ({"features": lambda image: to_rows(image * np.nan)}, "features hold values that are NaN"),
        ({"rho": 0}, "rho is 0; accepted are positive numbers"),
        ({"time": -1}, "time is -1"),
        ({"validation": (IMAGES,)}, "validation holds 1 parts"),
        ({"validation": (IMAGES, TRUTHS[:1])}, "there are 4 validation images and 1 of their truths"),
        ({"validation": (IMAGES, TRUTHS, TRUTHS)}, "probabilities are given for one of training and validation"),
        ({"validation": (IMAGES, [t + 1 for t in TRUTHS])}, r"validation image 0: .*value 2; accepted are \[0, 1\]"),
        ({"training": Training(patience=3)}, "patience is 3, but there is no validation"),
        ({"clean": IMAGES[:1]}, "there are 2 images and 1 clean ones"),
        ({"clean": [i[:9] for i in IMAGES[:2]]}, r"clean image 0 has shape \(9, 32, 1\)"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(**options)


@pytest.mark.parametrize(
    ("images", "truths", "message"),
    [
        ([], [], "there are 0 training images and 0"),
        (IMAGES[:2], TRUTHS[:1], "there are 2 training images and 1 of their truths"),
        ("image.png", TRUTHS, "training images are a str; accepted is a sequence.*into a list"),
        ([IMAGES[0], IMAGES[1][:9]], TRUTHS[:2], r"training image 1: its truth has shape .* accepted is \(9, 32\)"),
        ([IMAGES[0], np.zeros((32, 32, 3))], TRUTHS[:2], "training image 1: it has 3 channels; accepted is 1 channels"),
        (IMAGES[:1], [TRUTHS[0] - TRUTHS[0]], r"the truths hold the labels \[0\]; accepted are at least two"),
        (IMAGES[:2], [TRUTHS[0], np.full((32, 32), -1)], "training image 1: its truth holds no labeled pixel"),
        (IMAGES[:1], [TRUTHS[0] * 0.5], "training image 0: its truth holds float64 .* no whole numbers, as 0.5"),
        (IMAGES[:1], [np.arange(1024).reshape(32, 32)], "its truth holds 1024 different values"),
        ([IMAGES[0] * np.nan], TRUTHS[:1], "training image 0: image holds 1024 value"),
        ([np.full((32, 32), "x")], TRUTHS[:1], "training image 0: image has dtype <U1"),
    ],
)  # fmt: skip
def test_images_that_are_refused(images: Any, truths: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        WeightPredictor(4, training=Training(steps=1)).fit(images, truths, progress=False)


def test_images_of_another_kind_than_the_training() -> None:
    predictor = fitted()
    for method in (predictor.weights, predictor.label):
        with pytest.raises(ValueError, match="image has 3 channels; accepted are 1, as in the training"):
            method(np.zeros((8, 8, 3)))
    for method in (WeightPredictor().weights, WeightPredictor().save):
        with pytest.raises(ValueError, match=r"not trained\. Call fit, or WeightPredictor\.load"):
            method(IMAGES[0])


def test_training_options_that_are_refused() -> None:
    for name, value in (
        ("steps", -1), ("memory", -1), ("batch", 0), ("crop", 1.5), ("validate", 0), ("patience", 0), ("seed", -1),
        ("step_size", 0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name} is {value}; accepted are"):
            Training(**{name: value})
    with pytest.raises(TypeError, match="takes no class_weights, which balanced asks for"):
        Training(loss=lambda v, truth: gpulaf.cosine_loss(v, truth), balanced=True)


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    def loss(v: Any, truth: Any) -> Any:
        value, g = gpulaf.cosine_loss(v, truth)
        return gpulaf.learning.loss.Loss(value, g * np.nan)

    with pytest.raises(FloatingPointError, match=r"after 0 steps. Take a shorter time or smaller steps"):
        fitted(training=Training(steps=2, loss=loss))


@realdata
def test_micrographs() -> None:
    """A few steps on small crops of real membranes are better than uniform weights on an unseen crop."""
    window = slice(100, 228), slice(200, 328)
    read = [
        [gpulaf.io.read_image(DATA / "em" / f"{kind}_{k:02d}.png")[window] for k in (0, 1, 2, 12)]
        for kind in ("image", "truth")
    ]
    predictor = WeightPredictor(20, training=Training(steps=25))
    predictor.fit(read[0][:3], read[1][:3], progress=False)
    image, truth = read[0][3] / np.float32(255), (read[1][3] == 255).astype(int)
    uniform = (gpulaf.label(image, predictor.label_prototypes_).labels != truth).mean()
    assert (predictor.label(read[0][3]).labels != truth).mean() < 0.95 * uniform
