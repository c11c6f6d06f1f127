"""Image files labeled tile by tile: the bytes of an undisturbed run, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import tifffile
import zarr
from examples import stripes

import gpulaf
from gpulaf import Labeler
from gpulaf.averaging import BilateralWeights, nearest_neighbor_graph
from gpulaf.backend.array import device_array, gpu_missing, host_array
from gpulaf.backend.validation import image_features
from gpulaf.tiling import Tiling, engine, label_file, open_source, sample_prototypes, sizing
from gpulaf.tiling.engine import run_task
from gpulaf.tiling.outputs import Targets
from gpulaf.tiling.plan import Plan
from gpulaf.tiling.sizing import BASE, chosen_side, chunk_side
from gpulaf.tiling.store import TileIndex, Written

PROGRAM = [sys.executable, "-m", "gpulaf", "label"]
ENVIRONMENT = os.environ | {"NUMBA_NUM_THREADS": "1"}
SIDE = 64
#: In the units of the images, 0 to 255.
PROTOTYPES = np.array([[25.5], [229.5]])


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, or the file itself."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else [folder]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "in.tif", stripes(), tile=(SIDE, SIDE), compression="zlib")
    return tmp_path / "in.tif"


def labeled(image: Path, output: Path, labeler: Labeler | None = None, **options: Any) -> Any:
    others = {name: options.pop(name, None) for name in ("probabilities", "values", "say")}
    tiling = Tiling(**{"side": SIDE, "device": "cpu"} | options)
    return label_file(open_source(image), output, labeler or Labeler(PROTOTYPES), tiling=tiling, **others)


# --- results --------------------------------------------------------------------------------------------------------


def needs(device: str) -> None:
    if device == "gpu" and (missing := gpu_missing()):
        pytest.skip(missing)


KINDS = ["grey uint8 cpu", "color uint16 cpu", "color float32 cpu", "grey float64 cpu", "color uint8 gpu"]


@pytest.mark.parametrize("weights", [None, BilateralWeights(0.1)], ids=["uniform", "bilateral"])
@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_probabilities_equal_those_in_memory_bit_for_bit(tmp_path: Path, weights: Any, kind: str) -> None:
    color, dtype, device = kind.split()
    needs(device)
    scale = {"uint8": 1, "uint16": 257}.get(dtype, 1 / 255)
    pixels = (stripes(color=color == "color") * np.float64(scale)).astype(dtype)
    photometric = "rgb" if color == "color" else "minisblack"
    tifffile.imwrite(tmp_path / "in.tif", pixels, tile=(SIDE, SIDE), photometric=photometric)
    labeler = Labeler(3, weights)
    prototypes = sample_prototypes(open_source(tmp_path / "in.tif"), 3)
    np.testing.assert_allclose(prototypes, gpulaf.labeling.kmeans_prototypes(image_features(pixels)[0], 3), 1e-9)
    expected = [host_array(x) for x in labeler(device_array(pixels, device))[:2]]
    assert 0 < (expected[0] == 0).mean() < 1
    options: dict[str, Any] = {"probabilities": tmp_path / "soft.zarr", "device": device}
    done = labeled(tmp_path / "in.tif", tmp_path / "out.zarr", labeler, **options)
    assert done[1:6] == ((300, 250), 3, SIDE, 20, 0)
    labels, soft = (zarr.open_array(tmp_path / name, mode="r") for name in ("out.zarr", "soft.zarr"))
    assert labels.dtype == np.uint8
    assert soft.dtype == (np.float64 if dtype == "float64" else np.float32)
    assert np.array_equal(labels[:], expected[0])
    assert np.array_equal(soft[:], expected[1])
    labeled(tmp_path / "in.tif", tmp_path / "out.tif", labeler, device=device)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.is_bigtiff
        assert file.pages[0].is_tiled
        assert np.array_equal(file.asarray(), expected[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif", "out.tif", "out.zarr", "soft.zarr"]


def test_a_pyramid_that_ome_zarr_reads(tmp_path: Path, image: Path) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    labeled(image, tmp_path / "out.ome.zarr")
    expected = Labeler(PROTOTYPES)(stripes()).labels
    (node,) = Reader(parse_url(tmp_path / "out.ome.zarr"))()
    assert len(node.data) == 4
    for level, data in enumerate(node.data):
        assert np.array_equal(np.asarray(data), expected[:: 2**level, :: 2**level])
    axes = [(axis["name"], axis["type"]) for axis in node.metadata["axes"]]
    assert axes == [("y", "space"), ("x", "space")]
    scales = [level[0]["scale"] for level in node.metadata["coordinateTransformations"]]
    assert scales == [[2.0**level] * 2 for level in range(4)]


def test_two_runs_give_the_same_bytes_and_so_do_two_processes(tmp_path: Path, image: Path) -> None:
    for name, workers in (("a", 1), ("b", 1), ("c", 2)):
        labeled(image, tmp_path / f"{name}.ome.zarr", probabilities=tmp_path / f"{name}.zarr", workers=workers)
        labeled(image, tmp_path / f"{name}.tif", workers=1)
        for kind in (".ome.zarr", ".zarr", ".tif"):
            assert tree(tmp_path / f"{name}{kind}") == tree(tmp_path / f"a{kind}")


def test_tile_borders_and_sizes_change_nothing(tmp_path: Path, image: Path) -> None:
    expected = Labeler(PROTOTYPES)(stripes()).labels
    for side in (16, 48, 112, 512):
        labeled(image, tmp_path / f"{side}.zarr", side=side)
        assert np.array_equal(zarr.open_array(tmp_path / f"{side}.zarr", mode="r")[:], expected)


def test_prototypes_are_in_the_units_of_the_image_unless_they_are_scaled(tmp_path: Path, image: Path) -> None:
    expected = Labeler(PROTOTYPES)(stripes()).labels
    for name, labeler in (("a", Labeler(PROTOTYPES[:, 0])), ("b", Labeler(PROTOTYPES / 255, scaled=True))):
        label_file(image, tmp_path / f"{name}.zarr", labeler)
        assert np.array_equal(zarr.open_array(tmp_path / f"{name}.zarr", mode="r")[:], expected)


def test_layers_and_other_solvers(tmp_path: Path, image: Path) -> None:
    for name, options in (("a", {"time": [1.0, 7.0]}), ("b", {"solver": gpulaf.Euler(9)}), ("c", {"time": 9.0})):
        labeler = Labeler(PROTOTYPES, BilateralWeights(radius=2), **options)
        labeled(image, tmp_path / f"{name}.zarr", labeler, probabilities=tmp_path / f"{name}-soft.zarr")
        soft = zarr.open_array(tmp_path / f"{name}-soft.zarr", mode="r")
        assert np.array_equal(soft[:], labeler(stripes()).probabilities)


def test_values_that_stand_for_labels(tmp_path: Path, image: Path) -> None:
    values = np.array([7, 300])
    labeled(image, tmp_path / "out.zarr", values=values)
    labels = zarr.open_array(tmp_path / "out.zarr", mode="r")
    assert labels.dtype == np.uint16
    assert np.array_equal(labels[:], values[Labeler(PROTOTYPES)(stripes()).labels])
    for wrong in ([1], [0.5, 1], [[1, 2]], np.array([1, 2**63], np.uint64)):
        with pytest.raises(ValueError, match=r"values are .*; accepted are 2 whole numbers, one for each"):
            labeled(image, tmp_path / "no.zarr", values=wrong)


# --- stopped and started again --------------------------------------------------------------------------------------


class Flaky:
    """Uniform weights, until something happens at some of the calls; counts the calls."""

    reach, radius = 1, 1

    def workspace(self, channels: int) -> int:
        return 0

    def __init__(self, error: BaseException | None = None, at: tuple[int, ...] = ()) -> None:
        self.error, self.at, self.calls = error, at, 0

    def __repr__(self) -> str:  # the same weights, whatever happens
        return "Flaky"

    def __call__(self, features: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls - 1 in self.at and self.error is not None:
            raise self.error
        return gpulaf.uniform_weights(features.shape[:2], dtype=features.dtype)


def stopped(image: Path, output: Path, after: int = 8, **options: Any) -> Path:
    """A run that ends after some tiles, the last of which is not noted yet; what it leaves."""
    with pytest.raises(KeyboardInterrupt):
        labeled(image, output, Labeler(PROTOTYPES, Flaky(KeyboardInterrupt(), (after,))), **options)
    assert not output.exists()
    return output.with_name(f"{output.name}.partial")


def undisturbed(image: Path, output: Path) -> dict[str, bytes]:
    labeled(image, output, Labeler(PROTOTYPES, Flaky()))
    return tree(output)


def test_a_stopped_run_goes_on_where_it_was_and_says_so(tmp_path: Path, image: Path) -> None:
    expected = undisturbed(image, tmp_path / "whole.ome.zarr")
    stopped(image, tmp_path / "out.ome.zarr")
    again, said = Flaky(), []
    done = labeled(image, tmp_path / "out.ome.zarr", Labeler(PROTOTYPES, again), say=said.append)
    assert said == ["Going on with out.ome.zarr.partial: 7 of 20 tiles are done."]
    assert done.kept == 7
    assert again.calls == 13
    assert tree(tmp_path / "out.ome.zarr") == expected


@pytest.mark.parametrize("damage", ["half a chunk", "no chunk", "other bytes", "no record", "half a record"])
def test_a_tile_that_is_not_whole_is_done_again(tmp_path: Path, image: Path, damage: str) -> None:
    expected = undisturbed(image, tmp_path / "whole.zarr")
    partial = stopped(image, tmp_path / "out.zarr")
    chunk, journal = partial / "labels/c/0/2", partial / "journal"
    content, lines = chunk.read_bytes(), journal.read_bytes().splitlines(keepends=True)
    if damage == "half a chunk":
        chunk.write_bytes(content[: len(content) // 2])
    elif damage == "no chunk":
        chunk.unlink()
    elif damage == "other bytes":
        chunk.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "no record":
        journal.write_bytes(b"".join(lines[:2] + lines[3:]))
    else:
        journal.write_bytes(b"".join(lines[:6]) + lines[6][:20])
    (partial / "labels/c/1/3.0123.partial").write_bytes(b"left by a writer that was killed")
    again = Flaky()
    done = labeled(image, tmp_path / "out.zarr", Labeler(PROTOTYPES, again))
    assert done.kept == 6
    assert again.calls == 14
    assert tree(tmp_path / "out.zarr") == expected


def killed_when_begun(folder: Path, arguments: list[str], lines: int = 4) -> int:
    """Start the program, and kill it when so many tiles are done; how many it had noted."""
    running = subprocess.Popen([*PROGRAM, *arguments], cwd=folder, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    journal = folder / f"{arguments[arguments.index('-o') + 1]}.partial/journal"
    try:
        while running.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < lines):
            time.sleep(0.002)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert running.returncode == -signal.SIGKILL
    return journal.read_bytes().count(b"\n")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_output_after_sigkill_is_that_of_an_undisturbed_run(tmp_path: Path, image: Path, workers: str) -> None:
    arguments = [image.name, "--prototypes", "2", "--tile", "32", "--workers", workers, "--device", "cpu"]
    noted = killed_when_begun(tmp_path, [*arguments, "-o", "out.ome.zarr", "--probabilities", "out.zarr"])
    assert noted < 80
    assert not (tmp_path / "out.ome.zarr").exists()
    said: list[str] = []
    for name in ("whole", "out"):
        options: dict[str, Any] = {"side": 32, "say": said.append, "probabilities": tmp_path / f"{name}.zarr"}
        labeled(image, tmp_path / f"{name}.ome.zarr", Labeler(2), device="cpu", **options)
    assert len(said) == 1
    assert int(re.findall(r": (\d+) of 80 tiles are done", said[0])[0]) >= min(4, noted)
    for kind in (".ome.zarr", ".zarr"):
        assert tree(tmp_path / f"out{kind}") == tree(tmp_path / f"whole{kind}")
    assert not list(tmp_path.glob("*.partial"))


def test_a_run_killed_while_results_are_moved_is_ended_by_the_next(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move, soft = os.replace, tmp_path / "soft.zarr"

    def killed(source: Any, target: Any) -> None:
        if Path(target).name == "out.zarr":
            raise KeyboardInterrupt
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            labeled(image, tmp_path / "out.zarr", Labeler(PROTOTYPES, Flaky()), probabilities=soft)
    assert soft.is_dir()
    assert not (tmp_path / "out.zarr").exists()
    again = Flaky()
    labeled(image, tmp_path / "out.zarr", Labeler(PROTOTYPES, again), probabilities=soft)
    assert again.calls == 0
    assert tree(tmp_path / "out.zarr") == undisturbed(image, tmp_path / "whole.zarr")
    assert zarr.open_array(soft, mode="r").shape == (300, 250, 2)


def test_other_options_are_refused_and_restart_begins_anew(tmp_path: Path, image: Path) -> None:
    output = tmp_path / "out.zarr"
    partial = stopped(image, output)
    before = tree(partial)
    with pytest.raises(FileExistsError, match=r"begun with rho 0\.1 and not 0\.2\. Go .* anew .* \(--restart\)"):
        labeled(image, output, Labeler(PROTOTYPES, Flaky(), rho=0.2))
    for other, said in (
        (Labeler(PROTOTYPES + 1, Flaky()), r"begun with prototypes \[\[0\.1"),
        (Labeler(PROTOTYPES), 'begun with weights "Flaky" and not "uniform"'),
        (Labeler(PROTOTYPES, Flaky(), time=4.0), r"begun with time \[3\.0\] and not \[4\.0\]"),
        (Labeler(PROTOTYPES, Flaky(), solver=gpulaf.Taylor(9)), r"begun with solver \"Taylor\(degree=None"),
    ):
        with pytest.raises(FileExistsError, match=said):
            labeled(image, output, other)
    with pytest.raises(FileExistsError, match=r"begun with values \[0, 1\] and not \[3, 4\]"):
        labeled(image, output, Labeler(PROTOTYPES, Flaky()), values=[3, 4])
    with pytest.raises(FileExistsError, match=r"begun with tile 64 and not 32"):
        labeled(image, output, Labeler(PROTOTYPES, Flaky()), side=32)
    os.utime(image, (1, 1))
    with pytest.raises(FileExistsError, match=r"begun with size and time of the input"):
        labeled(image, output, Labeler(PROTOTYPES, Flaky()))
    assert tree(partial) == before
    again = Flaky()
    assert labeled(image, output, Labeler(PROTOTYPES, again), restart=True).kept == 0
    assert again.calls == 20


def test_a_tile_side_that_was_chosen_stays_when_the_memory_changes(tmp_path: Path, image: Path) -> None:
    stopped(image, tmp_path / "out.zarr", memory=int(BASE + 1e7), side=None, after=0)
    assert labeled(image, tmp_path / "out.zarr", Labeler(PROTOTYPES, Flaky()), side=None).side < 256


def test_a_folder_that_is_no_partial_result_is_left_alone(tmp_path: Path, image: Path) -> None:
    folder = tmp_path / "out.zarr.partial"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    for restart in (False, True):
        with pytest.raises(FileExistsError, match=r"out\.zarr\.partial is no partial result"):
            labeled(image, tmp_path / "out.zarr", restart=restart)
    assert (folder / "thesis.txt").read_text() == "precious"


def test_one_run_at_a_time(tmp_path: Path, image: Path) -> None:
    stopped(image, tmp_path / "out.zarr")
    lock = (
        "import fcntl, sys, time; file = open('out.zarr.partial/journal', 'ab'); fcntl.flock(file, fcntl.LOCK_EX);"
        "print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", lock], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        other.stdout.readline()
        for restart in (False, True):
            with pytest.raises(BlockingIOError, match="is being written by another run"):
                labeled(image, tmp_path / "out.zarr", Labeler(PROTOTYPES, Flaky()), restart=restart)
        other.communicate()


# --- what goes wrong with a tile ------------------------------------------------------------------------------------


def test_a_failed_tile_is_told_when_the_others_are_done(tmp_path: Path, image: Path) -> None:
    expected = undisturbed(image, tmp_path / "whole.zarr")
    flaky = Flaky(ValueError("no luck"), (3, 9))
    text = r"2 of 20 tiles failed: rows 0:64, columns 192:250: no luck; rows 128:192, columns 64:128: no luck\. "
    text += r"The others are kept in out\.zarr\.partial.* again, unless the image file is another"
    with pytest.raises(RuntimeError, match=text):
        labeled(image, tmp_path / "out.zarr", Labeler(PROTOTYPES, flaky))
    assert flaky.calls == 20
    assert not (tmp_path / "out.zarr").exists()
    again = Flaky()
    assert labeled(image, tmp_path / "out.zarr", Labeler(PROTOTYPES, again)).kept == 18
    assert again.calls == 2
    assert tree(tmp_path / "out.zarr") == expected


def test_a_damaged_chunk_of_the_input_fails_its_tiles_and_nothing_else(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "in.zarr", shape=(300, 250), chunks=(SIDE, SIDE), dtype="u1")
    array[:] = stripes()
    chunk = tmp_path / "in.zarr/c/1/1"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:100])
    with pytest.raises(RuntimeError, match=r"9 of 20 .*in\.zarr cannot be read at rows 0:72.* only these again\.$"):
        labeled(tmp_path / "in.zarr", tmp_path / "out.zarr")
    chunk.write_bytes(content)
    assert labeled(tmp_path / "in.zarr", tmp_path / "out.zarr").kept == 11
    assert np.array_equal(zarr.open_array(tmp_path / "out.zarr")[:], Labeler(PROTOTYPES)(stripes()).labels)


def test_nan_is_no_data_and_infinite_values_are_refused(tmp_path: Path) -> None:
    pixels, labeler = stripes().astype(np.float32) / 255, Labeler(PROTOTYPES / 255)
    pixels[150, 100] = np.nan
    tifffile.imwrite(tmp_path / "in.tif", pixels, tile=(SIDE, SIDE))
    done = labeled(tmp_path / "in.tif", tmp_path / "out.tif", labeler)
    assert done.nodata == 255
    labels = tifffile.imread(tmp_path / "out.tif")
    assert np.argwhere(labels == 255).tolist() == [[150, 100]]
    pixels[150, 100] = np.inf
    tifffile.imwrite(tmp_path / "in.tif", pixels, tile=(SIDE, SIDE))
    with pytest.raises(ValueError, match="image holds 1 value"):
        labeled(tmp_path / "in.tif", tmp_path / "out.zarr", labeler)


def limited(folder: Path, size: int) -> subprocess.CompletedProcess[str]:
    """The program with files of `size` bytes at most, as on a full disk."""
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}));"
        "from gpulaf.cli import main; main()"
    )
    arguments = ["label", "in.tif", "--prototypes", "2", "--tile", "64", "-o", "out.zarr", "--probabilities", "s.zarr"]
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(tmp_path: Path, image: Path) -> None:
    done = limited(tmp_path, 20_000)
    assert done.returncode == 2
    assert "the disk is full" in done.stderr
    assert "Make room and start again" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif", "out.zarr.partial"]
    done = limited(tmp_path, 10_000_000)
    assert done.returncode == 0, done.stderr
    labeler = Labeler(2)
    assert np.array_equal(zarr.open_array(tmp_path / "out.zarr", mode="r")[:], labeler(stripes()).labels)


class Filling(Flaky):
    """Fills the disk of a folder after some calls."""

    def __init__(self, folder: Path, after: int) -> None:
        super().__init__()
        self.folder, self.after = folder, after

    def __call__(self, features: np.ndarray) -> np.ndarray:
        if self.calls == self.after:
            with open(self.folder / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
        return super().__call__(features)


def test_a_disk_that_another_program_fills(tmp_path: Path, image: Path) -> None:
    expected = undisturbed(image, tmp_path / "whole.zarr")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    try:
        subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(OSError, match=r"the disk is full \(No space left on device\); what is finished is kept"):
            labeled(image, disk / "out.zarr", Labeler(PROTOTYPES, Filling(disk, 5)))
        assert not (disk / "out.zarr").exists()
        (disk / "filler").unlink()
        done = labeled(image, disk / "out.zarr", Labeler(PROTOTYPES, Flaky()))
        assert 0 < done.kept <= 5
        assert tree(disk / "out.zarr") == expected
    finally:
        subprocess.run(["umount", str(disk)], check=True)


class Deadly(Flaky):
    """Kills its process at the first pixel of the image, as often as there are no files to tell that it did."""

    def __init__(self, folder: Path, times: int) -> None:
        super().__init__()
        self.folder, self.times = folder, times

    def __call__(self, features: np.ndarray) -> np.ndarray:
        notes = len(list(self.folder.glob("killed*")))
        if features.shape[:2] == (72, 72) and notes < self.times:
            (self.folder / f"killed{notes}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(features)


def test_killed_workers(tmp_path: Path, image: Path) -> None:
    """One that dies once costs nothing; a tile that kills every worker is told like any other that failed."""
    expected = undisturbed(image, tmp_path / "whole.zarr")
    labeled(image, tmp_path / "once.zarr", Labeler(PROTOTYPES, Deadly(tmp_path, 1)), workers=2)
    assert tree(tmp_path / "once.zarr") == expected
    few = dask.config.set({"distributed.scheduler.allowed-failures": 1})
    with few, pytest.raises(RuntimeError, match=r"1 of 20 tiles failed: rows 0:64, columns 0:64: .*worker"):
        labeled(image, tmp_path / "never.zarr", Labeler(PROTOTYPES, Deadly(tmp_path, 1000)), workers=2)
    assert labeled(image, tmp_path / "never.zarr", Labeler(PROTOTYPES, Flaky())).kept == 19
    assert tree(tmp_path / "never.zarr") == expected


class Unreadable(Flaky):
    """Uniform weights that other processes cannot read."""

    def __reduce__(self) -> Any:
        return unreadable, (os.getpid(),)


def unreadable(process: int) -> Unreadable:
    if process != os.getpid():
        raise ImportError("no module named after these weights")
    return Unreadable()


def test_workers_that_cannot_read_the_task_end_the_run(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They close, and no other takes over: the run says so, and waits no longer."""
    monkeypatch.setattr(engine, "PATIENCE", 2)
    with pytest.raises(ConnectionError, match=r"no worker is left: .* output says why\. What is finished is kept"):
        labeled(image, tmp_path / "out.zarr", Labeler(PROTOTYPES, Unreadable()), workers=2)
    assert labeled(image, tmp_path / "out.zarr", Labeler(PROTOTYPES, Flaky())).kept == 0


def test_a_running_scheduler(tmp_path: Path, image: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as processes:
        labeled(image, tmp_path / "out.zarr", scheduler=processes.scheduler_address)
    assert np.array_equal(zarr.open_array(tmp_path / "out.zarr")[:], Labeler(PROTOTYPES)(stripes()).labels)


def test_a_scheduler_that_does_not_answer(tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 1)
    with pytest.raises(ConnectionError, match=r"scheduler tcp://.*:9 or its workers do not answer: .*dask worker"):
        labeled(image, tmp_path / "out.zarr", scheduler="tcp://127.0.0.1:9")


class Echo:
    """A task that does nothing."""

    def read(self, tile: TileIndex) -> None:
        return None

    def compute(self, tile: TileIndex, read: None) -> int:
        return tile.place[1]

    def write(self, tile: TileIndex, blocks: int) -> Written:
        return Written({"file": blocks})


@pytest.mark.parametrize("threads", [0, 2])
def test_few_tiles_are_in_flight(threads: int) -> None:
    """A billion tiles are begun as soon as ten."""
    taken = []

    def tiles() -> Any:
        for k in range(10**9):
            taken.append(k)
            yield TileIndex(0, (0, k))

    seen = set()
    with contextlib.ExitStack() as stack:
        client = None
        if threads:
            from distributed import Client

            options = {"processes": False, "n_workers": 1, "threads_per_worker": threads, "dashboard_address": ":0"}
            client = stack.enter_context(Client(**options))
        for done in run_task(Echo(), tiles(), client):
            assert done.written.files == {"file": done.tile.place[1]}
            seen.add(done.tile)
            assert len(taken) <= len(seen) + max(3, 2 * threads)
            if len(seen) == 20:
                break
    assert len(seen) == 20


def test_a_scheduler_that_is_lost_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client, LocalCluster

    monkeypatch.setattr(engine, "PATIENCE", 2)
    monkeypatch.setattr(Echo, "compute", lambda *_: time.sleep(0.5))
    options: dict[str, Any] = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as processes, Client(processes.scheduler_address, timeout=2) as client:
        results = run_task(Echo(), (TileIndex(0, (0, k)) for k in range(100)), client)
        next(results)
        processes.close()
        with pytest.raises(ConnectionError, match=r"What is finished is kept: start again"):
            list(results)


# --- before any computation ---------------------------------------------------------------------------------------


def test_a_tile_that_does_not_fit_is_refused_with_numbers(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "in.zarr", shape=(100_000, 100_000), chunks=(1024, 1024), dtype="u1")
    source, labeler = open_source(tmp_path / "in.zarr"), Labeler(PROTOTYPES)
    with pytest.raises(MemoryError, match=r"tiles of 8192 pixels do not fit into 1 GB for 1 process.* have \d+\. "):
        chosen_side(Tiling(side=8192, memory=int(1e9)), source, labeler, 2, 1)
    sides = [chosen_side(Tiling(memory=int(memory)), source, labeler, 2, 1) for memory in (4e8, 1e9, 2e9, 4e9)]
    assert sides == sorted(sides)
    assert sides[0] < sides[-1] == 2048
    assert chosen_side(Tiling(memory=int(4e9), workers=10), source, labeler, 2, 1) < 2048
    with pytest.raises(MemoryError, match=r"with a halo of 8 pixels\. Give more memory, or take fewer workers"):
        chosen_side(Tiling(memory=int(4e9), workers=16), source, labeler, 2, 1)


@pytest.mark.parametrize("shape", [(40, 50), (100_000, 90_000)])
def test_no_tile_is_larger_than_the_image(tmp_path: Path, shape: tuple[int, int]) -> None:
    zarr.create_array(tmp_path / "in.zarr", shape=shape, chunks=(1024, 1024), dtype="u1")
    source, labeler = open_source(tmp_path / "in.zarr"), Labeler(PROTOTYPES)
    for memory in (10**25, 10**40):
        assert chosen_side(Tiling(memory=memory), source, labeler, 2, 1) == 2048
        side = chosen_side(Tiling(side=16 * (10**12 + 39), memory=memory), source, labeler, 2, 1)
        assert side == -(-shape[0] // 16) * 16 if shape[0] > 50 else side == 64
        assert side % chunk_side(side) == 0


def test_a_tile_on_a_gpu_fits_into_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr.create_array(tmp_path / "in.zarr", shape=(100_000, 100_000), chunks=(1024, 1024), dtype="u1")
    source, labeler = open_source(tmp_path / "in.zarr"), Labeler(PROTOTYPES)
    monkeypatch.setattr(sizing, "free_bytes", lambda on_device=False: int(1e8 if on_device else 64e9))
    assert chosen_side(Tiling(), source, labeler, 2, 1) == 2048
    assert chosen_side(Tiling(), source, labeler, 2, 1, "gpu") < 1024
    with pytest.raises(MemoryError, match=r"tiles of 2048 pixels do not fit into 0\.\d+ GB of the GPU; .* have \d+\. "):
        chosen_side(Tiling(side=2048), source, labeler, 2, 1, "gpu")


def test_processes_on_gpus_need_dask_cuda(tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("gpu")
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with pytest.raises(ImportError, match=r"2 processes on GPUs need Dask-CUDA.*gpulaf\[large-gpu\]"):
        labeled(image, tmp_path / "out.zarr", workers=2, device="gpu")


def test_a_disk_without_room_is_refused_with_numbers(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "in.zarr", shape=(10**8, 10**8), chunks=(1024, 1024), dtype="u1")
    with pytest.raises(OSError, match=r"take up to 1\.33e\+07 GB, and .* GB are free"):
        labeled(tmp_path / "in.zarr", tmp_path / "out.ome.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]


def test_names_that_cannot_be_results(tmp_path: Path, image: Path) -> None:
    (tmp_path / "there.zarr").mkdir()
    (tmp_path / "file.zarr").touch()
    for output, soft, text in (
        ("out.png", None, r"ends in '\.png'; accepted .* are \.zarr, \.ome\.zarr, \.tif"),
        ("there.zarr", None, r"there\.zarr exists\. Delete it"),
        ("file.zarr", None, r"file\.zarr exists\. Delete it"),
        ("out.zarr", "file.zarr", r"file\.zarr exists\. Delete it"),
        ("no/out.zarr", None, r"folder .*no does not exist"),
        ("out.zarr", "soft.ome.zarr", "accepted is an array"),
        ("out.zarr", "soft.npy", "accepted is an array"),
        ("out.zarr", "out.zarr", "both go to"),
    ):
        with pytest.raises((ValueError, OSError), match=text):
            labeled(image, tmp_path / output, probabilities=soft and tmp_path / soft)
    with pytest.raises(ValueError, match=r"in\.tif is also the input"):
        labeled(image, image)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.zarr", "in.tif", "there.zarr"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is a folder of Linux that takes no files")
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, image: Path) -> None:
    closed = Path("/proc")
    for output, soft in ((closed / "out.zarr", None), (tmp_path / "out.zarr", closed / "soft.zarr")):
        with pytest.raises(OSError, match=r"^folder /proc cannot be written: .*choose another path\.$"):
            labeled(image, output, probabilities=soft)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in.tif"]


def test_prototypes_of_another_kind_of_image(tmp_path: Path, image: Path) -> None:
    with pytest.raises(ValueError, match=r"has 1 channel\(s\), the prototypes have 3; accepted are as many"):
        labeled(image, tmp_path / "out.zarr", Labeler(np.zeros((2, 3))))
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"prototypes": PROTOTYPES[:1]}, "prototypes hold 1 label; accepted are at least 2"),
        ({"prototypes": PROTOTYPES * np.nan}, "prototypes hold values that are not finite"),
        ({"prototypes": None}, "prototypes is None, .* Call refine"),
        ({"prototypes": 1}, "prototypes is 1; accepted are 2 to 65536 labels"),
        ({"solver": gpulaf.Krylov()}, "accepted in tiles are Taylor and Euler"),
        ({"solver": gpulaf.DormandPrince()}, "accepted in tiles are Taylor and Euler"),
        ({"weights": gpulaf.uniform_weights((300, 250))}, r"weights are a ndarray; .* WeightSource.* label_array\."),
        ({"weights": nearest_neighbor_graph(np.arange(20.0)[:, None], 2)}, "weights are a Graph; accepted for files"),
    ],
)
def test_what_every_tile_would_fail_with_is_refused_at_once(
    tmp_path: Path, image: Path, options: dict[str, Any], text: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        labeled(image, tmp_path / "out.zarr", Labeler(**{"prototypes": PROTOTYPES} | options))
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_bilateral_weights_of_no_scale_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="sigma is 0; accepted are positive numbers"):
        BilateralWeights(0)
    with pytest.raises(ValueError, match="radius"):
        BilateralWeights(0.1, 0)


def test_one_label_of_a_sample_is_refused(image: Path) -> None:
    with pytest.raises(ValueError, match="prototypes is 1; accepted are 2 to 65536 labels"):
        sample_prototypes(open_source(image), 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"side": 100}, "the tile is 100 pixels; accepted are multiples of 16"),
        ({"workers": 0}, "there are 0 workers"),
        ({"memory": 0}, "memory is 0 bytes"),
        ({"device": "tpu"}, "device is 'tpu'; accepted are auto, cpu and gpu"),
        ({"workers": 2, "scheduler": "tcp://localhost:1"}, "a scheduler brings its own"),
    ],
)
def test_tilings_that_cannot_be(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Tiling(**options)


def test_chunks_divide_tiles() -> None:
    for side in range(16, 4097, 16):
        chunk = chunk_side(side)
        assert side % chunk == 0
        assert chunk % 16 == 0
    assert [chunk_side(side) for side in (64, 1024, 1536, 2048)] == [64, 1024, 768, 1024]


def test_a_million_megapixels_need_no_graph(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "in.zarr", shape=(10**6, 10**6), chunks=(1024, 1024), dtype="u1")
    targets, values = Targets(tmp_path / "out.ome.zarr", None), np.arange(2, dtype=np.uint8)
    plan = Plan(open_source(tmp_path / "in.zarr"), Labeler(PROTOTYPES), values, targets, 2048, "cpu")
    assert plan.count() == 489**2
    assert next(plan.tiles()) == TileIndex(0, (0, 0))
    assert plan.shapes[-1] == (977, 977)
