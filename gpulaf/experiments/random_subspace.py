"""Subspaces of d directions in a space of n numbers: random ones, which no one stores, and chosen ones.

θ = θ₀ + P z with orthogonal columns of P, each of the length √(n/d): θ then moves as far as z does, in the root mean
square, whatever d is. A loss of θ has the derivative Pᵀ ∂θ in z.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

__all__ = ["RandomSubspace", "Span", "Subspace"]


class Subspace(Protocol):
    """d directions in a space of n numbers."""

    @property
    def size(self) -> int:
        """n."""
        ...

    @property
    def dimension(self) -> int:
        """d."""
        ...

    def lift(self, z: np.ndarray) -> np.ndarray:
        """P z, (d,) to (n,)."""
        ...

    def project(self, x: np.ndarray) -> np.ndarray:
        """Pᵀ x, (n,) to (d,)."""
        ...


class RandomSubspace:
    """Random directions in n log n operations, made of a seed: P = √(n/d) Σ₂ C Π Σ₁ C E.

    E puts d numbers at random places among n, C is the orthonormal cosine transform, Σ₁ and Σ₂ are random signs and Π
    is a random permutation: the numbers of a column are nearly normal, and columns are orthogonal to rounding.

    Parameters
    ----------
    size, dimension : int
        n and d, 1 ≤ d ≤ n.
    seed : int
    """

    def __init__(self, size: int, dimension: int, seed: int) -> None:
        if not 1 <= dimension <= size:
            raise ValueError(f"dimension is {dimension}; accepted are 1 to {size}, the dimension of the whole space.")
        rng = np.random.default_rng(seed)
        self.size, self.dimension = size, dimension
        self._length = (size / dimension) ** 0.5
        self._places = rng.permutation(size)[:dimension]
        self._inner, self._outer = rng.choice([-1.0, 1.0], (2, size))
        self._order = rng.permutation(size)

    def lift(self, z: np.ndarray) -> np.ndarray:
        """P z, (d,) to (n,)."""
        from scipy.fft import dct

        x = np.zeros(self.size)
        x[self._places] = self._length * z
        return self._outer * dct((self._inner * dct(x, norm="ortho"))[self._order], norm="ortho")

    def project(self, x: np.ndarray) -> np.ndarray:
        """Pᵀ x, (n,) to (d,)."""
        from scipy.fft import idct

        y = np.empty(self.size)
        y[self._order] = idct(self._outer * x, norm="ortho")
        return self._length * idct(self._inner * y, norm="ortho")[self._places]


class Span:
    """The subspace that some directions span.

    Parameters
    ----------
    directions : (d, n) float64 array
        Linearly independent.
    """

    def __init__(self, directions: np.ndarray) -> None:
        self.dimension, self.size = directions.shape
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        self._rows = (self.size / self.dimension) ** 0.5 * np.linalg.qr((directions / lengths).T)[0].T

    def lift(self, z: np.ndarray) -> np.ndarray:
        """P z, (d,) to (n,)."""
        return z @ self._rows

    def project(self, x: np.ndarray) -> np.ndarray:
        """Pᵀ x, (n,) to (d,)."""
        return self._rows @ x
