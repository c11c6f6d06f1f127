"""Files of the wrong kind in every place: one sentence that names the file, and nothing is written."""

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from commands import check_refusal, files_of, in_process
from odd_files import FORMATS, grey


def in_the_wrong_place(folder: Path) -> None:
    """Files that are something else than their name says or their place wants."""
    np.save(folder / "im.npy", grey())
    np.save(folder / "truth.npy", (grey() > 120).astype(np.uint8))
    for name in ("dir.png", "dir.tif", "dir.npy", "dir.zarr", "dir.safetensors", "dir.json", "dir.h5", "dir.nii"):
        (folder / name).mkdir()
    for name in ("zero.png", "zero.tif", "zero.npy", "zero.npz", "zero.zarr", "zero.safetensors", "zero.json",
                 "zero.csv", "zero.h5", "zero.nii", "zero.nii.gz", "zero.jpg", "zero.gif"):  # fmt: skip
        (folder / name).touch()
    for name, form in FORMATS.items():
        form.write(folder / f"{name}{form.suffix}")
    for suffix in (".png", ".tif", ".npy", ".npz", ".nii", ".nii.gz", ".h5", ".safetensors", ".json", ".csv", ".zarr"):
        other = "bmp.bmp" if suffix != ".png" else "tif.tif"
        shutil.copy(folder / other, folder / f"other{suffix}")
    (folder / "plain").write_bytes((folder / "png.png").read_bytes())
    (folder / "im.xyz").write_bytes((folder / "png.png").read_bytes())
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("nothing.png")
    (folder / "rows.json").write_text("[[1, 2], [3]]")
    (folder / "names.json").write_text('{"a": [1], "b": "x"}')
    (folder / "words.csv").write_text("a\nb\n")
    (folder / "infinite.csv").write_text("1\ninf\n")
    (folder / "nan.json").write_text("[[NaN], [1]]")
    (folder / "binary.csv").write_bytes(bytes(range(256)))


@cache
def names() -> list[str]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        in_the_wrong_place(Path(folder))
        return sorted(path.name for path in Path(folder).iterdir())


WRONG = [name for name in names() if name.startswith(("dir", "zero", "other", "loop", "gone", "plain", "im.xyz"))]
TABLES = [name for name in names() if name.endswith((".json", ".csv"))]
#: A command, and the names that are wrong in it.
PLACES = {
    "image": ("label {} --prototypes 2 -o out.npy", WRONG),
    "tiles": ("label {} --prototypes 2 -o out.zarr", WRONG),
    "truth": ("learn im.npy {} -o w.safetensors --steps 1", WRONG),
    "images": ("train {} --truth truth.npy -o m.safetensors --steps 1", WRONG),
    "truths": ("train im.npy --truth {} -o m.safetensors --steps 1", WRONG),
    "predictions": ("refine {} -o out.npy", WRONG),
    "weights": ("label im.npy --weights {} -o out.npy", WRONG),
    "model": ("label im.npy --model {} -o out.npy", WRONG),
    "model of a test": ("evaluate im.npy --truth truth.npy --model {}", WRONG),
    "prototypes": ("label im.npy --prototypes {} -o out.npy", WRONG + TABLES),
    # a folder of any other name gets a file in it
    "output": ("label im.npy --prototypes 2 -o {}", ["dir.png", "dir.tif", "dir.npy", "dir.zarr"]),
    "output in a file": ("label im.npy --prototypes 2 -o {}/out.png", ["im.npy", "loop.png", "gone.png"]),
}
#: What else names a file: what it holds, or where a link leads.
OTHER_NAMES = {"infinite.csv": ("prototypes",), "nan.json": ("prototypes",), "gone.png": ("nothing.png",)}
CASES = [(place, name) for place, (_, wrong) in PLACES.items() for name in dict.fromkeys(wrong)]


@pytest.mark.parametrize(("place", "name"), CASES)
def test_files_in_the_wrong_place(tmp_path: Path, place: str, name: str) -> None:
    in_the_wrong_place(tmp_path)
    before = files_of(tmp_path)
    done = in_process(tmp_path, *PLACES[place][0].format(name).split())
    check_refusal(done, (name, *OTHER_NAMES.get(name, ())))
    assert files_of(tmp_path) == before
