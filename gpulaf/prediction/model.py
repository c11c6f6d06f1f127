"""Weight patches predicted from features by prototypes, and the derivative of a loss in them, (4.3)–(4.4)."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backend.array import contiguous, like, namespace
from ..backend.dispatch import implementation
from ..backend.operands import check_floating
from ..backend.validation import real_array
from ..fields import field_shape, pixel_shape

__all__ = ["Parameters", "predict_weights", "prediction_gradient"]


class Parameters(NamedTuple):
    """What a prediction learns, or the derivative of a loss in it."""

    #: p, (K, F) array: prototypes of the features, in their units.
    feature_prototypes: Any
    #: ν, (K, N) array: the tangent vector of each prototype, N = (2r+1)² neighbors; (L, K, N) for each of L layers.
    tangents: Any
    #: σ > 0: the inverse scale of the distances between features and prototypes.
    sigma: float


def predict_weights(parameters: Parameters, features: Any) -> Any:
    """Ω̂_i = exp_1(Σ_j a_ij ν_j) with a_i = softmax_j(−σ‖f_i − p_j‖): weight patches of every pixel (4.3)–(4.4).

    Parameters
    ----------
    parameters : Parameters
    features : (H, F, W) array, float32 or float64
        NumPy arrays run on the CPU, CuPy arrays on the GPU.

    Returns
    -------
    (H, N, W) array in the library and dtype of `features`: 0 outside the image, sum 1; a list of them, one for each
    layer, where the tangent vectors are (L, K, N).

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
    if features.ndim != 3 or prototypes.ndim != 2 or features.shape[1] != prototypes.shape[1]:
        raise ValueError(
            f"features have shape {tuple(features.shape)}; accepted is (H, {prototypes.shape[-1]}, W), as many "
            "numbers for each pixel as a prototype has. Compute them as they were for the prototypes."
        )
    count, side = tangents.shape[-1], round(tangents.shape[-1] ** 0.5)
    if tangents.ndim != 2 or tangents.shape[0] != prototypes.shape[0] or count < 9 or side % 2 == 0 or side**2 != count:
        raise ValueError(
            f"tangents have shape {tuple(tangents.shape)}; accepted is ({prototypes.shape[0]}, (2r+1)²), one number "
            "for each prototype and neighbor, or several of those, one for each layer."
        )
    if not 0 < sigma < float("inf"):
        raise ValueError(f"sigma is {sigma}; accepted are positive numbers. 1 is where learning starts.")
    xp = namespace(features)
    if features.dtype not in (xp.float32, xp.float64):
        raise TypeError(f"features have dtype {features.dtype}; accepted are float32 and float64. Convert them first.")
    return *(contiguous(like(x, features)) for x in (prototypes, tangents)), float(sigma), contiguous(features)
