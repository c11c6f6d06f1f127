"""The dense gradient as Theorem 3.8 writes it, with a Kronecker sum: exact, and only for a handful of pixels (3.22)."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from ..flows.linear import LinearFlow

__all__ = ["dense_derivative", "dense_operator"]


def dense_operator(flow: LinearFlow) -> np.ndarray:
    """A as a matrix (n, n), n = J·H·W, one column for each basis field."""
    n = flow.S.size
    columns = (flow.A(x.reshape(flow.S.shape)).ravel() for x in np.eye(n, dtype=flow.S.dtype))
    return np.stack(list(columns), axis=1)


def dense_derivative(flow: LinearFlow, time: float, g: Any) -> tuple[np.ndarray, np.ndarray]:
    """M = ∫ μ(t) v(t)ᵀ dt and m̄ = ∫ μ(t) dt in float64: (n, n) and (n,), in the order of the fields.

    ∂L/∂𝒜 = vec_r⁻¹(φ(−𝒜ᵀ ⊕ 𝒜)[(e^{𝒜ᵀ} ĝ) ⊗ e]) with 𝒜 = [[TA, TB], [0, 0]] of size k = n + 1, ĝ = (g, 0) and
    e = e_k; A and B stand in 𝒜 times T. The Kronecker sum has k⁴ numbers.

    Parameters
    ----------
    flow : LinearFlow
        On the host.
    time : float
        T.
    g : (H, J, W) array
        The derivative of the loss in v(T).
    """
    A, B = dense_operator(flow).astype(np.float64), np.asarray(flow.B, dtype=np.float64).ravel()
    k = len(B) + 1
    bordered = np.zeros((k, k))
    bordered[:-1, :-1], bordered[:-1, -1] = time * A, time * B
    identity, last = np.eye(k), np.eye(k)[-1]
    start = np.kron(scipy.linalg.expm(bordered.T) @ np.append(np.ravel(g), 0.0), last)
    extended = np.zeros((k * k + 1,) * 2)  # φ(X) b is the last column of the exponential of [[X, b], [0, 0]]
    extended[:-1, :-1] = np.kron(-bordered.T, identity) + np.kron(identity, bordered)
    extended[:-1, -1] = start
    found = time * scipy.linalg.expm(extended)[:-1, -1].reshape(k, k)
    return found[:-1, :-1], found[:-1, -1]
