"""What is said about a training at its end: whether it should go on, and whether anything simpler is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from warnings import warn

import numpy as np

from ..averaging.masks import masked_patches
from ..averaging.patches import spaced_weights
from ..backend.array import like
from ..fields import pixel_shape
from ..flows.deep import DeepFlow
from ..labeling.hints import DataWarning
from ..learning.loss import wrong_share
from .dataset import Prepared
from .model import WeightMap
from .objective import Objective
from .prepared import PreparedImages
from .samples import Samples
from .views import View

__all__ = ["less_is_more", "simpler_methods", "still_falling", "uniform_fields"]

#: Images that methods are compared on, at most, and the side of the square that is taken of each; of volumes a cube of
#: as many pixels.
COMPARED, SIDE = 4, 256
#: Steps that are only a trial.
FEW = 20


def still_falling(losses: Sequence[float]) -> bool:
    """Whether the mean of the last fifth of the losses is below that of the fifth before, by more than
    chance and 2 %."""
    count = len(losses) // 5
    if count < 4:
        return False
    before, last = np.array(losses[-2 * count : -count]), np.array(losses[-count:])
    chance = ((before.var(ddof=1) + last.var(ddof=1)) / count) ** 0.5
    return bool(before.mean() - last.mean() > max(3 * chance, 0.02 * last.mean()))


def simpler_methods(
    objective: Objective, weights: WeightMap, images: PreparedImages, samples: Samples, hidden: int | None = None
) -> dict[str, float]:
    """Shares of wrong pixels, 0 to 1, of the model and of two methods without learning, mean over some images.

    Where pixels are hidden, in cells of a side, these are those that count, and pixelwise labels know nothing of them.
    """
    spacing = objective.reader.spacing

    def shares(k: int) -> tuple[float, float, float]:
        prepared = images.get(samples, k, View(round(SIDE ** (2 / len(spacing))), hidden=hidden), (k,))
        l, truth, v = prepared.log_likelihood, prepared.truth, uniform_fields(objective, prepared)
        return objective(weights, prepared, False).wrong, wrong_share(l, truth), wrong_share(v, truth)

    rows = [shares(k) for k in range(min(COMPARED, len(samples)))]
    means = np.mean(rows, axis=0).tolist()
    found = dict(zip(("the model", "pixelwise labels", "uniform weights"), means, strict=True))
    return {name: share for name, share in found.items() if hidden is None or name != "pixelwise labels"}


def less_is_more(
    objective: Objective,
    weights: WeightMap,
    images: PreparedImages,
    samples: Samples,
    *,
    steps: int,
    hidden: int | None = None,
) -> str:
    """A sentence where pixelwise labels or uniform weights have fewer wrong pixels than what was learned, else "".

    After more than a few steps it is a warning, too.
    """
    model, *others = simpler_methods(objective, weights, images, samples, hidden).items()
    name, wrong = min(others, key=lambda item: item[1])
    if wrong >= model[1]:
        return ""
    what = "have {:.2f} % wrong pixels" if hidden is None else "say other labels than {:.2f} % of the hidden pixels"
    text = (
        f"{name.capitalize()} {what.format(100 * wrong)} on the {samples.name} images and {model[0]} "
        f"{100 * model[1]:.2f} %: take more steps, more images, or options by gpulaf.prediction.tune."
    )
    if steps > FEW:
        warn(text, DataWarning, stacklevel=3)
    return text


def uniform_fields(objective: Objective, prepared: Prepared) -> Any:
    """v of an image with uniform weights, or those of a spacing, in as many layers as the objective has."""
    l, valid = prepared.log_likelihood, prepared.valid
    patches = like(spaced_weights(pixel_shape(l), objective.reader.spacing), l)
    patches = patches if valid is None else masked_patches(patches, valid)
    return DeepFlow(patches, objective.times, solver=objective.solver).solve(l, keep_basis=False).v
