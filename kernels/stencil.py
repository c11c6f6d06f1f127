"""The neighborhood in rows of labels: offsets, radius, and the neighbor fields that every ``reference`` sums over.

Layout: fields (…, H, J, W), weight patches (…, H, N, W), fields without labels (…, H, W); volumes have D before H. Axes
before those that the neighborhood reaches are a batch. N = (2r+1)² or (2r+1)³ tells images from volumes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from array_api_compat import array_namespace


def offsets(radius: int, axes: int = 2) -> list[tuple[int, ...]]:
    """Offsets of the (2r+1)^axes neighborhood, row-major; the centre is in the middle."""
    return list(product(range(-radius, radius + 1), repeat=axes))


def neighborhood(count: int) -> tuple[int, int]:
    """Radius and axes of a patch of `count` neighbors: (2r+1)² of an image, (2r+1)³ of a volume.

    Raises
    ------
    ValueError
        If it is neither.
    """
    for axes in (2, 3):
        side = round(count ** (1 / axes))
        if side % 2 and side > 1 and side**axes == count:
            return side // 2, axes
    raise ValueError(
        f"a patch holds {count} neighbors; accepted are (2r+1)² of an image (9, 25, 49) and (2r+1)³ of a volume (27). "
        "Weights are (H, N, W): the neighbors stand between the rows and the pixels of a row."
    )


def radius_of(weights: Any) -> int:
    """Radius r of weight patches (…, H, N, W)."""
    return neighborhood(weights.shape[-2])[0]


def axes_of(weights: Any) -> int:
    """Axes of the neighborhood of weight patches (…, H, N, W): 2, or 3 of a volume."""
    return neighborhood(weights.shape[-2])[1]


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
    for index, offset in enumerate(offsets(*neighborhood(weights.shape[-2]))):
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


def replicate(similarity: Any, field: Any) -> Any:
    """R_S x = S∘x − S⟨S, x⟩, labels on axis −2, the definition (2.11b)."""
    xp = array_namespace(similarity, field)
    return similarity * (field - xp.sum(similarity * field, axis=-2, keepdims=True))
