"""Learning linearized assignment flows for image labeling.

Every pixel's label probabilities follow a linear ODE v' = Av + B; A averages over each pixel's neighborhood with weight
patches that are learned by Riemannian descent with a closed-form, low-rank gradient. To begin::

    import gpulaf
    from gpulaf.io import read_image, write_array

    result = gpulaf.label(read_image("photo.png"), 6)             # six labels, found by k-means
    write_array("labels.png", result.labels)                      # and result.probabilities, (H, W, J)

    network = gpulaf.WeightNetwork().fit(images, truths)          # learn from images with ground truth
    classes = network.predict(others)

The same in a shell: ``gpulaf label photo.png --prototypes 6 -o labels.png``, ``gpulaf --help``.

Start with :func:`label`, which labels an image, :func:`label_seeds`, which does so from marked pixels, and
:func:`refine`, which cleans up the soft predictions of a classifier. :func:`fit_weights` learns the weights of one
image with ground truth, :class:`WeightPredictor` learns how weights follow from an image and labels unseen ones,
:func:`label_file` labels images larger than memory. The modules `averaging`, `fields`, `flows`, `integrators`, `io`,
`labeling`, `learning`, `prediction`, `scenes` and `tiling` hold what these are made of; ``help(gpulaf.flows)`` tells
what is in one.

Names load on first use: ``import gpulaf`` is fast, Numba and CuPy come when work begins.
"""

from pathlib import Path

import lazy_loader

_HERE = Path(__file__).parent

# Python started in a checkout finds this folder before an installed gpulaf; its kernels are one level up.
if (_HERE.parent / "kernels" / "stencil.py").is_file():
    __path__.append(str(_HERE.parent))

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [name for name in _names if not (_HERE / name).is_dir() and not (_HERE / f"{name}.py").is_file()]
