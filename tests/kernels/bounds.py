"""Run every ``cpu`` kernel with Numba's bounds checks on odd sizes, and on huge, infinite and NaN values.

Run as a program with NUMBA_BOUNDSCHECK=1 and a cache folder of its own; prints how many calls it made.
"""

import itertools
import os

os.environ.setdefault("NUMBA_NUM_THREADS", "2")

import numpy as np
from gpulaf.kernels import (
    _numba,
    adjoint,
    affine,
    agreement,
    chain,
    combination,
    cosine,
    geodesic,
    inner_products,
    maximin,
    moments,
    operator,
    prediction,
    reverse_horner,
    rows,
    similarity,
    weight_gradient,
)  # fmt: skip

from gpulaf.averaging import uniform_weights

#: Pixels, radius and images: one pixel, one row, one column, wider than the stretches, a volume, a batch.
SIZES = [
    ((1, 1), 1, ()), ((1, 7), 2, ()), ((9, 1), 1, ()), ((5, 3), 3, ()), ((3, 2100), 1, ()), ((2, 150), 2, (2,)),
    ((1, 1, 1), 1, ()), ((2, 3, 70), 1, ()),
]  # fmt: skip
KINDS = ["usual", "huge", "infinite", "NaN", "mixed"]


def values(rng, shape, kind, dtype):
    """Random numbers of one kind."""
    x = rng.standard_normal(shape)
    if kind == "huge":
        x *= float(np.finfo(dtype).max) / 8
    if kind in ("infinite", "mixed"):
        x = np.where(rng.random(shape) < 0.3, np.inf * np.sign(x), x)
    if kind in ("NaN", "mixed"):
        x = np.where(rng.random(shape) < 0.3, np.nan, x)
    return x.astype(dtype)


def stencils(rng, pixels, radius, images, labels, kind, dtype):
    """All kernels that look at neighbors."""
    w = uniform_weights(pixels, radius, dtype=dtype) + values(rng, (), kind, dtype)
    shape = (*images, *pixels[:-1], labels, pixels[-1])
    S, l, u, v = (values(rng, shape, kind, dtype) for _ in range(4))
    yield similarity.cpu(w, l)
    yield operator.cpu(w, None, v)
    yield adjoint.cpu(w, S, v, u, 0.5)
    for transposed, backward, slots in itertools.product((False, True), (False, True), (1, 3)):
        out = np.empty((slots, *shape), dtype)
        yield chain.cpu(w, S, v, u, [1.0, 0.5, 0.1], out=out, transposed=transposed, backward=backward)
    for rank in (0, 2):
        stack = values(rng, (rank, *shape), kind, dtype)
        yield weight_gradient.cpu(w, S, l, u, stack, stack, stack)
    for degree in (1, 2, 5):
        yield reverse_horner.cpu(w, S, l, u, values(rng, degree, kind, dtype))


def pixelwise(rng, pixels, radius, labels, kind, dtype):
    """All kernels that look at each pixel alone."""
    height, width = pixels
    v = values(rng, (1, height, labels, width), kind, dtype)
    truth = rng.integers(-(2**31), 2**31, (1, height, width)).astype(np.int32)  # as no public call passes it
    truth[:, ::2] = rng.integers(-1, labels, truth[:, ::2].shape)
    counts = values(rng, labels, kind, dtype)
    sums = agreement.cpu(v, truth, counts)
    yield sums
    yield cosine.cpu(v, truth, counts, sums)
    p, x = values(rng, (height, 9, width), kind, dtype), values(rng, (height, 9, width), kind, dtype)
    scale = values(rng, (height, width), kind, dtype)
    yield geodesic.cpu(p, x, -1.0)
    yield geodesic.cpu(p, x, -1.0, scale)
    yield moments.cpu(p, x)
    yield moments.cpu(p, x, x, scale, (0.9, 0.99, 2.0))
    a, b = values(rng, (3, height * width), kind, dtype), values(rng, (2, height * width), kind, dtype)
    yield inner_products.cpu(a, b)
    yield combination.cpu(values(rng, (2, 3), kind, dtype), a, b)
    yield maximin.pairs(v[:, :, 0], rng.integers(0, 3, (1, height, width)))
    features, N = values(rng, (height, 2, width), kind, dtype), (2 * radius + 1) ** 2
    parameters = values(rng, (3, 2), kind, dtype), values(rng, (3, N), kind, dtype), 1.5
    yield prediction.cpu(*parameters, features)
    yield affine.cpu(values(rng, (5, features.shape[1]), kind, dtype), values(rng, (5,), kind, dtype), features, True)
    yield prediction.cpu(*parameters, features, values(rng, (height, N, width), kind, dtype))


def checks_are_on():
    """Raise AssertionError unless a compiled loop that leaves its array is told."""
    @_numba.kernel
    def beyond(first, last, x):
        for i in range(first, last):
            x[i] = 0

    try:
        beyond(0, 4, np.zeros(3))
    except IndexError:
        return
    raise AssertionError("kernels are compiled without bounds checks")


def main():
    """Every kernel on every size and kind of values."""
    checks_are_on()
    rng, count, dtype = np.random.default_rng(0), 0, np.float32
    with np.errstate(all="ignore"):
        for (pixels, radius, images), kind in itertools.product(SIZES, KINDS):
            for labels, strip in ((1, rows.STRIP), (3, 2**12)):
                rows.STRIP = strip  # a narrow strip of columns after the other
                count += sum(1 for _ in stencils(rng, pixels, radius, images, labels, kind, dtype))
                if len(pixels) == 2:
                    count += sum(1 for _ in pixelwise(rng, pixels, radius, labels, kind, dtype))
    print(count)


if __name__ == "__main__":
    main()
