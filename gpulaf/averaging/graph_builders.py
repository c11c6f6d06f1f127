"""Build graphs: nearest neighbors of points, touching regions of a segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.array import host_array
from ..backend.numbers import check_count, check_number
from ..backend.operands import unit_of
from ..backend.validation import real_array, unmasked
from .graph import Graph

__all__ = ["nearest_neighbor_graph", "region_graph", "region_means"]

#: The smallest weight of a neighbor, as on a grid: one of exactly 0 could not be learned.
FLOOR = 1e-10


def nearest_neighbor_graph(points: Any, neighbors: int = 8, *, sigma: float | None = None) -> Graph:
    """Connect every point with itself and its nearest neighbors.

    Parameters
    ----------
    points : (n, D) real array
        Coordinates, or features of any kind; Euclidean distances between them count.
    neighbors : int
        Neighbors of a point besides itself; all others where there are fewer.
    sigma : float, optional
        Weights ∝ exp(−‖x_i − x_k‖²/2σ²), in the units of the points; equal weights if None.

    Returns
    -------
    Graph
        On the host; float64 for float64 points, float32 otherwise.

    Raises
    ------
    ValueError, TypeError
        If the points are no finite numbers of that shape, or `neighbors` or `sigma` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from gpulaf.averaging import nearest_neighbor_graph
    >>> graph = nearest_neighbor_graph(np.random.default_rng(0).random((100, 3)), neighbors=5)
    >>> graph.shape, graph.matrix.nnz
    ((100,), 600)
    """
    from scipy.spatial import cKDTree

    if isinstance(points, np.ma.MaskedArray):
        raise TypeError("points are a masked array; accepted are points without a mask. Leave masked ones out first.")
    points = host_array(points)
    if points.ndim != 2 or 0 in points.shape:
        raise ValueError(f"points have shape {points.shape}; accepted is (n, D), a row for each point. Reshape them.")
    if points.dtype.kind not in "buif":
        raise TypeError(f"points have dtype {points.dtype}; accepted are real numbers. Convert them first.")
    if not np.isfinite(points).all():
        raise ValueError("points hold values that are not finite. Remove NaN and infinite values.")
    check_count(neighbors, "neighbors", usual="8 is usual.")
    if sigma is not None:
        check_number(sigma, "sigma", 1e-308, 1e308, "None gives equal weights.")
    n = len(points)
    wide = points.astype(np.float64)
    unit = unit_of(wide)
    wide = wide / unit
    _, nearest = cKDTree(wide).query(wide, k=min(int(neighbors) + 1, n))
    nearest = nearest.reshape(n, -1)
    itself = np.arange(n)[:, None]
    missing = ~(nearest == itself).any(axis=1)  # among more equal points than neighbors
    nearest[missing, -1] = itself[missing, 0]
    nearest.sort(axis=1)
    weights = np.ones(nearest.shape)
    if sigma is not None:
        distance = np.sqrt(((wide[nearest] - wide[:, None, :]) ** 2).sum(axis=-1))
        with np.errstate(over="ignore"):  # of what is that far away the weight is 0
            weights = np.exp(-((distance / (sigma / unit)) ** 2) / 2)
    return _graph(nearest.ravel(), np.arange(0, nearest.size + 1, nearest.shape[1]), weights.ravel(), points.dtype)


def region_graph(segments: Any, *, by_border: bool = False, dtype: Any = np.float32) -> Graph:
    """Connect every region of a segmentation with itself and the regions that it touches along an edge of a pixel.

    Parameters
    ----------
    segments : (H, W) integer array
        A number for each region, as superpixels are given; volumes, too. Node k is the region of the k-th smallest
        number.
    by_border : bool
        Neighbors share by the length of the common border what a region leaves them; alike if False. A region keeps
        1/(1 + its neighbors) for itself.
    dtype : float32 or float64

    Returns
    -------
    Graph
        On the host.

    Raises
    ------
    TypeError, ValueError
        If the segments are no integers, or there are none.

    Examples
    --------
    >>> import numpy as np
    >>> from gpulaf.averaging import region_graph
    >>> region_graph(np.array([[1, 2, 5]]), dtype=np.float64).matrix.toarray().round(2).tolist()
    [[0.5, 0.5, 0.0], [0.33, 0.33, 0.33], [0.0, 0.5, 0.5]]
    """
    from scipy.sparse import coo_array, eye_array

    nodes, count = _nodes(segments)
    pairs = []
    for axis in range(nodes.ndim):
        a, b = (np.moveaxis(nodes, axis, 0)[part].ravel() for part in (slice(None, -1), slice(1, None)))
        touch = a != b
        pairs += [(a[touch], b[touch]), (b[touch], a[touch])]
    rows, columns = (np.concatenate(x) for x in zip(*pairs, strict=True))
    border = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    degree = np.diff(border.indptr)
    if not by_border:
        border.data[:] = 1.0
    shared = border.data * np.repeat(degree / np.maximum(border.sum(axis=1), 1), degree)
    border.data[:] = shared
    matrix = (border + eye_array(count, format="csr")).tocsr()
    matrix.sort_indices()
    return _graph(matrix.indices, matrix.indptr, matrix.data, np.dtype(dtype))


def region_means(image: Any, segments: Any) -> np.ndarray:
    """The mean of an image over every region: features of the nodes of :func:`region_graph`.

    Parameters
    ----------
    image : (H, W) or (H, W, C) real array
        Pixels that are masked in a masked array do not count.
    segments : (H, W) integer array

    Returns
    -------
    (n, C) array
        float64 for float64 images, float32 otherwise; in the units of the image. NaN for regions of masked pixels
        alone, which the `mask` of :func:`gpulaf.label` leaves out: ``numpy.isfinite(means).all(axis=-1)``.

    Raises
    ------
    TypeError, ValueError
        If the segments are no integers or the image no real numbers, or the sizes differ.
    """
    image, valid = unmasked(image)
    image, (nodes, count) = host_array(real_array(image, "image")), _nodes(segments)
    if image.shape[: nodes.ndim] != nodes.shape:
        raise ValueError(
            f"image has shape {image.shape}, segments {nodes.shape}; accepted are as many pixels. Check the pair."
        )
    channels = image.reshape(nodes.size, -1)
    kept = slice(None) if valid is None else valid.reshape(channels.shape).all(axis=1)
    nodes, channels = nodes.ravel()[kept], channels[kept].T
    sizes = np.bincount(nodes, minlength=count)
    sums = np.stack([np.bincount(nodes, channel, count) for channel in channels], axis=-1)
    means = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], np.nan)
    return means.astype(np.float64 if image.dtype == np.float64 else np.float32)


def _nodes(segments: Any) -> tuple[np.ndarray, int]:
    """The node of every pixel, and how many there are."""
    segments = host_array(segments)
    if segments.dtype.kind not in "bui":
        raise TypeError(f"segments have dtype {segments.dtype}; accepted are integers, a number for each region.")
    if segments.ndim < 2 or segments.size == 0:
        raise ValueError(f"segments have shape {segments.shape}; accepted is (H, W) with at least one pixel.")
    numbers, nodes = np.unique(segments, return_inverse=True)
    return nodes.reshape(segments.shape), len(numbers)


def _graph(indices: np.ndarray, indptr: np.ndarray, weights: np.ndarray, dtype: np.dtype[Any]) -> Graph:
    """Normalize rows, no weight under the floor; float64 stays, every other dtype becomes float32."""
    from scipy.sparse import csr_array

    counts = np.diff(indptr)
    for floor in (0.0, FLOOR):
        weights = np.maximum(weights / np.repeat(np.add.reduceat(weights, indptr[:-1]), counts), floor)
    weights = weights / np.repeat(np.add.reduceat(weights, indptr[:-1]), counts)
    real = np.float64 if dtype == np.float64 else np.float32
    n = len(counts)
    return Graph(csr_array((weights.astype(real), indices, indptr), shape=(n, n)))
