"""Linear maps L of fields (H, J₀, W) to fields (H, J₁, W), from the solution of one flow to the data of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..backend.array import contiguous, host_array, host_dtype, like, namespace
from ..backend.products import inner_products, norm

__all__ = ["LabelMap", "LinearMap", "check_adjoint"]


@runtime_checkable
class Coupling(Protocol):
    """A linear map with its adjoint."""

    def apply(self, field: Any) -> Any:
        """L v."""
        ...

    def adjoint(self, field: Any) -> Any:
        """Lᵀ z."""
        ...


@dataclass(frozen=True, eq=False)
class LabelMap:
    """(Lv)_i = C v_i: one matrix between the labels of two flows, the same at every pixel; to be learned.

    Parameters
    ----------
    matrix : (J₁, J₀) array
        C: a row for every label of the flow that receives, a column for every label of the one that speaks. Kept in
        float64 on the host.

    Raises
    ------
    TypeError, ValueError
        If it is no matrix of finite real numbers.
    """

    matrix: Any

    def __post_init__(self) -> None:
        matrix = host_array(self.matrix)
        if matrix.dtype.kind not in "buif":
            raise TypeError(f"matrix has dtype {matrix.dtype}; accepted are real numbers. Convert it first.")
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ValueError(f"matrix has shape {matrix.shape}; accepted is (J₁, J₀). np.eye(J) passes labels on.")
        if not np.isfinite(matrix).all():
            raise ValueError("matrix holds values that are NaN or infinite. Replace them: 0 couples nothing.")
        object.__setattr__(self, "matrix", matrix.astype(np.float64))

    def apply(self, field: Any) -> Any:
        """C v_i: (H, J₀, W) to (H, J₁, W)."""
        return namespace(field).matmul(like(self.matrix, field), field)

    def adjoint(self, field: Any) -> Any:
        """Cᵀ z_i: (H, J₁, W) to (H, J₀, W)."""
        return namespace(field).matmul(like(self.matrix.T, field), field)

    def gradient(self, derivative: Any, field: Any) -> np.ndarray:
        """∂C = Σ_i z_i v_iᵀ from the derivative z in Lv, (H, J₁, W), and v, (H, J₀, W): (J₁, J₀) float64."""
        xp = namespace(derivative, field)
        z, v = (xp.astype(x, xp.float64) for x in (derivative, field))
        products = xp.matmul(z, xp.permute_dims(v, (*range(v.ndim - 2), v.ndim - 1, v.ndim - 2)))
        return host_array(xp.sum(xp.reshape(products, (-1, *products.shape[-2:])), axis=0))  # synchronize


@dataclass(frozen=True, eq=False)
class LinearMap:
    """Any linear map between the fields of two flows: a convolution, another resolution, a permutation of pixels.

    Parameters
    ----------
    apply : callable
        L v, (J₀, …) to (J₁, …), in the library, on the device and in the dtype of v.
    adjoint : callable
        Lᵀz, (J₁, …) to (J₀, …): ⟨Lx, y⟩ = ⟨x, Lᵀy⟩, which is tested where the map is first used.
    """

    apply: Callable[[Any], Any]
    adjoint: Callable[[Any], Any]


def check_adjoint(coupling: Coupling, v: Any, z: Any, name: str) -> None:
    """Test ⟨Lx, y⟩ = ⟨x, Lᵀy⟩ on random x like `v` and y like `z`.

    Half of y is Lx, so that the products do not vanish by chance.

    Raises
    ------
    ValueError
        If the products differ, or Lᵀy has another shape than x.
    """
    rng = np.random.default_rng(0)
    x, noise = (like(rng.standard_normal(field.shape), field) for field in (v, z))
    Lx = like(coupling.apply(x), z)
    y = Lx + ((norm(Lx) or 1.0) / norm(noise)) * noise
    Lty = like(coupling.adjoint(y), v)
    if tuple(Lty.shape) != tuple(v.shape):
        raise ValueError(
            f"the adjoint of {name} gives shape {tuple(Lty.shape)}; accepted is {tuple(v.shape)}, that of the field "
            "which the map takes. Check adjoint."
        )
    one, two = _inner(Lx, y), _inner(x, Lty)
    accuracy = float(np.sqrt(np.finfo(host_dtype(z)).eps))
    if not abs(one - two) <= accuracy * norm(Lx) * norm(y):
        raise ValueError(
            f"{name}: ⟨Lx, y⟩ is {one:.6g} and ⟨x, Lᵀy⟩ is {two:.6g}; accepted is a difference of {accuracy:.1e}, "
            "relative. Check that apply is linear and adjoint its transposed."
        )


def _inner(x: Any, y: Any) -> float:
    return float(inner_products(contiguous(x)[None, ...], contiguous(y)[None, ...])[0, 0])
