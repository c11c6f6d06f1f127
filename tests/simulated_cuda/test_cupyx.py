"""Sparse matrices and filters of the simulated device against SciPy, and where CuPy does something else."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.sparse
from oracles import relative, tol

simulation = pytest.importorskip("cuda_simulation")

import cupy  # noqa: E402
from cupyx.scipy import ndimage  # noqa: E402
from cupyx.scipy.sparse import coo_matrix, csr_matrix, issparse  # noqa: E402


def random_matrix(dtype, shape=(7, 9)):
    return scipy.sparse.random_array(shape, density=0.4, rng=np.random.default_rng(0), format="csr", dtype=dtype)


def test_products_sums_and_formats(dtype):
    host = random_matrix(dtype)
    matrix = csr_matrix(host)
    field, vector = np.random.default_rng(1).random((9, 3)).astype(dtype), np.arange(9.0).astype(dtype)
    assert issparse(matrix)
    assert not isinstance(matrix, np.ndarray)
    assert matrix.indices.dtype == np.int32
    assert relative((matrix @ cupy.asarray(field)).get(), host @ field) < tol(dtype)
    assert relative((matrix * cupy.asarray(vector)).get(), host @ vector) < tol(dtype)
    assert (matrix @ cupy.asarray(field)).flags.f_contiguous
    for other in (matrix, matrix.tocsc(), matrix.tocoo(), matrix.T.T, matrix.tocsc().tocsr(), matrix.tocoo().tocsr()):
        np.testing.assert_array_equal(other.toarray().get(), host.toarray())
        np.testing.assert_array_equal(other.get().toarray(), host.toarray())
    np.testing.assert_array_equal(matrix.T.tocsr().toarray().get(), host.toarray().T)
    np.testing.assert_array_equal(matrix.tocoo().row.get(), host.tocoo().row)
    for axis, shape in ((0, (1, 9)), (1, (7, 1)), (-1, (7, 1))):
        assert matrix.sum(axis=axis).shape == shape
        assert relative(matrix.sum(axis=axis).get().ravel(), host.sum(axis=axis)) < tol(dtype)
    assert float(matrix.sum()) == pytest.approx(host.sum(), rel=tol(dtype))


def test_a_product_brings_entries_into_order_in_place():
    parts = [1.0, 2.0, 3.0, 4.0], [2, 0, 0, 0], [0, 2, 4, 4]
    matrix = csr_matrix(tuple(cupy.asarray(x) for x in parts), shape=(3, 3))
    assert not matrix.has_canonical_format
    assert (matrix @ cupy.ones(3)).get().tolist() == [3, 7, 0]
    assert matrix.nnz == 3
    assert matrix.has_canonical_format
    assert matrix.data.get().tolist() == [2, 1, 7]
    assert matrix.indices.get().tolist() == [0, 2, 0]


def test_a_new_matrix_reads_two_numbers_and_its_first_product_one():
    host = random_matrix(np.float64)
    parts, x = tuple(cupy.asarray(x) for x in (host.data, host.indices, host.indptr)), cupy.ones(9)
    with simulation.counting() as made:
        matrix = csr_matrix(parts, shape=host.shape)
    with simulation.counting() as first:
        matrix @ x
    with simulation.counting() as second:
        matrix @ x
    assert (made.reads, first.reads, second.reads) == (1, 1, 0)
    assert (made.read_bytes, second.waits) == (2 * host.indptr.itemsize, 0)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: csr_matrix(random_matrix(np.float64).astype(int)), ValueError, "Only bool, float32, float64"),
    (lambda: csr_matrix(([1.0], [0], [0, 1])), ValueError, "must be 1-D cupy arrays"),
    (lambda: csr_matrix(tuple(cupy.asarray(x) for x in ([1.0], [0], [1, 1]))), ValueError, "should start with 0"),
    (lambda: csr_matrix("abc"), ValueError, "Unsupported initializer"),
    (lambda: coo_matrix("abc"), TypeError, "invalid input"),
    (lambda: len(csr_matrix(random_matrix(np.float64))), TypeError, "length is ambiguous"),
    (lambda: csr_matrix(random_matrix(np.float64)) @ cupy.ones(3), ValueError, "dimension mismatch"),
    (lambda: csr_matrix(random_matrix(np.float64)) @ 2.0, ValueError, "Scalar operands"),
    (lambda: csr_matrix(random_matrix(np.float64)) @ np.ones(9), (TypeError, ValueError), "matmul"),
    (lambda: ndimage.gaussian_filter(np.ones((3, 3)), 1), TypeError, "Unsupported type"),
    (lambda: ndimage.gaussian_filter(cupy.ones((3, 3)), 1, mode="nothing"), RuntimeError, "mode not supported"),
])  # fmt: skip
def test_what_cupy_refuses_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("mode", ["reflect", "mirror", "nearest", "wrap", "constant"])
@pytest.mark.parametrize("shape", [(9, 13), (1, 5), (3, 2)])
def test_gaussian_filters(dtype, mode, shape):
    image = np.random.default_rng(0).random(shape).astype(dtype)
    for order in (0, (1, 0), (1, 1), (0, 2)):
        found = ndimage.gaussian_filter(cupy.asarray(image), 1.3, order=order, mode=mode, cval=0.5).get()
        assert found.dtype == dtype
        expected = scipy.ndimage.gaussian_filter(image, 1.3, order=order, mode=mode, cval=0.5)
        np.testing.assert_allclose(found, expected, rtol=0, atol=10 * np.finfo(dtype).eps)


def test_a_gaussian_that_sees_one_pixel_is_left_out():
    image = np.random.default_rng(0).random((4, 5))
    assert not scipy.ndimage.gaussian_filter(image, 0.1, order=(1, 0)).any()
    np.testing.assert_array_equal(ndimage.gaussian_filter(cupy.asarray(image), 0.1, order=(1, 0)).get(), image)
