"""What a trained predictor brings: its labels beside pixelwise ones and those of uniform weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import host_array, namespace
from ..labeling.label import label, refine
from .dataset import Item, Samples, read_item
from .metrics import confusion_matrix, scores
from .predictor import WeightPredictor
from .statistics import naming

__all__ = ["METHODS", "Evaluation", "evaluate", "labelings"]

METHODS = ("pixelwise", "uniform weights", "predicted weights")


class Evaluation(NamedTuple):
    """The result of :func:`evaluate`."""

    #: (J,) int64 array: the value of the truths that each label stands for.
    label_values: np.ndarray
    #: By method, (J, J) int64: pixels by class (rows) and label (columns) over all images.
    confusion: dict[str, np.ndarray]
    #: By method, wrong pixels of each image in percent; NaN for one without truth.
    wrong: dict[str, list[float]]


def labelings(predictor: WeightPredictor, image: Any, probabilities: Any = None) -> dict[str, np.ndarray]:
    """(H, W) labels of an image, on the host: pixelwise, with uniform and with predicted weights, in as many layers.

    Parameters
    ----------
    predictor : WeightPredictor
    image : (H, W) or (H, W, C) array
    probabilities : (H, W, J) array, optional
        For a predictor that was trained on them.

    Raises
    ------
    ValueError
        If the image or the probabilities are not of the kind that the predictor was trained on.
    """
    if predictor.on_probabilities_ and probabilities is None:
        raise ValueError("the predictor was trained to refine probabilities. Give them, too.")
    image = predictor.reader.image(image)
    options: dict[str, Any] = {"rho": predictor.rho, "time": predictor.layer_times, "integrator": predictor.solver}
    if probabilities is None:
        found = label(image, predictor.label_prototypes_, **options), predictor.label(image)
    else:
        probabilities = namespace(image).asarray(probabilities)
        found = refine(probabilities, **options), predictor.refine(image, probabilities)
    pixelwise = host_array(predictor.reader.data_term(image, probabilities)).argmax(axis=0)
    return dict(zip(METHODS, (pixelwise, *(host_array(x.labels) for x in found)), strict=True))


def evaluate(
    predictor: WeightPredictor,
    images: Sequence[Any],
    truths: Sequence[Any],
    *,
    probabilities: Sequence[Any] | None = None,
    unlabeled: int | None = None,
    progress: bool | None = None,
) -> Evaluation:
    """Compare labels with the truth of images, one image at a time.

    Parameters
    ----------
    predictor : WeightPredictor
    images, truths, probabilities
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
    from tqdm import tqdm

    from ..kernels._numba import compiling

    samples = Samples(images, truths, probabilities, -1 if unlabeled is None else int(unlabeled), "evaluated")
    count = len(predictor.reader.label_values)
    confusion = {method: np.zeros((count, count), np.int64) for method in METHODS}
    wrong: dict[str, list[float]] = {method: [] for method in METHODS}
    hidden = None if progress is None else not progress
    bar = tqdm(range(len(samples)), desc="evaluating", unit="image", disable=hidden)
    with compiling(lambda count: bar.set_description(f"compiling kernels, once ({count})")):
        for k in bar:
            with naming(samples, k):
                image, values, soft = read_item(samples[k])
                prepared = predictor.reader(Item(image, values, soft))
                truth = host_array(prepared.truth)
                for method, labels in labelings(predictor, prepared.image, soft).items():
                    found = confusion_matrix(truth, labels, count)
                    confusion[method] += found
                    wrong[method].append(scores(found).wrong)
            bar.set_description("evaluating", refresh=False)
    return Evaluation(predictor.label_values_, confusion, wrong)
