"""Labels on the command line: tables, values of any size and sign, void values, prototypes shared, saved and given."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from commands import run_here, snapshot

import gpulaf
from gpulaf.io import read_image, read_tensors, read_values, write_array

pytestmark = pytest.mark.usefixtures("without_cupy")

Y, X = np.mgrid[:40, :52]
#: A disk, a bar and the rest.
CLASSES = np.where((Y - 18) ** 2 + (X - 16) ** 2 < 90, 1, np.where(X > 42, 2, 0))
#: A predictor that is soon there.
SMALL = ("--predictor", "prototypes", "--prototypes", 6)
COLORS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])


def photo(classes: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 6, (*classes.shape, 3))
    return (COLORS[classes] + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """images/: the same colors in other shares, as one.png, two.tif and three.npy; grey.png, its truth and soft.npy."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    write_array("images/one.png", photo(CLASSES))
    write_array("images/two.tif", photo((CLASSES + 1) % 3, 1))
    np.save("images/three.npy", photo(2 - CLASSES, 2))
    grey = (np.array([60, 130, 200])[CLASSES] + np.random.default_rng(3).normal(0, 9, CLASSES.shape)).astype(np.uint8)
    write_array("grey.png", grey)
    write_array("truth.png", np.array([0, 1, 7], np.uint8)[CLASSES])
    return tmp_path


def table(output: str) -> dict[int, list[str]]:
    """The rows of a printed table by their labels."""
    found = re.findall(r"^ +(-?\d+) +(\d+) +([\d.]+ %)(?:  (.*))?$", output, re.M)
    return {int(row[0]): list(row[1:]) for row in found}


def runs(capsys: Any, *arguments: Any, told: str = "") -> str:
    status, output, errors = run_here(capsys, *arguments)
    assert (status, errors) == (0, told)
    return output


def refused(capsys: Any, folder: Path, *arguments: Any) -> str:
    before = snapshot(folder)
    status, output, errors = run_here(capsys, *arguments)
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert snapshot(folder) == before
    return errors


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tiles", [False, True])
def test_label_prints_what_it_found(folder: Path, capsys: Any, tiles: bool) -> None:
    extra = ["-o", "o.zarr", "--tile", 32] if tiles else ["-o", "o.png"]
    output = runs(capsys, "label", "images/one.png", "--prototypes", 3, *extra)
    labels = zarr.open_array("o.zarr", mode="r")[:] if tiles else read_image("o.png")
    rows, image = table(output), read_image("images/one.png")
    assert list(rows) == [0, 1, 2]
    for j, (pixels, share, prototype) in rows.items():
        assert int(pixels) == (labels == j).sum()
        assert share == f"{100 * (labels == j).mean():.1f} %"
        shown = [float(x) for x in prototype.split()]
        np.testing.assert_allclose(shown, image[labels == j].mean(axis=0), atol=1)


def test_labels_that_no_pixel_got_in_tiles(folder: Path, capsys: Any) -> None:
    Path("p.csv").write_text("60\n130\n200\n240\n")
    note = "note: no pixel got the label 3 of 0 to 3. Take fewer prototypes, or check their units.\n"
    for extra in (["-o", "o.tif"], ["-o", "t.tif", "--tile", 32]):
        output = runs(capsys, "label", "grey.png", "--prototypes", "p.csv", *extra, told=note)
        assert table(output)[3][:2] == ["0", "0.0 %"]


def test_learn_and_train_list_their_labels_and_keep_them(folder: Path, capsys: Any) -> None:
    counts = np.bincount(CLASSES.ravel()).tolist()
    output = runs(capsys, "learn", "grey.png", "truth.png", "-o", "w.safetensors", "--steps", 1)
    rows, grey = table(output), read_image("grey.png")
    assert {value: int(row[0]) for value, row in rows.items()} == dict(zip([0, 1, 7], counts, strict=True))
    for j, row in enumerate(rows.values()):
        assert float(row[2]) == pytest.approx(grey[j == CLASSES].mean(), rel=1e-3)
    _, metadata = read_tensors("w.safetensors", "weights")
    assert metadata["label_values"] == [0, 1, 7]
    assert metadata["label_pixels"] == counts
    command = ("train", "grey.png", "--truth", "truth.png", "-o", "m.safetensors", "--steps", 1, *SMALL)
    rows = table(runs(capsys, *command))
    assert {value: int(row[0]) for value, row in rows.items()} == dict(zip([0, 1, 7], counts, strict=True))
    model = gpulaf.WeightPredictor.load("m.safetensors").label_table()
    assert (list(model.values), model.pixels.tolist()) == ([0, 1, 7], counts)
    for name in ("--weights=w.safetensors", "--model=m.safetensors"):
        assert list(table(runs(capsys, "label", "grey.png", name, "-o", "o.png"))) == [0, 1, 7]


def test_refine_prints_shares(folder: Path, capsys: Any) -> None:
    np.save("p.npy", np.eye(3, dtype=np.float32)[CLASSES])
    rows = table(runs(capsys, "refine", "p.npy", "-o", "o.png"))
    labels = read_image("o.png")
    assert [int(row[0]) for row in rows.values()] == np.bincount(labels.ravel(), minlength=3).tolist()


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [[-1000, 3, 9], [5, 70_000, 4_000_000_000], [0, 1, 2**45], [-9.0, 0.0, 65536.0]],
    ids=["negative", "large", "64 bits", "floats"],
)
@pytest.mark.parametrize("kind", ["weights", "model"])
def test_values_come_back(folder: Path, capsys: Any, values: list[Any], kind: str) -> None:
    truth = np.array(values)[CLASSES]
    np.save("t.npy", truth)
    if kind == "weights":
        runs(capsys, "learn", "grey.png", "t.npy", "-o", "f.safetensors", "--steps", 0)
    else:
        command = ("train", "grey.png", "--truth", "t.npy", "-o", "f.safetensors", "--steps", 0, *SMALL)
        runs(capsys, *command)
    options = ["label", "grey.png", f"--{kind}", "f.safetensors", "-o"]
    outputs = ["o.tif", "o.npy", *(["o.zarr", "o.ome.zarr", "t.tif --tile 32"] if kind == "model" else [])]
    for output in outputs:
        name, *extra = output.split()
        assert list(table(runs(capsys, *options, name, *extra))) == [int(v) for v in values]
        path = folder / name / "0" if name == "o.ome.zarr" else folder / name
        found = zarr.open_array(path, mode="r")[:] if "zarr" in name else read_values(path)
        assert set(np.unique(found).tolist()) == {int(v) for v in values}
        assert (found == truth).mean() > 0.95
    said = refused(capsys, folder, *options, "o.png")
    assert re.search(r"o\.png is to hold values of labels from .*accepted in this format are 0 to 65535\. Write", said)
    predictor = kind == "model" and gpulaf.WeightPredictor.load("f.safetensors")
    if predictor:
        np.testing.assert_array_equal(predictor.predict(["grey.png"])[0], found)


def test_values_that_need_more_than_their_truth_where_there_is_no_data(folder: Path, capsys: Any) -> None:
    image = np.where(X < 4, np.nan, read_image("grey.png") / 255).astype(np.float32)
    tifffile.imwrite("i.tif", image)
    np.save("t.npy", np.array([-5, 0, 40_000])[CLASSES])
    runs(capsys, "learn", "i.tif", "t.npy", "-o", "w.safetensors", "--steps", 0)
    for extra, nodata in (([], 2**31 - 1), (["--nodata", -77], -77)):
        command = ("label", "i.tif", "--weights", "w.safetensors", "-o", "o.tif", *extra)
        status, _, errors = run_here(capsys, *command)
        assert status == 0
        assert f"are {nodata} in o.tif" in errors
        found = tifffile.imread("o.tif")
        np.testing.assert_array_equal(found == nodata, X < 4)
        assert set(np.unique(found).tolist()) == {-5, 0, 40_000, nodata}


@pytest.mark.parametrize("command", ["learn", "train"])
def test_a_border_of_no_truth_is_hinted_at_unless_it_is_said(folder: Path, capsys: Any, command: str) -> None:
    edge = (np.abs(np.diff(CLASSES, axis=0, prepend=0)) + np.abs(np.diff(CLASSES, axis=1, prepend=0))) > 0
    write_array("t.png", np.where(edge, 255, CLASSES).astype(np.uint8))
    hint = "note: if 255 means no ground truth, pass --unlabeled 255: it is taken for a label.\n"
    arguments = {
        "learn": ["learn", "grey.png", "t.png", "-o", "f.safetensors", "--steps", 0],
        "train": ["train", "grey.png", "--truth", "t.png", "-o", "f.safetensors", "--steps", 0, *SMALL],
    }[command]
    assert list(table(runs(capsys, *arguments, told=hint))) == [0, 1, 2, 255]
    assert list(table(runs(capsys, *arguments, "--unlabeled", 255))) == [0, 1, 2]


def test_a_value_of_no_truth_that_no_pixel_has(folder: Path, capsys: Any) -> None:
    note = "note: no pixel of truth.png has the value 255, which stands for no ground truth.\n"
    runs(capsys, "learn", "grey.png", "truth.png", "-o", "w.safetensors", "--steps", 0, "--unlabeled", 255, told=note)


def test_a_value_that_a_model_does_not_know_may_be_no_truth(folder: Path, capsys: Any) -> None:
    command = ("train", "grey.png", "--truth", "truth.png", "-o", "m.safetensors", "--steps", 0, *SMALL)
    runs(capsys, *command)
    write_array("t.png", np.where(X < 3, 255, read_image("truth.png")).astype(np.uint8))
    said = refused(capsys, folder, "evaluate", "grey.png", "--truth", "t.png", "--model", "m.safetensors")
    assert "holds the value 255; accepted are [0, 1, 7] and -1" in said
    assert said.endswith("If it means no ground truth, pass --unlabeled 255.\n")


# --- prototypes of several images -----------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["images"], ["images/*"], ["images/one.png", "images/two.tif", "images/three.npy"]])
def test_images_of_one_command_share_their_prototypes(folder: Path, capsys: Any, names: list[str]) -> None:
    output = runs(capsys, "label", *names, "--prototypes", 3, "-o", "labels", "--save-prototypes", "p.csv")
    assert output.endswith("prototypes: p.csv\n")
    assert sorted(path.name for path in Path("labels").iterdir()) == ["one.png", "three.npy", "two.tif"]
    truths = {"one.png": CLASSES, "two.tif": (CLASSES + 1) % 3, "three.npy": 2 - CLASSES}
    naming, total = {}, np.zeros(3, int)
    for name, truth in truths.items():
        found = read_image(f"labels/{name}")
        total += np.bincount(found.ravel(), minlength=3)
        for j in range(3):
            naming.setdefault(j, set()).add(int(np.bincount(truth[found == j]).argmax()))
    assert sorted(map(list, naming.values())) == [[0], [1], [2]]  # a label is one color in all images
    rows = table(output)
    assert [int(row[0]) for row in rows.values()] == total.tolist()
    for j, (color,) in naming.items():
        np.testing.assert_allclose([float(x) for x in rows[j][2].split()], COLORS[color], atol=2)


@pytest.mark.parametrize("suffix", ["csv", "json"])
@pytest.mark.parametrize("tiles", [False, True])
def test_saved_prototypes_give_the_same_bytes_again(folder: Path, capsys: Any, suffix: str, tiles: bool) -> None:
    extra = ["--tile", 32] if tiles else []
    soft = "zarr" if tiles else "npy"
    for k, prototypes in enumerate(["3", f"p.{suffix}"]):
        command = ["label", "images/two.tif", "--prototypes", prototypes, "-o", f"{k}.tif", *extra]
        save = ["--save-prototypes", f"p.{suffix}"] if k == 0 else ["--save-prototypes", f"again.{suffix}"]
        runs(capsys, *command, "--probabilities", f"{k}.{soft}", *save)
    np.testing.assert_array_equal(tifffile.imread("0.tif"), tifffile.imread("1.tif"))
    opened = [zarr.open_array(f"{k}.zarr", mode="r")[:] if tiles else np.load(f"{k}.npy") for k in (0, 1)]
    np.testing.assert_array_equal(*opened)
    assert Path(f"p.{suffix}").read_bytes() == Path(f"again.{suffix}").read_bytes()


def test_values_and_names_of_a_file_of_prototypes(folder: Path, capsys: Any) -> None:
    Path("p.csv").write_text("value;name;r;g;b\n-7;red;200;40;40\n90000;green;40;200;40\n12;blue;40;40;200\n")
    output = runs(capsys, "label", "images/one.png", "--prototypes", "p.csv", "-o", "o.tif")
    np.testing.assert_array_equal(tifffile.imread("o.tif"), np.array([-7, 90_000, 12])[CLASSES])
    assert re.search(r"^ +90000  green +\d+ +[\d.]+ %  40 200 40$", output, re.M)


def test_the_prototypes_of_a_model_are_saved(folder: Path, capsys: Any) -> None:
    runs(capsys, "learn", "grey.png", "truth.png", "-o", "w.safetensors", "--steps", 0)
    command = ["label", "grey.png", "--weights", "w.safetensors", "-o", "o.png", "--save-prototypes", "p.json"]
    runs(capsys, *command)
    table = gpulaf.io.read_prototypes("p.json")
    assert table.values == [0, 1, 7]
    means = [[read_image("grey.png")[j == CLASSES].mean()] for j in range(3)]
    np.testing.assert_allclose(table.prototypes, means, rtol=1e-5)


def test_results_of_several_images_that_cannot_be(folder: Path, capsys: Any) -> None:
    common = ("label", "images", "--prototypes", 3)
    assert "--output is o.png, and the images of" in refused(capsys, folder, *common, "-o", "o.png")
    assert "folder none does not exist" in refused(capsys, folder, *common, "-o", "none/labels")
    assert "--probabilities is p.npy" in refused(capsys, folder, *common, "-o", "l", "--probabilities", "p.npy")
    for name in ("p.txt", "images/one.png"):
        said = refused(capsys, folder, *common, "-o", "l", "--save-prototypes", name)
        assert f"{name} ends in '{name[-4:]}'; accepted for prototypes" in said
    assert "does not exist" in refused(capsys, folder, "label", "grey.png", "none.png", "-o", "l")
    assert "grey.png has 1 channels" in refused(capsys, folder, *common, "grey.png", "-o", "l")
    write_array("images/one.bmp.png", photo(CLASSES))
    (folder / "more").mkdir()
    write_array("more/one.png", photo(CLASSES))
    assert "both go to l/one.png" in refused(capsys, folder, *common, "more", "-o", "l")
    said = refused(capsys, folder, *common, "-o", "images")
    assert said.startswith("gpulaf: --output is images, the folder of the images")
    said = refused(capsys, folder, "label", "images", "--prototypes", 2, "-o", "out", "--uncertainty", "images")
    assert said.startswith("gpulaf: --uncertainty is images, the folder of the images; accepted is another one")
    assert not (folder / "out").exists()


def test_probabilities_and_previews_have_folders_too(folder: Path, capsys: Any) -> None:
    runs(capsys, "label", "images", "--prototypes", 3, "-o", "l", "--probabilities", "p", "--preview", "v")
    for name, files in (("p", ["one.tif", "three.npy", "two.tif"]), ("v", ["one.png", "three.png", "two.png"])):
        assert sorted(path.name for path in Path(name).iterdir()) == files
    assert read_image("p/three.npy").shape == (40, 52, 3)


def test_several_images_in_tiles(folder: Path, capsys: Any) -> None:
    runs(capsys, "label", "images", "--prototypes", 3, "-o", "l", "--save-prototypes", "p.csv")
    extra = ("--prototypes", 3, "--tile", 32, "--probabilities", "p", "--save-prototypes", "again.csv")
    runs(capsys, "label", "images", *extra, "-o", "t")
    assert sorted(path.name for path in Path("p").iterdir()) == ["one.zarr", "three.zarr", "two.zarr"]
    for name in ("one.png", "two.tif", "three.npy"):
        np.testing.assert_array_equal(read_image(f"t/{Path(name).stem}.tif"), read_image(f"l/{name}"))
    assert Path("p.csv").read_bytes() == Path("again.csv").read_bytes()


def test_twelve_bits_and_pixels_without_data_in_several_images(folder: Path, capsys: Any) -> None:
    (folder / "deep").mkdir()
    for k in range(2):
        pixels = 16 * read_image("grey.png").astype(np.uint16)
        pixels[:, : 5 * k] = 4095  # no data, nor a cluster
        about = {"axes": "YX", "SignificantBits": 12}
        tifffile.imwrite(f"deep/{k}.ome.tif", pixels, metadata=about, extratags=[(42113, "s", 0, "4095", True)])
    status, output, errors = run_here(capsys, "label", "deep", "--prototypes", 3, "-o", "l")
    assert status == 0
    assert errors.count("12 bits are in use") == 2
    means = [16 * read_image("grey.png")[j == CLASSES].mean() for j in range(3)]
    found = sorted(float(row[2]) for row in table(output).values())
    np.testing.assert_allclose(found, means, rtol=0.02)
    assert (tifffile.imread("l/1.ome.tif")[:, :5] == 255).all()


def test_an_image_of_several_that_fails_is_named(folder: Path, capsys: Any) -> None:
    write_array("images/grey.png", read_image("grey.png"))
    Path("p.csv").write_text("200,40,40\n40,200,40\n")
    status, _, errors = run_here(capsys, "label", "images", "--prototypes", "p.csv", "-o", "l")
    assert status == 2
    assert errors.startswith("gpulaf: images/grey.png: prototypes have shape (2, 3); accepted is (J, 1)")


def test_a_weight_file_of_other_values_than_prototypes(folder: Path, capsys: Any) -> None:
    stored = {"prototypes": [[0.2], [0.8]], "label_values": [7], "rho": 0.1, "time": 3.0}
    gpulaf.io.write_tensors("w.safetensors", "weights", {"weights": gpulaf.uniform_weights((40, 52))}, stored)
    said = refused(capsys, folder, "label", "grey.png", "--weights", "w.safetensors", "-o", "o.png")
    assert "label_values is [7]; accepted is a list of whole numbers, one for each row of prototypes" in said


@pytest.mark.parametrize(("number", "said"), [("0", "is 0"), ("-1", "is -1"), ("1", "is 1"), ("", "are ''")])
def test_no_number_of_labels(folder: Path, capsys: Any, number: str, said: str) -> None:
    for images in (["grey.png"], ["images"]):
        command = ("label", *images, f"--prototypes={number}", "-o", "o")
        assert f"prototypes {said}; accepted are " in refused(capsys, folder, *command)
    train = ("train", "grey.png", "--truth", "truth.png", "-o", "m.safetensors", *SMALL[:2], f"--prototypes={number}")
    if number != "1":
        assert "--prototypes" in refused(capsys, folder, *train)
