"""gpulaf train: a predictor of weights from images with ground truth, or without it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .labeler import range_option, spacing_option
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
    tell_labels,
    tell_notes,
    tell_void,
)
from .without_truth import check_truth, images_alone, label_prototypes, labels_option, report

if TYPE_CHECKING:
    from ..prediction.fitted import FittedPredictor
    from ..prediction.training import Training

#: Truths that are looked at for a value that means no ground truth.
LOOKED_AT = 16


@click.command()
@files_argument
@files_option("--truth", "Label images, paired with IMAGES by name.")
@labels_option
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Model file: .safetensors.")
@files_option("--validate", "Images that are not learned from; the step that suits them best is kept.")
@files_option("--validate-truth", "Their label images.")
@files_option("--probabilities", "Soft predictions (H, W, labels) to refine, .npy or .tif; one for each image.")
@files_option("--validate-probabilities", "Those of the validation images.")
@click.option(
    "--predictor",
    type=click.Choice(["network", "prototypes"]),
    help="What weights come from: a network that sees the image and the labeling so far, or prototypes of features.  "
    "[default: network; prototypes where options of theirs are given]",
)
@click.option("--hidden", metavar="N,N", help="Widths of the network's hidden layers.  [default: 64,64]")
@click.option(
    "--state", type=click.IntRange(-1), help="Radius of the labeling it sees, -1 for none.  [default: 2; 1 of volumes]"
)
@click.option(
    "--label-state",
    type=click.IntRange(0),
    help="Radius of the labeling that a perceptron for each label alike sees; for many labels that are alike.",
)
@click.option("--label-coupling", is_flag=True, help="Also learn which label may stand beside which, of a network.")
@click.option("--prototypes", type=click.IntRange(1), help="Number of prototypes.  [default: 50]")
@click.option(
    "--features",
    metavar="NAMES",
    help="What weights depend on: patch:R (R = 1 for 3×3 pixels), gaussian[:scales], affinity[:scales], or several "
    "joined by +.  [default: patch:3+gaussian:1,2,4+affinity, of volumes with patch:1; patch:1 of prototypes]",
)
@click.option(
    "--radius", type=click.IntRange(1, 3), default=1, show_default=True, help="1 for 3×3 weights, 2 for 5×5, 3 for 7×7."
)
@click.option(
    "--rho",
    type=float,
    help="Scale of the data in image units, 0 to 1.  [default: from the noise; 0.1 of prototypes, 1 with "
    "--probabilities]",
)
@click.option("--time", "time_", type=float, help="Integration time T.  [default: 6; 3 of prototypes]")
@click.option(
    "--layers", type=click.IntRange(1), help="Linearized flows, each over T/N.  [default: 3; 1 of prototypes]"
)
@click.option("--shared-layers", is_flag=True, help="All layers have the same weights, of prototypes.")
@click.option(
    "--auto", is_flag=True, help="First choose time, radius and features by short trainings on images held back."
)
@click.option("--steps", type=click.IntRange(0), help="Training steps.  [default: 600; 60 of prototypes]")
@click.option("--step-size", type=float, help="Step of Adam.  [default: 0.003; 0.05 of prototypes]")
@click.option(
    "--decay/--no-decay",
    default=None,
    help="Let the step size fall to 0.  [default: of the network]",
    show_default=False,
)
@click.option(
    "--flips/--no-flips",
    default=None,
    help="Show images turned over, too.  [default: of the network]",
    show_default=False,
)
@click.option("--batch", type=click.IntRange(1), help="Images per step.  [default: 2; all of prototypes]")
@click.option(
    "--crop",
    type=click.IntRange(1),
    help="Side of the random square or cube that a step sees.  [default: 128; 24 of volumes; all of prototypes]",
)
@click.option(
    "--loss",
    type=click.Choice(["cosine", "cross-entropy", "boundary", "connectivity"]),
    help="What to lower: boundary counts pixels near boundaries more, connectivity also broken and merged segments.  "
    "[default: cross-entropy; cosine of prototypes]",
)
@click.option(
    "--foreground",
    type=int,
    help="Value of the truth whose segments --loss connectivity keeps.  [default: the most frequent]",
)
@click.option("--balanced", is_flag=True, help="Every class counts alike, however rare.")
@click.option("--patience", type=click.IntRange(1), help="Stop after so many steps without a better validation.")
@click.option("--unlabeled", type=int, help="Value of the truth at pixels without ground truth, besides -1.")
@click.option("--channel-axis", type=int, help="Axis of the channels, where the files do not say it.")
@range_option
@spacing_option("Distance of the pixels on each axis, as SZ,SY,SX.  [default: what the files of volumes say, or equal]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Save the state of training here on the way.")
@click.option("--resume", is_flag=True, help="Continue from the checkpoint if it is there.")
@click.option("--figure", type=click.Path(path_type=Path), help="Also draw what was learned: .png, .pdf or .svg.")
@device_option
def train(images: tuple[str, ...], truth: tuple[str, ...], output: Path, device: str, **options: Any) -> None:
    """Train a predictor of weights on IMAGES with ground truth, or without it, for others.

    IMAGES, --truth and the other lists of files take files, folders and globs in quotes; an image and its truth have
    the same name, or names that differ in how all of them begin or end (image_03.png and truth_03.png). Images are
    read one at a time, to the GPU where --device says so; truths and the model stay on the host. Label unseen images
    with gpulaf label IMAGE --model FILE.

    Where the truths are volumes, so are the images (TIFF, NIfTI, .npy), and the model is one of volumes. The distances
    of its voxels are those of --spacing, or what the files say.

    Without --truth say the --labels. Pixels are hidden in turns, and what is learned has to tell their values from
    those around them: that takes noise which is independent between pixels, and a warning says where it is not. Images
    are volumes where --spacing has three numbers.
    """
    from ..io.images import write_figure
    from ..io.results import Results
    from ..io.truth import truth_axes

    check_truth(truth, options)
    training, validation = _sets(images, truth, options)
    _check(output, [training, *([validation] if validation else [])], options)
    if options["unlabeled"] is None:
        _tell_void(training)
    axes = truth_axes(training.truths[0]) if truth else len(options["spacing"] or (1, 1))
    told = {} if truth else {"prototypes": label_prototypes(options["labels"]), "noise": options["noise"]}
    predictor = _predictor(options, training.truths, axes)
    sequences: list[tuple[Any, ...]] = [
        (image_sequence(files.images, device, options["channel_axis"], axes), files.truths or None, files.probabilities)
        for files in (training, validation)
        if files is not None
    ]
    if options["auto"]:
        predictor = _tuned(predictor, sequences[0], options["unlabeled"])
    predictor.fit(
        *sequences[0][:2], probabilities=sequences[0][2], unlabeled=options["unlabeled"],
        validation=sequences[1] if validation else None, **told,
    )  # fmt: skip
    with Results() as results:
        written = results.write(output, predictor.save)
        (_report if truth else report)(predictor, len(training.images))
        if options["figure"] is not None:
            figure = _figure(predictor, sequences[-1], options["unlabeled"], validation is not None)
            click.echo(f"figure: {results.write(options['figure'], lambda path: write_figure(path, figure))}")
        click.echo(f"model: {written}")


def _sets(images: tuple[str, ...], truth: tuple[str, ...], options: dict[str, Any]) -> tuple[FileSet, FileSet | None]:
    """The files to learn from, and those to validate on."""
    training = file_set(images, truth, options["probabilities"]) if truth else images_alone(images)
    held = options["validate"], options["validate_truth"], options["validate_probabilities"]
    if not any(held):
        if options["patience"] is not None:
            others = " and --validate-truth" if truth else ""
            raise ValueError(f"--patience needs images to watch. Name them with --validate{others}.")
        return training, None
    if truth and not (held[0] and held[1]):
        raise ValueError("validation needs images and their truth. Give both --validate and --validate-truth.")
    if bool(held[2]) != bool(options["probabilities"]):
        raise ValueError("--probabilities and --validate-probabilities go together. Give both, or neither.")
    validation = file_set(*held) if truth else images_alone(held[0])
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
    if options["resume"] and not options["checkpoint"].exists():
        tell_notes([f"there is no checkpoint {options['checkpoint']}: training begins anew."])
    results = [path for path in (output, options["checkpoint"], options["figure"]) if path is not None]
    check_folders(*results)
    check_files([path for files in sets for path in files.all()], results)


def _tuned(predictor: FittedPredictor, files: tuple[Any, ...], unlabeled: int | None) -> FittedPredictor:
    """The predictor with the best options of short trainings; says what each of them gave."""
    from ..prediction.tuning import Trial, tune

    def told(trial: Trial) -> None:
        named = ", ".join(f"{name} {value}" for name, value in trial.options.items()) or "as given"
        click.echo(f"  tried {named}: {100 * trial.wrong:.2f} % of images held back wrong ({trial.seconds:.0f} s)")

    images, truths, probabilities = files
    return tune(predictor, images, truths, probabilities=probabilities, unlabeled=unlabeled, callback=told).predictor


#: Options that one kind of predictor has alone.
OWN = {
    "network": ("hidden", "state", "label_state", "label_coupling"),
    "prototypes": ("prototypes", "shared_layers"),
}


def _predictor(options: dict[str, Any], truths: Sequence[Any], axes: int) -> FittedPredictor:
    """The predictor that the options describe, untrained; what is not given is left to its own defaults."""
    from ..prediction.predictor import WeightPredictor
    from ..prediction.weight_network import WeightNetwork

    kind = options["predictor"] or next((k for k in reversed(OWN) if any(options[name] for name in OWN[k])), "network")
    for other, names in OWN.items():
        for name in names:
            if other != kind and options[name]:
                option = f"--{name.replace('_', '-')}"
                raise ValueError(f"{option} is an option of {other} and the predictor is {kind}. Take one of them.")
    same = {"radius": "radius", "rho": "rho", "time_": "time", "layers": "n_layers", "seed": "seed"}
    same |= {"range": "range", "spacing": "spacing"}
    given = {own: options[name] for name, own in same.items() if options[name] is not None}
    features = options["features"]
    if features is not None:
        if any(not 1 <= int(radius) <= 100 for radius in re.findall(r"patch:([0-9]+)", features)):
            raise ValueError(f"--features is {features!r}; accepted are patches from patch:1 (3×3) to patch:100.")
        raw = re.fullmatch(r"patch(?::([0-9]+))?", features)  # alone: raw patches, of prototypes not scaled
        given["features"] = int(raw[1] or 1) if raw else features
    if kind == "network":
        if options["hidden"] is not None:
            given["hidden"] = _widths(options["hidden"])
        if options["state"] is not None:
            given["state"] = None if options["state"] < 0 else options["state"]
        if options["label_state"] is not None:
            given["label_state"] = options["label_state"]
        given["label_coupling"] = options["label_coupling"]
        predictor: FittedPredictor = (WeightNetwork.of_volumes if axes == 3 else WeightNetwork)(**given)
    else:
        if options["prototypes"] is not None:
            given["n_prototypes"] = options["prototypes"]
        if options["probabilities"] and options["rho"] is None:
            given["rho"] = 1.0
        predictor = WeightPredictor(**given, shared_layers=options["shared_layers"])
    return predictor.set_params(training=_training(predictor.training, options, truths))


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(x) for x in text.split(","))
    except ValueError:
        widths = (0,)
    if min(widths) < 1:
        raise ValueError(f"--hidden is {text!r}; accepted are widths of layers, as 64,64.")
    return widths


def _training(usual: Training, options: dict[str, Any], truths: Sequence[Any]) -> Training:
    """The usual training with what is given."""
    from ..learning.checkpoint import Checkpoint

    names = ("steps", "step_size", "decay", "flips", "batch", "crop", "patience", "seed")
    given = {name: options[name] for name in names if options[name] is not None}
    if options["foreground"] is not None and options["loss"] != "connectivity":
        raise ValueError("--foreground is that of --loss connectivity. Add it, or leave --foreground out.")
    if options["loss"] is not None:
        given["loss"] = _loss(options["loss"], options["foreground"], truths, options["unlabeled"])
    path = options["checkpoint"]
    checkpoint = None if path is None else Checkpoint(path, resume=options["resume"])
    return replace(usual, **given, balanced=options["balanced"], checkpoint=checkpoint)


def _loss(name: str, foreground: int | None, truths: Sequence[Any], unlabeled: int | None) -> Any:
    """The loss of a name; that of connectivity is told which label its segments have."""
    from ..io.truth import read_values
    from ..learning import BoundaryLoss, ConnectivityLoss, cosine_loss, cross_entropy_loss

    if name != "connectivity":
        return {"cosine": cosine_loss, "cross-entropy": cross_entropy_loss, "boundary": BoundaryLoss()}[name]
    counts: Counter[int] = Counter()
    for path in truths:
        values, numbers = np.unique(read_values(path), return_counts=True)
        counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    known = sorted(counts.keys() - {-1, unlabeled})
    value = max(known, key=lambda x: counts[x]) if foreground is None and known else foreground
    if value not in known:
        raise ValueError(f"--foreground is {foreground}; accepted are the values of the truths, {known[:10]}.")
    return ConnectivityLoss(known.index(value))


def _report(predictor: FittedPredictor, count: int) -> None:
    from ..learning.loop import best

    history, kept = predictor.history_, best(predictor.history_, "validation_loss")
    first, last = (100 * row.wrong for row in (history[0], history[-1]))
    size = f"{predictor.weight_map().vector.size} numbers learned"
    click.echo(f"{count} images, {len(predictor.classes_)} labels, {size}")
    click.echo(f"  training: {first:.2f} % wrong in the first step, {last:.2f} % in the last")
    if kept is not None:
        first, last = (100 * (row.validation_wrong or 0.0) for row in (history[0], kept))
        click.echo(f"  validation: {first:.2f} % wrong at first, {last:.2f} % with the model")
    tell_labels(predictor.label_table())
    click.echo(f"{predictor.reason_} {history[-1].seconds:.1f} s")


def _tell_void(files: FileSet) -> None:
    """Say which values of the first truths may stand for no ground truth, and that -1 does."""
    from ..io.truth import read_truth, read_values
    from ..labeling.hints import void_value

    shares, void = [0.0], None
    for path in files.truths[:LOOKED_AT]:
        with suppress(ValueError, OSError):  # what is wrong with it is said where it is learned from
            shares.append(float(np.mean(read_values(path) == -1)))
            void = void if void is not None else void_value(*read_truth(path))
    tell_void(void)
    if max(shares):
        tell_notes([
            f"up to {100 * max(shares):.3g} % of the pixels of a truth are -1 or no data, and count as without ground "
            "truth. If -1 is a class, store it as another value."
        ])  # fmt: skip


def _figure(predictor: FittedPredictor, files: tuple[Any, ...], unlabeled: int | None, unseen: bool) -> Any:
    """The figure of a model on the first image of a set."""
    from ..plots.predictor import predictor_figure

    images, truths, probabilities = files
    return predictor_figure(
        predictor, images[0], truths[0], probabilities=probabilities[0] if probabilities else None,
        unlabeled=unlabeled, title="validation image" if unseen else "training image",
    )  # fmt: skip
