"""
Clean up soft predictions
=========================

A classifier that looks at single pixels gives probabilities or logits; the flow makes a labeling of them.
"""

# %%
# Two scenes with ground truth: the classifier learns from the first and is asked about the second. It is linear
# discriminant analysis: class means and one covariance, which make logits that are linear in the color.
import matplotlib.pyplot as plt
import numpy as np

import gpulaf

known, scene = (
    gpulaf.scenes.voronoi_colors(160, noise=0.4, seed=seed) for seed in (1, 0)
)
means = np.stack([known.image[known.truth == j].mean(axis=0) for j in range(8)])
inverse = np.linalg.inv(np.cov((known.image - means[known.truth]).reshape(-1, 3).T))
logits = scene.image @ inverse @ means.T - 0.5 * np.einsum(
    "jc,cd,jd->j", means, inverse, means
)
print(logits.shape)

# %%
# :func:`gpulaf.refine_logits` takes them as they are, :func:`gpulaf.refine` takes probabilities. The longer the time T,
# the larger the regions.
alone = logits.argmax(axis=-1)
refined = {
    time: gpulaf.refine_logits(logits, time=time).labels
    for time in (0.3, 1, 3, 6, 12, 24)
}
wrong = {time: 100 * np.mean(labels != scene.truth) for time, labels in refined.items()}
print(f"classifier alone: {100 * np.mean(alone != scene.truth):.2f} % wrong")
for time, share in wrong.items():
    print(f"T = {time}: {share:.2f} % wrong")

# %%
# Below, the colors of the labels. Where the classifier is right about most pixels of a region, its mistakes vanish.
panels = {
    "image": scene.image.clip(0, 1),
    "classifier alone": scene.prototypes[alone],
    "refined, T = 3": scene.prototypes[refined[3]],
    "refined, T = 12": scene.prototypes[refined[12]],
    "ground truth": scene.clean,
}
figure, axes = plt.subplots(2, 3, figsize=(9, 6.4), layout="constrained")
for axis, (title, picture) in zip(axes.flat, panels.items(), strict=False):
    axis.imshow(picture, interpolation="nearest")
    axis.set(title=title, xticks=[], yticks=[])
axes[1, 2].plot(wrong.keys(), wrong.values(), "o-")
axes[1, 2].set(title="wrong pixels, %", xlabel="T", ylim=(0, None), box_aspect=1)

# %%
# Probabilities come back, too. What stays uncertain lies along the boundaries: here 1 minus the largest probability.
result = gpulaf.refine_logits(logits, time=3)
figure, axis = plt.subplots(figsize=(4.2, 3.4), layout="constrained")
shown = axis.imshow(
    1 - result.probabilities.max(axis=-1), cmap="magma", interpolation="nearest"
)
axis.set(title="uncertainty", xticks=[], yticks=[])
figure.colorbar(shown)
