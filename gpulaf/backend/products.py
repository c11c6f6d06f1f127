"""Inner products and linear combinations of fields, for Krylov bases and Gram matrices.

A stack of fields is an array (K, …); inner products run over everything but the first axis, in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .array import columns, host_array, namespace
from .dispatch import implementation

__all__ = ["combine", "inner_products", "norm"]


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
