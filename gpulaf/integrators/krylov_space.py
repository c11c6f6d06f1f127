"""Orthonormal bases of Krylov spaces of any linear callable: Arnoldi iteration, or plain powers and one Gram matrix.

With F = (b, Ab, …, A^m b) and the Cholesky factor of its Gram matrix, FᵀF = RᵀR, the columns of Q = F R⁻¹ are
orthonormal and A Q_m = Q_{m+1} H̄ with H̄ = R_{:,1…m} R_m⁻¹: Arnoldi's numbers for the price of inner products alone,
which come in blocks. Digits are lost like 1/pivot², so the space ends where a pivot becomes small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import empty, namespace
from ..backend.dense import cholesky, solve_triangular
from ..backend.products import combine, inner_products, norm

#: A new direction this much shorter than the product it came from is orthogonalized once more.
REORTHOGONALIZE = 0.05

#: A new direction shorter than this many roundings of its product is no direction: the space is invariant.
BREAKDOWN = 50

#: The largest dimension that is tried: pivots of averaging operators shrink about 2.5 times from one to the next.
MOST = 14

#: The smallest share of a power that may be new; the inner products lose digits like its inverse square.
LEAST_PIVOT = 1e-6


class KrylovSpace(NamedTuple):
    """A Q_m = Q_m H_m + h_{m+1,m} q_{m+1} e_mᵀ with Q_m = F C, Q_mᵀ Q_m = I."""

    #: F, (m, *shape of b): the orthonormal vectors, or the powers b, Ab, …, A^{m−1} b.
    basis: Any
    #: (m, m) float64 array on the host: the projection of A.
    hessenberg: np.ndarray
    #: ‖b‖.
    norm: float
    #: h_{m+1,m}; 0 where the space is invariant under A.
    residual: float
    #: C, (m, m), upper triangular, on the host; None for the identity.
    coordinates: np.ndarray | None = None


def arnoldi(
    apply: Callable[[Any], Any],
    b: Any,
    dimension: int,
    *,
    stop: Callable[[np.ndarray, float, float], bool] | None = None,
) -> KrylovSpace:
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
    KrylovSpace
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
    return KrylovSpace(basis, hessenberg[:m, :m].copy(), beta, residual)


def _orthogonalize(rows: Any, x: Any) -> tuple[Any, np.ndarray]:
    """x − Σ ⟨q_k, x⟩ q_k and the coefficients."""
    column = inner_products(rows, x[None, ...])[:, 0]
    return combine(-column, rows, x), column


def powers(
    extend: Callable[[Any, Any], object],
    b: Any,
    dimension: int,
    *,
    stop: Callable[[np.ndarray, float, float], bool] | None = None,
) -> KrylovSpace | None:
    """Build the Krylov space span{b, Ab, …} from powers; None where they are numerically dependent.

    Parameters
    ----------
    extend : callable
        ``extend(x, out)`` writes Ax, A²x, … to the stack `out`, as many as it holds.
    b : floating array of any shape
    dimension : int
        m, at most `MOST`.
    stop : callable, optional
        As in :func:`arnoldi`: the smallest dimension that it accepts is returned.

    Returns
    -------
    KrylovSpace, or None
        None where a pivot falls under `LEAST_PIVOT` (an invariant space has pivot 0) or no dimension is accepted.
    """
    fields = empty((dimension + 1, *b.shape), b)
    fields[0, ...] = b
    gram, known = np.zeros((dimension + 1, dimension + 1)), 0
    # most of what may be needed goes without a look at the estimate, then it decides after each product
    count = 1 + (dimension if stop is None else max(1, 2 * dimension // 3))
    while count <= dimension + 1:
        new = max(known, 1)
        extend(fields[new - 1, ...], fields[new:count, ...])
        gram[:count, known:count] = inner_products(fields[:count, ...], fields[known:count, ...])
        gram[known:count, :known] = gram[:known, known:count].T
        R = _factor(gram[:count, :count])
        if R is None:
            return None
        for m in range(new, count):
            H = solve_triangular(R[:m, :m], R[: m + 1, 1 : m + 1].T, transposed=True).T
            if (stop is None and m == dimension) or (stop is not None and stop(H[:m], H[m, m - 1], R[0, 0])):
                coordinates = solve_triangular(R[:m, :m], np.eye(m))
                return KrylovSpace(fields[:m, ...], H[:m].copy(), float(R[0, 0]), float(H[m, m - 1]), coordinates)
        known, count = count, count + 1
    return None


def _factor(gram: np.ndarray) -> np.ndarray | None:
    """The Cholesky factor through a unit diagonal; None where a pivot is too small."""
    scale = np.sqrt(np.diag(gram))
    if not (np.isfinite(scale).all() and scale.all()):
        return None
    R = cholesky(gram / np.outer(scale, scale))
    return None if R is None or np.diag(R).min() < LEAST_PIVOT else R * scale
