"""The command line as a user runs it: real processes on real files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from gpulaf.cli import main
from gpulaf.io import write_array
from gpulaf.scenes import voronoi_lines

PROGRAM = Path(sys.executable).parent / "gpulaf"
#: One thread suits images this small, and processes side by side do not wait for each other; results are compared with
#: those of the CPU.
ENVIRONMENT = os.environ | {"NUMBA_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}


def gpulaf_process(folder: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed program in a folder."""
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, encoding="utf-8", check=False)


def run_here(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[Any, str, str]:
    """Run the program within this process and folder: exit status, standard output and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)), prog_name="gpulaf")
    return (stopped.value.code, *capsys.readouterr())


def succeeds(folder: Path, *arguments: Any) -> str:
    """Standard output of a run that succeeds and leaves standard error silent."""
    done = gpulaf_process(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"(folder)" for path in folder.iterdir()}


class Example(NamedTuple):
    """Dark lines between bright cells, as files."""

    image: np.ndarray
    truth: np.ndarray


def write_example(folder: Path, size: int = 32) -> Example:
    """im.png, truth.png (values 40 and 200), and files that do not fit."""
    scene = voronoi_lines(size, sites=8, noise=0.25, seed=1)
    image = (255 * scene.image[..., 0].clip(0, 1)).round().astype(np.uint8)
    truth = np.array([40, 200], np.uint8)[scene.truth]
    write_array(folder / "im.png", image)
    write_array(folder / "truth.png", truth)
    return Example(image, truth)


def check_mistake(returncode: Any, stderr: str, said: str) -> None:
    assert returncode == 2, stderr
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("gpulaf: ")
    assert re.search(said, lines[0]), stderr
