"""gpulaf label and gpulaf refine: apply weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

import click
import numpy as np

from .labeler import Described, described_labeling, is_volume, labeler_options
from .options import (
    NAMES,
    axes_option,
    check_files,
    check_folders,
    check_outputs,
    compile_notice,
    nodata_option,
    output_option,
    preview_option,
    probabilities_option,
    series_option,
    split_preview,
    tell_labels,
    tell_nodata,
    tell_notes,
    with_bits,
    with_preview,
)
from .several import about, joined, label_jobs, make_folders, opened, with_shared_prototypes
from .tiled import label_tiled, refine_tiled, refined_in_tiles, tiling_options
from .uncertainty import check_uncertainty, uncertainty_options, with_uncertainty, write_uncertainty

if TYPE_CHECKING:
    from ..io.images import Record
    from ..labeling.table import LabelTable

#: Distances to prototypes, those of gpulaf.labeling.metrics, which takes longer to load.
METRICS = (
    "euclidean", "sqeuclidean", "cityblock", "chebyshev", "cosine", "correlation", "braycurtis", "canberra",
    "jensenshannon",
)  # fmt: skip


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=NAMES)
@output_option
@click.option(
    "--prototypes",
    type=NAMES,
    metavar="N|FILE",
    help="Number of labels (k-means), or a .json/.csv file with a row per label. [default: 5, or the weight file's]",
)
@click.option(
    "--save-prototypes", type=click.Path(path_type=Path), help="Write those found to a .csv or .json for --prototypes."
)
@click.option(
    "--weights",
    type=NAMES,
    metavar="NAME|FILE",
    default="uniform",
    show_default=True,
    help="uniform, bilateral, or a .safetensors file of gpulaf learn.",
)
@click.option("--rho", type=float, help="Scale of the data in image units, 0 to 1. [default: 0.1, or the file's]")
@click.option(
    "--metric", type=click.Choice(METRICS), default="euclidean", show_default=True,
    help="Distance to prototypes, in whose units --rho is; squared suits normal noise, of which rho is twice the "
    "variance.",
)  # fmt: skip
@click.option("--channel-axis", type=int, help="Axis of the channels, where the file does not say it.")
@axes_option
@series_option
@nodata_option
@probabilities_option
@uncertainty_options
@preview_option
@labeler_options
@tiling_options
def label(**_: Any) -> None:
    """Label the pixels of IMAGE (PNG, JPEG, TIFF, .npy, Zarr, OME-Zarr), or of a volume (TIFF, .npy, NIfTI).

    Of a volume say the --spacing, or give a --model of volumes.

    The labels lie where the image lies: a TIFF keeps the size and place of its pixels and its GeoTIFF tags, an .ome.tif
    and an .ome.zarr their scale and translation. Pixels without data (GDAL_NODATA, NaN, transparent ones, missing
    tiles) get no label, and their neighbors do not hear of them.

    Labels are found by k-means or given as prototypes: one value per channel and label, in the units of the image; or
    they are those that a model of gpulaf train was trained on. They are printed with the share of the pixels of each,
    and --save-prototypes keeps them, so that the next image gets the same labels.

    Several images, files, folders or globs in quotes, share the prototypes that k-means finds in all of them together;
    -o is then a folder. A name that ends in / is one for a single image, too.

    Images of any size are labeled in tiles, into .zarr, .ome.zarr (a pyramid) or .tif, and probabilities into .zarr,
    where the input or the output is a .zarr, one of the last options is given, or a TIFF has more than 16 million
    pixels or does not fit into memory. The labels are those of the image in memory. Stopped at any moment and started
    again, the same command goes on where it was.
    """
    from ..io.prototypes import PrototypeTable, write_prototypes
    from ..labeling.hints import unused_labels

    options = split_preview(click.get_current_context().params)
    check_uncertainty(options)
    described = described_labeling(options)
    options["volume"] = is_volume(options, described)
    jobs, saved = label_jobs(options, described), options["save_prototypes"]
    _check_saved(saved, jobs)
    if len(jobs) > 1 and isinstance(described.labeler.prototypes, int):
        described = with_shared_prototypes(jobs, described)
    if jobs[0]["output"] != options["output"]:
        make_folders(jobs)
    tables = []
    for job in jobs:
        with about(job["image"], len(jobs) > 1):
            tables.append(_label_one(job, described))
    table = joined(tables)
    unused = unused_labels(table.pixels).partition("No pixel got ")[2]
    if unused and not described.labeler.scaled:
        tell_notes([f"no pixel got {unused.rstrip('.')}. Take fewer prototypes, or check their units."])
    tell_labels(table)
    if saved is not None and table.prototypes is not None:
        write_prototypes(saved, PrototypeTable(table.prototypes, list(table.values), described.names))
        click.echo(f"prototypes: {saved}")


def _label_one(options: dict[str, Any], described: Described) -> LabelTable:
    """Label one image, in memory or in tiles, and tell what was done."""
    from ..backend.array import device_array

    source, image = opened(options, described.labeler), options["image"]
    if source is not None:
        return label_tiled(options, source, described, partial(_spacing_notes, options, described))
    check_outputs(options, [image, Path(options["weights"]), options["model"] or Path()])
    record = _read(image, options, described)
    axis = _last_axis(record, 2 + options["volume"])
    _check_channels(described, 1 if axis is None else record.pixels.shape[axis])
    _check_image(described, record, image)
    labeler = with_bits(described.labeler, record.bits)
    count = labeler.prototypes if isinstance(labeler.prototypes, int) else len(labeler.prototypes)
    named = _named(options, described.values(count), record.valid is not None)
    labeler = with_uncertainty(labeler, options, record, axis)
    with compile_notice():
        array = device_array(record.pixels, options["device"])
        masked = {} if record.valid is None else {"mask": record.valid}
        result = labeler(array, channel_axis=axis, spacing=options["spacing"], **masked)
    return replace(_write(options, result, named, record), names=described.names)


@click.command()
@click.argument("soft", metavar="PROBABILITIES", type=click.Path(path_type=Path))
@output_option
@click.option("--logits", is_flag=True, help="The file holds logits (scores before the softmax).")
@click.option("--label-axis", type=int, help="Axis of the labels. [default: what the file says, or the last]")
@axes_option
@nodata_option
@click.option(
    "--image", type=click.Path(path_type=Path), help="The image, for a model, bilateral weights and the preview."
)
@click.option(
    "--weights", type=NAMES, metavar="NAME|FILE", default="uniform", show_default=True,
    help="uniform, bilateral (of --image), or a .safetensors file.",
)  # fmt: skip
@click.option("--rho", type=float, default=1.0, show_default=True, help="Temperature of the predictions.")
@probabilities_option
@preview_option
@labeler_options
@tiling_options
def refine(soft: Path, logits: bool, label_axis: int | None, image: Path | None, **_: Any) -> None:
    """Clean up the soft predictions of a classifier, PROBABILITIES (.tif, .npy or .nii.gz) of shape (H, W, labels).

    Those of a volume are (D, H, W, labels); voxels have the distances of --spacing, or those that the file says.
    With a model of gpulaf train --probabilities, the weights are predicted from --image.

    With one of the last options, or where PROBABILITIES or the output is a .zarr, they are refined in tiles.
    """
    from ..averaging.sources import WeightSource
    from ..backend.array import device_array
    from ..io.images import read_soft, soft_spacing

    options = with_preview(split_preview(click.get_current_context().params))
    axes, spacing = soft_spacing(soft, label_axis=label_axis, axes=options["axes"])
    if options["spacing"] is None and options["model"] is None:
        options["spacing"] = spacing
    described = described_labeling(options, soft=True)
    labeler, classes = described.labeler, described.classes
    options["volume"] = is_volume(options, described) or (axes == 3 and options["spacing"] is None)
    tiles = refined_in_tiles(options, labeler)
    if not tiles:
        check_outputs(options, [soft, image or Path(), Path(options["weights"]), options["model"] or Path()])
    if image is None and isinstance(labeler.weights, WeightSource):
        raise ValueError("bilateral weights, and those of a model, are made from the image. Name it with --image.")
    if image is None and options["preview"] is not None and options["style"] != "mosaic":
        raise ValueError(f"--preview is {options['style']}, which shows the image. Name it with --image.")
    if tiles:
        tell_labels(refine_tiled(options, described, partial(_spacing_notes, options, described)))
        return
    predictions = read_soft(soft, label_axis=label_axis, axes=options["axes"], volume=options["volume"], logits=logits)
    _check_data(soft, predictions)
    tell_notes([*predictions.notes, *_spacing_notes(options, described, soft, predictions)])
    count = predictions.pixels.shape[-1]
    if classes is not None and count != len(classes):
        raise ValueError(
            f"{soft} holds {count} labels, {options['model']} {len(classes)}; accepted are as many. Check --label-axis."
        )
    record = None if image is None else _read(image, options | {"axes": None}, described)
    if record is not None and image is not None:
        _check_image(described, record, image)
    valid = [found.valid for found in (predictions, record) if found is not None and found.valid is not None]
    named = _named(options, described.values(count), bool(valid))
    with compile_notice():
        values = device_array(predictions.pixels, options["device"])
        features = None if record is None else device_array(record.pixels, options["device"])
        axis = None if record is None else _last_axis(record, values.ndim - 1)
        call = labeler.refine_logits if logits else labeler.refine
        masked = {"mask": np.logical_and.reduce(valid)} if valid else {}
        last = {"label_axis": values.ndim - 1, "channel_axis": axis}
        result = call(values, image=features, spacing=options["spacing"], **last, **masked)
    tell_labels(_write(options, result, named, record, predictions))


def _read(path: Path, options: dict[str, Any], described: Described) -> Record:
    """An image or a volume; what its file says besides is told."""
    from ..io.images import read_record

    said = {name: options.get(name) for name in ("axes", "channel_axis", "series")}
    record = read_record(path, volume=options["volume"], **said)
    _check_data(path, record)
    tell_notes([*record.notes, *_spacing_notes(options, described, path, record)])
    return record


def _spacing_notes(options: dict[str, Any], described: Described, path: Path, record: Any) -> list[str]:
    """A line where the file says other distances of its pixels than --spacing, or than a model was trained on."""
    line = record.place.contradiction(options["spacing"])
    if described.spacing is not None and record.place.scale is not None:
        from ..prediction.spacing import told_spacing

        line = told_spacing(described.spacing, record.place.scales(3), path)
    return [line] if line else []


def _check_data(path: Path, record: Record) -> None:
    """Raise ValueError for an image or predictions without any pixel that holds data."""
    if record.valid is not None and not record.valid.any():
        raise ValueError(
            f"{path} has no pixel with data: all are NaN, transparent or of the value that means none. Check the file."
        )


def _last_axis(record: Record, space: int) -> int | None:
    """The axis of the channels, counted from 0, as one that is sure; None without them."""
    return None if record.pixels.ndim == space else record.pixels.ndim - 1


def _check_channels(described: Described, channels: int) -> None:
    """Raise ValueError for an image of other channels than weights or a model were learned on."""
    labeler = described.labeler
    if labeler.scaled and labeler.prototypes.shape[1] != channels:
        raise ValueError(
            f"image has {channels} channels; accepted are {labeler.prototypes.shape[1]}, as where the labels were "
            "learned. Weights belong to one image, a model to images of one kind."
        )


def _named(options: dict[str, Any], values: np.ndarray, masked: bool) -> tuple[np.ndarray, int | None]:
    """What stands for the labels and for no data, in a type that the output can hold."""
    from ..io.images import check_output, with_nodata

    names, nodata = with_nodata(values, options["nodata"], masked=masked)
    check_output(options["output"], names.dtype, volume=options["volume"], labels=names)
    return names, nodata


def _check_saved(path: Path | None, jobs: list[dict[str, Any]]) -> None:
    """Raise ValueError or OSError where --save-prototypes cannot be written."""
    from ..io.prototypes import check_prototype_file

    if path is not None:
        check_prototype_file(path)
        check_folders(path)
        check_files([job["image"] for job in jobs], [path])


def _check_image(described: Described, record: Record, path: Path) -> None:
    """Warn of weights that were learned on another image."""
    from ..io.tensors import image_digest
    from ..labeling.hints import DataWarning

    if described.image is not None and described.image != image_digest(record.masked):
        weights = click.get_current_context().params["weights"]
        warn(
            f"the weights of {weights} were learned on another image than {path}, and weights belong to one image. "
            "Learn those of this image, or train a model for all images of a kind by gpulaf train.",
            DataWarning,
            stacklevel=2,
        )


def _write(
    options: dict[str, Any],
    result: Any,
    named: tuple[np.ndarray, int | None],
    image: Record | None,
    soft: Record | None = None,
) -> LabelTable:
    """Write the results at their place, what stands for the labels in place of them, and tell what was done."""
    from ..backend.array import host_array
    from ..io.images import write_array
    from ..io.results import Results
    from ..labeling.table import LabelTable, label_pixels
    from ..plots.previews import STYLES, label_colors
    from ..plots.previews import preview as drawn

    labels, count, output = host_array(result.labels), result.probabilities.shape[-1], options["output"]
    preview, volume = options["preview"], labels.ndim == 3
    valid = None if getattr(result, "valid", None) is None else host_array(result.valid)
    names, nodata = named
    table = LabelTable(names.tolist(), label_pixels(labels, valid, count), result.prototypes)
    if valid is not None:
        labels = np.where(valid, labels, 0)
        tell_nodata(output, nodata, 100 * (1 - valid.mean()))
    middle: Any = len(labels) // 2 if volume else slice(None)
    plane, pixels = labels[middle], None if image is None else image.pixels[middle]
    colors = label_colors(plane, count, pixels if options["style"] == STYLES[0] else None)
    table = replace(table, colors=colors)
    known = (image or soft).place  # type: ignore[union-attr]
    place = replace(known.with_spacing(options["spacing"]), nodata=nodata, colors=())
    written = names[labels] if valid is None else np.where(valid, names[labels], names.dtype.type(nodata))
    with Results() as results:
        output = results.write(output, lambda path: write_array(path, written, volume=volume, place=place))
        if options["probabilities"] is not None:
            floating = replace(place, nodata=None if valid is None else float("nan"))
            soft_labels = host_array(result.probabilities)
            results.write(
                options["probabilities"],
                lambda path: write_array(path, soft_labels, volume=volume, place=floating),
            )
        if result.uncertainty is not None:
            write_uncertainty(results, options["uncertainty"], result, volume, place)
        if preview is not None:
            shown = drawn(options["style"], plane, colors, pixels)
            preview = results.write(preview, lambda path: write_array(path, shown))
            if volume:
                click.echo(f"{preview} shows the middle plane, {middle} of 0 to {len(labels) - 1}.")
        if (known.tags or known.scale) and output.suffix.lower() in (".png", ".npy"):
            click.echo(
                f"{output} cannot hold the size and place of the pixels, as the image does: a .tif can.", err=True
            )
        nonlinear = options["flow"] == "nonlinear"
        error = f"error {result.error:.1e}{' per step' if nonlinear else ''}"
        click.echo(f"{'×'.join(map(str, labels.shape))} pixels, {count} labels, {error}: {output}")
        if nonlinear:
            click.echo(result.reason)
        elif not result.converged:
            click.echo("The flow did not reach its tolerance: shorten --time or raise --tol.", err=True)
    return table
