"""Ω on any graph: weighted averages by a sparse row-stochastic matrix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..backend.array import contiguous, host_array, namespace, scalar
from ..backend.operands import check_like
from ..fields import pixel_shape
from .base import Averaging, check_field
from .sparsity import Sparsity, sparsity

__all__ = ["Graph"]


@dataclass(frozen=True, eq=False)
class Graph(Averaging):
    """Averaging on any graph: (Ωx)_i = Σ_k ω_ik x_k with a sparse row-stochastic matrix.

    Superpixels, nearest neighbors of features, points of a mesh. Fields are (J, n) arrays; ∂Ω comes as the derivatives
    of the stored entries of the matrix, in their order.

    Parameters
    ----------
    matrix : (n, n) CSR matrix or array
        float32 or float64, weights from 0 whose rows sum to 1 (within 1e-4). SciPy matrices run on the CPU,
        CuPy matrices (``cupyx.scipy.sparse``) on the GPU.

    Raises
    ------
    TypeError, ValueError
        If the matrix has another format, shape or dtype, indices that lead out of it, negative weights or rows that do
        not sum to 1.

    Notes
    -----
    Every node should be its own neighbor, too, as on a grid: without it a node forgets its own evidence.
    """

    matrix: Any

    def __post_init__(self) -> None:
        matrix = self.matrix
        if getattr(matrix, "format", None) != "csr":
            found = getattr(matrix, "format", type(matrix).__name__)
            raise TypeError(f"matrix is {found!r}; accepted are CSR matrices. Convert it with scipy.sparse.csr_array.")
        if matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
            raise ValueError(f"matrix has shape {matrix.shape}; accepted is (n, n), a row for each node.")
        if str(matrix.dtype) not in ("float32", "float64"):
            raise TypeError(f"matrix has dtype {matrix.dtype}; accepted are float32 and float64. Convert it first.")
        _check_indices(matrix)
        sums = host_array(matrix.sum(axis=1)).ravel()  # synchronize
        worst = int(abs(sums - 1).argmax())
        if not abs(sums[worst] - 1) <= 1e-4:
            raise ValueError(f"row {worst} of the matrix sums to {sums[worst]:.6g}; accepted is 1. Normalize the rows.")
        if not scalar(matrix.data.min()) >= 0:
            raise ValueError(f"the matrix holds the weight {scalar(matrix.data.min()):.6g}; accepted are 0 and above.")

    @property
    def weights(self) -> Any:
        """The stored entries of the matrix, (nnz,)."""
        return self.matrix.data

    @property
    def shape(self) -> tuple[int, ...]:
        """The number (n,) of nodes."""
        return (int(self.matrix.shape[0]),)

    @property
    def axes(self) -> int:
        """1: the nodes."""
        return 1

    @property
    def radius(self) -> float:
        """Of patches on a line that take as much memory: rows, columns, places and order of the entries count, too."""
        return (2.5 * self.sparsity.longest - 1) / 2

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The entries of the matrix and where they are."""
        return self.matrix.data, self.matrix.indices, self.matrix.indptr

    @property
    def as_given(self) -> Graph:
        """The graph."""
        return self

    @property
    def patches(self) -> Any:
        """The rows as points of simplices that a descent moves, (K, n): K entries of the longest row, zeros below."""
        return self.sparsity.padded(self.matrix.data)

    def with_patches(self, patches: Any) -> Graph:
        """Return the same graph with other weights, (K, n); they are trusted."""
        graph = object.__new__(Graph)
        matrix = self.sparsity.with_entries(self.sparsity.entries(patches))
        graph.__dict__.update(matrix=matrix, sparsity=self.sparsity)
        return graph

    def patch_gradient(self, gradient: Any) -> Any:
        """∂Ω (nnz,) as the derivative in the patches, (K, n)."""
        return self.sparsity.padded(gradient)

    @cached_property
    def sparsity(self) -> Sparsity:
        """Where the entries are; graphs that differ by their weights alone share it."""
        return sparsity(self.matrix)

    def apply(self, field: Any) -> Any:
        """Ω x: (J, n) to (J, n)."""
        check_field(self, field, "field")
        return _product(self.matrix, field)

    def adjoint(self, field: Any, start: Any = None) -> Any:
        """Ωᵀ z, plus `start` where there is one: (J, n) to (J, n)."""
        check_field(self, field, "field")
        product = _product(self._transposed, field)
        if start is not None:
            check_like(start, "start", field)
        return product if start is None else start + product

    def like(self, fields: Any) -> Graph:
        """Return the graph in the dtype of fields (J, n).

        Raises
        ------
        ValueError, TypeError
            If sizes or libraries differ.
        """
        if pixel_shape(fields) != self.shape:
            raise ValueError(
                f"the graph has {self.shape[0]} nodes, the fields have shape {tuple(fields.shape)}; "
                f"accepted is (J, {self.shape[0]}). Give every node one column."
            )
        if namespace(self.weights) is not namespace(fields):
            raise TypeError(
                f"the graph holds {type(self.weights).__module__} arrays and the fields are {type(fields).__module__} "
                "arrays; accepted are both on the CPU or both on the GPU. Move one of them."
            )
        return self if self.weights.dtype == fields.dtype else Graph(self.matrix.astype(fields.dtype))

    def masked(self, valid: Any) -> Graph:
        """Return the graph whose valid nodes see each other alone, without weights that are 0; others keep themselves.

        Nodes that no entry is left of keep themselves, too.
        """
        from scipy.sparse import csr_array

        keep, matrix = host_array(valid), self.matrix
        n, kind, arrays = len(keep), type(matrix), [host_array(x) for x in (matrix.data, matrix.indices, matrix.indptr)]
        host = csr_array(tuple(arrays), shape=(n, n))
        rows = np.repeat(np.arange(n), np.diff(host.indptr))
        seen = keep[rows] & keep[host.indices]
        after = np.bincount(rows, host.data * seen, n)
        scale = np.where(np.bincount(rows, ~seen, n) > 0, 1 / np.where(after > 0, after, 1), 1.0)
        host.data = (host.data * seen * scale[rows]).astype(host.dtype)
        alone = np.flatnonzero(~(after > 0))
        ones = csr_array((np.ones(len(alone), host.dtype), (alone, alone)), shape=(n, n))
        host = host + ones
        host.eliminate_zeros()
        host.sort_indices()
        xp = namespace(matrix.data)
        return Graph(kind(tuple(xp.asarray(x) for x in (host.data, host.indices, host.indptr)), shape=(n, n)))

    def weight_gradient(
        self, similarity: Any, log_likelihood: Any, mean: Any, left: Any, right: Any, image: Any
    ) -> tuple[Any, Any]:
        """∂Ω (nnz,) and R_S c (J, n) from m̄ and M = Σ_r u_r v_rᵀ; u, v, Av (R, J, n); Theorem 3.8."""
        w = similarity * mean
        gradient = namespace(mean).zeros_like(self.matrix.data)
        for r in range(left.shape[0]):
            u = left[r, ...]
            difference = u - namespace(u).sum(similarity * u, axis=-2, keepdims=True)
            w = w + difference * image[r, ...]
            gradient += self._correlation(similarity * difference, right[r, ...])
        z = w - similarity * namespace(w).sum(w, axis=-2, keepdims=True)
        gradient += self._correlation(z, log_likelihood)
        return gradient, z

    def _correlation(self, factor: Any, field: Any) -> Any:
        """⟨factor_i, field_k⟩ over labels for every stored entry (i, k)."""
        total = namespace(factor).zeros_like(self.matrix.data)
        for j in range(factor.shape[0]):
            total += factor[j, ...][self.sparsity.rows] * field[j, ...][self.matrix.indices]
        return total

    @cached_property
    def _transposed(self) -> Any:
        return self.sparsity.transpose(self.matrix.data)


def _check_indices(matrix: Any) -> None:
    """Raise ValueError for a CSR matrix (n, n) whose parts lead out of its arrays; SciPy does not look."""
    count, stored = int(matrix.shape[0]), int(matrix.data.shape[0])
    indptr, indices = host_array(matrix.indptr), matrix.indices  # synchronize
    if indptr.shape != (count + 1,) or indptr[0] != 0 or indptr[-1] != stored or (indptr[1:] < indptr[:-1]).any():
        ends = f", from {indptr[0]} to {indptr[-1]}" if indptr.size else ""
        raise ValueError(
            f"indptr of the matrix holds {indptr.size} numbers{ends}; accepted are {count + 1} numbers that go from 0 "
            f"up to the {stored} stored weights. Build the matrix anew, for example by "
            "scipy.sparse.coo_array((weights, (rows, columns))).tocsr()."
        )
    if tuple(indices.shape) != (stored,):
        raise ValueError(f"the matrix holds {stored} weights and {indices.shape[0]} indices; accepted are as many.")
    if stored:
        least, most = int(scalar(indices.min())), int(scalar(indices.max()))  # synchronize
        if least < 0 or most >= count:
            raise ValueError(
                f"the matrix holds indices from {least} to {most}; accepted are 0 to {count - 1}, the nodes. Check "
                "what they were read from."
            )


def _product(matrix: Any, field: Any) -> Any:
    """The product with every label's row."""
    xp = namespace(field)
    return contiguous(xp.permute_dims(matrix @ contiguous(xp.permute_dims(field, (1, 0))), (1, 0)))
