"""Arnoldi iteration: an orthonormal basis of the Krylov space of any linear callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .array import empty, namespace
from .vectors import combine, inner_products, norm

#: A new direction this much shorter than the product it came from is orthogonalized once more.
REORTHOGONALIZE = 0.05

#: A new direction shorter than this many roundings of its product is no direction: the space is invariant.
BREAKDOWN = 50


class Arnoldi(NamedTuple):
    """A Q_m = Q_m H_m + h_{m+1,m} q_{m+1} e_mᵀ with Q_mᵀ Q_m = I."""

    #: (m, *shape of b): the orthonormal basis.
    basis: Any
    #: (m, m) float64 array on the host: the projection of A.
    hessenberg: np.ndarray
    #: ‖b‖.
    norm: float
    #: h_{m+1,m}; 0 where the space is invariant under A.
    residual: float
    #: None: the basis is orthonormal as it is.
    coordinates: None = None


def arnoldi(
    apply: Callable[[Any], Any],
    b: Any,
    dimension: int,
    *,
    stop: Callable[[np.ndarray, float, float], bool] | None = None,
) -> Arnoldi:
    """Build the Krylov space span{b, Ab, …} by one pass of classical Gram–Schmidt, repeated where digits were lost.

    Parameters
    ----------
    apply : callable
        The product with A: an array of the shape and dtype of `b` to another.
    b : floating array of any shape
    dimension : int
        The largest dimension m; the space ends earlier where it is invariant.
    stop : callable, optional
        ``stop(hessenberg, residual, norm)`` is asked after each dimension; True ends the iteration.

    Returns
    -------
    Arnoldi
        With dimension 0 if b = 0.
    """
    xp = namespace(b)
    eps = float(xp.finfo(b.dtype).eps)
    beta = norm(b)
    first = dimension if stop is None else min(dimension, 8)
    rows = empty((first if beta else 0, b.size), b)
    hessenberg, residual, m = np.zeros((dimension + 1, dimension)), 0.0, 0
    direction, length = xp.reshape(b, (-1,)), beta
    while length and m < dimension:
        if m == rows.shape[0]:
            rows = xp.concat([rows, empty((min(m, dimension - m), b.size), b)])
        rows[m, :] = direction / length
        m += 1
        product = xp.reshape(apply(xp.reshape(rows[m - 1, :], b.shape)), (-1,))
        before = norm(product)
        direction, column = _orthogonalize(rows[:m, :], product)
        length = norm(direction)
        if length < REORTHOGONALIZE * before:
            direction, correction = _orthogonalize(rows[:m, :], direction)
            column += correction
            length = norm(direction)
        if length <= BREAKDOWN * eps * before:
            length = 0.0
        hessenberg[:m, m - 1] = column
        hessenberg[m, m - 1] = residual = length
        if stop is not None and stop(hessenberg[:m, :m], residual, beta):
            break
    basis = xp.reshape(rows[:m, :], (m, *b.shape))
    return Arnoldi(basis, hessenberg[:m, :m].copy(), beta, residual)


def _orthogonalize(rows: Any, x: Any) -> tuple[Any, np.ndarray]:
    """x − Σ ⟨q_k, x⟩ q_k and the coefficients."""
    column = inner_products(rows, x[None, ...])[:, 0]
    return combine(-column, rows, x), column
