"""Weights and a correction of the data from a perceptron at every pixel, stage by stage.

Stage s sees the features f_i of the image, and the labeling that the stages before it left: the patch of
p = softmax(ℓ_s) around the pixel. Its perceptron gives log-weights z_i ∈ R^N and a correction c_i ∈ R^J:

    ω_i = softmax(z_i) over the neighbors inside the image and the mask,   ℓ_s ← e^{τ_s} ℓ_s + c_i

and its flow takes the time h_s e^{κ_s}. With G = ∂L/∂ω and e = ∂L/∂ℓ: ∂z_i = ω_i∘(G_i − ⟨ω_i, G_i⟩), ∂c = e,
∂τ_s = ⟨e, e^{τ_s} ℓ_s⟩, ∂κ_s = h_s e^{κ_s} ⟨g, Av + B⟩, and through the state ∂ℓ_s = e^{τ_s} e + R_p(∂p), where ∂p is
what the perceptron takes from ∂z and ∂c to its inputs. No solver is differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ..averaging.patches import inside, valid_neighbors
from ..backend.array import empty, filled, host_array, namespace, total
from ..fields import field_shape, pixel_shape
from ..flows.deep import DeepFlow, DeepGradient
from ..integrators.base import Integrator
from ..kernels.stencil import offsets, shifted, side_of
from ..simplex import replicator, softmax
from .perceptron import Layer, applied, pulled, starting_layers

__all__ = ["BoundNetwork", "Network", "NetworkStage", "network_of", "starting_network", "state_patches"]

#: The largest |κ| that counts.
LONGEST = 2.3
#: Inputs of a perceptron that are held at a time, where no derivative is wanted: about what the last cache holds.
INPUTS = 2**22


@dataclass(frozen=True, eq=False)
class Network:
    """What a :class:`gpulaf.WeightNetwork` learns.

    Parameters
    ----------
    stages : sequence of sequences of Layer
        The perceptron of each stage: F + J(2q+1)² inputs, N outputs and where the data are corrected J more.
    scales, clocks : (S,) arrays
        τ_s and κ_s.
    radius : int
        r of the weight patches, N = (2r+1)².
    reach : int
        q of the patches of the state that a stage sees; −1 where it sees the image alone.
    axes : int
        2 of images, 3 of volumes, where patches have (2r+1)³ and (2q+1)³ pixels.
    through : bool
        Whether the derivative goes through the state, too; without, what a stage sees counts as given.
    """

    stages: Sequence[Sequence[Layer]]
    scales: np.ndarray
    clocks: np.ndarray
    radius: int
    reach: int
    axes: int = 2
    through: bool = True

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of its file, by name."""
        named = {
            f"stage{s}_{name}{k}": getattr(layer, name)
            for s, layers in enumerate(self.stages)
            for k, layer in enumerate(layers)
            for name in Layer._fields
        }
        return named | {"scales": self.scales, "clocks": self.clocks}

    @property
    def vector(self) -> np.ndarray:
        """All of them in one float64 vector, as steps are taken in."""
        return np.concatenate([np.ravel(host_array(x)) for x in self.tensors.values()]).astype(np.float64)

    def moved(self, vector: np.ndarray) -> Network:
        """The network with other numbers."""
        at, stages = 0, []
        for layers in self.stages:
            own = []
            for layer in layers:
                parts = []
                for x in layer:
                    parts.append(vector[at : at + x.size].reshape(x.shape))
                    at += x.size
                own.append(Layer(*parts))
            stages.append(own)
        scales, clocks = np.split(vector[at:].copy(), 2)
        return replace(self, stages=stages, scales=scales, clocks=clocks)

    def times(self, times: Sequence[float]) -> list[float]:
        """h_s e^{κ_s} for times h_s, between a tenth and ten times as long."""
        return [float(h * np.exp(k)) for h, k in zip(times, self.clocks.clip(-LONGEST, LONGEST), strict=True)]

    def bound(self, features: Any, valid: Any = None) -> BoundNetwork:
        """The stages on an image with features (H, F, W)."""
        return BoundNetwork(self, features, valid)

    def reach_with(self, reach: int) -> int:
        """Pixels that the weights of a pixel look around, in all stages; see :mod:`gpulaf.tiling.halo`.

        Every stage looks max(r, q) around where a flow alone looks r; the features add to the first.
        """
        return max(reach, self.reach) + (len(self.stages) - 1) * max(0, self.reach - self.radius)

    def workspace(self) -> int:
        """Numbers per pixel that a stage holds besides the flow, at most: features twice, inputs, two layers."""
        widest = max(layer.matrix.shape[0] for layers in self.stages for layer in layers)
        return 3 * self.stages[0][0].matrix.shape[1] + 2 * widest + (2 * self.radius + 1) ** self.axes


class BoundNetwork:
    """A network on one image: what :class:`gpulaf.flows.DeepFlow` takes, and the derivative after its gradient."""

    learns_times = True

    def __init__(self, network: Network, features: Any, valid: Any = None) -> None:
        self._network = network
        if valid is None:
            mask = namespace(features).asarray(inside(pixel_shape(features), network.radius) > 0)
        else:
            mask = valid_mask(valid, network.radius)
        self.layers = [
            NetworkStage(layers, float(scale), network.reach, features, mask, valid)
            for layers, scale in zip(network.stages, network.scales, strict=True)
        ]

    def keep(self) -> BoundNetwork:
        """Let the stages keep what the derivative needs."""
        for stage in self.layers:
            stage.kept, stage.through = [], self._network.through
        return self

    def flow(self, times: Sequence[float], solver: Integrator) -> DeepFlow:
        """The flow through all stages, each over its own share of the times."""
        self.times = self._network.times(times)
        return DeepFlow(self.layers, self.times, solver=solver)

    def derivative(self, gradient: DeepGradient) -> np.ndarray:
        """∂L of :attr:`Network.vector`, after the gradient of the flow went through all stages."""
        parts = [x for stage in self.layers for layer in stage.derivative for x in layer]
        parts.append(np.array([stage.scale_derivative for stage in self.layers]))
        parts.append(np.array(gradient.times) * self.times * (np.abs(self._network.clocks) < LONGEST))  # of κ
        return np.concatenate([np.ravel(host_array(x)) for x in parts]).astype(np.float64)


class NetworkStage:
    """One stage on one image, a :class:`gpulaf.flows.Stage`.

    Parameters
    ----------
    layers : sequence of Layer
    scale : float
        τ.
    reach : int
        q, −1 without state.
    features : (H, F, W) array
    mask : (H, N, W) array of bool
        The neighbors that may get weight.
    valid : (H, W) array of bool, optional

    Attributes
    ----------
    kept : list, optional
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
        self, layers: Sequence[Layer], scale: float, reach: int, features: Any, mask: Any, valid: Any = None
    ) -> None:
        self.layers, self.factor, self.reach = layers, float(np.exp(scale)), reach
        self.features, self.mask, self.valid = features, mask, valid
        self.kept: list[Any] | None = None
        self.through = True

    def __call__(self, log_likelihood: Any) -> tuple[Any, Any]:
        """ℓ_s to weights (H, N, W) and the corrected ℓ."""
        xp, count = namespace(log_likelihood), self.mask.shape[-2]
        p = self.state(log_likelihood) if self.reach >= 0 else None
        outputs = self._outputs(p)
        weights = softmax(filled(outputs[..., :count, :], self.mask, -float(xp.finfo(outputs.dtype).max)))
        data = log_likelihood * self.factor
        if outputs.shape[-2] > count:
            data = data + outputs[..., count:, :]
            data = data if self.valid is None else filled(data, self.valid[..., None, :])
        if self.kept is not None:
            self._state, self.weights, self._data = p, weights, log_likelihood
        return weights, data

    def state(self, log_likelihood: Any) -> Any:
        """The probabilities p that the stage sees, 0 at pixels that are not valid."""
        p = softmax(log_likelihood)
        return p if self.valid is None else filled(p, self.valid[..., None, :])

    def _outputs(self, p: Any) -> Any:
        """What the perceptron says of all pixels; some rows or planes at a time where no derivative is wanted."""
        shape = pixel_shape(self.features)
        if self.kept is not None:
            self.kept.clear()
            return applied(self.layers, self._inputs(p, 0, shape[0]), self.kept)
        step = max(1, INPUTS // (self.layers[0].matrix.shape[1] * prod(shape[1:])))
        result = empty(field_shape(shape, len(self.layers[-1].matrix)), self.features)
        for first in range(0, shape[0], step):
            last = min(shape[0], first + step)
            result[first:last, ...] = applied(self.layers, self._inputs(p, first, last))
        return result

    def _inputs(self, p: Any, first: int, last: int) -> Any:
        """Features of some rows or planes, and the patches of p where the stage sees the state."""
        x, q = self.features[first:last, ...], self.reach
        if p is None:
            return x
        above, below = max(0, first - q), min(p.shape[0], last + q)
        patches = state_patches(p[above:below, ...], q)
        return namespace(p).concat([x, patches[first - above : last - above, ...]], axis=-2)

    def pull(self, weights: Any, log_likelihood: Any) -> Any:
        """∂ℓ_s from ∂ω (H, N, W) and the derivative in the corrected ℓ; keeps that of the parameters."""
        if self.kept is None:
            raise ValueError("the stage kept nothing for its derivative. Call keep() before the flow is solved.")
        xp, w, p = namespace(weights), self.weights, self._state
        outputs = replicator(w, filled(weights, self.mask))
        if self.valid is not None:
            log_likelihood = filled(log_likelihood, self.valid[..., None, :])
        if self.layers[-1].matrix.shape[0] > w.shape[-2]:
            outputs = xp.concat([outputs, log_likelihood], axis=-2)
        through = p is not None and self.through
        seen = slice(self.features.shape[-2], None) if through else None
        self.derivative, state = pulled(self.layers, self.kept, outputs, inputs=seen)
        below = log_likelihood * self.factor
        self.scale_derivative = total(below * self._data)
        if through:
            below = below + replicator(p, state_derivative(state, self.reach, p.shape[-2]))
        return below

    @property
    def radius(self) -> int:
        """Of the weight patches."""
        return side_of(self.mask.shape[-2], self.features.ndim - 1) // 2

    def masked(self, valid: Any) -> NetworkStage:
        """The stage that looks at valid pixels, (H, W) bool, alone."""
        mask = valid_mask(valid, self.radius)
        return NetworkStage(self.layers, float(np.log(self.factor)), self.reach, self.features, mask, valid)


def valid_mask(valid: Any, radius: int) -> Any:
    """Which neighbors of a pixel may get weight, (H, N, W): valid ones of a valid pixel, itself of another."""
    mask = valid_neighbors(valid, (radius, valid.ndim))
    mask[..., mask.shape[-2] // 2, :] = True
    return mask


def state_patches(p: Any, radius: int) -> Any:
    """The probabilities around every pixel, 0 outside: (H, J, W) to (H, J(2q+1)², W), offsets in row-major order.

    Of a volume (D, H, J, W) to (D, H, J(2q+1)³, W).
    """
    return namespace(p).concat([shifted(p, offset) for offset in offsets(radius, p.ndim - 1)], axis=-2)


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


def starting_network(
    mean: np.ndarray,
    labels: int,
    *,
    hidden: Sequence[int],
    stages: int,
    radius: int,
    reach: int,
    correction: bool,
    seed: int,
    axes: int = 2,
) -> Network:
    """Uniform weights and no correction; random layers before, for features of this mean and the deviation 1."""
    rng, count = np.random.default_rng(seed), (2 * radius + 1) ** axes
    more = labels * (2 * reach + 1) ** axes if reach >= 0 else 0
    found = []
    for _ in range(stages):
        first, *rest = starting_layers([len(mean) + more, *hidden, count + labels * correction], rng)
        centre = np.concatenate([mean, np.full(more, 1 / labels)])
        found.append([first._replace(offset=-first.matrix @ centre), *rest])
    return Network(found, np.zeros(stages), np.zeros(stages), radius, reach, axes)


def network_of(
    tensors: dict[str, np.ndarray], stages: int, depth: int, radius: int, reach: int, axes: int = 2
) -> Network:
    """The network of :attr:`Network.tensors`."""
    layers = [
        [Layer(*(tensors[f"stage{s}_{x}{k}"] for x in Layer._fields)) for k in range(depth)] for s in range(stages)
    ]
    return Network(layers, tensors["scales"], tensors["clocks"], radius, reach, axes)
