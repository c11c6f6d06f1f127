"""Sparse matrices on the simulated device: the formats CSR, CSC and COO as CuPy has them, and what is used of them."""

from ._matrices import coo_matrix, csc_matrix, csr_matrix, issparse, isspmatrix, spmatrix

__all__ = ["coo_matrix", "csc_matrix", "csr_matrix", "issparse", "isspmatrix", "spmatrix"]
