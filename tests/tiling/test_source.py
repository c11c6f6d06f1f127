"""Windows of image files equal slices of their arrays; what is missing or damaged is said, never read as zeros."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from gpulaf import Labeler, label
from gpulaf.io.images import read_image, write_array
from gpulaf.tiling import label_array, open_image, open_source
from gpulaf.tiling import source as source_module

WINDOW = (slice(17, 203), slice(100, 249))
GREY = np.random.default_rng(0).integers(0, 255, (300, 250), np.uint8)
COLOR = np.random.default_rng(1).integers(0, 65535, (300, 250, 3), np.uint16)
PLANES = np.moveaxis(COLOR, -1, 0)
STORAGE: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (64, 64)},
    "zlib tiles": {"tile": (64, 48), "compression": "zlib"},
    "one stretch": {},
    "zlib strips": {"rowsperstrip": 16, "compression": "zlib"},
}


def holds(path: Path, expected: np.ndarray, **options: Any) -> None:
    source = open_source(path, **options)
    assert source.shape == expected.shape
    assert source.dtype == expected.dtype
    assert np.array_equal(source[WINDOW], expected[WINDOW])
    lazy = open_image(path, tile=128, **options)
    assert lazy.numblocks[0] > 1 or source.chunks[0] > 128
    assert np.array_equal(lazy.compute(scheduler="synchronous"), expected)


@pytest.mark.parametrize("storage", STORAGE)
def test_tiff(tmp_path: Path, storage: str) -> None:
    options = STORAGE[storage]
    tifffile.imwrite(tmp_path / "grey.tif", GREY, **options)
    holds(tmp_path / "grey.tif", GREY)
    tifffile.imwrite(tmp_path / "color.tif", COLOR, photometric="rgb", **options)
    holds(tmp_path / "color.tif", COLOR)
    tifffile.imwrite(tmp_path / "planes.tif", PLANES, photometric="rgb", planarconfig="separate", **options)
    holds(tmp_path / "planes.tif", COLOR)
    tifffile.imwrite(tmp_path / "pages.ome.tif", PLANES, photometric="minisblack", metadata={"axes": "CYX"}, **options)
    holds(tmp_path / "pages.ome.tif", COLOR)


def test_transparency_is_dropped_as_in_memory(tmp_path: Path) -> None:
    rgba = np.concatenate([COLOR, COLOR[..., :1]], axis=-1)
    tifffile.imwrite(tmp_path / "rgba.tif", rgba, photometric="rgb", extrasamples=["unassalpha"], tile=(64, 64))
    holds(tmp_path / "rgba.tif", read_image(tmp_path / "rgba.tif"))
    assert open_source(tmp_path / "rgba.tif").shape == COLOR.shape


def test_chunks_are_masked_where_the_file_says_that_pixels_hold_no_data(tmp_path: Path) -> None:
    tags = [(42113, 2, 3, "77", True)]
    tifffile.imwrite(tmp_path / "n.tif", GREY, tile=(64, 64), extratags=tags)
    lazy = open_image(tmp_path / "n.tif", tile=64)
    found = lazy.compute(scheduler="synchronous")
    assert np.array_equal(np.ma.getmaskarray(found), GREY == 77)
    assert np.array_equal(found.data, GREY)
    result = label_array(lazy, Labeler([20.0, 200.0]))
    expected = label(read_image(tmp_path / "n.tif"), [20.0, 200.0])
    assert np.array_equal(result.labels.compute(scheduler="synchronous"), expected.labels)
    color = np.where(COLOR < 9000, 0, COLOR)
    tifffile.imwrite(tmp_path / "c.tif", color, photometric="rgb", extratags=[(42113, 2, 2, "0", True)])
    found = open_image(tmp_path / "c.tif", tile=64)[10:200, 20:90].compute(scheduler="synchronous")
    assert np.array_equal(found.mask[..., 1], (color == 0).all(axis=-1)[10:200, 20:90])


def test_the_full_resolution_of_a_pyramid(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "p.ome.tif", bigtiff=True) as file:
        file.write(GREY, subifds=1, tile=(64, 64))
        file.write(GREY[::2, ::2], tile=(64, 64), subfiletype=1)
    holds(tmp_path / "p.ome.tif", GREY)


@pytest.mark.parametrize("version", [2, 3])
def test_zarr(tmp_path: Path, version: int) -> None:
    path = tmp_path / "image.zarr"
    array = zarr.create_array(path, shape=GREY.shape, chunks=(64, 48), dtype="u1", zarr_format=version)
    array[:] = GREY
    holds(path, GREY)
    group = zarr.create_group(tmp_path / "group.zarr", zarr_format=version)
    group.create_array("raw", shape=PLANES.shape, chunks=(1, 64, 64), dtype="u2")[:] = PLANES
    with pytest.raises(ValueError, match=r"group without OME-Zarr metadata.*group\.zarr/NAME; it holds: raw"):
        open_source(tmp_path / "group.zarr")
    with pytest.raises(ValueError, match=r"shape \(3, 300, 250\) and does not say.*--channel-axis"):
        open_source(tmp_path / "group.zarr/raw")
    holds(tmp_path / "group.zarr/raw", COLOR, channel_axis=0)


def test_zarr_with_named_axes(tmp_path: Path) -> None:
    array = zarr.create_array(
        tmp_path / "n.zarr", shape=PLANES.shape, chunks=(3, 64, 64), dtype="u2", dimension_names=("c", "y", "x")
    )
    array[:] = PLANES
    holds(tmp_path / "n.zarr", COLOR)


@pytest.mark.parametrize(("names", "expected"), [(("row", "col"), GREY), (("lat", "lon"), GREY), (("x", "y"), GREY.T)])
def test_planes_with_other_names_of_their_axes(tmp_path: Path, names: tuple[str, str], expected: np.ndarray) -> None:
    path = tmp_path / "named.zarr"
    zarr.create_array(path, shape=GREY.shape, chunks=(64, 64), dtype="u1", dimension_names=names)[:] = GREY
    assert np.array_equal(open_source(path)[:, :], expected)


@pytest.mark.parametrize(
    "multiscales",
    [
        [{"datasets": [{"path": "0"}]}],  # version 0.2
        [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": []}],
        [{"axes": ["y", "x"], "datasets": [{"path": "0", "coordinateTransformations": [1]}]}],
        1,
    ],
)
def test_ome_zarr_metadata_that_cannot_be_read(tmp_path: Path, multiscales: Any) -> None:
    group = zarr.open_group(tmp_path / "in.zarr", mode="w", attributes={"multiscales": multiscales})
    group.create_array("0", shape=GREY.shape, chunks=(64, 64), dtype="u1")[:] = GREY
    with pytest.raises(ValueError, match=r"in\.zarr has OME-Zarr metadata that cannot be read .* Name the array"):
        open_source(tmp_path / "in.zarr")
    holds(tmp_path / "in.zarr" / "0", GREY)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path: Path, version: str) -> None:
    path, axes = tmp_path / "image.ome.zarr", [{"name": name} for name in "tczyx"]
    transformations = [{"type": "scale", "scale": [1, 1, 1, 0.5, 0.25]}]
    axes[3] |= {"type": "space", "unit": "micrometer"}
    multiscales = [{"axes": axes, "datasets": [{"path": "s0", "coordinateTransformations": transformations}]}]
    ome: dict[str, Any] = {"multiscales": multiscales, "version": version}
    group = zarr.create_group(
        path, zarr_format=2 if version == "0.4" else 3, attributes=ome if version == "0.4" else {"ome": ome}
    )
    array = group.create_array("s0", shape=(1, 3, 1, 300, 250), chunks=(1, 1, 1, 64, 64), dtype="u2")
    array[:] = PLANES[None, :, None]
    holds(path, COLOR)
    place = open_source(path).place
    assert place.scales(2) == (0.5, 0.25)
    assert place.unit == "micrometer"


def test_a_stack_is_refused(tmp_path: Path) -> None:
    array = zarr.create_array(
        tmp_path / "s.zarr", shape=(2, 64, 64), chunks=(1, 64, 64), dtype="u1", dimension_names=("z", "y", "x")
    )
    array[:] = 1
    with pytest.raises(ValueError, match=r"\(2, 64, 64\) with the axes ZYX: a volume"):
        open_source(tmp_path / "s.zarr")


def test_other_files(tmp_path: Path) -> None:
    write_array(tmp_path / "p.png", GREY)
    holds(tmp_path / "p.png", GREY)
    np.save(tmp_path / "p.npy", COLOR)
    holds(tmp_path / "p.npy", COLOR)
    np.save(tmp_path / "planes.npy", PLANES)
    holds(tmp_path / "planes.npy", COLOR, channel_axis=0)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.tif does not exist"):
        open_source(tmp_path / "no.tif")
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.tif cannot be read: not a TIFF file.*is whole and of the type"):
        open_source(tmp_path / "text.tif")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match=r"empty\.zarr cannot be read"):
        open_source(tmp_path / "empty.zarr")
    zarr.create_array(tmp_path / "c.zarr", shape=(8, 8), chunks=(8, 8), dtype="c8")
    with pytest.raises(TypeError, match="complex64 values; accepted are real numbers"):
        open_source(tmp_path / "c.zarr")
    zarr.create_array(tmp_path / "e.zarr", shape=(0, 8), chunks=(8, 8), dtype="u1")
    with pytest.raises(ValueError, match=r"is empty: it has \(0, 8\) pixels"):
        open_source(tmp_path / "e.zarr")


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "PACKAGES", ("dask", "no_such_package"))
    with pytest.raises(ModuleNotFoundError, match=r"need no_such_package\. .*'gpulaf\[large\]'"):
        open_source(tmp_path / "in.zarr")


@pytest.mark.parametrize("storage", STORAGE)
def test_a_truncated_tiff_is_refused_before_it_is_read(tmp_path: Path, storage: str) -> None:
    with tifffile.TiffWriter(tmp_path / "t.tif") as file:
        file.write(GREY, **STORAGE[storage])
    content = (tmp_path / "t.tif").read_bytes()
    (tmp_path / "t.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"is incomplete: segment \d+ of page 0 is not in the file|cannot be read"):
        open_source(tmp_path / "t.tif")


def test_a_missing_tile_of_a_tiff_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "t.tif", GREY, tile=(64, 64))
    with tifffile.TiffFile(tmp_path / "t.tif", mode="r+") as file:
        counts = list(file.pages[0].databytecounts)
        counts[7] = 0
        file.pages[0].tags["TileByteCounts"].overwrite(counts)
    with pytest.raises(ValueError, match="segment 7 of page 0 is not in the file, and 1 of 20 are missing"):
        open_source(tmp_path / "t.tif")


def test_a_damaged_tile_of_a_tiff_is_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "t.tif", GREY, tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(tmp_path / "t.tif") as file:
        offset = file.pages[0].dataoffsets[5]  # the second tile of the second row
    content = bytearray((tmp_path / "t.tif").read_bytes())
    content[offset : offset + 20] = b"x" * 20
    (tmp_path / "t.tif").write_bytes(content)
    source = open_source(tmp_path / "t.tif")
    assert np.array_equal(source[0:64, 0:250], GREY[:64])
    with pytest.raises(ValueError, match=r"t\.tif cannot be read at rows 60:70, columns 64:128: .*Restore that part"):
        source[60:70, 64:128]


@pytest.mark.parametrize("compressor", ["auto", None])
@pytest.mark.parametrize("damage", ["half", "nothing"])
def test_a_damaged_chunk_of_a_zarr_is_named_and_a_missing_one_is_the_fill_value(
    tmp_path: Path, compressor: str | None, damage: str
) -> None:
    array = zarr.create_array(
        tmp_path / "z.zarr", shape=GREY.shape, chunks=(64, 64), dtype="u1", compressors=compressor, fill_value=9
    )
    array[:] = GREY
    chunk = tmp_path / "z.zarr/c/1/1"
    content = chunk.read_bytes()
    chunk.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    source = open_source(tmp_path / "z.zarr")
    with pytest.raises(ValueError, match=r"z\.zarr cannot be read at rows 60:70, columns 60:250: "):
        source[60:70, 60:]
    chunk.unlink()
    assert (source[64:128, 64:128] == 9).all()
