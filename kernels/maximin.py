"""Which pixel decides how well two others are connected: pairs by the weakest pixel of their maximin path.

The maximin path of two pixels is the one whose smallest score is largest; where scores differ, one pixel has that score,
the saddle. Pixels are flooded from the largest score down (Kruskal's algorithm on the grid, an edge counting as its
smaller end): whom a pixel connects first, it decides. Layout: scores (D, H, W), a pixel of −∞ connects nothing; masses
(D, H, W) int64, as how many a pixel counts; the result (D, H, W) int64 is Σ m_a m_b over the pairs {a, b} that the pixel
decides, itself among them. Neighbors share a face. Of equal scores the first in memory is flooded first.

One sequence of unions: there is one implementation, and without Numba the interpreter runs it.
"""

from __future__ import annotations

import numpy as np

from ._numba import helper, kernel


def pairs(scores: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """How many pairs every pixel decides."""
    if scores.ndim != 3 or scores.shape != masses.shape:
        raise ValueError(f"scores {scores.shape} and masses {masses.shape} differ; accepted are two of one (D, H, W).")
    flat = scores.ravel()
    order = np.argsort(-flat, kind="stable")  # NaN is last, behind −∞
    decided = np.zeros(flat.size, np.int64)
    parents = np.full(flat.size, -1)
    masses = masses.astype(np.int64, order="C")  # a copy: those of regions are summed at their roots
    _flood(0, np.count_nonzero(flat > -np.inf), order, *scores.shape, parents, masses.reshape(-1), decided)
    return decided.reshape(scores.shape)


@kernel
def _flood(first, last, order, depth, height, width, parents, masses, decided):
    for t in range(first, last):
        i = order[t]
        parents[i] = i
        x, y, z = i % width, i // width % height, i // (width * height)
        for inside, k in (
            (x > 0, i - 1), (x < width - 1, i + 1), (y > 0, i - width), (y < height - 1, i + width),
            (z > 0, i - width * height), (z < depth - 1, i + width * height),
        ):  # fmt: skip
            if inside and parents[k] >= 0:
                a, b = _root(parents, i), _root(parents, k)
                if a != b:
                    decided[i] += masses[a] * masses[b]
                    a, b = (a, b) if masses[a] >= masses[b] else (b, a)
                    parents[b] = a
                    masses[a] += masses[b]


@helper
def _root(parents, i):
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i
