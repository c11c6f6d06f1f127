"""The work on one training image: its loss under the parameters of a prediction, and the derivative in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import host_array
from ..flows.deep import DeepFlow
from ..integrators.base import Integrator
from ..learning.loss import Loss, wrong_share
from .dataset import Item, Reader
from .model import Parameters, predict_weights, prediction_gradient

__all__ = ["Outcome", "Work", "packed", "unpacked"]


@dataclass(frozen=True, eq=False)
class Work:
    """One image: its loss under the parameters, and the derivative; it travels to the workers of a cluster."""

    reader: Reader
    time: float
    integrator: Integrator
    loss: Callable[[Any, Any], Loss]
    #: Linearized flows of equal time, and whether they share their tangent vectors.
    layers: int = 1
    shared: bool = False

    def __call__(
        self, vector: np.ndarray, K: int, item: Item, crop: int | None, seed: tuple[int, ...], gradient: bool
    ) -> Outcome:
        """The parameters come as one vector, and so does the derivative."""
        image, truth, log_likelihood = self.reader(item, crop, seed)
        del item
        features = self.reader.pixel_features(image)
        parameters = unpacked(vector, K, features.shape[2], 1 if self.shared else self.layers)
        weights, times = predict_weights(parameters, features), [self.time / self.layers] * self.layers
        flow = DeepFlow(weights, times, integrator=self.integrator)
        solution = flow.solve(log_likelihood, keep_basis=gradient)
        value, g = self.loss(solution.v, truth)
        wrong = 100 * wrong_share(solution.v, truth)
        if not gradient:
            return Outcome(float(value), wrong, None)
        G = flow.gradient(solution, g).weights
        p, nu, sigma = prediction_gradient(parameters, features, G if isinstance(weights, list) else G[0])
        return Outcome(float(value), wrong, packed(Parameters(p, nu, sigma * parameters.sigma)))


class Outcome(NamedTuple):
    """What an image says about the parameters."""

    loss: float
    wrong: float
    #: ∂p, ∂ν and σ∂σ, the derivative in log σ, as one float64 vector on the host.
    derivative: np.ndarray | None


def packed(parameters: Parameters) -> np.ndarray:
    """p, ν and σ as one float64 vector on the host."""
    p, nu, sigma = parameters
    return np.concatenate([host_array(p).ravel(), host_array(nu).ravel(), [sigma]]).astype(np.float64)


def unpacked(vector: np.ndarray, K: int, F: int, layers: int = 1) -> Parameters:
    """Parameters from p, ν and log σ in one vector; ν is (K, N) for one layer, (layers, K, N) for several."""
    p, nu = vector[: K * F].reshape(K, F), vector[K * F : -1].reshape(*([layers] if layers > 1 else []), K, -1)
    return Parameters(p, nu, float(np.exp(vector[-1])))
