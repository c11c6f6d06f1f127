"""Ω on the grid of an image or volume: weighted averages over the 3×3, 3×3×3 or larger neighborhood of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..backend.array import contiguous, is_host_array, like
from ..backend.dispatch import implementation
from ..backend.operands import check_floating, check_real
from ..fields import pixel_shape
from ..kernels.stencil import axes_of, radius_of
from .base import Averaging
from .masks import closed_patches, masked_patches
from .patches import check_weights

__all__ = ["Grid", "as_averaging"]


@dataclass(frozen=True, eq=False)
class Grid(Averaging):
    """Averaging on an image or volume, or on a batch of them: (Ωx)_i = Σ_{k ∈ N_i} ω_ik x_k (2.18).

    Parameters
    ----------
    weights : (H, N, W) or (D, H, N, W) floating array
        Weight patches, N = (2r+1)² or (2r+1)³, which tells images from volumes; see
        :mod:`gpulaf.averaging.patches`. Axes before these are a batch of images with weights of their own; without them
        one set of weights serves every image of a batch. NumPy arrays run on the CPU, CuPy arrays on the GPU. They are
        trusted here: :func:`gpulaf.averaging.check_weights` checks them.
    periodic : bool
        Wrap around at the border; for analysis (plane waves are then eigenvectors of uniform averaging).

    Raises
    ------
    TypeError, ValueError
        If the weights are no float32 or float64 array of such a shape; their values are not looked at.

    Notes
    -----
    Fields are rows of labels (H, J, W) in the dtype of `weights`, on a volume (D, H, J, W); of a batch (B, H, J, W).
    """

    weights: Any
    periodic: bool = False

    def __post_init__(self) -> None:
        check_floating(self.weights, "weights", "(H, N, W) or (D, H, N, W)")
        check_real(self.weights, "weights")
        if self.weights.ndim <= axes_of(self.weights):
            raise ValueError(
                f"weights have shape {tuple(self.weights.shape)}; accepted are (H, N, W) with N = (2r+1)², and "
                "(D, H, N, W) with N = (2r+1)³ of a volume. Pass one patch for each pixel."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The size (H, W) of the image, or (D, H, W) of the volume, behind the axes of a batch."""
        return pixel_shape(self.weights)

    @property
    def axes(self) -> int:
        """2 of an image, 3 of a volume."""
        return axes_of(self.weights)

    @property
    def radius(self) -> int:
        """1 for 3×3 patches."""
        return radius_of(self.weights)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The weights."""
        return (self.weights,)

    @property
    def as_given(self) -> Any:
        """The weights, (H, N, W)."""
        return self.weights

    @property
    def patches(self) -> Any:
        """The weights, (H, N, W)."""
        return self.weights

    def with_patches(self, patches: Any) -> Grid:
        """Return the grid with other weights."""
        return Grid(patches, self.periodic)

    def patch_gradient(self, gradient: Any) -> Any:
        """∂Ω, (H, N, W)."""
        return gradient

    def like(self, fields: Any) -> Grid:
        """Check the weights against fields (H, J, W), and bring them to their library, device and dtype."""
        check_weights(self.weights, pixel_shape(fields))
        return Grid(contiguous(like(self.weights, fields)), self.periodic)

    def part(self, rows: slice, columns: slice, cuts: Sequence[bool]) -> Grid:
        """Return the grid of a part of an image; see :func:`gpulaf.averaging.patches.closed_patches`."""
        return Grid(closed_patches(self.weights[rows, :, columns], cuts), self.periodic)

    def masked(self, valid: Any) -> Grid:
        """Return the grid without its invalid pixels; see :func:`gpulaf.averaging.mask_weights`."""
        return Grid(masked_patches(self.weights, valid, periodic=self.periodic), self.periodic)

    def apply(self, field: Any) -> Any:
        """Ω x: (H, J, W) to (H, J, W)."""
        return self._kernel("operator")(self.weights, None, field)

    def adjoint(self, field: Any, start: Any = None) -> Any:
        """Ωᵀ z, plus `start` where there is one: (H, J, W) to (H, J, W)."""
        return self._kernel("adjoint")(self.weights, None, field, start)

    def similarity(self, log_likelihood: Any) -> tuple[Any, Any]:
        """S = softmax(Ω ℓ), (H, J, W) to (H, J, W) (2.17), and an array whose maximum is max 2S(1 − S)."""
        return self._kernel("similarity")(self.weights, log_likelihood)

    def replicate(self, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
        """R_S Ω v, plus scale·source where there is one: (H, J, W) to (H, J, W), in `out` if given (2.22)."""
        return self._kernel("operator")(self.weights, similarity, field, source, scale, out=out)

    def replicate_adjoint(
        self, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None
    ) -> Any:
        """Ωᵀ R_S u, plus scale·source where there is one: (H, J, W) to (H, J, W), in `out` if given."""
        return self._kernel("adjoint")(self.weights, similarity, field, source, scale, out=out)

    def chain(
        self, similarity: Any, start: Any, source: Any, scales: Any, *, out: Any, transposed: bool, backward: bool
    ) -> Any:
        """Products in succession, y ← s_k·source + R_S Ω y or with Ωᵀ R_S; see :mod:`gpulaf.kernels.chain`."""
        options = {"out": out, "transposed": transposed, "backward": backward}
        return self._kernel("chain")(self.weights, similarity, start, source, scales, **options)

    def weight_gradient(
        self, similarity: Any, log_likelihood: Any, mean: Any, left: Any, right: Any, image: Any
    ) -> tuple[Any, Any]:
        """∂Ω (H, N, W) and R_S c (H, J, W) from m̄ and M = Σ_r u_r v_rᵀ; u, v, Av (R, H, J, W); Theorem 3.8."""
        return self._kernel("weight_gradient")(self.weights, similarity, log_likelihood, mean, left, right, image)

    @property
    def in_one_wave(self) -> bool:
        """Whether :meth:`series_gradient` has a kernel here: on images, in NumPy, with Numba."""
        if self.periodic or self.axes != 2 or not is_host_array(self.weights):
            return False
        return bool(import_module("gpulaf.kernels._numba").available)

    def series_gradient(self, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any) -> tuple[Any, Any]:
        """∂Ω (H, N, W) and R_S c (H, J, W) of a Taylor solution; see :mod:`gpulaf.kernels.reverse_horner`."""
        return self._kernel("reverse_horner")(self.weights, similarity, log_likelihood, g, coefficients)

    def _kernel(self, name: str) -> Any:
        """The implementation for these weights."""
        return _periodic(name) if self.periodic else implementation(name, self.weights)


def _periodic(name: str) -> Any:
    reference = import_module(f"gpulaf.kernels.{name}").reference
    return lambda *operands, **options: reference(*operands, **options, periodic=True)


def as_averaging(weights: Any) -> Averaging:
    """Weights as Ω: an array as that of a grid, a Grid or Graph as it is."""
    return weights if isinstance(weights, Averaging) else Grid(weights)
