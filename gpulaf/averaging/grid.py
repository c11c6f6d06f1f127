"""Ω on the grid of an image or volume: weighted averages over the 3×3, 3×3×3 or larger neighborhood of every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..backend.array import is_host_array
from ..backend.dispatch import implementation

__all__ = ["Grid"]


@dataclass(frozen=True, eq=False)
class Grid:
    """Averaging on an image or volume: (Ωx)_i = Σ_{k ∈ N_i} ω_ik x_k (2.18), with the products that the flow needs.

    Parameters
    ----------
    weights : (N, H, W) or (N, D, H, W) floating array
        Weight patches, N = (2r+1)² or (2r+1)³; see :mod:`gpulaf.averaging.patches`. NumPy arrays run on the CPU, CuPy
        arrays on the GPU. They are trusted here: :func:`gpulaf.check_weights` checks them.
    periodic : bool
        Wrap around at the border; for analysis (plane waves are then eigenvectors of uniform averaging).

    Notes
    -----
    Fields are (J, H, W) arrays of the dtype of `weights`, labels first; on a volume (J, D, H, W), in what follows, too.
    Averaging acts on every label alike.
    """

    weights: Any
    periodic: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The size (H, W) of the image, or (D, H, W) of the volume."""
        return tuple(self.weights.shape[1:])

    @property
    def arrays(self) -> tuple[Any, ...]:
        """What makes it: the weights."""
        return (self.weights,)

    @property
    def patches(self) -> Any:
        """The points of simplices that a descent moves, (N, H, W)."""
        return self.weights

    def with_patches(self, patches: Any) -> Grid:
        """The same averaging with other weights."""
        return Grid(patches, self.periodic)

    def patch_gradient(self, gradient: Any) -> Any:
        """∂Ω as the derivative in the patches."""
        return gradient

    def apply(self, field: Any) -> Any:
        """Ω x: (J, H, W) to (J, H, W)."""
        return self._run("operator", None, field)

    def adjoint(self, field: Any, start: Any = None) -> Any:
        """Ωᵀ z, plus `start` where there is one: (J, H, W) to (J, H, W)."""
        return self._run("adjoint", None, field, start)

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

    def chain(
        self, similarity: Any, start: Any, source: Any, scales: Any, *, out: Any, transposed: bool, backward: bool
    ) -> Any:
        """Products in succession, y ← s_k·source + R_S Ω y or with Ωᵀ R_S; see :mod:`gpulaf.kernels.chain`."""
        options = {"out": out, "transposed": transposed, "backward": backward}
        return self._run("chain", similarity, start, source, scales, **options)

    def weight_gradient(
        self, similarity: Any, log_likelihood: Any, mean: Any, left: Any, right: Any, image: Any
    ) -> tuple[Any, Any]:
        """∂Ω (N, H, W) and R_S c (J, H, W) from m̄ and M = Σ_r u_r v_rᵀ; u, v, Av (R, J, H, W); Theorem 3.8."""
        return self._run("weight_gradient", similarity, log_likelihood, mean, left, right, image)

    @property
    def in_one_wave(self) -> bool:
        """Whether :meth:`series_gradient` has a kernel of its own here."""
        if self.periodic or self.weights.ndim != 3 or not is_host_array(self.weights):
            return False
        return bool(import_module("gpulaf.kernels._numba").available)

    def series_gradient(self, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any) -> tuple[Any, Any]:
        """∂Ω (N, H, W) and R_S c (J, H, W) of a Taylor solution; see :mod:`gpulaf.kernels.reverse_horner`."""
        return self._run("reverse_horner", similarity, log_likelihood, g, coefficients)

    def _run(self, kernel: str, *operands: Any, **options: Any) -> Any:
        if self.periodic:
            return import_module(f"gpulaf.kernels.{kernel}").reference(
                self.weights, *operands, **options, periodic=True
            )
        return implementation(kernel, self.weights)(self.weights, *operands, **options)
