"""Products with A or Aᵀ in succession as one wave down the image: the ``cpu`` of operator, adjoint and chain.

Row y of y_k is computed right behind row y + r of y_{k−1}, from a ring of 2r + 1 rows, and every field is read from
memory once for all K products. Each thread repeats the (K − k) r rows of y_k around its own. The transposed weights of
a row are made once and serve all products. Rows too wide for a cache are worked on in strips of columns.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ._numba import edges, in_threads, kernel
from .rows import add, average, canonical, emit, find, lines, load, load_replicated, pitch, replicate, strip, transpose
from .stencil import neighborhood


def products(
    weights: np.ndarray, similarity: Any, start: np.ndarray, source: Any, scales: Any, out: np.ndarray,
    transposed: bool, backward: bool = False,
) -> None:  # fmt: skip
    """y_k = s_k·source + A y_{k−1} or with Aᵀ, to the stack `out`, (n, …, H, J, W); several of images only."""
    scales = np.asarray(scales, start.dtype)
    if scales.ndim != 1:
        raise ValueError(f"scales have shape {scales.shape}; accepted is (K,), a number for each product.")
    if not out.flags.writeable:
        raise ValueError("the array for the results may only be read; accepted is one that can be written. Copy it.")
    if not len(scales):
        return
    if not out.flags.c_contiguous:
        contiguous = np.empty(out.shape, out.dtype)
        products(weights, similarity, start, source, scales, contiguous, transposed, backward)
        out[...] = contiguous
        return
    radius, axes = neighborhood(weights)
    w, x, S, b = canonical(weights, start, similarity, source, stacks=(out,))
    results = out.reshape(len(out), *x.shape)
    _, D, H, J, W = x.shape
    side, links = 2 * radius + 1, len(scales)
    planes = side if axes > 2 else 1
    numbers = J * (links * planes * side + 3) + w.shape[-2] * ((links - 1) * radius + 2 if transposed else 1)
    columns = strip(W, numbers, links * radius, x.itemsize)
    size = np.array([columns, pitch(min(W, columns + 2 * links * radius), x.itemsize), radius, planes])
    flags = np.array([S is not None, b is not None, transposed, backward])
    operands = (w, x if S is None else S, x, x if b is None else b, scales, results, size, flags)
    ends = edges(len(x) * D * H, x.size * w.shape[-2] * links, least=min(H, 4 * radius * links + 1))
    in_threads(_wave, [(first, last, *operands) for first, last in pairwise(ends)])


@kernel
def _wave(first, last, weights, similarity, start, source, scales, results, size, flags):
    """Rows first … last, counted through all images and planes, of all links."""
    _, depth, height, J, width = start.shape
    columns, line, radius, planes = size
    replicated, sourced, transposed, backward = flags
    links, side, N, count = scales.size, 2 * radius + 1, weights.shape[3], results.shape[0]
    rings = lines(links * planes * side * J, line, start).reshape(links, planes, side, J, line)
    ahead = (links - 1) * radius + 1 if transposed else 1  # rows of which the transposed weights are used again
    turned = lines(ahead * N, line, weights).reshape(ahead, N, line)
    scratch, dot, slots = lines(J, line, start).reshape(J, line), lines(1, line, start), np.empty(side, np.intp)
    for plane in range(first // height, -(-last // height)):
        image, z = plane // depth, plane % depth
        own, S = weights[image % weights.shape[0]], similarity[image]
        top, bottom = max(0, first - plane * height), min(height, last - plane * height)
        for left in range(0, width, columns):
            right = min(width, left + columns)
            lo, hi = max(0, left - links * radius), min(width, right + links * radius)
            n = hi - lo
            rings[:] = 0
            for front in range(top - (links + 1) * radius, bottom + (links - 1) * radius):
                y = front + radius
                for p in range(planes):
                    at, row = z + p - planes // 2, rings[0, p, y % side]
                    if 0 <= at < depth and 0 <= y < height:
                        if replicated and transposed:
                            load_replicated(S[at, y], start[image, at, y], lo, row, dot, n)
                        else:
                            load(start[image, at, y], lo, row, n)
                    else:
                        row[:] = 0
                if transposed and 0 <= front < height and front >= top - (links - 1) * radius:
                    transpose(own, z, front, lo, radius, n, turned[front % ahead])
                for k in range(links):
                    y, reach = front - k * radius, (links - 1 - k) * radius
                    if not top - reach <= y < bottom + reach:
                        continue
                    row = rings[k + 1, 0, y % side] if k + 1 < links else scratch
                    if not 0 <= y < height:
                        row[:] = 0
                        continue
                    patches, shift = own[z, y], lo
                    if transposed:
                        patches, shift = turned[y % ahead], 0
                    find(y, radius, side, slots)
                    average(patches, shift, rings[k], slots, row, n)
                    if replicated and not transposed:
                        replicate(S[z, y], lo, row, dot, n)
                    if sourced:
                        add(scales[k], source[image, z, y], lo, row, n)
                    if k >= links - count and top <= y < bottom:
                        target = count - 1 - k % count if backward else k % count
                        emit(row, left - lo, results[target, image, z, y], left, right - left)
                    if replicated and transposed and k + 1 < links:
                        replicate(S[z, y], lo, row, dot, n)
