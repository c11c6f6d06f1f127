"""The moments of Riemannian Adam: the gradient's tangent part and its squared Fisher–Rao norm, averaged over steps.

    t_i = c (∂L_i − ⟨Ω_i, ∂L_i⟩)
    first_i ← β₁ first_i + (1 − β₁) t_i,   second_i ← β₂ second_i + (1 − β₂) ⟨Ω_i, t_i²⟩

Layout: Ω, ∂L and first (N, n), second (n); factors (β₁, β₂, c). Without moments, as by default, the second result is
the squared norm of the Riemannian gradient of every patch and the first is None. Least traffic per pixel, in floats:
4N + 2, else 2N + 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from . import _cuda
from ._memory import empty, empty_like
from ._numba import in_blocks, inline, kernel
from ._rows import clear, multiply_add

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
    tangent = scale * (gradient - xp.sum(weights * gradient, axis=0, keepdims=True))
    squared = xp.sum(weights * tangent**2, axis=0)
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
    new_first = None if first is None else empty_like(weights)
    new_second = empty(weights.shape[1:], weights.dtype)
    numbers = tuple(weights.dtype.type(factor) for factor in factors)
    operands = (weights, gradient, first, second, *numbers, new_first, new_second)
    in_blocks(_stretches, -(-weights.shape[1] // STRETCH), 4 * weights.size, *operands)
    return new_first, new_second


@kernel
def _stretches(start, last, weights, gradient, first, second, beta1, beta2, scale, new_first, new_second):
    scratch = np.empty((2, STRETCH), weights.dtype)
    for s in range(start, last):
        a, b = s * STRETCH, min(weights.shape[1], (s + 1) * STRETCH)
        mean, squared = scratch[0, : b - a], scratch[1, : b - a]
        clear(mean)
        clear(squared)
        for o in range(weights.shape[0]):
            multiply_add(weights[o, a:b], gradient[o, a:b], mean)
        for o in range(weights.shape[0]):
            _add_squares(weights[o, a:b], gradient[o, a:b], mean, scale, squared)
            if first is not None:
                _blend_tangent(first[o, a:b], gradient[o, a:b], mean, scale, beta1, new_first[o, a:b])
        for i in range(b - a):
            new_second[a + i] = squared[i] if second is None else beta2 * second[a + i] + (1 - beta2) * squared[i]


@inline
def _add_squares(weights, gradient, mean, scale, squared):
    for i in range(mean.size):
        tangent = scale * (gradient[i] - mean[i])
        squared[i] += weights[i] * (tangent * tangent)


@inline
def _blend_tangent(before, gradient, mean, scale, beta, result):
    for i in range(mean.size):
        result[i] = beta * before[i] + (1 - beta) * (scale * (gradient[i] - mean[i]))


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
    count, pixels = weights.shape
    none = None if first is None else _cuda.empty(weights.shape, weights)
    new_first, new_second = out or (none, _cuda.empty((pixels,), weights))
    _cuda.launch(
        "moments",
        -(-pixels // _cuda.threads()),
        weights,
        gradient,
        first,
        second,
        *(weights.dtype.type(factor) for factor in factors),
        new_first,
        new_second,
        *_cuda.sizes(count),
        np.int64(pixels),
        dtype=weights.dtype,
        INDEX=_cuda.index_type(weights),
    )
    return new_first, new_second
