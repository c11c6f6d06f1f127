"""Ground truth and soft predictions of every type, size and value: refused with a sentence, or taken as they are."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import oracles
import pytest
from commands import check_lines, check_refusal, files_of, in_process
from safetensors import safe_open

H, W = 6, 7
RNG = np.random.default_rng(2)
RIGHT = np.broadcast_to(np.arange(W) >= 3, (H, W))
#: Bytes, dark left and bright right.
IMAGE = (np.where(RIGHT, 190, 60) + RNG.integers(-9, 9, (H, W))).astype(np.uint8)
TWO = np.where(RIGHT, 7, 3)


class Truth(NamedTuple):
    """A truth, the values that its labels stand for (None where it is refused), and options."""

    array: Any
    values: list[int] | None = None
    options: tuple[Any, ...] = ()


def with_pixel(array: Any, value: Any, dtype: str) -> np.ndarray:
    found = np.array(array, dtype)
    found[0, 0] = value
    return found


TRUTHS = {
    "bool": Truth(RIGHT.copy(), [0, 1]),
    "uint8": Truth(TWO.astype("u1"), [3, 7]),
    "int8": Truth(TWO.astype("i1"), [3, 7]),
    "uint64": Truth(TWO.astype("u8"), [3, 7]),
    "negative": Truth((TWO - 9).astype("i2"), [-6, -2]),
    "large": Truth(TWO.astype("i8") * 10**9, [3 * 10**9, 7 * 10**9]),
    "beyond int64": Truth(TWO.astype("u8") + 2**63),
    "whole floats": Truth(TWO.astype("f4"), [3, 7]),
    "whole float16": Truth(TWO.astype("f2"), [3, 7]),
    "the other byte order": Truth(TWO.astype(">i4"), [3, 7]),
    "Fortran order": Truth(np.asfortranarray(TWO), [3, 7]),
    "one channel": Truth(TWO[..., None], [3, 7]),
    "a void value": Truth(with_pixel(TWO, 255, "u1"), [3, 7], ("--unlabeled", 255)),
    "minus one": Truth(with_pixel(TWO, -1, "i4"), [3, 7]),
    "NaN in a place": Truth(with_pixel(TWO, np.nan, "f8"), [3, 7]),
    "a value that is not there": Truth(TWO, [3, 7], ("--unlabeled", 99)),
    "halves": Truth(TWO / 2),
    "infinite": Truth(with_pixel(TWO, np.inf, "f8")),
    "huge floats": Truth(TWO * 1e300),
    "NaN alone": Truth(np.full((H, W), np.nan)),
    "complex": Truth(TWO + 0j),
    "objects": Truth(TWO.astype(object)),
    "text": Truth(TWO.astype("U1")),
    "dates": Truth(TWO.astype("M8[s]")),
    "records": Truth(np.zeros((H, W), [("a", "i4")])),
    "one value": Truth(np.ones((H, W), "u1")),
    "all unlabeled": Truth(np.full((H, W), -1)),
    "one label and void": Truth(TWO, None, ("--unlabeled", 3)),
    "as many values as pixels": Truth(np.arange(H * W).reshape(H, W), list(range(H * W))),
    "no pixel": Truth(np.zeros((0, W), "u1")),
    "no axis": Truth(np.uint8(1)),
    "one axis": Truth(TWO[0]),
    "another height": Truth(TWO[1:]),
    "another width": Truth(TWO[:, 1:]),
    "transposed": Truth(TWO.T),
    "one row": Truth(TWO[:1]),
    "one pixel": Truth(TWO[:1, :1]),
    "two channels": Truth(np.stack([TWO, TWO], -1)),
    "three different channels": Truth(np.stack([TWO, TWO, TWO * 2], -1).astype("u1")),
    "planes": Truth(np.stack([TWO] * 5)),
    "five axes": Truth(np.zeros((2, 2, 2, H, W), "u1")),
}


@pytest.mark.parametrize("command", ["learn", "train"])
@pytest.mark.parametrize("name", TRUTHS, ids=lambda x: x.replace(" ", "-"))
def test_truths(tmp_path: Path, name: str, command: str) -> None:
    case = TRUTHS[name]
    np.save(tmp_path / "im.npy", IMAGE)
    np.save(tmp_path / "truth.npy", case.array, allow_pickle=True)
    before = files_of(tmp_path)
    arguments = ["im.npy", "truth.npy"] if command == "learn" else ["im.npy", "--truth", "truth.npy", "--prototypes", 2]
    done = in_process(tmp_path, command, *arguments, "--steps", 1, "-o", "w.safetensors", *case.options)
    if case.values is None or done.code:
        check_refusal(done, ("truth.npy", "truth", "image 0"))
        assert files_of(tmp_path) == before
        assert case.values is None, done
        return
    check_lines(done.errors.splitlines())
    assert set(files_of(tmp_path)) == {*before, "w.safetensors"}
    values, prototypes = learned(tmp_path / "w.safetensors", command)
    truth = np.squeeze(np.asarray(case.array)).astype(np.float64)
    assert values == case.values
    means = [IMAGE[truth == value].mean() / 255 for value in case.values]
    np.testing.assert_allclose(prototypes, means, rtol=1e-5)


def learned(path: Path, command: str) -> tuple[list[int], list[float]]:
    """The label values and the prototypes in a file."""
    with safe_open(path, framework="numpy") as file:
        metadata = json.loads(file.metadata()["metadata"])
        if command == "learn":
            return metadata["label_values"], [row[0] for row in metadata["prototypes"]]
        return file.get_tensor("classes").tolist(), file.get_tensor("label_prototypes")[:, 0].tolist()


P = (np.where(RIGHT, 0.8, 0.2) + 0.05 * RNG.standard_normal((H, W))).clip(0.01, 0.99)
BOTH = np.stack([1 - P, P], axis=-1)


class Soft(NamedTuple):
    """Predictions, the probabilities that they are (H, W, J) (None where they are refused), and options."""

    array: Any
    right: Any = None
    options: tuple[Any, ...] = ()


def changed(value: float) -> np.ndarray:
    found = BOTH.copy()
    found[1, 2, 0] = value
    return found


SOFT = {
    "float64": Soft(BOTH, BOTH),
    "float32": Soft(BOTH.astype("f4"), BOTH),
    "float16": Soft(BOTH.astype("f2"), BOTH),
    "labels first": Soft(np.moveaxis(BOTH, -1, 0), BOTH, ("--label-axis", 0)),
    "labels first, not said": Soft(np.moveaxis(BOTH, -1, 0), BOTH),
    "Fortran order": Soft(np.asfortranarray(BOTH), BOTH),
    "the other byte order": Soft(BOTH.astype(">f8"), BOTH),
    "one-hot": Soft(np.stack([~RIGHT, RIGHT], -1).astype("u1"), np.stack([~RIGHT, RIGHT], -1)),
    "one-hot of bool": Soft(np.stack([~RIGHT, RIGHT], -1), np.stack([~RIGHT, RIGHT], -1)),
    "a pixel of NaN": Soft(changed(np.nan), "holes"),
    "one label": Soft(P[..., None]),
    "a sigmoid map": Soft(P),
    "no label": Soft(BOTH[..., :0]),
    "no pixel": Soft(BOTH[:0]),
    "one axis": Soft(P[0]),
    "no axis": Soft(np.float64(1)),
    "five axes": Soft(np.zeros((2, 2, H, W, 2))),
    "percent": Soft(100 * BOTH),
    "bytes": Soft(np.rint(255 * BOTH).astype("u1")),
    "sums of 2": Soft(2 * BOTH),
    "negative": Soft(BOTH - 0.5),
    "infinite": Soft(changed(np.inf)),
    "huge": Soft(changed(1e300)),
    "NaN alone": Soft(np.full_like(BOTH, np.nan)),
    "zero alone": Soft(0 * BOTH),
    "complex": Soft(BOTH + 0j),
    "objects": Soft(BOTH.astype(object)),
    "text": Soft(BOTH.astype("U4")),
    "dates": Soft(np.zeros((H, W, 2), "M8[s]")),
    "records": Soft(np.zeros((H, W), [("a", "f4"), ("b", "f4")])),
    "an axis that is not there": Soft(BOTH, None, ("--label-axis", 3)),
    "an axis of pixels": Soft(BOTH, None, ("--label-axis", 0)),
    "letters without labels": Soft(BOTH, None, ("--axes", "YX")),
    "an image of another size": Soft(BOTH, None, ("--image", "small.npy", "--weights", "bilateral")),
    "a folder for an image": Soft(BOTH, None, ("--image", ".")),
}  # fmt: skip


@pytest.mark.parametrize("name", SOFT, ids=lambda x: x.replace(" ", "-"))
def test_predictions(tmp_path: Path, name: str) -> None:
    case = SOFT[name]
    np.save(tmp_path / "p.npy", case.array, allow_pickle=True)
    np.save(tmp_path / "small.npy", IMAGE[1:])
    before = files_of(tmp_path)
    done = in_process(tmp_path, "refine", "p.npy", "-o", "out.npy", "--nodata", 99, *case.options)
    refused = case.right is None
    if refused or done.code:
        check_refusal(done, ("p.npy", "probabilities", "label axis", "axes", "predictions", "folder"))
        assert files_of(tmp_path) == before
        assert refused, done
        return
    check_lines(done.errors.splitlines())
    assert set(files_of(tmp_path)) == {*before, "out.npy"}
    labels = np.load(tmp_path / "out.npy").astype(int)
    holes = isinstance(case.right, str)
    valid = ~np.isnan(case.array).any(axis=-1) if holes else np.ones((H, W), bool)
    probabilities = np.array(BOTH if holes else case.right, np.float64)
    ell = np.log(probabilities.clip(np.finfo("f4").smallest_normal, None)).reshape(-1, 2)
    omega = oracles.dense_average(oracles.patches((H, W)))
    expected = np.full(H * W, 99)
    expected[valid.ravel()] = oracles.dense_remaining(ell, omega, valid.ravel(), 3.0).argmax(axis=-1)
    np.testing.assert_array_equal(labels, expected.reshape(H, W))
