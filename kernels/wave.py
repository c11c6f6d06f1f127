"""Products with A or Aᵀ in succession as one wave down the image: the ``cpu`` of operator, adjoint and chain.

Row y of y_k is computed right behind row y + r of y_{k−1}, from a ring of 2r + 1 rows, and every field is read from
memory once for all K products. Each thread repeats the (K − k) r rows of y_k around its own. The transposed weights of
a row are made once and serve all products. Rows wider than a second-level cache are worked on in strips of columns.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ._numba import edges, helper, in_threads, kernel
from .rows import add, average, canonical, emit, load, pitch, replicate, strip, transpose
from .stencil import neighborhood


def products(
    weights: np.ndarray,
    similarity: np.ndarray | None,
    start: np.ndarray,
    source: np.ndarray | None,
    scales: Any,
    out: np.ndarray,
    transposed: bool,
    backward: bool = False,
) -> None:
    """y_k = s_k·source + A y_{k−1} or with Aᵀ, to the stack `out`, (n, …, H, J, W); several of images only."""
    if not out.flags.c_contiguous:
        contiguous = np.empty(out.shape, out.dtype)
        products(weights, similarity, start, source, scales, contiguous, transposed, backward)
        out[...] = contiguous
        return
    radius, axes = neighborhood(weights.shape[-2])
    w, S, x, b = canonical(weights, similarity, start, source)
    scales, results = np.asarray(scales, x.dtype), out.reshape(len(out), *x.shape)
    _, D, H, J, W = x.shape
    side, links = 2 * radius + 1, len(scales)
    planes = side if axes > 2 else 1
    numbers = J * (links * planes * side + 3) + w.shape[-2] * ((links - 1) * radius + 2 if transposed else 1)
    columns = strip(W, numbers, links * radius, x.itemsize)
    size = np.array([columns, pitch(min(W, columns + 2 * links * radius), radius, x.itemsize), radius, planes])
    flags = np.array([S is not None, b is not None, transposed, backward])
    operands = (w, x if S is None else S, x, x if b is None else b, scales, results, size, flags)
    ends = edges(len(x) * D * H, x.size * w.shape[-2] * links, least=min(H, 4 * radius * links + 1))
    in_threads(_wave, [(first, last, *operands) for first, last in pairwise(ends)])


@kernel
def _wave(first, last, weights, similarity, start, source, scales, results, size, flags):
    """Rows first … last, counted through all images and planes, of all links."""
    height, J, width = start.shape[2:]
    columns, line, radius, planes = size
    links, side, N = scales.size, 2 * radius + 1, weights.shape[3]
    halo = links * radius
    rings = np.zeros((links, planes, side, J, line), start.dtype)
    turned = np.empty(((links - 1) * radius + 1 if flags[2] else 1, N, line), start.dtype)
    value, dot, slots = np.empty((J, line), start.dtype), np.empty(line, start.dtype), np.empty(side, np.intp)
    for plane in range(first // height, -(-last // height)):
        top, bottom = max(0, first - plane * height), min(height, last - plane * height)
        for left in range(0, width, columns):
            right = min(width, left + columns)
            lo, hi = max(0, left - halo), min(width, right + halo)
            rings[:] = 0
            ends = (top, bottom, left, right, lo, hi)
            for front in range(top - halo - radius, bottom + halo - radius):
                _load(front + radius, plane, lo, hi - lo, radius, similarity, start, flags, rings[0], value, dot)
                if front < top - halo + radius:
                    continue
                if flags[2] and 0 <= front < height:
                    own = weights[plane // start.shape[1] % weights.shape[0]]
                    transpose(own, plane % start.shape[1], front, lo, radius, hi - lo, turned[front % len(turned)])
                for k in range(links):
                    _link(
                        k, front - k * radius, plane, ends, weights, similarity, source, scales, results, size, flags,
                        rings, turned, value, dot, slots,
                    )  # fmt: skip


@helper
def _load(y, plane, lo, n, radius, similarity, start, flags, ring, value, dot):
    """Row y of what the first link averages, in all planes that it reaches: of the start, or R_S of it for Aᵀ."""
    depth, height = start.shape[1:3]
    planes, side = ring.shape[:2]
    image = plane // depth
    for p in range(planes):
        z, row = plane % depth + p - planes // 2, ring[p, y % side]
        if 0 <= z < depth and 0 <= y < height:
            if flags[0] and flags[2]:
                load(start[image, z, y], lo, 0, n, value)
                replicate(similarity[image, z, y], lo, value, dot, n)
                load(value, 0, radius, n, row)
            else:
                load(start[image, z, y], lo, radius, n, row)
        else:
            row[:] = 0


@helper
def _link(
    k, y, plane, ends, weights, similarity, source, scales, results, size, flags, rings, turned, value, dot, slots
):  # fmt: skip
    """Row y of link k: to the ring of the next link, and to the results where they keep it."""
    links, count = scales.size, results.shape[0]
    top, bottom, left, right, lo, hi = ends
    radius, side, depth, height = size[2], rings.shape[2], results.shape[2], results.shape[3]
    image, z, n, reach = plane // depth, plane % depth, hi - lo, (links - 1 - k) * radius
    if not top - reach <= y < bottom + reach:
        return
    if y < 0 or y >= height:
        if k + 1 < links:
            rings[k + 1, 0, y % side][:] = 0
        return
    for d in range(side):
        slots[d] = (y - radius + d) % side
    if flags[2]:
        average(turned[y % len(turned)], 0, rings[k], slots, value, n)
    else:
        average(weights[image % weights.shape[0], z, y], lo, rings[k], slots, value, n)
        if flags[0]:
            replicate(similarity[image, z, y], lo, value, dot, n)
    if flags[1]:
        add(scales[k], source[image, z, y], lo, value, n)
    if k >= links - count and top <= y < bottom:
        result = results[count - 1 - k % count if flags[3] else k % count, image, z, y]
        emit(value, left - lo, result, left, right - left)
    if k + 1 < links:
        following = rings[k + 1, 0, y % side]
        if flags[0] and flags[2]:
            replicate(similarity[image, z, y], lo, value, dot, n)
        load(value, 0, radius, n, following)
