"""φ-functions and integrals of small dense matrices, on the host in float64.

φ₁(z) = (e^z − 1)/z and φ₂(z) = (φ₁(z) − 1)/z are read off exponentials of bordered matrices (2.29), never formed
through an inverse. Matrices here have the size of a Krylov space.
"""

from __future__ import annotations

import numpy as np

from ..backend.dense import expm


def phi_columns(H: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """t φ₁(tH) e₁ and t² φ₂(tH) e₁.

    Parameters
    ----------
    H : (m, m) array
    t : float

    Returns
    -------
    two (m,) float64 arrays; the first is ∫₀ᵗ e^{sH} e₁ ds, the second ∫₀ᵗ (t−s) e^{sH} e₁ ds.
    """
    m = H.shape[0]
    bordered = np.zeros((m + 2, m + 2))
    bordered[:m, :m] = H
    bordered[0, m] = 1.0
    bordered[m, m + 1] = 1.0
    exponential = expm(t * bordered)
    return exponential[:m, m], exponential[:m, m + 1]


def coupled_integral(H_g: np.ndarray, H_b: np.ndarray, norm_g: float, norm_b: float, t: float) -> np.ndarray:
    """C = ∫₀ᵗ e^{(t−s)H_g} (‖g‖e₁) [‖b‖ sφ₁(sH_b)e₁ ; 1]ᵀ ds, by one exponential (Van Loan).

    Parameters
    ----------
    H_g : (m, m) array
    H_b : (n, n) array
    norm_g, norm_b : float
    t : float

    Returns
    -------
    (m, n+1) float64 array: the core of the gradient in the two Krylov bases; its last column is the core of
    ∫ μ(s) ds.

    Notes
    -----
    C. F. Van Loan, Computing integrals involving the matrix exponential, IEEE Trans. Autom. Control 23 (1978).
    """
    m, n = H_g.shape[0], H_b.shape[0]
    block = np.zeros((m + n + 1, m + n + 1))
    block[:m, :m] = H_g
    block[0, -1] = norm_g
    block[m:-1, m:-1] = H_b.T
    block[-1, m] = norm_b
    return expm(t * block)[:m, m:]


def phi1(z: float) -> float:
    """(e^z − 1)/z, 1 at z = 0."""
    return float(np.expm1(z) / z) if z else 1.0


def tail(reach: float, degree: int) -> float:
    """Σ_{k≥d} ρ^k/(k+1)!: what d terms of φ(ρ) leave out."""
    term = 1.0
    for k in range(1, degree + 1):
        term *= reach / (k + 1)
    rest, k = 0.0, degree
    while term > 1e-17 * rest:
        rest += term
        k += 1
        term *= reach / (k + 1)
    return rest
