"""Tensor files with metadata, and the digests of arrays and images."""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from gpulaf.io import read_tensors, write_tensors
from gpulaf.io.tensors import digest, image_digest

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
    with pytest.raises(FileNotFoundError, match=r"does not exist\. Check the path"):
        read_tensors(tmp_path / "none.safetensors", "weights")
    with pytest.raises(IsADirectoryError, match=r"is a folder; accepted are files of weights of gpulaf learn\. Check"):
        read_tensors(tmp_path, "weights")


def test_another_kind(tmp_path: Path) -> None:
    write_tensors(tmp_path / "f", "checkpoint", sample(), METADATA)
    with pytest.raises(ValueError, match=r"f holds checkpoint; accepted is weights of gpulaf learn\. Check"):
        read_tensors(tmp_path / "f", "weights")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"kind": "weights", "version": "1"}])
def test_files_of_other_programs(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weights": np.zeros(3)}, tmp_path / "f", metadata=metadata)
    with pytest.raises(ValueError, match="f is not a file of gpulaf; accepted is weights of gpulaf learn"):
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


def test_what_the_library_says_of_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(OSError, match=r"f cannot be written: File too large\. Make room or"):
            write_tensors(tmp_path / "f", "weights", {"x": np.zeros(10_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert os.listdir(tmp_path) == []


def test_digests_tell_arrays_apart() -> None:
    zeros = [np.zeros((2, 3)), np.zeros((3, 2)), np.zeros(6), np.zeros((2, 3), np.float32), np.zeros((2, 3), np.int64)]
    assert len({digest(x) for x in zeros}) == len(zeros)
    assert digest(np.arange(6).reshape(2, 3).T) == digest(np.array([[0, 3], [1, 4], [2, 5]]))


def test_the_digest_of_an_image_is_that_of_its_values() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 4), np.uint8)
    same = [image, image[..., None], image.astype(np.float32), image.astype(">u2"), np.asfortranarray(image)]
    assert len({image_digest(x) for x in same}) == 1
    other = [image, image[::-1], image[:, ::-1], image[:4], image.reshape(4, 5), image + np.float32(0.25)]
    assert len({image_digest(x) for x in other}) == len(other)
    color = np.stack([image] * 3, axis=-1)
    masked = [np.ma.MaskedArray(np.where(np.eye(5, 4) > 0, x, image), np.eye(5, 4)) for x in (0, 7)]
    assert image_digest(masked[0]) == image_digest(masked[1]) != image_digest(image)
    assert image_digest(np.ma.MaskedArray(color)) == image_digest(color) != image_digest(image)
