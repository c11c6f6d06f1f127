"""Commands on volumes in files: train, label, evaluate and refine, whole and in tiles, with the spacing of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from commands import check_refusal, in_process
from examples import cells

import gpulaf
from gpulaf.io import read_record, read_tensors, read_volume, write_array
from gpulaf.io.place import Place
from gpulaf.prediction import load_predictor

SCALE = (2.0, 1.0, 1.0)
QUICK = ("--steps", 2, "--hidden", "6", "--features", "patch:1+gaussian:1", "--layers", 2)


def write(path: Path, array: np.ndarray, scale: tuple[float, ...] | None = SCALE) -> None:
    """A volume as .nii.gz, .ome.tif, .tif or .npy; the latter two say nothing of a scale."""
    if path.name.endswith(".nii.gz"):
        nibabel = pytest.importorskip("nibabel", reason="NIfTI needs nibabel")
        affine = np.diag([*(scale or (1, 1, 1))[::-1], 1.0])
        nibabel.Nifti1Image(array.T, affine).to_filename(path)
    else:
        place = Place(scale=scale, unit="micrometer") if path.name.endswith(".ome.tif") else None
        write_array(path, array, volume=True, place=place)


def folders(folder: Path, suffix: str) -> None:
    for part, seeds in (("train", (0, 1)), ("unseen", (500, 501))):
        for name in ("images", "truths"):
            (folder / part / name).mkdir(parents=True)
        for seed in seeds:
            volume, truth = cells(seed, (6, 12, 11))
            write(folder / part / "images" / f"{seed}{suffix}", volume)
            write(folder / part / "truths" / f"{seed}{suffix}", 10 * truth)


def runs(folder: Path, *arguments: Any) -> str:
    done = in_process(folder, *arguments)
    assert done.code == 0, done
    return done.output + done.errors


@pytest.mark.parametrize("suffix", [".nii.gz", ".ome.tif", ".tif", ".npy"])
@pytest.mark.parametrize("predictor", ["network", "prototypes"])
def test_from_training_to_labels(suffix: str, predictor: str, tmp_path: Path) -> None:
    folders(tmp_path, suffix)
    told = suffix in (".nii.gz", ".ome.tif")
    quick = QUICK if predictor == "network" else ("--predictor", "prototypes", "--prototypes", 5, "--steps", 2)
    spacing = () if told else ("--spacing", "2,1,1")
    runs(tmp_path, "train", "train/images", "--truth", "train/truths", "-o", "m.safetensors", *quick, *spacing)
    model = load_predictor(tmp_path / "m.safetensors")
    assert model.trained_spacing == SCALE
    if predictor == "network":
        assert model.training.crop == 24
        assert model.state == 1
    image = tmp_path / "unseen" / "images" / f"500{suffix}"
    said = runs(
        tmp_path, "label", image, "--model", "m.safetensors", "-o", "o.tif", "--probabilities", "p.tif",
        "--preview", "o.png",
    )  # fmt: skip
    assert "6×12×11 pixels, 3 labels" in said
    assert "o.png shows the middle plane, 3 of 0 to 5." in said
    whole = model.label(read_volume(image))
    labels = tifffile.imread(tmp_path / "o.tif")
    np.testing.assert_array_equal(labels, np.array([0, 10, 20])[whole.labels])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "p.tif"), whole.probabilities)
    found = read_record(tmp_path / "o.tif", volume=True)
    assert found.place.scale == (SCALE if told else None)
    runs(tmp_path, "label", image, "--model", "m.safetensors", "-o", "t.ome.tif", "--tile", 16)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "t.ome.tif"), labels)
    assert read_record(tmp_path / "t.ome.tif", volume=True).place.scale == (SCALE if told else None)
    command = ("evaluate", "unseen/images", "--truth", "unseen/truths", "--model", "m.safetensors")
    assert f"2 images, {2 * labels.size} labeled pixels, 3 labels" in runs(tmp_path, *command, "--json", "e.json")
    wrong = json.loads((tmp_path / "e.json").read_text())["images"][0]["wrong"]["predicted weights"]
    assert wrong == pytest.approx(np.mean(labels != 10 * cells(500, (6, 12, 11))[1]))


def test_several_volumes_in_a_folder(tmp_path: Path) -> None:
    folders(tmp_path, ".nii.gz")
    runs(tmp_path, "train", "train/images", "--truth", "train/truths", "-o", "m.safetensors", *QUICK)
    runs(tmp_path, "label", "unseen/images", "--model", "m.safetensors", "-o", "labels")
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == ["500.tif", "501.tif"]


def test_another_spacing_and_another_kind_are_said(tmp_path: Path) -> None:
    folders(tmp_path, ".ome.tif")
    runs(tmp_path, "train", "train/images", "--truth", "train/truths", "-o", "m.safetensors", *QUICK)
    volume, truth = cells(9, (6, 12, 11))
    write(tmp_path / "v.ome.tif", volume, (5.0, 1.0, 1.0))
    write(tmp_path / "t.ome.tif", truth * 10, (5.0, 1.0, 1.0))
    line = "note: the model was trained on voxels at distances of 2, 1, 1, and v.ome.tif says 5, 1, 1"
    for command in (
        ("label", "v.ome.tif", "--model", "m.safetensors", "-o", "o.tif"),
        ("label", "v.ome.tif", "--model", "m.safetensors", "-o", "t.tif", "--tile", 16),
        ("evaluate", "v.ome.tif", "--truth", "t.ome.tif", "--model", "m.safetensors"),
    ):
        assert line in runs(tmp_path, *command)
    assert read_record(tmp_path / "o.tif", volume=True).place.scale == (5.0, 1.0, 1.0)
    write_array(tmp_path / "i.png", (255 * volume[0].clip(0, 1)).astype(np.uint8))
    write_array(tmp_path / "g.png", truth[0])
    image = in_process(tmp_path, "label", "i.png", "--model", "m.safetensors", "-o", "o2.tif")
    assert "accepted as a volume" in check_refusal(image, "i.png")
    image = in_process(tmp_path, "evaluate", "i.png", "--truth", "g.png", "--model", "m.safetensors")
    check_refusal(image, "i.png")
    runs(
        tmp_path, "train", "i.png", "--truth", "g.png", "-o", "flat.safetensors", "--predictor", "prototypes",
        "--prototypes", 4, "--steps", 1,
    )  # fmt: skip
    done = in_process(tmp_path, "label", "v.ome.tif", "--model", "flat.safetensors", "-o", "o3.tif")
    assert "a volume" in check_refusal(done, "v.ome.tif")
    done = in_process(tmp_path, "evaluate", "v.ome.tif", "--truth", "t.ome.tif", "--model", "flat.safetensors")
    check_refusal(done, "v.ome.tif")
    done = in_process(
        tmp_path, "train", "train/images", "--truth", "train/truths", "-o", "x.safetensors", "--spacing", "2,1"
    )
    assert "accepted are 3 distances" in check_refusal(done, "2.0, 1.0")


@pytest.mark.parametrize("suffix", [".nii.gz", ".ome.tif", ".npy"])
def test_refine_with_the_spacing_of_the_file(suffix: str, tmp_path: Path) -> None:
    """Without --spacing the file says it; whole and in tiles alike."""
    volume = cells(3, (18, 20, 12))[0]
    soft = gpulaf.label(volume, [0, 0.5, 1], channel_axis=None, time=0.1).probabilities
    if suffix == ".nii.gz":
        nibabel = pytest.importorskip("nibabel", reason="NIfTI needs nibabel")
        voxels = np.moveaxis(soft, -1, 0).T  # x, y, z and labels
        nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.0, 1.0])).to_filename(tmp_path / "s.nii.gz")
    else:
        write(tmp_path / f"s{suffix}", np.ascontiguousarray(soft))
    told = suffix != ".npy"
    options = ("--time", 1, "--tol", 0.01)
    said = runs(tmp_path, "refine", f"s{suffix}", "-o", "o.tif", "--probabilities", "p.tif", *options)
    assert "18×20×12 pixels, 3 labels" in said
    labeler = gpulaf.Labeler(rho=1.0, time=1.0, solver=gpulaf.Taylor(tol=0.01))
    whole = labeler.refine(soft, label_axis=3, spacing=SCALE if told else None)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "o.tif"), whole.labels)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "p.tif"), whole.probabilities)
    tiles = (*options, "--tile", 16, "--probabilities")
    runs(tmp_path, "refine", f"s{suffix}", "-o", "t.ome.tif", *tiles, "t.zarr")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "t.ome.tif"), whole.labels)
    zarr = pytest.importorskip("zarr", reason="tiles need zarr")
    np.testing.assert_array_equal(zarr.open(tmp_path / "t.zarr", mode="r")[:], whole.probabilities)
    for name in ("o.tif", "t.ome.tif"):
        assert read_record(tmp_path / name, volume=True).place.scale == (SCALE if told else None)
    runs(tmp_path, "refine", f"s{suffix}", "-o", "again.tif", *options, "--spacing", "4,1,1")
    other = labeler.refine(soft, label_axis=3, spacing=(4, 1, 1)).labels
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "again.tif"), other)


@pytest.mark.parametrize("tiles", [False, True])
def test_refine_with_a_model_of_volumes(tiles: bool, tmp_path: Path) -> None:
    folders(tmp_path, ".npy")
    for part in ("train", "unseen"):
        (tmp_path / part / "soft").mkdir()
        for path in (tmp_path / part / "images").iterdir():
            p = gpulaf.label(np.load(path), [0, 0.5, 1], channel_axis=None, time=0.1).probabilities
            np.save(tmp_path / part / "soft" / path.name, p)
    command = ("train", "train/images", "--truth", "train/truths", "--probabilities", "train/soft")
    runs(tmp_path, *command, "-o", "m.safetensors", *QUICK, "--spacing", "2,1,1")
    assert read_tensors(tmp_path / "m.safetensors", "predictor")[0]["spacing"].tolist() == [2, 1, 1]
    files = ("unseen/soft/500.npy", "--image", "unseen/images/500.npy", "--model", "m.safetensors")
    runs(tmp_path, "refine", *files, "-o", "o.tif", *(("--tile", 16) if tiles else ()))
    model = load_predictor(tmp_path / "m.safetensors")
    expected = model.predict(*([tmp_path / "unseen" / name / "500.npy"] for name in ("images", "soft")))[0]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "o.tif"), expected)
