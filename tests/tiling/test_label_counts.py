"""Labels of tiles are counted while they are written, and their values are those of the ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from examples import stripes

import gpulaf
from gpulaf import Labeler
from gpulaf.labeling import DataWarning
from gpulaf.tiling import Tiling, label_file
from gpulaf.tiling.store import PartialResult

TILING = Tiling(side=64, device="cpu", progress=False)
LABELER = Labeler(2, range=(0, 255))
PROTOTYPES = np.array([[25.5], [229.5], [-900.0]])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "in.tif", stripes(), tile=(64, 64))
    return tmp_path / "in.tif"


def labeled(image: Path, output: Path, labeler: Any = None, workers: int = 1, **options: Any) -> Any:
    tiling = Tiling(side=64, device="cpu", workers=workers, progress=False)
    with pytest.warns(DataWarning, match="prototypes lie far outside"):
        return label_file(image, output, labeler or Labeler(PROTOTYPES), tiling=tiling, **options)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["o.tif", "o.zarr", "o.ome.zarr"])
def test_pixels_and_prototypes_of_each_label(tmp_path: Path, image: Path, name: str, workers: int) -> None:
    with pytest.warns(DataWarning):
        expected = Labeler(PROTOTYPES)(stripes())
    done = labeled(image, tmp_path / name, workers=workers)
    assert done.table.pixels.tolist() == np.bincount(expected.labels.ravel(), minlength=3).tolist()
    np.testing.assert_array_equal(done.table.prototypes, PROTOTYPES)
    np.testing.assert_array_equal(done.table.prototypes, expected.prototypes)
    assert list(done.table.values) == [0, 1, 2]
    assert done.unused == "No pixel got the label 2 of 0 to 2."
    assert expected.reason.endswith(done.unused)


def test_a_stopped_run_and_the_next_one_count_every_tile_once(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, record, tiles = labeled(image, tmp_path / "a.zarr").table.pixels, PartialResult.record, []

    def stop(*arguments: Any) -> None:
        record(*arguments)
        tiles.append(arguments)
        if len(tiles) == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PartialResult, "record", stop)
        with pytest.raises(KeyboardInterrupt):
            labeled(image, tmp_path / "b.zarr")
    done = labeled(image, tmp_path / "b.zarr")
    assert done.kept == 7
    np.testing.assert_array_equal(done.table.pixels, expected)


def test_a_run_stopped_while_results_are_moved(tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: PartialResult) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PartialResult, "finish_moves", stop)
        with pytest.raises(KeyboardInterrupt):
            labeled(image, tmp_path / "o.zarr")
    done = labeled(image, tmp_path / "o.zarr")
    labels = zarr.open_array(tmp_path / "o.zarr", mode="r")[:]
    assert done.table.pixels.tolist() == np.bincount(labels.ravel(), minlength=3).tolist()


def test_pixels_without_data_have_no_label(tmp_path: Path) -> None:
    pixels = stripes().astype(np.float32)
    pixels[:30] = np.nan
    tifffile.imwrite(tmp_path / "in.tif", pixels, tile=(64, 64))
    done = label_file(tmp_path / "in.tif", tmp_path / "o.tif", LABELER, values=[-5, 70_000], tiling=TILING)
    found = tifffile.imread(tmp_path / "o.tif")
    assert done.nodata == 2**31 - 1
    assert done.table.pixels.tolist() == [(found == -5).sum(), (found == 70_000).sum()]
    assert done.table.pixels.sum() == pixels[30:].size


@pytest.mark.parametrize("values", [[-5, 3, 9], [7, 70_000, 2**31], [0, 1, 2**40]], ids=str)
@pytest.mark.parametrize("name", ["o.tif", "o.zarr", "o.ome.zarr"])
def test_values_of_any_size_and_sign(tmp_path: Path, image: Path, name: str, values: list[int]) -> None:
    done = labeled(image, tmp_path / name, values=values)
    path = tmp_path / name / "0" if name == "o.ome.zarr" else tmp_path / name
    found = tifffile.imread(path) if name == "o.tif" else zarr.open_array(path, mode="r")[:]
    with pytest.warns(DataWarning):
        expected = gpulaf.label(stripes(), PROTOTYPES).labels
    np.testing.assert_array_equal(found, np.array(values)[expected])
    assert list(done.table.values) == values


def test_values_that_a_format_cannot_hold_are_refused_before_the_work(tmp_path: Path, image: Path) -> None:
    with pytest.raises(ValueError, match=r"o\.ome\.tif is to hold values of labels from 0 to 1099511627776.*plain \.t"):
        labeled(image, tmp_path / "o.ome.tif", values=[0, 1, 2**40])
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_one_label_everywhere_is_warned_of(tmp_path: Path, image: Path) -> None:
    near = Labeler(np.array([[120.0], [300.0]]), rho=10.0, time=20.0)
    with pytest.warns(DataWarning, match="Every pixel got the label 0 of 0 to 1"):
        done = label_file(image, tmp_path / "o.zarr", near, tiling=TILING)
    assert done.table.pixels[1] == 0
