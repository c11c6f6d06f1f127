"""The launches of a piece of code on a GPU, recorded without one: the host's part runs on NumPy arrays of zeros.

Kernels are those that the ``gpu`` functions launch, with their constants, grids and costs (`gpulaf.profiling.costs`).
Everything else that a CuPy array would launch is recorded by an array of NumPy that notes what it is asked for: one
kernel for an operation on every element and for each copy, two for a sum over everything. Results are garbage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from math import prod
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from gpulaf.kernels import _cuda, inner_products
from gpulaf.kernels.combination import MOST_RESULTS
from gpulaf.kernels.stencil import radius_of

from gpulaf.backend.dispatch import observed
from gpulaf.fields import pixel_shape
from gpulaf.profiling.costs import Cost, cost

#: Kernels that have CUDA text.
KERNELS = (
    "operator", "adjoint", "similarity", "weight_gradient", "agreement", "cosine", "moments", "geodesic",
    "combination", "inner_products",
)  # fmt: skip

#: Threads of a block of CuPy's own kernels, and registers of one: those of the plainest kernel here.
PLAIN_THREADS, PLAIN_REGISTERS = 128, 32


class Launch(NamedTuple):
    """A kernel on its way to the GPU."""

    kernel: str
    #: What was compiled: entry, and dtype and constants as in results/registers.json; "" of a kernel of CuPy.
    entry: str
    constants: str
    blocks: int
    threads: int
    itemsize: int
    cost: Cost
    #: Lines of 128 bytes that the loads and stores of all warps touch in first-level cache or shared memory.
    lines: float


class Noted(np.ndarray):
    """A NumPy array that notes what a CuPy array would launch."""

    record: list[Launch] | None = None

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if out is not None:
            options["out"] = tuple(map(plain, out))
        with np.errstate(all="ignore"):
            result = getattr(ufunc, method)(*map(plain, inputs), **options)
        arrays = [x for x in inputs if isinstance(x, np.ndarray)]
        note(ufunc.__name__ if method == "__call__" else "sum", arrays, [result], 1 + (method == "reduce"))
        return out[0] if out is not None else noted(result)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        if function not in (np.concatenate, np.stack):
            return super().__array_function__(function, types, arguments, options)
        parts, *rest = arguments
        for part in parts:
            note(function.__name__, [part], [part])
        return noted(function([plain(x) for x in parts], *rest, **options))

    def __setitem__(self, key: Any, value: Any) -> None:
        target = plain(self)[key]
        note("copy" if isinstance(value, np.ndarray) else "fill", [value], [target])
        np.ndarray.__setitem__(plain(self), key, plain(value))


def plain(x: Any) -> Any:
    """The array without notes."""
    return x.view(np.ndarray) if isinstance(x, Noted) else x


def noted(x: Any) -> Any:
    """The array as one that notes."""
    return np.asarray(x).view(Noted)


def note(name: str, read: list[Any], written: list[Any], count: int = 1) -> None:
    """Note kernels of CuPy, the first of which moves the arrays."""
    if Noted.record is None:
        return
    moved, to = (sum(x.nbytes for x in arrays if isinstance(x, np.ndarray)) for arrays in (read, written))
    size = max([np.asarray(x).size for x in (*read, *written)])
    itemsize = max(4, *(np.asarray(x).itemsize for x in written))
    first = Launch(name, "", "", max(1, -(-size // PLAIN_THREADS)), PLAIN_THREADS, itemsize,
                   Cost(moved + to, size, to), (moved + to) / 128)  # fmt: skip
    Noted.record += [first, *[first._replace(blocks=1, cost=Cost(0, 0), lines=0)] * (count - 1)]


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Record the launches of the block; its arrays are :class:`Noted`."""
    launches: list[Launch] = []
    pages = {name: import_module(f"gpulaf.kernels.{name}") for name in KERNELS}
    now: list[Any] = []

    def page(name: str, function: Any) -> Any:
        def called(*operands: Any, **options: Any) -> Any:
            now[:] = [cost(name, *operands), lines(name, *operands)]
            return function(*operands, **options)

        return called

    def launch(
        name: str, blocks: int, *arguments: Any, dtype: Any, images: int = 1, entry: str = "kernel", **constants: Any
    ) -> None:
        label = " ".join((np.dtype(dtype).name, *(f"{key}={value}" for key, value in sorted_as_recorded(constants))))
        if entry == "kernel":
            spent, touched = now
        else:  # the second stage of a sum
            moved = sum(x.nbytes for x in arguments if isinstance(x, np.ndarray))
            spent, touched = Cost(moved, moved // 8, arguments[1].nbytes), moved / 128
        size = np.dtype(dtype).itemsize
        whole = f"{name}_{entry}"
        launches.append(Launch(name, whole, label, blocks * images, _cuda.threads(), size, spent, touched))

    def empty(shape: Any, like: Any, dtype: Any = None) -> Any:
        return noted(np.zeros(shape, dtype or like.dtype))

    with (
        observed(lambda name, _: import_module(f"gpulaf.kernels.{name}").gpu),
        patch.object(_cuda, "launch", launch),
        patch.object(_cuda, "empty", empty),
        patch("gpulaf.backend.array.host_empty", lambda shape, dtype: noted(np.zeros(shape, dtype))),
        patch.object(Noted, "record", launches),
    ):
        patches = [patch.object(module, "gpu", page(name, module.gpu)) for name, module in pages.items()]
        for each in patches:
            each.start()
        try:
            yield launches
        finally:
            for each in patches:
                each.stop()


def sorted_as_recorded(constants: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Constants in the order of results/registers.json; REACH is named where it is not 0."""
    order = ("ROWS", "OTHERS", "STEPS", "RADIUS", "REACH", "LABELS", "INDEX", "REPLICATE", "SUMS")
    return ((key, constants[key]) for key in order if key in constants and (key, constants[key]) != ("REACH", 0))


def lines(kernel: str, *operands: Any) -> float:
    """Lines of 128 bytes that loads and stores touch, as the ``.cu`` is written; what the compiler keeps is not known.

    A warp of 32 pixels touches one in float32, of neighbors to the left or right two.
    """
    first = operands[1] if kernel == "combination" else operands[0]
    elements = prod(pixel_shape(first))
    straight, across = _STENCIL_LINES[kernel](*operands) if kernel in _STENCIL_LINES else (_LINES[kernel](*operands), 0)
    if kernel in _STENCIL_LINES:
        elements = prod(pixel_shape(operands[_FIELD[kernel]]))
    return elements / 32 * (straight * first.itemsize / 4 + across)


#: Where a stencil's field is among its operands.
_FIELD = {"operator": 2, "adjoint": 2, "similarity": 1, "weight_gradient": 3}


def _neighbors(weights: Any) -> tuple[int, int]:
    """Neighbors, and those to the left or right."""
    count = weights.shape[-2]
    return count, count - count // (2 * radius_of(weights) + 1)


def _operator(weights: Any, similarity: Any, field: Any, source: Any = None, *_: Any) -> tuple[float, float]:
    (N, across), J = _neighbors(weights), field.shape[-2]
    return N + (1 + (similarity is not None) + (source is not None) + N) * J, across * J


def _adjoint(weights: Any, similarity: Any, field: Any, source: Any = None, *_: Any) -> tuple[float, float]:
    (N, across), J, r = _neighbors(weights), field.shape[-2], radius_of(weights)
    tile = prod(side + 2 * r for side in _cuda.BLOCK) / prod(_cuda.BLOCK) * J  # per pixel, with its halo
    loads = (1 if similarity is None else 4) * tile
    return N + loads + tile + (1 + (source is not None) + N) * J, across + loads


def _similarity(weights: Any, log_likelihood: Any) -> tuple[float, float]:
    (N, across), J = _neighbors(weights), log_likelihood.shape[-2]
    return N + (1 + N) * J, across * J


def _weight_gradient(weights: Any, S: Any, l: Any, mean: Any, left: Any, *_: Any) -> tuple[float, float]:
    (N, across), J, R = _neighbors(weights), mean.shape[-2], left.shape[0]
    return (R * (3 + N) + N + 3) * J + N, (R + 1) * across * J


def _combination(coefficients: Any, rows: Any, start: Any = None) -> float:
    R, K = coefficients.shape
    return K * -(-R // MOST_RESULTS) + (1 if start is None else 2) * R


def _inner_products(rows: Any, others: Any) -> float:
    K, P = rows.shape[0], others.shape[0]
    of_rows, of_others = inner_products.TILE_ONE if P == 1 else inner_products.TILE
    return K * -(-P // of_others) + P * -(-K // of_rows)


def _moments(weights: Any, gradient: Any, first: Any = None, *_: Any) -> float:
    return (4 if first is None else 6) * weights.shape[-2] + (1 if first is None else 2)


_STENCIL_LINES: dict[str, Callable[..., tuple[float, float]]] = {
    "operator": _operator, "adjoint": _adjoint, "similarity": _similarity, "weight_gradient": _weight_gradient,
}  # fmt: skip
_LINES: dict[str, Callable[..., float]] = {
    "combination": _combination, "inner_products": _inner_products, "moments": _moments,
    "agreement": lambda v, *_: v.shape[-2] + 1, "cosine": lambda v, *_: 2 * v.shape[-2] + 1,
    "geodesic": lambda p, *_: 10 * p.shape[-2],
}  # fmt: skip
