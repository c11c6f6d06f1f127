"""Files are written whole or not at all, and proved to be writable before the work."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gpulaf.io.atomic import check_folder, check_writable, whole_file
from gpulaf.io.tensors import read_tensors


@pytest.mark.parametrize("name", ["file.txt", "file", "file.tar.gz", ".hidden"])
def test_whole_file_appears_under_its_name(tmp_path: Path, name: str) -> None:
    with whole_file(tmp_path / name) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(Path(name).suffix)  # writers choose the format by it
        temporary.write_text("new")
        assert not (tmp_path / name).exists()
    assert (tmp_path / name).read_text() == "new"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("failure", [ValueError, OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("old", [None, "old"])
def test_whole_file_keeps_the_old_file_when_writing_fails(
    tmp_path: Path, failure: type[BaseException], written: bool, old: str | None
) -> None:
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old)

    def write() -> None:
        with whole_file(path) as temporary:
            if written:
                temporary.write_text("half")
            raise failure("interrupted")

    with pytest.raises(failure, match="interrupted"):
        write()
    assert os.listdir(tmp_path) == ([] if old is None else ["file.txt"])
    assert old is None or path.read_text() == old


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("old")
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "file.txt"):
        pass
    assert (tmp_path / "file.txt").read_text() == "old"


def test_whole_file_needs_the_folder(tmp_path: Path) -> None:
    began = False
    with (
        pytest.raises(FileNotFoundError, match=r"folder .*none does not exist\. Create it first"),
        whole_file(tmp_path / "none" / "file.txt"),
    ):
        began = True
    assert not began


def test_whole_file_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with whole_file("file.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "file.txt").read_text() == "new"


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "." + "n" * 254, "n" * 246 + ".tar.gz"])
def test_names_as_long_as_names_may_be(tmp_path: Path, name: str) -> None:
    check_writable(tmp_path / name)
    with whole_file(tmp_path / name) as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path) == [name]


def test_an_error_of_the_system_is_a_sentence_about_the_file(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match=r"file\.txt cannot be written: Quota"), whole_file(tmp_path / "file.txt"):
        raise PermissionError(13, "Quota", None)
    with pytest.raises(FileNotFoundError, match="directory: '/none'"), whole_file(tmp_path / "file.txt"):
        Path("/none").read_text()  # by the writer
    assert os.listdir(tmp_path) == []


WRITER = """
import sys, numpy as np
from gpulaf.io import write_tensors
from gpulaf.io.atomic import whole_file
path, number = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
while True:
    write_tensors(path, "weights", {"x": np.full(200_000, number)}, {"number": number})
"""


def test_of_two_processes_that_write_one_file_and_are_killed_a_whole_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    command = [sys.executable, "-c", WRITER, str(path)]
    both = [subprocess.Popen([*command, str(k)], stdout=subprocess.PIPE) for k in (1, 2)]
    seen, end = set[int](), time.monotonic() + 60
    try:
        for process in both:
            assert process.stdout is not None
            process.stdout.readline()
        while seen != {1, 2} and time.monotonic() < end:
            if path.exists():
                arrays, metadata = read_tensors(path, "weights")
                assert (arrays["x"] == metadata["number"]).all()
                seen.add(metadata["number"])
    finally:
        for process in both:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert seen == {1, 2}
    arrays, metadata = read_tensors(path, "weights")
    assert (arrays["x"] == metadata["number"]).all()
    assert all(name.startswith(".") for name in set(os.listdir(tmp_path)) - {path.name})


def test_temporary_names_differ_though_process_and_thread_are_the_same(tmp_path: Path) -> None:
    """As in two containers, whose processes have the same number."""
    with whole_file(tmp_path / "file.txt") as first, whole_file(tmp_path / "file.txt") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "file.txt").read_text() == "first"  # it was finished last
    assert os.listdir(tmp_path) == ["file.txt"]


# --- proofs ---------------------------------------------------------------------------------------------------------


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file of this process may be larger."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def unwritable(folder: Path) -> list[tuple[Path, type[OSError], str]]:
    """Paths that no file can be written to, the error, and what it says."""
    (folder / "folder").mkdir()
    (folder / "a file").write_text("old")
    (folder / "to a folder").symlink_to(folder / "folder")
    (folder / "circle").symlink_to(folder / "circle")
    os.mkfifo(folder / "pipe")
    return [
        (folder / "none" / "f", FileNotFoundError, r"folder .*none does not exist\. Create it first"),
        (folder / "folder", IsADirectoryError, "folder is a folder. Choose the name of a file"),
        (folder / "to a folder", IsADirectoryError, "is a folder"),
        (folder, IsADirectoryError, "is a folder"),
        (folder / "a file" / "f", OSError, "does not exist|cannot be written"),
        (folder / "pipe", OSError, "pipe is a device or a pipe"),
        (Path("/proc/f"), OSError, "/proc/f cannot be written: .*Make room or have the folder opened"),
        (folder / "circle", OSError, "circle cannot be written"),
        (folder / ("n" * 300), OSError, "cannot be written: File name too long"),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a folder of Linux that takes no files")
def test_what_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    cases = unwritable(tmp_path)
    before = sorted(os.listdir(tmp_path))
    for path, kind, said in cases:
        with pytest.raises(kind, match=said) as error:
            check_writable(path)
        assert "\n" not in str(error.value)
        with pytest.raises(kind, match=said), whole_file(path) as temporary:
            temporary.write_text("new")
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "a file").read_text() == "old"
    assert (tmp_path / "pipe").is_fifo()


@contextmanager
def nobody() -> Iterator[None]:
    """Where this process may write everything, be a user who may not."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="users are those of POSIX")
def test_folders_and_files_without_permission() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in (folder / "protected", folder / "closed", folder / "secret"):
            path.mkdir()
            (path / "file").write_text("old")
        (folder / "protected" / "file").chmod(0o444)
        for path, mode in ((folder, 0o777), (folder / "protected", 0o777), (folder / "closed", 0o555)):
            path.chmod(mode)
        (folder / "secret").chmod(0o000)
        with nobody():
            with pytest.raises(PermissionError, match="file is write-protected"):
                check_writable(folder / "protected" / "file")
            for path in (folder / "closed" / "new", folder / "secret" / "new"):
                with pytest.raises(PermissionError, match="new cannot be written: Permission denied"):
                    check_writable(path)
        for path in (folder / "closed", folder / "secret"):
            path.chmod(0o700)


@pytest.mark.parametrize("reserving", [True, False])
def test_a_proof_leaves_nothing_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reserving: bool
) -> None:
    if not reserving:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    (tmp_path / "old").write_text("old")
    os.utime(tmp_path / "old", (1, 1))
    (tmp_path / "link").symlink_to("old")
    (tmp_path / "dangling").symlink_to("new")
    before = sorted(os.listdir(tmp_path))
    for name in ("old", "new", "link", "dangling"):
        check_writable(tmp_path / name)
    check_folder(tmp_path)
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "old").stat().st_mtime == 1


@pytest.mark.parametrize("reserving", [True, False])
def test_there_has_to_be_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reserving: bool) -> None:
    if not reserving:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with limited(2**20):
        check_writable(tmp_path / "f", 2**20)
    with limited(4096), pytest.raises(OSError, match="f cannot be written: File too large"):
        check_writable(tmp_path / "f")
    with pytest.raises(OSError, match=r"f cannot be written: (No space left|it takes \S+ GB|File too large)"):
        check_writable(tmp_path / "f", 2**62)
    assert os.listdir(tmp_path) == []
