"""Ranges and pixels without data on the command line: options, lines of warning, what models and weight files keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from commands import gpulaf_process, succeeds

from gpulaf.io import read_tensors

SHAPE = (40, 48)
TRUTH = (np.add.outer((np.arange(40) - 20) ** 2, (np.arange(48) - 20) ** 2) < 150).astype(np.uint8)
GREY = np.clip(0.25 + 0.5 * TRUTH + np.random.default_rng(0).normal(0, 0.05, SHAPE), 0, 1)
HOLE = np.arange(48) < 10


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "bits12.tif", (4095 * GREY).astype(np.uint16))
    tifffile.imwrite(tmp_path / "truth.tif", TRUTH)
    for dtype in ("uint8", "float32", "int16", "uint32"):
        tifffile.imwrite(tmp_path / f"{dtype}.tif", (255 * GREY).round().astype(dtype))
    holes = np.where(HOLE, -9999, 4095 * GREY).astype(np.float32)
    tifffile.imwrite(tmp_path / "holes.tif", holes, extratags=[(42113, "s", 0, "-9999", True)])
    return tmp_path


def test_the_same_numbers_in_another_dtype(folder: Path) -> None:
    written = set()
    for dtype in ("uint8", "float32", "int16", "uint32"):
        succeeds(folder, "label", f"{dtype}.tif", "--prototypes", 2, "--range", "0,255", "-o", "o.tif")
        written.add(tifffile.imread(folder / "o.tif").tobytes())
    assert len(written) == 1


def test_what_looks_wrong_is_a_line_with_the_option(folder: Path) -> None:
    done = gpulaf_process(folder, "label", "bits12.tif", "--prototypes", 2, "-o", "o.tif")
    assert done.returncode == 0
    assert done.stderr.startswith("gpulaf: the image holds values from ")
    assert done.stderr.endswith("Pass --range 0,4095.\n")
    assert done.stderr.count("\n") == 1
    done = gpulaf_process(folder, "label", "uint32.tif", "--prototypes", 2, "-o", "o.tif")
    assert done.returncode == 2
    assert "uint32, which does not tell its range. Pass --range low,high" in done.stderr


def test_labels_that_no_pixel_got_are_a_line(folder: Path) -> None:
    (folder / "p.csv").write_text("60\n190\n240\n")
    done = gpulaf_process(folder, "label", "uint8.tif", "--prototypes", "p.csv", "-o", "o.tif")
    assert done.stderr == ("note: no pixel got the label 2 of 0 to 2. Take fewer prototypes, or check their units.\n")


@pytest.mark.parametrize("text", ["5", "0,a", "4095,0", "0,1,2", "0,nan"])
def test_ranges_that_are_none(folder: Path, text: str) -> None:
    done = gpulaf_process(folder, "label", "uint8.tif", "--range", text, "-o", "o.tif")
    assert done.returncode == 2
    assert "range is " in done.stderr
    assert not (folder / "o.tif").exists()


def test_weight_files_keep_the_range(folder: Path) -> None:
    succeeds(folder, "learn", "bits12.tif", "truth.tif", "--range", "0,4095", "--steps", 2, "-o", "w.safetensors")
    assert read_tensors(folder / "w.safetensors", "weights")[1]["range"] == [0, 4095]
    succeeds(folder, "label", "bits12.tif", "--weights", "w.safetensors", "-o", "o.tif")
    assert (tifffile.imread(folder / "o.tif") == TRUTH).mean() > 0.9


def test_models_keep_the_range_and_tell_of_another(folder: Path) -> None:
    options = ("--range", "0,4095", "--steps", 1, "--prototypes", 4)
    succeeds(folder, "train", "bits12.tif", "--truth", "truth.tif", *options, "-o", "m.safetensors")
    succeeds(folder, "label", "bits12.tif", "--model", "m.safetensors", "-o", "o.tif")
    done = gpulaf_process(folder, "label", "uint8.tif", "--model", "m.safetensors", "-o", "other.tif")
    assert "gpulaf: the labels were learned on values of about" in done.stderr
    succeeds(folder, "label", "uint8.tif", "--model", "m.safetensors", "--range", "0,255", "-o", "other.tif")
    assert (tifffile.imread(folder / "other.tif") == tifffile.imread(folder / "o.tif")).mean() > 0.99


def test_pixels_without_data_are_learned_from_by_no_command(folder: Path) -> None:
    spoiled = np.where(HOLE, -9999, 4095 * GREY).astype(np.float32)
    tifffile.imwrite(folder / "nan.tif", np.where(HOLE, np.nan, spoiled).astype(np.float32))
    found = []
    for name in ("holes.tif", "nan.tif"):
        succeeds(folder, "learn", name, "truth.tif", "--range", "0,4095", "--steps", 1, "-o", "w.safetensors")
        weights, about = read_tensors(folder / "w.safetensors", "weights")
        found.append((weights["weights"].tobytes(), about["prototypes"]))
        assert (weights["weights"][:, 4, :10] == 1).all()
    assert found[0] == found[1]
