"""Calls of every kernel with a neighborhood on fields of one shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gpulaf.kernels import adjoint, chain, operator, reverse_horner, similarity, weight_gradient
from gpulaf.kernels._memory import empty
from measure import ASKED, put

from gpulaf.averaging import normalize_weights
from gpulaf.fields import field_shape

#: Products of a chain; terms of the series of `reverse_horner`, those of Taylor 1e-4 at T = 3.
LINKS, TERMS = 6, 8


def at_lines(*arrays: np.ndarray) -> list[np.ndarray]:
    """Copies that begin at lines of cache, as the library's own fields do."""
    copies = [empty(a.shape, a.dtype) for a in arrays]
    for copy, array in zip(copies, arrays, strict=True):
        copy[...] = array
    return copies


def kernel_calls(labels: int, shape: tuple[int, ...], dtype: str, radius: int = 1) -> dict[str, Callable[[], Any]]:
    """Kernels by name, a chain of LINKS products among them, on the device that is measured."""
    rng, run = np.random.default_rng(0), "gpu" if ASKED.gpu else "cpu"
    weights = normalize_weights(rng.random(field_shape(shape, (2 * radius + 1) ** len(shape))).astype(dtype))
    field = field_shape(shape, labels)
    v, u, out, two = (rng.standard_normal((*more, *field)).astype(dtype) for more in ((), (), (), (2,)))
    weights, v, u, out, two = put(*at_lines(weights, v, u, out, two))
    pages = similarity, operator, adjoint, chain, weight_gradient, reverse_horner
    one, A, At, links, gradient, series = (getattr(page, run) for page in pages)
    S, _ = one(weights, v)
    return {
        "operator": lambda: A(weights, S, v, out=out),
        "adjoint": lambda: At(weights, S, u, out=out),
        "operator chain": lambda: links(weights, S, v, None, np.zeros(LINKS), out=two),
        "adjoint chain": lambda: links(weights, S, u, None, np.zeros(LINKS), out=two, transposed=True),
        "similarity": lambda: one(weights, v),
        "weight_gradient": lambda: gradient(weights, S, v, u, u[None], v[None], out[None]),
        "reverse_horner": lambda: series(weights, S, v, u, np.cumprod(3 / np.arange(1.0, TERMS + 1))),
    }
