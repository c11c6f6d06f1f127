"""Predictors that are trained on some scenes, chosen by others and judged on still others, several times over."""

from __future__ import annotations

from itertools import count
from typing import Any, NamedTuple

import numpy as np

from ..averaging.patches import uniform_weights
from ..integrators import Taylor
from ..labeling.labeler import Labeler
from ..learning.loop import best
from ..prediction.predictor import WeightPredictor
from ..prediction.training import Training
from ..scenes import Scene, voronoi_colors, voronoi_lines
from .learning import RHO
from .result import Row, Setting

#: Scenes by name: how they are made, cells at 128×128, and noise that leaves every method something to do.
SCENES = {"lines": (voronoi_lines, 30, 0.5), "colors": (voronoi_colors, 50, 0.55)}
#: Images of one step of training, and steps between two looks at the validation images.
BATCH, VALIDATE = 2, 5
#: Trainings of every case, of the full and of the quick setting.
REPEATS = 3, 2
#: Integrator of what is compared with predictors, whose own tolerance it has.
SOLVER = Taylor(tol=1e-3)
#: What needs no learning.
PIXELS, UNIFORM = "pixelwise", "uniform weights"


class Sets(NamedTuple):
    """Scenes to learn from, scenes that choose the step, and scenes that nothing has seen."""

    known: list[Scene]
    held: list[Scene]
    unseen: list[Scene]


def sets(name: str, setting: Setting, repeat: int) -> Sets:
    """The scenes of one training; the unseen ones are the same for every repeat."""
    make, sites, noise = SCENES[name]
    size = round(0.75 * setting.size)
    cells = max(4, round(sites * (size / 128) ** 2))

    def scenes(first: int, number: int) -> list[Scene]:
        return [make(size, sites=cells, noise=noise, seed=setting.seed + first + k) for k in range(number)]

    first = 1000 * (repeat + 1)
    known = (scenes(begin, setting.pick(6, 3)) for begin in count(first))
    return Sets(next(filter(_complete, known)), scenes(first + 500, setting.pick(2, 1)), scenes(0, setting.pick(6, 2)))


def _complete(scenes: list[Scene]) -> bool:
    """Whether every label is somewhere."""
    return len(np.unique([s.truth for s in scenes])) == len(scenes[0].prototypes)


def trained(scenes: Sets, setting: Setting, repeat: int, **options: Any) -> WeightPredictor:
    """A predictor with these options; all else is the same for everyone."""
    prototypes, steps = setting.pick(50, 20), setting.pick(60, 20)
    return WeightPredictor(prototypes, seed=repeat, rho=RHO, **options).fit(
        [_image(scene) for scene in scenes.known],
        [scene.truth for scene in scenes.known],
        clean=[scene.clean for scene in scenes.known],
        validation=([_image(scene) for scene in scenes.held], [scene.truth for scene in scenes.held]),
        training=Training(steps=steps, batch=BATCH, decay=True, validate=VALIDATE),
        progress=False,
    )


def judged(predictor: WeightPredictor, unseen: list[Scene]) -> Row:
    """Wrong pixels in percent, on the validation images at the kept step and on unseen ones, mean over the images."""
    kept = best(predictor.history_, "validation_loss")
    assert kept is not None
    assert kept.validation_wrong is not None
    wrong = [float(np.mean(predictor.label(_image(s)).labels != s.truth)) for s in unseen]
    return {"validation wrong %": 100 * kept.validation_wrong, "wrong %": 100 * float(np.mean(wrong))}


def baselines(unseen: list[Scene], time: float, layers: int = 1, radius: int = 1) -> dict[str, float]:
    """Share of wrong pixels of unseen scenes, pixelwise and with uniform weights in so many layers."""
    pixels, uniform = [], []
    for s in unseen:
        distance = np.linalg.norm(s.image[..., None, :] - s.prototypes, axis=-1)
        pixels.append(np.mean(distance.argmin(axis=-1) != s.truth))
        weights = uniform_weights(s.truth.shape, radius)
        labeler = Labeler(s.prototypes, weights=weights, rho=RHO, time=[time / layers] * layers, solver=SOLVER)
        uniform.append(np.mean(labeler(_image(s)).labels != s.truth))
    return {PIXELS: float(np.mean(pixels)), UNIFORM: float(np.mean(uniform))}


def compared(one: np.ndarray, other: np.ndarray) -> str:
    """Whether the other has fewer errors in every repeat and 5 % fewer in the mean, more, or neither."""
    if (other < one).all() and other.mean() < 0.95 * one.mean():
        return "helps"
    if (other > one).all() and other.mean() > 1.05 * one.mean():
        return "hurts"
    return "changes little"


def _image(scene: Scene) -> np.ndarray:
    return scene.image.astype(np.float32)
