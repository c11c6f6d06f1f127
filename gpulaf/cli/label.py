"""gpulaf label and gpulaf refine: apply weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from .labeler import Described, described_labeling, labeler_options
from .options import check_outputs, compile_notice, output_option, preview_option, probabilities_option
from .tiled import label_tiled, tiled_source, tiling_options


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@output_option
@click.option(
    "--prototypes",
    help="Number of labels (k-means), or a .json/.csv file with a row per label. [default: 5, or the weight file's]",
)
@click.option(
    "--weights",
    default="uniform",
    show_default=True,
    help="uniform, bilateral, or a .safetensors file of gpulaf learn.",
)
@click.option("--rho", type=float, help="Scale of the data in image units, 0 to 1. [default: 0.1, or the file's]")
@click.option("--channel-axis", type=int, help="Axis of the channels, where the file does not say it.")
@probabilities_option
@preview_option
@labeler_options
@tiling_options
def label(image: Path, channel_axis: int | None, **_: Any) -> None:
    """Label the pixels of IMAGE (PNG, JPEG, TIFF, .npy, Zarr, OME-Zarr), or of a volume (TIFF, .npy, with --spacing).

    Labels are found by k-means or given as prototypes: one value per channel and label, in the units of the image; or
    they are those that a model of gpulaf train was trained on.

    Images of any size are labeled in tiles, into .zarr, .ome.zarr (a pyramid) or .tif, and probabilities into .zarr,
    where the input or the output is a .zarr, one of the last options is given, or a TIFF does not fit into memory.
    Stopped at any moment and started again, the same command goes on where it was.
    """
    from ..backend.array import device_array

    options = click.get_current_context().params
    described = described_labeling(options)
    source = tiled_source(options, described.labeler)
    if source is not None:
        label_tiled(options, source, described)
        return
    check_outputs(options, [image, Path(options["weights"]), options["model"] or Path()])
    pixels, axis = _read(image, options, channel_axis)
    _check_channels(described, 1 if axis is None else pixels.shape[axis])
    with compile_notice():
        array = device_array(pixels, options["device"])
        result = described.labeler(array, channel_axis=axis, spacing=options["spacing"])
    _write(options, result, described.values, pixels)


@click.command()
@click.argument("soft", metavar="PROBABILITIES", type=click.Path(path_type=Path))
@output_option
@click.option("--logits", is_flag=True, help="The file holds logits (scores before the softmax).")
@click.option("--label-axis", type=int, default=-1, show_default=True, help="Axis of the labels.")
@click.option(
    "--image", type=click.Path(path_type=Path), help="The image, for a model, bilateral weights and the preview."
)
@click.option(
    "--weights", default="uniform", show_default=True, help="uniform, bilateral (of --image), or a .safetensors file."
)
@click.option("--rho", type=float, default=1.0, show_default=True, help="Temperature of the predictions.")
@probabilities_option
@preview_option
@labeler_options
def refine(soft: Path, logits: bool, label_axis: int, image: Path | None, **_: Any) -> None:
    """Clean up the soft predictions of a classifier, PROBABILITIES (.tif or .npy) of shape (H, W, labels).

    With --spacing of three numbers they are those of a volume, (D, H, W, labels).
    With a model of gpulaf train --probabilities, the weights are predicted from --image.
    """
    from ..averaging.sources import WeightSource
    from ..backend.array import device_array
    from ..io.images import read_array

    options = click.get_current_context().params
    labeler, classes = described = described_labeling(options, soft=True)
    check_outputs(options, [soft, image or Path(), Path(options["weights"]), options["model"] or Path()])
    if image is None and isinstance(labeler.weights, WeightSource):
        raise ValueError("bilateral weights, and those of a model, are made from the image. Name it with --image.")
    values = read_array(soft)
    if classes is not None and -values.ndim <= label_axis < values.ndim and values.shape[label_axis] != len(classes):
        raise ValueError(
            f"{soft} holds {values.shape[label_axis]} labels, {options['model']} {len(classes)}; accepted are as many. "
            "Check --label-axis."
        )
    pixels, axis = (None, None) if image is None else _read(image, options)
    with compile_notice():
        values = device_array(values, options["device"])
        features = None if pixels is None else device_array(pixels, options["device"])
        call = labeler.refine_logits if logits else labeler.refine
        result = call(values, image=features, label_axis=label_axis, channel_axis=axis, spacing=options["spacing"])
    _write(options, result, described.values, pixels)


def _read(path: Path, options: dict[str, Any], channel_axis: int | None = None) -> tuple[np.ndarray, int | None]:
    """An image, or a volume where --spacing has three numbers; and the axis of its channels, None without them."""
    from ..io.images import read_image, read_volume

    axes = len(options["spacing"] or (1, 1))
    pixels = (read_volume if axes == 3 else read_image)(path, channel_axis=channel_axis)
    return pixels, None if pixels.ndim == axes else -1


def _check_channels(described: Described, channels: int) -> None:
    """Raise ValueError for an image of other channels than weights or a model were learned on."""
    labeler = described.labeler
    if labeler.scaled and labeler.prototypes.shape[1] != channels:
        raise ValueError(
            f"image has {channels} channels; accepted are {labeler.prototypes.shape[1]}, as where the labels were "
            "learned. Weights belong to one image, a model to images of one kind."
        )


def _write(options: dict[str, Any], result: Any, values: list[int] | None, pixels: np.ndarray | None) -> None:
    """Write the results, `values` in place of the labels, and tell what was done."""
    from ..backend.array import host_array
    from ..io.images import write_array
    from ..plots.figures import colored

    labels, count, output = host_array(result.labels), result.probabilities.shape[-1], options["output"]
    preview, volume = options["preview"], labels.ndim == 3
    named = labels if values is None else np.array(values, np.min_scalar_type(max(values)))[labels]
    write_array(output, named, volume=volume)
    if options["probabilities"] is not None:
        write_array(options["probabilities"], host_array(result.probabilities), volume=volume)
    if preview is not None:
        middle: Any = len(labels) // 2 if volume else slice(None)
        write_array(preview, colored(labels[middle], count, None if pixels is None else pixels[middle]))
        if volume:
            click.echo(f"{preview} shows the middle plane, {middle} of 0 to {len(labels) - 1}.")
    nonlinear = options["flow"] == "nonlinear"
    error = f"error {result.error:.1e}{' per step' if nonlinear else ''}"
    click.echo(f"{'×'.join(map(str, labels.shape))} pixels, {count} labels, {error}: {output}")
    if nonlinear:
        click.echo(result.reason)
    elif not result.converged:
        click.echo("The flow did not reach its tolerance: shorten --time or raise --tol.", err=True)
