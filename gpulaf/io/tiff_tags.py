"""Tags that say how the pixels of a TIFF page are stored: all are there, or the page is damaged."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from .failures import Unreadable

__all__ = ["check_tags"]

#: Tags of one whole number: width, length, compression, photometric interpretation, orientation, samples per pixel,
#: rows per strip, planar configuration, predictor, width and length of tiles.
NUMBERS = (256, 257, 259, 262, 274, 277, 278, 284, 317, 322, 323)
#: Those that tell the place and type of the values: bits, offsets, lengths, extra samples, sample format; color map.
LISTS = (258, 273, 279, 320, 324, 325, 338, 339)
JPEG = (6, 7)
NEEDED = {256: "its width", 257: "its length"}


def check_tags(path: Path, page: Any) -> None:
    """Raise Unreadable where a tag is damaged that says how the pixels are stored.

    A library that reads TIFF leaves such a tag out and takes the default in its place: one bit in place of eight.
    """
    for code in _stored_codes(page):
        if code in NUMBERS + LISTS and code not in page.tags:
            raise _damaged(path, f"tag {code} has no type or place that there is")
    for code in NUMBERS:
        tag = page.tags.get(code)
        if tag is not None and not (isinstance(tag.value, int) and tag.value >= 0):
            raise _damaged(path, f"tag {code}, {tag.name}, is {tag.value!r:.40}; accepted is one whole number")
    if page.planarconfig not in (1, 2):
        raise _damaged(path, f"tag 284, PlanarConfiguration, is {page.planarconfig}; accepted are 1 and 2")
    for code, what in NEEDED.items():
        if code not in page.tags:
            raise _damaged(path, f"{what} is missing, tag {code}")
    samples = page.samplesperpixel
    for code in (258, 339):
        tag = page.tags.get(code)
        if tag is not None and tag.count not in (1, samples) and not page.parent.is_lsm:
            raise _damaged(path, f"tag {code}, {tag.name}, holds {tag.count} values for {samples} samples of a pixel")
    color = samples > 1 or page.photometric not in (0, 1)
    if 258 not in page.tags and (color or not _fits(page)):
        raise _damaged(path, "the bits of its values are missing, tag 258")
    if 259 not in page.tags and not _fits(page):
        raise _damaged(path, "it does not say how it is compressed, tag 259")
    if 262 not in page.tags and page.compression in JPEG:
        raise _damaged(path, "it does not say what its values stand for, tag 262")
    if len(page.extrasamples) >= samples:
        raise _damaged(path, f"{len(page.extrasamples)} of {samples} samples of a pixel are extra ones")
    if page.dtype is None:
        raise Unreadable(
            f"{path} cannot be read: its values have {page.bitspersample} bits of the format {page.sampleformat!s}; "
            "accepted are 1 to 64 bits, whole or floating. Save it with 8, 16 or 32 bits."
        )


def _stored_codes(page: Any) -> list[int]:
    """Codes of the tags in the directory of a page, read or not."""
    tiff = page.parent.tiff
    with open(page.parent.filehandle.path, "rb") as file:  # another one than that which was opened, of an OME-TIFF
        file.seek(page.offset)
        (count,) = struct.unpack(tiff.tagnoformat, file.read(tiff.tagnosize))
        data = file.read(count * tiff.tagsize)
    return [struct.unpack_from(tiff.byteorder + "H", data, k * tiff.tagsize)[0] for k in range(count)]


def _fits(page: Any) -> bool:
    """Whether the stored bytes are as many as those of all pixels."""
    rows = -(-page.imagewidth * page.bitspersample * (page.samplesperpixel if page.planarconfig == 1 else 1) // 8)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    return page.is_tiled or sum(page.databytecounts) == rows * page.imagelength * planes


def _damaged(path: Path, what: str) -> Unreadable:
    return Unreadable(f"{path} cannot be read: {what}. Check that the file is whole; restore it.")
