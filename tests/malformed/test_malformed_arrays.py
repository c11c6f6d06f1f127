"""Arrays of every type, size and value, in files and in Python, in memory and in tiles: refused, or labeled rightly.

What is accepted equals the dense matrix exponential of the flow on the pixels that hold data.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import oracles
import pytest
from commands import check_lines, check_refusal, complaint, files_of, in_process

import gpulaf

H, W = 6, 7
RNG = np.random.default_rng(2)
#: Dark left, bright right, with noise; clear of the middle.
GREY = np.clip(np.where(np.arange(W) < 3, 0.25, 0.75) + 0.1 * RNG.standard_normal((H, W)), 0, 1)
ROWS = np.array([[0.25], [0.75]])
NAN, HOLES = GREY.copy(), GREY.copy()
NAN[2, 3] = NAN[0] = np.nan
HOLES[1, 1] = np.inf


def whole(dtype: str, top: float) -> np.ndarray:
    return np.rint(GREY * top).astype(dtype)


class Case(NamedTuple):
    """An image, what its values are in units of `top`, and whether they are labeled at all."""

    image: Any
    top: float = 1.0
    #: None where both are right.
    right: bool | None = True
    options: tuple[Any, ...] = ()
    #: The (H, W) pixels, where the image has other axes.
    pixels: Any = None


def bad(image: Any, *options: Any) -> Case:
    return Case(image, right=False, options=options)


RECORDS = np.zeros((H, W), [("a", "f4"), ("b", "u1")])
CASES = {
    "bool": Case(GREY > 0.5),
    "uint8": Case(whole("u1", 255), 255),
    "int8": Case(whole("i1", 127), 127),
    "uint16": Case(whole("u2", 65535), 65535),
    "int16 of the other byte order": Case(whole(">i2", 32767), 32767),
    "uint32": bad(whole("u4", 1000)),
    "uint32 with a range": Case(whole("u4", 4095), 4095, options=("--range", "0,4095")),
    "int64 with a range": Case(whole("i8", 10**6), 1e6, options=("--range", "0,1000000")),
    "uint64 above int64": bad(np.full((H, W), 2**64 - 1, "u8")),
    "float16": Case(GREY.astype("f2")),
    "float32 of the other byte order": Case(GREY.astype(">f4")),
    "float64": Case(GREY),
    "Fortran order": Case(np.asfortranarray(GREY)),
    "long double": Case(GREY.astype(np.longdouble)),
    "float8": bad(np.zeros((H, W), "V1")),
    "complex64": bad(GREY.astype("c8")),
    "complex128": bad(GREY + 0j),
    "objects": bad(np.array([[None, "a"]] * 6)),
    "objects of numbers": bad(GREY.astype(object)),
    "records": bad(RECORDS),
    "dates": bad(np.zeros((H, W), "M8[s]")),
    "durations": bad(np.zeros((H, W), "m8[s]")),
    "text": bad(np.full((H, W), "0.5")),
    "bytes": bad(np.full((H, W), b"0.5")),
    "NaN in places": Case(NAN),
    "NaN in places, float32": Case(NAN.astype("f4")),
    "NaN in places, float16": Case(NAN.astype("f2")),
    "NaN alone": Case(np.full((H, W), np.nan), right=None),
    "infinite": bad(HOLES),
    "minus infinite": bad(-HOLES),
    "infinite, float16": bad(HOLES.astype("f2")),
    "huge float64": bad(GREY * 1e300),
    "the largest float32": bad((GREY * np.finfo("f4").max).astype("f4")),
    "one huge value": bad(np.where(GREY.max() > GREY, GREY, -3.4e38).astype("f4")),
    "denormal": Case(GREY * 1e-310),
    "denormal float32": Case((GREY * 1e-40).astype("f4")),
    "minus zero": Case(-0.0 * GREY),
    "negative": Case(-GREY),
    "constant": Case(np.full((H, W), 0.7)),
    "no axis": bad(np.float64(0.5)),
    "one axis": bad(GREY[0]),
    "no pixel": bad(np.zeros(0)),
    "no row": bad(np.zeros((0, W))),
    "no column": bad(np.zeros((H, 0))),
    "no channel": bad(np.zeros((H, W, 0))),
    "one row": Case(GREY[:1]),
    "one column": Case(GREY[:, :1]),
    "one pixel": Case(GREY[:1, :1]),
    "one channel": Case(GREY[..., None], pixels=GREY),
    "two channels": bad(np.stack([GREY, GREY], -1)),
    "twenty planes": bad(np.stack([GREY] * 20)),
    "four axes": bad(np.zeros((3, H, W, 2))),
    "five axes": bad(np.zeros((2, 2, 2, H, W))),
    "nine axes": bad(np.zeros((1,) * 7 + (2, 2, H, W))),
    "axes of another number": bad(GREY, "--axes", "ZYX"),
    "an axis that is not there": bad(GREY, "--channel-axis", 5),
    "a range backwards": bad(GREY, "--range", "1,0"),
    "an empty range": bad(GREY, "--range", "1,1"),
    "a range of NaN": bad(GREY, "--range", "0,nan"),
    "an infinite range": bad(GREY, "--range", "0,inf"),
    "a range beyond float64": bad(GREY, "--range", "-1e308,1e308"),
}


def dense_labels(values: np.ndarray) -> np.ndarray:
    """Labels by the matrix exponential on the pixels that are no NaN; −1 at others. Values in units of the range."""
    valid = ~np.isnan(values).ravel()
    ell = -oracles.distances(np.nan_to_num(values)[..., None], ROWS) / 0.1
    omega = oracles.dense_average(oracles.patches(values.shape))
    found = np.full(values.size, -1)
    found[valid] = oracles.dense_remaining(ell.reshape(-1, 2), omega, valid, 3.0).argmax(axis=-1)
    return found.reshape(values.shape)


def in_memory(folder: Path, case: Case) -> Any:
    return by_command(folder, case, "out.npy")


def in_tiles(folder: Path, case: Case) -> Any:
    return by_command(folder, case, "out.zarr")


def by_command(folder: Path, case: Case, output: str) -> Any:
    """The labels that the command writes, −1 where there is no data; None where it refuses."""
    np.save(folder / "im.npy", case.image, allow_pickle=True)
    (folder / "p.json").write_text(json.dumps((ROWS * case.top).tolist()))
    before = files_of(folder)
    done = in_process(folder, "label", "im.npy", "--prototypes", "p.json", "-o", output, "--nodata", 99, *case.options)
    if done.code:
        option = str(case.options[0]).strip("-").replace("-", "_") if case.options else "im.npy"
        check_refusal(done, (option, "channel axis", "im.npy", "image", "prototypes have shape"))
        assert files_of(folder) == before
        return None
    check_lines(done.errors.splitlines())
    assert {name.split("/")[0] for name in files_of(folder)} == {*before, output}
    if output.endswith(".npy"):
        labels = np.load(folder / output)
    else:
        import zarr

        labels = np.asarray(zarr.open_array(folder / output, mode="r")[:])
    return np.where(labels == 99, -1, labels.astype(int))


@pytest.mark.filterwarnings("ignore::gpulaf.DataWarning")
def in_python(folder: Path, case: Case) -> Any:
    options: dict[str, Any] = {}
    for name, text in zip(case.options[::2], case.options[1::2], strict=True):
        if name == "--axes":
            return None
        options[name.strip("-").replace("-", "_")] = json_number(text)
    image = np.asarray(case.image)
    options |= {"mask": ~np.isnan(image)} if image.ndim == 2 and image.dtype.kind == "f" else {}
    found, text = complaint(lambda: gpulaf.label(image, ROWS * case.top, **options))
    if text:
        assert text.endswith(".")
        assert ". " in text
        return None
    valid = np.True_ if found.valid is None else found.valid
    return np.where(valid, found.labels.astype(int), -1)


def json_number(text: Any) -> Any:
    return tuple(map(float, text.split(","))) if isinstance(text, str) else text


WAYS: dict[str, Callable[[Path, Case], Any]] = {"memory": in_memory, "tiles": in_tiles, "Python": in_python}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES, ids=lambda x: x.replace(" ", "-"))
def test_arrays(tmp_path: Path, name: str, way: str) -> None:
    case = CASES[name]
    found = WAYS[way](tmp_path, case)
    if found is None or case.right is False:
        assert found is None
        assert not case.right
        return
    pixels = np.asarray(case.image if case.pixels is None else case.pixels)
    np.testing.assert_array_equal(found, dense_labels(pixels.astype(np.float64) / case.top))
