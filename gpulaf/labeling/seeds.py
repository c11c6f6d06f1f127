"""Labels grown from seeds: pixels whose label is known, as of scikit-image's random walker."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import hypot
from typing import Any

import numpy as np

from ..backend.array import host_array, like, namespace
from ..backend.foreign import named_axes
from ..backend.numbers import check_number
from ..backend.validation import check_rho, check_spacing, image_features, real_array
from ..fields import from_rows, to_rows
from ..integrators.base import Integrator
from ..integrators.nonlinear import Scheme
from ..integrators.taylor import Taylor
from .labeler import Labeler, Labeling
from .likelihood import distances
from .prototypes import in_units

__all__ = ["label_seeds"]

#: Log-odds that a seed has, and the most that any other pixel has: e^−20 is nothing.
SURE = 20.0
#: What a pixel of a path costs, in nats, beside the contrast along it.
STEP = 0.02
#: Scale in pixels of the Gaussian that takes noise from the image of the paths.
SMOOTH = 0.7


def label_seeds(
    image: Any,
    markers: Any,
    *,
    rho: float | None = 0.1,
    contrast: float | None = 0.1,
    weights: Any = None,
    time: float | Sequence[float] | None = None,
    solver: Integrator | Scheme = Taylor(),
    channel_axis: int | None = -1,
    mask: Any = None,
    range: tuple[float, float] | None = None,
    spacing: tuple[float, ...] | None = None,
) -> Labeling:
    """Label every pixel from seeds, pixels whose label is known, which keep it.

    The data of a pixel for label j are −‖f − p_j‖/ρ, with the mean color p_j of the seeds, and minus the length of the
    shortest path to a seed of j: Σ‖Δf‖²/contrast² in the slightly smoothed image, and 0.02 for each pixel. Seeds are
    sure. The flow then averages.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array; (D, H, W, C), or (D, H, W) with ``channel_axis=None``, of a volume
        As in :func:`gpulaf.label`.
    markers : (H, W) integer array; (D, H, W) of a volume
        The label of each seed, any positive number; 0 where it is to be found. Pixels of negative ones are left out,
        as pixels without data, and keep their number, as in scikit-image.
    rho : float, optional
        Scale of the colors: the distance, in scaled image units, that matters. None: colors say nothing, as where
        objects that touch look alike.
    contrast : float, optional
        Difference of two neighbors on a path, in scaled image units, that matters: an edge of this height. None: paths
        say nothing, as where regions without a seed have a label, too.
    weights, time, solver, channel_axis, mask, range, spacing
        As in :func:`gpulaf.label`.

    Returns
    -------
    Labeling
        Its labels are values of `markers` in their type, 0 where `mask` is False; probabilities are (H, W, J) in the
        order of ``numpy.unique(markers[markers > 0])``. Arrays are in the library of `image`.

    Raises
    ------
    ValueError, TypeError
        As of :func:`gpulaf.label`; for markers of another shape or type, and fewer than two labels.

    Notes
    -----
    Paths are found on the CPU by Dijkstra's algorithm (SciPy), one run for each label.

    Examples
    --------
    >>> import numpy as np
    >>> import gpulaf
    >>> scene = gpulaf.scenes.voronoi_lines(32, noise=0.2)
    >>> known = np.random.default_rng(0).random(scene.truth.shape) < 0.2
    >>> markers = np.where(known, 10 + scene.truth, 0)
    >>> result = gpulaf.label_seeds(scene.image, markers)
    >>> np.unique(result.labels).tolist(), bool((result.labels == markers)[known].all())
    ([10, 11], True)
    """
    if rho is None and contrast is None:
        raise ValueError("rho and contrast are None; accepted is one of them. Give the scale of colors or of paths.")
    if rho is not None:
        check_rho(rho)
    if contrast is not None:
        check_number(contrast, "contrast", usual="0.1 suits images with values in [0, 1].")
    labeler = Labeler(None, weights, 1.0, time, solver, range=range)
    found = _markers(markers)
    left_out = None if (found >= 0).all() else found >= 0
    pixels = image_features(image, channel_axis, mask=_joined(mask, left_out), range=range)
    shape, valid = tuple(pixels.features.shape[:-1]), pixels.valid
    if found.shape != shape:
        raise ValueError(f"markers have shape {found.shape}; accepted is {shape}, one for each pixel of the image.")
    check_spacing(spacing, len(shape))
    seeds = np.where(True if valid is None else host_array(valid), found, 0)
    values, indices = np.unique(seeds, return_inverse=True)
    indices = indices.reshape(shape) - np.searchsorted(values, 1)
    values = values[values > 0]
    if len(values) < 2:
        raise ValueError(f"markers hold {len(values)} label(s) in valid pixels; accepted are at least 2. Add seeds.")
    features = host_array(pixels.features)
    prototypes = np.stack([features[seeds == value].mean(axis=0, dtype=np.float64) for value in values])
    data = np.zeros((*shape, len(values)), features.dtype)
    if rho is not None:
        data -= from_rows(distances(features, prototypes)) / features.dtype.type(rho)
    if contrast is not None:
        inside = None if valid is None else host_array(valid)
        graph = _path_graph(_smoothed(features, inside), float(contrast), spacing, inside)
        for j, value in enumerate(values):
            data[..., j] -= _path_lengths(graph, seeds == value)
    data = np.maximum(data - data.max(axis=-1, keepdims=True), -SURE)
    known, own = seeds > 0, np.eye(len(values), dtype=features.dtype)
    data[known] = SURE * (own[indices[known]] - 1)
    fields = like(np.ascontiguousarray(to_rows(data)), pixels.features)
    result = labeler.refine_fields(fields, valid, pixels, spacing)
    return _with_seeds(result, found, values, known, own[indices[known]], in_units(prototypes, pixels.range))


def _markers(markers: Any) -> np.ndarray:
    """The markers on the host; TypeError for what is no array of integers."""
    array = host_array(real_array(named_axes(markers, None, "markers")[0], "markers"))
    if array.dtype.kind not in "iu":
        raise TypeError(f"markers have dtype {array.dtype}; accepted are integers, 0 where there is no seed.")
    return array


def _joined(mask: Any, left_out: np.ndarray | None) -> Any:
    """The mask, without the pixels that the markers leave out."""
    if mask is None or left_out is None:
        return left_out if mask is None else mask
    return np.logical_and(host_array(named_axes(mask, None, "mask")[0]), left_out)


def _smoothed(features: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """The features under a narrow Gaussian, of valid pixels alone."""
    from scipy.ndimage import gaussian_filter

    width = (SMOOTH,) * (features.ndim - 1) + (0,)
    if valid is None:
        return np.asarray(gaussian_filter(features, width))
    inside = valid[..., None].astype(features.dtype)
    share = gaussian_filter(inside, width)
    return np.asarray(gaussian_filter(features * inside, width) / np.where(share > 0, share, 1))


def _path_graph(features: np.ndarray, contrast: float, spacing: Any, valid: np.ndarray | None) -> Any:
    """What a step from each pixel to its 8 neighbors, 26 in a volume, costs: a sparse (n, n) matrix."""
    from scipy.sparse import coo_array

    shape = features.shape[:-1]
    number, unit = np.arange(np.prod(shape)).reshape(shape), (1.0,) * len(shape) if spacing is None else spacing
    ends: list[list[np.ndarray]] = [[], [], []]
    for offset in product((-1, 0, 1), repeat=len(shape)):
        if offset <= (0,) * len(shape):  # one of the two directions
            continue
        near = tuple(slice(max(0, -k), n - max(0, k)) for k, n in zip(offset, shape, strict=True))
        far = tuple(slice(max(0, k), n - max(0, -k)) for k, n in zip(offset, shape, strict=True))
        length = hypot(*(k * s for k, s in zip(offset, unit, strict=True))) / min(unit)
        squares = ((features[near].astype(np.float64) - features[far]) ** 2).sum(axis=-1)
        cost = squares / contrast**2 + STEP * length
        inside = np.ones(cost.shape, bool) if valid is None else valid[near] & valid[far]
        for array, part in zip(ends, (cost, number[near], number[far]), strict=True):
            array.append(part[inside])
    costs, rows, columns = (np.concatenate(parts) for parts in ends)
    return coo_array((costs, (rows, columns)), shape=(number.size, number.size)).tocsr()


def _path_lengths(graph: Any, seeds: np.ndarray) -> np.ndarray:
    """The length of the shortest path from each pixel to one of the seeds, at most twice what is sure."""
    from scipy.sparse.csgraph import dijkstra

    found = dijkstra(graph, directed=False, indices=np.flatnonzero(seeds), min_only=True, limit=2 * SURE)
    return np.minimum(found, 2 * SURE).reshape(seeds.shape)


def _with_seeds(
    result: Labeling, markers: np.ndarray, values: np.ndarray, known: np.ndarray, own: np.ndarray, prototypes: Any
) -> Labeling:
    """The labeling in the values of the markers, with the seeds as they were given."""
    probabilities = host_array(result.probabilities).copy()
    probabilities[known] = own
    labels = host_array(result.labels)
    labels = values[labels if result.valid is None else np.where(host_array(result.valid), labels, 0)]
    if result.valid is not None:
        labels[~host_array(result.valid)] = 0
    fixed = known | (markers < 0)
    labels[fixed] = markers[fixed]
    moved = like(probabilities, result.probabilities)
    labels = namespace(moved).asarray(labels)
    return result._replace(labels=labels, probabilities=moved, prototypes=prototypes)
