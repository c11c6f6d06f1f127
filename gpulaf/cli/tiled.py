"""gpulaf label, on images that are labeled in tiles: from file to file, with restart, on any number of processes."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import click

from .labeler import Described
from .options import compile_notice, tell_nodata, tell_notes, with_bits

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..labeling.labeler import Labeler
    from ..labeling.table import LabelTable
    from ..tiling.jobs import TiledLabeling
    from ..tiling.source import Source

#: Options that ask for tiles.
ASKING = ("tile", "memory", "workers", "scheduler", "restart")
#: Pixels of a TIFF from which on it is labeled in tiles, as that takes less memory: whatever is free, the same file.
LARGE = 2**24
UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


class Bytes(click.ParamType):
    """A number of bytes like 4GB, 500M or 2GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        """Bytes."""
        found = re.fullmatch(r"([0-9]*\.?[0-9]+) *([KMGT]?I?)B?", str(value).strip().upper())
        if found is None or found[2] not in UNITS or not float(found[1]):
            self.fail(f"{value!r} is no size; accepted are numbers like 4GB, 500MB or 2GiB.", param, context)
        return int(min(float(found[1]) * UNITS[found[2]], 2.0**63))


def tiling_options(command: Any) -> Any:
    """Add the options of images that are labeled in tiles."""
    for name, type_, text in (
        ("--restart", None, "Throw away what an earlier run began, in place of going on with it."),
        ("--scheduler", str, "Address of a running Dask scheduler, whose workers see the same files."),
        ("--workers", click.IntRange(1), "Processes that label tiles. [default: 1, on all cores]"),
        ("--memory", Bytes(), "Memory for all processes together, like 4GB. [default: what is free]"),
        (
            "--tile",
            click.IntRange(16),
            "Label in tiles of this side, a multiple of 16. [default: up to 2048 pixels, as memory allows]",
        ),
    ):
        kind: dict[str, Any] = {"is_flag": True} if type_ is None else {"type": type_}
        command = click.option(name, help=text, **kind)(command)
    return command


def tiled_source(options: dict[str, Any], labeler: Labeler) -> Source | None:
    """The opened image where it is labeled in tiles: that is asked for, or it is large, or does not fit into memory.

    Raises
    ------
    ValueError
        If tiles cannot give what the options ask for.
    """
    from ..backend.memory import USABLE, free_bytes, memory_estimate
    from ..io.tiff import TIFFS
    from ..io.zarrs import is_zarr
    from ..tiling.source import open_source

    image, names = options["image"], ("channel_axis", "axes", "series")
    said: dict[str, Any] = {name: options.get(name) for name in names} | {"volume": bool(options.get("volume"))}
    if is_zarr(image) or options["output"].suffix.lower() == ".zarr" or any(options[name] for name in ASKING):
        _check_tiles(options, labeler)
        return open_source(image, **said)
    if image.suffix.lower() not in TIFFS or not image.is_file():
        return None
    try:
        source = open_source(image, **said)
    except (ValueError, TypeError, ImportError):
        return None  # what is wrong with it is said where it is read
    labels = labeler.prototypes if isinstance(labeler.prototypes, int) else len(labeler.prototypes)
    number = "float64" if source.dtype == "float64" else "float32"
    about = labeler.memory_options | {"channels": source.layout.channels or 1, "masked": source.gaps}
    needed = memory_estimate(source.pixels, labels, dtype=number, **about)
    free = free_bytes()
    if free is None or needed <= USABLE * free:
        return source if prod(source.pixels) > LARGE and _may_be_tiled(options, labeler) else None
    click.echo(f"{image} takes about {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free: tile by tile.", err=True)
    _check_tiles(options, labeler)
    return source


def refined_in_tiles(options: dict[str, Any], labeler: Labeler) -> bool:
    """Whether predictions are refined in tiles: that is asked for, or a .zarr is read or written."""
    from ..io.zarrs import is_zarr

    zarr = options["output"].suffix.lower() == ".zarr" or is_zarr(options["soft"])
    asked = zarr or any(options[name] for name in ASKING)
    if asked:
        _check_tiles(options, labeler)
    return asked


def refine_tiled(options: dict[str, Any], described: Described, notes: Callable[[Any, Any], list[str]]) -> LabelTable:
    """Refine predictions in tiles, and tell what was done; `notes` are those about the spacing of a file."""
    from ..tiling.refine_file import refine_file
    from ..tiling.source import open_source

    volume = options["volume"]
    source = open_source(
        options["soft"], channel_axis=options["label_axis"], axes=options["axes"], volume=volume, soft=True
    )
    image = None if options["image"] is None else open_source(options["image"], volume=volume)
    tell_notes([*source.notes, *notes(options["soft"], source)])
    with compile_notice():
        done = refine_file(
            source, options["output"], described.labeler, image=image, logits=options["logits"],
            **_given(options, described),
        )  # fmt: skip
    return _told(options, done, described)


def label_tiled(
    options: dict[str, Any], source: Source, described: Described, notes: Callable[[Any, Any], list[str]]
) -> LabelTable:
    """Label an opened image in tiles, and tell what was done; `notes` are those about the spacing of a file."""
    from ..tiling import label_file

    tell_notes([*source.notes, *notes(options["image"], source)])
    labeler = with_bits(described.labeler, source.bits)
    with compile_notice():
        done = label_file(source, options["output"], labeler, **_given(options, described))
    return _told(options, done, described)


def _given(options: dict[str, Any], described: Described) -> dict[str, Any]:
    """What both kinds of labeling in tiles are told."""
    from ..tiling import Tiling

    tiling = Tiling(
        options["tile"], options["memory"], options["workers"] or 1, options["scheduler"],
        device=options["device"], restart=options["restart"],
    )  # fmt: skip
    names = ("probabilities", "nodata", "spacing")
    about = {"values": described.classes, "tiling": tiling, "say": lambda text: click.echo(text, err=True)}
    return about | {name: options[name] for name in names}


def _told(options: dict[str, Any], done: TiledLabeling, described: Described) -> LabelTable:
    """Tell what was done."""
    if done.nodata is not None:
        tell_nodata(options["output"], done.nodata)
    size = "×".join(map(str, done.shape))
    click.echo(f"{size} pixels, {done.labels} labels, {done.tiles} tiles: {options['output']}")
    return replace(done.table, names=described.names)


def _may_be_tiled(options: dict[str, Any], labeler: Labeler) -> bool:
    """Whether tiles can follow all options."""
    from ..tiling.outputs import Targets, check_targets

    try:
        _check_tiles(options, labeler)
        check_targets(Targets(options["output"].absolute(), options["probabilities"]))
    except (ValueError, OSError):
        return False
    return True


def _check_tiles(options: dict[str, Any], labeler: Labeler) -> None:
    """Raise ValueError for options that tiles cannot follow."""
    from ..averaging.sources import WeightSource

    if options["preview"] is not None:
        raise ValueError("--preview needs the image in memory, not in tiles. Leave it out.")
    if options.get("uncertainty") is not None:
        raise ValueError("--uncertainty needs the image in memory, not in tiles. Leave it out, or label a part.")
    if options["flow"] == "nonlinear":
        raise ValueError(
            "--flow nonlinear chooses its steps by the whole image, which tiles do not see. Take the linear flow, or "
            "leave the options of tiles out."
        )
    if not (labeler.weights is None or isinstance(labeler.weights, WeightSource)):
        raise ValueError(
            f"--weights is {options['weights']!r}; accepted for images that are labeled in tiles are uniform and "
            "bilateral. For learned weights, train a --model."
        )
