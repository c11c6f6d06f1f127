"""The interface of averaging Ω, and the products with A = R_S Ω that follow from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from typing import Any

from ..backend.array import namespace
from ..backend.operands import check_floating, check_like, check_real
from ..fields import field_shape
from ..kernels.stencil import slot, store
from ..simplex import replicator, softmax

__all__ = ["Averaging", "check_field", "stored"]


class Averaging(ABC):
    """(Ωx)_i = Σ_k ω_ik x_k on every label of a field alike, with the products that the flow needs (2.18).

    Fields are rows of labels, (H, J, W), (D, H, J, W) or (J, n), of the library, device and dtype of the weights; axes
    before those are a batch of images. What is not abstract here is the definition; a subclass with fused kernels
    overrides it.
    """

    #: ω as one array, in the order in which ∂Ω comes.
    weights: Any

    @property
    def in_one_wave(self) -> bool:
        """Whether :meth:`series_gradient` has a kernel here."""
        return False

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The pixels: (H, W), (D, H, W) or (n,), of weights for a batch of images (B, H, W)."""

    @property
    @abstractmethod
    def axes(self) -> int:
        """Spatial axes: 2 of an image, 3 of a volume, 1 of a graph."""

    @property
    @abstractmethod
    def radius(self) -> float:
        """Of the weight patches; of a graph, that of patches on a line which take as much memory."""

    @property
    @abstractmethod
    def arrays(self) -> tuple[Any, ...]:
        """The arrays that define it."""

    @property
    @abstractmethod
    def as_given(self) -> Any:
        """The weights as a user passes them: an array, or the graph itself."""

    @property
    @abstractmethod
    def patches(self) -> Any:
        """The points of simplices that a descent moves, on axis −2."""

    @abstractmethod
    def with_patches(self, patches: Any) -> Averaging:
        """Return the same neighborhoods with other weights, as `patches`; they are trusted."""

    @abstractmethod
    def patch_gradient(self, gradient: Any) -> Any:
        """Rearrange ∂Ω to the derivative in the `patches`."""

    @abstractmethod
    def like(self, fields: Any) -> Averaging:
        """Return the same averaging in the dtype of `fields`; raise an error where they do not fit."""

    @abstractmethod
    def masked(self, valid: Any) -> Averaging:
        """Return the averaging that looks at valid pixels, (H, W) bool, alone; an invalid one keeps itself."""

    @abstractmethod
    def apply(self, field: Any) -> Any:
        """Ω x."""

    @abstractmethod
    def adjoint(self, field: Any, start: Any = None) -> Any:
        """Ωᵀ z, plus `start` where there is one."""

    @abstractmethod
    def weight_gradient(
        self, similarity: Any, log_likelihood: Any, mean: Any, left: Any, right: Any, image: Any
    ) -> tuple[Any, Any]:
        """∂Ω and R_S c from m̄ and M = Σ_r u_r v_rᵀ; u, v, Av stacks of R fields; Theorem 3.8."""

    def series_gradient(self, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any) -> tuple[Any, Any]:
        """∂Ω and R_S c of a Taylor solution, where `in_one_wave`."""
        raise NotImplementedError

    def check_one_image(self, field: Any, what: str) -> None:
        """Raise ValueError for a batch of images, where numbers over the whole image decide: `what` for each alone."""
        if field.ndim > self.axes + 1:
            raise ValueError(
                f"the fields have shape {tuple(field.shape)}, a batch of images; {what} for one image alone. Take them "
                "one by one, or a Taylor or Euler solver without rank and tol."
            )

    def similarity(self, log_likelihood: Any) -> tuple[Any, Any]:
        """S = softmax(Ω ℓ) (2.17), and an array whose maximum is max 2S(1 − S)."""
        S = softmax(self.apply(log_likelihood))
        return S, namespace(S).max(2 * S * (1 - S))

    def replicate(self, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
        """A v = R_S Ω v, plus scale·source where there is one, in `out` if given (2.22)."""
        return stored(replicator(similarity, self.apply(field)), source, scale, out)

    def replicate_adjoint(
        self, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None
    ) -> Any:
        """Aᵀ u = Ωᵀ R_S u, plus scale·source where there is one, in `out` if given."""
        return stored(self.adjoint(replicator(similarity, field)), source, scale, out)

    def chain(
        self, similarity: Any, start: Any, source: Any, scales: Any, *, out: Any, transposed: bool, backward: bool
    ) -> Any:
        """Products in succession, y ← s_k·source + A y or with Aᵀ; see :mod:`gpulaf.kernels.chain`."""
        product = self.replicate_adjoint if transposed else self.replicate
        for k, scale in enumerate(scales):
            start = product(similarity, start, source, float(scale), out=out[slot(k, out.shape[0], backward), ...])
        return out


def stored(product: Any, source: Any, scale: float, out: Any) -> Any:
    """A product, plus scale·source where there is one, in `out` if given."""
    return store(product if source is None else float(scale) * source + product, out)


def check_field(averaging: Any, field: Any, name: str = "log_likelihood", *, labels: int = 1) -> None:
    """Raise an error for fields that do not fit to an averaging, and for what is no averaging.

    Parameters
    ----------
    averaging : Grid or Graph
    field : (…, H, J, W) array
    name : str
        How a user calls it.
    labels : int
        The fewest that are accepted.

    Raises
    ------
    ValueError
        If the field has other pixels, too few labels, or another number of images than weights that are those of
        several.
    TypeError
        If one of the two is of another type, library or dtype.
    """
    if not isinstance(averaging, Averaging):
        raise TypeError(f"averaging is a {type(averaging).__name__}; accepted are Grid(weights) and Graph(matrix).")
    check_floating(field, name, "(H, J, W), (D, H, J, W) or (J, n)")
    axes, pixels = averaging.axes, averaging.shape
    shape, images, own = tuple(field.shape), tuple(field.shape[: -axes - 1]), pixels[:-axes]
    fits = (*shape[-axes - 1 : -2], shape[-1]) == pixels[-axes:] and len(shape) > axes and shape[-2] >= labels
    if not fits or (images if axes == 1 else prod(own) not in (1, prod(images))):
        accepted = [str(n) for n in field_shape(pixels, 0)]
        accepted[-2] = "J"
        raise ValueError(
            f"{name} has shape {shape}; accepted is ({', '.join(accepted)}) for these weights, with at least {labels} "
            f"label{'s' * (labels > 1)}{'' if axes == 1 else ' and the images of a batch before it'}. Weights belong "
            "to one image: compute or learn them for this one, and convert fields by gpulaf.fields.to_rows."
        )
    check_like(field, name, averaging.weights, shape)
    check_real(field, name)
