"""Ω as an object: weighted averages over the 3×3 (or larger) neighborhood of every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .dispatch import implementation

__all__ = ["Grid"]


@dataclass(frozen=True, eq=False)
class Grid:
    """Averaging on an image grid: (Ωx)_i = Σ_{k ∈ N_i} ω_ik x_k (2.18), with the products that the flow needs.

    Parameters
    ----------
    weights : (N, H, W) floating array
        Weight patches, N = (2r+1)²; see :mod:`gpulaf.patches`. NumPy arrays run on the CPU, CuPy arrays on the GPU.
        They are trusted here: :func:`gpulaf.check_weights` checks them.
    periodic : bool
        Wrap around at the border; for analysis (plane waves are then eigenvectors of uniform averaging).

    Notes
    -----
    Fields are (J, H, W) arrays of the dtype of `weights`, labels first. Averaging acts on every label alike.
    """

    weights: Any
    periodic: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The size (H, W) of the image."""
        return tuple(self.weights.shape[1:])

    def apply(self, field: Any) -> Any:
        """Ω x: (J, H, W) to (J, H, W)."""
        return self._run("operator", None, field)

    def adjoint(self, field: Any) -> Any:
        """Ωᵀ z: (J, H, W) to (J, H, W)."""
        return self._run("adjoint", None, field)

    def similarity(self, log_likelihood: Any) -> tuple[Any, Any]:
        """S = softmax(Ω ℓ), (J, H, W) to (J, H, W) (2.17), and an array whose maximum is max 2S(1 − S)."""
        return self._run("similarity", log_likelihood)

    def replicate(self, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
        """R_S Ω v, plus scale·source where there is one: (J, H, W) to (J, H, W), in `out` if given (2.22)."""
        return self._run("operator", similarity, field, source, scale, out=out)

    def replicate_adjoint(
        self, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None
    ) -> Any:
        """Ωᵀ R_S u, plus scale·source where there is one: (J, H, W) to (J, H, W), in `out` if given."""
        return self._run("adjoint", similarity, field, source, scale, out=out)

    def weight_gradient(
        self, similarity: Any, log_likelihood: Any, mean: Any, left: Any, right: Any, image: Any
    ) -> tuple[Any, Any]:
        """∂Ω (N, H, W) and R_S c (J, H, W) from m̄ and M = Σ_r u_r v_rᵀ; u, v, Av (R, J, H, W); Theorem 3.8."""
        return self._run("weight_gradient", similarity, log_likelihood, mean, left, right, image)

    def _run(self, kernel: str, *operands: Any, **options: Any) -> Any:
        if self.periodic:
            return import_module(f"gpulaf.kernels.{kernel}").reference(
                self.weights, *operands, **options, periodic=True
            )
        return implementation(kernel, self.weights)(self.weights, *operands, **options)
