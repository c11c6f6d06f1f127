"""gpulaf train: a predictor of weights from images with ground truth."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .labeler import range_option
from .options import (
    FileSet,
    check_figure,
    check_files,
    check_folders,
    device_option,
    file_set,
    files_argument,
    files_option,
    image_sequence,
)

if TYPE_CHECKING:
    from ..prediction.predictor import WeightPredictor
    from ..prediction.training import Training


@click.command()
@files_argument
@files_option("--truth", "Label images, paired with IMAGES by name.", required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Model file: .safetensors.")
@files_option("--validate", "Images that are not learned from; the step that suits them best is kept.")
@files_option("--validate-truth", "Their label images.")
@files_option("--probabilities", "Soft predictions (H, W, labels) to refine, .npy or .tif; one for each image.")
@files_option("--validate-probabilities", "Those of the validation images.")
@click.option("--prototypes", type=click.IntRange(1), default=50, show_default=True, help="Prototypes of the features.")
@click.option(
    "--features",
    default="patch:1",
    show_default=True,
    metavar="NAMES",
    help="What weights depend on: patch:1 (3×3 pixels), patch:2, gaussian[:scales], or several joined by +.",
)
@click.option(
    "--radius", type=click.IntRange(1, 3), default=1, show_default=True, help="1 for 3×3 weights, 2 for 5×5, 3 for 7×7."
)
@click.option(
    "--rho", type=float, help="Scale of the data in image units, 0 to 1.  [default: 0.1; 1 with --probabilities]"
)
@click.option("--time", "time_", type=float, default=3.0, show_default=True, help="Integration time T.")
@click.option("--layers", type=click.IntRange(1), default=1, show_default=True, help="Linearized flows, each over T/N.")
@click.option("--shared-layers", is_flag=True, help="All layers have the same weights, not each its own.")
@click.option("--steps", type=click.IntRange(0), default=60, show_default=True, help="Training steps.")
@click.option("--step-size", type=float, default=0.05, show_default=True, help="Step of Adam.")
@click.option("--decay", is_flag=True, help="Let the step size fall to 0: worth most with --batch and --crop.")
@click.option("--batch", type=click.IntRange(1), help="Images per step.  [default: all]")
@click.option("--crop", type=click.IntRange(1), help="Side of the random square of an image that a step looks at.")
@click.option(
    "--loss", type=click.Choice(["cosine", "cross-entropy"]), default="cosine", show_default=True, help="What to lower."
)
@click.option("--balanced", is_flag=True, help="Every class counts alike, however rare.")
@click.option("--patience", type=click.IntRange(1), help="Stop after so many steps without a better validation.")
@click.option("--unlabeled", type=int, help="Value of the truth at pixels without ground truth.")
@click.option("--channel-axis", type=int, help="Axis of the channels, where the files do not say it.")
@range_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Save the state of training here on the way.")
@click.option("--resume", is_flag=True, help="Continue from the checkpoint if it is there.")
@click.option("--figure", type=click.Path(path_type=Path), help="Also draw what was learned: .png, .pdf or .svg.")
@device_option
def train(images: tuple[str, ...], truth: tuple[str, ...], output: Path, device: str, **options: Any) -> None:
    """Train a predictor of weights on IMAGES with ground truth, for images without.

    IMAGES, --truth and the other lists of files take files, folders and globs in quotes; an image and its truth have
    the same name, or names that differ in how all of them begin or end (image_03.png and truth_03.png). Images are
    read one at a time, to the GPU where --device says so; truths and the model stay on the host. Label unseen images
    with gpulaf label IMAGE --model FILE.
    """
    from ..io.images import write_figure
    from ..io.results import Results

    training, validation = _sets(images, truth, options)
    _check(output, [training, *([validation] if validation else [])], options)
    soft = training.probabilities is not None
    predictor = _predictor(options, 1.0 if soft else 0.1)
    sequences: list[tuple[Any, ...]] = [
        (image_sequence(files.images, device, options["channel_axis"]), files.truths, files.probabilities)
        for files in (training, validation)
        if files is not None
    ]
    predictor.fit(
        *sequences[0][:2], probabilities=sequences[0][2], unlabeled=options["unlabeled"],
        validation=sequences[1] if validation else None,
    )  # fmt: skip
    with Results() as results:
        written = results.write(output, predictor.save)
        _report(predictor, len(training.images))
        if options["figure"] is not None:
            figure = _figure(predictor, sequences[-1], options["unlabeled"], validation is not None)
            click.echo(f"figure: {results.write(options['figure'], lambda path: write_figure(path, figure))}")
        click.echo(f"model: {written}")


def _sets(images: tuple[str, ...], truth: tuple[str, ...], options: dict[str, Any]) -> tuple[FileSet, FileSet | None]:
    """The files to learn from, and those to validate on."""
    training = file_set(images, truth, options["probabilities"])
    held = options["validate"], options["validate_truth"], options["validate_probabilities"]
    if not any(held):
        if options["patience"] is not None:
            raise ValueError("--patience needs images to watch. Name them with --validate and --validate-truth.")
        return training, None
    if not (held[0] and held[1]):
        raise ValueError("validation needs images and their truth. Give both --validate and --validate-truth.")
    if bool(held[2]) != bool(options["probabilities"]):
        raise ValueError("--probabilities and --validate-probabilities go together. Give both, or neither.")
    validation = file_set(*held)
    known = {path.resolve() for path in training.images}
    both = [path for path in validation.images if path.resolve() in known]
    if both:
        raise ValueError(f"{both[0]} is an image of the training and of the validation. Leave it out of one of them.")
    return training, validation


def _check(output: Path, sets: list[FileSet], options: dict[str, Any]) -> None:
    """Find out before any work whether the results can be written."""
    if output.suffix != ".safetensors":
        raise ValueError(f"{output} ends in {output.suffix!r}; models are written to .safetensors.")
    if options["resume"] and options["checkpoint"] is None:
        raise ValueError("--resume needs to know where from. Name the file with --checkpoint.")
    check_figure(options["figure"])
    results = [path for path in (output, options["checkpoint"], options["figure"]) if path is not None]
    check_folders(*results)
    check_files([path for files in sets for path in files.all()], results)


def _predictor(options: dict[str, Any], rho: float) -> WeightPredictor:
    from ..prediction.features import Features
    from ..prediction.predictor import WeightPredictor

    names = options["features"]
    if any(not 1 <= int(radius) <= 100 for radius in re.findall(r"patch:([0-9]+)", names)):
        raise ValueError(f"--features is {names!r}; accepted are patches from patch:1 (3×3 pixels) to patch:100.")
    raw = re.fullmatch(r"patch(?::([0-9]+))?", names)  # alone: raw patches, not scaled
    return WeightPredictor(
        options["prototypes"], features=int(raw[1] or 1) if raw else Features(names), radius=options["radius"],
        rho=rho if options["rho"] is None else options["rho"], time=options["time_"],
        n_layers=options["layers"], shared_layers=options["shared_layers"], training=_training(options),
        seed=options["seed"], range=options["range"],
    )  # fmt: skip


def _training(options: dict[str, Any]) -> Training:
    from ..learning.checkpoint import Checkpoint
    from ..learning.loss import cosine_loss, cross_entropy_loss
    from ..prediction.training import Training

    own = {
        name: options[name] for name in ("steps", "step_size", "decay", "batch", "crop", "balanced", "patience", "seed")
    }
    path = options["checkpoint"]
    return Training(
        **own, loss={"cosine": cosine_loss, "cross-entropy": cross_entropy_loss}[options["loss"]],
        checkpoint=None if path is None else Checkpoint(path, resume=options["resume"]),
    )  # fmt: skip


def _report(predictor: WeightPredictor, count: int) -> None:
    from ..learning.loop import best

    history, kept = predictor.history_, best(predictor.history_, "validation_loss")
    first, last = (100 * row.wrong for row in (history[0], history[-1]))
    click.echo(f"{count} images, {len(predictor.classes_)} labels, {len(predictor.feature_prototypes_)} prototypes")
    click.echo(f"  training: {first:.2f} % wrong in the first step, {last:.2f} % in the last")
    if kept is not None:
        first, last = (100 * (row.validation_wrong or 0.0) for row in (history[0], kept))
        click.echo(f"  validation: {first:.2f} % wrong at first, {last:.2f} % with the model")
    click.echo(f"{predictor.reason_} {history[-1].seconds:.1f} s")


def _figure(predictor: WeightPredictor, files: tuple[Any, ...], unlabeled: int | None, unseen: bool) -> Any:
    """The figure of a model on the first image of a set."""
    from ..plots.predictor import predictor_figure

    images, truths, probabilities = files
    return predictor_figure(
        predictor, images[0], truths[0], probabilities=probabilities[0] if probabilities else None,
        unlabeled=unlabeled, title="validation image" if unseen else "training image",
    )  # fmt: skip
