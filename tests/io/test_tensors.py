"""Tensor files with metadata, and files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from gpulaf.io import read_tensors, write_tensors
from gpulaf.io.atomic import whole_file

METADATA = {"rho": 0.1, "values": [1, None, "ü"], "nested": {"history": [[0, 1.5, 2e-30]]}}


def sample() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "weights": rng.random((4, 9, 5)).astype(np.float32),
        "double": rng.random((3, 4)),
        "flag": np.array([True, False]),
        "labels": rng.integers(0, 9, (2, 3)).astype(np.uint8),
        "strided": np.arange(6).reshape(2, 3).T[::2],
        "big endian": np.arange(3, dtype=">f4"),
        "empty": np.zeros((0, 3)),
        "number": np.array(2.5),
    }


def test_round_trip(tmp_path: Path) -> None:
    arrays, path = sample(), tmp_path / "file.safetensors"
    write_tensors(path, "weights", arrays, METADATA)
    back, metadata = read_tensors(path, "weights")
    assert metadata == METADATA
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype.newbyteorder("="), name
        assert back[name].shape == array.shape, name
        np.testing.assert_array_equal(back[name], array)
    assert os.listdir(tmp_path) == ["file.safetensors"]


def test_special_values_keep_their_bits(tmp_path: Path) -> None:
    array = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
    write_tensors(tmp_path / "f", "weights", {"x": array}, {})
    assert read_tensors(tmp_path / "f", "weights")[0]["x"].tobytes() == array.tobytes()


def test_the_path_may_be_text_and_the_file_is_replaced(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        write_tensors(str(tmp_path / "f"), "weights", {"x": np.array([value])}, {})
    assert read_tensors(str(tmp_path / "f"), "weights")[0]["x"] == [2.0]


def test_metadata_that_json_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    write_tensors(tmp_path / "f", "weights", sample(), METADATA)
    before = (tmp_path / "f").read_bytes()
    with pytest.raises(TypeError, match="JSON"):
        write_tensors(tmp_path / "f", "weights", {}, {"x": object()})
    assert (tmp_path / "f").read_bytes() == before
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("share", [0, 0.005, 0.1, 0.5, 0.99])
def test_truncated_files(tmp_path: Path, share: float) -> None:
    path = tmp_path / "file.safetensors"
    write_tensors(path, "weights", sample(), METADATA)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"file\.safetensors is no readable safetensors file"):
        read_tensors(path, "weights")


def test_missing_files(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"does not exist\. Check the path"):
            read_tensors(path, "weights")


def test_another_kind(tmp_path: Path) -> None:
    write_tensors(tmp_path / "f", "checkpoint", sample(), METADATA)
    with pytest.raises(ValueError, match=r"f holds checkpoint; accepted are files of weights"):
        read_tensors(tmp_path / "f", "weights")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"kind": "weights", "version": "1"}])
def test_files_of_other_programs(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weights": np.zeros(3)}, tmp_path / "f", metadata=metadata)
    with pytest.raises(ValueError, match="not a file of gpulaf; accepted are files of weights"):
        read_tensors(tmp_path / "f", "weights")


def patch_header(path: Path, **changes: str | None) -> None:
    """Change or remove (None) entries of the header of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {k: v for k, v in (header["__metadata__"] | changes).items() if v is not None}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def test_a_newer_version(tmp_path: Path) -> None:
    write_tensors(tmp_path / "f", "weights", sample(), METADATA)
    patch_header(tmp_path / "f", kind="weights")  # the patch alone does no harm
    assert read_tensors(tmp_path / "f", "weights")[1] == METADATA
    patch_header(tmp_path / "f", version="2")
    with pytest.raises(ValueError, match=r"format version 2; accepted is up to 1\. Update gpulaf"):
        read_tensors(tmp_path / "f", "weights")


@pytest.mark.parametrize("changes", [{"version": None}, {"version": "two"}, {"metadata": None}, {"metadata": "{"}])
def test_a_damaged_header(tmp_path: Path, changes: dict[str, str | None]) -> None:
    path = tmp_path / "file.safetensors"
    write_tensors(path, "weights", sample(), METADATA)
    patch_header(path, **changes)
    with pytest.raises(ValueError, match=r"file\.safetensors"):
        read_tensors(path, "weights")


def test_a_pickle_in_disguise_is_not_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "exploded"),)

    for name, content in (("f.safetensors", pickle.dumps(Bomb())), ("g.safetensors", pickle.dumps(Bomb(), protocol=0))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} is no readable safetensors file"):
            read_tensors(tmp_path / name, "weights")
    assert not (tmp_path / "exploded").exists()


# --- whole files ----------------------------------------------------------------------------------------------------


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
