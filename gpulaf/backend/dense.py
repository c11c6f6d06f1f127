"""Linear algebra of small dense matrices, on the host and on one thread.

The threads that a BLAS library wakes for a matrix of size 20 go on spinning for milliseconds, on the cores that the
stencil kernels need next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import scipy.linalg

__all__ = ["cholesky", "eigh", "expm", "solve_triangular", "svd"]

_LOCK = Lock()


def expm(matrix: np.ndarray) -> np.ndarray:
    """e^matrix, (m, m)."""
    with _one_thread():
        return scipy.linalg.expm(matrix)


def svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thin singular value decomposition (U, σ, Vᵀ), largest σ first."""
    with _one_thread():
        return scipy.linalg.svd(matrix, full_matrices=False)


def eigh(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, smallest first, and eigenvectors of a symmetric matrix."""
    with _one_thread():
        return scipy.linalg.eigh(matrix)


def cholesky(matrix: np.ndarray) -> np.ndarray | None:
    """R with RᵀR = matrix, upper triangular; None where the matrix is not positive definite."""
    with _one_thread():
        try:
            return scipy.linalg.cholesky(matrix)
        except scipy.linalg.LinAlgError:
            return None


def solve_triangular(R: np.ndarray, b: np.ndarray, *, transposed: bool = False) -> np.ndarray:
    """R⁻¹ b or R⁻ᵀ b of an upper triangular matrix."""
    with _one_thread():
        return scipy.linalg.solve_triangular(R, b, trans="T" if transposed else "N")


@contextmanager
def _one_thread() -> Iterator[None]:
    """The limit belongs to the process: one caller at a time sets it and takes it back."""
    with _LOCK, _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
