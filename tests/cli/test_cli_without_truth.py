"""gpulaf train without ground truth: files that it learns from, what it says, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import check_refusal, files_of, in_process

import gpulaf
from gpulaf import WeightPredictor
from gpulaf.io import read_image, write_array
from gpulaf.io.prototypes import read_prototypes
from gpulaf.prediction import Training, load_predictor
from gpulaf.prediction.metrics import confusion_matrix

pytestmark = pytest.mark.usefixtures("without_cupy")

SCENES = [gpulaf.scenes.voronoi_lines(32, sites=6, noise=0.25, seed=seed) for seed in range(4)]
PIXELS = [(80 * s.image[..., 0].clip(-1, 2) + 90).round().astype(np.uint8) for s in SCENES]
VALUES = np.array([7, 40], np.uint8)
QUICK = ["--steps", "3", "--prototypes", "8"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for k in range(3):
        write_array(tmp_path / "images" / f"image_{k}.png", PIXELS[k])
    write_array(tmp_path / "image_3.png", PIXELS[3])
    write_array(tmp_path / "truth_3.png", VALUES[SCENES[3].truth])
    (tmp_path / "labels.csv").write_text("value,name,grey\n40,cell,170\n7,line,90\n")
    return tmp_path


def train(folder: Path, *options: Any) -> Any:
    done = in_process(folder, "train", "images", "-o", "new.safetensors", *options)
    assert (done.code, done.errors) == (0, "")
    return done.output


def test_train_writes_what_fit_learns(folder: Path) -> None:
    """The whole way: a model from images and a table of labels, what it says, evaluate and label with it."""
    output = train(folder, "--labels", "labels.csv", "--noise", 0.08, "--validate", "image_3.png", *QUICK)
    expected = WeightPredictor(8, training=Training(steps=3))
    table = read_prototypes(str(folder / "labels.csv"))
    expected.fit(PIXELS[:3], prototypes=table, noise=0.08, validation=(PIXELS[3:],), progress=False)
    found = load_predictor(folder / "new.safetensors")
    np.testing.assert_array_equal(found.tangents_, expected.tangents_)
    np.testing.assert_array_equal(found.transition_, expected.transition_)
    assert output.startswith(f"3 images without ground truth, 2 labels, {8 * 9 + 8 * 9 + 1} numbers learned\n")
    wrong = 100 * (1 - expected.transition_.diagonal())
    assert f"  noise: {wrong.min():.2f} to {wrong.max():.2f} % of the pixelwise labels wrong, by label\n" in output
    first, last = (100 * row.wrong for row in (expected.history_[0], expected.history_[-1]))
    assert f"  hidden pixels: {first:.2f} % say another label in the first step, {last:.2f} % in the last\n" in output
    assert re.search(r"  validation: \d+\.\d\d % say another label at first, \d+\.\d\d % with the model\n", output)
    assert " wrong in the first step" not in output
    assert output.endswith("model: new.safetensors\n")

    done = in_process(folder, "evaluate", "image_3.png", "--truth", "truth_3.png", "--model", "new.safetensors")
    labels = expected.predict(PIXELS[3:])[0]
    matrix = confusion_matrix(SCENES[3].truth, np.searchsorted(VALUES, labels).astype(np.int32), 2)
    share = 100 * (1 - matrix.trace() / matrix.sum())
    assert re.search(rf"wrong pixels .* {share:.2f} %\n", done.output)
    done = in_process(folder, "label", "image_3.png", "--model", "new.safetensors", "-o", "labels.png")
    assert done.code == 0
    np.testing.assert_array_equal(read_image(folder / "labels.png"), labels)


def test_labels_are_found_by_their_number(folder: Path) -> None:
    output = train(folder, "--labels", 2, *QUICK)
    found = load_predictor(folder / "new.safetensors")
    assert found.classes_.tolist() == [0, 1]
    assert np.abs(255 * np.sort(found.label_prototypes_[:, 0]) - [90, 170]).max() < 12
    assert len(re.findall(r"^ +[01] +\d+ ", output, re.M)) == 2


def test_a_killed_training_goes_on(folder: Path) -> None:
    options = ["--labels", "labels.csv", "--prototypes", "8", "--checkpoint", "c.safetensors"]
    train(folder, *options, "--steps", 20)
    output = train(folder, *options, "--steps", 22, "--resume")
    assert "All 22 steps were taken." in output
    assert "checkpoint" not in output


@pytest.mark.parametrize("kind", ["network", "prototypes"])
def test_volumes(tmp_path: Path, kind: str) -> None:
    cube = np.kron(np.random.default_rng(0).integers(0, 2, (2, 2, 2)), np.ones((4, 4, 4)))
    noise = np.random.default_rng(1).standard_normal(cube.shape)
    write_array(tmp_path / "images.npy", (cube + 0.3 * noise).astype(np.float32))
    done = in_process(
        tmp_path, "train", "images.npy", "-o", "new.safetensors", "--labels", 2, "--spacing", "2,1,1", "--steps", 1,
        "--predictor", kind, *(["--hidden", "4", "--layers", 1] if kind == "network" else []),
    )  # fmt: skip
    assert done.code == 0, done.errors
    assert load_predictor(tmp_path / "new.safetensors").axes == 3


def test_noise_that_neighbors_share_is_told(folder: Path) -> None:
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(0).standard_normal((64, 64)), 1)
    write_array(folder / "blurred.npy", ((np.indices((64, 64))[1] > 31) + noise).astype(np.float32))
    done = in_process(folder, "train", "blurred.npy", "-o", "new.safetensors", "--labels", 2, *QUICK)
    assert done.code == 0
    assert re.search(r"correlation of 0\.\d\d between pixels.* image\[::3, ::3\], or from ground truth\.", done.errors)
    assert "Traceback" not in done.errors


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "Give --truth, or --labels to learn without it"),
        ("--noise 0.3", "Give --truth, or --labels"),
        ("--labels 1", "--labels is 1; accepted are 2 to 256 labels"),
        ("--labels nothing", "prototypes are 'nothing'"),
        ("--labels nothing.csv", "nothing.csv does not exist"),
        ("--labels 2 --truth truth_3.png", "--labels is for images without ground truth"),
        ("--noise 3 --truth truth_3.png", "--noise is for images without ground truth"),
        ("--labels 2 --noise 0", "noise is 0.0; accepted are positive numbers"),
        ("--labels 2 --noise -1", "noise is -1.0"),
        ("--labels 2 --noise nan", "noise is nan"),
        ("--labels 2 --auto", "--auto needs ground truth. Give --truth"),
        ("--labels 2 --balanced", "--balanced needs ground truth"),
        ("--labels 2 --unlabeled 3", "--unlabeled needs ground truth"),
        ("--labels 2 --figure new.png", "--figure needs ground truth"),
        ("--labels 2 --probabilities images", "--probabilities needs ground truth"),
        ("--labels 2 --validate image_3.png --validate-truth truth_3.png", "--validate-truth needs ground truth"),
        ("--labels 2 --loss cosine", "--loss is cosine, which needs ground truth"),
        ("--labels 2 --loss connectivity --foreground 3", "--foreground needs ground truth"),
        ("--labels 2 --patience 3", "Name them with --validate."),
        ("--labels 2 --validate images", "is an image of the training and of the validation"),
        ("--labels 2 --spacing 2,1,1", "accepted as a volume"),
    ],
)
def test_mistakes_cost_one_line_and_no_file(folder: Path, options: str, said: str) -> None:
    before = files_of(folder)
    done = in_process(folder, "train", "images", "-o", "new.safetensors", *QUICK, *options.split())
    assert said in check_refusal(done, ("--", "prototypes", "noise", "images", "nothing"))
    assert files_of(folder) == before
