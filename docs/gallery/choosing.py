"""
Choose ρ and T
==============

How many pixels are wrong, for every scale ρ of the data and every time T, on regions and on thin lines.
"""

# %%
# ρ is the distance to a prototype that matters: a large one trusts single pixels less. T is how long neighbors speak to
# one another. Where there is ground truth for one image, the best of both is found by trying.
import warnings

import matplotlib.pyplot as plt
import numpy as np

import gpulaf
from gpulaf.labeling import distances

cells = gpulaf.scenes.voronoi_colors(96, sites=30)
lines = gpulaf.scenes.voronoi_lines(96, sites=18)
bilateral = gpulaf.averaging.BilateralWeights(sigma=0.4)
cases = {
    "cells, uniform weights": (cells, None),
    "cells, bilateral weights": (cells, bilateral),
    "lines, uniform weights": (lines, None),
    "lines, bilateral weights": (lines, bilateral),
}
scales, times = (0.03, 0.1, 0.3, 1.0, 3.0), (0.3, 1.0, 3.0, 6.0, 12.0, 24.0)


def wrong(scene, weights, rho, time):
    """Percent of the pixels."""
    found = gpulaf.label(
        scene.image, scene.prototypes, weights=weights, rho=rho, time=time
    ).labels
    return 100 * np.mean(found != scene.truth)


warnings.simplefilter(
    "ignore", gpulaf.DataWarning
)  # where T is long all lines are gone, which it says
tables = {
    name: np.array(
        [[wrong(scene, weights, rho, time) for time in times] for rho in scales]
    )
    for name, (scene, weights) in cases.items()
}

# %%
# A frame marks the fewest. Regions want a long time; lines want a short one, and weights that know the image: uniform
# ones have more wrong pixels than each pixel for itself, at every ρ and T. On the cells, where the noise is larger than
# σ, bilateral weights take noise for edges and hardly average at all.
figure, axes = plt.subplots(2, 2, figsize=(9.6, 8), layout="constrained")
for axis, (name, table) in zip(axes.flat, tables.items(), strict=True):
    shade = np.log(table / table.min()) / np.log(table.max() / table.min())
    axis.imshow(shade, cmap="YlOrRd", aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        color = "white" if shade[row, column] > 0.6 else "black"
        axis.text(column, row, f"{value:.1f}", ha="center", va="center", color=color)
    row, column = np.unravel_index(table.argmin(), table.shape)
    axis.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, lw=3))
    axis.set(title=f"{name}: wrong, %", xlabel="T", ylabel="ρ")
    axis.set_xticks(range(len(times)), times)
    axis.set_yticks(range(len(scales)), scales)

# %%
# Each pixel for itself:
for name, scene in (("cells", cells), ("lines", lines)):
    alone = distances(scene.image, scene.prototypes).argmin(axis=-2)
    print(f"{name}: {100 * np.mean(alone != scene.truth):.1f} % wrong")
