"""Krylov spaces from plain powers and one Gram matrix: no field is orthogonalized.

With F = (b, Ab, …, A^m b) and the Cholesky factor of its Gram matrix, FᵀF = RᵀR, the columns of Q = F R⁻¹ are
orthonormal and A Q_m = Q_{m+1} H̄ with H̄ = R_{:,1…m} R_m⁻¹: Arnoldi's numbers for the price of inner products alone,
which come in blocks. Digits are lost like 1/pivot², so the space ends where a pivot becomes small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .array import empty
from .dense import cholesky, solve_triangular
from .vectors import inner_products

#: The largest dimension that is tried: pivots of averaging operators shrink about 2.5 times from one to the next.
MOST = 14

#: The smallest share of a power that may be new; the inner products lose digits like its inverse square.
LEAST_PIVOT = 1e-6


class Powers(NamedTuple):
    """A Q_m = Q_m H_m + h_{m+1,m} q_{m+1} e_mᵀ with Q_m = F C, Q_mᵀ Q_m = I."""

    #: F, (m, *shape of b): b, Ab, …, A^{m−1} b.
    basis: Any
    #: (m, m) float64 array on the host: the projection of A.
    hessenberg: np.ndarray
    #: ‖b‖.
    norm: float
    #: h_{m+1,m}.
    residual: float
    #: C, (m, m), upper triangular.
    coordinates: np.ndarray


def powers(
    extend: Callable[[Any, Any], object],
    b: Any,
    dimension: int,
    *,
    stop: Callable[[np.ndarray, float, float], bool] | None = None,
) -> Powers | None:
    """Build the Krylov space span{b, Ab, …}, or tell that its powers are too much alike.

    Parameters
    ----------
    extend : callable
        ``extend(x, out)`` writes Ax, A²x, … to the stack `out`, as many as it holds.
    b : floating array of any shape
    dimension : int
        m, at most `MOST`.
    stop : callable, optional
        As in :func:`gpulaf.arnoldi.arnoldi`: the smallest dimension that it accepts is returned.

    Returns
    -------
    Powers, or None
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
                return Powers(fields[:m, ...], H[:m].copy(), float(R[0, 0]), float(H[m, m - 1]), coordinates)
        known, count = count, count + 1
    return None


def _factor(gram: np.ndarray) -> np.ndarray | None:
    """The Cholesky factor through a unit diagonal; None where a pivot is too small."""
    scale = np.sqrt(np.diag(gram))
    if not (np.isfinite(scale).all() and scale.all()):
        return None
    R = cholesky(gram / np.outer(scale, scale))
    return None if R is None or np.diag(R).min() < LEAST_PIVOT else R * scale
