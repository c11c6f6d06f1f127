"""One stage of a network on one image: its perceptrons, and the derivative through the state that they see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..averaging.coupled import CoupledLabels
from ..averaging.masks import valid_neighbors
from ..backend.array import empty, filled, namespace, total
from ..fields import field_shape, pixel_shape
from ..kernels.stencil import offsets, shifted, side_of
from ..simplex import project, replicator, softmax
from .perceptron import Layer, applied, pulled

__all__ = ["NetworkStage", "Perceptrons", "state_derivative", "state_patches", "valid_mask"]

#: What the log-likelihood that the perceptron of labels sees is multiplied by.
SMALLER = 0.1
#: Inputs of a perceptron that are held at a time, where no derivative is wanted: about what the last cache holds.
INPUTS = 2**22


class Perceptrons(NamedTuple):
    """What a stage applies at every pixel."""

    #: To features and the patch of the state: F + J(2q+1)² inputs, N outputs and where the data are corrected J more.
    pixels: list[Any]
    #: To the state of each label alone: (2q+1)² + 1 inputs, one output. Empty without it.
    labels: list[Any]


class NetworkStage:
    """One stage on one image, a :class:`gpulaf.flows.Stage`.

    Parameters
    ----------
    perceptrons : Perceptrons
    scale : float
        τ.
    reach : (int, int)
        q of both of them, −1 without state.
    features : (H, F, W) array
    mask : (H, N, W) array of bool
        The neighbors that may get weight.
    valid : (H, W) array of bool, optional
    coupling : (J, J) array, optional
        C of :class:`gpulaf.averaging.CoupledLabels`.

    Attributes
    ----------
    kept : Perceptrons, optional
        The inputs of all layers, where a derivative is wanted.
    through : bool
        Whether the derivative in ℓ_s takes what the stage sees of it into account.
    derivative : list of Layer
        Of a loss, after :meth:`pull`.
    scale_derivative : float
    weights : (H, N, W) array
        Of the last call, where something is kept.
    """

    def __init__(
        self,
        perceptrons: Perceptrons,
        scale: float,
        reach: tuple[int, int],
        features: Any,
        mask: Any,
        valid: Any = None,
        coupling: Any = None,
    ) -> None:
        self.perceptrons, self.factor, self.reach = perceptrons, float(np.exp(scale)), reach
        self.features, self.mask, self.valid, self.coupling = features, mask, valid, coupling
        self.kept: Perceptrons | None = None
        self._state: Any = None
        self.through = True

    def __call__(self, log_likelihood: Any) -> tuple[Any, Any]:
        """ℓ_s to weights (H, N, W), with coupled labels where there is C, and the corrected ℓ."""
        xp, count = namespace(log_likelihood), self.mask.shape[-2]
        p = self.state(log_likelihood) if max(self.reach) >= 0 else None
        if self.kept is not None:
            self._state, self._data, self.kept = p, log_likelihood, Perceptrons([], [])
        outputs = self._outputs(p)
        weights = softmax(filled(outputs[..., :count, :], self.mask, -float(xp.finfo(outputs.dtype).max)))
        data = log_likelihood * self.factor
        if outputs.shape[-2] > count:
            data = data + outputs[..., count:, :]
        if self.perceptrons.labels:
            data = data + self._of_labels(p, log_likelihood)
        if self.valid is not None:
            data = filled(data, self.valid[..., None, :])
        if self.kept is not None:
            self.weights = weights
        return weights if self.coupling is None else CoupledLabels(weights, self.coupling), data

    def state(self, log_likelihood: Any) -> Any:
        """The probabilities p that the stage sees, 0 at pixels that are not valid."""
        p = softmax(log_likelihood)
        return p if self.valid is None else filled(p, self.valid[..., None, :])

    def _outputs(self, p: Any) -> Any:
        """What the perceptron says of all pixels."""
        layers, q = self.perceptrons.pixels, self.reach[0]

        def inputs(rows: slice) -> Any:
            x = self.features[rows, ...]
            return x if q < 0 else namespace(x).concat([x, *neighbors_of(p, rows, q)], axis=-2)

        return self._in_parts(layers, inputs, pixel_shape(self.features), None if self.kept is None else self.kept[0])

    def _of_labels(self, p: Any, log_likelihood: Any) -> Any:
        """What the perceptron of single labels says of all of them, (H, J, W): their rows lie one after the other."""
        layers, q, labels = self.perceptrons.labels, self.reach[1], p.shape[-2]
        shape = (*p.shape[:-2], labels * p.shape[-1])

        def inputs(rows: slice) -> Any:
            l, xp = SMALLER * project(log_likelihood[rows, ...]), namespace(p)
            return xp.reshape(xp.concat([*neighbors_of(p, rows, q), l], axis=-2), (*l.shape[:-2], -1, shape[-1]))

        found = self._in_parts(layers, inputs, shape, None if self.kept is None else self.kept[1])
        return namespace(p).reshape(found, p.shape)

    def _in_parts(self, layers: Sequence[Layer], inputs: Callable[[slice], Any], shape: Any, kept: Any) -> Any:
        """Outputs at all pixels; of some rows or planes at a time where no inputs are kept."""
        if kept is not None:
            return applied(layers, inputs(slice(0, shape[0])), kept)
        step = max(1, INPUTS // (layers[0].matrix.shape[1] * prod(shape[1:])))
        result = empty(field_shape(shape, len(layers[-1].matrix)), self.features)
        for first in range(0, shape[0], step):
            rows = slice(first, min(shape[0], first + step))
            result[rows, ...] = applied(layers, inputs(rows))
        return result

    def pull(self, weights: Any, log_likelihood: Any) -> Any:
        """∂ℓ_s from ∂ω (H, N, W) and the derivative in the corrected ℓ; keeps that of the parameters."""
        if self.kept is None:
            raise ValueError("the stage kept nothing for its derivative. Call keep() before the flow is solved.")
        xp, w, p, layers = namespace(weights), self.weights, self._state, self.perceptrons.pixels
        outputs = replicator(w, filled(weights, self.mask))
        if self.valid is not None:
            log_likelihood = filled(log_likelihood, self.valid[..., None, :])
        if layers[-1].matrix.shape[0] > w.shape[-2]:
            outputs = xp.concat([outputs, log_likelihood], axis=-2)
        seen = slice(self.features.shape[-2], None) if self.reach[0] >= 0 and self.through else None
        self.derivative, patches = pulled(layers, self.kept.pixels, outputs, inputs=seen)
        below = log_likelihood * self.factor
        self.scale_derivative = total(below * self._data)
        if seen is not None:
            below = below + replicator(p, state_derivative(patches, self.reach[0], p.shape[-2]))
        return below + self._pulled_labels(log_likelihood) if self.perceptrons.labels else below

    def _pulled_labels(self, log_likelihood: Any) -> Any:
        """What the perceptron of single labels adds to ∂ℓ_s; keeps the derivative of its layers."""
        xp, p, layers = namespace(log_likelihood), self._state, self.perceptrons.labels
        labels, width = p.shape[-2:]
        outputs = xp.reshape(log_likelihood, (*p.shape[:-2], 1, labels * width))
        seen = slice(None) if self.through else None
        found, inputs = pulled(layers, self.kept.labels, outputs, inputs=seen)  # type: ignore[union-attr]
        self.derivative = [*self.derivative, *found]
        if seen is None:
            return xp.zeros_like(p)
        inputs = xp.reshape(inputs, (*p.shape[:-2], -1, width))
        of_patches = state_derivative(inputs[..., :-labels, :], self.reach[1], labels)
        return replicator(p, of_patches) + SMALLER * project(inputs[..., -labels:, :])

    @property
    def radius(self) -> int:
        """Of the weight patches."""
        return side_of(self.mask.shape[-2], self.features.ndim - 1) // 2

    def masked(self, valid: Any) -> NetworkStage:
        """The stage that looks at valid pixels, (H, W) bool, alone."""
        scale, mask = float(np.log(self.factor)), valid_mask(valid, self.radius)
        return NetworkStage(self.perceptrons, scale, self.reach, self.features, mask, valid, self.coupling)


def valid_mask(valid: Any, radius: int) -> Any:
    """Which neighbors of a pixel may get weight, (H, N, W): valid ones of a valid pixel, itself of another."""
    mask = valid_neighbors(valid, (radius, valid.ndim))
    mask[..., mask.shape[-2] // 2, :] = True
    return mask


def neighbors_of(p: Any, rows: slice, radius: int) -> list[Any]:
    """The probabilities at every offset from some rows or planes, 0 outside: views of the same memory."""
    q, shape, width = radius, p.shape[:-2], p.shape[-1]
    above, below = max(0, rows.start - q), min(shape[0], rows.stop + q)
    sizes = (rows.stop - rows.start, *shape[1:])
    padded = namespace(p).zeros((*(n + 2 * q for n in sizes), p.shape[-2], width + 2 * q), dtype=p.dtype)
    first = above - rows.start + q
    inner = (slice(first, first + below - above), *(slice(q, q + n) for n in shape[1:]), slice(None))
    padded[(*inner, slice(q, q + width))] = p[above:below, ...]
    return [
        padded[
            (
                *(slice(q + o, q + o + n) for o, n in zip(offset[:-1], sizes, strict=True)),
                slice(None),
                slice(q + offset[-1], q + offset[-1] + width),
            )
        ]
        for offset in offsets(q, p.ndim - 1)
    ]


def state_patches(p: Any, radius: int) -> Any:
    """The probabilities around every pixel, 0 outside: (H, J, W) to (H, J(2q+1)², W), offsets in row-major order.

    Of a volume (D, H, J, W) to (D, H, J(2q+1)³, W).
    """
    return namespace(p).concat(neighbors_of(p, slice(0, p.shape[0]), radius), axis=-2)


def state_derivative(derivative: Any, radius: int, labels: int) -> Any:
    """The adjoint of :func:`state_patches`."""
    parts = (
        shifted(derivative[..., k * labels : (k + 1) * labels, :], tuple(-o for o in offset))
        for k, offset in enumerate(offsets(radius, derivative.ndim - 1))
    )
    first = next(parts)
    for part in parts:
        first = first + part
    return first
