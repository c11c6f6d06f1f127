"""The neighborhood: offsets, radius, and the neighbor fields that every ``reference`` sums over."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from array_api_compat import array_namespace


def offsets(radius: int, axes: int = 2) -> list[tuple[int, ...]]:
    """Offsets of the (2r+1)^axes neighborhood, row-major; the centre is in the middle."""
    return list(product(range(-radius, radius + 1), repeat=axes))


def radius_of(weights: Any) -> int:
    """Radius r of weight patches of shape (N, …grid): N = (2r+1)^axes.

    Raises
    ------
    ValueError
        If N is not an odd number to the power of the number of spatial axes.
    """
    count, axes = weights.shape[0], weights.ndim - 1
    side = round(count ** (1 / axes)) if axes else 0
    if axes < 1 or side % 2 == 0 or side**axes != count:
        raise ValueError(
            f"weights of shape {tuple(weights.shape)} hold patches of {count} neighbors; "
            f"accepted are (2r+1)**{max(axes, 1)} of them (9 for 3×3). "
            "Put the neighbor axis first: (N, H, W)."
        )
    return (side - 1) // 2


def shifted(field: Any, offset: tuple[int, ...], periodic: bool = False) -> Any:
    """The field x_{i+o} of neighbors at `offset`: (…, *grid) to (…, *grid), 0 where the neighbor is outside."""
    xp = array_namespace(field)
    axes = tuple(range(field.ndim - len(offset), field.ndim))
    if periodic:
        return xp.roll(field, tuple(-o for o in offset), axis=axes)
    grid = field.shape[field.ndim - len(offset) :]
    here = tuple(slice(max(0, -o), max(0, min(n, n - o))) for o, n in zip(offset, grid, strict=True))
    there = tuple(slice(max(0, o), max(0, min(n, n + o))) for o, n in zip(offset, grid, strict=True))
    result = xp.zeros_like(field)
    if all(abs(o) < n for o, n in zip(offset, grid, strict=True)):
        result[(..., *here)] = field[(..., *there)]
    return result


def neighbors(field: Any, weights: Any, periodic: bool = False) -> Iterator[tuple[int, tuple[int, ...], Any]]:
    """Yield (index, offset, x_{i+o}) over the neighborhood of `weights`."""
    for index, offset in enumerate(offsets(radius_of(weights), weights.ndim - 1)):
        yield index, offset, shifted(field, offset, periodic)


def average(weights: Any, field: Any, periodic: bool = False) -> Any:
    """(Ωx)_i = Σ_k ω_ik x_k on every label plane, the definition."""
    total = None
    for index, _, neighbor in neighbors(field, weights, periodic):
        term = weights[index, ...] * neighbor
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
    """R_S x = S∘x − S⟨S, x⟩, labels on axis 0, the definition (2.11b)."""
    xp = array_namespace(similarity, field)
    return similarity * (field - xp.sum(similarity * field, axis=0, keepdims=True))
