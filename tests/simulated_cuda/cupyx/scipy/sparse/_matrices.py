"""CSR, CSC and COO matrices whose arrays live on the simulated device.

As in CuPy, and other than in SciPy: entries are bool or floating; products first bring a matrix into canonical form,
in place, which reads one number back for each new matrix; sums over an axis keep it.
"""

from operator import index

import cupy
import numpy as np
import scipy.sparse
from cupy._array import enqueue


class _spbase:  # noqa: N801
    """What all formats have."""

    __array_priority__ = 101
    format = ""

    def __len__(self):
        raise TypeError("sparse array length is ambiguous; use shape[0] or .nnz")

    def __bool__(self):
        if self.shape == (1, 1):
            return self.nnz != 0
        raise ValueError(
            "The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()."
        )

    def __matmul__(self, other):
        if _scalar(other):
            raise ValueError("Scalar operands are not allowed, use '*' instead")
        return self._product(other)

    def _product(self, other):
        return self.tocsr()._product(other)

    @property
    def T(self):
        return self.transpose()

    @property
    def dtype(self):
        return self.data.dtype

    @property
    def ndim(self):
        return len(self._shape)

    @property
    def nnz(self):
        return self.data.size

    @property
    def size(self):
        return self.data.size

    def asformat(self, format):
        return self if format in (None, self.format) else getattr(self, f"to{format}")()

    def astype(self, dtype, copy=True):
        if self.dtype != np.dtype(dtype):
            return self._with_data(self.data.astype(dtype, copy=copy))
        return self.copy() if copy else self

    def copy(self):
        return self._with_data(self.data.copy())

    def dot(self, other):
        return self * other if np.isscalar(other) else self @ other

    def sum(self, axis=None, dtype=None, out=None):
        m, n = self.shape
        if isinstance(axis, tuple):
            raise NotImplementedError("the simulation sums over one axis or all")
        if axis is not None and not -2 <= index(axis) <= 1:
            raise ValueError("axis out of range")
        if axis is None:
            return (self @ cupy.ones(n, dtype=self.dtype)).sum(dtype=dtype, out=out)
        if axis % 2 == 0:
            result = (self.T @ cupy.ones(m, dtype=self.dtype)).reshape(1, n)
        else:
            result = (self @ cupy.ones(n, dtype=self.dtype)).reshape(m, 1)
        if out is not None:
            if out.shape != result.shape:
                raise ValueError("dimensions do not match")
            out[...] = result
            return out
        return result if dtype is None else result.astype(dtype, copy=False)

    def toarray(self, order=None, out=None):
        matrix, result = self.tocsr(), cupy.empty(self.shape, dtype=self.dtype, order=order or "C")

        def run(data, indices, indptr, dense):
            dense[...] = scipy.sparse.csr_array((data, indices, indptr), shape=dense.shape).toarray()

        enqueue("sparse_to_dense", run, [matrix.data, matrix.indices, matrix.indptr, result])
        return result

    def tocoo(self, copy=False):
        return self.tocsr().tocoo(copy=copy)

    def tocsc(self, copy=False):
        return self.tocsr().tocsc(copy=copy)


class spmatrix:  # noqa: N801
    """Matrices, whose ``*`` is the product of matrices."""

    def __init__(self, *args, maxprint=50, **kwargs):
        self.maxprint = maxprint
        if type(self) is spmatrix:
            if args or kwargs:
                raise TypeError(
                    "cannot instantiate spmatrix directly; use a format subclass such as csr_matrix"
                )
            return
        super().__init__(*args, **kwargs)

    def __mul__(self, other):
        return self._product(other)

    @property
    def shape(self):
        return self._shape


class _compressed(_spbase):  # noqa: N801
    """Entries and their places, row by row or column by column."""

    #: The axis of the shape that ``indptr`` counts.
    _major = 0

    def __init__(self, arg1, shape=None, dtype=None, copy=False, *, maxprint=None):
        if maxprint is not None:
            self.maxprint = maxprint
        shape = None if shape is None else _shape(shape)
        if issparse(arg1):
            x = arg1.asformat(self.format)
            data, indices, indptr = x.data, x.indices, x.indptr
            kind, copy, shape = indices.dtype, copy and arg1.format == self.format, shape or arg1.shape
        elif scipy.sparse.issparse(arg1):
            x = arg1.asformat(self.format)
            data, indices, indptr = (cupy.array(part) for part in (x.data, x.indices, x.indptr))
            kind, copy, shape = x.indices.dtype, False, shape or arg1.shape
        elif isinstance(arg1, tuple) and len(arg1) == 3:
            data, indices, indptr = _live(*arg1)
            kind = _index_dtype((indices, indptr), None if shape is None else max(shape))
        elif isinstance(arg1, tuple) and len(arg1) == 2 and isinstance(arg1[1], tuple):
            x = coo_matrix(arg1, shape=shape, dtype=dtype, copy=copy).asformat(self.format)
            data, indices, indptr, kind, shape = x.data, x.indices, x.indptr, x.indices.dtype, x.shape
        elif isinstance(arg1, (tuple, cupy.ndarray)):
            raise NotImplementedError("the simulation makes matrices of entries and places, or of sparse matrices")
        else:
            raise ValueError("Unsupported initializer format")
        dtype = _entries(data.dtype if dtype is None else dtype)
        self.data = data.astype(dtype, copy=copy)
        self.indices, self.indptr = (x.astype(kind, copy=copy) for x in (indices, indptr))
        if shape is None:
            shape = (len(indptr) - 1, int(indices.max()) + 1)[:: 1 - 2 * self._major]  # synchronizes
        if len(indptr) != shape[self._major] + 1:
            raise ValueError(f"index pointer size ({len(indptr)}) should be ({shape[self._major] + 1})")
        self._shape = tuple(shape)

    @classmethod
    def _from_parts(cls, data, indices, indptr, shape, canonical=None):
        """A matrix of arrays that fit together."""
        matrix = cls.__new__(cls)
        matrix.data, matrix.indices, matrix.indptr, matrix._shape, matrix.maxprint = data, indices, indptr, shape, 50
        if canonical is not None:
            matrix._canonical = canonical
        return matrix

    def _with_data(self, data):
        canonical = getattr(self, "_canonical", None)
        return self._from_parts(data, self.indices.copy(), self.indptr.copy(), self.shape, canonical)

    @property
    def has_canonical_format(self):
        """Whether the places of a row are in order and none comes twice; reads one number back."""
        if not hasattr(self, "_canonical"):
            result = cupy.empty(1, dtype=np.bool_)

            def run(indices, indptr, out):
                step = np.diff(indices.astype(np.int64))
                inside = np.ones(len(step), bool)
                inside[indptr[1:-1][(indptr[1:-1] > 0) & (indptr[1:-1] < len(indices))] - 1] = False
                out[0] = (step[inside] > 0).all()

            enqueue("has_canonical_format", run, [self.indices, self.indptr, result])
            self._canonical = bool(result.all())
        return self._canonical

    @has_canonical_format.setter
    def has_canonical_format(self, value):
        self._canonical = bool(value)

    def sum_duplicates(self):
        """Bring the entries into order and add those of the same place, in place."""
        if not self.has_canonical_format:
            coo = self.tocoo()
            coo.sum_duplicates()
            x = coo.asformat(self.format)
            self.data, self.indices, self.indptr, self._canonical = x.data, x.indices, x.indptr, True

    def get(self, stream=None):
        """Copy the matrix to the host."""
        parts = tuple(x.get(stream) for x in (self.data, self.indices, self.indptr))
        return getattr(scipy.sparse, f"{self.format}_matrix")(parts, shape=self._shape)

    def transpose(self, axes=None, copy=False):
        if axes is not None:
            raise ValueError(
                "Sparse matrices do not support an 'axes' parameter because swapping dimensions is the only logical "
                "permutation."
            )
        parts = (x.copy() if copy else x for x in (self.data, self.indices, self.indptr))
        other = csc_matrix if self.format == "csr" else csr_matrix
        return other._from_parts(*parts, self.shape[::-1], getattr(self, "_canonical", None))

    def _other_major(self):
        """Entries, places and counts along the other axis."""
        count = self.shape[1 - self._major]
        data, indices = cupy.empty(self.nnz, self.dtype), cupy.empty(self.nnz, self.indices.dtype)
        indptr = cupy.empty(count + 1, self.indptr.dtype)

        def run(data, indices, indptr, new_data, new_indices, new_indptr):
            order = np.argsort(indices, kind="stable")
            new_data[...] = data[order]
            new_indices[...] = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))[order]
            new_indptr[...] = np.concatenate([[0], np.cumsum(np.bincount(indices, minlength=count))])

        enqueue("csr2csc", run, [self.data, self.indices, self.indptr, data, indices, indptr])
        return data, indices, indptr

    def _majors(self):
        """The row, or column, of every entry."""
        result = cupy.empty(self.nnz, dtype=self.indptr.dtype)

        def run(indptr, out):
            out[...] = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))

        enqueue("csr2coo", run, [self.indptr, result])
        return result


class _csr_base(_compressed):  # noqa: N801
    format = "csr"

    def _product(self, other):
        if _scalar(other):
            self.sum_duplicates()
            return self._with_data(self.data * other)
        if issparse(other):
            raise NotImplementedError("the simulation multiplies no two sparse matrices")
        if not isinstance(other, cupy.ndarray):
            return NotImplemented
        if other.ndim > 2:
            raise ValueError("could not interpret dimensions")
        self.sum_duplicates()
        if self.shape[1] != other.shape[0]:
            raise ValueError("dimension mismatch")
        dtype = np.promote_types(self.dtype, other.dtype)
        if dtype.char not in "fdFD":
            raise TypeError(f"cuSPARSE multiplies floating numbers, these are {dtype}")
        result = cupy.empty((self.shape[0], *other.shape[1:]), dtype=dtype, order="F")
        shape = self.shape

        def run(data, indices, indptr, dense, out):
            matrix = scipy.sparse.csr_array((data.astype(dtype), indices, indptr), shape=shape)
            out[...] = matrix @ dense.astype(dtype)

        enqueue("spmm", run, [self.data, self.indices, self.indptr, other, result])
        return result

    def tocoo(self, copy=False):
        data, indices = (x.copy() if copy else x for x in (self.data, self.indices))
        return coo_matrix._from_parts(data, self._majors(), indices, self.shape, getattr(self, "_canonical", False))

    def tocsc(self, copy=False):
        return csc_matrix._from_parts(*self._other_major(), self.shape)

    def tocsr(self, copy=False):
        return self.copy() if copy else self


class _csc_base(_compressed):  # noqa: N801
    format = "csc"
    _major = 1

    def tocoo(self, copy=False):
        data, indices = (x.copy() if copy else x for x in (self.data, self.indices))
        return coo_matrix._from_parts(data, indices, self._majors(), self.shape)

    def tocsc(self, copy=None):
        return self.copy() if copy else self

    def tocsr(self, copy=False):
        return csr_matrix._from_parts(*self._other_major(), self.shape)


class _coo_base(_spbase):  # noqa: N801
    format = "coo"

    def __init__(self, arg1, shape=None, dtype=None, copy=False, *, maxprint=None):
        if maxprint is not None:
            self.maxprint = maxprint
        shape = None if shape is None else _shape(shape)
        if issparse(arg1):
            x = arg1.tocoo(copy=copy)
            data, row, col, self.has_canonical_format = x.data, x.row, x.col, x.has_canonical_format
            shape = shape or x.shape
        elif scipy.sparse.issparse(arg1):
            x = arg1.tocoo()
            data, row, col = (cupy.array(part) for part in (x.data, *x.coords))
            shape, self.has_canonical_format = shape or x.shape, bool(x.has_canonical_format)
        elif isinstance(arg1, tuple) and len(arg1) == 2 and isinstance(arg1[1], tuple) and len(arg1[1]) == 2:
            data, (row, col) = arg1
            if not all(isinstance(x, cupy.ndarray) and x.ndim == 1 for x in (data, row, col)):
                raise ValueError("row, column, and data arrays must be 1-D")
            if not len(data) == len(row) == len(col):
                raise ValueError("row, column, and data array must all be the same length")
            self.has_canonical_format = False
        elif isinstance(arg1, (tuple, cupy.ndarray)):
            raise NotImplementedError("the simulation makes matrices of entries and places, or of sparse matrices")
        else:
            raise TypeError("invalid input format")
        self.data = data.astype(_entries(data.dtype if dtype is None else dtype), copy=copy)
        kind = _index_dtype((row, col), None if shape is None else max(shape))
        self.row, self.col = row.astype(kind, copy=copy), col.astype(kind, copy=copy)
        if shape is None and not len(row):
            raise ValueError("cannot infer dimensions from zero sized index arrays")
        if len(data):
            bounds = cupy.stack((row.max(), col.max(), row.min(), col.min())).get()  # synchronizes
            shape = shape or (int(bounds[0]) + 1, int(bounds[1]) + 1)
            for which, most, least, n in zip(("row", "column"), bounds[:2], bounds[2:], shape, strict=True):
                if most >= n:
                    raise ValueError(f"{which} index exceeds matrix dimensions")
                if least < 0:
                    raise ValueError(f"negative {which} index found")
        self._shape = tuple(shape)

    @classmethod
    def _from_parts(cls, data, row, col, shape, canonical=False):
        matrix = cls.__new__(cls)
        matrix.data, matrix.row, matrix.col, matrix._shape, matrix.maxprint = data, row, col, shape, 50
        matrix.has_canonical_format = canonical
        return matrix

    def _with_data(self, data):
        return self._from_parts(data, self.row.copy(), self.col.copy(), self.shape, self.has_canonical_format)

    def get(self, stream=None):
        """Copy the matrix to the host."""
        data, row, col = (x.get(stream) for x in (self.data, self.row, self.col))
        return scipy.sparse.coo_matrix((data, (row, col)), shape=self._shape)

    def sum_duplicates(self):
        """Bring the entries into order and add those of the same place, in place; reads one number back."""
        if self.has_canonical_format:
            return
        columns = self.shape[1]

        def places(row, col):
            return row.astype(np.int64) * columns + col

        def number(row, col, out):
            out[0] = len(np.unique(places(row, col)))

        def add(data, row, col, new_data, new_row, new_col):
            unique, inverse = np.unique(places(row, col), return_inverse=True)
            new_data[...] = 0
            np.add.at(new_data, inverse, data)
            new_row[...], new_col[...] = unique // columns, unique % columns

        different = cupy.empty(1, dtype=np.int64)
        enqueue("count_places", number, [self.row, self.col, different])
        count = int(different[0])
        new = [cupy.empty(count, dtype=x.dtype) for x in (self.data, self.row, self.col)]
        enqueue("sum_duplicates", add, [self.data, self.row, self.col, *new])
        self.data, self.row, self.col = new
        self.has_canonical_format = True

    def tocoo(self, copy=False):
        return self.copy() if copy else self

    def tocsr(self, copy=False):
        x = self.copy()
        x.sum_duplicates()
        indptr, rows = cupy.empty(self.shape[0] + 1, dtype=self.row.dtype), self.shape[0]

        def run(row, out):
            out[...] = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))])

        enqueue("coo2csr", run, [x.row, indptr])
        return csr_matrix._from_parts(x.data, x.col, indptr, self.shape, True)

    def transpose(self, axes=None, copy=False):
        if axes is not None:
            raise ValueError(
                "Sparse matrices do not support an 'axes' parameter because swapping dimensions is the only logical "
                "permutation."
            )
        data, row, col = (x.copy() if copy else x for x in (self.data, self.col, self.row))
        return coo_matrix._from_parts(data, row, col, self.shape[::-1])


class csr_matrix(spmatrix, _csr_base):  # noqa: N801
    """Rows of entries, one after the other."""


class csc_matrix(spmatrix, _csc_base):  # noqa: N801
    """Columns of entries, one after the other."""


class coo_matrix(spmatrix, _coo_base):  # noqa: N801
    """Entries with their rows and columns."""


def issparse(x):
    """Whether `x` is a sparse matrix of the device."""
    return isinstance(x, _spbase)


def isspmatrix(x):
    """Whether `x` is a sparse matrix of the device."""
    return isinstance(x, spmatrix)


def _scalar(x):
    return np.isscalar(x) or (isinstance(x, cupy.ndarray) and x.ndim == 0)


def _shape(shape):
    try:
        shape = tuple(index(n) for n in shape)
    except TypeError:
        shape = ()
    if len(shape) != 2:
        raise ValueError("invalid shape (must be a 2-tuple of int)")
    if min(shape) < 0:
        raise ValueError("'shape' elements cannot be negative")
    return shape


def _entries(dtype):
    """The dtype of entries, where there can be such."""
    if np.dtype(dtype).char not in "?fdFD":
        raise ValueError("Only bool, float32, float64, complex64 and complex128 are supported")
    return np.dtype(dtype)


def _live(data, indices, indptr):
    """The entries that ``indptr`` counts; reads two numbers back."""
    if not all(isinstance(x, cupy.ndarray) and x.ndim == 1 for x in (data, indices, indptr)):
        raise ValueError("data, indices, and indptr must be 1-D cupy arrays")
    if len(data) != len(indices):
        raise ValueError("indices and data should have the same size")
    if indptr.size:
        first, last = (int(n) for n in cupy.stack((indptr[0], indptr[-1])).get())  # synchronizes
        if first != 0:
            raise ValueError(f"index pointer should start with 0 (got {first})")
        if last > data.size:
            raise ValueError(f"last index pointer ({last}) exceeds the size of data/indices ({data.size})")
        if data.size > last:
            data, indices = data[:last], indices[:last]
    return data, indices, indptr


def _index_dtype(arrays, largest):
    """int32 where all places fit, else int64; of wider arrays the extremes are read back."""
    most = np.iinfo(np.int32).max
    if largest is not None and largest > most:
        return np.dtype(np.int64)
    for x in arrays:
        if not np.can_cast(x.dtype, np.int32) and x.size and not (x.min() >= -most - 1 and x.max() <= most):
            return np.dtype(np.int64)
    return np.dtype(np.int32)
