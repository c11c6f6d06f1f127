"""Bytes that a kernel call moves at least, and its floating-point operations, by the formulas of :mod:`gpulaf.kernels`.

Bytes: every operand is read once and every result written once, as the docstrings of the kernels count; a chain counts
product by product, a gradient in one wave its operands alone. Operations: a multiply-add is two, an exponential those
of its polynomial, a comparison none; those of the definition, whatever an implementation shares or repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from ..backend.array import host_dtype
from ..fields import pixel_shape
from ..kernels.exponential import constants

__all__ = ["Cost", "cost"]

#: Bytes of a label of the truth.
LABEL = 4


class Cost(NamedTuple):
    """Bytes and operations of one kernel call, or of several."""

    #: Bytes read and written at least.
    bytes: int
    #: Floating-point operations.
    operations: int
    #: Those of the bytes that are written.
    written: int = 0

    @property
    def read(self) -> int:
        """Bytes read at least."""
        return self.bytes - self.written


def cost(kernel: str, *operands: Any, **options: Any) -> Cost:
    """Return the cost of ``implementation(kernel, …)(*operands, **options)``.

    Raises
    ------
    KeyError
        For a kernel without a formula here.
    """
    return _COSTS[kernel](*operands, **options)


def _cost(field: Any, read: int, written: int, operations: int, weights: Any = None, other: int = 0) -> Cost:
    """Multiply floats, operations and other bytes of a pixel by the pixels of a field (…, J, W); add the weights."""
    pixels, size = prod(pixel_shape(field)), host_dtype(field).itemsize
    shared = 0 if weights is None else prod(weights.shape)
    moved = (pixels * (read + written) + shared) * size + pixels * other
    return Cost(moved, pixels * operations, pixels * written * size)


def _product(weights: Any, similarity: Any, field: Any, source: Any = None, *_: Any) -> Cost:
    N, J, replicated, sourced = weights.shape[-2], field.shape[-2], similarity is not None, source is not None
    return _cost(field, (1 + replicated + sourced) * J, J, (2 * N + 4 * replicated + 2 * sourced) * J, weights)


def _similarity(weights: Any, log_likelihood: Any) -> Cost:
    N, J = weights.shape[-2], log_likelihood.shape[-2]
    softmax_and_bound = 6 + _exponential(log_likelihood)
    return _cost(log_likelihood, J, J, 2 * N * J + softmax_and_bound * J, weights)


def _chain(weights: Any, similarity: Any, start: Any, source: Any, scales: Any, **_: Any) -> Cost:
    return Cost(*(len(scales) * x for x in _product(weights, similarity, start, source)))


def _combination(coefficients: Any, rows: Any, start: Any = None) -> Cost:
    R, K = coefficients.shape
    return _cost(rows, K if start is None else K + R, R, 2 * R * K)


def _inner_products(rows: Any, others: Any) -> Cost:
    K, P = rows.shape[0], others.shape[0]
    return _cost(rows, K + P, 0, 2 * K * P)


def _agreement(v: Any, truth: Any, class_weights: Any) -> Cost:
    J = v.shape[-2]
    return _cost(v, J, 0, 5 * J + 7, other=LABEL)


def _cosine(v: Any, truth: Any, class_weights: Any, sums: Any) -> Cost:
    J = v.shape[-2]
    return _cost(v, J, J, 5 * J, other=LABEL)


def _weight_gradient(weights: Any, similarity: Any, log_likelihood: Any, mean: Any, left: Any, *_: Any) -> Cost:
    N, J, R = weights.shape[-2], mean.shape[-2], left.shape[0]
    return _cost(mean, 3 * R * J + 3 * J, J + N, R * (2 * N + 6) * J + (2 * N + 4) * J)


def _reverse_horner(weights: Any, similarity: Any, log_likelihood: Any, g: Any, coefficients: Any) -> Cost:
    N, J, K = weights.shape[-2], g.shape[-2], len(coefficients) - 1
    products = 2 * J + K * (4 * N + 10) * J  # a_q = A a_{q−1} and y_{q−1} = c_q g + Aᵀ y_q
    return _cost(g, 3 * J, J + N, products + K * (2 * N + 6) * J + (2 * N + 4) * J, weights)


def _moments(weights: Any, gradient: Any, first: Any = None, *_: Any) -> Cost:
    N = weights.shape[-2]
    return _cost(weights, 2 * N, 1, 7 * N) if first is None else _cost(weights, 3 * N + 1, N + 1, 12 * N + 3)


def _geodesic(p: Any, x: Any, factor: float, scale: Any = None, **_: Any) -> Cost:
    N, more = p.shape[-2], scale is not None
    return _cost(p, 2 * N + more, N, (9 + more + _exponential(p)) * N)


def _exponential(x: Any) -> int:
    """Count the operations of one e^x: eight and those of its polynomial."""
    return 8 + 2 * (len(constants(host_dtype(x)).coefficients) - 1)


_COSTS: dict[str, Callable[..., Cost]] = {
    "operator": _product, "adjoint": _product, "similarity": _similarity, "chain": _chain,
    "combination": _combination, "inner_products": _inner_products, "agreement": _agreement, "cosine": _cosine,
    "weight_gradient": _weight_gradient, "reverse_horner": _reverse_horner, "moments": _moments,
    "geodesic": _geodesic,
}  # fmt: skip
