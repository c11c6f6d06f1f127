"""gpulaf label and gpulaf refine: apply weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from .options import (
    check_model_alone,
    check_outputs,
    compile_notice,
    first,
    flow_arguments,
    flow_options,
    model_option,
    output_option,
    preview_option,
    probabilities_option,
    read_predictor,
    read_weights,
    spacing_option,
    to_device,
    write_labeling,
)
from .tiled import goes_large, label_large, large_options


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
@click.option(
    "--sigma", type=float, default=0.1, show_default=True, help="Scale of bilateral weights in image units, 0 to 1."
)
@click.option("--channel-axis", type=int, help="Axis of the channels, where the file does not say it.")
@spacing_option
@model_option
@probabilities_option
@preview_option
@flow_options
@large_options
def label(
    image: Path, output: Path, prototypes: str | None, weights: str, rho: float | None, sigma: float,
    channel_axis: int | None, spacing: tuple[float, ...] | None, model: Path | None, probabilities: Path | None,
    preview: Path | None, flow: str, time_: float | None, tol: float, device: str, **_: Any,
) -> None:  # fmt: skip
    """Label the pixels of IMAGE (PNG, JPEG, TIFF, .npy, Zarr, OME-Zarr), or of a volume (TIFF, .npy, with --spacing).

    Labels are found by k-means or given as prototypes: one value per channel and label, in the units of the image; or
    they are those that a model of gpulaf train was trained on.

    Images of any size are labeled in tiles, into .zarr, .ome.zarr (a pyramid) or .tif, and probabilities into .zarr,
    where the input or the output is a .zarr, one of the last options is given, or a TIFF does not fit into memory.
    Stopped at any moment and started again, the same command goes on where it was.
    """
    from ..backend.array import device_array
    from ..backend.validation import image_features, spatial_axes
    from ..io.images import read_image, read_prototypes, read_volume
    from ..labeling.label import label
    from ..labeling.likelihood import prototype_array

    if goes_large(options := click.get_current_context().params):
        label_large(options)
        return
    axes = spatial_axes(spacing)
    check_outputs([image, Path(weights), model or Path()], output, probabilities, preview, volume=axes == 3)
    if model is not None:
        check_model_alone("prototypes", "weights", "rho", "sigma", "spacing", "flow", "time_", "tol")
        predictor = read_predictor(model, soft=False)
        pixels = read_image(image, channel_axis=channel_axis)
        with compile_notice():
            result = predictor.label(device_array(pixels, device))
        write_labeling(result, output, probabilities, preview, pixels, predictor.label_values_.tolist())
        return
    pixels = (read_volume if axes == 3 else read_image)(image, channel_axis=channel_axis)
    features, scale = image_features(pixels, axes=axes)
    patches, stored = _weights(weights, features, sigma, spacing)
    if prototypes is not None or "prototypes" not in stored:
        values = prototype_array(read_prototypes(prototypes or "5"), features, scale)
    else:
        values = np.array(stored["prototypes"])
        if values.shape[1] != features.shape[-1]:
            raise ValueError(
                f"{weights} was learned on an image with {values.shape[1]} channel(s), "
                f"{image} has {features.shape[-1]}. Weights belong to one image."
            )
    with compile_notice():
        result = label(
            device_array(features, device), values, spacing=spacing, weights=to_device(patches, device),
            rho=first(rho, stored.get("rho"), 0.1), **flow_arguments(flow, time_, tol, stored),
        )  # fmt: skip
    names = stored.get("label_values") if prototypes is None else None
    write_labeling(result, output, probabilities, preview, pixels, names)


@click.command()
@click.argument("probabilities_file", metavar="PROBABILITIES", type=click.Path(path_type=Path))
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
@click.option(
    "--sigma", type=float, default=0.1, show_default=True, help="Scale of bilateral weights in image units, 0 to 1."
)
@spacing_option
@model_option
@probabilities_option
@preview_option
@flow_options
def refine(
    probabilities_file: Path, output: Path, logits: bool, label_axis: int, image: Path | None, weights: str, rho: float,
    sigma: float, spacing: tuple[float, ...] | None, model: Path | None, probabilities: Path | None,
    preview: Path | None, flow: str, time_: float | None, tol: float, device: str,
) -> None:  # fmt: skip
    """Clean up the soft predictions of a classifier, PROBABILITIES (.tif or .npy) of shape (H, W, labels).

    With --spacing of three numbers they are those of a volume, (D, H, W, labels).
    With a model of gpulaf train --probabilities, the weights are predicted from --image.
    """
    from ..backend.array import device_array
    from ..backend.validation import image_features, spatial_axes
    from ..io.images import read_array, read_image, read_volume
    from ..labeling.label import refine, refine_logits

    axes, inputs = spatial_axes(spacing), [probabilities_file, image or Path(), Path(weights), model or Path()]
    check_outputs(inputs, output, probabilities, preview, volume=axes == 3)
    values = read_array(probabilities_file)
    pixels = (read_volume if axes == 3 else read_image)(image) if image is not None else None
    fits = values.ndim == axes + 1 and -values.ndim <= label_axis < values.ndim
    size = tuple(np.delete(values.shape, label_axis).tolist()) if fits else None
    if pixels is not None and size is not None and pixels.shape[:axes] != size:
        raise ValueError(f"{image} has {pixels.shape[:axes]} pixels, not {size} as the predictions. Check the pair.")
    options: dict[str, Any] = {"label_axis": label_axis, "spacing": spacing}
    names = None
    with compile_notice():
        if model is not None:
            check_model_alone("weights", "rho", "sigma", "spacing", "flow", "time_", "tol")
            predictor = read_predictor(model, soft=True)
            names = predictor.label_values_.tolist()
            if pixels is None:
                raise ValueError("a model predicts weights from the image. Name it with --image.")
            if size is not None and values.shape[label_axis] != len(names):
                raise ValueError(
                    f"{probabilities_file} holds {values.shape[label_axis]} labels, {model} {len(names)}; accepted are "
                    "as many. Check --label-axis."
                )
            options |= {"rho": predictor.rho, "time": predictor.layer_times, "integrator": predictor.solver}
            options["weights"] = predictor.weights(device_array(pixels, device))
        else:
            features = None if pixels is None else image_features(pixels, axes=axes)[0]
            patches, stored = _weights(weights, features, sigma, spacing)
            options |= {"rho": rho} | flow_arguments(flow, time_, tol, stored)
            options["weights"] = to_device(patches, device)
        result = (refine_logits if logits else refine)(device_array(values, device), **options)
    write_labeling(result, output, probabilities, preview, pixels, names)


def _weights(
    name: str, features: np.ndarray | None, sigma: float, spacing: tuple[float, ...] | None = None
) -> tuple[Any, dict[str, Any]]:
    """The weights that --weights names, a list of those of layers, None for uniform ones; and what their file says."""
    from ..averaging.patches import bilateral_weights

    if name == "uniform":
        return None, {}
    if name != "bilateral":
        return read_weights(name)
    if features is None:
        raise ValueError("bilateral weights need the image. Name it with --image.")
    return bilateral_weights(features, sigma=sigma, spacing=spacing), {}
