"""Random operands for every kernel: odd sizes, images, volumes, batches, few labels and many.

Arrays are those that go to a device; numbers and lists stay on the host, as callers pass them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..fields import field_shape

__all__ = ["KERNELS", "SIZES", "Case", "Size", "cases"]


class Size(NamedTuple):
    """Pixels of an image or volume, and what is computed on them."""

    shape: tuple[int, ...]
    labels: int = 3
    radius: int = 1
    #: Images of a batch; None is one image without a batch.
    images: int | None = None
    #: Whether the images share their weights.
    shared: bool = False

    def __str__(self) -> str:
        said = f"{'×'.join(map(str, self.shape))}, radius {self.radius}, {self.labels} labels"
        if self.images is None:
            return said
        return f"{said}, {self.images} images with {'shared weights' if self.shared else 'weights of their own'}"


#: What the kernels with a neighborhood run on; on a GPU 40 labels are a loop at run time.
SIZES = [
    Size((1, 1)), Size((1, 45)), Size((45, 1)), Size((19, 70)), Size((3, 1103)), Size((13, 37), labels=40),
    Size((1, 7), radius=2), Size((19, 70), radius=2), Size((9, 41), images=3), Size((9, 41), images=3, shared=True),
    Size((5, 33), radius=2, images=2), Size((1, 1, 1)), Size((3, 1, 45)), Size((5, 9, 41)),
    Size((2, 9, 37), images=2), Size((2, 9, 37), images=2, shared=True),
]  # fmt: skip

#: Images, rows and pixels of a row for the kernels that look at no neighbor.
PIXELS = [(1, 1, 1), (1, 1, 1103), (1, 19, 70), (3, 13, 37)]

#: Rows, other rows and elements of a row.
VECTORS = [(1, 1, 1), (9, 1, 1000), (3, 5, 5003), (6, 6, 100_003)]


class Case(NamedTuple):
    """Operands and options of one call."""

    where: str
    operands: tuple[Any, ...]
    options: dict[str, Any]


class _Draw:
    """Random arrays of one dtype."""

    def __init__(self, dtype: Any) -> None:
        self.random, self.dtype = np.random.default_rng(0), np.dtype(dtype)

    def normal(self, *shape: int) -> np.ndarray:
        return self.random.standard_normal(shape).astype(self.dtype)

    def uniform(self, *shape: int) -> np.ndarray:
        return self.random.uniform(0.1, 1.0, shape).astype(self.dtype)

    def simplex(self, *shape: int) -> np.ndarray:
        x = self.uniform(*shape)
        return x / x.sum(axis=-2, keepdims=True)

    def field(self, size: Size, *more: int) -> np.ndarray:
        return self.normal(*more, *([size.images] if size.images else []), *field_shape(size.shape, size.labels))

    def weights(self, size: Size) -> np.ndarray:
        """Patches whose weights outside the image are like those inside: nothing may be read there."""
        batch = [size.images] if size.images and not size.shared else []
        return self.simplex(*batch, *field_shape(size.shape, (2 * size.radius + 1) ** len(size.shape)))

    def similarity(self, size: Size) -> np.ndarray:
        S = np.exp(self.field(size))
        return S / S.sum(axis=-2, keepdims=True)

    def truth(self, labels: int, *shape: int) -> np.ndarray:
        truth = self.random.integers(-1, labels, shape).astype(np.int32)
        truth[(0,) * len(shape)] = 0
        return truth


def cases(kernel: str, dtype: Any) -> Iterator[Case]:
    """Yield the cases of a kernel of :data:`KERNELS` in one dtype, the same in every process."""
    draw = _Draw(dtype)
    for where, operands, *options in _CASES[kernel](draw):
        yield Case(f"{draw.dtype}, {where}", operands, options[0] if options else {})


def _similarity(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for size in SIZES:
        yield size, (draw.weights(size), 3 * draw.field(size))


def _product(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for size in SIZES:
        weights, S, v, source = draw.weights(size), draw.similarity(size), draw.field(size), draw.field(size)
        yield f"{size}, R_S", (weights, S, v)
        yield f"{size}, R_S and source", (weights, S, v, source, 0.5)
        yield f"{size}, source", (weights, None, v, source, -2.0)


def _chain(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    scales = [0.5, 1.0, 2.0]
    for size in SIZES:
        weights, S, start, source = draw.weights(size), draw.similarity(size), draw.field(size), draw.field(size)
        for transposed in (False, True):
            said = f"{size}, {'transposed' if transposed else 'plain'}"
            for slots, given in ((3, None), (2, source)):
                options = {"out": np.full_like(draw.field(size, slots), np.nan), "transposed": transposed}
                yield said, (weights, S, start, given, scales), options | {"backward": transposed}


def _weight_gradient(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for size in SIZES:
        fields = (draw.similarity(size), *(draw.field(size) for _ in range(2)))
        yield size, (draw.weights(size), *fields, *(draw.field(size, 2) for _ in range(3)))


def _reverse_horner(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for size in SIZES:
        fields = (draw.similarity(size), *(draw.field(size) for _ in range(2)))
        yield size, (draw.weights(size), *fields, [1.0, 1.5, 0.75, 0.25])


def _inner_products(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for K, P, n in VECTORS:
        yield f"{K} and {P} rows of {n}", (draw.uniform(K, n), draw.uniform(P, n))


def _combination(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for R, K, n in VECTORS:
        c, rows, said = draw.normal(R, K), draw.normal(K, n), f"{R} combinations of {K} rows of {n}"
        yield said, (c, rows)
        yield f"{said}, started", (c, rows, draw.normal(R, n))


def _prediction(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    K, F = 5, 7
    for height, width, radius in ((1, 1, 1), (13, 137, 1), (9, 41, 2)):
        N, said = (2 * radius + 1) ** 2, f"{height}×{width}, radius {radius}, {K} prototypes"
        model = draw.normal(K, F), draw.normal(K, N), 1.5, draw.normal(height, F, width)
        yield said, model
        yield f"{said}, adjoint", (*model, draw.normal(height, N, width))


def _affine(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for height, width, inputs, outputs in ((1, 1, 1, 1), (3, 301, 6, 5), (13, 64, 33, 12)):
        for rectified in (False, True):
            operands = draw.normal(outputs, inputs), draw.normal(outputs), draw.normal(height, inputs, width)
            yield f"{height}×{width}, {inputs} to {outputs} numbers", (*operands, rectified)


def _agreement(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for said, v, truth, class_weights in _labelings(draw):
        yield said, (v, truth, class_weights)


def _cosine(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for said, v, truth, class_weights in _labelings(draw):
        t, q = 1.0 + draw.random.random((len(v), 1)), 9.0 + draw.random.random((len(v), 1))
        sums = np.concatenate([t, 0.1 * t, q, q, 0 * q, q], axis=1)  # float64 in either precision
        yield said, (v, truth, class_weights, sums)


def _labelings(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for images, rows, width in PIXELS:
        for labels in (2, 9):
            v, truth = draw.normal(images, rows, labels, width), draw.truth(labels, images, rows, width)
            yield f"{images} images of {rows}×{width}, {labels} labels", v, truth, draw.uniform(labels)


def _moments(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for said, p, x, scale in _patches(draw):
        yield said, (p, x)
        yield f"{said}, averaged", (p, x, draw.normal(*p.shape), scale, (0.5, 0.75, 2.0))


def _geodesic(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for said, p, x, scale in _patches(draw):
        yield said, (p, x, -8.0)
        yield f"{said}, scaled", (p, x, -8.0, scale)


def _patches(draw: _Draw) -> Iterator[tuple[Any, ...]]:
    for images, rows, width in PIXELS:
        p, x, scale = (
            f(images * rows, *s, width) for f, s in ((draw.uniform, [9]), (draw.normal, [9]), (draw.uniform, []))
        )
        p[:, 3, : width // 2] = 0  # a neighbor outside the image
        yield f"{images * rows}×{width} patches", p / p.sum(axis=1, keepdims=True), x, scale


_CASES: dict[str, Callable[[_Draw], Iterator[tuple[Any, ...]]]] = {
    "similarity": _similarity, "operator": _product, "adjoint": _product, "chain": _chain,
    "weight_gradient": _weight_gradient, "reverse_horner": _reverse_horner, "inner_products": _inner_products,
    "combination": _combination, "agreement": _agreement, "cosine": _cosine, "moments": _moments,
    "geodesic": _geodesic, "prediction": _prediction, "affine": _affine,
}  # fmt: skip

#: The kernels that have cases, all there are.
KERNELS = tuple(_CASES)
