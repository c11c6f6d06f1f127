"""
A big image, tile by tile
=========================

From one file to another, without the image ever being in memory as a whole, and with the same labels as if it were.
"""

# %%
# A file to label: 2048² pixels here; any size will do, in TIFF, Zarr or OME-Zarr.
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np

import gpulaf
from gpulaf.io import read_image, write_array

temporary = TemporaryDirectory()
folder = Path(temporary.name)
scene = gpulaf.scenes.voronoi_colors(2048, sites=1500, noise=0.35)
write_array(folder / "big.tif", (255 * scene.image.clip(0, 1)).astype(np.uint8))

# %%
# A :class:`gpulaf.Labeler` says how images are labeled; :func:`gpulaf.label_file` applies it tile by tile. Tiles of
# 512² make many of them here; left out, their size follows from the memory.
labeler = gpulaf.Labeler(255 * scene.prototypes, time=6.0)
tiling = gpulaf.tiling.Tiling(side=512)
result = gpulaf.label_file(
    folder / "big.tif", folder / "labels.tif", labeler, tiling=tiling
)
print(result.tiles, "tiles of", result.side, "pixels a side")
print(gpulaf.tiling.tile_halo(labeler), "pixels around each are read with it")

# %%
# The labels are those of the whole image, bit for bit. Stopped at any moment and called again, `label_file` goes on
# where it was.
labels = read_image(folder / "labels.tif")
whole = labeler(read_image(folder / "big.tif")).labels
print("the same:", np.array_equal(labels, whole))
print(f"{100 * np.mean(labels != scene.truth):.2f} % wrong")

# %%
# Half of the rows and columns, and the corner of four tiles, whose edges cannot be seen in the labels.
figure, axes = plt.subplots(2, 2, figsize=(8, 8.5), layout="constrained")
corner = slice(432, 592)
pictures = {
    "a quarter of the pixels of the image": scene.image.clip(0, 1)[:1024, :1024],
    "labels": scene.prototypes[labels][:1024, :1024],
    "image at a corner of tiles": scene.image.clip(0, 1)[corner, corner],
    "labels there; dashed: edges of tiles": scene.prototypes[labels][corner, corner],
}
for axis, (title, picture) in zip(axes.flat, pictures.items(), strict=True):
    axis.imshow(picture, interpolation="nearest")
    axis.set(title=title, xticks=[], yticks=[])
for edge in (axes[1, 1].axhline, axes[1, 1].axvline):
    edge(512 - 432 - 0.5, color="white", lw=1, ls="--")
