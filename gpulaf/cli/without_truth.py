"""What gpulaf train says and checks where there is no ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .options import FileSet, tell_labels

if TYPE_CHECKING:
    from ..prediction.fitted import FittedPredictor

#: Options that only ground truth gives a meaning, with their values where they are not given.
WITH_TRUTH = {
    "validate_truth": (), "probabilities": (), "validate_probabilities": (), "auto": False, "foreground": None,
    "balanced": False, "unlabeled": None, "figure": None,
}  # fmt: skip


#: Labels that can be found.
MOST = 256


def labels_option(command: Any) -> Any:
    """Add --labels and --noise."""
    command = click.option(
        "--noise", type=float, metavar="SIGMA",
        help="Without --truth: standard deviation of the noise in image units, 0 to 1.  [default: from differences of "
        "neighboring pixels]",
    )(command)  # fmt: skip
    return click.option(
        "--labels", metavar="N|FILE",
        help="Without --truth: number of labels that are to be found, or a .json/.csv file with a row per label.",
    )(command)  # fmt: skip


def check_truth(truth: Sequence[str], options: dict[str, Any]) -> None:
    """Raise ValueError where options do not go with ground truth, or not without it."""
    if truth:
        given = [name for name in ("labels", "noise") if options[name] is not None]
        if given:
            raise ValueError(f"--{given[0]} is for images without ground truth. Leave it out, or leave out --truth.")
        return
    if options["labels"] is None:
        raise ValueError(
            "there is neither ground truth nor what the labels are. Give --truth, or --labels to learn without it."
        )
    given = [name for name, usual in WITH_TRUTH.items() if options[name] != usual]
    if given:
        raise ValueError(f"--{given[0].replace('_', '-')} needs ground truth. Give --truth, or leave it out.")
    if options["loss"] not in (None, "cross-entropy"):
        raise ValueError(f"--loss is {options['loss']}, which needs ground truth. Give --truth, or leave --loss out.")


def images_alone(names: Sequence[str]) -> FileSet:
    """The images that the names stand for, without what would belong to them."""
    from ..io.pairing import expanded

    return FileSet(expanded(names), [], None)


def label_prototypes(labels: str) -> Any:
    """A number of labels or a table of them."""
    from ..io.prototypes import read_prototypes

    found = read_prototypes(labels)
    if isinstance(found, int) and not 2 <= found <= MOST:
        raise ValueError(f"--labels is {labels}; accepted are 2 to {MOST} labels, or a file with a row for each.")
    return found


def report(predictor: FittedPredictor, count: int) -> None:
    """Say how the training went, by the noisy labels of hidden pixels."""
    from ..learning.loop import best

    history, kept = predictor.history_, best(predictor.history_, "validation_loss")
    size = f"{predictor.weight_map().vector.size} numbers learned"
    click.echo(f"{count} images without ground truth, {len(predictor.classes_)} labels, {size}")
    assert predictor.transition_ is not None
    share = 100 * (1 - predictor.transition_.diagonal())
    click.echo(f"  noise: {share.min():.2f} to {share.max():.2f} % of the pixelwise labels wrong, by label")
    first, last = (100 * row.wrong for row in (history[0], history[-1]))
    click.echo(f"  hidden pixels: {first:.2f} % say another label in the first step, {last:.2f} % in the last")
    if kept is not None:
        first, last = (100 * (row.validation_wrong or 0.0) for row in (history[0], kept))
        click.echo(f"  validation: {first:.2f} % say another label at first, {last:.2f} % with the model")
    tell_labels(predictor.label_table())
    click.echo(f"{predictor.reason_} {history[-1].seconds:.1f} s")
