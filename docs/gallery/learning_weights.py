"""
Learning weights
================

Thin lines under noise vanish when every neighbor counts alike. Weights learned from ground truth keep them.
"""

# %%
# A scene of the paper: lines of one pixel between cells, noise of 0.3. Distances of the pixels to the two prototypes
# over the scale ρ are the data of the flow.
import matplotlib.pyplot as plt
import numpy as np

import gpulaf
from gpulaf.labeling import distances, log_likelihood

scene = gpulaf.scenes.voronoi_lines(96, sites=18)
likelihood = log_likelihood(distances(scene.image, scene.prototypes), rho=0.1)

# %%
# Every step solves the flow, asks the loss for its derivative, and goes along the closed-form gradient on the simplex
# of each weight patch. `history` tells how it went. A list of times is a sequence of linearized flows, each with
# weights of its own: two of them here, beside one flow over the same time.
one = gpulaf.fit_weights(likelihood, scene.truth, time=3.0, steps=60)
two = gpulaf.fit_weights(likelihood, scene.truth, time=[1.5, 1.5], steps=60)
for step in range(0, 61, 15):
    print(f"step {step}: {100 * one.history[step].wrong:.2f} % wrong with one flow, "
          f"{100 * two.history[step].wrong:.2f} % with two")  # fmt: skip

# %%
# What each pixel would say alone, what uniform averaging makes of it, and the learned weights.
labels = {
    "each pixel for itself": likelihood.argmax(axis=-2),
    "uniform weights": gpulaf.label(scene.image, scene.prototypes).labels,
    "one flow": gpulaf.label(scene.image, scene.prototypes, weights=one.weights).labels,
    "two flows": gpulaf.label(
        scene.image, scene.prototypes, weights=two.weights, time=[1.5, 1.5]
    ).labels,
}
figure, axes = plt.subplots(2, 3, figsize=(9, 6.4), layout="constrained")
axes[0, 0].imshow(scene.image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
axes[0, 0].set(title="image", xticks=[], yticks=[])
for fit, name in ((one, "one flow"), (two, "two flows")):
    axes[1, 2].plot([100 * row.wrong for row in fit.history], label=name)
axes[1, 2].set(title="wrong pixels, %", xlabel="step", ylim=(0, None), box_aspect=1)
axes[1, 2].legend()
for axis, (name, found) in zip(axes.flat[1:], labels.items(), strict=False):
    axis.imshow(found, cmap="gray", interpolation="nearest")
    axis.set(
        title=f"{name}: {100 * np.mean(found != scene.truth):.2f} %",
        xticks=[],
        yticks=[],
    )

# %%
# Weights are an array (H, 9, W): for every pixel nine numbers that sum to one. The arrow of a pixel points to where its
# weights lie, their mean offset. Beside a line pixels turn away from it, to their own side; pixels of the line lean on
# pixels of the line.
offsets = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)])
mean = np.einsum("yox,oc->yxc", two.weights[0], offsets)
rows, columns = slice(32, 48), slice(32, 48)
figure, axis = plt.subplots(figsize=(6, 6), layout="constrained")
axis.imshow(scene.truth[rows, columns], cmap="gray", vmin=-1.5, interpolation="nearest")
arrows = mean[rows, columns, 1], mean[rows, columns, 0]
axis.quiver(*arrows, angles="xy", scale_units="xy", scale=0.8, color="#CC3311")
axis.set(title="where the weights of the first flow lie", xticks=[], yticks=[])
