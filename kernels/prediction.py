"""Ω̂_i = exp_1(Σ_j a_ij ν_j) with a_i = softmax_j(−σ d_ij): weight patches from features, (4.3)–(4.4), and the adjoint.

With d_ij = ‖f_i − p_j‖, G = ∂L/∂Ω̂ and x̄_i = R_Ω̂ G, sums over the pixels i:

    ∂ν_j = Σ_i a_ij x̄_i,   z̄_ij = a_ij (⟨ν_j, x̄_i⟩ − Σ_l a_il ⟨ν_l, x̄_i⟩)
    ∂σ = −Σ_ij z̄_ij d_ij,   ∂p_j = Σ_i z̄_ij σ (f_i − p_j)/d_ij

Layout: features f (H, F, W), prototypes p (K, F), tangents ν (K, N), Ω̂ and G (H, N, W); σ is a number. Border: a weight
that points outside is 0, the softmax of exp_1 runs over the neighbors inside. Where d = 0 its derivative is taken as 0.
Distances are sums of squared differences: ‖f‖² + ‖p‖² − 2⟨f, p⟩ would lose the digits of small ones.
The matrix a is held for a chunk of pixels only, and computed again for the adjoint. The derivatives are float64.
There is no ``gpu`` yet: device arrays take ``reference``.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ._memory import empty
from ._numba import helper, in_blocks, kernel, reassociating
from .exponential import constants, exponential, new_powers
from .stencil import offsets, shifted

#: Numbers that one chunk of the definition holds: pixels × prototypes × features.
CHUNK = 1 << 22

#: Pixels that ``cpu`` works on together: their distances and a stay in the second level of cache.
STRETCH = 128

#: Blocks of rows whose derivatives are summed apart; a fixed number, so that threads change no bit.
BLOCKS = 64


def reference(prototypes: Any, tangents: Any, sigma: float, features: Any, derivative: Any = None) -> Any:
    """The definition, in array API code: Ω̂, or (∂p, ∂ν, ∂σ) for ∂L/∂Ω̂."""
    xp = array_namespace(features)
    height, F, width = features.shape
    pixels = height * width
    f = xp.reshape(xp.permute_dims(features, (0, 2, 1)), (pixels, F))
    mask = xp.reshape(_inside(tangents, features), (-1, pixels))
    weights = xp.empty(mask.shape, dtype=features.dtype)
    sums = [xp.zeros(x.shape, dtype=xp.float64) for x in (prototypes, tangents)] + [0.0]
    for part in _chunks(pixels, prototypes.size):
        difference = f[part, None, :] - prototypes[None, ...]
        d = xp.sqrt(xp.sum(difference * difference, axis=-1))
        a = xp.exp(-sigma * (d - xp.min(d, axis=1, keepdims=True)))
        a = a / xp.sum(a, axis=1, keepdims=True)
        weights[:, part] = _softmax(xp.matmul(a, tangents).T, mask[:, part])
        if derivative is not None:
            G = xp.reshape(xp.permute_dims(derivative, (1, 0, 2)), mask.shape)[:, part]
            x = (weights[:, part] * (G - xp.sum(weights[:, part] * G, axis=0, keepdims=True))).T
            bar = xp.matmul(x, tangents.T)
            z = a * (bar - xp.sum(a * bar, axis=1, keepdims=True))
            pull = xp.where(d > 0, sigma * z / xp.where(d > 0, d, xp.ones_like(d)), xp.zeros_like(d))
            sums[0] += xp.sum(pull[..., None] * difference, axis=0, dtype=xp.float64)
            sums[1] += xp.matmul(xp.astype(a, xp.float64).T, xp.astype(x, xp.float64))
            sums[2] -= float(xp.sum(z * d, dtype=xp.float64))  # synchronize
    if derivative is not None:
        return tuple(sums)
    return xp.permute_dims(xp.reshape(weights, (-1, height, width)), (1, 0, 2))


def _inside(tangents: Any, features: Any) -> Any:
    """1 where a neighbor is inside the image: (N, H, W)."""
    xp = array_namespace(features)
    ones = xp.ones_like(features[:, 0, :])
    return xp.stack([shifted(ones, offset, labels=False) for offset in offsets(_radius(tangents))])


def _softmax(logits: Any, mask: Any) -> Any:
    """Softmax over axis 0 on the entries inside."""
    xp = array_namespace(logits)
    highest = xp.max(xp.where(mask > 0, logits, xp.full_like(logits, -xp.inf)), axis=0, keepdims=True)
    exponential = xp.where(mask > 0, xp.exp(xp.where(mask > 0, logits - highest, mask)), mask)
    return exponential / xp.sum(exponential, axis=0, keepdims=True)


def _chunks(pixels: int, numbers: int) -> Iterator[slice]:
    step = max(1, CHUNK // numbers)
    for start in range(0, pixels, step):
        yield slice(start, min(pixels, start + step))


def _radius(tangents: Any) -> int:
    return (isqrt(tangents.shape[1]) - 1) // 2


def cpu(prototypes: Any, tangents: Any, sigma: float, features: Any, derivative: Any = None) -> Any:
    """The same with Numba, some hundred pixels at a time."""
    (height, F, width), (K, N), dtype = features.shape, tangents.shape, features.dtype
    blocks = min(height, BLOCKS)
    work = height * width * K * (N + F)
    operands = (prototypes, tangents, dtype.type(sigma), features, _radius(tangents), blocks, constants(dtype))
    if derivative is None:
        weights = empty((height, N, width), dtype)
        in_blocks(_weights, blocks, work, *operands, weights)
        return weights
    sums = np.zeros((blocks, K, F)), np.zeros((blocks, K, N)), np.zeros((blocks, K))
    in_blocks(_derivatives, blocks, 3 * work, *operands, derivative, *sums)
    return sums[0].sum(axis=0), sums[1].sum(axis=0), float(sums[2].sum())


@kernel
def _weights(first, last, prototypes, tangents, sigma, features, radius, blocks, constants, weights):
    height, F, width = features.shape
    K, N = tangents.shape
    f, d, a, logits, one = _buffers(F, K, N, features.dtype)
    powers = new_powers(constants, STRETCH)
    for y in range(height * first // blocks, height * last // blocks):
        for x0 in range(0, width, STRETCH):
            n = min(STRETCH, width - x0)
            _attention(prototypes, sigma, features, y, x0, n, f, d, a, one, constants, powers)
            _lift(tangents, a, radius, height, width, y, x0, n, logits, one, constants, powers)
            for o in range(N):
                copy(logits[o, :n], weights[y, o, x0 : x0 + n])


@kernel
def _derivatives(
    first, last, prototypes, tangents, sigma, features, radius, blocks, constants,
    derivative, of_prototypes, of_tangents, of_sigma,
):  # fmt: skip
    height, F, width = features.shape
    K, N = tangents.shape
    f, d, a, x, mean = _buffers(F, K, N, features.dtype)
    bar, powers = np.empty((K, STRETCH), features.dtype), new_powers(constants, STRETCH)
    for block in range(first, last):
        for y in range(height * block // blocks, height * (block + 1) // blocks):
            for x0 in range(0, width, STRETCH):
                n = min(STRETCH, width - x0)
                _attention(prototypes, sigma, features, y, x0, n, f, d, a, mean, constants, powers)
                _lift(tangents, a, radius, height, width, y, x0, n, x, mean, constants, powers)
                _replicate(derivative, y, x0, x, mean[:n])
                _pull_back(tangents, a, x, bar, mean[:n])
                for j in range(K):
                    for o in range(N):
                        of_tangents[block, j, o] += _dot(a[j, :n], x[o, :n])
                    of_sigma[block, j] -= _dot(bar[j, :n], d[j, :n])
                    _over_distance(sigma, d[j, :n], bar[j, :n])
                    for k in range(F):
                        of_prototypes[block, j, k] += _dot_from(bar[j, :n], f[k, :n], prototypes[j, k])


@helper
def clear(row):
    for x in range(row.size):
        row[x] = 0


@helper
def copy(row, result):
    for x in range(row.size):
        result[x] = row[x]


@helper
def multiply_add(a, b, result):
    for x in range(result.size):
        result[x] += a[x] * b[x]


@helper
def add_scaled(a, scale, result):
    for x in range(result.size):
        result[x] += scale * a[x]


@helper
def _buffers(F, K, N, dtype):
    """f, d, a, one patch of N numbers for each pixel, and one number."""
    return (
        np.empty((F, STRETCH), dtype),
        np.empty((K, STRETCH), dtype),
        np.empty((K, STRETCH), dtype),
        np.empty((N, STRETCH), dtype),
        np.empty(STRETCH, dtype),
    )


@helper
def _attention(prototypes, sigma, features, y, x0, n, f, d, a, lowest, constants, powers):
    """f, d and a of the pixels x0 … x0+n of row y, pixels last."""
    K, F = prototypes.shape
    for k in range(F):
        copy(features[y, k, x0 : x0 + n], f[k, :n])
    for j in range(K):
        clear(d[j, :n])
        for k in range(F):
            _add_squares(f[k, :n], prototypes[j, k], d[j, :n])
        _root(d[j, :n])
    copy(d[0, :n], lowest[:n])
    for j in range(1, K):
        _smaller(d[j, :n], lowest[:n])
    for j in range(K):
        _exponential(sigma, d[j, :n], lowest[:n], a[j, :n], constants, powers)
    copy(a[0, :n], lowest[:n])
    for j in range(1, K):
        add_scaled(a[j, :n], 1, lowest[:n])
    for j in range(K):
        _divide(a[j, :n], lowest[:n])


@helper
def _lift(tangents, a, radius, height, width, y, x0, n, patch, one, constants, powers):
    """patch = exp_1(Σ_j a_j ν_j) over the neighbors inside, 0 outside."""
    K, N = tangents.shape
    side = 2 * radius + 1
    one[:n] = -np.inf
    for o in range(N):
        clear(patch[o, :n])
        lo, hi = _span(o, radius, side, height, width, y, x0, n)
        for j in range(K):
            add_scaled(a[j, lo:hi], tangents[j, o], patch[o, lo:hi])
        for x in range(lo, hi):
            one[x] = max(one[x], patch[o, x])
    for o in range(N):
        lo, hi = _span(o, radius, side, height, width, y, x0, n)
        if lo < hi:
            for x in range(lo, hi):
                patch[o, x] -= one[x]
            exponential(patch[o, lo:hi], constants, powers, hi - lo)
    clear(one[:n])
    for o in range(N):
        add_scaled(patch[o, :n], 1, one[:n])
    for o in range(N):
        _divide(patch[o, :n], one[:n])


@helper
def _span(o, radius, side, height, width, y, x0, n):
    """The pixels of the stretch, counted from x0, whose neighbor o is inside the image; lo = hi where none is."""
    dy, dx = o // side - radius, o % side - radius
    if not 0 <= y + dy < height:
        return 0, 0
    lo, hi = max(0, -dx - x0), min(n, width - dx - x0)
    return lo, max(lo, hi)


@helper
def _replicate(derivative, y, x0, patch, mean):
    """patch = R_patch G."""
    n = mean.size
    clear(mean)
    for o in range(patch.shape[0]):
        multiply_add(patch[o, :n], derivative[y, o, x0 : x0 + n], mean)
    for o in range(patch.shape[0]):
        row, G = patch[o, :n], derivative[y, o, x0 : x0 + n]
        for x in range(n):
            row[x] *= G[x] - mean[x]


@helper
def _pull_back(tangents, a, x, bar, mean):
    """bar_j = z̄_j = a_j (⟨ν_j, x⟩ − Σ_l a_l ⟨ν_l, x⟩)."""
    K, N = tangents.shape
    n = mean.size
    clear(mean)
    for j in range(K):
        row = bar[j, :n]
        clear(row)
        for o in range(N):
            add_scaled(x[o, :n], tangents[j, o], row)
        multiply_add(a[j, :n], row, mean)
    for j in range(K):
        row, share = bar[j, :n], a[j, :n]
        for i in range(n):
            row[i] = share[i] * (row[i] - mean[i])


@helper
def _add_squares(f, p, result):
    for x in range(result.size):
        result[x] += (f[x] - p) * (f[x] - p)


@helper
def _root(row):
    for x in range(row.size):
        row[x] = np.sqrt(row[x])


@helper
def _smaller(row, result):
    for x in range(result.size):
        result[x] = min(result[x], row[x])


@helper
def _exponential(sigma, d, lowest, result, constants, powers):
    for x in range(result.size):
        result[x] = -sigma * (d[x] - lowest[x])
    exponential(result, constants, powers, result.size)


@helper
def _divide(row, total):
    for x in range(row.size):
        row[x] /= total[x]


@helper
def _over_distance(sigma, d, row):
    for x in range(row.size):
        row[x] = sigma * row[x] / d[x] if d[x] > 0 else 0


@reassociating
def _dot(a, b):
    total = a[0] * b[0]
    for x in range(1, a.size):
        total += a[x] * b[x]
    return total


@reassociating
def _dot_from(a, b, origin):
    """Σ a (b − origin)."""
    total = a[0] * (b[0] - origin)
    for x in range(1, a.size):
        total += a[x] * (b[x] - origin)
    return total
