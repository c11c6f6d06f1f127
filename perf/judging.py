"""Scores of labelings, and settings chosen by them on training images: by wrong pixels, and by the Rand F-score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from baselines import Case

from gpulaf.prediction import confusion_matrix, rand_scores, scores, segments

#: What is added to the cost of label 0, in nats, of methods without settings, and of those with some at first.
OFFSETS = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
FIRST = (-1.0, 0.0, 1.0, 2.0)
#: How many images all settings see, and how many settings go on from there to all images, by each of the two scores.
FEW, KEPT = 2, 3

#: Labels (H, W) of a case with the settings given.
Call = Callable[..., np.ndarray]


class Problem(NamedTuple):
    """Images to learn from, others to choose settings on that are parts of the same, and unseen ones."""

    name: str
    known: list[Case]
    tuning: list[Case]
    unseen: list[Case]
    #: Whether the costs are those of a classifier rather than of the image.
    soft: bool = False
    #: Whether label 1 stands for cells, so that an offset is chosen and the Rand score is told.
    cells: bool = False


class Found(NamedTuple):
    """How a method does on the unseen images."""

    #: % of each image, with the settings chosen by wrong pixels.
    wrong: list[float]
    #: % of intersection over union, mean over the classes, of all images together.
    iou: float
    #: The foreground-restricted Rand F-score of each image, with the settings chosen by it; empty without cells.
    rand: list[float]
    #: Chosen by wrong pixels.
    settings: dict[str, Any]
    #: Processor time of training and choice.
    seconds: float


def wrong(labels: np.ndarray, case: Case) -> float:
    """% of the pixels with truth."""
    known = case.truth >= 0
    return 100 * float(np.mean(labels[known] != case.truth[known]))


def rand(labels: np.ndarray, case: Case) -> float:
    return rand_scores(segments(case.truth), segments(labels.astype(np.int32))).f_score


def ranked(
    call: Call, candidates: list[dict[str, Any]], cases: Sequence[Case], cells: bool
) -> list[list[dict[str, Any]]]:
    """The candidates by wrong pixels, best first, and where there are cells by the Rand score."""
    marks = []
    for candidate in candidates:
        found = [call(case, **candidate) for case in cases]
        pairs = [(wrong(x, case), -rand(x, case) if cells else 0) for x, case in zip(found, cases, strict=True)]
        marks.append(np.mean(pairs, axis=0))
    orders = np.argsort(np.transpose(marks), kind="stable")
    return [[candidates[k] for k in order] for order in orders[: 1 + cells]]


def tuned(call: Call, settings: Sequence[dict[str, Any]], problem: Problem) -> list[dict[str, Any]]:
    """The best settings by wrong pixels, and where there are cells by the Rand score, with an offset then."""
    cells, tried = problem.cells, list(settings)
    if cells:
        tried = [s | {"offset": o} for s in settings for o in (OFFSETS if len(settings) == 1 else FIRST)]
    if len(settings) > 1:
        first, *second = (order[:KEPT] for order in ranked(call, tried, problem.tuning[:FEW], cells))
        tried = first + [s for order in second for s in order if s not in first]
        if cells:
            tried = [s | {"offset": s["offset"] + o} for s in tried for o in (-0.5, 0.0, 0.5)]
    return [order[0] for order in ranked(call, tried, problem.tuning, cells)] if len(tried) > 1 else tried


def told(call: Call, settings: Sequence[dict[str, Any]], problem: Problem, seconds: float) -> Found:
    """What a method with chosen settings makes of the unseen images."""
    found = [call(case, **settings[0]) for case in problem.unseen]
    labels = problem.unseen[0].cost.shape[-2]
    pairs = list(zip(found, problem.unseen, strict=True))
    confusion = np.sum([confusion_matrix(case.truth, x.astype(np.int32), labels) for x, case in pairs], axis=0)
    shares = [wrong(x, case) for x, case in pairs]
    groups = [rand(call(case, **settings[1]), case) for case in problem.unseen] if problem.cells else []
    return Found(shares, 100 * scores(confusion).mean_iou, groups, settings[0], seconds)
