"""Images are validated once, and kept within a memory budget that changes no result."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import IMAGES, TRUTHS, fitted, same

import gpulaf
from gpulaf import WeightPredictor, evaluate
from gpulaf.backend import validation
from gpulaf.integrators import Taylor
from gpulaf.io.images import write_array
from gpulaf.plots import predictor_figure
from gpulaf.prediction import Features, Training
from gpulaf.prediction.dataset import Reader
from gpulaf.prediction.initialization import starting_parameters
from gpulaf.prediction.objective import Objective
from gpulaf.prediction.prepared import PreparedImages
from gpulaf.prediction.samples import Item, Samples
from gpulaf.prediction.statistics import survey
from gpulaf.prediction.training import PredictorTraining
from gpulaf.prediction.views import View

SOFT = [np.random.default_rng(k).dirichlet(np.ones(2), t.shape) for k, t in enumerate(TRUTHS)]


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Calls of the two functions that validate, wherever they are imported."""
    calls: Counter[str] = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("image_features", "log_probabilities"):
            function = getattr(validation, name)
            for module in [m for key, m in sys.modules.items() if key.startswith("gpulaf.")]:
                if getattr(module, name, None) is function:
                    patch.setattr(module, name, counting(name, function))
        yield calls


@pytest.mark.parametrize("data_term", ["distances", "probabilities"])
def test_an_image_is_validated_once(monkeypatch: pytest.MonkeyPatch, data_term: str) -> None:
    """For labels, classes, an evaluation and a figure; with soft predictions these, too."""
    soft = data_term == "probabilities"
    predictor = fitted(1, 1, probabilities=SOFT[:1]) if soft else fitted(1, 1)
    one, two = ([SOFT[3]], SOFT[2:]) if soft else (None, None)
    use: Any = (lambda: predictor.refine(IMAGES[3], SOFT[3])) if soft else (lambda: predictor.label(IMAGES[3]))
    for images, do in [
        (1, use),
        (2, lambda: predictor.predict(IMAGES[2:], two)),
        (2, lambda: evaluate(predictor, IMAGES[2:], TRUTHS[2:], probabilities=two, progress=False)),
        (1, lambda: predictor_figure(predictor, IMAGES[3], TRUTHS[3], probabilities=one and one[0])),
    ]:
        with counted(monkeypatch) as calls:
            do()
        assert calls == {"image_features": images} | ({"log_probabilities": images} if soft else {})


@pytest.mark.parametrize("crop", [None, 9])
@pytest.mark.parametrize(("memory", "again"), [(0, 3), (None, 0), (70_000, 2)])
def test_a_step_validates_an_image_once_or_knows_it(
    monkeypatch: pytest.MonkeyPatch, crop: int | None, memory: int | None, again: int
) -> None:
    samples = Samples(IMAGES[:3], TRUTHS[:3], SOFT[:3])
    known = survey(samples)
    reader = Reader(1, 1.0, known.classes, known.label_prototypes)
    start, _ = starting_parameters(samples, reader, 5, 1)
    training = Training(memory=memory if crop is None or not memory else 30_000, crop=crop)
    objective = Objective(reader, [3.0], Taylor(), gpulaf.cosine_loss)
    trained = PredictorTraining(start, objective, samples, None, training, {})
    for step, expected in enumerate((3, again)):
        with counted(monkeypatch) as calls:
            trained.evaluate(step)
            trained.advance(step)
        if expected:
            assert calls == {"image_features": expected, "log_probabilities": expected}
        else:
            assert not calls


def test_no_more_is_kept_than_fits() -> None:
    samples = Samples(IMAGES[:3], TRUTHS[:3])
    reader = Reader(1, 0.1, np.array([0, 1]), np.array([[0.0], [1.0]]))
    size = reader.with_features(reader(samples[0])).nbytes
    assert size == 32 * 32 * 4 * (1 + 1 + 2 + 9)
    for memory, kept in ((0, 0), (size - 1, 0), (size, 1), (2 * size + 1, 2), (3 * size, 3)):
        images = PreparedImages(reader, memory)
        for _ in range(2):
            found = [images.get(samples, k) for k in range(3)]
        assert sum(images.get(samples, k) is found[k] for k in range(3)) == kept


OPTIONS: list[dict[str, Any]] = [
    {},
    {"training": {"crop": 13, "batch": 2}},
    {"training": {"crop": 40}, "features": Features("patch:1+gaussian:1")},
    {"training": {"crop": 7, "balanced": True}, "features": 2, "radius": 2, "n_layers": 2},
    {"training": {"batch": 1, "validate": 2}, "soft": True, "rho": 1.0},
    {"training": {"crop": 11}, "soft": True, "rho": 1.0},
]


@pytest.mark.filterwarnings("ignore::gpulaf.DataWarning")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_results_do_not_depend_on_the_budget(options: dict[str, Any]) -> None:
    """Bit for bit, where all, some or none of the images are kept; sizes and dtypes differ from image to image."""
    images = [(255 * IMAGES[0].clip(0, 1)).astype(np.uint8), IMAGES[1].astype(np.float64)[:30, :31], IMAGES[2]]
    truths, soft = [TRUTHS[0], TRUTHS[1][:30, :31].copy(), TRUTHS[2]], [SOFT[0], SOFT[1][:30, :31], SOFT[2]]
    truths[1][:20] = -1
    own = dict(options)
    training, probabilities = own.pop("training", {}), soft if own.pop("soft", False) else None
    validation = (IMAGES[3:], TRUTHS[3:]) if probabilities is None else (IMAGES[3:], TRUTHS[3:], SOFT[3:])
    found = []
    for memory in (0, 60_000, None):
        predictor = WeightPredictor(6, training=Training(steps=3, memory=memory, **training), **own)
        predictor.fit(images, truths, probabilities=probabilities, validation=validation, progress=False)
        found.append(predictor)
    for other in found[1:]:
        same(other, found[0])


@pytest.mark.parametrize("channels", [1, 2, 3, 9, 17])
def test_a_crop_of_a_prepared_image_is_the_prepared_crop(channels: int) -> None:
    rng = np.random.default_rng(channels)
    image = rng.integers(0, 256, (23, 31, channels)).astype(np.uint8)
    truth, soft = rng.integers(-1, 3, (23, 31)), rng.dirichlet(np.ones(3), (23, 31)).astype(np.float32)
    reader = Reader(1, 0.3, np.arange(3), rng.random((3, channels)))
    for probabilities in (None, soft):
        item = Item(image, truth, probabilities)
        whole = reader(item)
        for seed in range(5):
            for view in (View(side, flips) for side in (1, 4, 23, 40, None) for flips in (False, True)):
                for one, other in zip(whole.viewed(view, (seed,)), reader(item, view, (seed,)), strict=True):
                    np.testing.assert_array_equal(one, other)


def test_files_are_read_once_where_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [[tmp_path / f"{name}{k}.npy" for k in range(2)] for name in ("image", "truth")]
    for k in range(2):
        write_array(names[0][k], IMAGES[k])
        write_array(names[1][k], TRUTHS[k].astype(np.uint8))
    from gpulaf.prediction import samples

    read, calls = samples.read_image, Counter[str]()
    monkeypatch.setattr(samples, "read_image", lambda path, **_: calls.update([str(path)]) or read(path))
    kept = WeightPredictor(8, training=Training(steps=3)).fit(*names, progress=False)
    assert set(calls.values()) == {3}  # survey, start, training
    calls.clear()
    read_again = WeightPredictor(8, training=Training(steps=3, memory=0)).fit(*names, progress=False)
    assert set(calls.values()) == {7}  # and the comparison at the end
    same(kept, read_again)
