"""Can flows that speak to one another label what one flow cannot? Spots whose color depends on the region.

    python perf/networks.py

In one half of the image spots are dark on bright, in the other bright on dark: four labels, and a pixel alone says
nothing about the half. A flow on small patches sees spots and no halves, one on large patches halves and no spots.
The single flow has learned C and L of its four labels, the networks learned couplings between a flow of four labels on
3×3 and one of two labels on 11×11 patches; all of them 30 steps on one image, and are tested on another. Writes
perf/results/networks.json and networks.png.
"""

import json
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from gpulaf import cross_entropy_loss, uniform_weights
from gpulaf.fields import to_rows
from gpulaf.flows import FlowNetwork

RESULTS = Path(__file__).parent / "results"
SIZE, NOISE, RHO, STEPS, RADIUS, TIMES = 48, 0.4, 0.3, 30, 5, [2.0, 4.0]
#: Value of the labels dark spot, bright ground, bright spot, dark ground.
VALUES = np.array([0.0, 1.0, 1.0, 0.0])


def scene(seed):
    """Image, label of every pixel, ℓ of four labels, and ℓ of the two halves, whose grounds are bright and dark."""
    rng = np.random.default_rng(seed)
    pixels = np.moveaxis(np.indices((SIZE, SIZE)), 0, -1)
    angle = rng.uniform(0, np.pi)
    half = (pixels - SIZE / 2) @ [np.cos(angle), np.sin(angle)] > 0
    ground = cKDTree(rng.uniform(0, SIZE, (16, 2))).query(pixels)[0] > 2.6
    truth = (2 * half + ground).astype(np.int32)
    image = VALUES[truth] + NOISE * rng.standard_normal(truth.shape)
    fine, coarse = (to_rows(-abs(image[..., None] - values) / RHO) for values in (VALUES, np.array([1.0, 0.0])))
    return image, truth, fine, coarse


def learned(network, start, fields, truth, flow=0):
    """The network with matrices learned by Adam from `start`."""
    values = dict(start)
    first, second = ({key: np.zeros_like(x) for key, x in start.items()} for _ in range(2))
    for n in range(1, STEPS + 1):
        now = network(values)
        solution = now.solve(fields)
        g = [None] * len(fields)
        g[flow] = cross_entropy_loss(solution.v[flow], truth).derivative
        found = now.gradient(solution, g)
        slopes = {("L", *e): x for e, x in found.couplings.items()} | {("C", *e): x for e, x in found.mixing.items()}
        for key in values:
            first[key] = 0.9 * first[key] + 0.1 * slopes[key]
            second[key] = 0.99 * second[key] + 0.01 * slopes[key] ** 2
            length = np.sqrt(second[key] / (1 - 0.99**n)) + 1e-8
            values[key] = values[key] - 0.2 * first[key] / (1 - 0.9**n) / length
    return network(values)


def parts(values):
    """Couplings and mixing of a dictionary of both."""
    return tuple({key[1:]: x for key, x in values.items() if key[0] == kind} for kind in "LC")


def main():
    rng, (_, truth, *train), (image, unseen, *test) = np.random.default_rng(0), scene(0), scene(10)
    weights = {radius: uniform_weights((SIZE, SIZE), radius, dtype=np.float64) for radius in (1, 2, RADIUS)}
    labels, percent = {}, {}
    for radius, patches in weights.items():

        def one(values, patches=patches):
            couplings, mixing = parts(values)
            return FlowNetwork([patches], TIMES[:1], couplings, mixing=mixing)

        start = {("L", 0, 0): 0.1 * rng.standard_normal((4, 4)), ("C", 0, 0): np.eye(4)}
        found = learned(one, start, train[:1], truth)
        side = 2 * radius + 1
        labels[f"one flow, {side}×{side}"] = found.solve(test[:1]).v[0].argmax(axis=-2)
    for name, edges, order in (
        ("coarse, then fine", [(1, 0)], (1, 0)),
        ("side by side", [(1, 0)], (0, 0)),
        ("feedback", [(1, 0), (0, 1)], (0, 0)),
    ):

        def several(values, order=order):
            return FlowNetwork([weights[1], weights[RADIUS]], TIMES, parts(values)[0], order=order)

        start = {("L", r, s): 0.1 * rng.standard_normal(((4, 2)[s], (4, 2)[r])) for r, s in edges}
        labels[name] = learned(several, start, train, truth).solve(test).v[0].argmax(axis=-2)
    for name, found in labels.items():
        percent[name] = round(100 * float(np.mean(found != unseen)), 1)
        print(f"{name}: {percent[name]} % wrong of an unseen image")
    print(f"all ground of the right half: {100 * np.mean(unseen % 2 == 0):.1f} % wrong")
    (RESULTS / "networks.json").write_text(json.dumps(percent, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(image, unseen, labels, percent)


def draw(image, truth, labels, percent):
    """The unseen image, its truth, the best single flow and the best network."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    singles = [name for name in labels if name.startswith("one flow")]
    best = [min(names, key=percent.get) for names in (singles, [name for name in labels if name not in singles])]
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
    axes[0].imshow(image, cmap="gray")
    axes[0].set_title("image")
    shown = {"truth": truth} | {f"{name}: {percent[name]} % wrong": labels[name] for name in best}
    colors = ListedColormap(["#08306b", "#9ecae1", "#7f2704", "#fdae6b"])
    for axis, (name, found) in zip(axes[1:], shown.items(), strict=True):
        axis.imshow(found, cmap=colors, vmin=0, vmax=3, interpolation="nearest")
        axis.set_title(name, fontsize=10)
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(RESULTS / "networks.png", dpi=150)


if __name__ == "__main__":
    main()
