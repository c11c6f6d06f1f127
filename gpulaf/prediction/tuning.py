"""Options of a predictor chosen on images held back: short trainings, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .fitted import FittedPredictor
from .samples import check_sequence

__all__ = ["CANDIDATES", "Trial", "Tuning", "tune"]

P = TypeVar("P", bound=FittedPredictor)

#: Options that are tried, in rounds: each round changes the best of those before it.
CANDIDATES: tuple[tuple[dict[str, Any], ...], ...] = (
    ({"time": 3.0}, {"time": 12.0, "n_layers": 4}),
    ({"radius": 2},),
    ({"features": "patch:2+gaussian:1,2,4,8"},),
)


class Trial(NamedTuple):
    """One short training."""

    #: What differs from the given predictor.
    options: dict[str, Any]
    #: Share of wrong pixels of the images held back, 0 to 1.
    wrong: float
    #: Seconds of its training.
    seconds: float


class Tuning(NamedTuple):
    """The result of :func:`tune`."""

    #: An untrained predictor with the best options and the whole training.
    predictor: Any
    #: All trials in their order, the given options first.
    trials: list[Trial]


def tune(
    predictor: P,
    images: Sequence[Any],
    truths: Sequence[Any],
    *,
    probabilities: Sequence[Any] | None = None,
    masks: Sequence[Any] | None = None,
    unlabeled: int | None = None,
    candidates: Sequence[Sequence[dict[str, Any]]] = CANDIDATES,
    steps: int = 150,
    callback: Callable[[Trial], object] | None = None,
) -> Tuning:
    """Choose time, radius and features by short trainings, on a quarter of the images that is held back.

    Parameters
    ----------
    predictor : WeightNetwork or WeightPredictor
        Where the search starts.
    images, truths, probabilities, masks, unlabeled
        As in :meth:`gpulaf.WeightNetwork.fit`, two images at least.
    candidates : sequence of sequences of dict
        Rounds of options to try; each changes the best of the rounds before.
    steps : int
        Of each short training.
    callback : callable, optional
        ``callback(trial)`` after each of them.

    Returns
    -------
    Tuning

    Raises
    ------
    ValueError
        If there are fewer than two images, or as of a fit.
    """
    check_sequence(images, "images")
    if len(images) < 2:
        raise ValueError(f"there is {len(images)} image; accepted are two or more, as some are held back. Give more.")
    held = np.arange(len(images)) % 4 == (3 if len(images) > 3 else 1)
    short = replace(
        predictor.training, steps=min(steps, predictor.training.steps), checkpoint=None, patience=None, validate=steps
    )
    parts: list[Any] = [
        [None if x is None else _those(x, chosen) for x in (images, truths, probabilities, masks)]
        for chosen in (~held, held)
    ]

    def trial(options: dict[str, Any]) -> Trial:
        known, unseen = parts
        own = type(predictor)(**predictor.get_params(deep=False) | options | {"training": short})
        own.fit(
            known[0], known[1], probabilities=known[2], masks=known[3], validation=tuple(unseen), unlabeled=unlabeled,
            progress=False,
        )  # fmt: skip
        last = own.history_[-1]
        found = Trial(options, float(last.validation_wrong or 0.0), last.seconds)
        if callback is not None:
            callback(found)
        return found

    trials = [trial({})]
    best = trials[0]
    for several in candidates:
        given = predictor.get_params(deep=False) | best.options
        own = [trial(best.options | x) for x in several if any(given.get(name) != value for name, value in x.items())]
        trials += own
        best = min([best, *own], key=lambda x: x.wrong)
    return Tuning(type(predictor)(**predictor.get_params(deep=False) | best.options), trials)


def _those(values: Sequence[Any], chosen: np.ndarray) -> Any:
    """The chosen items, read when they are asked for."""
    from .samples import Files

    at = np.flatnonzero(chosen).tolist()
    if isinstance(values, Files):
        return replace(values, paths=[values.paths[k] for k in at])
    return [values[k] for k in at]
