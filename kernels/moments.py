"""The moments of Riemannian Adam: the gradient's tangent part and its squared Fisher–Rao norm, averaged over steps.

    t_i = c (∂L_i − ⟨Ω_i, ∂L_i⟩)
    first_i ← β₁ first_i + (1 − β₁) t_i,   second_i ← β₂ second_i + (1 − β₂) ⟨Ω_i, t_i²⟩

Layout: Ω, ∂L and first (R, N, W), second (R, W); factors (β₁, β₂, c). Without moments, as by default, the second
result is the squared norm of the Riemannian gradient of every patch and the first is None. Least traffic per pixel, in
floats: 4N + 2, else 2N + 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._memory import empty, empty_like
from ._numba import helper, in_blocks, kernel
from .rows import clear

#: Pixels that are worked on together.
STRETCH = 1024

#: β₁, β₂ and c without moments.
PLAIN = (0.0, 0.0, 1.0)


def reference(
    weights: Any, gradient: Any, first: Any = None, second: Any = None, factors: tuple[float, float, float] = PLAIN
) -> tuple[Any, Any]:
    """The definition, in array API code: (first, second)."""
    xp = array_namespace(weights, gradient)
    beta1, beta2, scale = factors
    tangent = scale * (gradient - xp.sum(weights * gradient, axis=1, keepdims=True))
    squared = xp.sum(weights * tangent**2, axis=1)
    if first is None:
        return None, squared
    return beta1 * first + (1 - beta1) * tangent, beta2 * second + (1 - beta2) * squared


def cpu(
    weights: np.ndarray,
    gradient: np.ndarray,
    first: np.ndarray | None = None,
    second: np.ndarray | None = None,
    factors: tuple[float, float, float] = PLAIN,
) -> tuple[np.ndarray | None, np.ndarray]:
    """The same with Numba."""
    rows, _, width = weights.shape
    new_first = None if first is None else empty_like(weights)
    new_second = empty((rows, width), weights.dtype)
    arrays = [np.ascontiguousarray(x) for x in (weights, gradient, gradient if first is None else first)]
    before = new_second if second is None else second
    numbers = np.array([*factors, first is not None], weights.dtype)
    operands = (*arrays, before, numbers, gradient if new_first is None else new_first, new_second)
    in_blocks(_stretches, rows * -(-width // STRETCH), 4 * weights.size, *operands)
    return new_first, new_second


@kernel
def _stretches(start, last, weights, gradient, first, second, numbers, new_first, new_second):
    _, N, width = weights.shape
    beta1, beta2, scale, averaged = numbers
    one, stretches = weights.dtype.type(1), -(-width // STRETCH)
    mean, squared = np.empty(STRETCH, weights.dtype), np.empty(STRETCH, weights.dtype)
    for s in range(start, last):
        y, a = s // stretches, s % stretches * STRETCH
        n = min(STRETCH, width - a)
        clear(mean, n)
        clear(squared, n)
        for o in range(N):
            w, G = weights[y, o, a:], gradient[y, o, a:]
            for i in range(n):
                mean[i] += w[i] * G[i]
        for o in range(N):
            w, G = weights[y, o, a:], gradient[y, o, a:]
            _add_squares(w, G, mean, scale, squared, n)
            if averaged:
                _blend(first[y, o, a:], G, mean, scale, beta1, new_first[y, o, a:], n)
        before, after = second[y, a:], new_second[y, a:]
        if averaged:
            for i in range(n):
                after[i] = beta2 * before[i] + (one - beta2) * squared[i]
        else:
            for i in range(n):
                after[i] = squared[i]


@helper
def _add_squares(weights, gradient, mean, scale, squared, n):
    for i in range(n):
        tangent = scale * (gradient[i] - mean[i])
        squared[i] += weights[i] * (tangent * tangent)


@helper
def _blend(before, gradient, mean, scale, beta, result, n):
    one = mean.dtype.type(1)
    for i in range(n):
        result[i] = beta * before[i] + (one - beta) * (scale * (gradient[i] - mean[i]))


def gpu(
    weights: Any,
    gradient: Any,
    first: Any = None,
    second: Any = None,
    factors: tuple[float, float, float] = PLAIN,
    *,
    out: tuple[Any, Any] | None = None,
) -> tuple[Any, Any]:
    """The same with CUDA (``moments.cu``)."""
    weights, gradient, first, second = _cuda.contiguous(weights, gradient, first, second)
    rows, count, width = weights.shape
    none = None if first is None else _cuda.empty(weights.shape, weights)
    new_first, new_second = out or (none, _cuda.empty((rows, width), weights))
    _cuda.launch(
        "moments",
        _cuda.tiles(rows, width),
        weights,
        gradient,
        first,
        second,
        *(weights.dtype.type(factor) for factor in factors),
        new_first,
        new_second,
        *_cuda.sizes(count, rows, width),
        dtype=weights.dtype,
        INDEX=_cuda.index_type(weights),
    )
    return new_first, new_second
