"""Labels of least total variation: the convex relaxation of minimal boundaries.

min over u in the simplex at every pixel of ⟨D, u⟩ + λ Σ_j Σ_i ‖∇u_j(i)‖ (Zach et al. 2008, Lellmann et al. 2009), by
the primal-dual steps of Chambolle and Pock (2011) with τ = σ = 1/√8; a pixel has the label of the largest u.
"""

from __future__ import annotations

import numpy as np
from numba import njit

STEPS = 200


def least_variation(cost: np.ndarray, strength: float, steps: int = STEPS) -> np.ndarray:
    """Labels (H, W) from costs (H, J, W); `strength` is λ."""
    D, labels = np.ascontiguousarray(cost, dtype=np.float32), cost.shape[-2]
    u = (D.argmin(axis=-2)[:, None] == np.arange(labels)[:, None]).astype(np.float32)
    bar, p, q = u.copy(), np.zeros_like(u), np.zeros_like(u)
    primal = _primal_of_two if labels == 2 else _primal
    for _ in range(steps):
        _dual(bar, p, q, np.float32(8**-0.5), np.float32(strength))
        primal(u, bar, p, q, D, np.float32(8**-0.5))
    return u.argmax(axis=-2).astype(np.int32)


@njit(fastmath=True)
def _dual(bar, p, q, size, strength):  # type: ignore[no-untyped-def]
    """(p, q) ← the projection of (p, q) + σ∇ū, each label's vector to length λ at most."""
    height, labels, width = bar.shape
    for y in range(height):
        below = min(y + 1, height - 1)
        for j in range(labels):
            for x in range(width - 1):
                q[y, j, x] += size * (bar[y, j, x + 1] - bar[y, j, x])
            for x in range(width):
                p[y, j, x] += size * (bar[below, j, x] - bar[y, j, x])
                long = np.sqrt(p[y, j, x] * p[y, j, x] + q[y, j, x] * q[y, j, x])
                short = strength / max(long, strength)
                p[y, j, x] *= short
                q[y, j, x] *= short


@njit(fastmath=True)
def _forward(u, p, q, D, size, y, w):  # type: ignore[no-untyped-def]
    """w = u + τ(div(p, q) − D) in a row."""
    labels, width = w.shape
    for j in range(labels):
        for x in range(width):
            w[j, x] = u[y, j, x] + size * (p[y, j, x] + q[y, j, x] - D[y, j, x])
        for x in range(1, width):
            w[j, x] -= size * q[y, j, x - 1]
        if y:
            for x in range(width):
                w[j, x] -= size * p[y - 1, j, x]


@njit(fastmath=True)
def _primal_of_two(u, bar, p, q, D, size):  # type: ignore[no-untyped-def]
    """u ← the projection of u + τ(div(p, q) − D) to the simplex, ū ← 2u − the u before."""
    height, labels, width = u.shape
    w = np.empty((labels, width), np.float32)
    for y in range(height):
        _forward(u, p, q, D, size, y, w)
        for x in range(width):
            one = min(max(np.float32(0.5) * (w[1, x] - w[0, x] + np.float32(1)), np.float32(0)), np.float32(1))
            bar[y, 1, x] = 2 * one - u[y, 1, x]
            bar[y, 0, x] = 2 * (1 - one) - u[y, 0, x]
            u[y, 1, x], u[y, 0, x] = one, 1 - one


@njit(fastmath=True)
def _primal(u, bar, p, q, D, size):  # type: ignore[no-untyped-def]
    """The same for any number of labels."""
    height, labels, width = u.shape
    w, sorted_ = np.empty((labels, width), np.float32), np.empty(labels, np.float32)
    for y in range(height):
        _forward(u, p, q, D, size, y, w)
        for x in range(width):
            for j in range(labels):  # by insertion, the largest first
                k = j
                while k and sorted_[k - 1] < w[j, x]:
                    sorted_[k] = sorted_[k - 1]
                    k -= 1
                sorted_[k] = w[j, x]
            total, shift = np.float32(0), np.float32(0)
            for k in range(labels):
                total += sorted_[k]
                if sorted_[k] * (k + 1) > total - 1:
                    shift = (total - 1) / np.float32(k + 1)
            for j in range(labels):
                new = max(w[j, x] - shift, np.float32(0))
                bar[y, j, x] = 2 * new - u[y, j, x]
                u[y, j, x] = new
