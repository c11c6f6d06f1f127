"""Ground truth: whole numbers of any size and sign by every reader; what is no truth is refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from gpulaf.io import read_truth, read_values, write_array
from gpulaf.io.images import check_output, integer_type, with_nodata
from gpulaf.io.place import Place
from gpulaf.io.truth import whole_values

Y, X = np.mgrid[:40, :56]
#: A disk, a bar and the rest.
CLASSES = np.where((Y - 18) ** 2 + (X - 16) ** 2 < 90, 1, np.where(X > 44, 2, 0))


def stored(folder: Path, suffix: str, values: np.ndarray) -> Path:
    path = folder / f"t{suffix}"
    if suffix == ".zarr":
        zarr.save(path, values)
    elif suffix == ".npz":
        np.savez(path, values)
    else:
        write_array(path, values)
    return path


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".npz", ".zarr"])
@pytest.mark.parametrize(
    "values",
    [
        np.array([-7, 0, 12], np.int8), np.array([3, 70_000, 4_000_000_000], np.uint32),
        np.array([-(2**62), 5, 2**62], np.int64), np.array([0, 9, 2**63 - 1], np.uint64),
        np.array([0.0, 16.0, 300.0], np.float16), np.array([-4.0, 16.0, 2.0**24], np.float32),
        np.array([1.0, 2.0, 614454277.0]),
    ],
    ids=str,
)  # fmt: skip
def test_whole_numbers_of_any_type(tmp_path: Path, suffix: str, values: np.ndarray) -> None:
    found = read_values(stored(tmp_path, suffix, values[CLASSES]))
    assert found.dtype == np.int64
    assert [[int(v) for v in row] for row in values[CLASSES].tolist()] == found.tolist()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([0, 2**63, 1], np.uint64), "holds the value 9223372036854775808; accepted are labels up to 92233720"),
        (np.array([0, 1, 2**25], np.float32), "float32 values up to 33554432; accepted in this type .* up to 16777216"),
        (np.array([0, 1, 0.25]), r"float64 values of shape \(40, 56\) that are no whole numbers, as 0.25"),
        (np.array([0, 1, np.inf]), "no whole numbers, as inf"),
        (np.array([0, 1, 2j]), "complex128 values"),
    ],
)
def test_numbers_that_are_no_labels(tmp_path: Path, values: np.ndarray, said: str) -> None:
    np.save(tmp_path / "t.npy", values[CLASSES])
    with pytest.raises((ValueError, TypeError), match=said):
        read_values(tmp_path / "t.npy")


def test_missing_values_are_minus_one_whatever_they_are() -> None:
    missing = X > 50
    found = whole_values(np.where(missing, np.nan, CLASSES), missing)
    np.testing.assert_array_equal(found, np.where(missing, -1, CLASSES))


# --- what a JPEG or a resize makes of labels ------------------------------------------------------------------------


def grown(values: np.ndarray, how: Image.Resampling, factor: float = 2) -> np.ndarray:
    image = Image.fromarray(values.astype(np.uint8))
    return np.array(image.resize((int(values.shape[1] * factor), int(values.shape[0] * factor)), how))


@pytest.mark.parametrize("values", [[0, 255, 128], [10, 20, 240]])
@pytest.mark.parametrize("how", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
@pytest.mark.parametrize("factor", [0.7, 2, 3.3])
def test_interpolated_truths(tmp_path: Path, values: list[int], how: Any, factor: float) -> None:
    truth = np.array(values)[CLASSES]
    write_array(tmp_path / "t.png", grown(truth, how, factor))
    with pytest.raises(ValueError, match=r"t\.png holds \d+ values, of which \d+ fill no area.*interpolated.*nearest"):
        read_truth(tmp_path / "t.png")
    nearest = grown(truth, Image.Resampling.NEAREST, factor)
    write_array(tmp_path / "n.png", nearest)
    np.testing.assert_array_equal(read_values(tmp_path / "n.png"), nearest)


@pytest.mark.parametrize("values", [[0, 200, 90], [10, 20, 240]])
@pytest.mark.parametrize("quality", [60, 75, 95])
def test_truths_that_were_a_jpeg(tmp_path: Path, quality: int, values: list[int]) -> None:
    Image.fromarray(np.array(values, np.uint8)[CLASSES]).save(tmp_path / "t.jpg", quality=quality)
    damaged = np.array(Image.open(tmp_path / "t.jpg"))
    write_array(tmp_path / "t.png", damaged)
    with pytest.raises(ValueError, match=r"t\.png holds .*stored as JPEG"):
        read_values(tmp_path / "t.png")
    (tmp_path / "named.png").write_bytes((tmp_path / "t.jpg").read_bytes())
    tifffile.imwrite(tmp_path / "inside.tif", np.array([0, 200, 90], np.uint8)[CLASSES], compression="jpeg")
    for name in ("t.jpg", "named.png", "inside.tif"):
        with pytest.raises(ValueError, match=rf"{name} is a JPEG, which changes the values of labels\. Take the PNG"):
            read_values(tmp_path / name)


def test_a_photograph(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_array(tmp_path / "t.png", (120 + 40 * np.sin(X / 9) + rng.normal(0, 20, X.shape)).clip(0, 255).astype("u1"))
    with pytest.raises(ValueError, match=r"lie between those around them.*or of a photograph"):
        read_truth(tmp_path / "t.png")


@pytest.mark.parametrize(
    "truth",
    [
        X // 8 + 10 * (Y // 8),
        np.where((X % 4 == 0) & (Y % 4 == 0), X + Y, 0),
        np.random.default_rng(0).integers(0, 4, X.shape),
        np.where((X % 9 == 0) | (Y % 9 == 0), 255, X // 9 + 7 * (Y // 9)),
        (X + Y) // 4,
    ],
    ids=["cells", "points", "noise of few labels", "cells and borders", "bands"],
)
def test_truths_of_many_labels_are_taken(tmp_path: Path, truth: np.ndarray) -> None:
    np.save(tmp_path / "t.npy", truth)
    np.testing.assert_array_equal(read_values(tmp_path / "t.npy"), truth)


# --- types that hold them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype", "nodata"),
    [
        ([0, 254], "uint8", 255), ([0, 255], "uint8", 65535), ([0, 65534], "uint16", 65535), ([-1, 5], "int16", 32767),
        ([0, 65535], "uint16", 2**32 - 1), ([-1, 40_000], "int32", 2**31 - 1), ([0, 2**31], "uint32", 2**32 - 1),
        ([-1, 2**31], "int64", 2**53 - 1), ([7, 2**40], "int64", 2**53 - 1),
    ],
)  # fmt: skip
def test_the_smallest_type_that_holds_values_and_no_data(values: list[int], dtype: str, nodata: int) -> None:
    names, none = with_nodata(np.array(values), None, masked=False)
    assert (names.dtype, none, names.tolist()) == (dtype, None, values)
    names, none = with_nodata(np.array(values), None, masked=True)
    assert none == nodata
    assert names.tolist() == values
    assert names.dtype == integer_type(np.array([*values, nodata]))
    given, none = with_nodata(np.array(values), -9, masked=True)
    assert none == -9
    assert given.tolist() == values
    assert given.dtype.kind == "i"


def test_values_that_stand_for_no_data_and_a_label() -> None:
    with pytest.raises(ValueError, match="nodata is 7; accepted are whole numbers that stand for no label"):
        with_nodata(np.array([3, 7]), 7, masked=True)
    with pytest.raises(ValueError, match=r"a label has the value 9007199254740991.*Choose a nodata"):
        with_nodata(np.array([0, 2**53 - 1]), None, masked=True)


@pytest.mark.parametrize("values", [[-3, 4], [0, 70_000], [5, 2**40], [-(2**40), 1]], ids=str)
@pytest.mark.parametrize("place", [Place(), Place(scale=(2.0, 2.0), unit="micrometer", flavor="ome")], ids=["", "ome"])
def test_large_and_negative_values_are_written_and_read(tmp_path: Path, values: list[int], place: Place) -> None:
    labels = np.array(values)[CLASSES % 2]
    labels = labels.astype(integer_type(labels))
    for name in ("o.tif", "o.npy"):
        write_array(tmp_path / name, labels, place=place)
        np.testing.assert_array_equal(read_values(tmp_path / name), labels)
    said = f"is to hold values of labels from {values[0]} to {values[1]}; accepted in this format are"
    with pytest.raises(ValueError, match=rf"o\.png {said} 0 to 65535\. Write them to \.tif, \.npy or \.zarr"):
        check_output("o.png", labels.dtype, labels=labels)
    if labels.dtype == np.int64:
        with pytest.raises(ValueError, match=rf"o\.ome\.tif {said} those of 32 bits\. Write them to a plain \.tif"):
            write_array(tmp_path / "o.ome.tif", labels, place=place)
    else:
        write_array(tmp_path / "o.ome.tif", labels, place=place)
        np.testing.assert_array_equal(read_values(tmp_path / "o.ome.tif"), labels)
