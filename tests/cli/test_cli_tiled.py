"""gpulaf label in tiles, as a program: which images go that way, and that the result is that of the image in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from commands import gpulaf_process, snapshot, succeeds, write_example
from examples import stripes

import gpulaf
from gpulaf.backend import memory
from gpulaf.cli import tiled
from gpulaf.cli.tiled import ASKING, Bytes, tiled_source
from gpulaf.io import write_tensors
from gpulaf.io.images import read_image
from gpulaf.prediction import Features, Training


@pytest.fixture
def image(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "in.tif", stripes(color=True), tile=(64, 64))
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
    assert said.startswith("96×96 pixels, 2 labels, 9 tiles: out.zarr\n  label ")
    succeeds(tmp_path, "label", "im.png", "--prototypes", 2, "-o", "out.png")
    labels = zarr.open_array(tmp_path / "out.zarr", mode="r")[:]
    assert np.array_equal(labels, read_image(tmp_path / "out.png"))
    wrong = (labels > 0) != (example.truth > 100)
    assert min(wrong.mean(), 1 - wrong.mean()) < 0.2


@pytest.mark.parametrize("weights", ["uniform", "bilateral"])
def test_in_memory_and_in_tiles_every_bit_is_the_same(tmp_path: Path, image: Path, weights: str) -> None:
    options = ["--prototypes", "p.csv", "--weights", weights, "--sigma", 0.2, "--rho", 0.2, "--time", 2, "--tol", 1e-3]
    succeeds(tmp_path, "label", "in.tif", *options, "-o", "out.ome.zarr", "--tile", 64, "--probabilities", "soft.zarr")
    succeeds(tmp_path, "label", "in.tif", *options, "-o", "out.npy", "--probabilities", "soft.npy")
    pixels, prototypes = stripes(color=True), np.array([[150.0, 180, 120], [60, 60, 60]])
    patches = gpulaf.averaging.BilateralWeights(0.2) if weights == "bilateral" else None
    solver = gpulaf.Taylor(tol=1e-3)
    expected = gpulaf.label(pixels, prototypes, weights=patches, rho=0.2, time=2.0, solver=solver)
    for tiles, whole, array in (("out.ome.zarr/0", "out.npy", 0), ("soft.zarr", "soft.npy", 1)):
        assert np.array_equal(zarr.open_array(tmp_path / tiles, mode="r")[:], expected[array])
        assert np.array_equal(np.load(tmp_path / whole), expected[array])


@pytest.mark.parametrize("layers", [1, 2])
def test_a_model(tmp_path: Path, layers: int) -> None:
    scenes = [gpulaf.scenes.voronoi_lines(48, sites=8, seed=seed) for seed in range(2)]
    features, training = Features("patch:1+gaussian:1"), Training(steps=4)
    predictor = gpulaf.WeightPredictor(10, features=features, n_layers=layers, training=training)
    truths = [np.array([3, 70])[scene.truth] for scene in scenes]
    predictor.fit([scene.image for scene in scenes], truths)
    predictor.save(tmp_path / "m.safetensors")
    pixels = gpulaf.scenes.voronoi_lines(150, sites=40, seed=9).image[..., 0].astype(np.float32)
    tifffile.imwrite(tmp_path / "in.tif", pixels, tile=(64, 64))
    succeeds(tmp_path, "label", "in.tif", "--model", "m.safetensors", "-o", "out.tif", "--tile", 64)
    succeeds(tmp_path, "label", "in.tif", "--model", "m.safetensors", "-o", "out.npy")
    expected = predictor.classes_[predictor.label(pixels).labels]
    assert set(np.unique(expected)) == {3, 70}
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), expected)
    assert np.array_equal(np.load(tmp_path / "out.npy"), expected)


def test_mistakes_cost_one_line_and_no_file(tmp_path: Path, image: Path) -> None:
    said = {"prototypes": [[0.2], [0.8]], "rho": 0.1, "time": 3.0, "label_values": [0, 1]}
    write_tensors(tmp_path / "w.safetensors", "weights", {"weights": gpulaf.uniform_weights((300, 250))}, said)
    common = ("label", "in.tif", "--prototypes", "2", "--tile", "64")
    assert "'.png'; accepted" in refused(tmp_path, *common, "-o", "out.png")
    assert "--preview needs the image in memory" in refused(tmp_path, *common, "-o", "o.tif", "--preview", "p.png")
    assert "learned weights, train a --model" in refused(tmp_path, *common, "-o", "o.tif", "--weights", "w.safetensors")
    assert "chooses its steps by the whole image" in refused(tmp_path, *common, "-o", "o.tif", "--flow", "nonlinear")
    assert "accepted as a volume" in refused(tmp_path, *common, "-o", "o.tif", "--spacing", "1,2,1")
    assert "multiples of 16" in refused(tmp_path, *common[:-1], "100", "-o", "o.tif")
    assert "is no size" in refused(tmp_path, *common, "-o", "o.tif", "--memory", "much")
    assert "no tile fits into 0.01 GB" in refused(tmp_path, *common, "-o", "o.tif", "--memory", "10MB")
    assert "does not exist" in refused(tmp_path, "label", "no.zarr", "-o", "o.zarr")


def test_an_image_that_does_not_fit_goes_by_tiles_and_says_so(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"image": image, "output": tmp_path / "o.tif", "flow": "linear", "weights": "uniform"}
    options |= dict.fromkeys((*ASKING, "channel_axis", "preview", "spacing"))
    labeler = gpulaf.Labeler(2)
    assert tiled_source(options, labeler) is None
    needed = memory.memory_estimate((300, 250), 2, channels=3, **labeler.memory_options)
    monkeypatch.setattr(memory, "free_bytes", lambda *_: needed)
    source = tiled_source(options, labeler)
    assert source is not None
    assert source.shape == (300, 250, 3)
    assert f"takes about {needed / 1e9:.3g} GB" in capsys.readouterr().err
    monkeypatch.setattr(memory, "free_bytes", lambda *_: 1.2 * needed)
    assert tiled_source(options, labeler) is None
    longer = gpulaf.Labeler(2, time=[1.0, 2.0])  # by its own layers
    assert tiled_source(options, longer) is not None
    assert tiled_source(options | {"tile": 64}, labeler) is not None
    assert tiled_source(options | {"output": tmp_path / "o.zarr"}, labeler) is not None
    assert tiled_source(options | {"image": tmp_path / "p.csv"}, labeler) is None


def test_a_large_image_goes_by_tiles_where_they_can_follow(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"image": image, "output": tmp_path / "o.tif", "flow": "linear", "weights": "uniform"}
    options |= dict.fromkeys((*ASKING, "channel_axis", "preview", "spacing", "probabilities"))
    labeler = gpulaf.Labeler(2)
    monkeypatch.setattr(tiled, "LARGE", 300 * 250)
    assert tiled_source(options, labeler) is None
    monkeypatch.setattr(tiled, "LARGE", 300 * 250 - 1)
    assert tiled_source(options, labeler) is not None
    for other in (
        {"output": tmp_path / "o.png"}, {"preview": tmp_path / "p.png"}, {"flow": "nonlinear"},
        {"probabilities": tmp_path / "p.tif"}, {"output": tmp_path / "no" / "o.tif"},
    ):  # fmt: skip
        assert tiled_source(options | other, labeler) is None
    assert capsys.readouterr().err == ""


def test_a_number_of_labels_gives_the_same_in_memory_and_in_tiles(tmp_path: Path) -> None:
    """Of an image larger than the sample that k-means looks at."""
    pixels = np.random.default_rng(0).integers(0, 255, (1100, 1000), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", pixels, tile=(256, 256))
    common = ("label", "in.tif", "--prototypes", 4, "-o")
    succeeds(tmp_path, *common, "memory.tif")
    succeeds(tmp_path, *common, "tiles.tif", "--tile", 512)
    succeeds(tmp_path, *common, "much.tif", "--memory", "99999999999TB")
    expected = gpulaf.label(pixels, 4).labels
    for name in ("memory.tif", "tiles.tif", "much.tif"):
        assert np.array_equal(tifffile.imread(tmp_path / name), expected)


@pytest.mark.parametrize(
    ("text", "expected"), [("4GB", 4e9), ("500M", 5e8), ("1.5 GiB", 1.5 * 2**30), ("123", 123), ("9" * 400, 2**63)]
)
def test_sizes(text: str, expected: float) -> None:
    assert Bytes().convert(text, None, None) == expected
