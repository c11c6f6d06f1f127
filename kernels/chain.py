"""y_k = s_k·source + A y_{k−1}, k = 1 … K: products in succession, the powers of A and Horner's scheme; or with Aᵀ.

A y = R_S Ω y as in ``operator``, Aᵀy = Ωᵀ R_S y as in ``adjoint``. Layout: S, y, source (…, H, J, W), Ω (…, H, N, W);
the results (n, …, H, J, W) are used in turns, y_k in slot (k − 1) mod n, or from the last slot down where `backward`:
n = K keeps all, n = 2 the last two. source = None adds nothing, S = None leaves the replicator out.

On the CPU all products run down the image in one wave (:mod:`gpulaf.kernels.wave`). The planes of a volume that K
products reach do not stay in cache: there it is one product after the other.
"""

from __future__ import annotations

from typing import Any

from . import adjoint, operator
from .stencil import axes_of, slot
from .wave import products


def reference(
    weights: Any, similarity: Any, start: Any, source: Any, scales: Any, *,
    out: Any, transposed: bool = False, backward: bool = False, periodic: bool = False,
) -> Any:  # fmt: skip
    """The definition, product by product; also where `periodic` is asked for."""
    product = (adjoint if transposed else operator).reference
    return _one_by_one(product, (weights, similarity, source), start, scales, out, backward, periodic=periodic)


def cpu(
    weights: Any, similarity: Any, start: Any, source: Any, scales: Any, *,
    out: Any, transposed: bool = False, backward: bool = False,
) -> Any:  # fmt: skip
    """The same with Numba, as a wave through all products."""
    if axes_of(weights) > 2:
        product = (adjoint if transposed else operator).cpu
        return _one_by_one(product, (weights, similarity, source), start, scales, out, backward)
    products(weights, similarity, start, source, scales, out, transposed, backward)
    return out


def gpu(
    weights: Any, similarity: Any, start: Any, source: Any, scales: Any, *,
    out: Any, transposed: bool = False, backward: bool = False,
) -> Any:  # fmt: skip
    """The same with CUDA, one launch of ``operator`` or ``adjoint`` for each product."""
    product = (adjoint if transposed else operator).gpu
    return _one_by_one(product, (weights, similarity, source), start, scales, out, backward)


def _one_by_one(
    product: Any, operands: tuple[Any, Any, Any], y: Any, scales: Any, out: Any, backward: bool, **options: Any
) -> Any:
    weights, similarity, source = operands
    for k, scale in enumerate(scales):
        here = out[slot(k, out.shape[0], backward), ...]
        y = product(weights, similarity, y, source, float(scale), out=here, **options)
    return out
