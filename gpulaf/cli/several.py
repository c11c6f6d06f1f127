"""Several images in one command: where their labels go, and prototypes that they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .labeler import Described
from .options import BESIDE, check_files, check_folders, with_bits, with_preview
from .tiled import ASKING, tiled_source

if TYPE_CHECKING:
    from ..backend.validation import Pixels
    from ..labeling.labeler import Labeler
    from ..labeling.table import LabelTable

#: Types of files of labels: a folder of such a name is taken for a mistake.
LABELS = (".png", ".tif", ".tiff", ".npy", ".zarr")
#: Results that each image has one of.
RESULTS = ("output", "probabilities", "uncertainty", "preview")


def label_jobs(options: dict[str, Any], described: Described) -> list[dict[str, Any]]:
    """The options of each image: those of the command with ``image``, and of several with the files of its results.

    Raises
    ------
    ValueError, OSError
        If there is no such image, or the results of several have no folder, or no names of their own.
    """
    from ..io.pairing import expanded
    from ..io.zarrs import is_zarr

    names = options["images"]
    first = Path(names[0])
    folder = first.is_dir() and not is_zarr(first)
    asked = click.get_current_context().meta.get("gpulaf.folder", False)  # the name ends in /
    small = described.classes is None or (min(described.classes) >= 0 and max(described.classes) < 2**16)
    tiles = any(options[name] for name in ASKING)
    if len(names) == 1 and not folder and (first.exists() or not has_magic(names[0])):
        into = asked or (options["output"].is_dir() and options["output"].suffix.lower() not in LABELS)
        output = options["output"] / _name(first, "output", small, tiles) if into else options["output"]
        if into:
            check_folders(output if options["output"].is_dir() else options["output"])
        return [with_preview(options | {"image": first, "output": output})]
    paths = expanded(names)
    folders = {name: options[name] for name in RESULTS if options[name] not in (None, BESIDE)}
    for name, path in folders.items():
        if (path.suffix and not path.is_dir() and not (asked and name == "output")) or path.is_file():
            raise ValueError(
                f"--{name} is {path}, and the images of a folder or a list are labeled; accepted is a folder, in which "
                f"each has a file of its own. Take --{name} {path.with_suffix('')}, or name one image."
            )
        given = [Path(x) for x in names if Path(x).is_dir()]
        if path.is_dir() and any(path.samefile(x) for x in given):
            raise ValueError(f"--{name} is {path}, the folder of the images; accepted is another one for the results.")
        check_folders(path / "labels" if path.is_dir() else path)
    jobs = []
    for path in paths:
        files = {name: folder / _name(path, name, small, tiles) for name, folder in folders.items()}
        jobs.append(with_preview(options | {"image": path} | files))
    written: dict[Path, Path] = {}
    for job in jobs:
        other = written.setdefault(job["output"], job["image"])
        if other != job["image"]:
            raise ValueError(f"the labels of {other} and {job['image']} both go to {job['output']}. Label them apart.")
    check_files(paths, [job[name] for job in jobs for name in RESULTS if job[name] is not None])
    return jobs


def make_folders(jobs: Sequence[dict[str, Any]]) -> None:
    """Make the folders of the results of several images."""
    for path in {job[name].parent for job in jobs for name in RESULTS if job[name] is not None}:
        path.mkdir(exist_ok=True)


def with_shared_prototypes(jobs: Sequence[dict[str, Any]], described: Described) -> Described:
    """The labeling with prototypes that k-means finds once, in the pixels of all images."""
    from ..labeling.prototypes import shared_prototypes

    labeler, names = described.labeler, [str(job["image"]) for job in jobs]
    found = shared_prototypes((_sampled(job, labeler) for job in jobs), names, labeler.prototypes)
    return described._replace(labeler=replace(labeler, prototypes=found))


def opened(job: dict[str, Any], labeler: Labeler) -> Any:
    """The source of an image that is labeled in tiles, None of others; found out once."""
    if "source" not in job:
        job["source"] = tiled_source(job, labeler)
    return job["source"]


@contextmanager
def about(path: Path, several: bool) -> Iterator[None]:
    """Errors begin with the image of several that they are about."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if not several or str(path) in str(error):
            raise
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{path}: {error}") from error


def joined(tables: Sequence[LabelTable]) -> LabelTable:
    """The labels of all images, with the pixels of all of them."""
    return replace(tables[0], pixels=np.sum([table.pixels for table in tables], axis=0))


def _sampled(job: dict[str, Any], labeler: Labeler) -> Pixels:
    """Pixels of an image for k-means: all of one in memory, those of windows of others."""
    from ..backend.validation import image_features
    from ..io.images import read_record

    with about(job["image"], True):
        source = opened(job, labeler)
        if source is not None:
            from ..tiling.prototypes import sample_pixels

            return sample_pixels(source, with_bits(labeler, source.bits, told=False).range)
        space = 2 + job["volume"]
        said = {name: job[name] for name in ("axes", "channel_axis", "series")}
        record = read_record(job["image"], volume=space == 3, **said)
        axis = None if record.pixels.ndim == space else space
        bounds = with_bits(labeler, record.bits, told=False).range
        return image_features(record.pixels, axis, mask=record.valid, range=bounds)


def _name(image: Path, result: str, small: bool, tiles: bool) -> str:
    """The name of a result of an image, of a type like that of the image, and that tiles can be written to."""
    from ..io.contents import stem
    from ..io.pictures import PICTURES
    from ..io.zarrs import is_zarr

    suffix, name = image.suffix.lower(), stem(image)
    if is_zarr(image):
        base = image.name.removesuffix(".zarr").removesuffix(".ome")
        return base + (".ome.zarr" if result == "output" and image.name.endswith(".ome.zarr") else ".zarr")
    if result == "preview":
        return f"{name}.png"
    if tiles:
        return f"{name}.{'tif' if result == 'output' else 'zarr'}"
    if suffix in (".npy", ".npz"):
        return f"{name}.npy"
    return f"{name}.png" if suffix in PICTURES and small and result == "output" else f"{name}.tif"
