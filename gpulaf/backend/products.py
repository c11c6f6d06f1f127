"""Inner products and linear combinations of fields, for Krylov bases and Gram matrices; matrices over the labels.

A stack of fields is an array (K, …); inner products run over everything but the first axis, in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .array import columns, host_array, like, namespace
from .dispatch import implementation

__all__ = ["combine", "inner_products", "label_pairing", "label_product", "norm"]


def inner_products(fields: Any, others: Any) -> np.ndarray:
    """⟨q_k, x_p⟩ for stacks (K, …) and (P, …): (K, P) float64 array on the host."""
    rows = columns(fields)
    return host_array(implementation("inner_products", rows)(rows, columns(others)))  # synchronize


def combine(coefficients: np.ndarray, fields: Any, start: Any = None) -> Any:
    """Σ_k c_k q_k for coefficients (K) and a stack (K, …): one field (…); for coefficients (R, K) a stack (R, …).

    `start`, a field or a stack of the shape of the result, is added.
    """
    shape = (*np.shape(coefficients)[:-1], *fields.shape[1:])
    rows, matrix = columns(fields), np.atleast_2d(coefficients)
    first = None if start is None else namespace(start).reshape(start, (matrix.shape[0], -1))
    return namespace(fields).reshape(implementation("combination", rows)(matrix, rows, first), shape)


def norm(field: Any) -> float:
    """Euclidean norm over all entries, in float64."""
    one = field[None, ...]
    return float(np.sqrt(inner_products(one, one)[0, 0]))


def label_product(matrix: np.ndarray, field: Any) -> Any:
    """The matrix at every pixel, (H, K, W) to (H, J, W); summed in one order, so tiles have the bits of the whole."""
    xp, total = namespace(field), None
    M = like(matrix, field)
    for k in map(int, np.flatnonzero(matrix.any(axis=0))):
        term = M[:, k : k + 1] * field[..., k : k + 1, :]
        total = term if total is None else total + term
    if total is None:
        return xp.zeros((*field.shape[:-2], matrix.shape[0], field.shape[-1]), dtype=field.dtype)
    return total


def label_pairing(left: Any, right: Any) -> np.ndarray:
    """Σ_i u_i v_iᵀ over pixels, images and terms, of (…, J, W) and (…, K, W): (J, K) float64 on the host."""
    xp = namespace(left, right)
    u, v = (xp.astype(x, xp.float64) for x in (left, right))
    products = xp.matmul(u, xp.permute_dims(v, (*range(v.ndim - 2), v.ndim - 1, v.ndim - 2)))
    return host_array(xp.sum(xp.reshape(products, (-1, *products.shape[-2:])), axis=0))  # synchronize
