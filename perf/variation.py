"""Labels of least total variation: the convex relaxation of minimal boundaries.

min over u in the simplex at every pixel of ⟨D, u⟩ + λ Σ_j Σ_i ‖∇u_j(i)‖ (Zach et al. 2008, Lellmann et al. 2009), by the
primal-dual steps of Chambolle and Pock (2011) with τ = σ = 1/√8; a pixel has the label of the largest u.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gpulaf.fields import from_rows

STEPS = 200


def least_variation(cost: np.ndarray, strength: float, steps: int = STEPS) -> np.ndarray:
    """Labels (H, W) from costs (H, J, W); `strength` is λ."""
    D = np.ascontiguousarray(from_rows(cost), dtype=np.float32)
    u = (D.argmin(axis=-1)[..., None] == np.arange(D.shape[-1])).astype(np.float32)
    bar, p, q = u.copy(), np.zeros_like(u), np.zeros_like(u)
    size = np.float32(8**-0.5)
    for _ in range(steps):
        _dual(bar, p, q, size, np.float32(strength))
        _primal(u, bar, p, q, D, size)
    return u.argmax(axis=-1).astype(np.int32)


@njit
def _dual(bar, p, q, size, strength):  # type: ignore[no-untyped-def]
    """(p, q) ← the projection of (p, q) + σ∇ū, each label's vector to length λ at most."""
    height, width, labels = bar.shape
    for y in range(height):
        for x in range(width):
            for j in range(labels):
                a = p[y, x, j] + (size * (bar[y + 1, x, j] - bar[y, x, j]) if y + 1 < height else np.float32(0))
                b = q[y, x, j] + (size * (bar[y, x + 1, j] - bar[y, x, j]) if x + 1 < width else np.float32(0))
                over = np.sqrt(a * a + b * b) / strength
                if over > 1:
                    a, b = a / over, b / over
                p[y, x, j], q[y, x, j] = a, b


@njit
def _primal(u, bar, p, q, D, size):  # type: ignore[no-untyped-def]
    """u ← the projection of u + τ(div(p, q) − D) to the simplex, ū ← 2u − the u before."""
    height, width, labels = u.shape
    w, rest = np.empty(labels, np.float32), np.empty(labels, np.float32)
    for y in range(height):
        for x in range(width):
            for j in range(labels):
                div = p[y, x, j] + q[y, x, j]
                if y:
                    div -= p[y - 1, x, j]
                if x:
                    div -= q[y, x - 1, j]
                w[j] = rest[j] = u[y, x, j] + size * (div - D[y, x, j])
            rest.sort()
            total, shift = np.float32(0), np.float32(0)
            for k in range(labels):  # the largest first
                total += rest[labels - 1 - k]
                if rest[labels - 1 - k] * (k + 1) > total - 1:
                    shift = (total - 1) / np.float32(k + 1)
            for j in range(labels):
                new = max(w[j] - shift, np.float32(0))
                bar[y, x, j] = 2 * new - u[y, x, j]
                u[y, x, j] = new
