"""The README's Python runs, and so does every gpulaf command it shows, on files of the names it uses."""

import re
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scene = voronoi_lines(48, sites=6)
    colors = voronoi_colors(48, sites=6)
    iio.imwrite(tmp_path / "photo.png", (255 * colors.image.clip(0, 1)).astype(np.uint8))
    iio.imwrite(tmp_path / "cells.png", (255 * scene.image[..., 0].clip(0, 1)).astype(np.uint8))
    iio.imwrite(tmp_path / "truth.png", (255 * scene.truth).astype(np.uint8))
    np.save(tmp_path / "probabilities.npy", np.random.default_rng(0).dirichlet(np.ones(4), (20, 30)).astype(np.float32))
    for code in PYTHON:  # what the commands read, where the README writes it
        if "write_array" in code:
            exec(compile(code, "README.md", "exec"), {})
    for command in "".join(COMMANDS).replace("\\\n", " ").splitlines():
        program, *arguments = command.split()
        assert program == "gpulaf"
        done = subprocess.run(
            [Path(sys.executable).with_name("gpulaf"), *arguments], cwd=tmp_path, capture_output=True, text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    for name in ("labels.png", "preview.png", "weights.safetensors", "learned.png", "lines.png", "confusion.png"):
        assert (tmp_path / name).stat().st_size > 0
    assert (iio.imread(tmp_path / "learned.png") == 255 * scene.truth).mean() > 0.95
    unseen = iio.imread(tmp_path / "lines/unseen/truths/7.png")
    assert (iio.imread(tmp_path / "unseen.png") == unseen).mean() > 0.98


def test_pictures_exist():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert iio.imread(Path(__file__).parent.parent / picture).shape[0] > 400
