"""Labels lie where their image lies, opened by the libraries of the formats; in memory and in tiles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from commands import gpulaf_process

from gpulaf import Labeler, label_file
from gpulaf.io import Place, read_record, write_array
from gpulaf.io.place import tiff_options
from gpulaf.tiling import Tiling, open_source

LABELS = (np.add.outer(np.arange(48), np.arange(80)) // 40).astype(np.uint8)
VOLUME = np.stack([LABELS] * 3)
GREY = (60 * LABELS + 20).astype(np.uint8)
GEO: list[tuple[Any, ...]] = [
    (33550, 12, 3, (10.0, 20.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 500000.0, 4600000.0, 0.0), True),
    (34735, 3, 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633), True),
]  # fmt: skip
MICRO = Place(scale=(0.5, 0.25), unit="micrometer", translation=(12.5, -3.0))


def labeled(image: Path, output: Path, *options: Any) -> Path:
    """The file of labels of the command line."""
    done = gpulaf_process(image.parent, "label", image.name, "--prototypes", 3, "-o", output.name, *options)
    assert done.returncode == 0, done.stderr
    return output


def in_tiles(image: Path, output: Path, **options: Any) -> Path:
    label_file(open_source(image), output, Labeler([20, 80, 140]), tiling=Tiling(side=32), **options)
    return output


# --- records --------------------------------------------------------------------------------------------------------


def test_json_and_back() -> None:
    place = replace(MICRO, tags=((33550, 12, 3, (1.0, 1.0, 0.0)),), nodata=255, colors=((1, (9, 8, 7, 255)),))
    assert Place.from_json(json.loads(json.dumps(place.to_json()))) == place
    for stored in (None, [], {"scale": "x"}, {"scale": 5}, {"colors": [1]}, {"other": 1}):
        assert Place.from_json(stored) == Place()


def test_spacing_is_the_scale_where_the_file_says_none() -> None:
    assert Place().with_spacing((2, 1, 1)).scale == (2, 1, 1)
    assert Place().with_spacing(None).scale is None
    assert MICRO.with_spacing((1, 1)).scale == (0.5, 0.25)
    assert MICRO.with_spacing((3, 1, 1)).scale == (3, 1, 1)
    assert MICRO.contradiction((4, 2)) is None
    assert MICRO.contradiction(None) is None
    assert "the file says 0.5,0.25 micrometer: as you say" in (MICRO.contradiction((1, 1)) or "")


@pytest.mark.parametrize("name", ["o.tif", "o.ome.tif"])
@pytest.mark.parametrize("flavor", ["", "imagej", "ome"])
@pytest.mark.parametrize("volume", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "u4"])
def test_tiffs_keep_the_place(tmp_path: Path, name: str, flavor: str, volume: bool, dtype: str) -> None:
    array = (VOLUME if volume else LABELS).astype(dtype)
    place = replace(MICRO, flavor=flavor)
    if volume:
        place = replace(place, scale=(2.0, 0.5, 0.25), translation=(7.0, 12.5, -3.0))
    write_array(tmp_path / name, array, volume=volume, place=place)
    record = read_record(tmp_path / name, volume=volume)
    assert np.array_equal(record.pixels, array)
    with tifffile.TiffFile(tmp_path / name) as file:
        assert file.is_ome == (name == "o.ome.tif") or not file.is_ome or flavor == "ome" or volume or dtype == "u4"
        assert file.is_imagej == (flavor == "imagej" and name == "o.tif" and dtype != "u4")
        assert file.series[0].axes == ("ZYX" if volume else "YX")
    if flavor or volume or name == "o.ome.tif":
        assert record.place.scale == pytest.approx(place.scale)
        assert record.place.unit == "micrometer"
        assert record.place.translation == pytest.approx(place.translation)
    else:  # a plain TIFF of a picture holds a resolution
        assert record.place.resolution == pytest.approx((40_000, 20_000, 3))


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("volume", [False, True])
@pytest.mark.parametrize("flavor", ["", "imagej", "ome"])
def test_probabilities_keep_the_place_and_their_labels_last(
    tmp_path: Path, channels: int, volume: bool, flavor: str
) -> None:
    soft = np.random.default_rng(0).random((*(VOLUME if volume else LABELS).shape, channels)).astype(np.float32)
    scale = (2.0, 0.5, 0.25)[-2 - volume :]
    write_array(tmp_path / "p.tif", soft, volume=volume, place=Place(scale=scale, unit="micrometer", flavor=flavor))
    record = read_record(tmp_path / "p.tif", volume=volume)
    assert np.array_equal(record.pixels, soft)
    if flavor or volume:
        assert record.place.scale == pytest.approx(scale)


def test_units_of_every_kind(tmp_path: Path) -> None:
    for unit in ("nanometer", "millimeter", "meter", "angstrom", None):
        for flavor in ("imagej", "ome"):
            place = Place(scale=(2.0, 3.0), unit=unit, flavor=flavor)
            write_array(tmp_path / "o.tif", LABELS, place=place)
            found = read_record(tmp_path / "o.tif").place
            if unit is not None or flavor == "ome":
                assert found.scale == pytest.approx((2.0, 3.0))
                assert found.unit == unit


def test_resolution_of_pictures(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(GREY).save(tmp_path / "i.png", dpi=(300, 150))
    place = read_record(tmp_path / "i.png").place
    assert place.resolution == pytest.approx((300, 150, 2), rel=1e-3)
    write_array(tmp_path / "o.tif", LABELS, place=place)
    write_array(tmp_path / "o.png", LABELS, place=place)
    for name in ("o.tif", "o.png"):
        assert read_record(tmp_path / name).place.resolution == pytest.approx((300, 150, 2), rel=1e-3)


def test_tiff_options_of_nothing_are_those_of_before() -> None:
    assert tiff_options(Place(), "o.tif", "YX", (4, 5), np.uint8) == {"metadata": {"axes": "YX"}, "extratags": []}


# --- GeoTIFF --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["memory", "tiles", "ome zarr and back"])
def test_geotiff(tmp_path: Path, way: str) -> None:
    text = "20"
    tifffile.imwrite(tmp_path / "i.tif", GREY, tile=(16, 16), extratags=[*GEO, (42113, 2, 3, text, True)])
    output = tmp_path / "o.tif"
    if way == "memory":
        labeled(tmp_path / "i.tif", output)
    elif way == "tiles":
        in_tiles(tmp_path / "i.tif", output)
    else:
        in_tiles(tmp_path / "i.tif", tmp_path / "o.zarr")
        write_array(output, read_record(tmp_path / "o.zarr").pixels, place=read_record(tmp_path / "o.zarr").place)
    with tifffile.TiffFile(output) as file:
        tags = file.pages.first.tags
        for code, _, _, value, _ in GEO:
            assert tags[code].value == value
        assert file.geotiff_metadata["ProjectedCSTypeGeoKey"] == 32633
        assert tags[42113].value == "255"
        assert np.array_equal(file.asarray() == 255, GREY == 20)


@pytest.mark.parametrize("tiles", [False, True])
def test_geotiff_opened_by_rasterio(tmp_path: Path, tiles: bool) -> None:
    rasterio = pytest.importorskip("rasterio")
    transform = rasterio.Affine(10, 0, 500000, 0, -20, 4600000)
    options = {"driver": "GTiff", "height": 48, "width": 80, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "i.tif", "w", transform=transform, nodata=20, **options) as file:
        file.write(GREY, 1)
    image, output = tmp_path / "i.tif", tmp_path / "o.tif"
    in_tiles(image, output) if tiles else labeled(image, output)
    with rasterio.open(image) as one, rasterio.open(output) as other:
        assert other.crs == one.crs
        assert other.transform == one.transform == transform
        assert other.bounds == one.bounds
        assert other.nodata == 255
        assert np.array_equal(other.dataset_mask(), one.dataset_mask())


def test_another_value_without_data(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "i.tif", GREY, extratags=[*GEO, (42113, 2, 3, "20", True)])
    labeled(tmp_path / "i.tif", tmp_path / "o.tif", "--nodata", 7)
    in_tiles(tmp_path / "i.tif", tmp_path / "t.tif", nodata=300)
    for name, value in (("o.tif", 7), ("t.tif", 300)):
        found = read_record(tmp_path / name)
        assert found.place.nodata == value
        assert np.array_equal(found.pixels == value, GREY == 20)
        assert found.pixels.dtype == (np.uint8 if value == 7 else np.uint16)
    done = gpulaf_process(tmp_path, "label", "i.tif", "--prototypes", 3, "-o", "n.tif", "--nodata", 1)
    assert done.returncode == 2
    assert "nodata is 1; accepted are whole numbers that stand for no label" in done.stderr


# --- microscopes ----------------------------------------------------------------------------------------------------


def test_a_hyperstack_of_imagej_stays_one(tmp_path: Path) -> None:
    about = {"axes": "ZYX", "spacing": 1.5, "unit": "micron", "finterval": 2.0}
    tifffile.imwrite(tmp_path / "i.tif", np.stack([GREY] * 3), imagej=True, resolution=(5, 10), metadata=about)
    labeled(tmp_path / "i.tif", tmp_path / "o.tif", "--spacing", "15,1,2")
    with tifffile.TiffFile(tmp_path / "o.tif") as file:
        assert file.is_imagej
        assert file.series[0].axes == "ZYX"
        assert file.imagej_metadata["spacing"] == 1.5
        assert file.imagej_metadata["unit"] == "um"
        assert file.pages.first.resolution == (5, 10)


def test_the_distances_of_a_volume_are_told_where_an_image_is_asked_for(tmp_path: Path) -> None:
    place = Place(scale=(2.0, 0.5, 0.25), unit="micrometer", flavor="imagej")
    write_array(tmp_path / "i.tif", VOLUME, volume=True, place=place)
    with pytest.raises(ValueError, match=r"a volume\. Say so with --spacing 2,0\.5,0\.25, the distances"):
        read_record(tmp_path / "i.tif")


def test_a_volume_without_sizes_takes_those_of_spacing(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "i.tif", np.stack([GREY] * 3), metadata={"axes": "ZYX"}, photometric="minisblack")
    labeled(tmp_path / "i.tif", tmp_path / "o.tif", "--spacing", "4,1,1")
    record = read_record(tmp_path / "o.tif", volume=True)
    assert record.place.scale == (4, 1, 1)


@pytest.mark.parametrize("output", ["o.ome.tif", "o.tif"])
@pytest.mark.parametrize("tiles", [False, True])
def test_an_ome_tiff(tmp_path: Path, output: str, tiles: bool) -> None:
    about = {
        "axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm",
        "Plane": {"PositionX": [-3.0], "PositionXUnit": ["µm"], "PositionY": [12.5], "PositionYUnit": ["µm"]},
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "i.ome.tif", GREY, metadata=about)
    image = tmp_path / "i.ome.tif"
    in_tiles(image, tmp_path / output) if tiles else labeled(image, tmp_path / output)
    with tifffile.TiffFile(tmp_path / output) as file:
        assert file.is_ome
        for said in ('PhysicalSizeX="0.25"', 'PhysicalSizeY="0.5"', 'PositionX="-3.0"', 'PositionY="12.5"'):
            assert said in file.ome_metadata
    assert read_record(tmp_path / output).place == replace(MICRO, flavor="ome", resolution=(40000, 20000, 3))


# --- OME-Zarr -------------------------------------------------------------------------------------------------------


def ome_zarr(path: Path, **steps: Any) -> None:
    """An image whose own transformations, and those of all levels, follow each other."""
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    level = [{"type": "scale", "scale": [1, 0.25, 0.125]}, {"type": "translation", "translation": [0, 6.25, -1.5]}]
    multiscale = {"axes": axes, "datasets": [{"path": "full", "coordinateTransformations": level}]} | steps
    group = zarr.open_group(path, mode="w", attributes={"ome": {"version": "0.5", "multiscales": [multiscale]}})
    group.create_array("full", shape=(1, *GREY.shape), chunks=(1, 16, 16), dtype="u1")[:] = GREY[None]


def test_an_ome_zarr_opened_by_ome_zarr(tmp_path: Path) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    ome_zarr(tmp_path / "i.ome.zarr", coordinateTransformations=[{"type": "scale", "scale": [1, 2, 2]}])
    in_tiles(tmp_path / "i.ome.zarr", tmp_path / "o.ome.zarr")
    (node,) = Reader(parse_url(tmp_path / "o.ome.zarr"))()
    assert [axis["unit"] for axis in node.metadata["axes"]] == ["micrometer"] * 2
    for level, steps in enumerate(node.metadata["coordinateTransformations"]):
        assert steps[0]["scale"] == [0.5 * 2**level, 0.25 * 2**level]
        assert steps[1]["translation"] == [12.5, -3.0]
    assert set(node.metadata["color"]) == {0, 1, 2}
    assert read_record(tmp_path / "o.ome.zarr").place == replace(
        MICRO, flavor="ome", colors=read_record(tmp_path / "o.ome.zarr").place.colors
    )


def test_metadata_of_label_images_are_valid(tmp_path: Path) -> None:
    models = pytest.importorskip("ome_zarr_models.v05")
    ome_zarr(tmp_path / "i.ome.zarr")
    in_tiles(tmp_path / "i.ome.zarr", tmp_path / "o.ome.zarr")
    group = zarr.open_group(tmp_path / "o.ome.zarr", mode="r")
    found = models.ImageLabel.from_zarr(group)
    assert len(found.ome_attributes.image_label.colors) == 3


@pytest.mark.parametrize("output", ["o.tif", "o.ome.tif", "o.zarr", "o.ome.zarr"])
@pytest.mark.parametrize("source", ["i.ome.zarr", "i.ome.tif", "i.tif"])
def test_every_way_keeps_scale_unit_and_translation(tmp_path: Path, source: str, output: str) -> None:
    if source == "i.ome.zarr":
        ome_zarr(tmp_path / source, coordinateTransformations=[{"type": "scale", "scale": [1, 2, 2]}])
    else:
        write_array(tmp_path / source, GREY, place=replace(MICRO, flavor="imagej" if source == "i.tif" else "ome"))
    in_tiles(tmp_path / source, tmp_path / output)
    found = read_record(tmp_path / output).place
    assert found.scales(2) == pytest.approx(MICRO.scale)
    assert found.unit == "micrometer"
    assert found.translations(2) == pytest.approx(MICRO.translation)


def test_png_says_what_it_cannot_hold(tmp_path: Path) -> None:
    write_array(tmp_path / "i.ome.tif", GREY, place=replace(MICRO, flavor="ome"))
    done = gpulaf_process(tmp_path, "label", "i.ome.tif", "--prototypes", 3, "-o", "o.png")
    assert done.returncode == 0
    assert "o.png cannot hold the size and place of the pixels, as the image does: a .tif can." in done.stderr
