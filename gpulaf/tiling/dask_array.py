"""Images as Dask arrays, labeled tile by tile: bit for bit what the whole image gives, on any number of workers.

Every tile with its halo (:mod:`gpulaf.tiling.halo`) is labeled like an image of its own, with weights cut or made for
it. Labels and probabilities of a tile come from one solution, packed into one block that both arrays are read from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from ..averaging.base import Averaging
from ..averaging.coupled import CoupledLabels
from ..averaging.grid import Grid
from ..averaging.masks import closed_patches
from ..averaging.sources import WeightSource
from ..backend.array import empty, filled, floating_dtype, is_device_array, namespace
from ..backend.validation import channel_axis_of, check_spacing, image_features
from ..fields import field_shape, from_rows
from ..kernels.stencil import axes_of
from ..labeling.labeler import Labeler, Labeling
from ..labeling.prototypes import prototype_array
from ..labeling.result import labels_dtype
from ..labeling.sample import Window, sampled_values
from .halo import check_labeler, tile_halo

__all__ = ["Cuts", "LabelArrays", "dask_array", "label_array", "label_tiles", "refine_array"]

#: Whether a tile ends inside the image above, below, on the left and on the right; of a volume first before and behind.
Cuts = Sequence[bool]
#: From the patches of a tile, (h, N, w), to its weights.
Wrap = Callable[[Any], Any]


class LabelArrays(NamedTuple):
    """A labeled image that is computed on demand; computed together, both arrays take one solution of every tile."""

    #: (H, W) Dask array of label indices, in the types of a :class:`gpulaf.Labeling`: with a mask, the largest number
    #: of the type stands for no data.
    labels: Any
    #: (H, W, J) Dask array: the probability of every label, W(T); NaN where there is no data.
    probabilities: Any


def label_array(
    image: Any,
    labeler: Labeler,
    *,
    channel_axis: int | None = -1,
    mask: Any = None,
    spacing: tuple[float, ...] | None = None,
) -> LabelArrays:
    """Label a Dask array of any size: what ``labeler(image)`` gives of the whole image, bit for bit.

    Parameters
    ----------
    image : (H, W) or (H, W, C) Dask array; (D, H, W) or (D, H, W, C) of a volume
        Its chunks are the tiles; values as in :func:`gpulaf.label`. CuPy chunks are labeled on the GPU, where their
        bits have not been compared with those of the whole image yet.
    labeler : Labeler
        With Taylor or Euler as its solver. A number of prototypes is found at once, in the sample of pixels that
        :func:`gpulaf.label` takes. A WeightSource gets each tile with its halo; weights of the whole image, (H, N, W)
        arrays or Dask arrays, are cut, as those of a Grid and of CoupledLabels.
    channel_axis : int or None
        The axis of the channels, as in :func:`gpulaf.label`; None of a grey image, or of a volume without channels.
    mask : (H, W) array or Dask array of bool, optional
        True where a pixel is valid, as in :func:`gpulaf.label`. What is masked in chunks of masked arrays is not.
    spacing : (sy, sx) or (sz, sy, sx), optional
        Distance of the pixels on each axis, as in :func:`gpulaf.label`.

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
    >>> labeler = gpulaf.Labeler(scene.prototypes)
    >>> result = gpulaf.tiling.label_array(image, labeler)
    >>> bool((result.labels.compute() == labeler(scene.image).labels).all())
    True
    """
    check_labeler(labeler)
    image, mask = _checked(image, "image", mask, channel_axis)
    check_spacing(spacing, image.ndim - 1)
    labeler = _with_prototypes(labeler, image, mask)
    labels = len(prototype_array(labeler.prototypes, np.empty((1, 1, image.shape[-1]))))
    bare, given = _without_arrays(labeler)
    solve = partial(_label, labeler=bare, given=given, spacing=spacing)
    halo = tile_halo(labeler, masked=mask is not None)
    return label_tiles(solve, [image], labels, halo, _patches(labeler, image), mask)


def refine_array(
    probabilities: Any,
    labeler: Labeler,
    *,
    image: Any = None,
    channel_axis: int | None = -1,
    mask: Any = None,
    spacing: tuple[float, ...] | None = None,
) -> LabelArrays:
    """Regularize soft predictions in a Dask array: what ``labeler.refine`` gives of the whole image, bit for bit.

    Parameters
    ----------
    probabilities : (H, W, J) Dask array, floating; (D, H, W, J) of a volume
        Values as in :func:`gpulaf.refine`.
    labeler : Labeler
        As in :func:`label_array`; prototypes have no meaning here, rho is the temperature.
    image : (H, W) or (H, W, C) Dask array, optional
        What weights are made from, where they are a WeightSource.
    channel_axis : int or None
        The axis of the channels of `image`.
    mask : (H, W) array or Dask array of bool, optional
    spacing : (sy, sx) or (sz, sy, sx), optional
        As in :func:`label_array`.

    Returns
    -------
    LabelArrays

    Raises
    ------
    ValueError, TypeError, ImportError
        As in :func:`label_array`.
    """
    check_labeler(labeler)
    probabilities, mask = _checked(probabilities, "probabilities", mask)
    check_spacing(spacing, probabilities.ndim - 1)
    images, weights = [probabilities], _patches(labeler, probabilities)
    if isinstance(labeler.weights, WeightSource):
        if image is None:
            raise ValueError(
                f"weights is {labeler.weights!r}, but there is no image for it to look at. Pass image, too."
            )
        image, mask = _checked(image, "image", mask, channel_axis)
        images.append(image)
    bare, given = _without_arrays(labeler)
    solve = partial(_refine, labeler=bare, given=given, spacing=spacing)
    return label_tiles(
        solve, images, probabilities.shape[-1], tile_halo(labeler, masked=mask is not None), weights, mask
    )


def _label(
    cuts: Cuts, mask: Any, tile: Any, *patches: Any, labeler: Labeler, given: Sequence[Wrap | None], spacing: Any
) -> Labeling:
    """Label a tile (h, w, C); `patches` are its weights, (h, N, w) each."""
    labeler = _with_patches(labeler, given, patches, cuts)
    return labeler.of_part(tile, mask=mask, axes=tile.ndim - 1, spacing=spacing)


def _refine(
    cuts: Cuts, mask: Any, tile: Any, *others: Any, labeler: Labeler, given: Sequence[Wrap | None], spacing: Any
) -> Labeling:
    """Refine a tile (h, w, J); `others` are its weights, (h, N, w) each, or the image that they are made from."""
    image = others[0] if isinstance(labeler.weights, WeightSource) else None
    refine, axes = _with_patches(labeler, given, others, cuts).refine, tile.ndim - 1
    return refine(tile, image=image, label_axis=axes, channel_axis=axes, mask=mask, spacing=spacing)


def _without_arrays(labeler: Labeler) -> tuple[Labeler, list[Wrap | None]]:
    """The labeler without weights of the whole image, to travel with every tile; what makes those of a tile in each
    layer, None where it has none."""
    if labeler.weights is None or isinstance(labeler.weights, WeightSource):
        return labeler, []
    return replace(labeler, weights=None, time=labeler.times), [None if x is None else _wrap(x) for x in labeler.layers]


def _wrap(weights: Any) -> Wrap:
    """What makes weights of the same kind of patches."""
    return partial(CoupledLabels, matrix=weights.matrix) if isinstance(weights, CoupledLabels) else Grid


def _with_patches(labeler: Labeler, given: Sequence[Wrap | None], patches: Sequence[Any], cuts: Cuts) -> Labeler:
    """The labeler with the weights of a tile in those layers that have some."""
    if not given:
        return labeler
    cut = (closed_patches(x, cuts) for x in patches)
    weights = [None if wrap is None else wrap(next(cut)) for wrap in given]
    return replace(labeler, weights=weights if len(weights) > 1 else weights[0])


def _patches(labeler: Labeler, image: Any) -> list[Any]:
    """Weights that are given for the whole image, (H, N, W) Dask arrays; none for others."""
    if isinstance(labeler.weights, WeightSource):
        return []
    return [_patch_array(x.weights if isinstance(x, Averaging) else x, image) for x in labeler.layers if x is not None]


def _patch_array(weights: Any, image: Any) -> Any:
    """Check weights of the whole image, (H, N, W), and bring them to a Dask array."""
    da, shape = dask_array(), tuple(getattr(weights, "shape", ()))
    pixels = image.shape[:-1]
    axes = len(pixels)
    if len(shape) != axes + 1 or (*shape[:-2], shape[-1]) != pixels or axes_of(weights) != axes:
        accepted = ", ".join(map(str, (*pixels[:-1], "N", pixels[-1])))
        raise ValueError(
            f"weights have shape {shape}; accepted is ({accepted}) with N = (2r+1){'²³'[axes - 2]}, one patch for each "
            "pixel. Weights belong to one image: learn or compute them for this one."
        )
    if str(weights.dtype) not in ("float32", "float64"):
        raise TypeError(f"weights have dtype {weights.dtype}; accepted are float32 and float64. Convert them first.")
    if isinstance(weights, da.Array):
        return weights
    return da.from_array(weights, chunks=(*image.chunks[: axes - 1], -1, image.chunks[axes - 1]))


def _with_prototypes(labeler: Labeler, image: Any, mask: Any) -> Labeler:
    """The labeler with prototypes, those that k-means finds in a sample of an image (H, W, C) where it has a number."""
    prototypes = labeler.prototypes
    if prototypes is None or np.ndim(prototypes) or is_device_array(prototypes):
        return labeler

    def read(windows: list[Window]) -> Iterator[Any]:
        parts = [(image[window], None if mask is None else mask[window]) for window in windows]
        for part, valid in dask_array().compute(*parts):
            yield part.reshape(-1, part.shape[-1]) if valid is None else part[namespace(part).asarray(valid)]

    pixels = image_features(sampled_values(image.shape[:-1], read)[None, ...], 2, range=labeler.range)
    return replace(labeler, prototypes=prototype_array(prototypes, pixels.features, pixels.range), scaled=True)


def _checked(x: Any, name: str, mask: Any, channel_axis: int | None = -1) -> tuple[Any, Any]:
    """Check a Dask array and bring it to (H, W, C); and a mask, with what is masked in the array, to a Dask array."""
    da = dask_array()
    if not isinstance(x, da.Array):
        raise TypeError(
            f"{name} is a {type(x).__name__}; accepted is a Dask array. "
            "Make one with dask.array.from_array or from_zarr."
        )
    accepted = "(H, W, J)" if name == "probabilities" else "(H, W) and (H, W, C)"
    if x.ndim not in (2, 3, 4) or (x.ndim == 2 and name == "probabilities"):
        raise ValueError(
            f"{name} has shape {x.shape}; accepted is {accepted}, of a volume with D before H. Move the axes first."
        )
    if name == "probabilities" and x.shape[-1] < 2:
        raise ValueError(f"{name} hold {x.shape[-1]} label; accepted are at least 2. Stack [1 − p, p] for one class.")
    if any(np.isnan(n) for n in x.shape):
        raise ValueError(f"{name} has shape {x.shape}; accepted are known sizes. Call compute_chunk_sizes first.")
    if 0 in x.shape:
        raise ValueError(f"{name} of shape {x.shape} is empty; accepted is at least one pixel. Check how it was cut.")
    if x.dtype.kind not in ("f" if name == "probabilities" else "buif"):
        kinds = "floats" if name == "probabilities" else "real numbers"
        raise TypeError(f"{name} has dtype {x.dtype}; accepted are {kinds}. Convert it first.")
    axis = channel_axis_of(x, channel_axis, False) if name == "image" else x.ndim - 1
    return _masked(x[..., None] if axis is None else da.moveaxis(x, axis, -1), mask)


def _masked(x: Any, mask: Any) -> tuple[Any, Any]:
    """An array (H, W, C) without the masks of its chunks, and all masks as one Dask array (H, W), None without any."""
    da = dask_array()
    if mask is not None:
        if tuple(getattr(mask, "shape", ())) != x.shape[:-1] or mask.dtype != bool:
            raise ValueError(
                f"mask is a {getattr(mask, 'dtype', type(mask).__name__)} array of shape {getattr(mask, 'shape', ())}; "
                f"accepted is bool of shape {x.shape[:-1]}, True where a pixel is valid."
            )
        mask = mask if isinstance(mask, da.Array) else da.from_array(mask, chunks=x.chunks[:-1])
    if isinstance(x._meta, np.ma.MaskedArray):
        own = ~da.ma.getmaskarray(x).any(axis=-1)
        x, mask = da.ma.getdata(x), own if mask is None else own & mask
    return x, mask


def label_tiles(
    solve: Callable[..., Labeling],
    images: Sequence[Any],
    labels: int,
    halo: int,
    weights: Sequence[Any] = (),
    mask: Any = None,
) -> LabelArrays:
    """Solve tile by tile; the tiles are the chunks of the first image, joined where they are smaller than the halo.

    Parameters
    ----------
    solve : callable
        ``solve(cuts, mask, *tiles)`` labels one tile with its halo: its mask (h, w) or None, (h, w, C) of every image,
        then (h, N, w) of all weights.
    images : sequence of (H, W, C) Dask arrays
    labels : int
        J.
    halo : int
        Pixels around each tile.
    weights : sequence of (H, N, W) Dask arrays
    mask : (H, W) Dask array of bool, optional
    """
    masked, images = mask is not None, [*images, *([] if mask is None else [mask[..., None]])]
    da, shape, first = dask_array(), images[0].shape[:-1], images[0]
    for x in images[1:]:
        if x.shape[:-1] != shape:
            raise ValueError(
                f"the arrays have {shape} and {x.shape[:-1]} pixels; accepted are as many. Check the pair."
            )
    sizes = [_joined(chunks, min(halo, n)) for chunks, n in zip(first.chunks[:-1], shape, strict=True)]
    edges = [list(pairwise(accumulate(parts, initial=0))) for parts in sizes]
    rows = len(shape) - 1  # the axis of the labels in rows of them
    places = (*range(rows), rows + 1)
    depth = {axis: halo if len(parts) > 1 else 0 for axis, parts in zip(places, sizes, strict=True)}
    aligned = [da.expand_dims(x, rows) for x in images] + [x[..., None] for x in weights]  # (H, 1, W, C), (H, N, W, 1)
    chunks = dict(zip(places, sizes, strict=True)) | {rows: -1, rows + 2: -1}
    dtype = floating_dtype(first._meta)
    packed = da.map_overlap(
        partial(_packed, solve=solve, images=len(images), edges=edges, halo=halo, masked=masked),
        *(x.rechunk(chunks) for x in aligned),
        depth=depth, boundary="none", trim=False, align_arrays=False, allow_rechunk=False,
        chunks=(*sizes[:-1], (labels + 1,), sizes[-1], (1,)), dtype=dtype,
        meta=da.utils.meta_from_array(first._meta, rows + 3, dtype=dtype),
    )[..., 0]  # fmt: skip
    found, dtype = packed[..., -1, :], labels_dtype(labels, masked)
    found = found.map_blocks(_unpacked, dtype=dtype, kind=dtype) if masked else found.astype(dtype)
    return LabelArrays(found, from_rows(packed[..., :-1, :]))


def _unpacked(packed: Any, kind: np.dtype[Any]) -> Any:
    """Labels from those that are packed, where −1 stands for no data."""
    xp = namespace(packed)
    labels = xp.where(packed < 0, xp.asarray(np.iinfo(kind).max, dtype=xp.int64), xp.astype(packed, xp.int64))
    return xp.astype(labels, getattr(xp, kind.name))


def _packed(
    *tiles: Any, solve: Callable[..., Labeling], images: int, edges: list[list[tuple[int, int]]], halo: int,
    masked: bool, block_id: Any = None,
) -> Any:  # fmt: skip
    """W(T) and the label of each pixel of a tile, −1 for no data, (h, J + 1, w, 1): a label is exact in any float."""
    place = (*block_id[:-3], block_id[-2])
    inner = [parts[k] for k, parts in zip(place, edges, strict=True)]
    cuts = [end for k, parts in zip(place, edges, strict=True) for end in (k > 0, k + 1 < len(parts))]
    before, behind = ([halo * cut for cut in some] for some in (cuts[::2], cuts[1::2]))
    try:
        arrays, mask = [tile[..., 0, :, :] for tile in tiles[:images]], None
        if masked:
            mask = arrays.pop()[..., 0]
        result = solve(cuts, mask, *arrays, *(tile[..., 0] for tile in tiles[images:]))
    except (ValueError, TypeError, MemoryError) as error:
        kind = next(kind for kind in (ValueError, TypeError, MemoryError) if isinstance(error, kind))
        part = ", ".join(f"{start}:{stop}" for start, stop in inner)
        outer = zip(inner, before, behind, strict=True)
        whole = ", ".join(f"{start - b}:{stop + e}" for (start, stop), b, e in outer)
        raise kind(f"tile [{part}], with its halo [{whole}]: {error}") from error
    core = tuple(slice(b, b + stop - start) for b, (start, stop) in zip(before, inner, strict=True))
    probabilities = result.probabilities[core]
    packed = empty(field_shape(probabilities.shape[:-1], probabilities.shape[-1] + 1), probabilities)
    from_rows(packed[..., :-1, :])[...] = probabilities
    packed[..., -1, :] = result.labels[core]
    if result.valid is not None:
        packed[..., -1, :] = filled(packed[..., -1, :], result.valid[core], -1)
    return packed[..., None]


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
