"""Zarr arrays and OME-Zarr images: axes, place and the image to be read among several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..backend.foreign import LETTERS
from .axes import Ask, check_only, layout_of
from .failures import Unreadable, first_line, reading
from .place import Place, ngff_place
from .stored import Contents, Stored, stamp

__all__ = ["is_zarr", "zarr_contents"]

#: Files that say that a folder is a Zarr array or group.
ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")


def is_zarr(path: Path) -> bool:
    """Whether a path is, or by its name will be, a Zarr array or group."""
    return path.suffix.lower() == ".zarr" or (path.is_dir() and any((path / name).is_file() for name in ZARR_FILES))


def zarr_contents(path: Path, ask: Ask) -> Contents:
    """Contents of a Zarr array, or of the first level of an OME-Zarr image."""
    if find_spec("zarr") is None:
        raise ModuleNotFoundError(f"{path} is not read without zarr: python -m pip install 'gpulaf[large]'.")
    import zarr

    if path.is_file():
        raise Unreadable(f"{path} is a file; Zarr is a folder. Unpack it first, and name the folder.")
    with reading(path):
        node = zarr.open(str(path), mode="r")
    place, axes, notes = Place(), None, tuple[str, ...]()
    if isinstance(node, zarr.Group):
        path, node, axes, place, notes = _image(path, node, ask)
    else:
        check_only(path, ask)
        attributes = dict(node.attrs)
        place = Place.from_json(attributes.get("place"))
        names = getattr(node.metadata, "dimension_names", None) or attributes.get("_ARRAY_DIMENSIONS") or ()
        if len(names) == node.ndim and all(isinstance(name, str) for name in names):
            axes = "".join(LETTERS.get(name.lower(), "?") for name in names)
            if node.ndim == 2 and sorted(axes) != ["x", "y"]:
                axes = "yx"
            axes = axes if {"y", "x"} <= set(axes) else None
        if isinstance(fill := attributes.get("_FillValue"), int | float):
            place = replace(place, nodata=fill)
    if node.dtype.kind not in "buif":
        raise TypeError(f"{path} holds {node.dtype} values; accepted are real numbers. Convert it first.")
    layout, assumed = layout_of(axes, node.shape, path, ask, place.scale)
    about = path / ("zarr.json" if (path / "zarr.json").is_file() else ".zarray")
    dtype = np.dtype(node.dtype).newbyteorder("=")
    return Contents(
        path, stamp(about), node.shape, node.chunks, dtype, layout, place, notes + assumed, stored=Stored(node)
    )


def _image(path: Path, group: Any, ask: Ask) -> tuple[Path, Any, str, Place, tuple[str, ...]]:
    """The array of the full resolution of the image in a group, its axes and place, and what is said of the others."""
    import zarr

    attributes = dict(group.attrs)
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping):
        raise _unfit(path, TypeError(f"ome is a {type(ome).__name__}"))
    scales = ome.get("multiscales")
    if not scales:
        return _inner(path, group, ome, ask)
    try:
        if not isinstance(scales, Sequence) or not isinstance(scales[0], Mapping):
            raise TypeError("multiscales is no list of images")
        dataset = scales[0]["datasets"][0]
        names = [axis["name"] if isinstance(axis, Mapping) else axis for axis in scales[0]["axes"]]
        level, place = dataset["path"], ngff_place(scales[0], dataset, names)
        if not isinstance(level, str):
            raise TypeError(f"the path of a level is {level!r}")
        axes = "".join(LETTERS.get(str(name).lower(), "?") for name in names)
        place = replace(place, colors=_colors(ome.get("image-label")))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise _unfit(path, error) from error
    with reading(path / level):
        array = zarr.open_array(str(path / level), mode="r")
    if len(axes) != array.ndim:
        raise _unfit(path, ValueError(f"{len(axes)} axes for an array of shape {array.shape}"))
    notes: tuple[str, ...] = ()
    if len(scales) > 1:
        notes = (f"{path} holds {len(scales)} images of several resolutions; the first is read.",)
    return path / level, array, axes, place, notes


def _inner(path: Path, group: Any, ome: Mapping[str, Any], ask: Ask) -> tuple[Path, Any, str, Place, tuple[str, ...]]:
    """The image in a group of images, as bioformats2raw writes it; Unreadable where it is not clear which."""
    import zarr

    if "plate" in ome:
        wells = ome["plate"].get("wells", []) if isinstance(ome["plate"], Mapping) else []
        first = next((well.get("path") for well in wells if isinstance(well, Mapping)), "A/1")
        raise Unreadable(
            f"{path} is a plate of {len(wells)} wells and no image. Name an image of one, as {path}/{first}/0."
        )
    groups = {name: child for name, child in sorted(group.groups()) if name != "OME"}
    images = [name for name, child in groups.items() if _holds_image(child)]
    if "bioformats2raw.layout" in ome or "well" in ome or (images and not list(group.arrays())):
        images.sort(key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
        number = ask.series or 0
        if number not in range(len(images)):
            raise Unreadable(f"the image is {ask.series}; accepted for {path} are 0 to {len(images) - 1}.")
        name = images[number]
        inner = _image(path / name, zarr.open_group(str(path / name), mode="r"), ask._replace(series=None))
        told = (f"{path} holds {len(images)} images; {name} is read. Choose another with --series.",)
        return (*inner[:-1], inner[-1] + (told if len(images) > 1 and ask.series is None else ()))
    names = ", ".join(sorted(name for name, _ in group.arrays())) or "none"
    raise Unreadable(
        f"{path} is a group without OME-Zarr metadata. Name one of its arrays, {path}/NAME; it holds: {names}."
    )


def _holds_image(group: Any) -> bool:
    attributes = dict(group.attrs)
    ome = attributes.get("ome", attributes)
    return isinstance(ome, Mapping) and bool(ome.get("multiscales"))


def _unfit(path: Path, error: Exception) -> Unreadable:
    return Unreadable(
        f"{path} has OME-Zarr metadata that cannot be read ({type(error).__name__}: {first_line(error)}); accepted are "
        f"the versions 0.3 to 0.5. Name the array of its full resolution, as {path}/0."
    )


def _colors(label: Any) -> tuple[tuple[int, tuple[int, int, int, int]], ...]:
    """Colors of label values in the metadata of a label image; empty where there are none."""
    rows = label.get("colors", []) if isinstance(label, Mapping) else []
    try:
        found = [(int(row["label-value"]), tuple(map(int, row["rgba"]))) for row in rows if "rgba" in row]
    except (KeyError, TypeError, ValueError, OverflowError):
        return ()
    return tuple((value, rgba) for value, rgba in found if len(rgba) == 4)
