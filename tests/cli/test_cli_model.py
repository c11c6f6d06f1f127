"""gpulaf train, evaluate, label --model and refine --model: real files; a mistake costs one line and no file."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ENVIRONMENT, PROGRAM, check_mistake, gpulaf_process, succeeds

import gpulaf
from gpulaf import WeightPredictor
from gpulaf.cli import main
from gpulaf.cli.options import compile_notice
from gpulaf.io.images import read_image, write_array
from gpulaf.prediction import Training
from gpulaf.prediction.metrics import confusion_matrix, scores

pytestmark = pytest.mark.usefixtures("without_cupy")

VALUES = np.array([40, 200], np.uint8)
SCENES = [gpulaf.scenes.voronoi_lines(32, sites=6, noise=0.25, seed=seed) for seed in range(4)]
PIXELS = [(255 * s.image[..., 0].clip(0, 1)).round().astype(np.uint8) for s in SCENES]
TRUTHS = [VALUES[s.truth] for s in SCENES]
SOFT = [np.stack([0.9 - 0.8 * (p / 255), 0.1 + 0.8 * (p / 255)], axis=-1).astype(np.float32) for p in PIXELS]
QUICK = ["--steps", "3", "--prototypes", "8"]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder and of its folders."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/, truths/, soft/ (0, 1, 2), im_3 and its truth and soft prediction, models, and files that do not fit."""
    folder = tmp_path_factory.mktemp("prepared")
    for name, arrays, suffix in (("image", PIXELS, "png"), ("truth", TRUTHS, "png"), ("soft", SOFT, "npy")):
        (folder / f"{name}s").mkdir()
        for k in range(3):
            write_array(folder / f"{name}s" / f"{name}_{k}.{suffix}", arrays[k])
        write_array(folder / f"{name}_3.{suffix}", arrays[3])
    for name, soft in (("m", None), ("soft", SOFT[:3])):
        predictor = WeightPredictor(8, rho=0.1 if soft is None else 1.0, training=Training(steps=3))
        predictor.fit(PIXELS[:3], TRUTHS[:3], probabilities=soft, progress=False)
        predictor.save(folder / f"{name}.safetensors")
    content = (folder / "m.safetensors").read_bytes()
    (folder / "half.safetensors").write_bytes(content[: len(content) // 2])
    gpulaf.io.write_tensors(folder / "w.safetensors", "weights", {"weights": gpulaf.uniform_weights((32, 32))}, {})
    write_array(folder / "color.png", np.zeros((32, 32, 3), np.uint8))
    write_array(folder / "small.png", TRUTHS[0][:20])
    write_array(folder / "three.npy", np.full((32, 32, 3), 1 / 3, np.float32))
    (folder / "other").mkdir()
    write_array(folder / "other" / "truth_0.png", TRUTHS[0] + np.uint8(1))
    (folder / "part.png").write_bytes((folder / "image_3.png").read_bytes()[:100])
    (folder / "empty").mkdir()
    (folder / "folder.png").mkdir()
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(prepared, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def runs(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Standard output of a run within this process; standard error stays silent."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)), prog_name="gpulaf")
    output, errors = capsys.readouterr()
    assert (stopped.value.code, errors) == (0, "")
    return output


# --- train ----------------------------------------------------------------------------------------------------------


def test_train_writes_what_fit_learns(folder: Path) -> None:
    output = succeeds(
        folder, "train", "images", "--truth", "truths", "-o", "new.safetensors", *QUICK, "--figure", "new.png",
        "--validate", "image_3.png", "--validate-truth", "truth_3.png", "--seed", 2, "--step-size", 0.1, "--rho", 0.2,
        "--time", 2,
    )  # fmt: skip
    training = Training(steps=3, step_size=0.1, seed=2)
    expected = WeightPredictor(8, rho=0.2, time=2.0, training=training, seed=2)
    expected.fit(PIXELS[:3], TRUTHS[:3], validation=(PIXELS[3:], TRUTHS[3:]), progress=False)
    found = WeightPredictor.load(folder / "new.safetensors")
    assert found.get_params() == expected.get_params()
    for name in ("feature_prototypes_", "tangents_", "sigma_", "classes_", "label_prototypes_"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    rows = expected.history_
    kept = rows[int(np.argmin([row.validation_loss for row in rows]))]
    assert output.startswith(f"3 images, 2 labels, {8 * 9 + 8 * 9 + 1} numbers learned\n")
    assert f"  training: {100 * rows[0].wrong:.2f} % wrong in the first step, {100 * rows[-1].wrong:.2f} % in" in output
    first, last = 100 * rows[0].validation_wrong, 100 * kept.validation_wrong
    assert f"{first:.2f} % wrong at first, {last:.2f} % with the model\n" in output
    assert output.endswith("figure: new.png\nmodel: new.safetensors\n")
    assert read_image(folder / "new.png").std() > 20


def test_every_option_of_training_arrives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images by a glob, truths by repeated names in another order, soft predictions from a folder."""
    names = [f"truths/truth_{k}.png" for k in (2, 0, 1)]
    runs(
        capsys, "train", "images/*.png", *(x for name in names for x in ("--truth", name)), "-o", "new.safetensors",
        "--probabilities", "softs", "--validate", "image_3.png", "--validate-truth", "truth_3.png",
        "--validate-probabilities", "soft_3.npy", "--features", "patch:1+gaussian:1", "--radius", 2, "--batch", 2,
        "--crop", 20, "--decay", "--balanced", "--patience", 9, "--loss", "cross-entropy", "--unlabeled", 7, *QUICK,
    )  # fmt: skip
    training = Training(
        steps=3, batch=2, crop=20, decay=True, balanced=True, patience=9, loss=gpulaf.cross_entropy_loss
    )
    features = gpulaf.prediction.Features("patch:1+gaussian:1")
    expected = WeightPredictor(8, features=features, radius=2, rho=1.0, training=training)
    validation = PIXELS[3:], TRUTHS[3:], SOFT[3:]
    expected.fit(PIXELS[:3], TRUTHS[:3], probabilities=SOFT[:3], validation=validation, progress=False)
    found = WeightPredictor.load(folder / "new.safetensors")
    assert found.get_params() == expected.get_params()
    assert found.on_probabilities_
    np.testing.assert_array_equal(found.tangents_, expected.tangents_)
    np.testing.assert_array_equal(found.weights(PIXELS[3]), expected.weights(PIXELS[3]))


@pytest.mark.parametrize("shared", [False, True])
def test_layers_arrive_and_label_and_refine(folder: Path, capsys: pytest.CaptureFixture[str], shared: bool) -> None:
    layers = ["--layers", 3, *(["--shared-layers"] if shared else [])]
    runs(capsys, "train", "images", "--truth", "truths", "-o", "n.safetensors", *QUICK, *layers, "--figure", "n.png")
    predictor = WeightPredictor(8, n_layers=3, shared_layers=shared, training=Training(steps=3))
    predictor.fit(PIXELS[:3], TRUTHS[:3], progress=False)
    found = WeightPredictor.load("n.safetensors")
    assert found.get_params() == predictor.get_params()
    np.testing.assert_array_equal(found.tangents_, predictor.tangents_)
    runs(capsys, "label", "image_3.png", "--model", "n.safetensors", "-o", "l.png")
    np.testing.assert_array_equal(read_image("l.png"), VALUES[predictor.label(PIXELS[3]).labels])
    output = runs(capsys, "evaluate", "image_3.png", "--truth", "truth_3.png", "--model", "n.safetensors")
    wrong = 100 * (VALUES[predictor.label(PIXELS[3]).labels] != TRUTHS[3]).mean()
    assert f"{wrong:.2f} %" in output.splitlines()[2]
    soft = ["--probabilities", "softs"]
    runs(capsys, "train", "images", "--truth", "truths", *soft, "-o", "s.safetensors", *QUICK, *layers)
    refining = WeightPredictor.load("s.safetensors")
    runs(capsys, "refine", "soft_3.npy", "--image", "image_3.png", "--model", "s.safetensors", "-o", "r.png")
    np.testing.assert_array_equal(read_image("r.png"), VALUES[refining.refine(PIXELS[3], SOFT[3]).labels])


@pytest.mark.parametrize(("text", "features"), [("patch", 1), ("patch:2", 2)])
def test_patches_alone_are_raw_patches(folder: Path, capsys: Any, text: str, features: int) -> None:
    runs(capsys, "train", "images", "--truth", "truths", "-o", "n.safetensors", *QUICK, "--features", text)
    assert WeightPredictor.load("n.safetensors").features == features


def test_channels_first_and_unlabeled_pixels(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = gpulaf.scenes.voronoi_colors(24, sites=6, noise=0.3, seed=3)
    truth = np.where(np.arange(24) < 8, 255, scene.truth).astype(np.uint8)
    write_array(folder / "c.npy", scene.image.transpose(2, 0, 1))
    write_array(folder / "c_truth.png", truth)
    runs(
        capsys, "train", "c.npy", "--truth", "c_truth.png", "-o", "n.safetensors", *QUICK, "--channel-axis", 0,
        "--unlabeled", 255,
    )  # fmt: skip
    expected = WeightPredictor(8, training=Training(steps=3))
    expected.fit([scene.image], [truth], unlabeled=255, progress=False)
    found = WeightPredictor.load("n.safetensors")
    np.testing.assert_array_equal(found.tangents_, expected.tangents_)
    runs(capsys, "label", "c.npy", "--model", "n.safetensors", "-o", "n.png", "--channel-axis", 0)
    labels = expected.label(scene.image).labels
    np.testing.assert_array_equal(read_image("n.png"), expected.classes_[labels])
    output = runs(
        capsys, "evaluate", "c.npy", "--truth", "c_truth.png", "--model", "n.safetensors", "--channel-axis", 0,
        "--unlabeled", 255,
    )  # fmt: skip
    assert f"{np.sum(truth != 255)} labeled pixels" in output


def test_training_that_was_killed_resumes_bit_for_bit(folder: Path) -> None:
    train = ["train", "images", "--truth", "truths", "--steps", "40", "--prototypes", "8"]
    succeeds(folder, *train, "-o", "undisturbed.safetensors")
    checkpointed = [*train, "-o", "new.safetensors", "--checkpoint", "state.safetensors"]
    process = subprocess.Popen(
        [str(PROGRAM), *checkpointed], cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with process:
        while not (folder / "state.safetensors").exists() and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "new.safetensors").exists()
    refused = gpulaf_process(folder, *checkpointed)
    check_mistake(refused.returncode, refused.stderr, r"state\.safetensors exists\. Resume from it")
    succeeds(folder, *checkpointed, "--resume")
    one, two = (WeightPredictor.load(folder / f"{name}.safetensors") for name in ("undisturbed", "new"))
    assert one.tangents_.tobytes() == two.tangents_.tobytes()
    assert [row[:3] for row in one.history_] == [row[:3] for row in two.history_]


# --- label and refine -----------------------------------------------------------------------------------------------


def test_label_with_a_model_writes_the_values_of_the_truth(folder: Path) -> None:
    output = succeeds(
        folder, "label", "image_3.png", "--model", "m.safetensors", "-o", "new.png", "--probabilities", "new.npy",
        "--preview", "see.png",
    )  # fmt: skip
    assert re.fullmatch(r"32×32 pixels, 2 labels, error \d\.\de-\d+: new\.png\n  label .*", output, re.S)
    expected = WeightPredictor.load(folder / "m.safetensors").label(PIXELS[3])
    np.testing.assert_array_equal(read_image(folder / "new.png"), VALUES[expected.labels])
    np.testing.assert_allclose(np.load(folder / "new.npy"), expected.probabilities, atol=1e-6)
    assert read_image(folder / "see.png").shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["probabilities", "logits", "planar"])
def test_refine_with_a_model(folder: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    stored = {"probabilities": SOFT[3], "logits": np.log(SOFT[3]) + 3, "planar": np.moveaxis(SOFT[3], -1, 0)}[kind]
    write_array(folder / "p.npy", stored)
    options = {"probabilities": [], "logits": ["--logits"], "planar": ["--label-axis", 0]}[kind]
    runs(
        capsys, "refine", "p.npy", "--image", "image_3.png", "--model", "soft.safetensors", "-o", "new.png", *options,
        "--probabilities", "new.npy",
    )  # fmt: skip
    expected = WeightPredictor.load("soft.safetensors").refine(PIXELS[3], SOFT[3])
    np.testing.assert_array_equal(read_image("new.png"), VALUES[expected.labels])
    np.testing.assert_allclose(np.load("new.npy"), expected.probabilities, atol=1e-5)


# --- evaluate -------------------------------------------------------------------------------------------------------


def test_evaluate_prints_and_writes_the_same_numbers(folder: Path) -> None:
    output = succeeds(
        folder, "evaluate", "images", "image_3.png", "--truth", "truths", "--truth", "truth_3.png", "--model",
        "m.safetensors", "--each", "--json", "new.json", "--confusion", "new.png",
    )  # fmt: skip
    predictor = WeightPredictor.load(folder / "m.safetensors")
    labels = [predictor.label(pixels).labels for pixels in PIXELS]
    confusion = sum(confusion_matrix(s.truth, l, 2) for s, l in zip(SCENES, labels, strict=True))
    found, stored = scores(confusion), json.loads((folder / "new.json").read_text())
    assert stored["methods"]["predicted weights"]["confusion"] == confusion.tolist()
    assert stored["methods"]["predicted weights"]["iou"] == pytest.approx(found.iou.tolist())
    assert stored["classes"] == [40, 200]
    names = [*(f"images/image_{k}.png" for k in range(3)), "image_3.png"]
    assert [entry["image"] for entry in stored["images"]] == names
    assert output.startswith("4 images, 4096 labeled pixels, 2 labels\n")
    rows = {line.split("  ")[0]: re.findall(r"([\d.]+) %", line)[-3:] for line in output.splitlines() if line[0] != " "}
    assert rows["wrong pixels"][2] == f"{100 * found.wrong:.2f}"
    assert rows["mean IoU"][2] == f"{100 * found.mean_iou:.2f}"
    assert [f"{100 * stored['methods'][m]['wrong']:.2f}" for m in stored["methods"]] == rows["wrong pixels"]
    for name in ("recall", "precision", "iou"):
        shown = re.findall(rf"  {name} .*?([\d.]+) %\n", output, re.I)
        assert shown == [f"{100 * share:.2f}" for share in getattr(found, name)]
    for k, entry in enumerate(stored["images"]):
        wrong = np.mean(labels[k] != SCENES[k].truth)
        assert entry["wrong"]["predicted weights"] == pytest.approx(wrong)
        assert re.search(rf"  {entry['image']} .* {100 * wrong:.2f} %\n", output)
    assert read_image(folder / "new.png").std() > 20


def test_evaluate_a_model_that_refines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = runs(
        capsys, "evaluate", "image_3.png", "--truth", "truth_3.png", "--probabilities", "soft_3.npy", "--model",
        "soft.safetensors",
    )  # fmt: skip
    labels = WeightPredictor.load("soft.safetensors").refine(PIXELS[3], SOFT[3]).labels
    assert re.search(rf"wrong pixels .* {100 * np.mean(labels != SCENES[3].truth):.2f} %\n", output)


def test_a_class_that_is_not_there_has_no_number(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_array(folder / "bright.png", np.full((32, 32), 250, np.uint8))
    write_array(folder / "bright_truth.png", np.full((32, 32), 200, np.uint8))
    output = runs(
        capsys, "evaluate", "bright.png", "--truth", "bright_truth.png", "--model", "m.safetensors", "--json", "n.json",
        "--confusion", "n.pdf",
    )  # fmt: skip
    assert re.search(r"label 40, 0\.0 % of the pixels\n  recall +– +– +–\n", output)
    assert json.loads(Path("n.json").read_text())["methods"]["predicted weights"]["recall"] == [None, 1.0]


# --- compiling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [False, True])
def test_compiling_is_told_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    numba = pytest.importorskip("numba", reason="Numba is not installed")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with compile_notice():
        assert numba.njit(lambda x: x + 1)(1) == 2
        assert numba.njit(lambda x: x + 2)(1) == 3
    said = "".join(f"\rcompiling kernels, once ({k})" for k in (1, 2)) + "\n"
    assert capsys.readouterr().err == (said if terminal else "")


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are those of POSIX")
def test_the_first_command_of_a_fresh_machine_tells_what_it_waits_for(folder: Path) -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    terminal, end = os.openpty()
    command = [str(PROGRAM), "label", "image_3.png", "--prototypes", "2", "-o", "new.png"]
    environment = ENVIRONMENT | {"NUMBA_CACHE_DIR": str(folder / "cache")}
    with os.fdopen(terminal, "rb", buffering=0) as read:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=end, check=False)
        os.close(end)
        said = read.read(10_000).decode()
    assert done.returncode == 0
    counts = [int(n) for n in re.findall(r"compiling kernels, once \((\d+)\)", said)]
    assert counts == list(range(1, len(counts) + 1)) != []
    assert said.endswith("\n")


# --- mistakes -------------------------------------------------------------------------------------------------------

TRAIN = "train images --truth truths"
EVALUATE = "evaluate image_3.png --truth truth_3.png"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train 'images/*.tif' --truth truths -o new.safetensors", r"images/\*\.tif matches no image file"),
        ("train images/image_0.png images/image_1.png --truth truth_3.png -o new.safetensors", "no truth for"),
        ("train image_3.png --truth small.png -o new.safetensors", r"training image 0 \(image_3\.png\): .*\(20, 32\)"),
        ("label image_3.png --model half.safetensors -o new.png", r"half\.safetensors is no readable"),
        (f"{EVALUATE} --model none.safetensors", r"none\.safetensors does not exist"),
    ],
)
def test_mistakes_of_a_process(folder: Path, arguments: str, said: str) -> None:
    before = tree(folder)
    done = gpulaf_process(folder, *arguments.replace("'", "").split())
    check_mistake(done.returncode, done.stderr, said)
    assert done.stdout == ""
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train --truth truths -o new.safetensors", "IMAGES"),
        ("train images -o new.safetensors", "--truth"),
        (TRAIN, "-o"),
        (f"{TRAIN} -o new.png", r"'\.png'; models are written to \.safetensors"),
        (f"{TRAIN} -o none/new.safetensors", "folder none does not exist"),
        (f"{TRAIN} -o images", r"''; models"),
        (f"{TRAIN} -o new.safetensors --figure new.jpg", r"'\.jpg'; accepted for figures"),
        (f"{TRAIN} -o new.safetensors --figure folder.png", r"folder\.png is a folder"),
        (f"{TRAIN} -o new.safetensors --figure images/image_0.png", r"image_0\.png is also an input"),
        (f"{TRAIN} -o new.safetensors --checkpoint new.safetensors", "two results go to the same file"),
        (f"{TRAIN} -o new.safetensors --checkpoint none/s", "folder none does not exist"),
        (f"{TRAIN} -o new.safetensors --checkpoint m.safetensors", r"m\.safetensors exists\. Resume from it"),
        (f"{TRAIN} -o new.safetensors --checkpoint m.safetensors --resume", "holds a model of"),
        (f"{TRAIN} -o new.safetensors --resume", "Name the file with --checkpoint"),
        (f"{TRAIN} -o new.safetensors --patience 3", "--patience needs images to watch"),
        (f"{TRAIN} -o new.safetensors --validate image_3.png", "Give both --validate and --validate-truth"),
        (f"{TRAIN} -o new.safetensors --validate-truth truth_3.png", "Give both --validate and --validate-truth"),
        (f"{TRAIN} -o new.safetensors --validate images --validate-truth truths", "of the training and of the val"),
        (f"{TRAIN} -o new.safetensors --validate image_3.png --validate-truth truth_3.png --probabilities softs",
         "--probabilities and --validate-probabilities go together"),
        (f"{TRAIN} -o new.safetensors --validate image_3.png --validate-truth other", "holds the value 201; accepted"),
        (f"{TRAIN} -o new.safetensors --probabilities soft_3.npy", r"no probabilities for the image .*_0\.png"),
        (f"{TRAIN} -o new.safetensors --rho 0", "rho is 0"),
        (f"{TRAIN} -o new.safetensors --rho nan", "rho is nan"),
        (f"{TRAIN} -o new.safetensors --time -1", "time is -1"),
        (f"{TRAIN} -o new.safetensors --step-size 0", "step_size is 0"),
        (f"{TRAIN} -o new.safetensors --steps -1", "-1"),
        (f"{TRAIN} -o new.safetensors --prototypes 0", "0"),
        (f"{TRAIN} -o new.safetensors --features cats", "features are 'cats'; accepted are patch:1"),
        (f"{TRAIN} -o new.safetensors --features patch:1+gaussian:x", "features are 'patch:1.gaussian:x'"),
        (f"{TRAIN} -o new.safetensors --loss squares", "squares"),
        (f"{TRAIN} -o new.safetensors --channel-axis 0", r"training image 0 \(images/image_0\.png\)|is grey"),
        (f"{TRAIN} -o new.safetensors --unlabeled 40", "accepted are at least two"),
        ("train images --truth images -o new.safetensors", "given as an image and as its truth"),
        ("train images --truth empty -o new.safetensors", "empty holds no image file"),
        ("train none --truth truths -o new.safetensors", "none does not exist"),
        ("train images --truth truths --truth truth_3.png -o new.safetensors", r"no image for the truth truth_3\.png"),
        ("train images color.png --truth truths --truth truth_3.png -o new.safetensors", "names do not match"),
        ("train part.png --truth truth_3.png -o new.safetensors", r"part\.png cannot be read"),
        ("train image_3.png --truth color.png -o new.safetensors", r"the labels \[0\]; accepted are at least two"),
        ("label image_3.png --model none.safetensors -o new.png", r"none\.safetensors does not exist"),
        ("label image_3.png --model w.safetensors -o new.png", "holds weights of gpulaf learn; accepted is a model"),
        ("label image_3.png --weights m.safetensors -o new.png", "holds a model of gpulaf train; accepted is weights"),
        ("label color.png --model m.safetensors -o new.png", "image has 3 channels; accepted are 1"),
        ("label part.png --model m.safetensors -o new.png", r"part\.png cannot be read"),
        ("label image_3.png --model soft.safetensors -o new.png", "on probabilities. Use it with gpulaf refine"),
        ("label image_3.png --model m.safetensors -o new.jpg", r"'\.jpg'"),
        ("label image_3.png --model m.safetensors -o m.safetensors", r"'\.safetensors'"),
        ("label image_3.png --model m.safetensors -o image_3.png", "is also an input"),
        *(
            (f"label image_3.png --model m.safetensors -o new.png {option}", f"--model and {option.split()[0]} are")
            for option in ("--weights bilateral", "--prototypes 2", "--rho 0.1", "--time 3", "--tol 1e-3", "--sigma 1")
        ),
        ("label image_3.png --model m.safetensors -o new.png --rho 1 --time 2", "Leave --rho, --time out"),
        ("refine soft_3.npy --model soft.safetensors -o new.png", "Name it with --image"),
        ("refine soft_3.npy --model m.safetensors --image image_3.png -o new.png", "trained without probabilities"),
        ("refine three.npy --model soft.safetensors --image image_3.png -o new.png", "holds 3 labels, .* 2; accepted"),
        ("refine soft_3.npy --model soft.safetensors --image small.png -o new.png", r"\(20, 32\)"),
        ("refine soft_3.npy --model soft.safetensors --image color.png -o new.png", "image has 3 channels"),
        ("refine soft_3.npy --model soft.safetensors --image image_3.png -o new.png --rho 1", "--model and --rho"),
        ("refine soft_3.npy --model soft.safetensors --image image_3.png -o new.png --label-axis 7", "label.axis is 7"),
        (EVALUATE, "--model"),
        (f"{EVALUATE} --model half.safetensors", r"half\.safetensors is no readable"),
        (f"{EVALUATE} --model w.safetensors", "holds weights of gpulaf learn; accepted is a model"),
        (f"{EVALUATE} --model soft.safetensors", "trained on probabilities. Give --probabilities"),
        (f"{EVALUATE} --model m.safetensors --probabilities soft_3.npy", "Leave out --probabilities"),
        (f"{EVALUATE} --model m.safetensors --confusion new.txt", r"'\.txt'; accepted for figures"),
        (f"{EVALUATE} --model m.safetensors --json none/new.json", "folder none does not exist"),
        (f"{EVALUATE} --model m.safetensors --json m.safetensors", r"m\.safetensors is also an input"),
        (f"{EVALUATE} --model m.safetensors --json new.png --confusion new.png", "two results go to the same file"),
        ("evaluate images/image_0.png --truth other/truth_0.png --model m.safetensors",
         r"evaluated image 0 \(images/image_0\.png\): its truth holds the value 201"),
        ("evaluate color.png --truth truth_3.png --model m.safetensors", "color.*image has 3 channels"),
        ("evaluate images --truth truth_3.png --model m.safetensors", "no truth for the image images/image_0"),
    ],
)  # fmt: skip
def test_mistakes(folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, said: str) -> None:
    before = tree(folder)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split(), prog_name="gpulaf")
    output, errors = capsys.readouterr()
    check_mistake(stopped.value.code, errors, said)
    assert output == ""
    assert tree(folder) == before


@pytest.mark.parametrize("arguments", [f"{TRAIN} -o new.safetensors", f"{EVALUATE} --model m.safetensors"])
def test_a_gpu_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    before = tree(folder)
    with pytest.raises(SystemExit) as stopped:
        main([*arguments.split(), "--device", "gpu"], prog_name="gpulaf")
    check_mistake(stopped.value.code, capsys.readouterr().err, "no GPU: .*CuPy")
    assert tree(folder) == before


def test_squared_distances_reach_the_labels(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs(
        capsys, "label", "image_3.png", "--prototypes", 2, "-o", "squared.npy", "--metric", "sqeuclidean", "--rho", 0.02
    )
    found = gpulaf.label(PIXELS[3], 2, rho=0.02, metric="sqeuclidean")
    np.testing.assert_array_equal(np.load(folder / "squared.npy"), found.labels)
    values = gpulaf.label(PIXELS[3].astype(np.float64) / 255, [[0.0], [1.0]], rho=0.02, metric="sqeuclidean")
    l = -(((PIXELS[3][..., None] / 255 - np.array([0.0, 1.0])) ** 2) / 0.02)
    flow = gpulaf.Labeler(rho=1.0).refine_logits(l)
    np.testing.assert_allclose(values.probabilities, flow.probabilities, atol=1e-12)
