"""Compare a predictor with ground truth: its labels beside pixelwise ones and those of uniform weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from warnings import warn

import numpy as np

from ..backend.array import host_array, namespace
from ..backend.memory import check_memory
from ..backend.progress import progress_bar
from ..backend.validation import calling_level
from ..fields import pixel_shape
from ..labeling.hints import DataWarning
from ..labeling.likelihood import tempered
from ..labeling.solve import label_by
from .dataset import label_indices
from .metrics import confusion_matrix, scores
from .samples import Item, Samples, read_item
from .statistics import naming
from .trained import TrainedPredictor

__all__ = ["METHODS", "Comparison", "Evaluation", "compare", "evaluate"]

METHODS = ("pixelwise", "uniform weights", "predicted weights")


class Comparison(NamedTuple):
    """One image with its truth and what three methods make of it."""

    #: (H, W, C) array, scaled; of a volume with D before H, as what follows.
    image: Any
    #: (H, W) int32 array of label indices on the host, −1 where there is no truth.
    truth: np.ndarray
    #: By method, (H, W) label indices on the host: pixelwise, and with uniform and with predicted weights in as many
    #: layers; 0 where there is no data.
    labels: dict[str, np.ndarray]


class Evaluation(NamedTuple):
    """The result of :func:`evaluate`."""

    #: (J,) int64 array: the value of the truths that each label stands for.
    classes: np.ndarray
    #: By method, (J, J) int64: pixels by class (rows) and label (columns) over all images.
    confusion: dict[str, np.ndarray]
    #: By method, the share of the labeled pixels of each image that are wrong, 0 to 1; NaN for one without truth.
    wrong: dict[str, list[float]]


def compare(predictor: TrainedPredictor, item: Item) -> Comparison:
    """Read an image, validate it once, and label it pixelwise, with uniform and with predicted weights.

    Raises
    ------
    ValueError, TypeError
        If the image, its truth or the probabilities are not of the kind that the predictor was trained on.
    """
    image, values, probabilities, valid = read_item(item)
    reader, labeler = predictor.reader, predictor.labeler()
    reader.check_axes(values.ndim)
    if predictor.on_probabilities_ and probabilities is None:
        raise ValueError("the predictor was trained to refine probabilities. Give them, too.")
    if probabilities is not None and not predictor.on_probabilities_:
        raise ValueError("the predictor was trained without probabilities. Leave them out, or train it on them.")
    features = reader.pixels(image, valid).features
    if probabilities is None:
        fields = reader.data_term(features, valid=valid)
    else:
        soft = namespace(features).asarray(probabilities)
        fields = tempered(reader.log_probabilities(soft, valid), predictor.rho_)
    check_memory(fields, pixel_shape(fields), fields.shape[-2], **labeler.memory_options)
    labelings = (
        label_by(x, fields, features, valid=valid, spacing=reader.spacing)
        for x in (replace(labeler, weights=None), labeler)
    )
    found = [host_array(fields).argmax(axis=-2), *(host_array(x.labels) for x in labelings)]
    if valid is not None:
        found = [np.where(host_array(valid), x, 0) for x in found]
    return Comparison(features, label_indices(values, reader.classes), dict(zip(METHODS, found, strict=True)))


def evaluate(
    predictor: TrainedPredictor,
    images: Sequence[Any],
    truths: Sequence[Any],
    *,
    probabilities: Sequence[Any] | None = None,
    masks: Sequence[Any] | None = None,
    unlabeled: int | None = None,
    progress: bool | None = None,
) -> Evaluation:
    """Compare labels with the truth of images, one image at a time.

    Parameters
    ----------
    predictor : WeightPredictor or WeightNetwork
    images, truths, probabilities, masks
        As in :meth:`WeightPredictor.fit`.
    unlabeled : int, optional
        A value of the truths that is no label, besides −1.
    progress : bool, optional
        Progress bar on standard error; None shows it where that is a terminal.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError, TypeError
        With the number of the image that cannot be used, and why.
    """
    from ..kernels._numba import compiling

    if truths is None:
        raise TypeError("truths is None; accepted is a sequence with the ground truth of every image.")
    samples = Samples(images, truths, probabilities, -1 if unlabeled is None else int(unlabeled), "evaluated", masks)
    count = len(predictor.reader.classes)
    confusion = {method: np.zeros((count, count), np.int64) for method in METHODS}
    wrong: dict[str, list[float]] = {method: [] for method in METHODS}
    bar = progress_bar(range(len(samples)), desc="evaluating", unit="image", shown=progress)
    with compiling(lambda count: bar.set_description(f"compiling kernels, once ({count})")):
        for k in bar:
            with naming(samples, k):
                _, truth, found_labels = compare(predictor, samples[k])
                for method, labels in found_labels.items():
                    found = confusion_matrix(truth, labels, count)
                    confusion[method] += found
                    wrong[method].append(scores(found).wrong)
            bar.set_description("evaluating", refresh=False)
    if predictor.transition_ is not None:
        _warn_of_exchanged_labels(predictor.classes_, confusion[METHODS[-1]])
    return Evaluation(predictor.classes_, confusion, wrong)


def _warn_of_exchanged_labels(classes: np.ndarray, confusion: np.ndarray) -> None:
    """Warn where labels that were found without truth fit it much better in another order."""
    from scipy.optimize import linear_sum_assignment

    total, right = confusion.sum(), np.trace(confusion)
    rows, columns = linear_sum_assignment(confusion, maximize=True)
    matched = confusion[rows, columns].sum()
    if total - matched < (total - right) / 2:
        pairs = ", ".join(f"{classes[k]} for {classes[j]}" for j, k in zip(rows, columns, strict=True) if j != k)
        warn(
            f"the model, which saw no truth, numbers its labels in another order: {pairs}. So matched "
            f"{100 * (1 - matched / total):.3g} % of the pixels are wrong, not {100 * (1 - right / total):.3g} %. "
            "Give prototypes in the order of the truth, as --labels FILE.",
            DataWarning,
            stacklevel=calling_level(),
        )
