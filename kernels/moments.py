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
from ._numba import in_blocks, kernel
from .rows import clear
from .stencil import check_dtypes, check_flat

#: Pixels that are worked on together.
STRETCH = 1024

#: β₁, β₂ and c without moments.
PLAIN = (0.0, 0.0, 1.0)


def reference(weights: Any, gradient: Any, first: Any = None, second: Any = None, factors: Any = PLAIN) -> Any:
    """The definition, in array API code: (first, second)."""
    xp = array_namespace(weights, gradient)
    beta1, beta2, scale = factors
    tangent = scale * (gradient - xp.sum(weights * gradient, axis=1, keepdims=True))
    squared = xp.sum(weights * tangent**2, axis=1)
    if first is None:
        return None, squared
    return beta1 * first + (1 - beta1) * tangent, beta2 * second + (1 - beta2) * squared


def check(weights: Any, gradient: Any, first: Any, second: Any) -> None:
    """Raise an error for operands of other shapes and dtypes than those above."""
    check_dtypes(weights, gradient, first, second)
    if weights.ndim != 3 or (first is None) != (second is None):
        raise ValueError(
            f"weights have shape {tuple(weights.shape)}; accepted is (R, N, W), with both moments or none."
        )
    shape = weights.shape
    check_flat(gradient=(gradient, shape), first=(first, shape), second=(second, shape[::2]))


def cpu(weights: Any, gradient: Any, first: Any = None, second: Any = None, factors: Any = PLAIN) -> Any:
    """The same with Numba."""
    check(weights, gradient, first, second)
    rows, _, width = weights.shape
    new_first, new_second = None if first is None else empty_like(weights), empty((rows, width), weights.dtype)
    arrays = [np.ascontiguousarray(x) for x in (weights, gradient, gradient if first is None else first)]
    before, result = new_second if second is None else second, gradient if new_first is None else new_first
    numbers = np.array([*factors, first is not None], weights.dtype)
    operands = (*arrays, before, numbers, result, new_second)
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
            for i in range(n):
                tangent = scale * (G[i] - mean[i])
                squared[i] += w[i] * (tangent * tangent)
            if averaged:
                m, out = first[y, o, a:], new_first[y, o, a:]
                for i in range(n):
                    out[i] = beta1 * m[i] + (one - beta1) * (scale * (G[i] - mean[i]))
        before, after = second[y, a:], new_second[y, a:]
        for i in range(n):
            after[i] = beta2 * before[i] + (one - beta2) * squared[i] if averaged else squared[i]


def gpu(
    weights: Any, gradient: Any, first: Any = None, second: Any = None, factors: Any = PLAIN, *, out: Any = None
) -> Any:
    """The same with CUDA (``moments.cu``)."""
    check(weights, gradient, first, second)
    weights, gradient, first, second = _cuda.contiguous(weights, gradient, first, second)
    rows, count, width = weights.shape
    none = None if first is None else _cuda.empty(weights.shape, weights)
    new = out or (none, _cuda.empty((rows, width), weights))
    arguments = (weights, gradient, first, second, *map(weights.dtype.type, factors), *new)
    options = {"dtype": weights.dtype, "INDEX": _cuda.index_type(weights)}
    _cuda.launch("moments", _cuda.tiles(rows, width), *arguments, *_cuda.sizes(count, rows, width), **options)
    return new
