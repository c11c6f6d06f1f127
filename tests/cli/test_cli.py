"""The command line: real processes on real files. A mistake costs one line, status 2 and no file."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ENVIRONMENT, PROGRAM, Example, check_mistake, gpulaf_process, snapshot, succeeds, write_example

import gpulaf
from gpulaf.averaging import BilateralWeights
from gpulaf.io import read_tensors
from gpulaf.io.images import read_image, write_array

pytestmark = pytest.mark.usefixtures("without_cupy")


@pytest.fixture
def example(tmp_path: Path) -> Example:
    return write_example(tmp_path)


def example_probabilities(example: Example) -> np.ndarray:
    bright = 0.1 + 0.8 * example.image / 255
    return np.stack([1 - bright, bright], axis=-1).astype(np.float32)


# --- demo and info --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", ["colors", "lines"])
def test_demo_prints_three_rates_and_writes_the_figure(tmp_path: Path, scene: str) -> None:
    output = succeeds(tmp_path, "demo", "--scene", scene, "--size", 48, "--steps", 3, "-o", "new/folder")
    rates = dict(re.findall(r"^ +(pixelwise|uniform weights|learned weights) +(\d+\.\d\d) % wrong$", output, re.M))
    assert list(rates) == ["pixelwise", "uniform weights", "learned weights"]
    make = {"colors": gpulaf.scenes.voronoi_colors, "lines": gpulaf.scenes.voronoi_lines}[scene]
    known = make(48, seed=0)
    nearest = np.linalg.norm(known.image[..., None, :] - known.prototypes, axis=-1).argmin(axis=-1)
    assert float(rates["pixelwise"]) == pytest.approx(100 * np.mean(nearest != known.truth), abs=0.05)
    assert float(rates["learned weights"]) < float(rates["uniform weights"])
    assert "(3 steps)" in output
    assert f"figure: new/folder/gpulaf-{scene}.png" in output
    figure = read_image(tmp_path / "new" / "folder" / f"gpulaf-{scene}.png")
    assert figure.shape[0] > 500
    assert figure.shape[1] > 1000
    assert figure.std() > 20


def test_info(tmp_path: Path) -> None:
    output = succeeds(tmp_path, "info")
    assert output.startswith(f"gpulaf {gpulaf.__version__}, Python {sys.version.split()[0]}\n")
    assert f"numpy {np.__version__}" in output
    assert "1 threads" in output
    assert re.search(r"^GPU: .+", output, re.M)


def test_help_and_version_are_no_mistakes(tmp_path: Path) -> None:
    assert "Usage: gpulaf" in succeeds(tmp_path, "--help")
    assert "--prototypes" in succeeds(tmp_path, "label", "--help")
    assert succeeds(tmp_path, "--version").strip().endswith(gpulaf.__version__)


# --- reproduce ------------------------------------------------------------------------------------------------------


def test_reproduce_prints_the_finding_and_names_its_files(tmp_path: Path) -> None:
    lines = succeeds(tmp_path, "reproduce", "subspace", "--quick", "-o", "new/folder").splitlines()
    assert re.fullmatch(r"The first singular value .* \(ratios .*\)\. The subspace .*\.", lines[0])
    names = [line.split(": ")[1] for line in lines[1:]]
    assert names == ["new/folder/subspace.png", "new/folder/subspace.csv"]
    written = {path.name for path in (tmp_path / "new/folder").iterdir()}
    assert written == {"subspace.png", "subspace.pdf", "subspace.csv"}
    assert read_image(tmp_path / names[0]).shape[0] > 400


def test_reproduce_of_an_unknown_figure(tmp_path: Path) -> None:
    done = gpulaf_process(tmp_path, "reproduce", "fig9")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "'fig9' is not one of 'fig1'" in done.stderr
    assert snapshot(tmp_path) == {}


# --- label ----------------------------------------------------------------------------------------------------------


def test_label_with_clusters_writes_labels_probabilities_and_preview(tmp_path: Path, example: Example) -> None:
    output = succeeds(
        tmp_path, "label", "im.png", "-o", "labels.png", "--prototypes", 2,
        "--probabilities", "probabilities.npy", "--preview", "preview.png",
    )  # fmt: skip
    assert re.fullmatch(r"32×32 pixels, 2 labels, error \d\.\de-\d+: labels\.png\n  label .*", output, re.S)
    expected = gpulaf.label(example.image, 2)
    labels, probabilities = read_image(tmp_path / "labels.png"), np.load(tmp_path / "probabilities.npy")
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-5)
    preview = read_image(tmp_path / "preview.png")
    for j in range(2):  # a label is drawn in the mean color of its pixels
        np.testing.assert_allclose(preview[labels == j], example.image[labels == j].mean(), atol=1)
    assert set(snapshot(tmp_path)) == {"im.png", "truth.png", "labels.png", "probabilities.npy", "preview.png"}


def test_label_with_given_prototypes_and_bilateral_weights(tmp_path: Path, example: Example) -> None:
    (tmp_path / "prototypes.csv").write_text("20\n230\n")
    succeeds(
        tmp_path, "label", "im.png", "-o", "labels.tif", "--prototypes", "prototypes.csv", "--weights", "bilateral",
        "--sigma", 0.3, "--rho", 0.2, "--time", 2, "--tol", 1e-6, "--probabilities", "probabilities.tif",
    )  # fmt: skip
    weights = gpulaf.bilateral_weights(example.image / np.float32(255), sigma=0.3)
    solver = gpulaf.Taylor(tol=1e-6)
    expected = gpulaf.label(example.image, [20, 230], weights=weights, rho=0.2, time=2, solver=solver)
    np.testing.assert_array_equal(read_image(tmp_path / "labels.tif"), expected.labels)
    np.testing.assert_allclose(read_image(tmp_path / "probabilities.tif"), expected.probabilities, atol=1e-5)


def test_label_by_the_nonlinear_flow_says_when_and_why_it_ended(tmp_path: Path, example: Example) -> None:
    command = ["label", "im.png", "-o", "labels.png", "--prototypes", 2, "--flow", "nonlinear"]
    output = succeeds(tmp_path, *command, "--tol", 1e-3, "--probabilities", "probabilities.npy")
    expected = gpulaf.label(example.image, 2, solver=gpulaf.DormandPrince(tol=1e-3))
    assert output.startswith(f"32×32 pixels, 2 labels, error 1.0e-03 per step: labels.png\n{expected.reason}\n  label ")
    assert re.search(r"\nThe mean entropy fell under 0\.001 at time [\d.]+, after \d+ steps\.\n", output)
    np.testing.assert_array_equal(read_image(tmp_path / "labels.png"), expected.labels)
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), expected.probabilities, atol=1e-5)
    assert "\nThe time 0.5 was reached after 1 step; the mean" in succeeds(tmp_path, *command, "--time", 0.5)


def test_label_a_color_image_with_channels_first(tmp_path: Path) -> None:
    scene = gpulaf.scenes.voronoi_colors(24, sites=6, noise=0.3, seed=3)
    np.save(tmp_path / "im.npy", scene.image.transpose(2, 0, 1))
    (tmp_path / "prototypes.json").write_text(json.dumps(scene.prototypes.tolist()))
    done = gpulaf_process(
        tmp_path, "label", "im.npy", "--channel-axis", 0, "--prototypes", "prototypes.json", "-o", "labels.npy",
        "--preview", "preview.png",
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr.startswith("note: no pixel got the label")  # the scene has six regions, and there are 8 colors
    assert done.stderr.count("\n") == 1
    labels = np.load(tmp_path / "labels.npy")
    np.testing.assert_array_equal(labels, gpulaf.label(scene.image, scene.prototypes).labels)
    assert np.mean(labels != scene.truth) < 0.1
    assert read_image(tmp_path / "preview.png").shape == (24, 24, 3)


def test_pixels_that_are_not_square(tmp_path: Path, example: Example) -> None:
    """Two numbers of --spacing are those of an image."""
    options = ("--prototypes", "p.csv", "--spacing", "2,1", "-o", "labels.npy", "--probabilities", "p.npy")
    (tmp_path / "p.csv").write_text("60\n190\n")
    for name, weights in (("uniform", None), ("bilateral", BilateralWeights(0.1, spacing=(2.0, 1.0)))):
        succeeds(tmp_path, "label", "im.png", "--weights", name, *options)
        expected = gpulaf.label(example.image, [60, 190], weights=weights, spacing=(2.0, 1.0))
        np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), expected.labels)
        np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), expected.probabilities)
        assert np.abs(expected.probabilities - gpulaf.label(example.image, [60, 190]).probabilities).max() > 0.01


def test_few_rows_of_many_channels_that_the_file_names(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((3, 40, 20)).astype(np.float32)
    write_array(tmp_path / "few.tif", pixels)
    succeeds(tmp_path, "label", "few.tif", "--prototypes", 2, "-o", "labels.npy")
    expected = gpulaf.label(pixels, 2, channel_axis=2)
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), expected.labels)
    write_array(tmp_path / "soft.tif", pixels / pixels.sum(axis=-1, keepdims=True))
    succeeds(tmp_path, "refine", "soft.tif", "-o", "labels.npy")
    assert np.load(tmp_path / "labels.npy").shape == (3, 40)


# --- refine ---------------------------------------------------------------------------------------------------------


def test_refine_probabilities_and_logits(tmp_path: Path, example: Example) -> None:
    probabilities = example_probabilities(example)
    np.save(tmp_path / "p.npy", probabilities)
    write_array(tmp_path / "logits.tif", np.log(probabilities))
    np.save(tmp_path / "planar.npy", np.moveaxis(probabilities, -1, 0))
    expected = gpulaf.refine(probabilities)
    for name, options in (("p.npy", []), ("logits.tif", ["--logits"]), ("planar.npy", ["--label-axis", 0])):
        succeeds(tmp_path, "refine", name, "-o", "labels.png", "--probabilities", "refined.npy", *options)
        np.testing.assert_array_equal(read_image(tmp_path / "labels.png"), expected.labels)
        np.testing.assert_allclose(np.load(tmp_path / "refined.npy"), expected.probabilities, atol=1e-5)


def test_refine_by_the_nonlinear_flow(tmp_path: Path, example: Example) -> None:
    probabilities = example_probabilities(example)
    np.save(tmp_path / "p.npy", probabilities)
    output = succeeds(tmp_path, "refine", "p.npy", "-o", "labels.png", "--flow", "nonlinear", "--time", 30)
    expected = gpulaf.refine(probabilities, time=30, solver=gpulaf.DormandPrince(tol=1e-4))
    assert output.splitlines()[1] == expected.reason
    np.testing.assert_array_equal(read_image(tmp_path / "labels.png"), expected.labels)


def test_refine_with_bilateral_weights_of_the_image(tmp_path: Path, example: Example) -> None:
    np.save(tmp_path / "p.npy", example_probabilities(example))
    succeeds(
        tmp_path, "refine", "p.npy", "-o", "labels.png", "--image", "im.png", "--weights", "bilateral",
        "--preview", "preview.png", "--rho", 0.5,
    )  # fmt: skip
    weights = gpulaf.bilateral_weights(example.image / np.float32(255), sigma=0.1)
    expected = gpulaf.refine(example_probabilities(example), weights=weights, rho=0.5)
    np.testing.assert_array_equal(read_image(tmp_path / "labels.png"), expected.labels)
    assert read_image(tmp_path / "preview.png").shape == (32, 32, 3)


# --- learn ----------------------------------------------------------------------------------------------------------


def test_label_with_learned_weights_has_the_error_that_learn_printed(tmp_path: Path, example: Example) -> None:
    output = succeeds(tmp_path, "learn", "im.png", "truth.png", "-o", "w.safetensors", "--steps", 12, "--time", 4)
    rates = re.search(r"wrong pixels: (\S+) % with uniform weights, (\S+) % after 12 steps", output)
    assert rates, output
    uniform, learned = map(float, rates.groups())
    assert learned < 0.5 * uniform
    arrays, metadata = read_tensors(tmp_path / "w.safetensors", "weights")
    gpulaf.averaging.check_weights(arrays["weights"], (32, 32))
    assert metadata["label_values"] == [40, 200]
    assert metadata["time"] == 4
    succeeds(
        tmp_path, "label", "im.png", "--weights", "w.safetensors", "-o", "labels.png", "--probabilities", "p.npy"
    )  # fmt: skip
    labels = read_image(tmp_path / "labels.png")
    wrong = labels != example.truth
    assert f"{100 * wrong.mean():.2f}" == f"{learned:.2f}"
    expected = gpulaf.label(  # prototypes, rho and time are those of the file
        example.image / np.float32(255), metadata["prototypes"], weights=arrays["weights"], rho=0.2, time=4
    )
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), expected.probabilities, atol=1e-5)
    nonlinear = succeeds(
        tmp_path, "label", "im.png", "--weights", "w.safetensors", "--flow", "nonlinear", "-o", "labels.png"
    )  # fmt: skip
    expected = gpulaf.label(  # the time of the file is that of its linear flow
        example.image / np.float32(255), metadata["prototypes"], weights=arrays["weights"], rho=0.2,
        solver=gpulaf.DormandPrince(tol=1e-4),
    )  # fmt: skip
    assert nonlinear.splitlines()[1] == expected.reason
    np.testing.assert_array_equal(read_image(tmp_path / "labels.png"), np.array([40, 200])[expected.labels])


def test_layers_are_learned_and_applied(tmp_path: Path, example: Example) -> None:
    options = ("--steps", 4, "--layers", 2, "--time", 4)
    output = succeeds(tmp_path, "learn", "im.png", "truth.png", "-o", "w.safetensors", *options)
    arrays, metadata = read_tensors(tmp_path / "w.safetensors", "weights")
    assert sorted(arrays) == ["weights[0]", "weights[1]"]
    assert metadata["time"] == 4
    succeeds(tmp_path, "label", "im.png", "--weights", "w.safetensors", "-o", "labels.png")
    wrong = np.mean(read_image(tmp_path / "labels.png") != example.truth)
    assert wrong == pytest.approx(metadata["wrong"], abs=1e-3)
    assert f"{100 * metadata['wrong']:.2f} % after 4 steps" in output
    weights = [arrays["weights[0]"], arrays["weights[1]"]]
    expected = gpulaf.label(
        example.image, 255 * np.array(metadata["prototypes"]), weights=weights, rho=metadata["rho"], time=[2.0, 2.0]
    )
    np.testing.assert_array_equal(read_image(tmp_path / "labels.png"), np.array([40, 200])[expected.labels])
    np.save(tmp_path / "p.npy", example_probabilities(example))
    succeeds(tmp_path, "refine", "p.npy", "--weights", "w.safetensors", "-o", "refined.png")
    refined = gpulaf.refine(example_probabilities(example), weights=weights, time=4.0)
    np.testing.assert_array_equal(read_image(tmp_path / "refined.png"), refined.labels)


def test_learning_leaves_unlabeled_pixels_out(tmp_path: Path, example: Example) -> None:
    truth = example.truth.copy()
    truth[:, 16:] = 0
    write_array(tmp_path / "half.png", truth)
    output = succeeds(
        tmp_path, "learn", "im.png", "half.png", "-o", "w.safetensors", "--unlabeled", 0, "--steps", 2,
        "--loss", "cross-entropy", "--radius", 2,
    )  # fmt: skip
    assert "after 2 steps" in output
    arrays, metadata = read_tensors(tmp_path / "w.safetensors", "weights")
    assert metadata["label_values"] == [40, 200]
    assert arrays["weights"].shape == (32, 25, 32)
    left = example.image[:, :16] / np.float32(255)
    means = [left[example.truth[:, :16] == value].mean() for value in (40, 200)]
    np.testing.assert_allclose(np.ravel(metadata["prototypes"]), means, rtol=1e-5)


def test_learning_that_was_killed_resumes_bit_for_bit(tmp_path: Path) -> None:
    write_example(tmp_path, 64)
    learn = ["learn", "im.png", "truth.png", "--steps", "60"]
    succeeds(tmp_path, *learn, "-o", "undisturbed.safetensors")
    checkpointed = [*learn, "-o", "w.safetensors", "--checkpoint", "state.safetensors"]
    process = subprocess.Popen(
        [str(PROGRAM), *checkpointed], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with process:
        while not (tmp_path / "state.safetensors").exists() and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "w.safetensors").exists()
    _, metadata = read_tensors(tmp_path / "state.safetensors", "fit")
    assert 10 <= len(metadata["history"]) < 60

    refused = gpulaf_process(tmp_path, *checkpointed)  # nobody overwrites a checkpoint by accident
    assert refused.returncode == 2
    assert re.fullmatch(r"gpulaf: state\.safetensors exists\. Resume from it.*\n", refused.stderr)

    succeeds(tmp_path, *checkpointed, "--resume")
    (one, first), (two, second) = (
        read_tensors(tmp_path / name, "weights") for name in ("undisturbed.safetensors", "w.safetensors")
    )
    assert one["weights"].tobytes() == two["weights"].tobytes()
    assert first == second


# --- mistakes -------------------------------------------------------------------------------------------------------


def prepare_mistakes(folder: Path) -> None:
    """The example with files that are damaged or do not fit; results of an earlier run are there already."""
    example = write_example(folder)
    for name in ("old.png", "old.npy", "w.safetensors"):
        (folder / name).write_bytes(b"the result of an earlier run")
    write_array(folder / "small.png", example.truth[:20])
    write_array(folder / "whole.tif", example.image)
    for whole, part in (("im.png", "part.png"), ("whole.tif", "part.tif")):
        content = (folder / whole).read_bytes()
        (folder / part).write_bytes(content[: len(content) // 2])
    (folder / "stub.png").write_bytes((folder / "im.png").read_bytes()[:3])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.csv").write_text("red,green\n")
    (folder / "two.csv").write_text("1,2\n3,4\n")
    np.save(folder / "p.npy", example_probabilities(example))
    np.save(folder / "logits.npy", np.log(example_probabilities(example)))
    np.save(folder / "nan.npy", np.full((8, 9), np.nan))
    np.save(folder / "stack.npy", np.zeros((2, 3, 8, 9)))
    gpulaf.io.write_tensors(folder / "state.safetensors", "checkpoint", {"weights": np.zeros(3)}, {})
    grey = {"prototypes": [[0.2], [0.8]], "rho": 0.1, "time": 3.0, "label_values": [0, 1]}
    gpulaf.io.write_tensors(folder / "other.safetensors", "weights", {"weights": gpulaf.uniform_weights((9, 9))}, grey)
    weights = gpulaf.uniform_weights((32, 32))
    gpulaf.io.write_tensors(folder / "grey.safetensors", "weights", {"weights": weights}, grey)
    layers = {"weights[0]": weights, "weights[1]": weights}
    gpulaf.io.write_tensors(folder / "layers.safetensors", "weights", layers, grey)
    write_array(folder / "color.png", np.zeros((32, 32, 3), np.uint8))
    write_array(folder / "constant.png", np.full((9, 9), 7, np.uint8))
    (folder / "folder.png").mkdir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("label none.png -o new.png", r"none\.png does not exist"),
        ("label part.png -o old.png", r"part\.png cannot be read"),
        ("label part.tif -o new.png", r"part\.tif cannot be read"),
        ("label stub.png -o new.png", r"stub\.png cannot be read"),
        ("label im.png -o new.jpg", r"'\.jpg'.*\.png"),
        ("label im.png -o im.png", r"im\.png is also an input"),
        ("label im.png -o none/new.png", r"folder none does not exist\. Create it"),
        ("label im.png -o old.png --rho -1", r"rho is -1"),
        ("label im.png -o new.png --time abc", "abc"),
        ("learn im.png small.png -o w.safetensors", r"\(20, 32\).*\(32, 32\)"),
        ("refine p.npy -o new.png --image small.png --preview preview.png", r"\(?20.*32"),
    ],
)
def test_mistakes_of_a_process(tmp_path: Path, arguments: str, said: str) -> None:
    prepare_mistakes(tmp_path)
    before = snapshot(tmp_path)
    done = gpulaf_process(tmp_path, *arguments.split())
    check_mistake(done.returncode, done.stderr, said)
    assert done.stdout == ""
    assert snapshot(tmp_path) == before


def test_a_gpu_that_is_not_there(tmp_path: Path, example: Example) -> None:
    before = snapshot(tmp_path)
    done = gpulaf_process(tmp_path, "label", "im.png", "-o", "new.png", "--device", "gpu")
    check_mistake(done.returncode, done.stderr, "no GPU: .*CuPy")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("label im.png -o new.png --rho 0", r"rho is 0"),
        ("label im.png -o new.png --rho nan", r"rho is nan"),
        ("label im.png -o new.png --time -2", r"time is -2"),
        ("label im.png -o new.png --time inf", r"time is inf"),
        ("label im.png -o new.png --time 1e6", r"1000000"),
        ("label im.png -o new.png --tol 0", r"tol is 0"),
        ("label im.png -o new.png --flow nonlinear --tol 0", r"tol is 0"),
        ("label im.png -o new.png --flow nonlinear --time -2", r"time is -2"),
        ("label im.png -o new.png --flow linearised", r"'linearised'.*'nonlinear'"),
        ("label im.png -o new.png --model m.safetensors --flow nonlinear", r"brings its own\. Leave --flow out"),
        ("refine p.npy -o new.png --image im.png --model m.safetensors --flow nonlinear", r"Leave --flow out"),
        ("label im.png -o new.png --weights bilateral --sigma 0", r"sigma is 0"),
        ("label im.png -o new.png --prototypes 1", r"prototypes is 1"),
        ("label im.png -o new.png --prototypes 0", r"prototypes is 0"),
        ("label im.png -o new.png --prototypes -1", r"prototypes is -1"),
        ("label im.png -o new.png --prototypes=", r"prototypes are ''; accepted are a number of labels or a"),
        ("label im.png -o new.png --prototypes none.csv", r"none\.csv does not exist"),
        ("label im.png -o new.png --prototypes text.csv", r"text\.csv holds no table of numbers"),
        ("label im.png -o new.png --prototypes two.csv", r"\(2, 2\).*\(J, 1\)"),
        ("label constant.png -o new.png", r"only 1 different value"),
        ("label nan.npy -o new.png", r"nan\.npy has no pixel with data"),
        ("label stack.npy -o new.png", r"\(2, 3, 8, 9\)"),
        ("label empty.png -o new.png", r"empty\.png cannot be read"),
        ("label . -o new.png", r"accepted is a folder, in which each"),
        ("label im.png -o new", r"''.*\.png"),
        ("label im.png -o folder.png", r"folder\.png"),
        ("label im.png -o new.png --channel-axis 0", r"channel.axis"),
        ("label im.png -o new.png --probabilities new2.png", r"'\.png'.*\.npy"),
        ("label im.png -o new.png --preview new.png", r"same file"),
        ("label im.png -o new.npy --probabilities new.npy", r"same file"),
        ("label im.png -o new.png --preview none/new.png", r"folder none does not exist"),
        ("label im.png -o new.png --weights Bilateral", r"'Bilateral'.*uniform"),
        ("label im.png -o new.png --weights none.safetensors", r"none\.safetensors does not exist"),
        ("label im.png -o new.png --weights w.safetensors", r"w\.safetensors is no readable"),
        ("label im.png -o new.png --weights state.safetensors", r"holds checkpoint"),
        ("label im.png -o new.png --weights other.safetensors", r"\(9, 9, 9\)"),
        ("label color.png -o new.png --weights grey.safetensors", r"image has 3 channels; accepted are 1, as where"),
        ("label im.png -o new.png --weights layers.safetensors --flow nonlinear", r"layers and the scheme"),
        ("label im.png -o new.png --spacing 1", r"--spacing is '1'; accepted are two or three numbers"),
        ("label im.png", r"-o"),
        ("label", r"IMAGE"),
        ("label im.png -o new.png --nonsense", r"--nonsense"),
        ("nonsense", r"nonsense"),
        ("refine none.npy -o new.png", r"none\.npy does not exist"),
        ("refine p.npy -o p.npy", r"p\.npy is also an input"),
        ("refine logits.npy -o new.png", r"refine_logits|--logits"),
        ("refine p.npy -o new.png --label-axis 3", r"label.axis"),
        ("refine p.npy -o new.png --rho 0", r"rho is 0"),
        ("refine p.npy -o new.png --weights bilateral", r"--image"),
        ("refine p.npy -o new.png --weights bilateral --image small.png", r"20, 32"),
        ("learn im.png none.png -o new.safetensors", r"none\.png does not exist"),
        ("learn im.png truth.png -o new.png", r"\.safetensors"),
        ("learn im.png truth.png -o none/new.safetensors", r"folder none does not exist"),
        ("learn im.png truth.png -o new.safetensors --checkpoint none/s.safetensors", r"folder none does not exist"),
        ("learn im.png truth.png -o new.safetensors --checkpoint new.safetensors --steps 10", r"new\.safetensors"),
        ("learn im.png truth.png -o new.safetensors --checkpoint truth.png --resume", r"truth\.png"),
        ("learn im.png truth.png -o new.safetensors --resume", r"--checkpoint"),
        ("learn im.png truth.png -o new.safetensors --checkpoint state.safetensors", r"state\.safetensors exists"),
        ("learn im.png constant.png -o new.safetensors", r"constant\.png holds 1 different"),
        ("learn im.png truth.png -o new.safetensors --unlabeled 40", r"1 different value"),
        ("learn im.png truth.png -o new.safetensors --steps -1", r"-1"),
        ("learn im.png truth.png -o new.safetensors --step-size 0", r"0"),
        ("learn im.png truth.png -o new.safetensors --tau -1", r"tau is -1"),
        ("learn im.png truth.png -o new.safetensors --time 0", r"time is 0"),
        ("learn im.png truth.png -o new.safetensors --rho nan", r"rho is nan"),
        ("learn im.png truth.png -o new.safetensors --loss squares", r"squares"),
        ("learn im.png truth.png -o new.safetensors --radius 9", r"9"),
        ("demo --size 8", r"8"),
        ("demo --scene cats", r"cats"),
        ("demo -o old.png", r"old\.png"),
        ("profile --size 8", r"8"),
        ("profile --labels 1", r"1"),
        ("profile --dtype float16", r"float16"),
        ("profile -o old.png", r"old\.png"),
    ],
)
def test_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    """The same for the rest, within this process."""
    from gpulaf.cli import main

    prepare_mistakes(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split(), prog_name="gpulaf")
    output, errors = capsys.readouterr()
    check_mistake(stopped.value.code, errors, said)
    assert output == ""
    assert snapshot(tmp_path) == before


def test_a_disk_that_fills_up_leaves_whole_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import imageio.v3 as iio

    from gpulaf.cli import main

    prepare_mistakes(tmp_path)
    monkeypatch.chdir(tmp_path)
    before, write, written = snapshot(tmp_path), iio.imwrite, []

    def second_fails(path: Any, array: np.ndarray, **options: Any) -> None:
        written.append(path)
        if len(written) == 2:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        write(path, array, **options)

    monkeypatch.setattr(iio, "imwrite", second_fails)
    capsys.readouterr()
    arguments = ["label", "im.png", "-o", "new.png", "--prototypes", "2", "--preview", "old.png"]
    with pytest.raises(SystemExit) as stopped:
        main(arguments, prog_name="gpulaf")
    said = r"old\.png cannot be written: No space left on device\. .* It is in \S+rescued-1-old\.png instead\."
    check_mistake(stopped.value.code, capsys.readouterr().err, said)
    for name in ("new.png", "rescued-1-old.png"):
        assert read_image(name).shape[:2] == (32, 32)
        (tmp_path / name).unlink()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("arguments", ["--debug label none.png -o new.png", "label none.png -o new.png --debug"])
def test_debug_shows_the_traceback(tmp_path: Path, arguments: str) -> None:
    done = gpulaf_process(tmp_path, *arguments.split())
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "none.png does not exist" in done.stderr
