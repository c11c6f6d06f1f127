"""Damaged image files of every type: one sentence that names the file, or the labels of what another library reads."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import check_lines, check_refusal, files_of, in_process
from odd_files import FORMATS, damages, grey, prototypes_of

import gpulaf

#: What is wrong about an image that a damaged head makes of another: its channels (a color map), or its size.
OTHER_VALUES = ("prototypes have shape", "out.npy")


class Intact:
    """A whole file of a type: its bytes, its pixels as another library reads them, prototypes and labels."""

    def __init__(self, folder: Path, name: str) -> None:
        form = FORMATS[name]
        path = folder / f"whole{form.suffix}"
        form.write(path)
        self.data = path.read_bytes()
        self.pixels = other_pixels(name, path)
        if self.pixels is None:
            self.pixels = grey()
        self.prototypes = prototypes_of(self.pixels)
        self.labels = gpulaf.label(self.pixels, self.prototypes).labels


def other_pixels(name: str, path: Path) -> Any:
    """The pixels that another library reads; None where it reads none."""
    try:
        return FORMATS[name].other(path)
    except Exception:
        return None


@cache
def intact(name: str) -> Intact:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return Intact(Path(folder), name)


CASES = [(name, what) for name in FORMATS for what, _ in damages(intact(name).data)]


@pytest.mark.filterwarnings("ignore::gpulaf.DataWarning")
@pytest.mark.parametrize(("name", "what"), CASES, ids=lambda x: x.replace(" ", "-"))
def test_damaged_files(tmp_path: Path, name: str, what: str) -> None:
    whole = intact(name)
    image = tmp_path / f"odd{FORMATS[name].suffix}"
    image.write_bytes(dict(damages(whole.data))[what])
    np.save(tmp_path / "p.npy", whole.prototypes)
    (tmp_path / "p.csv").write_text("\n".join(",".join(map(repr, map(float, row))) for row in whole.prototypes))
    before = files_of(tmp_path)
    found = in_process(tmp_path, "label", image.name, "--prototypes", "p.csv", "-o", "out.npy")
    if found.code:
        check_refusal(found, (image.name, *OTHER_VALUES))
        assert files_of(tmp_path) == before
        return
    check_lines(found.errors.splitlines())
    assert set(files_of(tmp_path)) == {*before, "out.npy"}
    labels = np.load(tmp_path / "out.npy")
    if labels.shape == whole.labels.shape and (labels == whole.labels).all():
        return
    pixels = other_pixels(name, image)
    assert pixels is not None, (found, labels.shape)
    assert np.array_equal(labels, gpulaf.label(pixels, whole.prototypes).labels), found
