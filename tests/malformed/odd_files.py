"""Files of every type that is read, what another library reads in them, and ways to damage them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HEIGHT, WIDTH = 12, 16


def grey() -> np.ndarray:
    """Bright stripes on a dark ground, with noise, uint8."""
    rng = np.random.default_rng(5)
    bright = np.add.outer(np.arange(HEIGHT) // 3, np.arange(WIDTH) // 5) % 2
    return (60 + 120 * bright + 12 * rng.standard_normal((HEIGHT, WIDTH))).clip(0, 255).astype(np.uint8)


def color() -> np.ndarray:
    """The same in three channels."""
    x = grey()
    return np.stack([x, 255 - x, x // 2], axis=-1)


class Format(NamedTuple):
    """A type of file."""

    #: Ending of its name.
    suffix: str
    #: Writes the image.
    write: Callable[[Path], Any]
    #: What another library, or this file itself, reads in it: (H, W) or (H, W, C).
    other: Callable[[Path], np.ndarray]


def _codec(name: str) -> Callable[[Path], np.ndarray]:
    def decode(path: Path) -> np.ndarray:
        import imagecodecs

        return np.asarray(getattr(imagecodecs, f"{name}_decode")(path.read_bytes())).squeeze()

    return decode


def _pillow(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image)


def _gdal(path: Path) -> np.ndarray:
    import warnings

    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as file:
            bands = file.read()
    return bands[0] if len(bands) == 1 else np.moveaxis(bands, 0, -1)


def _npy(path: Path) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(path.read_bytes()))


def _intact(path: Path) -> np.ndarray:
    raise ValueError("no other library reads it")


def _picture(kind: str, array: Callable[[], np.ndarray] = grey, **options: Any) -> Callable[[Path], Any]:
    def write(path: Path) -> None:
        from PIL import Image

        Image.fromarray(array()).save(path, kind, **options)

    return write


def _palette(path: Path) -> None:
    from PIL import Image

    Image.fromarray(grey()).convert("P").save(path)


def _codec_writes(name: str, array: Callable[[], np.ndarray] = grey, **options: Any) -> Callable[[Path], Any]:
    def write(path: Path) -> None:
        import imagecodecs

        path.write_bytes(getattr(imagecodecs, f"{name}_encode")(array(), **options))

    return write


def _tiff(array: Callable[[], np.ndarray] = grey, **options: Any) -> Callable[[Path], Any]:
    def write(path: Path) -> None:
        import tifffile

        tifffile.imwrite(path, array(), **options)

    return write


def _nifti(path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(grey().T, np.eye(4)), path)


def _hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["image"] = grey()


#: Types of single files.
FORMATS = {
    "png": Format(".png", _picture("PNG"), _codec("png")),
    "png-color": Format(".png", _picture("PNG", color), _codec("png")),
    "png-16": Format(".png", _codec_writes("png", lambda: color().astype(np.uint16) * 257), _codec("png")),
    "png-palette": Format(".png", _palette, _codec("png")),
    "jpg": Format(".jpg", _picture("JPEG"), _codec("jpeg8")),
    "bmp": Format(".bmp", _picture("BMP"), _codec("bmp")),
    "gif": Format(".gif", _picture("GIF"), _codec("gif")),
    "webp": Format(".webp", _picture("WEBP", color, lossless=True), _codec("webp")),
    "jp2": Format(".jp2", _codec_writes("jpeg2k"), _pillow),
    "tif": Format(".tif", _tiff(), _gdal),
    "tif-deflate": Format(".tif", _tiff(color, compression="zlib", rowsperstrip=5), _gdal),
    "tif-lzw": Format(".tif", _tiff(compression="lzw", predictor=True), _gdal),
    "tif-tiles": Format(".tif", _tiff(tile=(16, 16), compression="packbits"), _gdal),
    "tif-zstd": Format(".tif", _tiff(compression="zstd"), _gdal),
    "tif-jpeg": Format(".tif", _tiff(color, compression="jpeg"), _pillow),
    "tif-planar": Format(".tif", _tiff(lambda: color().transpose(2, 0, 1).copy(), planarconfig="separate",
                                       photometric="rgb"), _gdal),
    "tif-big": Format(".tif", _tiff(bigtiff=True, byteorder=">"), _gdal),
    "tif-imagej": Format(".tif", _tiff(imagej=True, metadata={"spacing": 2.0, "unit": "um"}), _gdal),
    "ome": Format(".ome.tif", _tiff(ome=True, metadata={"axes": "YX", "PhysicalSizeX": 0.5}), _gdal),
    "npy": Format(".npy", lambda path: np.save(path, grey()), _npy),
    "npy-fortran": Format(".npy", lambda path: np.save(path, np.asfortranarray(grey() / 255)), _npy),
    "npz": Format(".npz", lambda path: np.savez_compressed(path, image=grey()), _intact),
    "nii": Format(".nii", _nifti, _intact),
    "nii-gz": Format(".nii.gz", _nifti, _intact),
    "h5": Format(".h5", _hdf5, _intact),
}  # fmt: skip


def damages(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Damaged contents of a file, by what was done to it."""
    size = len(data)
    for where in (0, 1, 4, 8, 20):
        if where < size:
            yield f"cut at {where}", data[:where]
    shares = {"a quarter": size // 4, "half": size // 2, "nine tenths": size * 9 // 10, "all but a byte": size - 1}
    for what, where in shares.items():
        if where > 20:
            yield f"cut at {what}", data[:where]
    for at in range(0, min(64, size), 7):
        yield f"byte {at} turned", flipped(data, at)
    yield "zeros", bytes(size)
    yield "text", b"it is no image, it is text.\n" * 9
    yield "more at the end", data + b"\0\1" * 40
    yield "a hole in the middle", data[: size // 2] + bytes(16) + data[size // 2 + 16 :]
    if data[:2] in (b"II", b"MM"):
        for entry, at in enumerate(_entries(data)):
            for offset, what in ((0, "code"), (2, "type"), (4, "count"), (8, "value"), (10, "value too large")):
                yield f"{what} of tag {entry} turned", flipped(data, at + offset)


def flipped(data: bytes, at: int) -> bytes:
    """The bytes with all bits of one turned."""
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def _entries(data: bytes) -> list[int]:
    """Offsets of the entries of the first directory of a classic TIFF."""
    order = "<" if data[:2] == b"II" else ">"
    if struct.unpack(order + "H", data[2:4])[0] != 42:
        return []
    (at,) = struct.unpack(order + "I", data[4:8])
    (count,) = struct.unpack(order + "H", data[at : at + 2])
    return [at + 2 + 12 * k for k in range(count)]



def prototypes_of(image: np.ndarray) -> np.ndarray:
    """The mean values of the dark and of the bright stripes in an image of this size, (2, C)."""
    bright = grey() > 120
    return np.stack([np.atleast_1d(image[part].mean(axis=0)) for part in (~bright, bright)])


#: What stands in the place of a value in JSON.
WRONG = {
    "null": None, "true": True, "an empty list": [], "an empty object": {}, "text": "x", "-1": -1, "0.5": 0.5,
    "10^30": 10**30, "Infinity": float("inf"), "NaN": float("nan"), "a row of rows": [[1.5]], "a list of null": [None],
}  # fmt: skip


def changed(document: Any) -> Iterator[tuple[str, Any]]:
    """A JSON document with each of its values left out or replaced by a wrong one, by what was done to it."""
    for path in _paths(document):
        name = ".".join(map(str, path)) or "all"
        if path and isinstance(path[-1], str):
            yield f"{name} left out", _with(document, path)
        for what, value in WRONG.items():
            yield f"{name} is {what}", _with(document, path, value)


def _paths(document: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield here
    inner: Any = document.items() if isinstance(document, dict) else ()
    inner = list(enumerate(document))[:1] if isinstance(document, list) else inner
    for key, value in inner:
        yield from _paths(value, (*here, key))


def _with(document: Any, path: tuple[Any, ...], *value: Any) -> Any:
    if not path:
        return value[0]
    copied: Any = dict(document) if isinstance(document, dict) else list(document)
    if len(path) == 1 and not value:
        del copied[path[0]]
    else:
        copied[path[0]] = _with(document[path[0]], path[1:], *value)
    return copied
