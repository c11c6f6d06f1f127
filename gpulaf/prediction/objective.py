"""The objective of one image: the loss of its labeling under the parameters of a prediction, and the derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..averaging.patches import mask_gradient, masked_patches
from ..backend.array import host_array
from ..flows.deep import DeepFlow
from ..integrators.base import Integrator
from ..learning.loss import Loss, wrong_share
from .dataset import Item, Prepared, Reader
from .model import Parameters, predict_weights, prediction_gradient

__all__ = ["ImageLoss", "Objective", "from_vector", "to_vector"]


class ImageLoss(NamedTuple):
    """Loss of one image, and its derivative in the parameters."""

    loss: float
    #: Share of the labeled pixels that are wrong, 0 to 1.
    wrong: float
    #: ∂p, ∂ν and σ∂σ, the derivative in log σ, as one float64 vector on the host; None where it was not asked for.
    derivative: Any


@dataclass(frozen=True, eq=False)
class Objective:
    """Loss of an image as a function of the parameters, from features to weights to labeling.

    Parameters
    ----------
    reader : Reader
    times : list of float
        T of each layer.
    solver : Taylor, Krylov or Euler
    loss : callable
        ``loss(v, truth)`` gives a value and its derivative in v.
    """

    reader: Reader
    times: list[float]
    solver: Integrator
    loss: Callable[[Any, Any], Loss]

    def __call__(self, parameters: Parameters, prepared: Prepared, gradient: bool = True) -> ImageLoss:
        """Loss of an image with its features, and its derivative where asked for."""
        weights, valid = predict_weights(parameters, prepared.features), prepared.valid
        several = isinstance(weights, list)
        layers = weights if several else [weights]
        masked = layers if valid is None else [masked_patches(x, valid) for x in layers]
        flow = DeepFlow(masked if several else masked[0], self.times, solver=self.solver)
        solution = flow.solve(prepared.log_likelihood, keep_basis=gradient)
        value, g = self.loss(solution.v, prepared.truth)
        wrong = wrong_share(solution.v, prepared.truth)
        if not gradient:
            return ImageLoss(float(value), wrong, None)
        G = flow.gradient(solution, g).weights
        if valid is not None:
            G = [mask_gradient(g, x, valid) for g, x in zip(G, layers, strict=True)]
        p, nu, sigma = prediction_gradient(parameters, prepared.features, G if several else G[0])
        return ImageLoss(float(value), wrong, to_vector(Parameters(p, nu, sigma * parameters.sigma)))

    def of_item(
        self, parameters: Parameters, item: Item, crop: int | None, seed: tuple[int, ...], gradient: bool
    ) -> ImageLoss:
        """Read an item, or a crop of it, and evaluate: the task of a worker of a cluster."""
        return self(parameters, self.reader.with_features(self.reader(item, crop, seed)), gradient)


def to_vector(parameters: Parameters) -> np.ndarray:
    """p, ν and the third parameter, which is log σ where steps are taken, as one float64 vector on the host."""
    p, nu, last = parameters
    return np.concatenate([host_array(p).ravel(), host_array(nu).ravel(), [last]]).astype(np.float64)


def from_vector(vector: np.ndarray, shapes: Parameters) -> Parameters:
    """Parameters from p, ν and log σ in one vector; p and ν have the shapes of those of `shapes`."""
    p, nu = shapes.feature_prototypes, shapes.tangents
    return Parameters(
        vector[: p.size].reshape(p.shape), vector[p.size : -1].reshape(nu.shape), float(np.exp(vector[-1]))
    )
