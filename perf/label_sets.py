"""How often do conformal sets hold the true label of unseen images, and how large are they?

`gpulaf.labeling.calibrated_sets` on scenes with the paper's noise, T = 3, calibrated on the first scenes and checked on
others; uniform weights, and those of a predictor that was trained on scenes which are in neither. Coverage over all
pixels, of the label farthest from what was asked, and its standard deviation from image to image; mean number of labels
in a set, and empty sets. In the end the size by other scores, which use the flip probability u of the label: the label
gets 1 − u, and the others share u as their probabilities do.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from measure import Rows, command, save

import gpulaf
from gpulaf.labeling import Labeling, calibrated_sets
from gpulaf.prediction import Training

SCENES = {"lines": gpulaf.scenes.voronoi_lines, "colors": gpulaf.scenes.voronoi_colors}
NOISE = {"lines": 0.3, "colors": 0.55}


def with_flips(found: Labeling) -> Labeling:
    """The probabilities in place of which the flip probability stands."""
    W, u = found.probabilities, found.uncertainty[..., None]
    own = np.arange(W.shape[-1]) == found.labels[..., None]
    others = np.where(own, 0, W)
    return found._replace(probabilities=np.where(own, 1 - u, u * others / (others.sum(axis=-1, keepdims=True) + 1e-30)))


def checked(known: list[tuple[Labeling, Any]], others: list[tuple[Labeling, Any]], coverage: float) -> dict[str, float]:
    sets = calibrated_sets(*zip(*known, strict=True), coverage)
    chosen = [sets(found) for found, _ in others]
    truths = np.stack([truth for _, truth in others])
    held = np.stack([np.take_along_axis(s, t[..., None], -1)[..., 0] for s, (_, t) in zip(chosen, others, strict=True)])
    by_label = [held[truths == j].mean() for j in np.unique(truths)]
    sizes = np.stack([s.sum(axis=-1) for s in chosen])
    return {
        "% held": 100 * held.mean(), "% held, worst label": 100 * min(by_label, key=lambda x: -abs(x - coverage)),
        "± over images": 100 * held.mean(axis=(1, 2)).std(), "labels": sizes.mean(),
        "% empty": 100 * (sizes == 0).mean(),
    }  # fmt: skip


def main() -> None:
    asked = command(__doc__, side=(64, 16), known=(40, 3), unseen=(60, 3), train=(8, 3), steps=(60, 2))
    warnings.simplefilter("ignore", gpulaf.DataWarning)
    rows: Rows = []
    for name, make in SCENES.items():
        sites = max(16, asked.side**2 // (550 if name == "lines" else 330))
        scene = lambda seed, make=make, sites=sites: make(asked.side, sites=sites, seed=seed)  # noqa: E731
        training = [scene(99 - k) for k in range(asked.train)]
        predictor = gpulaf.WeightPredictor(rho=0.1, time=3.0, training=Training(steps=asked.steps))
        predictor.fit([s.image.astype(np.float32) for s in training], [s.truth for s in training], progress=False)
        for weights in ("uniform", "predicted"):
            rho = 0.1 if weights == "predicted" else 0.5
            labeler = replace(
                predictor.labeler()
                if weights == "predicted"
                else gpulaf.Labeler(training[0].prototypes, None, rho, 3.0),
                uncertainty=gpulaf.Uncertainty(NOISE[name]),
            )
            pairs = lambda seeds, labeler=labeler, scene=scene: [  # noqa: E731
                (labeler(s.image.astype(np.float32)), s.truth.astype(np.int64)) for s in map(scene, seeds)
            ]
            known, others = pairs(range(asked.known)), pairs(range(500, 500 + asked.unseen))
            flips = [[(with_flips(found), truth) for found, truth in group] for group in (known, others)]
            wrong = 100 * np.mean([(found.labels != truth).mean() for found, truth in others])
            for coverage in (0.9, 0.95, 0.99):
                about = {"scene": name, "weights": weights, "rho": rho, "% asked": 100 * coverage, "% wrong": wrong}
                rows.append(
                    about | checked(known, others, coverage) | {"labels by u": checked(*flips, coverage)["labels"]}
                )
    rows = [{key: float(x) if isinstance(x, np.floating) else x for key, x in row.items()} for row in rows]
    worst = max(rows, key=lambda row: abs(row["% held"] - row["% asked"]))
    label = max(rows, key=lambda row: abs(row["% held, worst label"] - row["% asked"]))
    save(rows, f"On {asked.unseen} unseen scenes, calibrated on {asked.known}, sets miss the coverage by up to "
         f"{abs(worst['% held'] - worst['% asked']):.2f} points, that of one label by up to "
         f"{abs(label['% held, worst label'] - label['% asked']):.2f}.")  # fmt: skip


if __name__ == "__main__":
    main()
