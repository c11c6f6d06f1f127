"""Costs of kernels, against the bytes of arrays and against operations counted on the definitions."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import array_api_compat.numpy
import numpy as np
import pytest
from gpulaf.kernels import adjoint, operator, stencil, weight_gradient

import gpulaf
from gpulaf.profiling import costs

N, J, H, W = 9, 5, 7, 11


def operands(
    kernel: str, dtype: Any, batch: tuple[int, ...] = (), shared: bool = False
) -> tuple[tuple[Any, ...], list[np.ndarray]]:
    """Arguments of a kernel at odd sizes, and the arrays among them that it has to read."""
    rng = np.random.default_rng(0)

    def field(*shape: int) -> np.ndarray:
        return rng.random(shape).astype(dtype)

    weights = gpulaf.averaging.normalize_weights(field(*batch, H, N, W))
    S, l, v = (x / x.sum(axis=-2, keepdims=True) for x in (field(*batch, H, J, W) for _ in range(3)))
    images, patches = v.reshape(-1, H, J, W), weights.reshape(-1, N, W)
    truth, ones = rng.integers(-1, J, (len(images), H, W)).astype(np.int32), np.ones(J, dtype)
    stack, terms, factors = field(4, v.size), [field(3, *v.shape) for _ in range(3)], (0.9, 0.99, 1.0)
    norms = patches[:, 0]
    weights = weights[:1] if shared else weights
    return {
        "operator": ((weights, S, v), [weights, S, v]),
        "operator sourced": ((weights, S, v, l, 0.5), [weights, S, v, l]),
        "operator averages": ((weights, None, v), [weights, v]),
        "adjoint": ((weights, S, v), [weights, S, v]),
        "adjoint sourced": ((weights, None, v, l), [weights, v, l]),
        "inner_products": ((stack, stack[:2]), [stack, stack[:2]]),
        "similarity": ((weights, l), [weights, l]),
        "combination": ((np.ones((2, 4)), stack), [stack]),
        "combination start": ((np.ones((2, 4)), stack, stack[:2]), [stack, stack[:2]]),
        "agreement": ((images, truth, ones), [images, truth]),
        "cosine": ((images, truth, ones, np.ones((len(images), 6))), [images, truth]),
        "weight_gradient": ((weights, S, l, v, *terms), [S, l, v, *terms]),
        "reverse_horner": ((weights, S, l, v, np.ones(4)), [weights, S, l, v]),
        "moments": ((patches, patches), [patches, patches]),
        "moments averaged": (
            (patches, patches, patches, norms, factors), [patches, patches, patches, norms]
        ),
        "geodesic": ((patches, patches, -0.1), [patches, patches]),
        "geodesic scaled": ((patches, patches, -0.1, norms), [patches, patches, norms]),
    }[kernel]  # fmt: skip


KERNELS = [
    "operator", "operator sourced", "operator averages", "adjoint", "adjoint sourced", "similarity", "combination",
    "combination start", "inner_products", "agreement", "cosine", "weight_gradient", "reverse_horner", "moments",
    "moments averaged", "geodesic", "geodesic scaled",
]  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("batch", "shared"), [((), False), ((3,), False), ((3,), True)])
def test_bytes_are_those_of_the_arrays(kernel: str, dtype: Any, batch: tuple[int, ...], shared: bool) -> None:
    name = kernel.split()[0]
    arguments, read = operands(kernel, dtype, batch, shared)
    result = import_module(f"gpulaf.kernels.{name}").reference(*arguments)
    written = [x for x in (result if isinstance(result, tuple) else (result,)) if x is not None and x.size >= H * W]
    cost = costs.cost(name, *arguments)
    assert (cost.read, cost.written) == tuple(sum(x.nbytes for x in arrays) for arrays in (read, written))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("sourced", [False, True])
def test_a_chain_moves_what_its_products_move(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, transposed: bool, sourced: bool
) -> None:
    (weights, S, l, v, *_), _ = operands("weight_gradient", dtype)
    module, moved = adjoint if transposed else operator, []
    product = module.reference

    def counted(*arrays: Any, out: np.ndarray, **options: Any) -> np.ndarray:
        moved.append(out.nbytes + sum(x.nbytes for x in arrays if isinstance(x, np.ndarray)))
        return product(*arrays, out=out, **options)

    monkeypatch.setattr(module, "reference", counted)
    arguments, out = (weights, S, v, l if sourced else None, np.ones(4)), np.empty((4, *v.shape), dtype)
    import_module("gpulaf.kernels.chain").reference(*arguments, out=out, transposed=transposed)
    assert len(moved) == 4
    assert costs.cost("chain", *arguments, out=out, transposed=transposed).bytes == sum(moved)


class Counting(np.ndarray):
    """Counts floating-point operations that touch it."""

    operations = 0
    exponential = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, Counting) else x for x in inputs]
        if out is not None:
            options["out"] = tuple(x.view(np.ndarray) if isinstance(x, Counting) else x for x in out)
        result = getattr(ufunc, method)(*plain, **options)
        if result.dtype.kind == "f":
            size = plain[0].size if method == "reduce" else result.size
            each = {np.exp: Counting.exponential, np.matmul: 2 * plain[0].shape[-1] if ufunc is np.matmul else 0}
            free = ufunc in (np.maximum, np.minimum, np.clip, np.negative)
            Counting.operations += 0 if free else size * each.get(ufunc, 1)
        return counting(result)


def counting(x: Any) -> Any:
    return x.view(Counting) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


class CountingNamespace:
    """NumPy, whose functions give arrays that count."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(array_api_compat.numpy, name)
        return value if isinstance(value, type) else lambda *x, **options: counting(value(*x, **options))


@pytest.mark.parametrize("kernel", [*KERNELS, "chain", "chain sourced"])
def test_operations_are_about_those_of_the_definition(monkeypatch: pytest.MonkeyPatch, kernel: str, dtype: Any) -> None:
    """Sums that start from 0 and masks make a difference; a factor of N or J would not pass."""
    name, options = kernel.split()[0], {}
    if name == "chain":
        (weights, S, l, v, *_), _ = operands("weight_gradient", dtype)
        arguments: tuple[Any, ...] = (weights, S, v, l if "sourced" in kernel else None, np.ones(4))
        options = {"out": counting(np.empty((4, *v.shape), dtype)), "transposed": False}
    else:
        arguments, _ = operands(kernel, dtype)
    Counting.operations, Counting.exponential = 0, 8 + 2 * {4: 7, 8: 13}[np.dtype(dtype).itemsize]
    for module in (import_module(f"gpulaf.kernels.{name}"), stencil, weight_gradient):
        monkeypatch.setattr(module, "array_namespace", lambda *_: CountingNamespace(), raising=False)
    import_module(f"gpulaf.kernels.{name}").reference(*map(counting, arguments), **options)
    ratio = costs.cost(name, *arguments, **options).operations / Counting.operations
    assert 0.7 < ratio < 1.4
