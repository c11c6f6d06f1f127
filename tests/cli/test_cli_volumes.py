"""gpulaf label on volumes: real processes on real files."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from commands import gpulaf_process, succeeds
from examples import ball

from gpulaf import bilateral_weights, label, refine
from gpulaf.io.images import read_volume, write_array

SPACING = (2, 1, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    volume, truth = ball(SPACING)
    write_array(tmp_path / "volume.tif", volume.astype(np.float32), volume=True)
    np.save(tmp_path / "truth.npy", truth)
    return tmp_path


def test_label_a_volume(folder: Path) -> None:
    said = succeeds(
        folder, "label", "volume.tif", "--spacing", "2,1,1", "--prototypes", 2, "-o", "labels.tif",
        "--probabilities", "p.tif", "--preview", "preview.png",
    )  # fmt: skip
    labels, truth = tifffile.imread(folder / "labels.tif"), np.load(folder / "truth.npy")
    assert labels.shape == truth.shape
    with tifffile.TiffFile(folder / "labels.tif") as file:
        assert file.series[0].axes == "ZYX"
    assert min(np.mean(labels != truth), np.mean(labels == truth)) < 0.005
    assert tifffile.imread(folder / "p.tif").shape == (*truth.shape, 2)
    assert "preview.png shows the middle plane, 6 of 0 to 11." in said
    assert "12×24×24 pixels, 2 labels" in said
    assert labels.dtype == np.uint8


def test_bilateral_weights_of_a_volume(folder: Path) -> None:
    (folder / "p.csv").write_text("0\n1\n", encoding="utf-8")
    command = ("label", "volume.tif", "--prototypes", "p.csv", "--weights", "bilateral", "--sigma", 0.5)
    succeeds(folder, *command, "--spacing", "2,1,1", "-o", "labels.npy")
    volume = read_volume(folder / "volume.tif")
    weights = bilateral_weights(volume, sigma=0.5, channel_axis=None, spacing=SPACING)
    expected = label(volume, [0, 1], weights=weights, channel_axis=None, spacing=SPACING).labels
    np.testing.assert_array_equal(np.load(folder / "labels.npy"), expected)


def test_refine_the_probabilities_of_a_volume(folder: Path) -> None:
    (folder / "p.csv").write_text("0\n1\n", encoding="utf-8")
    options = ("--spacing", "2,1,1", "--probabilities")
    succeeds(folder, "label", "volume.tif", "--prototypes", "p.csv", "-o", "labels.tif", *options, "p.tif")
    bilateral = ("--image", "volume.tif", "--weights", "bilateral", "--sigma", 0.5)
    succeeds(folder, "refine", "p.tif", "-o", "again.npy", *bilateral, *options, "again-p.npy")
    volume = read_volume(folder / "volume.tif")
    weights = bilateral_weights(volume, sigma=0.5, channel_axis=None, spacing=SPACING)
    expected = refine(tifffile.imread(folder / "p.tif"), weights=weights, spacing=SPACING)
    np.testing.assert_array_equal(np.load(folder / "again.npy"), expected.labels)
    np.testing.assert_allclose(np.load(folder / "again-p.npy"), expected.probabilities, atol=1e-3)
    done = gpulaf_process(folder, "refine", "p.tif", "-o", "again.png", "--spacing", "2,1,1")
    assert done.returncode == 2
    assert "accepted for volumes are" in done.stderr


def test_volumes_are_read_with_their_channels(tmp_path: Path) -> None:
    grey, colors = np.zeros((3, 4, 5), np.uint8), np.zeros((3, 4, 5, 2), np.float32)
    for name, array in (("grey", grey), ("colors", colors)):
        write_array(tmp_path / f"{name}.tif", array, volume=True)
        write_array(tmp_path / f"{name}.npy", array, volume=True)
        for kind in ("tif", "npy"):
            assert read_volume(tmp_path / f"{name}.{kind}").shape == array.shape
    write_array(tmp_path / "picture.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r"picture\.png is a picture; accepted as a volume are TIFF"):
        read_volume(tmp_path / "picture.png")
    np.save(tmp_path / "first.npy", np.moveaxis(colors, -1, 0))
    assert read_volume(tmp_path / "first.npy", channel_axis=0).shape == colors.shape


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--spacing", "2,x,1", "-o", "labels.tif"), "--spacing is '2,x,1'; accepted are two or three numbers"),
        (("--spacing", "2,0,1", "-o", "labels.tif"), "spacing is (2.0, 0.0, 1.0); accepted are positive distances"),
        (("--spacing", "2,1,1", "-o", "labels.png"), "labels.png ends in '.png'; accepted for volumes are"),
        (("-o", "labels.tif"), "with the axes ZYX: a volume. Say so with --spacing"),
    ],
)
def test_mistakes(folder: Path, options: tuple[str, ...], said: str) -> None:
    done = gpulaf_process(folder, "label", "volume.tif", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "labels.tif").exists()


def test_an_image_is_no_volume(folder: Path) -> None:
    write_array(folder / "image.tif", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r"\(4, 5, 3\) with the axes YXS; accepted as a volume are \(D, H, W\)"):
        read_volume(folder / "image.tif")
