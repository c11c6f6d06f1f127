"""gpulaf evaluate: what a model brings on images with ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .options import (
    check_figure,
    check_files,
    check_folders,
    device_option,
    file_set,
    files_argument,
    files_option,
    image_sequence,
    tell_notes,
)

if TYPE_CHECKING:
    from ..prediction.evaluation import Evaluation


@click.command()
@files_argument
@click.option("--model", type=click.Path(path_type=Path), required=True, help="A model of gpulaf train.")
@files_option("--truth", "Label images, paired with IMAGES by name.", required=True)
@files_option("--probabilities", "Soft predictions to refine, for a model that was trained on them.")
@click.option("--unlabeled", type=int, help="Value of the truth at pixels without ground truth, besides -1.")
@click.option("--channel-axis", type=int, help="Axis of the channels, where the files do not say it.")
@click.option("--confusion", type=click.Path(path_type=Path), help="Draw the confusion matrix: .png, .pdf or .svg.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write all numbers to this file.")
@click.option("--each", is_flag=True, help="Also print the error of each image.")
@device_option
def evaluate(
    images: tuple[str, ...], model: Path, truth: tuple[str, ...], probabilities: tuple[str, ...], unlabeled: int | None,
    channel_axis: int | None, confusion: Path | None, json_file: Path | None, each: bool, device: str,
) -> None:  # fmt: skip
    """Compare a model with pixelwise labels and uniform weights on IMAGES with ground truth.

    IMAGES, --truth and --probabilities take files, folders and globs in quotes, and are paired by name.
    """
    from ..io.results import Results
    from ..prediction.evaluation import evaluate
    from ..prediction.loading import load_predictor

    check_figure(confusion)
    results = [path for path in (confusion, json_file) if path is not None]
    check_folders(*results)
    predictor = load_predictor(model)
    if predictor.on_probabilities_ != bool(probabilities):
        done, now = ("on", "Give") if predictor.on_probabilities_ else ("without", "Leave out")
        raise ValueError(f"{model} was trained {done} probabilities. {now} --probabilities.")
    files = file_set(images, truth, probabilities)
    check_files([*files.all(), model], results)
    lines = (predictor.other_spacing(path, channel_axis=channel_axis) for path in files.images)
    tell_notes([line for line in lines if line][:1])
    found = evaluate(
        predictor, image_sequence(files.images, device, channel_axis, predictor.axes), files.truths,
        probabilities=files.probabilities, unlabeled=unlabeled,
    )  # fmt: skip
    if not found.confusion["pixelwise"].any():
        raise ValueError("the truths hold no labeled pixel; accepted is at least one. Check them, and --unlabeled.")
    _print(found, files.images, each)
    with Results() as written:
        if json_file is not None:
            numbers = written.write(json_file, lambda path: _write_json(path, model, found, files.images))
            click.echo(f"numbers: {numbers}")
        if confusion is not None:
            drawn = written.write(confusion, lambda path: _draw(path, found))
            click.echo(f"confusion matrix of the predicted weights: {drawn}")


def _print(found: Evaluation, images: list[Path], each: bool) -> None:
    """A column for each method; rows for all pixels, for every class and, where asked for, for every image."""
    from ..prediction.metrics import scores

    methods = list(found.confusion)
    by = {method: scores(matrix) for method, matrix in found.confusion.items()}
    sizes = found.confusion[methods[0]].sum(axis=1)
    width = max(22, *(len(str(path)) + 2 for path in images)) if each else 22

    def row(name: str, values: list[float]) -> None:
        click.echo(f"{name:<{width}}" + "".join(f"{_percent(v):>19}" for v in values))

    click.echo(f"{len(images)} images, {sizes.sum()} labeled pixels, {len(sizes)} labels")
    click.echo(" " * width + "".join(f"{method:>19}" for method in methods))
    row("wrong pixels", [100 * by[m].wrong for m in methods])
    row("mean IoU", [100 * by[m].mean_iou for m in methods])
    for j, value in enumerate(found.classes.tolist()):
        click.echo(f"label {value}, {100 * sizes[j] / max(sizes.sum(), 1):.1f} % of the pixels")
        for name in ("recall", "precision", "iou"):
            row(f"  {'IoU' if name == 'iou' else name}", [100 * getattr(by[m], name)[j] for m in methods])
    if each:
        click.echo("wrong pixels of each image")
        for k, path in enumerate(images):
            row(f"  {path}", [100 * found.wrong[m][k] for m in methods])


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f} %"


def _write_json(path: Path, model: Path, found: Evaluation, images: list[Path]) -> None:
    from ..io.atomic import whole_file
    from ..prediction.metrics import scores

    content: dict[str, Any] = {"model": str(model), "classes": found.classes.tolist()}
    content["methods"] = {
        m: {**_plain(scores(c)._asdict()), "confusion": c.tolist()} for m, c in found.confusion.items()
    }
    content["images"] = [
        {"image": str(p), "wrong": {m: _plain(w[k]) for m, w in found.wrong.items()}} for k, p in enumerate(images)
    ]
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """What JSON can hold: NaN becomes null."""
    if isinstance(value, dict):
        return {name: _plain(x) for name, x in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(x) for x in value.tolist()]
    return None if np.isnan(value) else value


def _draw(path: Path, found: Evaluation) -> None:
    from ..io.images import write_figure
    from ..plots.predictor import confusion_figure

    write_figure(path, confusion_figure(found.confusion["predicted weights"], list(map(str, found.classes))))
