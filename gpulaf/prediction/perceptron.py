"""A perceptron at every pixel: x ↦ M_n(… (M₂(M₁x + b₁)₊ + b₂)₊ …) + b_n on rows of features, and its derivative."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import contiguous, like, namespace
from ..backend.dispatch import implementation

__all__ = ["Layer", "applied", "pulled", "starting_layers"]


class Layer(NamedTuple):
    """One affine map x ↦ Mx + b."""

    #: M, (O, I).
    matrix: Any
    #: b, (O,).
    offset: Any


def starting_layers(sizes: Sequence[int], rng: np.random.Generator) -> list[Layer]:
    """Random layers of these sizes, the last one 0: normal with variance 2/I (He et al. 2015), float64 on the host."""
    layers = [
        Layer(rng.standard_normal((after, before)) * (2 / before) ** 0.5, np.zeros(after))
        for before, after in itertools.pairwise(sizes)
    ]
    return [*layers[:-1], Layer(0 * layers[-1].matrix, layers[-1].offset)]


def applied(layers: Sequence[Layer], x: Any, kept: list[Any] | None = None) -> Any:
    """The outputs of a perceptron at every pixel.

    Parameters
    ----------
    layers : sequence of Layer
    x : (H, I, W) floating array; (D, H, I, W) of a volume
    kept : list, optional
        Gets the input of every layer, for :func:`pulled`.

    Returns
    -------
    (H, O, W) array, same dtype and library; (D, H, O, W) of a volume.
    """
    shape, x = x.shape, _rows(x)
    for k, (matrix, offset) in enumerate(layers):
        if kept is not None:
            kept.append(x)
        x = implementation("affine", x)(like(matrix, x), like(offset, x), contiguous(x), k < len(layers) - 1)
    return namespace(x).reshape(x, (*shape[:-2], *x.shape[-2:]))


def pulled(
    layers: Sequence[Layer], kept: Sequence[Any], derivative: Any, *, inputs: slice | None
) -> tuple[list[Layer], Any]:
    """The derivatives of a loss in the layers, float64, and in the inputs where asked for, from that in the outputs.

    Parameters
    ----------
    layers, kept
        As of :func:`applied`.
    derivative : (H, O, W) array; (D, H, O, W) of a volume
    inputs : slice, optional
        The inputs whose derivative (H, I, W) is returned, too; None otherwise.
    """
    xp, found, shape = namespace(derivative), [], derivative.shape
    derivative = _rows(derivative)
    for k in reversed(range(len(layers))):
        if k < len(layers) - 1:
            derivative = xp.where(kept[k + 1] > 0, derivative, xp.zeros_like(derivative))
        products = xp.matmul(derivative, xp.matrix_transpose(kept[k]))  # of every row
        found.append(
            Layer(xp.sum(products, axis=0, dtype=xp.float64), xp.sum(derivative, axis=(0, 2), dtype=xp.float64))
        )
        if k or inputs is not None:
            matrix = layers[k].matrix if k or inputs is None else layers[k].matrix[:, inputs]
            back = contiguous(xp.matrix_transpose(like(matrix, derivative)))
            zero = xp.zeros(back.shape[0], dtype=back.dtype)
            derivative = implementation("affine", derivative)(back, zero, contiguous(derivative), False)
    if inputs is None:
        return found[::-1], None
    return found[::-1], xp.reshape(derivative, (*shape[:-2], *derivative.shape[-2:]))


def _rows(x: Any) -> Any:
    """Rows of pixels (H, I, W) of an image as they are, those of all planes of a volume together."""
    return namespace(x).reshape(x, (-1, *x.shape[-2:]))
