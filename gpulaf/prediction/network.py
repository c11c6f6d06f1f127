"""Weights and a correction of the data from a perceptron at every pixel, stage by stage.

Stage s sees the features f_i of the image, and the labeling that the stages before it left: the patch of
p = softmax(ℓ_s) around the pixel. Its perceptron gives log-weights z_i ∈ R^N and a correction c_i ∈ R^J:

    ω_i = softmax(z_i) over the neighbors inside the image and the mask,   ℓ_s ← e^{τ_s} ℓ_s + c_i

and its flow takes the time h_s e^{κ_s}. A second perceptron, the same for all labels, may add to c_ij what it makes of
the patch of p_j alone and of (Π₀ℓ_s)_ij: a scene where labels are exchanged is then labeled alike. With G = ∂L/∂ω and
e = ∂L/∂ℓ: ∂z_i = ω_i∘(G_i − ⟨ω_i, G_i⟩), ∂c = e, ∂τ_s = ⟨e, e^{τ_s} ℓ_s⟩, ∂κ_s = h_s e^{κ_s} ⟨g, Av + B⟩, and through
the state ∂ℓ_s = e^{τ_s} e + R_p(∂p), where ∂p is what the perceptrons take from ∂z and ∂c to their inputs. No solver is
differentiated. With coupled labels the flows average by Ω ⊗ C; row j of C is softmax(k_j), ∂k_j = C_j∘(G_j − ⟨C_j,
G_j⟩) with G = Σ_s ∂L/∂C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..averaging.patches import inside
from ..backend.array import host_array, namespace
from ..fields import pixel_shape
from ..flows.deep import DeepFlow, DeepGradient
from ..integrators.base import Integrator
from ..simplex import replicator, softmax
from .perceptron import Layer, starting_layers
from .stage import NetworkStage, Perceptrons, valid_mask

__all__ = ["BoundNetwork", "Network", "network_of", "starting_network"]

#: How the layers of both perceptrons are named in a file.
KINDS = ("", "label_")
#: The largest |κ| that counts.
LONGEST = 2.3
#: By how much the logarithm of C is larger on its diagonal, where learning starts.
OWN = 3.0


@dataclass(frozen=True, eq=False)
class Network:
    """What a :class:`gpulaf.WeightNetwork` learns.

    Parameters
    ----------
    stages : sequence of Perceptrons
        Those of each stage.
    scales, clocks : (S,) arrays
        τ_s and κ_s.
    radius : int
        r of the weight patches, N = (2r+1)².
    reach : int
        q of the patches of the state that a stage sees; −1 where it sees the image alone.
    label_reach : int
        The same of the perceptron of single labels; −1 without one.
    axes : int
        2 of images, 3 of volumes, where patches have (2r+1)³ and (2q+1)³ pixels.
    through : bool
        Whether the derivative goes through the state, too; without, what a stage sees counts as given.
    coupling : (J, J) array, optional
        k, the logarithm of C up to a constant in every row; None without coupled labels.
    """

    stages: Sequence[Perceptrons]
    scales: np.ndarray
    clocks: np.ndarray
    radius: int
    reach: int
    label_reach: int = -1
    axes: int = 2
    through: bool = True
    coupling: np.ndarray | None = None

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of its file, by name."""
        named = {
            f"stage{s}_{kind}{name}{k}": getattr(layer, name)
            for s, both in enumerate(self.stages)
            for kind, layers in zip(KINDS, both, strict=True)
            for k, layer in enumerate(layers)
            for name in Layer._fields
        }
        coupling = {} if self.coupling is None else {"coupling": self.coupling}
        return named | {"scales": self.scales, "clocks": self.clocks} | coupling

    @property
    def vector(self) -> np.ndarray:
        """All of them in one float64 vector, as steps are taken in."""
        return np.concatenate([np.ravel(host_array(x)) for x in self.tensors.values()]).astype(np.float64)

    def moved(self, vector: np.ndarray) -> Network:
        """The network with other numbers."""
        at = 0

        def taken(layer: Layer) -> Layer:
            nonlocal at
            parts = []
            for x in layer:
                parts.append(vector[at : at + x.size].reshape(x.shape))
                at += x.size
            return Layer(*parts)

        stages = [Perceptrons(*([taken(layer) for layer in layers] for layers in both)) for both in self.stages]
        count = len(stages)
        scales, clocks, rest = np.split(vector[at:].copy(), [count, 2 * count])
        coupling = None if self.coupling is None else rest.reshape(self.coupling.shape)
        return replace(self, stages=stages, scales=scales, clocks=clocks, coupling=coupling)

    @property
    def label_coupling(self) -> np.ndarray | None:
        """C, (J, J); None without coupled labels."""
        return None if self.coupling is None else softmax(self.coupling.T).T

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
        own = max(self.reach, self.label_reach)
        return max(reach, own) + (len(self.stages) - 1) * max(0, own - self.radius)

    def workspace(self) -> int:
        """Numbers per pixel that a stage holds besides the flow, at most: features twice, inputs, two layers."""
        widest = max(layer.matrix.shape[0] for own in self.stages for layer in own.pixels)
        return 3 * self.stages[0].pixels[0].matrix.shape[1] + 2 * widest + (2 * self.radius + 1) ** self.axes


class BoundNetwork:
    """A network on one image: what :class:`gpulaf.flows.DeepFlow` takes, and the derivative after its gradient."""

    learns_times = True

    def __init__(self, network: Network, features: Any, valid: Any = None) -> None:
        self._network = network
        if valid is None:
            mask = namespace(features).asarray(inside(pixel_shape(features), network.radius) > 0)
        else:
            mask = valid_mask(valid, network.radius)
        coupling = network.label_coupling
        self.layers = [
            NetworkStage(own, float(scale), (network.reach, network.label_reach), features, mask, valid, coupling)
            for own, scale in zip(network.stages, network.scales, strict=True)
        ]

    def keep(self) -> BoundNetwork:
        """Let the stages keep what the derivative needs."""
        for stage in self.layers:
            stage.kept, stage.through = Perceptrons([], []), self._network.through
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
        C = self._network.label_coupling
        if C is not None:
            parts.append(replicator(C.T, np.sum(gradient.labels, axis=0).T).T)
        return np.concatenate([np.ravel(host_array(x)) for x in parts]).astype(np.float64)


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
    label_hidden: Sequence[int] = (),
    label_reach: int = -1,
    axes: int = 2,
    coupled: bool = False,
) -> Network:
    """Uniform weights and no correction; random layers before, for features of this mean and the deviation 1.

    Where labels are coupled, C starts with nearly all of a row on its own label.
    """
    rng, count = np.random.default_rng(seed), (2 * radius + 1) ** axes
    more, single = ((2 * q + 1) ** axes if q >= 0 else 0 for q in (reach, label_reach))
    seen = np.concatenate([mean, np.full(labels * more, 1 / labels)])
    found = []
    for _ in range(stages):
        own = centred_layers(seen, [*hidden, count + labels * correction], rng)
        one = np.append(np.full(single, 1 / labels), 0.0)
        found.append(Perceptrons(own, centred_layers(one, [*label_hidden, 1], rng) if single else []))
    network = Network(found, np.zeros(stages), np.zeros(stages), radius, reach, label_reach, axes)
    return replace(network, coupling=OWN * np.eye(labels)) if coupled else network


def centred_layers(mean: np.ndarray, sizes: Sequence[int], rng: np.random.Generator) -> list[Layer]:
    """Layers that start from inputs of this mean."""
    first, *rest = starting_layers([len(mean), *sizes], rng)
    return [first._replace(offset=first.offset - first.matrix @ mean), *rest]


def network_of(network: Network, tensors: dict[str, np.ndarray]) -> Network:
    """A network of the same shape with the numbers of :attr:`Network.tensors`."""
    return network.moved(np.concatenate([np.ravel(tensors[name]) for name in network.tensors]))
