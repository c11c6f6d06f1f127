"""
A volume with spacing
=====================

Slices of a microscope lie further apart than the pixels in them. Averaging that knows it reaches equally far in every
direction.
"""

# %%
# Tubes and a ball in a volume whose slices are three pixels apart, under noise.
import matplotlib.pyplot as plt
import numpy as np

import gpulaf

spacing = (3.0, 1.0, 1.0)
z, y, x = (s * np.arange(n) for s, n in zip(spacing, (24, 72, 96), strict=True))
z, y, x = np.meshgrid(z, y, x, indexing="ij")
ball = (z - 36) ** 2 + (y - 36) ** 2 + (x - 26) ** 2 < 18**2
lying = (z - 36 - 9 * np.sin(x / 12)) ** 2 + (y - 18) ** 2 < 5**2
standing = (y - 50) ** 2 + (x - 70 - 6 * np.sin(z / 10)) ** 2 < 5**2
truth = (ball | lying | standing).astype(int)
volume = truth + np.random.default_rng(0).normal(0, 0.45, truth.shape)

# %%
# `channel_axis=None` says that all three axes are spatial. With `spacing` averaging reaches equally far on every axis;
# without it the slices above and below count as much as the neighbors in the slice.
options = {"prototypes": [0.0, 1.0], "channel_axis": None, "time": 3.0}
results = {
    "threshold": (volume > 0.5).astype(int),
    "as if all were equally far": gpulaf.label(volume, **options).labels,
    "with spacing": gpulaf.label(volume, spacing=spacing, **options).labels,
}
for name, labels in results.items():
    print(f"{name}: {100 * np.mean(labels != truth):.2f} % wrong")

# %%
# On the left a slice of the stack, on the right a cut across the slices, stretched to its true height.
figure, axes = plt.subplots(5, 2, figsize=(8, 15), layout="constrained")
volumes = {"volume": volume, **results, "ground truth": truth}
for row, (name, values) in zip(axes, volumes.items(), strict=True):
    share = f": {100 * np.mean(values != truth):.2f} %" if name in results else ""
    options = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    row[0].imshow(values[12], **options)
    row[1].imshow(values[:, 50], aspect=spacing[0], **options)
    row[0].set_title(f"{name}{share}")
    for axis in row:
        axis.set(xticks=[], yticks=[])
axes[0, 1].set_title("across the slices")
