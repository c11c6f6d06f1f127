"""y = s·source + R_S Ω v: one product with the matrix A of the linearized assignment flow, (2.22).

    y_i = s source_i + S_i ∘ (x_i − ⟨S_i, x_i⟩),   x_i = Σ_{k ∈ N_i} ω_ik v_k

Layout: v, S and y (…, H, J, W), Ω (…, H, N, W). Border: neighbors outside the image are skipped.
With S = None the replicator is left out; source = None adds nothing. With a source the kernel is one step of Horner's
scheme. Least traffic per pixel, in floats: 3J + N (v, S and Ω read once, y written once), J more with a source.
"""

from __future__ import annotations

from typing import Any

from . import _cuda
from ._memory import empty_like
from .stencil import average, replicate, store
from .wave import products


def reference(
    weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *,
    out: Any = None, periodic: bool = False,
) -> Any:  # fmt: skip
    """The definition, in array API code."""
    averaged = average(weights, field, periodic)
    product = averaged if similarity is None else replicate(similarity, averaged)
    return store(product if source is None else scale * source + product, out)


def cpu(weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
    """The same with Numba: averages of a row stay in cache until they are replicated."""
    result = empty_like(field) if out is None else out
    products(weights, similarity, field, source, [scale], result[None], transposed=False)
    return result


def gpu(weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
    """y = scale·source + R_S Ω v with CUDA (``operator.cu``); None leaves the source or the replicator out."""
    return _cuda.product("operator", weights, similarity, field, source, scale, out)
