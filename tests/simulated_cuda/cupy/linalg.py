"""``cupy.linalg``: decompositions of small matrices, which CuPy waits for to know whether they succeeded."""

import numpy as _np
from numpy.linalg import LinAlgError

from ._array import compute as _compute
from ._array import eager as _eager
from ._functions import matmul

__all__ = [
    "LinAlgError", "cholesky", "det", "eigh", "eigvalsh", "inv", "lstsq", "matmul", "matrix_power", "matrix_rank",
    "norm", "pinv", "qr", "slogdet", "solve", "svd",
]  # fmt: skip


def cholesky(a):
    return _eager(_np.linalg.cholesky, a)


def det(a):
    return _eager(_np.linalg.det, a)


def eigh(a, UPLO="L"):
    return _eager(_np.linalg.eigh, a, UPLO)


def eigvalsh(a, UPLO="L"):
    return _eager(_np.linalg.eigvalsh, a, UPLO)


def inv(a):
    return _eager(_np.linalg.inv, a)


def lstsq(a, b, rcond=None):
    return _eager(_np.linalg.lstsq, a, b, rcond)


def matrix_power(M, n):
    return _compute(_np.linalg.matrix_power, M, n)


def matrix_rank(M, tol=None):
    return _eager(_np.linalg.matrix_rank, M, tol)


def norm(x, ord=None, axis=None, keepdims=False):
    return _compute(_np.linalg.norm, x, ord, axis, keepdims)


def pinv(a, rcond=1e-15):
    return _eager(_np.linalg.pinv, a, rcond)


def qr(a, mode="reduced"):
    return _eager(_np.linalg.qr, a, mode)


def slogdet(a):
    return _eager(_np.linalg.slogdet, a)


def solve(a, b):
    return _eager(_np.linalg.solve, a, b)


def svd(a, full_matrices=True, compute_uv=True):
    return _eager(_np.linalg.svd, a, full_matrices, compute_uv)
