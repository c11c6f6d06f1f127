"""y_k = s_k·source + A y_{k−1}, k = 1 … K: products in succession, the powers of A and Horner's scheme; or with Aᵀ.

A y = R_S Ω y as in ``operator``, Aᵀy = Ωᵀ R_S y as in ``adjoint``. Layout: y and source (J, H, W), Ω (N, H, W), S as y;
the results (n, J, H, W) are used in turns, y_k in slot (k − 1) mod n, or from the last slot down where `backward`:
n = K keeps all, n = 2 the last two. source = None adds nothing.

On the CPU a wave runs down the image: while it computes y_k in a band of rows, y_{k−1} in the rows below is just done
and still in cache, and so are S and Ω; every field is read from memory once for all K products. Each thread has its
own rows; what the products near their edges lack of each other's is computed at the end, K(K − 1) r rows for each edge.
The planes of a volume that K products reach do not stay in cache: there it is one product after the other.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from . import adjoint, operator
from ._blocks import as_volumes
from ._numba import edges, in_threads, inline, kernel
from .adjoint import _rows as _adjoint_rows
from .operator import _rows as _operator_rows
from .stencil import radius_of, slot

#: Bytes of a field in one band: bands of some fields stay in the second level of cache.
BAND = 2**18


def reference(
    weights: Any,
    similarity: Any,
    start: Any,
    source: Any,
    scales: Any,
    *,
    out: Any,
    transposed: bool = False,
    backward: bool = False,
    periodic: bool = False,
) -> Any:
    """The definition, product by product; also where `periodic` is asked for."""
    product = (adjoint if transposed else operator).reference
    return _one_by_one(product, (weights, similarity, source), start, scales, out, backward, periodic=periodic)


def cpu(
    weights: np.ndarray,
    similarity: np.ndarray,
    start: np.ndarray,
    source: np.ndarray | None,
    scales: Any,
    *,
    out: np.ndarray,
    transposed: bool = False,
    backward: bool = False,
) -> np.ndarray:
    """The same with Numba, as a wave: bit for bit what one product after the other gives."""
    if start.ndim > 3:
        product = (adjoint if transposed else operator).cpu
        return _one_by_one(product, (weights, similarity, source), start, scales, out, backward)
    labels, height, width = start.shape
    scales, radius = np.asarray(scales, start.dtype), radius_of(weights)
    band = max(4, min(64, BAND // (labels * width * start.itemsize)))
    wave, gap = (_wave_transposed, _gap_transposed) if transposed else (_wave, _gap)
    *fields, results = as_volumes(weights, similarity, start, source, out)
    operands = (*fields, scales, radius, results, backward)
    ends = edges(height, start.size * len(weights) * len(scales), least=2 * radius * len(scales) + 1)
    in_threads(wave, [(a, b, a > 0, b < height, band, *operands) for a, b in pairwise(ends)])
    in_threads(gap, [(edge, *operands) for edge in ends[1:-1]])
    return out


@inline
def span(k, step, band, first, last, above, below, radius):
    """Rows of link k in one step of the wave: it lags r rows behind link k − 1, and stops short of other threads."""
    start = first + k * radius if above else first
    end = last - k * radius if below else last
    front = first + step * band - k * radius
    return min(max(front, start), end), min(max(front + band, start), end)


_slot = inline(slot)


@kernel
def _wave(
    first, last, above, below, band, weights, similarity, start, source, scales, radius, results, backward
):  # fmt: skip
    links, count = scales.size, results.shape[0]
    for step in range(-(-(last - first + links * radius) // band)):
        for k in range(links):
            lo, hi = span(k, step, band, first, last, above, below, radius)
            if lo < hi:
                y = results[_slot(k, count, backward)]
                x = results[_slot(k - 1, count, backward)] if k else start
                _operator_rows(lo, hi, weights, similarity, x, source, scales[k], radius, y, False)


@kernel
def _gap(edge, weights, similarity, start, source, scales, radius, results, backward):
    count = results.shape[0]
    for k in range(1, scales.size):
        x, y = results[_slot(k - 1, count, backward)], results[_slot(k, count, backward)]
        lo, hi = edge - k * radius, edge + k * radius
        _operator_rows(lo, hi, weights, similarity, x, source, scales[k], radius, y, False)


@kernel
def _wave_transposed(
    first, last, above, below, band, weights, similarity, start, source, scales, radius, results, backward
):  # fmt: skip
    links, count = scales.size, results.shape[0]
    for step in range(-(-(last - first + links * radius) // band)):
        for k in range(links):
            lo, hi = span(k, step, band, first, last, above, below, radius)
            if lo < hi:
                y = results[_slot(k, count, backward)]
                x = results[_slot(k - 1, count, backward)] if k else start
                _adjoint_rows(lo, hi, weights, similarity, x, source, scales[k], radius, y, False)


@kernel
def _gap_transposed(edge, weights, similarity, start, source, scales, radius, results, backward):
    count = results.shape[0]
    for k in range(1, scales.size):
        x, y = results[_slot(k - 1, count, backward)], results[_slot(k, count, backward)]
        lo, hi = edge - k * radius, edge + k * radius
        _adjoint_rows(lo, hi, weights, similarity, x, source, scales[k], radius, y, False)


def gpu(
    weights: Any,
    similarity: Any,
    start: Any,
    source: Any,
    scales: Any,
    *,
    out: Any,
    transposed: bool = False,
    backward: bool = False,
) -> Any:
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
