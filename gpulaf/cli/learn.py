"""gpulaf learn: weights from ground truth."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from .labeler import range_option
from .options import check_files, check_folders, device_option, tell_labels, tell_notes, tell_void


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Weight file: .safetensors.")
@click.option("--steps", type=click.IntRange(0), default=50, show_default=True, help="Learning steps.")
@click.option("--step-size", type=float, default=0.2, show_default=True, help="Step of Riemannian Adam.")
@click.option(
    "--radius", type=click.IntRange(1, 3), default=1, show_default=True, help="1 for 3×3 patches, 2 for 5×5, 3 for 7×7."
)
@click.option("--rho", type=float, default=0.2, show_default=True, help="Scale of the data in image units, 0 to 1.")
@click.option("--time", "time_", type=float, default=6.0, show_default=True, help="Integration time T.")
@click.option(
    "--layers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Linearized flows in succession, each with weights of its own and an equal part of --time.",
)
@click.option("--tol", type=float, default=1e-4, show_default=True, help="Accepted relative error of the flow.")
@click.option(
    "--loss", type=click.Choice(["cosine", "cross-entropy"]), default="cosine", show_default=True, help="What to lower."
)
@click.option(
    "--tau",
    type=float,
    default=0.0,
    show_default=True,
    help="Strength of the pull towards uniform weights; 0.01 to 0.5 is usual.",
)
@click.option("--unlabeled", type=int, help="Value of TRUTH at pixels without ground truth, besides -1.")
@click.option("--channel-axis", type=int, help="Axis of the channels, where the file does not say it.")
@range_option
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Save the state of learning here on the way.")
@click.option("--resume", is_flag=True, help="Continue from the checkpoint if it is there.")
@device_option
def learn(
    image: Path, truth: Path, output: Path, steps: int, step_size: float, radius: int, rho: float, time_: float,
    layers: int, tol: float, loss: str, tau: float, unlabeled: int | None, channel_axis: int | None,
    range: tuple[float, float] | None, checkpoint: Path | None, resume: bool, device: str,
) -> None:  # fmt: skip
    """Learn the weight patches of IMAGE from its ground truth, the label image TRUTH.

    The values of TRUTH are the labels; their prototypes are the mean colors. The weights belong to this one image:
    apply them with gpulaf label IMAGE --weights FILE.
    """
    from ..averaging.patches import uniform_weights
    from ..backend.array import device_array
    from ..backend.validation import Pixels, check_rho, image_features
    from ..integrators import Taylor
    from ..io.atomic import ROOM, check_writable
    from ..io.images import read_image
    from ..io.results import Results
    from ..io.tensors import image_digest, write_tensors
    from ..io.truth import read_truth
    from ..labeling.hints import void_value, warn_of_values
    from ..labeling.likelihood import distances, log_likelihood
    from ..labeling.prototypes import in_units
    from ..labeling.table import LabelTable
    from ..learning.checkpoint import Checkpoint
    from ..learning.descent import RiemannianAdam
    from ..learning.fitting import FitOptions, fit_weights
    from ..learning.loss import cosine_loss, cross_entropy_loss

    if output.suffix != ".safetensors":
        raise ValueError(f"{output} ends in {output.suffix!r}; weights are written to .safetensors.")
    if resume and checkpoint is None:
        raise ValueError("--resume needs to know where from. Name the file with --checkpoint.")
    check_rho(rho)
    check_folders(output, checkpoint)
    check_files([image, truth], [output, *([checkpoint] if checkpoint is not None else [])])
    if truth.exists() and image.exists() and truth.samefile(image):
        raise ValueError(f"{image} is given as an image and as its truth. Name the label image, too.")
    options = FitOptions(tau=tau, checkpoint=None if checkpoint is None else Checkpoint(checkpoint, resume=resume))
    pixels = read_image(image, channel_axis=channel_axis)
    features, bounds, valid = image_features(pixels, range=range)
    labels, values = read_truth(truth, unlabeled=unlabeled)
    if labels.shape != features.shape[:2]:
        raise ValueError(
            f"{truth} has {labels.shape} pixels and {image} {features.shape[:2]}; accepted are equal sizes. "
            "Check the pair."
        )
    if valid is not None:
        labels = np.where(valid, labels, -1)
    counts = np.bincount(labels[labels >= 0], minlength=len(values))
    if not counts.all():
        raise ValueError(f"{truth}: the label {values[counts.argmin()]} lies where {image} has no data. Leave it out.")
    if unlabeled is None:
        tell_void(void_value(labels, values))
    elif unlabeled != -1 and (labels >= 0).all():
        tell_notes([f"no pixel of {truth} has the value {unlabeled}, which stands for no ground truth."])
    prototypes = np.stack([features[labels == j].mean(axis=0, dtype=np.float64) for j, _ in enumerate(values)])
    ranged = range is not None or bounds != (0, 1)
    warn_of_values(Pixels(features, bounds, valid), prototypes, rho, ranged=ranged, learned=False)
    start = uniform_weights(labels.shape, radius, dtype=features.dtype)
    check_writable(output, ROOM + layers * start.nbytes)
    result = fit_weights(
        device_array(log_likelihood(distances(features, prototypes), rho), device),
        labels,
        mask=valid,
        weights=start if layers == 1 else [start] * layers,
        time=time_,
        solver=Taylor(tol=tol),
        loss={"cosine": cosine_loss, "cross-entropy": cross_entropy_loss}[loss],
        descent=RiemannianAdam(step_size),
        steps=steps,
        options=options,
    )
    first, last = result.history[0], result.history[-1]
    metadata = {
        "prototypes": prototypes.tolist(), "rho": rho, "time": time_, "label_values": values.tolist(), "range": range,
        "label_pixels": counts.tolist(), "image": image_digest(pixels),
        "steps": last.step, "loss": last.loss, "wrong": last.wrong,
    }  # fmt: skip
    arrays = {"weights": result.weights}
    if layers > 1:
        arrays = {f"weights[{s}]": patches for s, patches in enumerate(result.weights)}
    with Results() as results:
        written = results.write(output, lambda path: write_tensors(path, "weights", arrays, metadata))
        tell_labels(LabelTable(values.tolist(), counts, in_units(prototypes, bounds)))
        shares = f"{100 * first.wrong:.2f} % with uniform weights, {100 * last.wrong:.2f} % after {last.step} steps"
        click.echo(f"wrong pixels: {shares}")
        click.echo(f"{result.reason} {last.seconds:.1f} s. weights: {written}")
