"""The neighborhood in rows of labels: offsets, radius, and the neighbor fields that every ``reference`` sums over.

Layout: fields (…, H, J, W), weight patches (…, H, N, W), fields without labels (…, H, W); volumes have D before H. Axes
before those that the neighborhood reaches are a batch. N = (2r+1)² or (2r+1)³ tells images from volumes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from math import prod
from typing import Any

from array_api_compat import array_namespace, is_cupy_array, is_numpy_array


def offsets(radius: int, axes: int = 2) -> list[tuple[int, ...]]:
    """Offsets of the (2r+1)^axes neighborhood, row-major; the centre is in the middle."""
    return list(product(range(-radius, radius + 1), repeat=axes))


def neighborhood(weights: Any) -> tuple[int, int]:
    """Radius r and axes of weight patches (…, H, N, W): N = (2r+1)² tells an image, N = (2r+1)³ a volume.

    Raises
    ------
    ValueError
        If it is neither, or both, as 729 is.
    """
    count = weights.shape[-2] if weights.ndim > 1 else 0
    if found := _radius_and_axes(count):
        return found
    raise ValueError(
        f"weights of shape {tuple(weights.shape)} hold {count} neighbors on axis -2; accepted are (2r+1)² of an image "
        "(9, 25, 49) and (2r+1)³ of a volume (27), but not 729, which is both. Weights are (H, N, W)."
    )


@cache
def _radius_and_axes(count: int) -> tuple[int, int] | None:
    sides = [(round(count ** (1 / axes)), axes) for axes in (2, 3)]
    found = [(side // 2, axes) for side, axes in sides if side % 2 and side > 1 and side**axes == count]
    return found[0] if len(found) == 1 else None


def radius_of(weights: Any) -> int:
    """Radius r of weight patches (…, H, N, W)."""
    return neighborhood(weights)[0]


def axes_of(weights: Any) -> int:
    """Axes of the neighborhood of weight patches (…, H, N, W): 2, or 3 of a volume."""
    return neighborhood(weights)[1]


def side_of(count: int, axes: int) -> int:
    """2r+1, the side of a neighborhood of `count` pixels on so many axes."""
    return round(count ** (1 / axes))


def check_shapes(weights: Any, field: Any, *others: Any, stacks: tuple[Any, ...] = ()) -> int:
    """The number of images that weights are for: 1, where all images of the field share them, or as many as it has.

    Parameters
    ----------
    weights : (…, H, N, W)
    field : (…, H, J, W)
    *others : (…, H, J, W) or None
        What is read and written beside the field.
    stacks : tuple of (R, …, H, J, W)

    Raises
    ------
    ValueError
        If the weights are for other pixels or another number of images than the field has, there are no pixels, or
        other arrays are not of its shape. Kernels read the memory behind an array that is too small.
    TypeError
        If the arrays are not all float32 or all float64.
    """
    check_dtypes(weights, field, *others, *stacks)
    shape, patches, first = tuple(field.shape), tuple(weights.shape), -1 - axes_of(weights)
    own, images = prod(patches[:first]), prod(shape[:first])
    if min(len(shape), len(patches)) < -first or 0 in shape:
        raise ValueError(
            f"weights of shape {patches} beside a field of shape {shape}; accepted are (…, H, N, W) and (…, H, J, W), "
            "on volumes with D before H, with at least one pixel and one label."
        )
    if (*patches[first:-2], patches[-1]) != (*shape[first:-2], shape[-1]):
        raise ValueError(
            f"weights of shape {patches} are for other pixels than a field of shape {shape} has; "
            "accepted are (…, H, N, W) beside (…, H, J, W), on volumes with D before H."
        )
    if own not in (1, images):
        raise ValueError(
            f"weights of shape {patches} are for {own} images, the field of shape {shape} has {images}. "
            "Pass weights for each of them, or without a batch for all."
        )
    for other in others:
        if other is not None and other.shape != shape:
            raise ValueError(
                f"an array of shape {tuple(other.shape)} beside a field of shape {shape}. "
                "Pass both of one shape, with the same images of a batch."
            )
    for stack in stacks:
        if tuple(stack.shape) != (stacks[0].shape[0], *shape):
            raise ValueError(
                f"a stack of shape {tuple(stack.shape)} beside a field of shape {shape}; accepted here is "
                f"{(stacks[0].shape[0], *shape)}."
            )
    return own


def check_dtypes(first: Any, *others: Any) -> None:
    """Raise TypeError for arrays of several dtypes, or of another one than float32 and float64; None may be among them.

    A kernel takes all of its operands for what the first one is.
    """
    dtype = first.dtype
    if getattr(dtype, "kind", "f") != "f" or getattr(dtype, "itemsize", 4) not in (4, 8):
        raise TypeError(f"an array has dtype {dtype}; accepted are float32 and float64. Convert it first.")
    if not getattr(dtype, "isnative", True):
        raise TypeError(f"an array has the byte order of another machine, {dtype}. Convert it by astype(float).")
    for other in others:
        if other is not None and other.dtype != dtype:
            raise TypeError(f"arrays have the dtypes {dtype} and {other.dtype}; accepted is one. Convert one of them.")


def check_flat(**arrays: tuple[Any, tuple[int, ...]]) -> None:
    """Raise ValueError for arrays that have another shape than they must have, each given with it; None may be among
    them."""
    for name, (array, accepted) in arrays.items():
        if array is not None and tuple(array.shape) != tuple(accepted):
            raise ValueError(f"{name} has shape {tuple(array.shape)}; accepted is {tuple(accepted)}.")


def shifted(field: Any, offset: tuple[int, ...], periodic: bool = False, *, labels: bool = True) -> Any:
    """The field x_{i+o} of neighbors at `offset`, 0 where the neighbor is outside: (…, H, J, W), or without `labels`
    (…, H, W), to an array of the same shape."""
    xp = array_namespace(field)
    last = field.ndim - 1
    before = last - 1 - labels  # the axis of rows
    axes = (*range(before - len(offset) + 2, before + 1), last)
    if periodic:
        return xp.roll(field, tuple(-o for o in offset), axis=axes)
    here, there = [slice(None)] * field.ndim, [slice(None)] * field.ndim
    for o, axis in zip(offset, axes, strict=True):
        n = field.shape[axis]
        here[axis], there[axis] = slice(max(0, -o), max(0, min(n, n - o))), slice(max(0, o), max(0, min(n, n + o)))
    result = xp.zeros_like(field)
    if all(abs(o) < field.shape[axis] for o, axis in zip(offset, axes, strict=True)):
        result[tuple(here)] = field[tuple(there)]
    return result


def neighbors(field: Any, weights: Any, periodic: bool = False) -> Iterator[tuple[int, tuple[int, ...], Any]]:
    """Yield (index, offset, x_{i+o}) over the neighborhood of `weights`."""
    for index, offset in enumerate(offsets(*neighborhood(weights))):
        yield index, offset, shifted(field, offset, periodic)


def average(weights: Any, field: Any, periodic: bool = False) -> Any:
    """(Ωx)_i = Σ_k ω_ik x_k on every label alike, the definition."""
    total = None
    for index, _, neighbor in neighbors(field, weights, periodic):
        term = weights[..., index : index + 1, :] * neighbor
        total = term if total is None else total + term
    return total


def slot(k: int, count: int, backward: bool) -> int:
    """Where the k-th of successive results goes among `count` that are used in turns, from the last one down or up."""
    return count - 1 - k % count if backward else k % count


def store(result: Any, out: Any) -> Any:
    """The result, in `out` where there is one."""
    if out is None:
        return result
    out[...] = result
    return out


def scaled(x: Any, factor: float, out: Any) -> Any:
    """factor·x in `out`; NumPy and CuPy write it there in one pass."""
    if is_numpy_array(x) or is_cupy_array(x):
        return array_namespace(x).multiply(x, factor, out=out)
    return store(factor * x, out)


def lowered(x: Any, number: float, out: Any) -> Any:
    """x − number in `out`; NumPy and CuPy write it there in one pass."""
    if is_numpy_array(x) or is_cupy_array(x):
        return array_namespace(x).subtract(x, number, out=out)
    return store(x - number, out)


def replicate(similarity: Any, field: Any) -> Any:
    """R_S x = S∘x − S⟨S, x⟩, labels on axis −2, the definition (2.11b)."""
    xp = array_namespace(similarity, field)
    return similarity * (field - xp.sum(similarity * field, axis=-2, keepdims=True))
