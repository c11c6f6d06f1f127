"""Image files: round trips, which axis holds the channels, ground truth, prototypes, and damaged files."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from realdata import DATA, realdata

from gpulaf.io import read_image, read_soft, read_truth, read_volume, write_array, write_figure


def values(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed).random(shape)
    return (random * np.iinfo(dtype).max).astype(dtype) if np.dtype(dtype).kind in "iu" else random.astype(dtype)


# --- round trips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "shape", "dtype"),
    [
        (".png", (5, 7), "uint8"), (".png", (5, 7, 3), "uint8"), (".png", (5, 7), "uint16"), (".png", (1, 1), "uint8"),
        (".tif", (5, 7), "uint8"), (".tif", (5, 7, 3), "uint8"), (".tiff", (5, 7), "uint16"), (".tif", (1, 7), "uint8"),
        (".tif", (5, 7), "float32"), (".tif", (5, 7, 2), "float32"), (".tif", (5, 7, 3), "float32"),
        (".tif", (5, 7, 8), "float64"), (".tif", (5, 7, 300), "float32"), (".tif", (3, 1, 2), "float32"),
        (".npy", (5, 7), "uint16"), (".npy", (5, 7, 4), "float64"), (".npy", (5, 7), "int64"),
        (".PNG", (5, 7), "uint8"), (".TIF", (5, 7), "uint8"), (".NPY", (5, 7), "uint8"),
    ],
)  # fmt: skip
def test_written_arrays_read_back(tmp_path: Path, suffix: str, shape: tuple[int, ...], dtype: str) -> None:
    array, path = values(shape, dtype), tmp_path / f"array{suffix}"
    write_array(path, array)
    assert os.listdir(tmp_path) == [path.name]
    back = read_image(path)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_memory_order_does_not_matter_for_writing(tmp_path: Path, suffix: str) -> None:
    array = values((5, 14), "uint8")[:, ::2].T
    write_array(tmp_path / f"array{suffix}", array)
    np.testing.assert_array_equal(read_image(tmp_path / f"array{suffix}"), array)


def test_jpeg_and_bmp_are_read(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(32), np.arange(40)).astype(np.uint8)[..., None] * np.array([1, 2, 3], np.uint8)
    iio.imwrite(tmp_path / "image.jpg", ramp, quality=95)
    iio.imwrite(tmp_path / "image.bmp", ramp)
    assert np.abs(read_image(tmp_path / "image.jpg").astype(int) - ramp).mean() < 4
    np.testing.assert_array_equal(read_image(tmp_path / "image.bmp"), ramp)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    color, grey = values((5, 7, 4), "uint8"), values((5, 7, 2), "uint8")
    iio.imwrite(tmp_path / "color.png", color)
    iio.imwrite(tmp_path / "grey.png", grey, mode="LA")
    tifffile.imwrite(tmp_path / "color.tif", color, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(tmp_path / "color.png"), color[..., :3])
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), grey[..., 0])
    np.testing.assert_array_equal(read_image(tmp_path / "color.tif"), color[..., :3])


# --- which axis holds the channels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["CYX", "YXC", "YCX"])
def test_tiff_axes_metadata_names_the_channels(tmp_path: Path, axes: str) -> None:
    image = values((6, 8, 5), "float32")
    stored = image.transpose(["YXC".index(axis) for axis in axes])
    tifffile.imwrite(tmp_path / "image.tif", stored, photometric="minisblack", metadata={"axes": axes})
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif"), image)


def test_planar_rgb_tiff(tmp_path: Path) -> None:
    image = values((6, 8, 3), "uint8")
    tifffile.imwrite(tmp_path / "image.tif", image.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif"), image)


def test_big_endian_tiff(tmp_path: Path) -> None:
    image = values((6, 8), "uint16")
    tifffile.imwrite(tmp_path / "image.tif", image, byteorder=">")
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif"), image)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (None, "does not say which axis holds the channels.*--channel-axis.*--axes"),
        ({"axes": "ZYX"}, "with the axes ZYX: a volume. Say so with --spacing"),
        ({"axes": "TYX"}, "with the axes TYX: 3 images at different times, which are not averaged"),
    ],
)
def test_a_stack_is_no_image_until_its_axes_are_said(tmp_path: Path, metadata: Any, said: str) -> None:
    stack, path = values((3, 6, 8), "uint8"), tmp_path / "image.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", metadata=metadata)
    with pytest.raises(ValueError, match=r"image\.tif.*\(3, 6, 8\)") as caught:
        read_image(path)
    assert re.search(said, str(caught.value))
    for options in ({"channel_axis": 0}, {"axes": "CYX"}):
        np.testing.assert_array_equal(read_image(path, **options), stack.transpose(1, 2, 0))
    np.testing.assert_array_equal(read_volume(path, axes="ZYX"), stack)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_a_named_channel_axis_comes_last(tmp_path: Path, axis: int) -> None:
    image = values((6, 8, 5), "float64")
    np.save(tmp_path / "image.npy", np.moveaxis(image, -1, axis))
    np.testing.assert_array_equal(read_image(tmp_path / "image.npy", channel_axis=axis), image)


def test_a_channel_axis_that_is_not_there(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", values((6, 8, 5), "float64"))
    with pytest.raises(ValueError, match=r"5.*accepted are -3 to 2"):
        read_image(tmp_path / "image.npy", channel_axis=5)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 5)])
def test_arrays_that_are_no_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "image.npy", np.zeros(shape))
    with pytest.raises(ValueError, match=r"image\.npy.*shape " + str(shape).replace("(", r"\(").replace(")", r"\)")):
        read_image(tmp_path / "image.npy")


# --- damaged files --------------------------------------------------------------------------------------------------


def tiff(path: Path, **options: Any) -> None:
    tifffile.imwrite(path, values((20, 30, 3), "uint8"), photometric="rgb", **options)


WRITERS: dict[str, Callable[[Path], object]] = {
    "image.png": lambda path: iio.imwrite(path, values((20, 30, 3), "uint8")),
    "image.jpg": lambda path: iio.imwrite(path, values((20, 30, 3), "uint8")),
    "image.bmp": lambda path: iio.imwrite(path, values((20, 30, 3), "uint8")),
    "plain.tif": tiff,
    "zlib.tif": lambda path: tiff(path, compression="zlib"),
    "image.npy": lambda path: np.save(path, values((20, 30, 3), "uint8")),
}


@pytest.mark.parametrize("share", [0, 0.001, 0.002, 0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", WRITERS)
def test_truncated_files(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=rf"{name} cannot be read: .+\. Check that the file is whole"):
        read_image(path)


def test_the_middle_of_a_compressed_tiff_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    tiff(path, compression="zlib")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"image\.tif cannot be read"):
        read_image(path)


@pytest.mark.parametrize("name", WRITERS)
def test_text_with_the_name_of_an_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("This is no image, whatever its name says.")
    with pytest.raises(ValueError, match=rf"{name} cannot be read"):
        read_image(tmp_path / name)


def test_npy_files_with_objects_or_many_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    with open(tmp_path / "many.npy", "wb") as file:
        np.savez(file, values((2, 3), "uint8"))
    for name in ("objects.npy", "many.npy"):
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            read_image(tmp_path / name)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_picture_of_more_pixels_than_pillow_takes_is_an_error_of_ours(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "large.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"large\.png cannot be read"):
        read_image(tmp_path / "large.png")


@pytest.mark.parametrize("read", [read_image, read_soft, read_truth])
def test_missing_files_folders_and_other_types(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"does not exist\. Check the path"):
            read(path)
    (tmp_path / "image.lif").write_bytes(b"LIF")
    with pytest.raises(ValueError, match=r"image\.lif is not read: its type '\.lif'.*\.png.*Fiji"):
        read(tmp_path / "image.lif")


# --- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dtype", "said"),
    [
        ("x.jpg", "uint8", r"'\.jpg'.*\.png"), ("x", "uint8", r"''.*\.png"), ("x.gif", "uint8", r"'\.gif'"),
        ("x.png", "float32", r"'\.png'.*\.npy, \.tif"), ("x.png", "int64", r"0 to 65535\. Write them to \.tif, \.npy"),
    ],
)  # fmt: skip
def test_types_that_cannot_hold_the_array(tmp_path: Path, name: str, dtype: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        write_array(tmp_path / name, values((3, 4), dtype))
    assert os.listdir(tmp_path) == []


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder .*none does not exist\. Create it"):
        write_array(tmp_path / "none" / "x.png", values((3, 4), "uint8"))


@pytest.mark.parametrize(
    ("name", "library"), [("x.npy", "numpy.save"), ("x.tif", "tifffile.imwrite"), ("x.png", "imageio.v3.imwrite")]
)
def test_a_writer_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    write_array(tmp_path / name, values((3, 4), "uint8"))
    before = (tmp_path / name).read_bytes()

    def half_written(path: Any, *_: Any, **__: Any) -> None:
        path.write(b"half") if hasattr(path, "write") else Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library, half_written)
    with pytest.raises(OSError, match="No space left"):
        write_array(tmp_path / name, values((3, 4), "uint8", seed=1))
    assert (tmp_path / name).read_bytes() == before
    assert os.listdir(tmp_path) == [name]


def test_a_figure_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    path = tmp_path / "figure.png"
    write_figure(path, Figure())
    before = path.read_bytes()
    assert read_image(path).shape == (720, 960, 3)

    class Failing(Figure):
        def savefig(self, path: Any, **_: Any) -> None:
            Path(path).write_bytes(b"half")
            raise RuntimeError("no fonts")

    with pytest.raises(RuntimeError, match="no fonts"):
        write_figure(path, Failing())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["figure.png"]


# --- ground truth ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "unlabeled", "labels", "known"),
    [
        ([[0, 255], [255, 0]], None, [[0, 1], [1, 0]], [0, 255]),
        ([[9, 4], [7, 9]], None, [[2, 0], [1, 2]], [4, 7, 9]),
        ([[9, 4], [7, 9]], 7, [[1, 0], [-1, 1]], [4, 9]),
        ([[9, 4], [0, 9]], 0, [[1, 0], [-1, 1]], [4, 9]),
        ([[9, 4], [255, 9]], 255, [[1, 0], [-1, 1]], [4, 9]),
        ([[9, 4], [7, 9]], 100, [[2, 0], [1, 2]], [4, 7, 9]),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_truth(
    tmp_path: Path, suffix: str, stored: list[list[int]], unlabeled: int | None, labels: Any, known: Any
) -> None:
    path = tmp_path / f"truth{suffix}"
    write_array(path, np.array(stored, np.uint8))
    found, values = read_truth(path, unlabeled=unlabeled)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(values, known)
    assert found.dtype == np.int32


@pytest.mark.parametrize("unlabeled", [None, -1])
def test_minus_one_is_never_a_label(tmp_path: Path, unlabeled: int | None) -> None:
    np.save(tmp_path / "truth.npy", np.array([[-1, 4, 9], [9, 4, 7]]))
    labels, known = read_truth(tmp_path / "truth.npy", unlabeled=unlabeled)
    np.testing.assert_array_equal(labels, [[-1, 0, 2], [2, 0, 1]])
    np.testing.assert_array_equal(known, [4, 7, 9])
    labels, known = read_truth(tmp_path / "truth.npy", unlabeled=4)
    np.testing.assert_array_equal(labels, [[-1, -1, 1], [1, -1, 0]])
    np.testing.assert_array_equal(known, [7, 9])


def test_truth_in_grey_rgb_and_in_one_bit(tmp_path: Path) -> None:
    truth = np.array([[0, 90], [90, 0]], np.uint8)
    iio.imwrite(tmp_path / "grey.png", truth[..., None].repeat(3, axis=-1))
    iio.imwrite(tmp_path / "bits.png", truth > 0)
    np.save(tmp_path / "bool.npy", truth > 0)
    for name in ("grey.png", "bits.png", "bool.npy"):
        np.testing.assert_array_equal(read_truth(tmp_path / name)[0], [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("array", "unlabeled", "said"),
    [
        (np.full((3, 4), 5, np.uint8), None, "1 different value"),
        (np.array([[0, 5], [5, 0]], np.uint8), 5, "1 different value"),
        (np.arange(300).reshape(3, 100), None, "300 values"),
        (np.full((3, 4), 0.5), None, r"float64 values of shape \(3, 4\)"),
        (np.arange(48, dtype=np.uint8).reshape(4, 4, 3), None, r"uint8 values of shape \(4, 4, 3\)"),
    ],
    ids=["one value", "one value left", "photograph", "floating", "color"],
)
def test_files_that_are_no_truth(tmp_path: Path, array: np.ndarray, unlabeled: int | None, said: str) -> None:
    np.save(tmp_path / "truth.npy", array)
    with pytest.raises(ValueError, match=rf"truth\.npy holds {said}.*accepted"):
        read_truth(tmp_path / "truth.npy", unlabeled=unlabeled)


@realdata
def test_real_files() -> None:
    photo = read_image(DATA / "photos" / "101027.jpg")
    assert photo.dtype == np.uint8
    assert sorted(photo.shape) == [3, 321, 481]
    assert read_image(DATA / "vnc" / "image_00.tif").shape == (1024, 1024)
    labels, known = read_truth(DATA / "vnc" / "truth_00.png")
    assert set(known) <= {0, 32, 64, 96, 128, 159, 191, 223, 255}
    assert labels.max() == len(known) - 1
