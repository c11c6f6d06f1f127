"""What a file says is asked, by the reader in memory and in tiles alike; what it does not say is asked of the user."""

from __future__ import annotations

import json
import logging
import struct
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from gpulaf.io import read_image, read_record, read_soft, read_values, read_volume
from gpulaf.io.failures import quiet
from gpulaf.io.pairing import expanded
from gpulaf.tiling import open_source

RANDOM = np.random.default_rng(5)
GREY = RANDOM.integers(1, 255, (48, 80), np.uint8)
DEEP = RANDOM.integers(1, 65535, (48, 80), np.uint16)
RGB = RANDOM.integers(1, 255, (48, 80, 3), np.uint8)
BANDS = RANDOM.integers(1, 65535, (48, 80, 5), np.uint16)
FLOATS = RANDOM.random((48, 80), np.float32)


def read(path: Path, **options: Any) -> Any:
    """The record of an image, which the reader of tiles gives, too."""
    record = read_record(path, **options)
    source = open_source(path, **options)
    assert source.shape == record.pixels.shape
    assert source.dtype == record.pixels.dtype
    assert source.place == record.place
    assert source.notes == record.notes
    for window in (np.s_[:, :], np.s_[5:37, 13:71], np.s_[40:48, 0:1]):
        pixels, valid = source.read(window)
        assert pixels.dtype == record.pixels.dtype
        assert np.array_equal(pixels, record.pixels[window], equal_nan=pixels.dtype.kind == "f")
        expected = np.ones(pixels.shape[:2], bool) if record.valid is None else record.valid[window]
        assert np.array_equal(np.ones(pixels.shape[:2], bool) if valid is None else valid, expected)
    return record


def refused(path: Path, **options: Any) -> str:
    """What both readers say."""
    said = []
    for reader in (read_record, open_source):
        with pytest.raises((ValueError, TypeError)) as caught:
            reader(path, **options)
        said.append(str(caught.value).replace(str(path), path.name))
    assert said[0] == said[1]
    return said[0]


# --- axes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "imagej", "ome"])
def test_channels_are_where_the_file_says(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("i.ome.tif" if kind == "ome" else "i.tif")
    stack = np.moveaxis(BANDS, -1, 0)
    tifffile.imwrite(path, stack, photometric="minisblack", imagej=kind == "imagej", metadata={"axes": "CYX"})
    assert np.array_equal(read(path).pixels, BANDS)


@pytest.mark.parametrize("axes", ["TCZYX", "ZCTYX", "CYX", "ZYX", "TYX"])
@pytest.mark.parametrize("kind", ["tif", "ome.tif", "zarr"])
def test_axes_of_length_1_drop_out(tmp_path: Path, axes: str, kind: str) -> None:
    path, stored = tmp_path / f"i.{kind}", GREY[(None,) * (len(axes) - 2)]
    if kind == "zarr":
        names = tuple(axes.lower())
        zarr.create_array(
            path, shape=stored.shape, chunks=(*stored.shape[:-2], 16, 16), dtype="u1", dimension_names=names
        )[...] = stored
    else:
        tifffile.imwrite(path, stored, metadata={"axes": axes})
    assert np.array_equal(read(path).pixels, GREY)


def test_a_plane_of_channels_among_axes_of_length_1(tmp_path: Path) -> None:
    stored = np.moveaxis(BANDS, -1, 0)[None, :, None]
    tifffile.imwrite(tmp_path / "i.ome.tif", stored, metadata={"axes": "TCZYX"}, photometric="minisblack")
    np.save(tmp_path / "i.npy", stored)
    assert np.array_equal(read(tmp_path / "i.ome.tif").pixels, BANDS)
    assert np.array_equal(read(tmp_path / "i.npy", axes="TCZYX").pixels, BANDS)
    assert np.array_equal(read(tmp_path / "i.npy", axes="cyx").pixels, BANDS)
    assert np.array_equal(read(tmp_path / "i.npy", channel_axis=1).pixels, BANDS)


@pytest.mark.parametrize("shape", [(3, 48, 80), (2, 48, 80), (48, 5, 80), (20, 24, 30), (48, 48, 48), (30, 24, 20)])
def test_an_array_without_letters_is_asked_about(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "i.npy", np.zeros(shape, np.float32))
    zarr.create_array(tmp_path / "i.zarr", shape=shape, chunks=shape, dtype="f4")
    for name in ("i.npy", "i.zarr"):
        said = refused(tmp_path / name)
        assert f"of shape {shape} and does not say which axis holds the channels" in said
        assert "--channel-axis" in said
        assert "--spacing" in said
        assert read(tmp_path / name, channel_axis=0).pixels.shape == (*shape[1:], shape[0])
        assert read_volume(tmp_path / name).shape == shape


@pytest.mark.parametrize(("shape", "notes"), [((48, 80, 3), 0), ((5, 7, 4), 0), ((1, 48, 80), 0), ((48, 80, 20), 1)])
def test_channels_that_are_clearly_last(tmp_path: Path, shape: tuple[int, ...], notes: int) -> None:
    np.save(tmp_path / "i.npy", np.ones(shape, np.float32))
    record = read_record(tmp_path / "i.npy")
    assert record.pixels.shape == (shape[1:] if shape[0] == 1 else shape)
    assert len(record.notes) == notes
    assert all("is taken as 48×80 pixels with 20 channels" in note for note in record.notes)
    if notes:
        with pytest.warns(UserWarning, match="20 channels"):
            read_image(tmp_path / "i.npy")


@pytest.mark.parametrize("kind", ["tif", "ome.tif", "zarr"])
def test_times_are_never_averaged(tmp_path: Path, kind: str) -> None:
    path, stack = tmp_path / f"t.{kind}", np.stack([GREY] * 4)
    if kind == "zarr":
        zarr.create_array(path, shape=stack.shape, chunks=stack.shape, dtype="u1", dimension_names=("time", "y", "x"))[
            :
        ] = stack
    else:
        tifffile.imwrite(path, stack, metadata={"axes": "TYX"}, photometric="minisblack")
    assert "4 images at different times, which are not averaged" in refused(path)
    with pytest.raises(ValueError, match="4 images at different times"):
        read_volume(path)
    assert np.array_equal(read_volume(path, axes="ZYX"), stack)


def test_volumes(tmp_path: Path) -> None:
    grey, color = np.stack([GREY] * 3), np.stack([BANDS] * 3)
    tifffile.imwrite(tmp_path / "g.ome.tif", grey, metadata={"axes": "ZYX"})
    tifffile.imwrite(
        tmp_path / "c.ome.tif", color.transpose(0, 3, 1, 2), metadata={"axes": "ZCYX"}, photometric="minisblack"
    )
    tifffile.imwrite(
        tmp_path / "j.tif",
        color.transpose(0, 3, 1, 2),
        imagej=True,
        metadata={"axes": "ZCYX"},
        photometric="minisblack",
    )
    tifffile.imwrite(tmp_path / "p.tif", grey, photometric="minisblack")  # pages, and no word what they are
    names = ("t", "c", "z", "y", "x")
    z = zarr.create_array(
        tmp_path / "z.zarr", shape=(1, 5, 3, 48, 80), chunks=(1, 1, 1, 48, 80), dtype="u2", dimension_names=names
    )
    z[:] = color.transpose(3, 0, 1, 2)[None]
    for name in ("g.ome.tif", "p.tif"):
        assert np.array_equal(read_volume(tmp_path / name), grey)
    for name in ("c.ome.tif", "j.tif", "z.zarr"):
        assert np.array_equal(read_volume(tmp_path / name), color)
    assert "with the axes ZYX: a volume. Say so with --spacing" in refused(tmp_path / "g.ome.tif")
    assert "does not say which axis holds the channels" in refused(tmp_path / "p.tif")


@pytest.mark.parametrize("axes", ["YX", "CYXT", "QYX", "CZZ", "", "CYXZ"])
def test_axes_that_do_not_fit(tmp_path: Path, axes: str) -> None:
    np.save(tmp_path / "i.npy", np.zeros((3, 48, 80)))
    said = refused(tmp_path / "i.npy", axes=axes)
    assert f"axes are '{axes}'; accepted for" in said
    assert "Say for example --axes CYX" in said


def test_axes_and_a_channel_axis_contradict_each_other(tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", np.zeros((3, 48, 80)))
    assert "accepted is one of them" in refused(tmp_path / "i.npy", axes="CYX", channel_axis=0)


def test_what_ilastik_and_xarray_name_their_axes(tmp_path: Path) -> None:
    for names, axis in ((("band", "lat", "lon"), 0), (("row", "col", "channel"), 2), (("Y", "X", "C"), 2)):
        path = tmp_path / f"{names[0]}.zarr"
        stored = np.moveaxis(BANDS, -1, axis)
        zarr.create_array(path, shape=stored.shape, chunks=stored.shape, dtype="u2", dimension_names=names)[:] = stored
        assert np.array_equal(read(path).pixels, BANDS)
    group = zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2)
    array = group.create_array("v", shape=(5, 48, 80), chunks=(5, 48, 80), dtype="u2")
    array[:] = np.moveaxis(BANDS, -1, 0)
    array.attrs["_ARRAY_DIMENSIONS"] = ["band", "y", "x"]
    assert np.array_equal(read(tmp_path / "old.zarr/v").pixels, BANDS)


# --- soft predictions -----------------------------------------------------------------------------------------------


def test_soft_predictions_have_their_labels_last(tmp_path: Path) -> None:
    soft = np.random.default_rng(0).random((24, 30, 4)).astype(np.float32)
    first = np.moveaxis(soft, -1, 0)
    tifffile.imwrite(tmp_path / "named.tif", first, photometric="minisblack", metadata={"axes": "CYX"})
    np.save(tmp_path / "last.npy", soft)
    np.save(tmp_path / "first.npy", first)
    np.save(tmp_path / "batch.npy", first[None])
    for name, options in (
        ("named.tif", {}), ("last.npy", {}), ("first.npy", {"label_axis": 0}), ("first.npy", {"axes": "CYX"}),
        ("batch.npy", {"label_axis": 1}),
    ):  # fmt: skip
        assert np.array_equal(read_soft(tmp_path / name, **options).pixels, soft)
    with pytest.raises(ValueError, match=r"which axis holds the labels. Name it with label_axis \(--label-axis\), 0"):
        read_soft(tmp_path / "first.npy")
    np.save(tmp_path / "one.npy", soft[..., 0])
    with pytest.raises(ValueError, match=r"accepted are soft predictions with an axis of labels.*stack \[1 − p, p\]"):
        read_soft(tmp_path / "one.npy")
    volume = np.stack([soft] * 2)
    np.save(tmp_path / "v.npy", np.moveaxis(volume, -1, 0))
    assert np.array_equal(read_soft(tmp_path / "v.npy", label_axis=0, volume=True).pixels, volume)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_probabilities_are_recognized_by_their_sums_and_logits_are_not(tmp_path: Path, axis: int) -> None:
    soft = np.random.default_rng(0).random((24, 30, 40))
    soft = (soft / soft.sum(axis=-1, keepdims=True)).astype(np.float16)
    np.save(tmp_path / "p.npy", np.moveaxis(soft, -1, axis))
    assert np.array_equal(read_soft(tmp_path / "p.npy").pixels, soft)
    with pytest.raises(ValueError, match="which axis holds the labels"):
        read_soft(tmp_path / "p.npy", logits=True)
    np.save(tmp_path / "p.npy", np.moveaxis(2 * soft, -1, axis))
    with pytest.raises(ValueError, match="which axis holds the labels"):
        read_soft(tmp_path / "p.npy")


def test_truths_of_floats_with_gaps_and_of_lossy_files(tmp_path: Path) -> None:
    whole = np.array([[0, 3, 3], [7, 0, 7]], np.float32)
    np.save(tmp_path / "f.npy", whole)
    assert np.array_equal(read_values(tmp_path / "f.npy"), whole)
    whole[0, 0] = np.nan
    np.save(tmp_path / "f.npy", whole)
    assert read_values(tmp_path / "f.npy").tolist() == [[-1, 3, 3], [7, 0, 7]]
    np.save(tmp_path / "h.npy", whole / 2)
    with pytest.raises(ValueError, match=r"h\.npy holds float32 values.*no whole numbers"):
        read_values(tmp_path / "h.npy")
    steps = GREY // 50 * 50
    tifffile.imwrite(tmp_path / "n.tif", steps, extratags=[(42113, 2, 4, "200", True)])
    assert np.array_equal(read_values(tmp_path / "n.tif"), np.where(steps == 200, -1, steps.astype(int)))
    Image.fromarray(GREY).save(tmp_path / "t.jpg")
    with pytest.raises(ValueError, match=r"t\.jpg is a JPEG, which changes the values of labels"):
        read_values(tmp_path / "t.jpg")


# --- what the values mean -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(
    ("extra", "channels"), [(["unspecified"], 4), (["unassalpha"], 3), (["assocalpha"], 3), (["unspecified"] * 2, 5)]
)
def test_extra_samples_say_what_is_alpha(tmp_path: Path, planar: Any, extra: list[str], channels: int) -> None:
    stored = np.concatenate([RGB, *[np.where(GREY < 60, 0, GREY)[..., None]] * len(extra)], axis=-1)
    moved = stored if planar == "contig" else np.moveaxis(stored, -1, 0)
    tifffile.imwrite(
        tmp_path / "i.tif", moved, photometric="rgb", planarconfig=planar, extrasamples=extra, tile=(16, 16)
    )
    record = read(tmp_path / "i.tif")
    assert np.array_equal(record.pixels, stored[..., :channels])
    if channels == 3:
        assert np.array_equal(record.valid, GREY >= 60)
    else:
        assert record.valid is None


def test_alpha_of_a_grey_tiff_and_of_four_bands_before_it(tmp_path: Path) -> None:
    alpha = np.where(GREY < 60, 0, 255).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "g.tif", np.dstack([GREY, alpha]), photometric="minisblack", extrasamples=["unassalpha"]
    )
    record = read(tmp_path / "g.tif")
    assert np.array_equal(record.pixels, GREY)
    assert np.array_equal(record.valid, alpha > 0)
    stored = np.dstack([RGB, GREY, alpha])
    tifffile.imwrite(
        tmp_path / "n.tif", stored, photometric="rgb", extrasamples=["unspecified", "unassalpha"], planarconfig="contig"
    )
    record = read(tmp_path / "n.tif")
    assert np.array_equal(record.pixels, stored[..., :4])
    assert np.array_equal(record.valid, alpha > 0)
    masked = read_image(tmp_path / "n.tif")
    assert np.array_equal(masked.mask, np.broadcast_to((alpha == 0)[..., None], masked.shape))


def test_transparent_pixels_of_pictures_hold_no_data(tmp_path: Path) -> None:
    alpha = np.where(GREY < 60, 0, GREY).astype(np.uint8)
    Image.fromarray(np.dstack([RGB, alpha])).save(tmp_path / "a.png")
    Image.fromarray(np.dstack([RGB, alpha])).save(tmp_path / "a.webp", lossless=True, exact=True)
    Image.fromarray(np.dstack([GREY, alpha])).save(tmp_path / "la.png")
    image = Image.fromarray(GREY)
    image.save(tmp_path / "key.png", transparency=77)
    for name, pixels, valid in (
        ("a.png", RGB, alpha > 0), ("a.webp", RGB, alpha > 0), ("la.png", GREY, alpha > 0),
        ("key.png", GREY, GREY != 77),
    ):  # fmt: skip
        record = read(tmp_path / name)
        assert np.array_equal(record.pixels, pixels)
        assert np.array_equal(record.valid, valid)


@pytest.mark.parametrize("kind", ["png", "bmp", "gif", "tif"])
def test_a_palette_stands_for_colors_and_of_labels_for_indices(tmp_path: Path, kind: str) -> None:
    indices = RANDOM.integers(0, 4, (48, 80)).astype(np.uint8)
    colors = np.array([[250, 10, 20], [20, 30, 240], [10, 200, 20], [9, 9, 9]], np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(colors.ravel().tolist())
    image.save(tmp_path / f"p.{kind}")
    assert np.array_equal(read(tmp_path / f"p.{kind}").pixels, colors[indices])
    assert np.array_equal(read_values(tmp_path / f"p.{kind}"), indices)


def test_the_color_table_of_imagej_is_no_palette(tmp_path: Path) -> None:
    table = np.stack([np.arange(256), np.zeros(256), np.arange(256)]).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "l.tif", GREY, imagej=True, colormap=table)
    record = read(tmp_path / "l.tif")
    assert np.array_equal(record.pixels, GREY)
    assert "color table of ImageJ (LUT), which is not used" in record.notes[0]


@pytest.mark.parametrize("stored", [GREY, DEEP, GREY > 99])
def test_white_is_zero(tmp_path: Path, stored: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "w.tif", stored, photometric="miniswhite")
    expected = ~stored if stored.dtype == bool else np.iinfo(stored.dtype).max - stored
    assert np.array_equal(read(tmp_path / "w.tif").pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("color", [False, True])
def test_orientation(tmp_path: Path, orientation: int, color: bool) -> None:
    seen = RGB if color else GREY
    flips = {2: 1, 3: (0, 1), 4: 0, 6: 1, 7: (0, 1), 8: 0}.get(orientation, ())
    stored = np.flip(seen, flips)
    stored = np.swapaxes(stored, 0, 1) if orientation > 4 else stored
    options = {"photometric": "rgb" if color else "minisblack", "tile": (16, 32), "compression": "zlib"}
    tifffile.imwrite(tmp_path / "o.tif", stored, extratags=[(274, 3, 1, orientation, True)], **options)
    assert np.array_equal(read(tmp_path / "o.tif").pixels, seen)
    with Image.open(tmp_path / "o.tif") as image:  # Pillow turns it the same way
        from PIL import ImageOps

        assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), seen)


def test_pictures_are_turned_as_their_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(RGB)).save(tmp_path / "o.png", exif=exif)
    assert np.array_equal(read(tmp_path / "o.png").pixels, RGB)


def test_sixteen_bits_in_each_color(tmp_path: Path) -> None:
    from imagecodecs import png_encode

    deep = BANDS[..., :3].copy()
    (tmp_path / "rgb.png").write_bytes(png_encode(deep))
    (tmp_path / "rgba.png").write_bytes(png_encode(np.dstack([deep, np.where(GREY < 60, 0, 60000).astype(np.uint16)])))
    Image.fromarray(DEEP).save(tmp_path / "grey.png")
    assert np.array_equal(read(tmp_path / "rgb.png").pixels, deep)
    record = read(tmp_path / "rgba.png")
    assert np.array_equal(record.pixels, deep)
    assert np.array_equal(record.valid, GREY >= 60)
    assert np.array_equal(read(tmp_path / "grey.png").pixels, DEEP)


def test_bits_in_use(tmp_path: Path) -> None:
    twelve = DEEP >> 4
    tifffile.imwrite(tmp_path / "packed.tif", twelve, bitspersample=12)
    tifffile.imwrite(tmp_path / "said.ome.tif", twelve, metadata={"axes": "YX", "SignificantBits": 12})
    tifffile.imwrite(tmp_path / "plain.tif", twelve)
    for name, bits in (("packed.tif", 12), ("said.ome.tif", 12), ("plain.tif", None)):
        record = read(tmp_path / name)
        assert np.array_equal(record.pixels, twelve)
        assert record.bits == bits


# --- several images -------------------------------------------------------------------------------------------------


def test_the_first_of_several_images_is_read_and_a_line_says_so(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "s.tif") as file:
        file.write(GREY, metadata=None)
        file.write(GREY[:20, :30], metadata=None)
        file.write(DEEP[:40], metadata=None)
    record = read(tmp_path / "s.tif")
    assert np.array_equal(record.pixels, GREY)
    assert record.notes == (
        f"{tmp_path / 's.tif'} holds 3 images; number 0, 48×80, is read. Choose another with --series.",
    )
    third = read(tmp_path / "s.tif", series=2)
    assert np.array_equal(third.pixels, DEEP[:40])
    assert third.notes == ()
    assert "the image is 3; accepted for s.tif are 0 to 2" in refused(tmp_path / "s.tif", series=3)


def test_reduced_images_and_masks_are_no_images(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "g.tif") as file:
        file.write(GREY, metadata=None, tile=(16, 16))
        file.write(GREY > 60, metadata=None, subfiletype=4)
        file.write(GREY[::7, ::7], metadata=None, subfiletype=1)
    record = read(tmp_path / "g.tif")
    assert np.array_equal(record.pixels, GREY)
    assert np.array_equal(record.valid, GREY > 60)
    assert record.notes == ()


@pytest.mark.parametrize("kind", ["png", "gif", "webp"])
def test_an_animation_is_one_image_after_the_other(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    options = {"lossless": True} if kind == "webp" else {}
    frames[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:], **options)
    record = read(tmp_path / f"a.{kind}")
    assert record.pixels.shape == RGB.shape
    assert "holds 2 images; the first is read. Choose another with --series" in record.notes[0]
    if kind != "gif":
        assert np.array_equal(record.pixels, RGB)
        assert np.array_equal(read(tmp_path / f"a.{kind}", series=1).pixels, 255 - RGB)
    assert "accepted for" in refused(tmp_path / f"a.{kind}", series=2)


def ome_of_two_files(folder: Path, companion: bool) -> None:
    """Two images, each in a file of its own, with the OME-XML in both or in a companion."""
    tifffile.imwrite(folder / "a.tif", GREY)
    tifffile.imwrite(folder / "b.tif", 255 - GREY)
    images = "".join(
        f'<Image ID="Image:{k}"><Pixels ID="Pixels:{k}" DimensionOrder="XYZCT" Type="uint8" SizeX="80" SizeY="48" '
        f'SizeZ="1" SizeC="1" SizeT="1" PhysicalSizeX="{k + 1}.5" PhysicalSizeY="{k + 1}.5"><Channel ID="C:{k}:0"/>'
        f'<TiffData IFD="0" PlaneCount="1"><UUID FileName="{name}.ome.tif">urn:uuid:{name}</UUID></TiffData></Pixels>'
        "</Image>"
        for k, name in enumerate("ab")
    )
    head = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    for name, pixels in (("a", GREY), ("b", 255 - GREY)):
        inside = '<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:set"/>' if companion else images
        text = f'{head} UUID="urn:uuid:{name}">{inside}</OME>'
        tifffile.imwrite(folder / f"{name}.ome.tif", pixels, description=text, metadata=None)
    if companion:
        (folder / "set.companion.ome").write_text(f'{head} UUID="urn:uuid:set">{images}</OME>')


@pytest.mark.parametrize("companion", [False, True])
def test_the_image_of_an_ome_tiff_of_several_files_is_that_in_the_named_one(tmp_path: Path, companion: bool) -> None:
    ome_of_two_files(tmp_path, companion)
    for name, pixels, size in (("a", GREY, 1.5), ("b", 255 - GREY, 2.5)):
        record = read(tmp_path / f"{name}.ome.tif")
        assert np.array_equal(record.pixels, pixels)
        assert record.place.scale == (size, size)
        assert record.place.unit == "micrometer"
        assert record.notes == ()


def test_a_companion_that_is_not_there(tmp_path: Path) -> None:
    ome_of_two_files(tmp_path, companion=True)
    (tmp_path / "set.companion.ome").unlink()
    record = read(tmp_path / "b.ome.tif")
    assert np.array_equal(record.pixels, 255 - GREY)
    assert "set.companion.ome describes, which is not beside it" in record.notes[0]


def test_a_plane_in_a_file_that_is_not_there_is_not_zero(tmp_path: Path) -> None:
    planes = np.stack([GREY, 255 - GREY])
    text = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:0"><Image ID="Image:0"><Pixels '
        'ID="P" DimensionOrder="XYCZT" Type="uint8" SizeX="80" SizeY="48" SizeZ="1" SizeC="2" SizeT="1">'
        '<Channel ID="C:0"/><Channel ID="C:1"/>'
        '<TiffData FirstC="0" IFD="0" PlaneCount="1"><UUID FileName="c0.ome.tif">urn:uuid:0</UUID></TiffData>'
        '<TiffData FirstC="1" IFD="0" PlaneCount="1"><UUID FileName="c1.ome.tif">urn:uuid:1</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    for k in range(2):
        description = text.replace('UUID="urn:uuid:0"><Image', f'UUID="urn:uuid:{k}"><Image')
        tifffile.imwrite(tmp_path / f"c{k}.ome.tif", planes[k], description=description, metadata=None)
    assert np.array_equal(read(tmp_path / "c0.ome.tif").pixels, np.moveaxis(planes, 0, -1))
    (tmp_path / "c1.ome.tif").unlink()
    assert "page 1 of 2 is missing" in refused(tmp_path / "c0.ome.tif")


def ome_zarr(path: Path, pixels: np.ndarray, **others: Any) -> None:
    axes = [{"name": name, "type": "space"} for name in "yx"]
    scale = [{"type": "scale", "scale": [0.5, 0.25]}]
    ome = {"multiscales": [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]} | others
    group = zarr.open_group(path, mode="w", attributes={"ome": {"version": "0.5"} | ome})
    group.create_array("0", shape=pixels.shape, chunks=(16, 16), dtype=pixels.dtype)[:] = pixels


def test_folders_of_bioformats2raw_and_plates(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "b.zarr", mode="w", attributes={"ome": {"bioformats2raw.layout": 3}})
    root.create_group("OME")
    for k, pixels in ((0, GREY), (1, 255 - GREY), (10, GREY // 2)):
        ome_zarr(tmp_path / "b.zarr" / str(k), pixels)
    record = read(tmp_path / "b.zarr")
    assert np.array_equal(record.pixels, GREY)
    assert record.place.scale == (0.5, 0.25)
    assert "b.zarr holds 3 images; 0 is read. Choose another with --series." in record.notes[0]
    assert np.array_equal(read(tmp_path / "b.zarr", series=2).pixels, GREY // 2)
    assert "the image is 3; accepted for b.zarr are 0 to 2" in refused(tmp_path / "b.zarr", series=3)
    wells = {"plate": {"wells": [{"path": "A/1"}, {"path": "A/2"}]}}
    zarr.open_group(tmp_path / "p.zarr", mode="w", attributes={"ome": wells})
    assert "is a plate of 2 wells and no image. Name an image of one, as p.zarr/A/1/0." in refused(tmp_path / "p.zarr")
    zarr.open_group(
        tmp_path / "p.zarr" / "A" / "1", mode="w", attributes={"ome": {"well": {"images": [{"path": "0"}]}}}
    )
    ome_zarr(tmp_path / "p.zarr" / "A" / "1" / "0", DEEP)
    assert np.array_equal(read(tmp_path / "p.zarr/A/1").pixels, DEEP)
    assert expanded([tmp_path / "b.zarr"]) == [tmp_path / "b.zarr"]


def test_arrays_of_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", GREY)
    np.savez(tmp_path / "two.npz", raw=GREY, mask=GREY > 9)
    assert np.array_equal(read(tmp_path / "one.npz").pixels, GREY)
    assert "two.npz holds 2 arrays: raw, mask. Save the right one alone" in refused(tmp_path / "two.npz")


@pytest.mark.parametrize("multiscales", [[], {}, [[]], "x", [{"axes": "yx", "datasets": [{"path": 5}]}]])
def test_ome_metadata_of_any_shape(tmp_path: Path, multiscales: Any) -> None:
    for ome in ([], 3, {"multiscales": multiscales}):
        zarr.open_group(tmp_path / "o.zarr", mode="w", attributes={"ome": ome})
        said = refused(tmp_path / "o.zarr")
        assert "OME-Zarr metadata" in said
        assert "Name" in said


# --- no data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "nodata", "text"),
    [
        ("f4", -3.4028234663852886e38, "-3.40282346600000016e+38"), ("f4", -9999, "-9999"), ("f4", np.nan, "nan"),
        ("f8", -1.7976931348623157e308, "-1.79769313486232e+308"), ("u1", 0, "0"), ("i2", -32768, "-32768"),
        ("u2", 65535, "65535.0"), ("f4", 0.1, "0.1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("storage", [{}, {"tile": (16, 16), "compression": "zlib"}])
def test_the_value_that_stands_for_no_data(
    tmp_path: Path, dtype: str, nodata: float, text: str, storage: dict[str, Any]
) -> None:
    hole = GREY < 60
    pixels = np.where(hole, np.array(nodata, dtype), GREY.astype(dtype)).astype(dtype)
    if text == "-1.79769313486232e+308":
        pixels[hole] = float(text)
    tifffile.imwrite(tmp_path / "n.tif", pixels, extratags=[(42113, 2, len(text) + 1, text, True)], **storage)
    record = read(tmp_path / "n.tif")
    assert np.array_equal(record.valid, ~hole)
    assert np.array_equal(np.ma.getmaskarray(read_image(tmp_path / "n.tif")), hole)


@pytest.mark.parametrize("text", ["-9999", "256", "0.5", "none", ""])
def test_no_pixel_of_bytes_has_such_a_value(tmp_path: Path, text: str) -> None:
    tifffile.imwrite(tmp_path / "n.tif", GREY, extratags=[(42113, 2, len(text) + 1, text, True)])
    assert read(tmp_path / "n.tif").valid is None


def test_channels_without_data(tmp_path: Path) -> None:
    """A color is no data where all of it is; a measurement where one is missing."""
    color, floats = RGB.copy(), BANDS.astype(np.float32)
    color[3, 4], color[3, 5, 0] = 0, 0
    floats[3, 4], floats[3, 5, 0], floats[3, 6, 1] = -1, -1, np.nan
    for name, array, text, holes in (
        ("c.tif", color, "0", [[3, 4]]), ("f.tif", floats, "-1", [[3, 4], [3, 5], [3, 6]]),
    ):  # fmt: skip
        photometric = "rgb" if array is color else "minisblack"
        tags = [(42113, 2, len(text) + 1, text, True)]
        tifffile.imwrite(tmp_path / name, array, photometric=photometric, planarconfig="contig", extratags=tags)
        assert np.argwhere(~read(tmp_path / name).valid).tolist() == holes


def test_nan_in_any_file(tmp_path: Path) -> None:
    pixels = FLOATS.copy()
    pixels[7, 9] = np.nan
    np.save(tmp_path / "n.npy", pixels)
    zarr.create_array(tmp_path / "n.zarr", shape=pixels.shape, chunks=(16, 16), dtype="f4")[:] = pixels
    for name in ("n.npy", "n.zarr"):
        assert np.argwhere(~read(tmp_path / name).valid).tolist() == [[7, 9]]
    array = zarr.create_array(tmp_path / "f.zarr", shape=GREY.shape, chunks=(16, 16), dtype="u1")
    array[:] = GREY
    array.attrs["_FillValue"] = int(GREY[2, 3])
    assert np.array_equal(read(tmp_path / "f.zarr").valid, GREY[2, 3] != GREY)


def sparse(path: Path, array: np.ndarray, tiles: list[int], page: int = 0, **options: Any) -> None:
    """A TIFF that leaves out tiles of a page, as SPARSE_OK of GDAL."""
    tifffile.imwrite(path, array, **{"tile": (16, 16), "compression": "zlib"} | options)
    with tifffile.TiffFile(path, mode="r+") as file:
        for code in (324, 325):
            values = list(file.pages[page].tags[code].value)
            for tile in tiles:
                values[tile] = 0
            file.pages[page].tags[code].overwrite(values)


@pytest.mark.parametrize("options", [{}, {"compression": None}, {"extratags": [(274, 3, 1, 6, True)]}])
def test_missing_tiles_hold_no_data(tmp_path: Path, options: dict[str, Any]) -> None:
    sparse(tmp_path / "s.tif", GREY, [1, 7], **options)
    record = read(tmp_path / "s.tif")
    hole = np.zeros(GREY.shape, bool)
    hole[:16, 16:32] = hole[16:32, 32:48] = True
    if "extratags" in options:
        hole = np.flip(hole.T, 1)
    assert np.array_equal(record.valid, ~hole)
    assert "lacks 2 of its 15 tiles: their pixels hold no data" in record.notes[0]


def test_tiles_missing_in_one_channel_or_plane(tmp_path: Path) -> None:
    stack = np.moveaxis(BANDS, -1, 0)
    sparse(tmp_path / "c.tif", stack, [4], 2, photometric="minisblack", metadata={"axes": "CYX"})
    hole = np.zeros(GREY.shape, bool)
    hole[:16, 64:] = True
    assert np.array_equal(read(tmp_path / "c.tif").valid, ~hole)
    sparse(tmp_path / "z.tif", stack, [4], 2, photometric="minisblack", metadata={"axes": "ZYX"})
    record = read_record(tmp_path / "z.tif", volume=True)
    assert np.array_equal(record.valid, np.stack([~hole if k == 2 else np.ones_like(hole) for k in range(5)]))
    planar = np.moveaxis(RGB, -1, 0)
    sparse(tmp_path / "p.tif", planar, [15 + 4], photometric="rgb", planarconfig="separate")
    assert np.array_equal(read(tmp_path / "p.tif").valid, ~hole)


# --- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["i.czi", "v.mha", "i.dcm", "i.zip", "i.ome.zarr.zip", "i.xyz", "i", "i.heic", "i.nc"])
def test_types_that_are_not_read_name_the_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(100))
    said = refused(tmp_path / name)
    assert said.startswith(f"{name} is not read: its type {(tmp_path / name).suffix!r} is none of those that are, .png")
    assert said.count(". ") >= 1
    assert any(way in said for way in ("Convert", "Save", "Open it", "Unpack", "Export"))
    assert "damaged" not in said
    assert "whole" not in said


@pytest.mark.parametrize("compression", ["lzw", "jpeg", "zstd", "lzma", "webp", "packbits", "jpeg2000", "lerc"])
def test_compressed_tiffs(tmp_path: Path, compression: str) -> None:
    pixels = RGB if compression == "webp" else GREY
    photometric = "rgb" if compression == "webp" else "minisblack"
    tifffile.imwrite(tmp_path / "c.tif", pixels, compression=compression, photometric=photometric, tile=(16, 16))
    read(tmp_path / "c.tif")


def test_a_missing_codec_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "c.tif", GREY, compression="lzw")

    def missing(*_: Any, **__: Any) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", missing)
    with pytest.raises(ValueError, match=r"c\.tif cannot be read: it is packed by a codec that is not") as caught:
        read_image(tmp_path / "c.tif")
    assert "python -m pip install imagecodecs" in str(caught.value)
    assert "whole" not in str(caught.value)
    (tmp_path / "z.zarr").mkdir()
    metadata = {
        "zarr_format": 2, "shape": [4, 4], "chunks": [4, 4], "dtype": "|u1", "fill_value": 0, "order": "C",
        "filters": None, "compressor": {"id": "some_codec"},
    }  # fmt: skip
    (tmp_path / "z.zarr/.zarray").write_text(json.dumps(metadata))
    assert "it is packed by a codec that is not installed" in refused(tmp_path / "z.zarr")


def test_limits_of_a_library_are_no_damage(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        import zlib

        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "large.png").write_bytes(content)
    said = refused(tmp_path / "large.png")
    assert "the library that reads this type cannot do it" in said
    assert "Save it as a TIFF" in said
    assert "whole" not in said


@pytest.mark.parametrize("name", ["e.png", "e.jpg", "e.webp", "e.gif", "e.jp2", "e.tif", "e.npy", "e.npz"])
@pytest.mark.parametrize("content", [b"", b"hello", bytes(400), b"\x89PNG\r\n\x1a\n", b"II*\0", b"\x93NUMPY"])
def test_damaged_files_are_named_with_what_they_hold(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    said = refused(tmp_path / name)
    assert said.startswith(f"{name} cannot be read: ")
    assert said.endswith("Check that the file is whole and of the type that its name says.")
    assert not any(word in said for word in ("plugin", "ImageResource", "io.BytesIO", "object at", "0x7f"))


def test_libraries_say_nothing_besides(tmp_path: Path, caplog: Any, recwarn: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY)
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:120])
    refused(tmp_path / "a.tif")
    assert not caplog.records
    assert not recwarn.list


def test_libraries_speak_again_when_the_last_thread_has_read(caplog: pytest.LogCaptureFixture) -> None:
    log, order = logging.getLogger("tifffile"), [threading.Event() for _ in range(2)]

    def first() -> None:
        with quiet:
            order[0].set()
            order[1].wait(10)

    filters = warnings.filters[:]
    thread = threading.Thread(target=first)
    thread.start()
    order[0].wait(10)
    with quiet:  # the first to come is not the last to go
        order[1].set()
        thread.join()
        log.error("unheard")
        warnings.warn("unheard", stacklevel=1)
    log.error("heard")
    assert caplog.messages == ["heard"]
    assert warnings.filters == filters


def test_what_does_not_fit_into_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY)

    def large(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", large)
    with pytest.raises(MemoryError, match=r"a\.tif does not fit into memory \(MemoryError\)\. .* in tiles"):
        read_image(tmp_path / "a.tif")


def test_what_is_locked_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY)

    def locked(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tifffile, "TiffFile", locked)
    with pytest.raises(PermissionError, match=r"a\.tif cannot be read: permission denied. Have it opened for you"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("name", "library", "way"),
    [("v.nii.gz", "nibabel", "get_fdata"), ("v.nii", "nibabel", "--spacing"), ("p.h5", "h5py", "let ilastik export")],
)
def test_types_of_optional_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str, way: str
) -> None:
    (tmp_path / name).write_bytes(bytes(100))
    monkeypatch.setattr("gpulaf.io.failures.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=f"is not read without {library}. Install it: python") as caught:
        read_image(tmp_path / name)
    assert way in str(caught.value)


def test_nifti(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    volume = np.stack([GREY] * 3)
    affine = np.diag([0.5, 0.75, 2.0, 1.0])
    affine[:3, 3] = [10, 20, 30]
    image = nibabel.Nifti1Image(volume.T, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "v.nii.gz")
    record = read_record(tmp_path / "v.nii.gz", volume=True)
    assert np.array_equal(record.pixels, volume)
    assert record.place.scale == (2.0, 0.75, 0.5)
    assert record.place.translation == (30, 20, 10)
    assert record.place.unit == "millimeter"


def test_hdf5_of_ilastik(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    soft = np.random.default_rng(0).random((24, 30, 3)).astype(np.float32)
    with h5py.File(tmp_path / "p.h5", "w") as file:
        data = file.create_dataset("exported_data", data=np.moveaxis(soft, -1, 0))
        data.attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in "cyx"]})
    assert np.array_equal(read_soft(tmp_path / "p.h5").pixels, soft)
    with h5py.File(tmp_path / "p.h5", "a") as file:
        file["more"] = soft
    with pytest.raises(ValueError, match="holds 2 arrays: exported_data, more"):
        read_soft(tmp_path / "p.h5")
