"""Outputs that cannot be written whole, streams that are closed, and two processes on one output."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ENVIRONMENT, check_lines, check_refusal, files_of, in_process
from odd_files import grey
from safetensors.numpy import load

#: Commands by their outputs.
COMMANDS = {
    "out.png": "label im.npy --prototypes 2 -o out.png",
    "out.npy": "label im.npy --prototypes 2 -o out.npy",
    "out.tif": "label im.npy --prototypes 2 -o out.tif",
    "out.zarr": "label im.npy --prototypes 2 -o out.zarr",
    "out.ome.zarr": "label im.npy --prototypes 2 -o out.ome.zarr --tile 16",
    "tiles.tif": "label im.npy --prototypes 2 -o tiles.tif --tile 16",
    "refined.npy": "refine soft.npy -o refined.npy",
    "w.safetensors": "learn im.npy truth.npy -o w.safetensors --steps 2",
    "m.safetensors": "train im.npy --truth truth.npy -o m.safetensors --steps 2 --prototypes 3",
    "numbers.json": "evaluate im.npy --truth truth.npy --model given.safetensors --json numbers.json",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image of 96 × 64 pixels, its truth, soft predictions and a model."""
    image = np.tile(grey(), (8, 4))
    truth = (image > 120).astype(np.uint8)
    np.save(tmp_path / "im.npy", image)
    np.save(tmp_path / "truth.npy", truth)
    np.save(tmp_path / "soft.npy", np.stack([0.9 - 0.8 * truth, 0.1 + 0.8 * truth], -1))
    command = COMMANDS["m.safetensors"].replace("m.safe", "given.safe")
    assert in_process(tmp_path, *command.split()).code == 0
    return tmp_path


def contents(folder: Path, output: str) -> dict[str, Any]:
    """What is in an output, without what differs from run to run."""
    if output.endswith(".safetensors"):
        return {name: array.tobytes() for name, array in load((folder / output).read_bytes()).items()}
    if output.endswith(".tif"):
        import tifffile

        return {"labels": tifffile.imread(folder / output).tobytes()}
    return {
        name.removeprefix(output): data for name, data in files_of(folder).items() if name.split("/")[0] == output
    }


def check_equal_to_another_run(folder: Path, output: str) -> None:
    found = contents(folder, output)
    assert in_process(folder, *COMMANDS[output].replace(output, f"again-{output}").split()).code == 0
    assert found == contents(folder, f"again-{output}")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file becomes larger than a number of bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [0, 1, 60, 200])
@pytest.mark.parametrize("output", COMMANDS)
def test_a_file_that_cannot_grow_is_not_there(folder: Path, output: str, size: int) -> None:
    before = files_of(folder)
    with largest_file(size):
        done = in_process(folder, *COMMANDS[output].split())
    left = files_of(folder)
    if done.code:
        check_refusal(done, (output.split(".")[0], f"folder {folder} cannot be written"))
        assert {name for name in left if ".partial" not in name} == set(before)
    else:
        assert set(before) < set(left)
        complete = contents(folder, output)
        again = in_process(folder, *COMMANDS[output].split())
        assert not again.code
        assert contents(folder, output) == complete


@pytest.mark.parametrize(
    ("output", "closed"),
    [("out.png", ">&- 2>&-"), ("m.safetensors", "2>/dev/full"), ("w.safetensors", ">/dev/full"), ("out.zarr", "2>&-")],
)
def test_streams_that_are_closed_or_full(folder: Path, output: str, closed: str) -> None:
    """Outputs are whole; only a report that cannot be printed is a mistake."""
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m gpulaf {COMMANDS[output]} {closed}"], cwd=folder, env=ENVIRONMENT,
        capture_output=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode in ((0, 2) if closed == ">/dev/full" else (0,)), done
    check_equal_to_another_run(folder, output)


@pytest.mark.parametrize("output", ["out.png", "out.ome.zarr", "tiles.tif", "w.safetensors", "m.safetensors"])
def test_two_processes_on_one_output(folder: Path, output: str) -> None:
    """Each ends well or says that the other is at work; the output is that of one process."""
    command = [sys.executable, "-m", "gpulaf", *COMMANDS[output].split()]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    before = files_of(folder)
    running = [subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, **pipes) for _ in range(2)]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert "Traceback" not in errors
        check_lines(errors.splitlines())
        assert process.returncode in (0, 2)
        assert process.returncode == 0 or output in errors, errors
    assert 0 in [process.returncode for process in running]
    assert {name.split("/")[0] for name in files_of(folder)} == {*before, output}
    check_equal_to_another_run(folder, output)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
@pytest.mark.parametrize("output", COMMANDS)
def test_files_and_folders_without_permission(folder: Path, output: str) -> None:
    before = files_of(folder)
    folder.chmod(0o500)
    try:
        check_refusal(in_process(folder, *COMMANDS[output].split()), (output, str(folder)))
    finally:
        folder.chmod(0o700)
    (folder / "im.npy").chmod(0)
    (folder / "soft.npy").chmod(0)
    check_refusal(in_process(folder, *COMMANDS[output].split()), (".npy"))
    for name in ("im.npy", "soft.npy"):
        (folder / name).chmod(0o600)
    assert files_of(folder) == before
