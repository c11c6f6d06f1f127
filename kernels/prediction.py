"""Ω̂_i = exp_1(Σ_j a_ij ν_j) with a_i = softmax_j(−σ d_ij): weight patches from features, (4.3)–(4.4), and the adjoint.

With d_ij = ‖f_i − p_j‖, G = ∂L/∂Ω̂ and x̄_i = R_Ω̂ G, sums over the pixels i:

    ∂ν_j = Σ_i a_ij x̄_i,   z̄_ij = a_ij (⟨ν_j, x̄_i⟩ − Σ_l a_il ⟨ν_l, x̄_i⟩)
    ∂σ = −Σ_ij z̄_ij d_ij,   ∂p_j = Σ_i z̄_ij σ (f_i − p_j)/d_ij

Layout: features f (H, F, W), prototypes p (K, F), tangents ν (K, N), Ω̂ and G (H, N, W); σ is a number. Volumes have D
before H. Border: a weight
that points outside is 0, the softmax of exp_1 runs over the neighbors inside. Where d = 0 its derivative is taken as 0.
Distances are sums of squared differences: ‖f‖² + ‖p‖² − 2⟨f, p⟩ would lose the digits of small ones.
The matrix a is held for a chunk of pixels only, and computed again for the adjoint. The derivatives are float64.
There is no ``gpu`` yet: device arrays take ``reference``.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ._memory import empty
from ._numba import helper, in_blocks, kernel, reassociating
from .exponential import constants, exponential, new_powers
from .rows import clear
from .stencil import check_dtypes, check_flat, offsets, shifted, side_of

#: Numbers that one chunk of the definition holds: pixels × prototypes × features.
CHUNK = 1 << 22

#: Pixels that ``cpu`` works on together: their distances and a stay in the second level of cache.
STRETCH = 128

#: Blocks of rows whose derivatives are summed apart; a fixed number, so that threads change no bit.
BLOCKS = 64


def reference(prototypes: Any, tangents: Any, sigma: float, features: Any, derivative: Any = None) -> Any:
    """The definition, in array API code: Ω̂, or (∂p, ∂ν, ∂σ) for ∂L/∂Ω̂."""
    xp = array_namespace(features)
    (*planes, F, width), axes = features.shape, features.ndim - 1
    pixels, count = prod(planes) * width, tangents.shape[1]
    f = xp.reshape(xp.moveaxis(features, -2, -1), (pixels, F))
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
            G = xp.reshape(xp.moveaxis(derivative, -2, 0), mask.shape)[:, part]
            x = (weights[:, part] * (G - xp.sum(weights[:, part] * G, axis=0, keepdims=True))).T
            bar = xp.matmul(x, tangents.T)
            z = a * (bar - xp.sum(a * bar, axis=1, keepdims=True))
            pull = xp.where(d > 0, sigma * z / xp.where(d > 0, d, xp.ones_like(d)), xp.zeros_like(d))
            sums[0] += xp.sum(pull[..., None] * difference, axis=0, dtype=xp.float64)
            sums[1] += xp.matmul(xp.astype(a, xp.float64).T, xp.astype(x, xp.float64))
            sums[2] -= float(xp.sum(z * d, dtype=xp.float64))  # synchronize
    if derivative is not None:
        return tuple(sums)
    return xp.moveaxis(xp.reshape(weights, (count, *planes, width)), 0, axes - 1)


def _inside(tangents: Any, features: Any) -> Any:
    """1 where a neighbor is inside the image: (N, H, W)."""
    xp, axes = array_namespace(features), features.ndim - 1
    ones = xp.ones_like(features[..., 0, :])
    return xp.stack([shifted(ones, offset, labels=False) for offset in offsets(_radius(tangents, axes), axes)])


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


def _radius(tangents: Any, axes: int) -> int:
    return side_of(tangents.shape[1], axes) // 2


def cpu(prototypes: Any, tangents: Any, sigma: float, features: Any, derivative: Any = None) -> Any:
    """The same with Numba, some hundred pixels at a time."""
    check_dtypes(features, prototypes, tangents, derivative)
    axes = features.ndim - 1
    if (
        axes not in (2, 3)
        or tangents.ndim != 2
        or 0 in tangents.shape
        or (2 * _radius(tangents, axes) + 1) ** axes != len(tangents.T)
    ):
        raise ValueError(
            f"features have shape {features.shape} and tangents {tangents.shape}; accepted are (H, F, W) and "
            "(K, (2r+1)²), of volumes (D, H, F, W) and (K, (2r+1)³), with at least one prototype."
        )
    (*planes, F, width), (K, N), dtype = features.shape, tangents.shape, features.dtype
    shape, rows = (*planes, N, width), prod(planes)
    check_flat(prototypes=(prototypes, (K, F)), derivative=(derivative, shape))
    blocks, work = min(rows, BLOCKS), rows * width * K * (N + F)
    grid = (_radius(tangents, axes), rows // planes[-1], planes[-1], axes == 3)
    operands = (prototypes, tangents, dtype.type(sigma), features.reshape(rows, F, width), grid, blocks)
    operands = (*operands, constants(dtype))
    if derivative is None:
        weights = empty(shape, dtype)
        in_blocks(_weights, blocks, work, *operands, weights.reshape(rows, N, width))
        return weights
    derivative = derivative.reshape(rows, N, width)
    sums = np.zeros((blocks, K, F)), np.zeros((blocks, K, N)), np.zeros((blocks, K))
    in_blocks(_derivatives, blocks, 3 * work, *operands, derivative, *sums)
    return sums[0].sum(axis=0), sums[1].sum(axis=0), float(sums[2].sum())


@kernel
def _weights(first, last, prototypes, tangents, sigma, features, grid, blocks, constants, weights):
    height, _, width = features.shape  # rows of all planes
    (K, N), dtype = tangents.shape, features.dtype
    d, a = np.empty((K, STRETCH), dtype), np.empty((K, STRETCH), dtype)
    x, one = np.empty((N, STRETCH), dtype), np.empty(STRETCH, dtype)
    powers = new_powers(constants, STRETCH)
    for y in range(height * first // blocks, height * last // blocks):
        for x0 in range(0, width, STRETCH):
            n = min(STRETCH, width - x0)
            _attention(prototypes, sigma, features[y], x0, n, d, a, one, constants, powers)
            _lift(tangents, a, grid, width, y, x0, n, x, one, constants, powers)
            for o in range(N):
                row, out = x[o], weights[y, o][x0:]
                for i in range(n):
                    out[i] = row[i]


@kernel
def _derivatives(
    first, last, prototypes, tangents, sigma, features, grid, blocks, constants,
    derivative, of_prototypes, of_tangents, of_sigma,
):  # fmt: skip
    height, F, width = features.shape
    (K, N), dtype = tangents.shape, features.dtype
    d, a, bar = np.empty((K, STRETCH), dtype), np.empty((K, STRETCH), dtype), np.empty((K, STRETCH), dtype)
    x, mean = np.empty((N, STRETCH), dtype), np.empty(STRETCH, dtype)
    powers, zero = new_powers(constants, STRETCH), dtype.type(0)
    for block in range(first, last):
        for y in range(height * block // blocks, height * (block + 1) // blocks):
            for x0 in range(0, width, STRETCH):
                n = min(STRETCH, width - x0)
                _attention(prototypes, sigma, features[y], x0, n, d, a, mean, constants, powers)
                _lift(tangents, a, grid, width, y, x0, n, x, mean, constants, powers)
                _replicate(derivative[y], x0, x, mean, n)
                _pull_back(tangents, a, x, bar, mean, n)
                for j in range(K):
                    for o in range(N):
                        of_tangents[block, j, o] += _dot(a[j], x[o], zero, n)
                    of_sigma[block, j] -= _dot(bar[j], d[j], zero, n)
                    row, distance = bar[j], d[j]
                    for i in range(n):
                        row[i] = sigma * row[i] / distance[i] if distance[i] > 0 else zero
                    for k in range(F):
                        of_prototypes[block, j, k] += _dot(row, features[y, k][x0:], prototypes[j, k], n)


@helper
def _attention(prototypes, sigma, features, x0, n, d, a, one, constants, powers):
    """d and a of n pixels from x0 on, pixels last."""
    K, F = prototypes.shape
    for j in range(K):
        row = d[j]
        clear(row, n)
        for k in range(F):
            f, p = features[k][x0:], prototypes[j, k]
            for x in range(n):
                row[x] += (f[x] - p) * (f[x] - p)
        for x in range(n):
            row[x] = np.sqrt(row[x])
    lowest = d[0]
    for x in range(n):
        one[x] = lowest[x]
    for j in range(1, K):
        row = d[j]
        for x in range(n):
            one[x] = min(one[x], row[x])
    for j in range(K):
        row, share = d[j], a[j]
        for x in range(n):
            share[x] = -sigma * (row[x] - one[x])
        exponential(share, constants, powers, n)
    _normalize(a, one, n)


@helper
def _lift(tangents, a, grid, width, y, x0, n, patch, one, constants, powers):
    """patch = exp_1(Σ_j a_j ν_j) over the neighbors inside, 0 outside."""
    K, N = tangents.shape
    one[:] = -np.inf
    for o in range(N):
        row = patch[o]
        clear(row, n)
        for j in range(K):
            share, t = a[j], tangents[j, o]
            for x in range(n):
                row[x] += t * share[x]
        _outside(o, grid, width, y, x0, n, row, -np.inf)
        for x in range(n):
            one[x] = max(one[x], row[x])
    for o in range(N):
        row = patch[o]
        for x in range(n):
            row[x] -= one[x]
        exponential(row, constants, powers, n)
        _outside(o, grid, width, y, x0, n, row, 0.0)
    _normalize(patch, one, n)


@helper
def _outside(o, grid, width, y, x0, n, row, value):
    """Give the value to those of n pixels from x0 on, in row y of all planes, whose neighbor o is outside."""
    radius, depth, height, volume = grid
    side = 2 * radius + 1
    plane, up, dx = y // height, y % height + o // side % side - radius, o % side - radius
    if volume:
        plane += o // (side * side) - radius
    inside = 0 <= plane < depth and 0 <= up < height
    lo, hi = (max(0, -dx - x0), min(n, width - dx - x0)) if inside else (n, n)
    row[: min(lo, n)] = value
    row[max(hi, 0) : n] = value


@helper
def _normalize(rows, total, n):
    """Divide by the sum over rows."""
    clear(total, n)
    for k in range(rows.shape[0]):
        row = rows[k]
        for x in range(n):
            total[x] += row[x]
    for k in range(rows.shape[0]):
        row = rows[k]
        for x in range(n):
            row[x] /= total[x]


@helper
def _replicate(derivative, x0, patch, mean, n):
    """patch = R_patch G."""
    clear(mean, n)
    for o in range(patch.shape[0]):
        row, G = patch[o], derivative[o][x0:]
        for x in range(n):
            mean[x] += row[x] * G[x]
    for o in range(patch.shape[0]):
        row, G = patch[o], derivative[o][x0:]
        for x in range(n):
            row[x] *= G[x] - mean[x]


@helper
def _pull_back(tangents, a, x, bar, mean, n):
    """bar_j = z̄_j = a_j (⟨ν_j, x⟩ − Σ_l a_l ⟨ν_l, x⟩)."""
    K, N = tangents.shape
    clear(mean, n)
    for j in range(K):
        row, share = bar[j], a[j]
        clear(row, n)
        for o in range(N):
            own, t = x[o], tangents[j, o]
            for i in range(n):
                row[i] += t * own[i]
        for i in range(n):
            mean[i] += share[i] * row[i]
    for j in range(K):
        row, share = bar[j], a[j]
        for i in range(n):
            row[i] = share[i] * (row[i] - mean[i])


@reassociating
def _dot(a, b, origin, n):
    """Σ a (b − origin)."""
    total = a[0] * (b[0] - origin)
    for x in range(1, n):
        total += a[x] * (b[x] - origin)
    return total
