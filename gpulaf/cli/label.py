"""gpulaf label and gpulaf refine: apply weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from .options import (
    check_outputs,
    first,
    flow_options,
    output_option,
    preview_option,
    probabilities_option,
    read_weights,
    write_labeling,
)


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
@probabilities_option
@preview_option
@flow_options
def label(
    image: Path, output: Path, prototypes: str | None, weights: str, rho: float | None, sigma: float,
    channel_axis: int | None, probabilities: Path | None, preview: Path | None, time_: float | None, tol: float,
    device: str,
) -> None:  # fmt: skip
    """Label the pixels of IMAGE (PNG, JPEG, TIFF or .npy).

    Labels are found by k-means or given as prototypes: one value per channel and label, in the units of the image.
    """
    from ..array import device_array
    from ..image_io import read_image, read_prototypes
    from ..integrators import Krylov
    from ..labeling import image_features, label, prototype_array
    from ..patches import bilateral_weights

    check_outputs([image, Path(weights)], output, probabilities, preview)
    pixels = read_image(image, channel_axis=channel_axis)
    features, scale = image_features(pixels)
    patches = None
    stored: dict[str, Any] = {}
    if weights == "bilateral":
        patches = bilateral_weights(features, sigma=sigma)
    elif weights != "uniform":
        patches, stored = read_weights(weights)
    if prototypes is not None or "prototypes" not in stored:
        values = prototype_array(read_prototypes(prototypes or "5"), features, scale)
    else:
        values = np.array(stored["prototypes"])
        if values.shape[1] != features.shape[-1]:
            raise ValueError(
                f"{weights} was learned on an image with {values.shape[1]} channel(s), "
                f"{image} has {features.shape[-1]}. Weights belong to one image."
            )
    result = label(
        device_array(features, device), values,
        weights=None if patches is None else device_array(patches, device),
        rho=first(rho, stored.get("rho"), 0.1), time=first(time_, stored.get("time"), 3.0),
        integrator=Krylov(tol=tol),
    )  # fmt: skip
    names = stored.get("label_values") if prototypes is None else None
    write_labeling(result, output, probabilities, preview, pixels, names)


@click.command()
@click.argument("probabilities_file", metavar="PROBABILITIES", type=click.Path(path_type=Path))
@output_option
@click.option("--logits", is_flag=True, help="The file holds logits (scores before the softmax).")
@click.option("--label-axis", type=int, default=-1, show_default=True, help="Axis of the labels.")
@click.option("--image", type=click.Path(path_type=Path), help="The image, for bilateral weights and the preview.")
@click.option(
    "--weights", default="uniform", show_default=True, help="uniform, bilateral (of --image), or a .safetensors file."
)
@click.option("--rho", type=float, default=1.0, show_default=True, help="Temperature of the predictions.")
@click.option(
    "--sigma", type=float, default=0.1, show_default=True, help="Scale of bilateral weights in image units, 0 to 1."
)
@probabilities_option
@preview_option
@flow_options
def refine(
    probabilities_file: Path, output: Path, logits: bool, label_axis: int, image: Path | None, weights: str, rho: float,
    sigma: float, probabilities: Path | None, preview: Path | None, time_: float | None, tol: float, device: str,
) -> None:  # fmt: skip
    """Clean up the soft predictions of a classifier, PROBABILITIES (.tif or .npy) of shape (H, W, labels)."""
    from ..array import device_array
    from ..image_io import read_array, read_image
    from ..integrators import Krylov
    from ..labeling import image_features, refine, refine_logits
    from ..patches import bilateral_weights

    check_outputs([probabilities_file, image or Path(), Path(weights)], output, probabilities, preview)
    values = read_array(probabilities_file)
    pixels = read_image(image) if image is not None else None
    patches = None
    stored: dict[str, Any] = {}
    if weights == "bilateral":
        if pixels is None:
            raise ValueError("bilateral weights need the image. Name it with --image.")
        patches = bilateral_weights(image_features(pixels)[0], sigma=sigma)
    elif weights != "uniform":
        patches, stored = read_weights(weights)
    size = tuple(np.delete(values.shape, label_axis).tolist()) if values.ndim == 3 and -3 <= label_axis < 3 else None
    if pixels is not None and size is not None and pixels.shape[:2] != size:
        raise ValueError(f"{image} has {pixels.shape[:2]} pixels, not {size} as the predictions. Check the pair.")
    result = (refine_logits if logits else refine)(
        device_array(values, device), label_axis=label_axis, rho=rho,
        weights=None if patches is None else device_array(patches, device),
        time=first(time_, stored.get("time"), 3.0), integrator=Krylov(tol=tol),
    )  # fmt: skip
    write_labeling(result, output, probabilities, preview, pixels)
