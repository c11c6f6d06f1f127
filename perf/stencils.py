"""Calls of every kernel with a neighborhood on fields of one shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gpulaf.kernels import adjoint, chain, operator, similarity, weight_gradient
from gpulaf.kernels._memory import empty
from measure import ASKED, put

from gpulaf.averaging import normalize_weights

#: Products of a chain.
LINKS = 6


def at_lines(*arrays: np.ndarray) -> list[np.ndarray]:
    """Copies that begin at lines of cache, as the library's own fields do."""
    copies = [empty(a.shape, a.dtype) for a in arrays]
    for copy, array in zip(copies, arrays, strict=True):
        copy[...] = array
    return copies


def kernel_calls(labels: int, shape: tuple[int, ...], dtype: str, radius: int = 1) -> dict[str, Callable[[], Any]]:
    """Kernels by name, a chain of LINKS products among them, on the device that is measured."""
    rng, run = np.random.default_rng(0), "gpu" if ASKED.gpu else "cpu"
    weights = normalize_weights(rng.random(((2 * radius + 1) ** len(shape), *shape)).astype(dtype))
    v, u, out, two = (rng.standard_normal((*more, labels, *shape)).astype(dtype) for more in ((), (), (), (2,)))
    weights, v, u, out, two = put(*at_lines(weights, v, u, out, two))
    one, A, At, links, gradient = (getattr(m, run) for m in (similarity, operator, adjoint, chain, weight_gradient))
    S, _ = one(weights, v)
    return {
        "operator": lambda: A(weights, S, v, out=out),
        "adjoint": lambda: At(weights, S, u, out=out),
        "operator chain": lambda: links(weights, S, v, None, np.zeros(LINKS), out=two),
        "adjoint chain": lambda: links(weights, S, u, None, np.zeros(LINKS), out=two, transposed=True),
        "similarity": lambda: one(weights, v),
        "weight_gradient": lambda: gradient(weights, S, v, u, u[None], v[None], out[None]),
    }
