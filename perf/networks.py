"""Can flows that speak to one another label what one flow cannot? Spots whose color depends on the region.

In one half of the image spots are dark on bright, in the other bright on dark: four labels, and a pixel alone says
nothing about the half. A flow on small patches sees spots and no halves, one on large patches halves and no spots.
The single flow has learned C and L of its four labels, the networks learned couplings between a flow of four labels
on 3×3 and one of two labels on 11×11 patches; all of them in the same number of steps on one image, and are tested on
another.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from measure import Rows, command, save
from scipy.spatial import cKDTree

from gpulaf import cross_entropy_loss, uniform_weights
from gpulaf.fields import to_rows
from gpulaf.flows import FlowNetwork

NOISE, RHO, RADIUS, TIMES = 0.4, 0.3, 5, [2.0, 4.0]
#: Value of the labels dark spot, bright ground, bright spot, dark ground.
VALUES = np.array([0.0, 1.0, 1.0, 0.0])


def scene(seed: int, size: int) -> tuple[np.ndarray, ...]:
    """Image, label of every pixel, ℓ of four labels, and ℓ of the two halves, whose grounds are bright and dark."""
    rng = np.random.default_rng(seed)
    pixels = np.moveaxis(np.indices((size, size)), 0, -1)
    angle = rng.uniform(0, np.pi)
    half = (pixels - size / 2) @ [np.cos(angle), np.sin(angle)] > 0
    ground = cKDTree(rng.uniform(0, size, (16, 2))).query(pixels)[0] > 2.6
    truth = (2 * half + ground).astype(np.int32)
    image = VALUES[truth] + NOISE * rng.standard_normal(truth.shape)
    fine, coarse = (to_rows(-abs(image[..., None] - values) / RHO) for values in (VALUES, np.array([1.0, 0.0])))
    return image, truth, fine, coarse


def learned(network: Any, start: dict[Any, Any], fields: list[Any], truth: Any, steps: int) -> Any:
    """The network with matrices learned by Adam from `start`."""
    values = dict(start)
    first, second = ({key: np.zeros_like(x) for key, x in start.items()} for _ in range(2))
    for n in range(1, steps + 1):
        now = network(values)
        solution = now.solve(fields)
        g = cross_entropy_loss(solution.v[0], truth).derivative
        found = now.gradient(solution, [g, None][: len(fields)])
        slopes = {("L", *e): x for e, x in found.couplings.items()} | {("C", *e): x for e, x in found.mixing.items()}
        for key in values:
            first[key] = 0.9 * first[key] + 0.1 * slopes[key]
            second[key] = 0.99 * second[key] + 0.01 * slopes[key] ** 2
            length = np.sqrt(second[key] / (1 - 0.99**n)) + 1e-8
            values[key] = values[key] - 0.2 * first[key] / (1 - 0.9**n) / length
    return network(values)


def network(weights: list[Any], order: tuple[int, ...], values: dict[Any, Any]) -> FlowNetwork:
    """The network of these matrices, L and C by ("L", r, s) and ("C", r, s)."""
    couplings, mixing = ({key[1:]: x for key, x in values.items() if key[0] == kind} for kind in "LC")
    return FlowNetwork(weights, TIMES[: len(weights)], couplings, mixing=mixing, order=order)


def main() -> None:
    asked = command(__doc__, side=(48, 16), steps=(30, 2))
    rng, (_, truth, *train), (image, unseen, *test) = (
        np.random.default_rng(0),
        scene(0, asked.side),
        scene(10, asked.side),
    )
    weights = {radius: uniform_weights((asked.side,) * 2, radius, dtype=np.float64) for radius in (1, 2, RADIUS)}
    labels = {}
    for radius, patches in weights.items():
        start = {("L", 0, 0): 0.1 * rng.standard_normal((4, 4)), ("C", 0, 0): np.eye(4)}
        found = learned(partial(network, [patches], (0,)), start, train[:1], truth, asked.steps)
        labels[f"one flow, {2 * radius + 1}×{2 * radius + 1}"] = found.solve(test[:1]).v[0].argmax(axis=-2)
    both = [weights[1], weights[RADIUS]]
    for name, edges, order in (
        ("coarse, then fine", [(1, 0)], (1, 0)),
        ("side by side", [(1, 0)], (0, 0)),
        ("feedback", [(1, 0), (0, 1)], (0, 0)),
    ):
        start = {("L", r, s): 0.1 * rng.standard_normal(((4, 2)[s], (4, 2)[r])) for r, s in edges}
        found = learned(partial(network, both, order), start, train, truth, asked.steps)
        labels[name] = found.solve(test).v[0].argmax(axis=-2)
    rows = [{"flows": name, "% wrong": 100 * float(np.mean(found != unseen))} for name, found in labels.items()]
    rows.append({"flows": "the right grounds, no spots", "% wrong": 100 * float(np.mean(unseen % 2 == 0))})
    one, several = (min(part, key=lambda row: row["% wrong"]) for part in (rows[:3], rows[3:6]))
    answer = " and ".join(f"{row['% wrong']:.1f} % by {row['flows']}" for row in (one, several))
    shown = {"truth": unseen} | {
        f"{r['flows']}: {r['% wrong']:.1f} % wrong": labels[r["flows"]] for r in (one, several)
    }
    save(rows, f"Of an unseen image are wrong at best {answer}.", partial(figure, image, shown))


def figure(image: np.ndarray, shown: dict[str, np.ndarray], rows: Rows) -> Any:
    """The unseen image, its truth, the best single flow and the best network."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(10, 2.9), dpi=150, layout="constrained")
    axes = drawing.subplots(1, 4)
    axes[0].imshow(image, cmap="gray")
    axes[0].set_title("image", fontsize=10)
    colors = ListedColormap(["#08306b", "#9ecae1", "#7f2704", "#fdae6b"])
    for axis, (name, found) in zip(axes[1:], shown.items(), strict=True):
        axis.imshow(found, cmap=colors, vmin=0, vmax=3, interpolation="nearest")
        axis.set_title(name, fontsize=10)
    for axis in axes:
        axis.set_axis_off()
    return drawing


if __name__ == "__main__":
    main()
