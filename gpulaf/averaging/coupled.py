"""Ω ⊗ C: averaging in which label k of the neighbors supports label j by C_jk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..backend.array import host_array
from ..backend.products import label_pairing, label_product
from .base import Averaging, stored
from .grid import as_averaging

__all__ = ["CoupledLabels"]

#: How far a row of C may go beyond 1.
ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class CoupledLabels(Averaging):
    """Averaging with a matrix that couples the labels: A v = R_S Ω (C v), with S = softmax(Ωℓ) as without it.

    C = I is plain averaging, C = 0 none. R_S kills constants over labels and v is a tangent vector, so C stands for
    Π₀CΠ₀, and rows of the simplex reach repulsion as well as support: C = [[0, 1], [1, 0]] changes the sign of two
    labels.

    Parameters
    ----------
    averaging : (H, N, W) array, Grid or Graph
        Ω.
    matrix : (J, J) array
        C, with Σ_k |C_jk| ≤ 1 in every row j: then ‖A‖_∞ ≤ 1/2 as without it, and the degree of a series is the same.

    Raises
    ------
    ValueError
        If the matrix is not square, not finite, or a row is larger.

    Examples
    --------
    >>> import gpulaf, numpy as np
    >>> from gpulaf.averaging import CoupledLabels
    >>> scene = gpulaf.scenes.voronoi_lines(32, noise=0.2)
    >>> weights = CoupledLabels(gpulaf.uniform_weights((32, 32)), np.eye(2))
    >>> coupled, plain = (gpulaf.label(scene.image, scene.prototypes, weights=x).labels for x in (weights, None))
    >>> bool((coupled == plain).all())
    True
    """

    averaging: Any
    matrix: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "averaging", as_averaging(self.averaging))
        matrix = host_array(self.matrix)
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0 and matrix.dtype.kind in "buif"
        if not square or not np.isfinite(matrix).all():
            raise ValueError(
                f"matrix has shape {matrix.shape} and dtype {matrix.dtype}; accepted is (J, J) of finite real numbers, "
                "a row and a column for each label. np.eye(J) is plain averaging."
            )
        largest = float(abs(matrix).sum(axis=1).max())
        if largest > 1 + ROUNDING:
            raise ValueError(
                f"a row of matrix has the sum {largest:.6g} of absolute values; accepted is 1 at most. Divide it by "
                "that and take a longer time, or use gpulaf.flows.FlowNetwork, which takes any matrix."
            )
        object.__setattr__(self, "matrix", matrix.astype(np.float64))

    @property
    def weights(self) -> Any:
        """ω of Ω."""
        return self.averaging.weights

    @property
    def shape(self) -> tuple[int, ...]:
        """The pixels of Ω."""
        return self.averaging.shape

    @property
    def axes(self) -> int:
        """Spatial axes."""
        return self.averaging.axes

    @property
    def radius(self) -> float:
        """Of the weight patches."""
        return self.averaging.radius

    @property
    def periodic(self) -> bool:
        """Whether Ω wraps around at the border."""
        return getattr(self.averaging, "periodic", False)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """Those of Ω, and C."""
        return (*self.averaging.arrays, self.matrix)

    @property
    def as_given(self) -> Any:
        """Itself."""
        return self

    @property
    def patches(self) -> Any:
        """The patches of Ω."""
        return self.averaging.patches

    def with_patches(self, patches: Any) -> CoupledLabels:
        """Return the same neighborhoods and C with other weights."""
        return replace(self, averaging=self.averaging.with_patches(patches))

    def patch_gradient(self, gradient: Any) -> Any:
        """Rearrange ∂Ω to the derivative in the `patches`."""
        return self.averaging.patch_gradient(gradient)

    def like(self, fields: Any) -> CoupledLabels:
        """Check Ω and C against fields, and bring Ω to their library, device and dtype."""
        return replace(self, averaging=self.averaging.like(fields))

    def part(self, rows: slice, columns: slice, cuts: Sequence[bool]) -> CoupledLabels:
        """Return the averaging of a part of an image."""
        return replace(self, averaging=self.averaging.part(rows, columns, cuts))

    def masked(self, valid: Any) -> CoupledLabels:
        """Return the averaging that looks at valid pixels alone."""
        return replace(self, averaging=self.averaging.masked(valid))

    def apply(self, field: Any) -> Any:
        """Ω x: similarities know no C."""
        return self.averaging.apply(field)

    def adjoint(self, field: Any, start: Any = None) -> Any:
        """Ωᵀ z, plus `start` where there is one."""
        return self.averaging.adjoint(field, start)

    def similarity(self, log_likelihood: Any) -> tuple[Any, Any]:
        """S = softmax(Ω ℓ), and an array whose maximum bounds ‖A‖_∞.

        Raises
        ------
        ValueError
            If C is that of another number of labels.
        """
        if log_likelihood.shape[-2] != len(self.matrix):
            raise ValueError(
                f"matrix has shape {self.matrix.shape}, and there are {log_likelihood.shape[-2]} labels; accepted is a "
                "row and a column for each of them."
            )
        return self.averaging.similarity(log_likelihood)

    def replicate(self, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
        """R_S Ω C v, plus scale·source where there is one, in `out` if given."""
        return self.averaging.replicate(similarity, label_product(self.matrix, field), source, scale, out=out)

    def replicate_adjoint(
        self, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None
    ) -> Any:
        """Cᵀ Ωᵀ R_S u, plus scale·source where there is one, in `out` if given."""
        product = label_product(self.matrix.T, self.averaging.replicate_adjoint(similarity, field))
        return stored(product, source, scale, out)

    def weight_gradient(
        self, similarity: Any, log_likelihood: Any, mean: Any, left: Any, right: Any, image: Any
    ) -> tuple[Any, Any]:
        """∂Ω and R_S c from m̄ and M = Σ_r u_r v_rᵀ: those of Ω for Σ_r u_r (C v_r)ᵀ."""
        right = label_product(self.matrix, right)
        return self.averaging.weight_gradient(similarity, log_likelihood, mean, left, right, image)

    def label_gradient(self, similarity: Any, left: Any, right: Any) -> np.ndarray:
        """∂C = Σ_r Σ_i (Ωᵀ R_S u_r)_i v_riᵀ, (J, J) float64 on the host."""
        found = np.zeros_like(self.matrix)
        for r in range(left.shape[0]):
            found += label_pairing(self.averaging.replicate_adjoint(similarity, left[r, ...]), right[r, ...])
        return found
