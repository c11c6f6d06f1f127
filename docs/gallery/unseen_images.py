"""
Label unseen images
===================

Learned weights belong to their image. A network learns from several images how weights follow from what surrounds a
pixel, and gives them to images that have no ground truth.
"""

# %%
# Four scenes to learn from, two that are never seen.
import matplotlib.pyplot as plt
import numpy as np

import gpulaf

known = [
    gpulaf.scenes.voronoi_lines(96, sites=18, noise=0.4, seed=seed) for seed in range(4)
]
unseen = [
    gpulaf.scenes.voronoi_lines(96, sites=18, noise=0.4, seed=seed) for seed in (4, 5)
]

# %%
# Sixty steps take seconds; the default, 600, has fewer wrong pixels. The conventions are those of scikit-learn.
network = gpulaf.WeightNetwork().set_params(training__steps=60)
network.fit([scene.image for scene in known], [scene.truth for scene in known])
print(network.reason_)

# %%
# :func:`gpulaf.evaluate` compares it on the unseen images with labels of single pixels and with uniform weights.
found = gpulaf.evaluate(
    network, [scene.image for scene in unseen], [scene.truth for scene in unseen]
)
for method, shares in found.wrong.items():
    print(f"{method}: {', '.join(f'{100 * share:.2f} %' for share in shares)} wrong")

# %%
# The first of them. Uniform weights erase the lines; predicted weights follow them.
scene = unseen[0]
labels = {
    "uniform weights": gpulaf.label(scene.image, scene.prototypes).labels,
    "predicted weights": network.predict([scene.image])[0],
    "ground truth": scene.truth,
}
figure, axes = plt.subplots(2, 2, figsize=(7.5, 8), layout="constrained")
axes[0, 0].imshow(scene.image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
axes[0, 0].set(title="unseen image", xticks=[], yticks=[])
for axis, (name, shown) in zip(axes.flat[1:], labels.items(), strict=True):
    share = (
        f": {100 * np.mean(shown != scene.truth):.2f} % wrong"
        if name != "ground truth"
        else ""
    )
    axis.imshow(shown, cmap="gray", interpolation="nearest")
    axis.set(title=name + share, xticks=[], yticks=[])

# %%
# How the training went: the loss of the images of each step.
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.plot([row.loss for row in network.history_])
axis.set(title="loss", xlabel="step", ylim=(0, None))
