"""The README's Python runs, and so does every gpulaf command it shows, on files of the names it uses."""

import re
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from shutil import rmtree

import imageio.v3 as iio
import numpy as np
import pytest

from gpulaf.scenes import voronoi_colors, voronoi_lines

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
COMMANDS = re.findall(r"```bash\n(.*?)```", README, re.S)


def test_there_is_something_to_test():
    assert len(PYTHON) >= 4
    assert sum(block.count("gpulaf ") for block in COMMANDS) >= 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the files that the README speaks of, made by its own snippets where they write them."""
    folder = tmp_path_factory.mktemp("readme")
    scene, colors, rng = voronoi_lines(48, sites=6), voronoi_colors(48, sites=6), np.random.default_rng(0)
    iio.imwrite(folder / "photo.png", (255 * colors.image.clip(0, 1)).astype(np.uint8))
    iio.imwrite(folder / "cells.png", (255 * scene.image[..., 0].clip(0, 1)).astype(np.uint8))
    iio.imwrite(folder / "truth.png", (255 * scene.truth).astype(np.uint8))
    np.save(folder / "probabilities.npy", rng.dirichlet(np.ones(4), (20, 30)).astype(np.float32))
    np.save(folder / "logits.npy", rng.standard_normal((20, 30, 4)).astype(np.float32))
    with chdir(folder):
        for code in PYTHON:
            if "write_array(folder" in code or 'write_array("big.tif"' in code:
                exec(compile(code, "README.md", "exec"), {})
    rmtree(folder / "big-lines.zarr")  # what stands for the label file is never overwritten
    return folder


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python(code, files):
    with chdir(files):
        exec(compile(code, "README.md", "exec"), {})


def test_a_newcomer_reads_at_most_eight_lines():
    first = README[README.index("## Five things to do") : README.index("## One description")]
    snippets = re.findall(r"```python\n(.*?)```", first, re.S)
    assert len(snippets) == 5
    assert max(len([line for line in code.splitlines() if line]) for code in snippets) <= 8


def test_commands(files):
    scene = voronoi_lines(48, sites=6)
    for command in "".join(COMMANDS).replace("\\\n", " ").splitlines():
        program, *arguments = command.split()
        assert program == "gpulaf"
        done = subprocess.run(
            [Path(sys.executable).with_name("gpulaf"), *arguments], cwd=files, capture_output=True, text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    for name in ("labels.png", "preview.png", "weights.safetensors", "learned.png", "lines.png", "confusion.png"):
        assert (files / name).stat().st_size > 0
    assert (iio.imread(files / "learned.png") == 255 * scene.truth).mean() > 0.95
    unseen = iio.imread(files / "lines/unseen/truths/7.png")
    assert (iio.imread(files / "unseen.png") == unseen).mean() > 0.98


def test_pictures_exist():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert iio.imread(Path(__file__).parent.parent / picture).shape[0] > 400
