"""y = s·source + Ωᵀ R_S u: one product with the transpose of A, in gather form.

    y_k = s source_k + Σ_o ω_o[k − o] z[k − o],   z_i = S_i ∘ (u_i − ⟨S_i, u_i⟩)

The sum runs over the pixels i = k − o inside the image that have k as their neighbor o: no atomics, no scatter.
Layout: u, S and y (…, H, J, W), Ω (…, H, N, W). With S = None the replicator is left out;
source = None adds nothing. Least traffic per pixel, in floats: 3J + N, J more with a source.
"""

from __future__ import annotations

from typing import Any

from . import _cuda
from ._memory import empty_like
from .stencil import neighborhood, offsets, replicate, shifted, store
from .wave import products


def reference(
    weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *,
    out: Any = None, periodic: bool = False,
) -> Any:  # fmt: skip
    """The definition, in array API code."""
    z = field if similarity is None else replicate(similarity, field)
    total = None
    for index, offset in enumerate(offsets(*neighborhood(weights))):
        term = shifted(weights[..., index : index + 1, :] * z, tuple(-o for o in offset), periodic)
        total = term if total is None else total + term
    return store(total if source is None else scale * source + total, out)


def cpu(weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
    """The same with Numba: a ring of 2r + 1 rows of z moves down the image with the output row."""
    result = empty_like(field) if out is None else out
    products(weights, similarity, field, source, [scale], result[None], transposed=True)
    return result


def gpu(weights: Any, similarity: Any, field: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
    """y = scale·source + Ωᵀ R_S u with CUDA (``adjoint.cu``); None leaves the source or the replicator out."""
    return _cuda.product("adjoint", weights, similarity, field, source, scale, out)
