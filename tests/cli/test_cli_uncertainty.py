"""gpulaf label --uncertainty: what is written is what Python gives, at its place; what cannot be is said in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from commands import check_mistake, run_here

import gpulaf
from gpulaf.io import read_image, write_array

pytestmark = pytest.mark.usefixtures("without_cupy")

SCENE = gpulaf.scenes.voronoi_lines(40, sites=6, noise=0.2, seed=1)
GREY = (255 * (0.3 + 0.4 * SCENE.image[..., 0])).clip(0, 255).astype(np.uint8)
PROTOTYPES = "77\n178\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for name in ("one", "two"):
        tags = [(42113, "s", 0, "-1", True), (33550, "d", 3, (2.0, 2.0, 0.0), True)]
        values = np.where(np.arange(40) < 5, np.int16(-1), GREY)
        tifffile.imwrite(f"images/{name}.tif", values, extratags=tags)
    write_array("grey.png", GREY)
    write_array("flat.png", np.tile(np.uint8([[20, 200]]), (32, 16)))
    Path("two.csv").write_text(PROTOTYPES)
    return tmp_path


def test_the_file_holds_what_python_gives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, errors = run_here(
        capsys, "label", "grey.png", "-o", "o.png", "--prototypes", "two.csv", "--uncertainty", "u.tif", "--noise", 0.08
    )
    assert code == 0, errors
    assert "noise: 0.08 of the range of values\n" in output
    expected = gpulaf.label(GREY, [77, 178], uncertainty=gpulaf.Uncertainty(0.08))
    found = tifffile.imread("u.tif")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.uncertainty)
    np.testing.assert_array_equal(read_image("o.png"), expected.labels)
    assert f"labels that another noise of this size changes: about {100 * found.mean():.3g} %" in output
    code, output, errors = run_here(
        capsys, "label", "grey.png", "-o", "o.png", "--prototypes", "two.csv", "--uncertainty", "u.npy"
    )
    assert code == 0, errors
    np.testing.assert_array_equal(np.load("u.npy"), gpulaf.label(GREY, [77, 178], uncertainty=True).uncertainty)
    assert "read off the image" in output


def test_several_images_with_pixels_without_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--range", "0,255", "--prototypes", 2)
    code, _, errors = run_here(capsys, "label", "images", "-o", "out", "--uncertainty", "flips", *options)
    assert code == 0, errors
    for name in ("one", "two"):
        with tifffile.TiffFile(f"flips/{name}.tif") as file:
            values, tags = file.asarray(), {tag.code: tag.value for tag in file.pages[0].tags}
        np.testing.assert_array_equal(np.isnan(values), np.broadcast_to(np.arange(40) < 5, (40, 40)))
        assert tags[33550] == (2.0, 2.0, 0.0)
        assert tags[42113] == "nan"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--noise", 0.1], "--noise is given, and --uncertainty is not"),
        (["--noise", -1, "--uncertainty", "u.tif"], "--noise is -1.0; accepted are positive numbers"),
        (["--uncertainty", "u.png"], "u.png ends in '.png'; accepted for floating-point values"),
        (["--uncertainty", "o.tif"], "two results go to the same file"),
        (["--uncertainty", "grey.png"], "grey.png ends in"),
        (["--uncertainty", "u.tif", "--tile", 32], "--uncertainty needs the image in memory, not in tiles"),
        (["--uncertainty", "u.tif", "--flow", "nonlinear"], "--uncertainty is that of --flow linear"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[object], said: str
) -> None:
    code, _, errors = run_here(capsys, "label", "grey.png", "-o", "o.tif", "--prototypes", 2, *options)
    check_mistake(code, errors, said)
    assert not Path("u.tif").exists()
    assert not Path("o.tif").exists()


def test_an_image_without_noise(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = run_here(capsys, "label", "flat.png", "-o", "o.tif", "--prototypes", 2, "--uncertainty", "u.tif")
    check_mistake(code, errors, "shows no noise.*Say how large it is: --noise SIGMA")
