"""The linearized assignment flow v' = Av + B and its derivative in the weights."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..averaging.base import check_field
from ..backend.array import like, lowered, namespace, scalar
from ..backend.operands import check_floating, check_like
from ..backend.validation import real_array

__all__ = ["LinearFlow", "derivative_like"]

#: Terms of a splitting whose products with A are held at a time.
PIECE = 8


class LinearFlow:
    """The assignment flow linearized at the barycenter or at any W₀ (2.22): v' = Av + B, v(0) = 0.

    With ℓ = log W₀ − D/ρ and S = softmax(Ωℓ): A v = R_S(Ωv) and B = Π₀S = S − 1/J. The labeling at time T is
    W(T) = softmax(log W₀ + v(T)).

    Parameters
    ----------
    averaging : Grid or Graph
        Ω, on images of size (H, W).
    log_likelihood : (H, J, W) floating array; (B, H, J, W) of a batch of images
        ℓ, dimensionless, in the library, on the device and in the dtype of the weights. A constant per pixel changes
        nothing. The images of a batch have weights (B, H, N, W) of their own or share (H, N, W); each is solved as if
        it were alone, bit for bit.
    similarity : pair of arrays, optional
        S and what its bound is read from, where they are known: :attr:`similarity` of an equal flow.

    Raises
    ------
    ValueError
        If ℓ has other pixels or another number of images than the weights.
    TypeError
        If the averaging is none, or ℓ is no array of the library and dtype of the weights.

    Attributes
    ----------
    S : (H, J, W) array
        The similarity map (2.17): one point of the simplex per pixel.
    B : (H, J, W) array
        The source of the flow.
    alpha : float
        max 2S(1 − S) ≥ ‖A‖_∞, at most 1/2 for any weight patches; of a batch the largest.
    """

    def __init__(self, averaging: Any, log_likelihood: Any, similarity: tuple[Any, Any] | None = None) -> None:
        check_field(averaging, log_likelihood)
        self.averaging = averaging
        self.log_likelihood = log_likelihood
        self.similarity = similarity or averaging.similarity(log_likelihood)
        self.S, self._bound = self.similarity
        check_like(self.S, "the similarity", log_likelihood)

    @cached_property
    def B(self) -> Any:
        """S − 1/J."""
        return self.S - 1.0 / self.S.shape[-2]

    def source(self, out: Any) -> Any:
        """Write B to `out`, (H, J, W): the start of a series."""
        return lowered(self.S, 1.0 / self.S.shape[-2], out)

    @cached_property
    def alpha(self) -> float:
        """The largest row sum that A can have, max 2S(1 − S)."""
        return scalar(namespace(self._bound).max(self._bound))

    @property
    def in_one_wave(self) -> bool:
        """Whether a kernel computes the gradient of a series in one wave through the image."""
        return bool(self.averaging.in_one_wave)

    def A(self, v: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
        """A v = R_S Ω v, plus scale·source where there is one: (H, J, W) to (H, J, W), in `out` if given."""
        self._check(v=v, source=source, out=out)
        return self.averaging.replicate(self.S, v, source, scale, out=out)

    def At(self, u: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
        """Aᵀu = Ωᵀ R_S u, plus scale·source where there is one: (H, J, W) to (H, J, W), in `out` if given."""
        self._check(u=u, source=source, out=out)
        return self.averaging.replicate_adjoint(self.S, u, source, scale, out=out)

    def chain(
        self, x: Any, source: Any, scales: Any, *, out: Any, transposed: bool = False, backward: bool = False
    ) -> Any:
        """Products in succession, y ← s_k·source + A y from y = x for every s_k in `scales`; faster than one by one.

        The k-th result goes to ``out[k % n]`` of the stack `out`, (n, H, J, W), counted from its end where
        `backward`. With Aᵀ where `transposed`; with source = None the scales only say how many.
        """
        self._check(x=x, source=source)
        check_floating(out, "out", "(n, H, J, W)", empty=len(scales) == 0)
        self._check_stacks(out=out)
        options = {"out": out, "transposed": transposed, "backward": backward}
        return self.averaging.chain(self.S, x, source, scales, **options)

    def derivative(self, mean: Any, left: Any, right: Any, image: Any = None) -> tuple[Any, Any]:
        """∂Ω and R_S c of Theorem 3.8 from the splitting M = Σ_r u_r v_rᵀ.

        Parameters
        ----------
        mean : (H, J, W) array
            m̄ = ∫₀ᵀ μ(t) dt.
        left, right : (R, H, J, W) arrays
            The terms u_r and v_r. All results are linear in (mean, left·right).
        image : (R, H, J, W) array, optional
            The products A v_r, where they are known; else they are computed.

        Returns
        -------
        two arrays: ∂Ω of shape (H, N, W), and z = R_S c of shape (H, J, W) where c is the derivative in S.
        """
        self._check(mean=mean)
        check_floating(left, "left", "(R, H, J, W)", empty=True)
        self._check_stacks(left=left, right=right, image=image)
        if image is not None:
            return self.averaging.weight_gradient(self.S, self.log_likelihood, mean, left, right, image)
        gradient, z, xp = None, None, namespace(mean)
        for start in range(0, max(1, left.shape[0]), PIECE):
            piece = slice(start, min(left.shape[0], start + PIECE))
            u, v = left[piece, ...], right[piece, ...]
            Av = xp.stack([self.A(v[r, ...]) for r in range(v.shape[0])]) if v.shape[0] else v
            part = self.averaging.weight_gradient(self.S, self.log_likelihood, mean, u, v, Av)
            gradient, z = part if gradient is None else (gradient + part[0], z + part[1])
            mean = xp.zeros_like(mean)
        return gradient, z

    def log_likelihood_derivative(self, z: Any, start: Any = None) -> Any:
        """∂ℓ = Ωᵀ z, z = R_S c, added to `start` where there is one: (H, J, W) to (H, J, W)."""
        self._check(z=z, start=start)
        return self.averaging.adjoint(z, start)

    def _check(self, **fields: Any) -> None:
        """Raise an error for fields that are not like S; None may be among them."""
        for name, x in fields.items():
            if x is not None:
                check_like(x, name, self.S)

    def _check_stacks(self, **stacks: Any) -> None:
        """Raise an error for stacks (R, …) that are not of as many fields like S; None may be among them."""
        count = next(iter(stacks.values())).shape[:1]
        for name, x in stacks.items():
            if x is not None:
                check_like(x, name, self.S, (*count, *self.S.shape))


def derivative_like(g: Any, field: Any, name: str = "g") -> Any:
    """Check the derivative of a loss against the field it belongs to, and convert it to its library and dtype."""
    g = real_array(g, name)
    if tuple(g.shape) != tuple(field.shape):
        raise ValueError(
            f"{name} has shape {tuple(g.shape)}; accepted is {tuple(field.shape)}, the derivative of the loss in v."
        )
    return like(g, field)
