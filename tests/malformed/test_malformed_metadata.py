"""Metadata of any shape in weights, models and OME-Zarr, and damaged files of them: one sentence that names the file,
or the same labels.
"""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import check_lines, check_refusal, files_of, in_process
from odd_files import changed, damages, grey
from safetensors import safe_open
from safetensors.numpy import load, save

from gpulaf.io import read_image


class Document:
    """A folder of files with a JSON document in one of them, and the labels that a command gives with it."""

    def __init__(self, files: dict[str, bytes], name: str, arguments: list[str], output: str) -> None:
        self.files, self.name, self.arguments, self.output = files, name, arguments, output

    def written(self, folder: Path) -> None:
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def run(self, folder: Path) -> Any:
        return in_process(folder, *self.arguments, "-o", self.output)

    @property
    def document(self) -> Any:
        """What the file says, as JSON."""
        data = self.files[self.name]
        return json.loads(_header(data)["metadata"]) if self.name.endswith(".safetensors") else json.loads(data)

    def with_document(self, document: Any) -> bytes:
        """The file with another document."""
        if not self.name.endswith(".safetensors"):
            return json.dumps(document).encode()
        data = self.files[self.name]
        return save(load(data), _header(data) | {"metadata": json.dumps(document)})


def _header(data: bytes) -> dict[str, str]:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(data)
        file.flush()
        with safe_open(file.name, framework="numpy") as opened:
            return opened.metadata()


def _weights(folder: Path, *options: str) -> Document:
    _image_and_truth(folder)
    done = in_process(folder, "learn", "im.npy", "truth.npy", "-o", "w.safetensors", "--steps", 1, *options)
    assert done.code == 0, done
    files = {name: data for name, data in files_of(folder).items() if name != "truth.npy"}
    return Document(files, "w.safetensors", ["label", "im.npy", "--weights", "w.safetensors"], "out.npy")


def _model(folder: Path) -> Document:
    _image_and_truth(folder)
    options = ["--steps", 1, "--prototypes", 3, "-o", "m.safetensors", "--range", "0,255"]
    done = in_process(folder, "train", "im.npy", "--truth", "truth.npy", *options)
    assert done.code == 0, done
    files = {name: data for name, data in files_of(folder).items() if name != "truth.npy"}
    return Document(files, "m.safetensors", ["label", "im.npy", "--model", "m.safetensors"], "out.npy")


def _image_and_truth(folder: Path) -> None:
    np.save(folder / "im.npy", grey())
    np.save(folder / "truth.npy", (grey() > 120).astype(np.uint8) * 3)


def _ome_zarr(folder: Path, inner: str) -> Document:
    import tifffile

    tifffile.imwrite(folder / "im.tif", grey())
    done = in_process(folder, "label", "im.tif", "--prototypes", 2, "-o", "im.ome.zarr", "--tile", 16)
    assert done.code == 0, done
    files = {k: v for k, v in files_of(folder).items() if k.startswith("im.ome.zarr") and v != b"(folder)"}
    command = ["label", "im.ome.zarr", "--range", "0,1", "--prototypes", "2"]
    return Document(files, f"im.ome.zarr/{inner}", command, "out.tif")


def _state(folder: Path) -> Document:
    _image_and_truth(folder)
    learn = ["learn", "im.npy", "truth.npy", "--checkpoint", "state.safetensors", "--steps"]
    done = in_process(folder, *learn, "10", "-o", "w.safetensors")
    assert done.code == 0, done
    files = {name: data for name, data in files_of(folder).items() if name != "w.safetensors"}
    return Document(files, "state.safetensors", [*learn, "12", "--resume"], "out.safetensors")


DOCUMENTS: dict[str, Callable[[Path], Document]] = {
    "weights": _weights,
    "layers": lambda folder: _weights(folder, "--layers", "2"),
    "state": _state,
    "model": _model,
    "ome-zarr": lambda folder: _ome_zarr(folder, "zarr.json"),
    "zarr-array": lambda folder: _ome_zarr(folder, "0/zarr.json"),
}


def result(path: Path) -> np.ndarray:
    """The labels or weights in an output."""
    return load(path.read_bytes())["weights"] if path.suffix == ".safetensors" else np.asarray(read_image(path))


@cache
def document(name: str) -> tuple[Document, dict[str, Any], np.ndarray]:
    """A document, its variations, and the result of the command with the document as it was."""
    import tempfile

    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as tried:
        found = DOCUMENTS[name](Path(made))
        found.written(Path(tried))
        done = found.run(Path(tried))
        assert done.code == 0, done
        return found, dict(changed(found.document)), result(Path(tried) / found.output)


def cases() -> Iterator[tuple[str, str]]:
    for name in DOCUMENTS.keys() - {"layers"}:
        for what in document(name)[1]:
            yield name, what


CASES = sorted(cases())
#: Changes that leave a right document, of another meaning. To Zarr, true is a length of 1.
OTHER_NUMBERS = {
    ("weights", "rho is 0.5"), ("weights", "time is 0.5"), ("weights", "prototypes.0.0 is 0.5"),
    ("weights", "prototypes.0.0 is -1"), ("weights", "label_values.0 is -1"), ("model", "options.rho is 0.5"),
    ("model", "options.time is 0.5"), ("zarr-array", "shape.0 is true"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "what"), CASES, ids=lambda x: x.replace(" ", "-"))
def test_changed_metadata(tmp_path: Path, name: str, what: str) -> None:
    found, variations, _ = document(name)
    found.written(tmp_path)
    (tmp_path / found.name).write_bytes(found.with_document(variations[what]))
    check(tmp_path, name, what)


def damaged() -> Iterator[tuple[str, str, str]]:
    for name in ("weights", "layers", "model", "ome-zarr", "state"):
        for file, data in document(name)[0].files.items():
            if not file.endswith((".npy", ".tif")):
                yield from ((name, file, what) for what, _ in damages(data) if what != "a hole in the middle")
                if not file.endswith(("c/0/0", "state.safetensors")):  # a chunk of zeros, and a first run
                    yield name, file, "left out"


DAMAGED = list(damaged())


@pytest.mark.parametrize(("name", "file", "what"), DAMAGED, ids=lambda x: x.replace(" ", "-").replace("/", "-"))
def test_damaged_files_of_gpulaf(tmp_path: Path, name: str, file: str, what: str) -> None:
    found, _, _ = document(name)
    found.written(tmp_path)
    if what == "left out":
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(dict(damages(found.files[file]))[what])
    check(tmp_path, name, what)


def check(tmp_path: Path, name: str, what: str) -> None:
    """Run the command; it refuses and leaves the folder as it was, or gives the same labels or weights."""
    found, _, expected = document(name)
    before = files_of(tmp_path)
    done = found.run(tmp_path)
    if done.code:
        check_refusal(done, (Path(found.name).parts[0], what.split(" is ")[0].split(".")[0] + " "))
        assert files_of(tmp_path) == before
        return
    check_lines(done.errors.splitlines())
    assert set(files_of(tmp_path)) == {*before, found.output}
    if (name, what) in OTHER_NUMBERS:
        return
    assert np.array_equal(result(tmp_path / found.output), expected), done
