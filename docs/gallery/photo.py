"""
Label a photo
=============

Six labels of a photo, found by k-means, and what averaging over the neighbors does to them.
"""

# %%
# The photo is one that Matplotlib brings along. :func:`gpulaf.io.read_image` reads any file into an array.
import matplotlib.pyplot as plt
from matplotlib.cbook import get_sample_data

import gpulaf
from gpulaf.io import read_image
from gpulaf.labeling import distances

photo = read_image(get_sample_data("grace_hopper.jpg", asfileobj=False))
print(photo.shape, photo.dtype)

# %%
# A number in the place of prototypes asks for so many labels. The result holds the labels, their probabilities, and the
# prototypes that were found, in the units of the photo.
result = gpulaf.label(photo, 6)
print(result.labels.shape, result.probabilities.shape)
print(result.prototypes.round())


# %%
# The integration time T says how long neighbors speak to one another. From here on the prototypes stay the same, so
# that the labels can be compared, beside those of each pixel alone. Bilateral weights average over neighbors of a
# similar color and keep to the edges of the photo; patches of 7×7 reach further than those of 3×3, the default.
def painted(labels):
    """Every pixel in the color of its label."""
    return result.prototypes[labels].round().astype("uint8")


bilateral = gpulaf.averaging.BilateralWeights(sigma=0.1)
larger = gpulaf.uniform_weights(photo.shape[:2], radius=3)
pictures = {
    "photo": photo,
    "each pixel for itself": painted(
        distances(photo.astype(float), result.prototypes).argmin(axis=-2)
    ),
    "T = 3": painted(gpulaf.label(photo, result.prototypes).labels),
    "T = 30": painted(gpulaf.label(photo, result.prototypes, time=30).labels),
    "T = 30, bilateral weights": painted(
        gpulaf.label(photo, result.prototypes, time=30, weights=bilateral).labels
    ),
    "T = 30, 7×7 uniform weights": painted(
        gpulaf.label(photo, result.prototypes, time=30, weights=larger).labels
    ),
}

figure, axes = plt.subplots(2, 3, figsize=(9, 7.4), layout="constrained")
for axis, (title, picture) in zip(axes.flat, pictures.items(), strict=True):
    axis.imshow(picture, interpolation="nearest")
    axis.set(title=title, xticks=[], yticks=[])

# %%
# The same in detail: badges and ribbons.
figure, axes = plt.subplots(2, 3, figsize=(9, 6.4), layout="constrained")
for axis, (title, picture) in zip(axes.flat, pictures.items(), strict=True):
    axis.imshow(picture[400:560, 270:430], interpolation="nearest")
    axis.set(title=title, xticks=[], yticks=[])
