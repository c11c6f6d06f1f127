"""Pictures of Pillow and imagecodecs: PNG, JPEG, BMP, GIF, WebP, JPEG 2000."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .axes import Ask, check_only, layout_of
from .failures import Unreadable, reading
from .place import Place
from .stored import Contents, Stored, stamp

__all__ = ["PICTURES", "picture"]

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".jp2", ".j2k"}
FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF", "WEBP")


def picture(path: Path, ask: Ask) -> Contents:
    """Contents of a picture, which is read whole."""
    if ask.volume:
        raise Unreadable(
            f"{path} is a picture; accepted as a volume are TIFF, Zarr and .npy. For one image give two spacings."
        )
    with reading(path):
        if path.suffix.lower() in (".jp2", ".j2k"):
            check_only(path, ask)
            array, place, notes, alpha = *_jpeg_2000(path), None
        else:
            array, place, notes, alpha = _pillow(path, ask)
    layout, assumed = layout_of("YXS"[: array.ndim], array.shape, path, ask)
    if alpha is not None and layout.axes == "yxc":
        channels = array.shape[-1] - 1
        layout = layout._replace(channels=None if channels == 1 else channels, alpha=alpha)
    return Contents(
        path, (*stamp(path), ask.series, ask.indices), array.shape, array.shape, array.dtype, layout, place,
        notes + assumed,
        gaps=layout.alpha is not None, stored=Stored(array),
    )  # fmt: skip


def _pillow(path: Path, ask: Ask) -> tuple[np.ndarray, Place, tuple[str, ...], int | None]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    notes: tuple[str, ...] = ()
    Image.init()
    try:
        image = Image.open(path, formats=[kind for kind in FORMATS if kind in Image.OPEN])
    except UnidentifiedImageError:
        raise _unknown(path) from None
    with image:
        frames = getattr(image, "n_frames", 1)
        number = ask.series or 0
        if number not in range(frames):
            raise Unreadable(f"the image is {ask.series}; accepted for {path} are 0 to {frames - 1}.")
        if frames > 1 and image.format != "MPO":
            if ask.series is None:
                notes = (f"{path} holds {frames} images; the first is read. Choose another with --series.",)
            image.seek(number)
        place = _place(image)
        if image.mode == "CMYK":
            raise Unreadable(f"{path} cannot be read: its colors are inks (CMYK). Convert it to RGB first.")
        if image.format == "PNG" and frames == 1 and (deep := _deep_png(path)) is not None:
            return deep, place, notes, {2: 1, 4: 3}.get(deep.shape[-1])
        image.load()
        turned = ImageOps.exif_transpose(image)
        if turned.mode in ("P", "PA") and ask.indices and frames == 1:
            return np.array(turned.getchannel("P") if turned.mode == "PA" else turned), place, notes, None
        if turned.mode in ("P", "PA") or "transparency" in turned.info:
            grey = turned.mode in ("1", "L")
            clear = "transparency" in turned.info or turned.mode == "PA"
            turned = turned.convert(("LA" if grey else "RGBA") if clear else "RGB")
        elif turned.mode not in ("1", "L", "LA", "RGB", "RGBA", "I", "F") and not turned.mode.startswith("I;16"):
            turned = turned.convert("RGBA" if "A" in turned.mode or "a" in turned.mode else "RGB")
        array = np.array(turned)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == np.int32 and array.size and array.min() >= 0 and array.max() < 65536:
        array = array.astype(np.uint16)  # how Pillow gives grey values of 16 bits in some files
    return array, place, notes, {"LA": 1, "RGBA": 3}.get(turned.mode)


def _deep_png(path: Path) -> np.ndarray | None:
    """A color PNG of 16 bits, which Pillow would read with 8; None for every other."""
    with open(path, "rb") as file:
        head = file.read(29)
    if len(head) < 29 or head[12:16] != b"IHDR" or head[24] != 16 or head[25] not in (2, 4, 6):
        return None
    from imagecodecs import png_decode

    return np.asarray(png_decode(path.read_bytes()))


def _jpeg_2000(path: Path) -> tuple[np.ndarray, Place, tuple[str, ...]]:
    data = path.read_bytes()
    if not (data[:4] == b"\xff\x4f\xff\x51" or data[4:8] == b"jP  "):
        raise _unknown(path)
    from imagecodecs import jpeg2k_decode

    note = f"{path}: the place on the ground that a JPEG 2000 may hold is not read. Convert it to GeoTIFF to keep it."
    return np.asarray(jpeg2k_decode(data)), Place(), (note,) if b"gml" in data[:65536] else ()


def _unknown(path: Path) -> Unreadable:
    with open(path, "rb") as file:
        head = file.read(12)
    what = "it is empty" if not head else f"it is no picture that is known, it begins with {head!r}"
    return Unreadable(
        f"{path} cannot be read: {what}. Check that the file is whole and of the type that its name says."
    )


def _place(image: Any) -> Place:
    """The resolution of a picture, in pixels per inch."""
    dpi = image.info.get("dpi")
    try:
        x, y = (float(value) for value in dpi)
    except (TypeError, ValueError):
        return Place()
    return Place(resolution=(x, y, 2)) if x > 1 and y > 1 else Place()
