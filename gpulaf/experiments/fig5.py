"""Fig. 5: weights predicted from features label images that were not learned from."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..integrators import Taylor
from ..learning.descent import RiemannianAdam
from ..learning.problem import ClosedForm
from ..plots.figures import patch_glyphs, show_image
from ..plots.style import COLORS, DASHES, canvas, logarithmic, plain
from ..prediction.predictor import WeightPredictor
from ..prediction.training import Training
from ..scenes import Scene, voronoi_lines
from .learning import SceneProblem, descend, labels, scene_problem
from .result import Drawing, ExperimentResult, Row, Setting, select

METHODS = ("pixelwise", "uniform weights", "predicted weights")


def run(setting: Setting) -> ExperimentResult:
    """Train a predictor on some images of noisy lines, choose the step on others, label still others with it."""
    count, steps = setting.pick(5, 2), setting.pick(60, 20)
    scenes = [
        voronoi_lines(setting.size, sites=setting.sites(30), seed=setting.seed + k) for k in range(3 * count)
    ]  # fmt: skip
    known, held, unseen = scenes[:count], scenes[count : 2 * count], scenes[2 * count :]
    setting.tell("training")
    predictor = _trained(known, held, steps, setting.seed)
    history = _history(predictor)
    setting.tell("unseen images")
    rows: list[Row] = []
    labeled = [_labelings(predictor, scene) for scene in unseen]
    for k, (scene, found) in enumerate(zip(unseen, labeled, strict=True)):
        rows += [
            {
                "seed": setting.seed + 2 * count + k,
                "method": method,
                "wrong %": 100 * float(np.mean(picked != scene.truth)),
            }
            for method, picked in found.items()
        ]
    scene = unseen[0]
    weights = {
        "learned on the noise-free image": _estimate(scene_problem(scene, clean=True), steps),
        "predicted from the noisy image": predictor.weights(scene.image),
    }
    size = f"{count} images of noisy lines of {setting.size}×{setting.size} pixels"
    drawings = {
        "fig5": Drawing(
            _draw_images(scene, labeled[0], weights),
            f"A predictor trained on {size}, applied to one that it has not seen: labelings above; below, weight "
            "patches that were learned on its noise-free version and its truth, and those predicted from the noisy "
            "image alone, of the pixels in the box.",
        ),
        "fig5-scenes": Drawing(
            _draw_scenes(unseen, labeled),
            f"Every unseen image: with noise, labeled with uniform weights and with predicted ones, and its truth; the "
            f"predictor was trained on {size}.",
        ),
        "fig5-training": Drawing(
            _draw_training(history, rows),
            f"Training on {size}; {count} more choose the step whose parameters are kept. Dotted: pixelwise labels and "
            f"uniform weights on {count} unseen images; dots: predicted weights on each of them.",
        ),
    }
    return ExperimentResult(drawings, {"fig5": rows, "fig5-training": history}, finding(rows))


def finding(rows: list[Row]) -> str:
    """Whether predicted weights label unseen images better than uniform weights and pixels."""
    pixels, uniform, predicted = (_mean(rows, method) for method in METHODS)
    won = "label unseen lines best" if predicted < min(pixels, uniform) else "do not label unseen lines best"
    return (
        f"Predicted weights {won}: {predicted:.2f} % wrong, against {uniform:.2f} % with uniform weights and "
        f"{pixels:.2f} % pixelwise, means over {len(select(rows, method=METHODS[0]))} images."
    )


def _trained(known: list[Scene], held: list[Scene], steps: int, seed: int) -> WeightPredictor:
    """A predictor trained on the known scenes, at the step that was best on those held back."""
    return WeightPredictor(n_prototypes=50, seed=seed, training=Training(steps=steps)).fit(
        [scene.image for scene in known],
        [scene.truth for scene in known],
        clean=[scene.clean for scene in known],
        validation=([scene.image for scene in held], [scene.truth for scene in held]),
        progress=False,
    )


def _history(predictor: WeightPredictor) -> list[Row]:
    """A row for every step; the validation images are looked at in each."""
    return [
        {"step": row.step, "loss": row.loss, "wrong %": 100 * row.wrong, "validation loss": row.validation_loss,
         "validation wrong %": 100 * (row.validation_wrong or 0.0)}
        for row in predictor.history_
    ]  # fmt: skip


def _mean(rows: list[Row], method: str) -> float:
    return float(np.mean([row["wrong %"] for row in select(rows, method=method)]))


def _labelings(predictor: WeightPredictor, scene: Scene) -> dict[str, np.ndarray]:
    p = scene_problem(scene)
    found = (p.log_likelihood.argmax(axis=-2), labels(p.uniform_weights, p), predictor.label(scene.image).labels)
    return dict(zip(METHODS, found, strict=True))


def _estimate(p: SceneProblem, steps: int) -> np.ndarray:
    """Weights learned on this image with its truth."""
    return descend(p, ClosedForm(Taylor()), RiemannianAdam(0.2), steps).weights


def _draw_images(scene: Scene, panels: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> Any:
    figure, axes = canvas(2, 4, width=3.2, height=3.9)
    show_image(axes[0, 0], scene.image.clip(0, 1), "unseen noisy image")
    for axis, (method, found) in zip(axes[0, 1:], panels.items(), strict=True):
        show_image(axis, scene.prototypes[found], f"{method}\n{100 * np.mean(found != scene.truth):.2f} % wrong")
    show_image(axes[1, 0], scene.clean, "ground truth")
    for axis, (name, patches) in zip(axes[1, 1:], weights.items(), strict=False):
        patch_glyphs(axis, axes[1, 0], scene, patches)
        axis.set_title(f"weights {name}\n(red: true borders)", fontsize=10)
    _means(axes[1, 3], scene, weights)
    return figure


def _draw_scenes(unseen: list[Scene], labeled: list[dict[str, np.ndarray]]) -> Any:
    """A column for each scene."""
    figure, axes = canvas(4, len(unseen), width=2.3, height=2.5)
    for column, scene, found in zip(axes.T, unseen, labeled, strict=True):
        show_image(column[0], scene.image.clip(0, 1), "unseen noisy image")
        for axis, method in zip(column[1:], METHODS[1:], strict=False):
            wrong = 100 * np.mean(found[method] != scene.truth)
            show_image(axis, scene.prototypes[found[method]], f"{method}\n{wrong:.2f} % wrong")
        show_image(column[3], scene.clean, "ground truth")
    return figure


def _means(axis: Any, scene: Scene, weights: dict[str, np.ndarray]) -> None:
    """Share of the weight that pixels give to neighbors of their own label, lines and cells apart."""
    names = ["uniform", *("learned" if "learned" in name else "predicted" for name in weights)]
    every = [scene_problem(scene).uniform_weights, *weights.values()]
    for j, (kind, shift) in enumerate((("line pixels", -0.2), ("cell pixels", 0.2))):
        share = [100 * float(own_share(patches, scene.truth)[scene.truth == j].mean()) for patches in every]
        axis.bar(np.arange(len(every)) + shift, share, 0.36, color=COLORS[j], label=kind)
    plain(axis, "weight given to the own label", "", "% of the weight")
    axis.set_xticks(range(len(every)), names)
    axis.set_ylim(0, 125)
    axis.set_yticks([0, 25, 50, 75, 100])
    axis.set_axisbelow(True)
    axis.legend(fontsize=8, frameon=False, loc="upper left", ncol=2)


def own_share(weights: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Σ_k ω_ik over the neighbors with the label of pixel i: (H, 9, W) and (H, W) to (H, W)."""
    height, width = truth.shape
    padded = np.pad(truth, 1, constant_values=-1)
    windows = np.stack([padded[o // 3 : o // 3 + height, o % 3 : o % 3 + width] for o in range(9)], axis=-2)
    return (weights * (windows == truth[:, None])).sum(axis=-2)


def _draw_training(history: list[Row], rows: list[Row]) -> Any:
    figure, (line,) = canvas(1, 2, width=4.3)
    steps = [row["step"] for row in history]
    for axis, column in ((line[0], "loss"), (line[1], "wrong %")):
        for k, (prefix, name) in enumerate((("", "training images"), ("validation ", "validation images"))):
            values = [row[f"{prefix}{column}"] for row in history]
            axis.plot(steps, values, color=COLORS[k], ls=DASHES[k], lw=2, label=name)
    for method, color in zip(METHODS[:2], (COLORS[2], COLORS[5]), strict=True):
        line[1].axhline(_mean(rows, method), color=color, lw=1.2, ls=DASHES[2], label=f"{method}, unseen")
    dots = [row["wrong %"] for row in select(rows, method=METHODS[2])]
    line[1].plot([steps[-1]] * len(dots), dots, "o", color=COLORS[0], mfc="white", ms=5, label="predicted, unseen")
    plain(line[0], "loss", "training step", "cosine loss")
    plain(line[1], "wrong pixels", "training step", "% of pixels")
    for axis in line:
        logarithmic(axis)
    figure.legend(*line[1].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    return figure
