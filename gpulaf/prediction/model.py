"""Weight patches predicted from features by prototypes, and the derivative of a loss in them, (4.3)–(4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from ..averaging.masks import mask_gradient, masked_patches
from ..backend.array import contiguous, host_array, like, namespace
from ..backend.dispatch import implementation
from ..backend.operands import check_floating
from ..backend.validation import real_array
from ..fields import field_shape, pixel_shape
from ..flows.deep import DeepFlow, DeepGradient
from ..integrators.base import Integrator
from ..kernels.stencil import radius_of, side_of

__all__ = ["BoundMap", "Parameters", "WeightMap", "predict_weights", "prediction_gradient"]


class BoundMap(Protocol):
    """A map from features to weights on one image."""

    @property
    def layers(self) -> Any:
        """Weights or stages, as :class:`gpulaf.flows.DeepFlow` takes them."""
        ...

    def flow(self, times: Sequence[float], solver: Integrator) -> DeepFlow:
        """The flow with these weights."""
        ...

    @property
    def learns_times(self) -> bool:
        """Whether its derivative needs those in the times."""
        ...

    def keep(self) -> Self:
        """Let it keep what the derivative needs."""
        ...

    def derivative(self, gradient: DeepGradient) -> np.ndarray:
        """The derivative of a loss in the vector of the map, from that in the weights."""
        ...


class WeightMap(Protocol):
    """What training moves: a differentiable map from the features of an image to the weights of its flow."""

    @property
    def radius(self) -> int:
        """Of the weight patches."""
        ...

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of its file, by name."""
        ...

    @property
    def vector(self) -> np.ndarray:
        """What steps are taken in, (n,) float64 on the host."""
        ...

    def moved(self, vector: np.ndarray) -> Self:
        """The map with another vector."""
        ...

    def bound(self, features: Any, valid: Any = None) -> BoundMap:
        """The map on an image with features (H, F, W)."""
        ...

    def reach_with(self, reach: int) -> int:
        """Pixels that the weights of a pixel look around, for features that look around `reach`."""
        ...

    def workspace(self) -> int:
        """Numbers per pixel that are held while the weights are made, at most, features included."""
        ...


class Parameters(NamedTuple):
    """What a prediction learns, or the derivative of a loss in it."""

    #: p, (K, F) array: prototypes of the features, in their units.
    feature_prototypes: Any
    #: ν, (K, N) array: the tangent vector of each prototype, N = (2r+1)² neighbors, (2r+1)³ in a volume; (L, K, N) for
    #: each of L layers.
    tangents: Any
    #: σ > 0: the inverse scale of the distances between features and prototypes.
    sigma: float

    @property
    def radius(self) -> int:
        """Of the weight patches, 1 for 3×3."""
        return radius_of(self.tangents[..., None])

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of its file, by name."""
        return {name: np.asarray(x) for name, x in self._asdict().items()}

    @property
    def vector(self) -> np.ndarray:
        """p, ν and log σ, (n,) float64 on the host."""
        return np.concatenate([np.ravel(host_array(x)) for x in (*self[:2], np.log(self.sigma))]).astype(np.float64)

    def moved(self, vector: np.ndarray) -> Parameters:
        """Parameters of the same shapes from p, ν and log σ in one vector."""
        p, nu = self.feature_prototypes, self.tangents
        parts = vector[: p.size].reshape(p.shape), vector[p.size : -1].reshape(nu.shape)
        return Parameters(*parts, float(np.exp(vector[-1])))

    def bound(self, features: Any, valid: Any = None) -> BoundPrototypes:
        """The prediction on an image with features (H, F, W)."""
        return BoundPrototypes(self, features, valid)

    def reach_with(self, reach: int) -> int:
        """Pixels that the weights of a pixel look around: those of its features."""
        return reach

    def workspace(self) -> int:
        """Numbers per pixel that are held while the weights are made, at most, features included."""
        layers = self.tangents.shape[0] if self.tangents.ndim == 3 else 1
        return 2 * self.feature_prototypes.shape[1] + int(layers * self.tangents.shape[-1])


class BoundPrototypes:
    """Predicted weights of one image, and the derivative in the parameters after the gradient of the flow."""

    learns_times = False

    def __init__(self, parameters: Parameters, features: Any, valid: Any) -> None:
        self._operands = parameters, features, valid
        weights = predict_weights(parameters, features)
        self._several = isinstance(weights, list)
        self._plain = weights if self._several else [weights]
        masked = self._plain if valid is None else [masked_patches(x, valid) for x in self._plain]
        self.layers = masked if self._several else masked[0]

    def keep(self) -> BoundPrototypes:
        """Return itself: weights are kept anyway."""
        return self

    def flow(self, times: Sequence[float], solver: Integrator) -> DeepFlow:
        """The flow with these weights."""
        return DeepFlow(self.layers, times, solver=solver)

    def derivative(self, gradient: DeepGradient) -> np.ndarray:
        """∂p, ∂ν and σ∂σ, the derivative in log σ, as one float64 vector on the host."""
        parameters, features, valid = self._operands
        G = gradient.weights
        if valid is not None:
            G = [mask_gradient(g, x, valid) for g, x in zip(G, self._plain, strict=True)]
        p, nu, sigma = prediction_gradient(parameters, features, G if self._several else G[0])
        parts = (p, nu, sigma * parameters.sigma)
        return np.concatenate([np.ravel(host_array(x)) for x in parts]).astype(np.float64)


def predict_weights(parameters: Parameters, features: Any) -> Any:
    """Ω̂_i = exp_1(Σ_j a_ij ν_j) with a_i = softmax_j(−σ‖f_i − p_j‖): weight patches of every pixel (4.3)–(4.4).

    Parameters
    ----------
    parameters : Parameters
    features : (H, F, W) array, float32 or float64; (D, H, F, W) of a volume
        NumPy arrays run on the CPU, CuPy arrays on the GPU.

    Returns
    -------
    (H, N, W) array in the library and dtype of `features`, (D, H, N, W) of a volume: 0 outside the image, sum 1; a list
    of them, one for each layer, where the tangent vectors are (L, K, N).

    Raises
    ------
    ValueError
        If the features or the parameters do not fit together.
    """
    parameters = parameters._replace(tangents=real_array(parameters.tangents, "tangents"))
    if parameters.tangents.ndim == 3:
        return [predict_weights(layer, features) for layer in _layers(parameters)]
    return implementation("prediction", features)(*_operands(parameters, features))


def prediction_gradient(parameters: Parameters, features: Any, derivative: Any) -> Parameters:
    """The derivative of a loss in prototypes, tangent vectors and σ, from its derivative in the weights.

    Parameters
    ----------
    parameters : Parameters
    features : (H, F, W) array, float32 or float64
    derivative : (H, N, W) array, or a list of them for tangent vectors (L, K, N)
        G = ∂L/∂Ω̂, for example of :func:`gpulaf.flows.weight_gradient`; of each layer, as
        :meth:`gpulaf.flows.DeepFlow.gradient` gives them.

    Returns
    -------
    Parameters
        ∂p (K, F) and ∂ν (K, N) or (L, K, N) in float64, in the library of `features`, and ∂σ; ∂p and ∂σ are sums over
        the layers. The derivative of a distance that is 0 is taken as 0.

    Raises
    ------
    ValueError
        If the features, the derivative or the parameters do not fit together.
    """
    if parameters.tangents.ndim == 3:
        return _gradient_of_layers(parameters, features, derivative)
    operands = _operands(parameters, features)
    accepted = field_shape(pixel_shape(features), operands[1].shape[1])
    derivative = real_array(derivative, "derivative")
    if tuple(derivative.shape) != accepted:
        raise ValueError(
            f"derivative has shape {tuple(derivative.shape)}; accepted is {accepted}, one number for each weight."
        )
    G = contiguous(like(derivative, features))
    return Parameters(*implementation("prediction", features)(*operands, G))


def _layers(parameters: Parameters) -> list[Parameters]:
    """The parameters of each layer: prototypes and σ are shared."""
    return [parameters._replace(tangents=parameters.tangents[s, ...]) for s in range(parameters.tangents.shape[0])]


def _gradient_of_layers(parameters: Parameters, features: Any, derivatives: Any) -> Parameters:
    layers = _layers(parameters)
    several = isinstance(derivatives, (list, tuple))
    if not several or len(derivatives) != len(layers):
        given = f"a list of {len(derivatives)}" if several else f"one {type(derivatives).__name__}"
        raise ValueError(f"derivative is {given}; accepted is a list of {len(layers)}, one array for each layer.")
    parts = [prediction_gradient(layer, features, G) for layer, G in zip(layers, derivatives, strict=True)]
    p, sigma = parts[0].feature_prototypes, parts[0].sigma
    for part in parts[1:]:
        p, sigma = p + part.feature_prototypes, sigma + part.sigma
    return Parameters(p, namespace(features).stack([part.tangents for part in parts]), sigma)


def _operands(parameters: Parameters, features: Any) -> tuple[Any, Any, float, Any]:
    prototypes, sigma = real_array(parameters.feature_prototypes, "prototypes"), parameters.sigma
    tangents = real_array(parameters.tangents, "tangents")
    check_floating(features, "features", "(H, F, W)")
    if features.ndim not in (3, 4) or prototypes.ndim != 2 or features.shape[-2] != prototypes.shape[1]:
        raise ValueError(
            f"features have shape {tuple(features.shape)}; accepted is (H, {prototypes.shape[-1]}, W), of a volume "
            "with D before H, as many numbers for each pixel as a prototype has. Compute them as they were for the "
            "prototypes."
        )
    count, axes = tangents.shape[-1], features.ndim - 1
    side = side_of(count, axes)
    if (
        tangents.ndim != 2
        or tangents.shape[0] != prototypes.shape[0]
        or side < 3
        or side % 2 == 0
        or side**axes != count
    ):
        neighbors = "(2r+1)²" if axes == 2 else "(2r+1)³ of a volume"
        raise ValueError(
            f"tangents have shape {tuple(tangents.shape)}; accepted is ({prototypes.shape[0]}, {neighbors}), one "
            "number for each prototype and neighbor, or several of those, one for each layer."
        )
    if not 0 < sigma < float("inf"):
        raise ValueError(f"sigma is {sigma}; accepted are positive numbers. 1 is where learning starts.")
    xp = namespace(features)
    if features.dtype not in (xp.float32, xp.float64):
        raise TypeError(f"features have dtype {features.dtype}; accepted are float32 and float64. Convert them first.")
    return *(contiguous(like(x, features)) for x in (prototypes, tangents)), float(sigma), contiguous(features)
