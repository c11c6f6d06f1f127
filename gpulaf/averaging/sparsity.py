"""The pattern of a CSR matrix, apart from its entries: rows, the transposed order, and rows as columns of an array.

The entries of row i fill column i of a (K, n) array from the top, K the longest row, and zeros the rest: a
row-stochastic matrix is a field of points of simplices like weight patches on a grid, and what moves those moves this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend.array import namespace, scalar

__all__ = ["Sparsity", "sparsity"]


@dataclass(frozen=True, eq=False)
class Sparsity:
    """Pattern of an (n, n) CSR matrix; arrays on its device, one number per stored entry.

    Attributes
    ----------
    matrix : CSR matrix
        Any one of this pattern.
    rows : (nnz,) integer array
    slots : (nnz,) int64 array
        The place of every entry in the flattened (K, n) array.
    longest : int
        K, entries of the longest row.
    order : (nnz,) int64 array
        The entries in the order of the transposed matrix.
    transposed : CSR matrix
        The pattern of the transposed matrix; its entries have no meaning.
    """

    matrix: Any
    rows: Any
    slots: Any
    longest: int
    order: Any
    transposed: Any

    def with_entries(self, entries: Any) -> Any:
        """The matrix with these entries, (nnz,)."""
        return _like(self.matrix, entries)

    def transpose(self, entries: Any) -> Any:
        """The transposed matrix of these entries, (nnz,), as CSR."""
        return _like(self.transposed, entries[self.order])

    def padded(self, entries: Any) -> Any:
        """(nnz,) to (K, n), zeros below every row's entries."""
        xp, n = namespace(entries), self.matrix.shape[0]
        result = xp.zeros(self.longest * n, dtype=entries.dtype)
        result[self.slots] = entries
        return xp.reshape(result, (self.longest, n))

    def entries(self, padded: Any) -> Any:
        """(K, n) to (nnz,)."""
        return namespace(padded).reshape(padded, (-1,))[self.slots]


def sparsity(matrix: Any) -> Sparsity:
    """The pattern of a CSR matrix of SciPy or CuPy."""
    xp, n = namespace(matrix.data), matrix.shape[0]
    rows = matrix.tocoo().row
    count = rows.shape[0]
    places = xp.arange(count) - matrix.indptr[rows]
    # numbers that travel with the entries tell where each one went; from 1, as a zero might be dropped
    numbered = _like(matrix, xp.arange(1, count + 1, dtype=np.float64))
    transposed = numbered.T.tocsr()
    order = xp.astype(transposed.data, xp.int64) - 1
    longest = int(scalar(xp.max(matrix.indptr[1:] - matrix.indptr[:-1])))
    return Sparsity(matrix, rows, xp.astype(places * n + rows, xp.int64), longest, order, transposed)


def _like(matrix: Any, entries: Any) -> Any:
    return type(matrix)((entries, matrix.indices, matrix.indptr), shape=matrix.shape)
