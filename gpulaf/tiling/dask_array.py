"""Images as Dask arrays, labeled tile by tile: bit for bit what the whole image gives, on any number of workers.

Every tile with its halo (:mod:`gpulaf.tiling.halo`) is labeled like an image of its own, with weights cut or made for
it. Labels and probabilities of a tile come from one solution, packed into one block that both arrays are read from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from ..averaging.patches import uniform_weights
from ..backend.array import empty, floating_dtype, host_dtype, is_device_array, like, namespace
from ..integrators.base import Integrator, layer_times
from ..kernels.stencil import radius_of
from ..labeling.label import Labeling, label, refine, smallest_unsigned
from ..labeling.likelihood import prototype_array
from .halo import fixed, surroundings, tile_halo

__all__ = ["Cuts", "LabelArrays", "dask_array", "label_array", "label_tiles", "predicted_array", "refine_array"]

#: Whether a tile ends inside the image above, below, on the left and on the right.
Cuts = Sequence[bool]


class LabelArrays(NamedTuple):
    """A labeled image that is computed on demand; computed together, both arrays take one solution of every tile."""

    #: (H, W) Dask array of label indices, in the smallest unsigned type that holds them.
    labels: Any
    #: (H, W, J) Dask array: the probability of every label, W(T).
    probabilities: Any


def label_array(
    image: Any,
    prototypes: Any,
    *,
    weights: Any = None,
    rho: float = 0.1,
    time: float | Sequence[float] = 3.0,
    integrator: Integrator | None = None,
) -> LabelArrays:
    """Label a Dask array of any size: what :func:`gpulaf.label` gives with ``Taylor.fixed(time)``, bit for bit.

    Parameters
    ----------
    image : (H, W) or (H, W, C) Dask array
        Its chunks are the tiles; values as in :func:`gpulaf.label`. CuPy chunks are labeled on the GPU, where their
        bits have not been compared with those of the whole image yet.
    prototypes : (J, C) array
        One feature per label, in the units of the image ((J,) for grey images).
    weights : (N, H, W) array or Dask array, or sequence of them, BilateralWeights or callable, optional
        Uniform 3×3 averaging if None. A callable gets each tile with its halo and returns (N, h, w) patches for it, or
        a list of those of each layer; its attribute ``reach`` tells how many pixels around a pixel they depend on,
        ``radius`` the radius of the patches (1 if it is missing).
    rho, time
        As in :func:`gpulaf.label`.
    integrator : Taylor or Euler, optional
        Taylor() if None; of a Taylor, ``fixed(time)`` is taken.

    Returns
    -------
    LabelArrays
        In tiles like those of `image`; tiles smaller than the halo are joined with their neighbors.

    Raises
    ------
    ValueError, TypeError
        With the value, what is accepted and the next step; when a tile is computed, with the tile, too.
    ImportError
        If Dask is not installed.

    Notes
    -----
    A square tile of side t takes (1 + 2·halo/t)² times the work of its own pixels (:func:`tile_halo`): with the default
    halo of 8 pixels 1.27 for t = 128 and 1.02 for t = 2048; ``image.rechunk`` makes tiles larger. The kernels use all
    cores themselves: one tile at a time (``compute(scheduler="synchronous")``) takes the least memory.

    Examples
    --------
    >>> import dask.array
    >>> import gpulaf
    >>> scene = gpulaf.scenes.voronoi_colors(64, noise=0.2)
    >>> image = dask.array.from_array(scene.image, chunks=(32, 32, 3))
    >>> result = gpulaf.tiling.label_array(image, scene.prototypes)
    >>> whole = gpulaf.label(scene.image, scene.prototypes, integrator=gpulaf.Taylor().fixed(time=3.0))
    >>> bool((result.labels.compute() == whole.labels).all())
    True
    """
    image = _checked(image, "image")
    _check_rho(rho, "0.1 suits images with values in [0, 1]")
    if np.ndim(prototypes) == 0 and not is_device_array(prototypes):
        raise ValueError(
            f"prototypes is {prototypes!r}; accepted in tiles is an array (J, C). "
            "Find them on a part of the image with kmeans_prototypes."
        )
    values, time = prototype_array(prototypes, np.empty((1, 1, image.shape[2]))), layer_times(time, weights)
    call = partial(label, prototypes=values, rho=float(rho), time=time, integrator=fixed(integrator, time)[0])
    halo = tile_halo(time, integrator=integrator, weights=weights)
    solve = partial(_solve, label=call, source=_source(weights), layers=isinstance(weights, (list, tuple)))
    return label_tiles(solve, [image, *_patches(weights, image)], len(values), halo)


def refine_array(
    probabilities: Any,
    *,
    image: Any = None,
    weights: Any = None,
    rho: float = 1.0,
    time: float | Sequence[float] = 3.0,
    integrator: Integrator | None = None,
) -> LabelArrays:
    """Regularize soft predictions in a Dask array: what :func:`gpulaf.refine` gives, bit for bit.

    Parameters
    ----------
    probabilities : (H, W, J) Dask array, floating
        Values as in :func:`gpulaf.refine`.
    image : (H, W) or (H, W, C) Dask array, optional
        What `weights` is called with, where it is a callable.
    weights, time, integrator
        As in :func:`label_array`.
    rho : float
        Temperature, as in :func:`gpulaf.refine`.

    Returns
    -------
    LabelArrays

    Raises
    ------
    ValueError, TypeError, ImportError
        As in :func:`label_array`.
    """
    probabilities = _checked(probabilities, "probabilities")
    _check_rho(rho, "1 takes the predictions as they are")
    time = layer_times(time, weights)
    call = partial(refine, rho=float(rho), time=time, integrator=fixed(integrator, time)[0])
    halo = tile_halo(time, integrator=integrator, weights=weights)
    source = _source(weights)
    if source is not None and image is None:
        raise ValueError(f"weights is {weights!r}, but there is no image for it to look at. Pass image, too.")
    others = _patches(weights, probabilities) if source is None else [_checked(image, "image")]
    solve = partial(_solve, label=call, source=source, layers=isinstance(weights, (list, tuple)))
    return label_tiles(solve, [probabilities, *others], probabilities.shape[2], halo)


def predicted_array(predictor: Any, image: Any, probabilities: Any = None) -> LabelArrays:
    """Tiles labeled, or their probabilities refined, by a WeightPredictor whose integrator solves them alike."""
    image = _checked(image, "image")
    if image.shape[2] != predictor.n_channels_:
        raise ValueError(
            f"image has {image.shape[2]} channels; accepted are {predictor.n_channels_}, as in the training. "
            "Convert it, or train on such images."
        )
    arrays = [image] if probabilities is None else [_checked(probabilities, "probabilities"), image]
    halo = tile_halo(predictor.layer_times, integrator=predictor.solver, weights=predictor)
    alike = copy(predictor).set_params(integrator=fixed(predictor.solver, predictor.layer_times)[0])
    solve = partial(_predict, label=alike.label if probabilities is None else alike.refine)
    return label_tiles(solve, arrays, len(predictor.label_values_), halo)


def _predict(cuts: Cuts, *tiles: Any, label: Callable[..., Labeling]) -> Labeling:
    return label(*reversed(tiles))  # the image, probabilities


def _solve(cuts: Cuts, tile: Any, *others: Any, label: Callable[..., Labeling], source: Any, layers: bool) -> Labeling:
    """Label a tile; `others` hold weight patches, (h, w, N), or what `source` makes them of, if not the tile itself."""
    if source is None:
        patches = [_closed(other, cuts) for other in others] or [None]
        return label(tile, weights=patches if layers else patches[0])
    weights, radius = source(others[0] if others else tile), surroundings(source)[0]
    if isinstance(weights, (list, tuple)) and not isinstance(label.keywords["time"], list):  # type: ignore[attr-defined]
        raise ValueError(
            f"the weights are a list of {len(weights)} and time is one number; accepted in tiles is the time of each "
            "layer, which tells the halo. Give times like [1.0, 1.0, 1.0]."
        )
    for layer in weights if isinstance(weights, (list, tuple)) else [weights]:
        if radius_of(layer) != radius:
            raise ValueError(
                f"the weights have shape {tuple(layer.shape)}, patches of radius {radius_of(layer)}; accepted is the "
                f"radius {radius} that they told. Set weights.radius."
            )
    return label(tile, weights=weights)


def _closed(patches: Any, cuts: Cuts) -> Any:
    """Weights of a tile, (h, w, N) to (N, h, w); at the cuts, where no result depends on them, uniform ones.

    They are weight patches of the tile then: none points outside.
    """
    xp = namespace(patches)
    weights = xp.asarray(xp.moveaxis(patches, -1, 0), copy=True)
    r, (h, w) = radius_of(weights), weights.shape[1:]
    uniform = like(uniform_weights((h, w), r, dtype=host_dtype(weights)), weights)
    for cut, rows in zip(cuts, (np.s_[:, :r], np.s_[:, h - r :], np.s_[..., :r], np.s_[..., w - r :]), strict=True):
        if cut:
            weights[rows] = uniform[rows]
    return weights


def _source(weights: Any) -> Any:
    """Weights that are made tile by tile; None for all others."""
    return weights if callable(weights) else None


def _patches(weights: Any, image: Any) -> list[Any]:
    """Weights given for the whole image, (H, W, N) Dask arrays with the tiles of `image`; none for others."""
    if weights is None or callable(weights):
        return []
    if isinstance(weights, (list, tuple)):
        return [patches for layer in weights for patches in _patches(layer, image)]
    da = dask_array()
    if getattr(weights, "ndim", None) != 3 or tuple(weights.shape[1:]) != image.shape[:2]:
        shape = tuple(getattr(weights, "shape", ()))
        raise ValueError(
            f"weights have shape {shape}; accepted is (N, {image.shape[0]}, {image.shape[1]}), one patch for each "
            "pixel. Weights belong to one image: learn or compute them for this one."
        )
    if str(weights.dtype) not in ("float32", "float64"):
        raise TypeError(f"weights have dtype {weights.dtype}; accepted are float32 and float64. Convert them first.")
    if not isinstance(weights, da.Array):
        weights = da.from_array(weights, chunks=(-1, *image.chunks[:2]))
    return [da.moveaxis(weights, 0, 2)]


def _checked(x: Any, name: str) -> Any:
    """Check a Dask array and bring it to (H, W, C)."""
    da = dask_array()
    if not isinstance(x, da.Array):
        raise TypeError(
            f"{name} is a {type(x).__name__}; accepted is a Dask array. "
            "Make one with dask.array.from_array or from_zarr."
        )
    accepted = "(H, W, J)" if name == "probabilities" else "(H, W) and (H, W, C)"
    if x.ndim not in (2, 3) or (x.ndim == 2 and name == "probabilities"):
        raise ValueError(f"{name} has shape {x.shape}; accepted is {accepted}. Move the axes first.")
    if name == "probabilities" and x.shape[2] < 2:
        raise ValueError(f"{name} hold {x.shape[2]} label; accepted are at least 2. Stack [1 − p, p] for one class.")
    if any(np.isnan(n) for n in x.shape):
        raise ValueError(f"{name} has shape {x.shape}; accepted are known sizes. Call compute_chunk_sizes first.")
    if 0 in x.shape:
        raise ValueError(f"{name} of shape {x.shape} is empty; accepted is at least one pixel. Check how it was cut.")
    if x.dtype.kind not in ("f" if name == "probabilities" else "buif"):
        kinds = "floats" if name == "probabilities" else "real numbers"
        raise TypeError(f"{name} has dtype {x.dtype}; accepted are {kinds}. Convert it first.")
    return x[..., None] if x.ndim == 2 else x


def _check_rho(rho: float, usual: str) -> None:
    if not rho > 0:
        raise ValueError(f"rho is {rho}; accepted are positive numbers. {usual}.")


def label_tiles(solve: Callable[..., Labeling], arrays: Sequence[Any], labels: int, halo: int) -> LabelArrays:
    """Solve tile by tile; the tiles are the chunks of the first array, joined where they are smaller than the halo.

    Parameters
    ----------
    solve : callable
        ``solve(cuts, *tiles)`` labels one tile with its halo, (h, w, …) of every array.
    arrays : sequence of (H, W, …) Dask arrays
    labels : int
        J.
    halo : int
        Pixels around each tile.
    """
    da, shape, first = dask_array(), arrays[0].shape[:2], arrays[0]
    for x in arrays[1:]:
        if x.shape[:2] != shape:
            raise ValueError(f"the arrays have {shape} and {x.shape[:2]} pixels; accepted are as many. Check the pair.")
    sizes = [_joined(chunks, min(halo, n)) for chunks, n in zip(first.chunks[:2], shape, strict=True)]
    edges = [list(pairwise(accumulate(parts, initial=0))) for parts in sizes]
    depth = {axis: halo if len(parts) > 1 else 0 for axis, parts in enumerate(sizes)} | {2: 0}
    dtype, unsigned = floating_dtype(first._meta), smallest_unsigned(labels)
    field, plane = (da.utils.meta_from_array(first._meta, n, dtype=d) for n, d in ((3, dtype), (2, unsigned)))
    packed = da.map_overlap(
        partial(_packed, solve=solve, edges=edges, halo=halo),
        *(x.rechunk({0: sizes[0], 1: sizes[1], 2: -1}) for x in arrays),
        depth=depth, boundary="none", trim=False, align_arrays=False, allow_rechunk=False,
        chunks=(*sizes, (labels + 1,)), dtype=dtype, meta=field,
    )  # fmt: skip
    return LabelArrays(
        packed.map_blocks(_labels, unsigned.name, drop_axis=2, dtype=unsigned, meta=plane),
        packed.map_blocks(_probabilities, chunks=(*sizes, (labels,)), dtype=dtype, meta=field),
    )


def _packed(
    *tiles: Any, solve: Callable[..., Labeling], edges: list[list[tuple[int, int]]], halo: int, block_id: Any = None
) -> Any:
    """W(T) and the label of each pixel of a tile, side by side, (h, w, J + 1): a label is exact in any float."""
    (top, bottom), (left, right) = (edges[axis][block_id[axis]] for axis in (0, 1))
    cuts = [end for axis in (0, 1) for end in (block_id[axis] > 0, block_id[axis] + 1 < len(edges[axis]))]
    y, x = halo * cuts[0], halo * cuts[2]
    try:
        result = solve(cuts, *tiles)
    except (ValueError, TypeError, MemoryError) as error:
        kind = next(kind for kind in (ValueError, TypeError, MemoryError) if isinstance(error, kind))
        whole = f"{top - y}:{bottom + halo * cuts[1]}, {left - x}:{right + halo * cuts[3]}"
        raise kind(f"tile [{top}:{bottom}, {left}:{right}], with its halo [{whole}]: {error}") from error
    core = np.s_[y : y + bottom - top, x : x + right - left]
    probabilities = result.probabilities[core]
    packed = empty((*probabilities.shape[:2], probabilities.shape[2] + 1), probabilities)
    packed[..., :-1] = probabilities
    packed[..., -1] = result.labels[core]
    return packed


def _labels(packed: Any, dtype: str) -> Any:
    xp = namespace(packed)
    return xp.astype(packed[..., -1], getattr(xp, dtype))


def _probabilities(packed: Any) -> Any:
    return packed[..., :-1]


def _joined(chunks: Sequence[int], least: int) -> tuple[int, ...]:
    """Chunk sizes with those smaller than `least` joined to their neighbors."""
    sizes: list[int] = []
    for size in chunks:
        if sizes and sizes[-1] < least:
            sizes[-1] += size
        elif size:
            sizes.append(size)
    if len(sizes) > 1 and sizes[-1] < least:
        last = sizes.pop()
        sizes[-1] += last
    return tuple(int(size) for size in sizes)


def dask_array() -> Any:
    """The module ``dask.array``, or how to install it."""
    try:
        import dask.array
    except ImportError as error:
        raise ImportError(
            "tiles need Dask, which is not installed. Install it with: python -m pip install 'gpulaf[large]'."
        ) from error
    return dask.array
