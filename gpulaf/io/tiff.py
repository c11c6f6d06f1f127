"""TIFF files: what their tags, OME-XML and ImageJ's description say, and the parts of them that are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np

from .axes import Ask, layout_of
from .failures import Unreadable, reading
from .place import ome_image, tiff_place
from .stored import Contents, Stored, stamp
from .tiff_tags import check_tags

__all__ = ["TIFFS", "TIFF_READ", "tiff_contents", "tiff_stored"]

#: What is written, and what is read.
TIFFS = {".tif", ".tiff"}
TIFF_READ = TIFFS | {".btf", ".tf8", ".lsm", ".svs", ".ndpi", ".qptiff", ".flex"}
WHITE_IS_ZERO, PALETTE, INKS = 0, 3, 5
PHOTOMETRIC = 262


class Opened(NamedTuple):
    """An image in an open TIFF file."""

    file: Any
    series: Any
    #: Of the image in the file.
    number: int
    notes: tuple[str, ...]

    @property
    def level(self) -> Any:
        """Its full resolution."""
        return self.series.levels[0]


def tiff_contents(path: Path, ask: Ask) -> Contents:
    """Contents of a TIFF file, without its pixels."""
    with reading(path), _opened(path, ask) as opened:
        file, level, index, notes = opened.file, opened.level, opened.number, opened.notes
        page = level.keyframe
        check_tags(path, page)
        place = tiff_place(file, page, index)
        axes, turned, flips = _oriented(level.axes, page, bool(place.tags))
        layout, assumed = layout_of(axes, level.shape, path, ask, place.scale)
        notes += assumed
        samples = level.axes.find("S")
        alpha = _alpha(page) if samples >= 0 and layout.axes[samples] == "c" else None
        channels = layout.channels if alpha is None or layout.channels is None else layout.channels - 1
        layout = layout._replace(alpha=alpha, channels=None if channels == 1 and alpha is not None else channels)
        if flips or turned:
            layout = layout._replace(flips=flips)
        dtype = np.dtype(level.dtype).newbyteorder("=")
        if page.photometric == PALETTE and page.colormap is not None:
            if file.is_imagej:
                notes += (f"{path} has a color table of ImageJ (LUT), which is not used: its values are.",)
            elif not ask.indices and layout.channels is None:
                layout, dtype = layout._replace(palette=True, channels=3), np.dtype(np.uint8)
        if page.photometric == WHITE_IS_ZERO and PHOTOMETRIC in page.tags and dtype.kind in "ub":
            layout = layout._replace(white=2**page.bitspersample - 1)
        if page.photometric == INKS:
            notes += (f"{path} holds inks (CMYK), which are taken as channels. Convert it to RGB for colors.",)
        missing = _missing(path, level, axes, layout.axes)
        if missing is not None:
            told = int(missing[0].sum())
            notes += (f"{path} lacks {told} of its {missing[0].size} tiles: their pixels hold no data.",)
        sides = dict(zip("YX", _sides(page), strict=True))
        if level.dataoffset is not None and level[0] is not None and not page.is_tiled:
            sides = {"Y": 1, "X": page.imagewidth}
        chunks = tuple(sides.get(axis, 1) for axis in level.axes)
        gaps = alpha is not None or missing is not None or _mask(file, page) is not None
        return Contents(
            path, stamp(path), level.shape, chunks, dtype, layout, place, notes, _bits(file, page, index), gaps
        )


def tiff_stored(path: Path, ask: Ask, contents: Contents, *, lazy: bool) -> Stored:
    """The array of a TIFF file; where `lazy`, parts of it are read when they are needed."""
    with reading(path):
        if not lazy:
            with _opened(path, ask) as opened:
                return _stored(path, opened, contents, opened.series.asarray(level=0))
        opened = _open(path, ask)
        if opened.level.dataoffset is not None:  # one stretch of plain values
            dtype = np.dtype(opened.level.dtype).newbyteorder(opened.file.byteorder)
            with opened.file:
                array = np.memmap(path, dtype, "r", opened.level.dataoffset, opened.level.shape)
                return _stored(path, opened, contents, array)
        import zarr

        array = zarr.open_array(opened.series.aszarr(level=0), mode="r")
        finalize(array, opened.file.close)
        return _stored(path, opened, contents, array)


def _stored(path: Path, opened: Opened, contents: Contents, array: Any) -> Stored:
    page = opened.level.keyframe
    table = None
    if contents.layout.palette:
        table = (np.asarray(page.colormap) >> 8).astype(np.uint8).T
    mask = _mask(opened.file, page)
    axes = _oriented(opened.level.axes, page, bool(contents.place.tags))[0]
    missing = _missing(path, opened.level, axes, contents.layout.axes)
    return Stored(array, table, missing, None if mask is None else mask.asarray())


@contextmanager
def _opened(path: Path, ask: Ask) -> Iterator[Opened]:
    opened = _open(path, ask)
    with opened.file:
        yield opened


def _open(path: Path, ask: Ask) -> Opened:
    """Open a TIFF file with its companion, and choose the image in it."""
    import tifffile

    _check_head(path)
    notes: tuple[str, ...] = ()
    file = tifffile.TiffFile(path)
    try:
        if (companion := _companion(file)) is not None:
            beside = path.parent / companion
            if beside.is_file():
                file.close()
                file = tifffile.TiffFile(path, omexml=beside.read_text(encoding="utf-8"))
            else:
                notes = (
                    f"{path} belongs to an OME-TIFF that {companion} describes, which is not beside it: it is read as "
                    "a file of its own.",
                )
        index, told = _chosen(path, file, ask)
        return Opened(file, file.series[index], index, notes + told)
    except BaseException:
        file.close()
        raise


def _check_head(path: Path) -> None:
    """Raise Unreadable for a file that is no TIFF."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head[:2] not in (b"II", b"MM") or len(head) < 8:
        raise Unreadable(
            f"{path} cannot be read: {'it is empty' if not head else f'not a TIFF file, it begins with {head!r}'}. "
            "Check that the file is whole and of the type that its name says."
        )


def _companion(file: Any) -> str | None:
    """Name of the file that holds the OME-XML of this one, where it says so."""
    from xml.etree import ElementTree

    if not file.is_ome or "BinaryOnly" not in (file.ome_metadata or ""):
        return None
    try:
        root = ElementTree.fromstring(file.ome_metadata)
    except ElementTree.ParseError:
        return None
    return next((x.attrib.get("MetadataFile") for x in root if x.tag.rpartition("}")[2] == "BinaryOnly"), None)


def _chosen(path: Path, file: Any, ask: Ask) -> tuple[int, tuple[str, ...]]:
    """Number of the image to be read, and a line about the others."""
    images = [
        k for k, series in enumerate(file.series) if not (series.keyframe.is_mask or series.keyframe.is_reduced)
    ] or list(range(len(file.series)))
    if not images:
        raise Unreadable(f"{path} cannot be read: it holds no image. Check that the file is whole and a TIFF.")
    if ask.series is not None:
        if ask.series not in range(len(file.series)):
            raise Unreadable(f"the image is {ask.series}; accepted for {path} are 0 to {len(file.series) - 1}.")
        return ask.series, ()
    own = [k for k in images if _is_in(file, file.series[k])]
    index = (own or images)[0]
    if len(own or images) == 1:
        return index, ()
    shape = "×".join(map(str, file.series[index].shape))
    return index, (
        f"{path} holds {len(own or images)} images; number {index}, {shape}, is read. Choose another with --series.",
    )


def _is_in(file: Any, series: Any) -> bool:
    """Whether a page of an image is in this file, and not in another one of its OME-TIFF."""
    return any(page is not None and page.parent.filename == file.filename for page in series)


def _oriented(axes: str, page: Any, placed: bool) -> tuple[str, bool, str]:
    """Letters with y and x as they are looked at, whether they changed places, and the axes that run backwards."""
    tag = page.tags.get(274)
    orientation = int(tag.value) if tag is not None and not placed else 1  # GeoTIFF places rows as they are stored
    turned = orientation in (5, 6, 7, 8)
    if turned:
        axes = axes.translate(str.maketrans("YX", "XY"))
    return axes, turned, {2: "x", 3: "yx", 4: "y", 6: "x", 7: "yx", 8: "y"}.get(orientation, "")


def _alpha(page: Any) -> int | None:
    """Which of the samples is alpha, as ExtraSamples say."""
    extra = tuple(int(kind) for kind in page.extrasamples)
    first = page.samplesperpixel - len(extra)
    return next((first + k for k, kind in enumerate(extra) if kind in (1, 2)), None) if first > 0 else None


def _bits(file: Any, page: Any, index: int) -> int | None:
    """Bits of a value in use, where that is said."""
    pixels = ome_image(file.ome_metadata, index) if file.is_ome else None
    told = "" if pixels is None else pixels.attrib.get("SignificantBits", "")
    bits = int(told) if told.isdigit() else page.bitspersample
    return bits if isinstance(bits, int) and 1 < bits < 8 * np.dtype(page.dtype).itemsize else None


def _mask(file: Any, page: Any) -> Any:
    """The page that is a mask of this one."""
    for series in file.series:
        other = series.keyframe
        if other.is_mask and (other.imagelength, other.imagewidth) == (page.imagelength, page.imagewidth):
            return other
    return None


def _sides(page: Any) -> tuple[int, int]:
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip or page.imagelength, page.imagelength), page.imagewidth


def _missing(path: Path, level: Any, axes: str, letters: str) -> tuple[np.ndarray, tuple[int, int]] | None:
    """The tiles that the file leaves out, with offset and length 0; Unreadable where others are not in the file.

    Parameters
    ----------
    axes : str
        Of the level, with y and x as they are looked at.
    letters : str
        Those of the layout.
    """
    plain = level.dataoffset is not None and level.dataoffset > 0
    pages = [level[0]] if plain else [level[k] for k in range(len(level))]
    found: dict[int, np.ndarray] = {}
    for number, page in enumerate(pages):
        if page is None:
            raise Unreadable(
                f"{path} cannot be read: it is incomplete: page {number} of {len(pages)} is missing. Restore it; of an "
                "OME-TIFF of several files, those beside this one."
            )
        offsets, counts = (np.array(x, np.int64) for x in (page.dataoffsets, page.databytecounts))
        expected = prod(page.keyframe.chunked)
        if plain:
            offsets, counts = np.array([level.dataoffset]), np.array([prod(level.shape) * level.dtype.itemsize])
            expected = 1
        sparse = (offsets == 0) & (counts == 0)
        outside = (offsets <= 0) | (counts <= 0) | (offsets + counts > page.parent.filehandle.size)
        bad = np.flatnonzero(~sparse & outside)
        if len(bad) or len(offsets) < expected:
            first = int(bad[0]) if len(bad) else len(offsets)
            raise Unreadable(
                f"{path} cannot be read: it is incomplete: segment {first} of page {number} is not in the file, and "
                f"{max(1, len(bad))} of {len(offsets)} are missing. Check that the file is whole; restore it."
            )
        if sparse.any():
            found[number] = sparse[:expected]
    if not found:
        return None
    key, turned = level.keyframe, axes != level.axes
    within = key.axes.translate(str.maketrans("YX", "XY")) if turned else key.axes
    before = level.shape[: len(level.shape) - len(key.axes)]
    depth = letters.find("z")
    planes = level.shape[depth] if 0 <= depth < len(before) else 1
    order = [within.index(axis) for axis in "YX"]
    grid = np.zeros((planes, *(key.chunked[k] for k in order)), bool)
    for number, sparse in found.items():
        plane = int(np.unravel_index(number, before)[depth]) if planes > 1 else 0
        rest = tuple(k for k in range(len(key.chunked)) if k not in order)
        tiles: Any = sparse.reshape(key.chunked).any(axis=rest)
        grid[plane] |= tiles if order[0] < order[1] else tiles.T
    return grid, _sides(key)[::-1] if turned else _sides(key)
