"""gpulaf label in tiles, as a program: which images go that way, and that the result is that of the image in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from commands import gpulaf_process, snapshot, succeeds, write_example
from examples import picture

import gpulaf
from gpulaf.cli.tiled import Bytes
from gpulaf.io.images import read_image


@pytest.fixture
def image(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "in.tif", picture(color=True), tile=(64, 64))
    (tmp_path / "p.csv").write_text("150,180,120\n60,60,60\n")
    return tmp_path / "in.tif"


def refused(folder: Path, *arguments: object) -> str:
    """Standard error of a run that ends in one line and leaves no file."""
    before = snapshot(folder)
    done = gpulaf_process(folder, *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert snapshot(folder) == before
    return done.stderr


def test_a_zarr_output_goes_by_tiles_and_a_png_input_may(tmp_path: Path) -> None:
    example = write_example(tmp_path, 96)
    said = succeeds(tmp_path, "label", "im.png", "--prototypes", 2, "-o", "out.zarr", "--tile", 32)
    assert said == "96×96 pixels, 2 labels, 9 tiles: out.zarr\n"
    succeeds(tmp_path, "label", "im.png", "--prototypes", 2, "-o", "out.png")
    labels = zarr.open_array(tmp_path / "out.zarr", mode="r")[:]
    assert (labels == read_image(tmp_path / "out.png")).mean() > 0.999  # Krylov there, a series here
    wrong = (labels > 0) != (example.truth > 100)
    assert min(wrong.mean(), 1 - wrong.mean()) < 0.2


@pytest.mark.parametrize("weights", ["uniform", "bilateral"])
def test_the_series_in_memory_gives_the_same(tmp_path: Path, image: Path, weights: str) -> None:
    options = ["--prototypes", "p.csv", "--weights", weights, "--sigma", 0.2, "--rho", 0.2, "--time", 2, "--tol", 1e-3]
    succeeds(tmp_path, "label", "in.tif", *options, "-o", "out.ome.zarr", "--tile", 64, "--probabilities", "soft.zarr")
    pixels, prototypes = picture(color=True), np.array([[150.0, 180, 120], [60, 60, 60]])
    patches = None
    if weights == "bilateral":
        patches = gpulaf.averaging.BilateralWeights(0.2)(pixels)
    series = gpulaf.Taylor(tol=1e-3).fixed(2.0)
    expected = gpulaf.label(pixels, prototypes, weights=patches, rho=0.2, time=2.0, integrator=series)
    assert np.array_equal(zarr.open_array(tmp_path / "out.ome.zarr/0", mode="r")[:], expected.labels)
    assert np.array_equal(zarr.open_array(tmp_path / "soft.zarr", mode="r")[:], expected.probabilities)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_model(tmp_path: Path, layers: int) -> None:
    scenes = [gpulaf.scenes.voronoi_lines(48, sites=8, seed=seed) for seed in range(2)]
    predictor = gpulaf.WeightPredictor(prototypes=10, features=gpulaf.prediction.Features("patch:1+gaussian:1"), layers=layers)
    truths = [np.array([3, 70])[scene.truth] for scene in scenes]
    predictor.fit([scene.image for scene in scenes], truths, training=gpulaf.prediction.Training(steps=4))
    predictor.save(tmp_path / "m.safetensors")
    pixels = gpulaf.scenes.voronoi_lines(150, sites=40, seed=9).image[..., 0].astype(np.float32)
    tifffile.imwrite(tmp_path / "in.tif", pixels, tile=(64, 64))
    succeeds(tmp_path, "label", "in.tif", "--model", "m.safetensors", "-o", "out.tif", "--tile", 64)
    predictor.set_params(integrator=predictor.solver.fixed(predictor.time / layers))
    expected = predictor.label_values_[predictor.label(pixels).labels]
    assert set(np.unique(expected)) == {3, 70}
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), expected)


def test_mistakes_cost_one_line_and_no_file(tmp_path: Path, image: Path) -> None:
    common = ("label", "in.tif", "--prototypes", "2", "--tile", "64")
    assert "'.png'; accepted" in refused(tmp_path, *common, "-o", "out.png")
    assert "--preview needs the image in memory" in refused(tmp_path, *common, "-o", "o.tif", "--preview", "p.png")
    assert "learned weights, train a --model" in refused(tmp_path, *common, "-o", "o.tif", "--weights", "w.safetensors")
    assert "chooses its steps by the whole image" in refused(tmp_path, *common, "-o", "o.tif", "--flow", "nonlinear")
    assert "tiles take square pixels" in refused(tmp_path, *common, "-o", "o.tif", "--spacing", "1,2")
    assert "multiples of 16" in refused(tmp_path, *common[:-1], "100", "-o", "o.tif")
    assert "is no size" in refused(tmp_path, *common, "-o", "o.tif", "--memory", "much")
    assert "no tile fits into 0.01 GB" in refused(tmp_path, *common, "-o", "o.tif", "--memory", "10MB")
    assert "does not exist" in refused(tmp_path, "label", "no.zarr", "-o", "o.zarr")


def test_an_image_that_does_not_fit_goes_by_tiles_and_says_so(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpulaf.backend import memory
    from gpulaf.cli.tiled import goes_large

    options = {"image": image, "output": tmp_path / "o.tif", "channel_axis": None, "prototypes": "2", "tol": 1e-4}
    options |= dict.fromkeys(("tile", "memory", "workers", "scheduler", "restart"))
    assert not goes_large(options)
    monkeypatch.setattr(memory, "free_bytes", lambda *_: 1_000_000)
    assert goes_large(options)
    assert "takes about 0.0" in capsys.readouterr().err
    assert goes_large(options | {"tile": 64})
    assert goes_large(options | {"output": tmp_path / "o.zarr"})
    assert not goes_large(options | {"image": tmp_path / "p.csv"})


@pytest.mark.parametrize(("text", "expected"), [("4GB", 4e9), ("500M", 5e8), ("1.5 GiB", 1.5 * 2**30), ("123", 123)])
def test_sizes(text: str, expected: float) -> None:
    assert Bytes().convert(text, None, None) == expected
