"""The work on one training image: its loss under the parameters of a prediction, and the derivative in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .array import host_array
from .averaging import Grid
from .flow import LinearFlow
from .gradient import weight_gradient
from .integrators import Taylor
from .integrators.solution import Integrator
from .loss import Loss, wrong_share
from .prediction import Parameters, predict_weights, prediction_gradient
from .samples import Item, Reader

__all__ = ["Outcome", "Work", "packed", "unpacked"]


@dataclass(frozen=True, eq=False)
class Work:
    """One image: its loss under the parameters, and the derivative; it travels to the workers of a cluster."""

    reader: Reader
    time: float
    integrator: Integrator
    loss: Callable[[Any, Any], Loss]

    def __call__(
        self, vector: np.ndarray, K: int, item: Item, crop: int | None, seed: tuple[int, ...], gradient: bool
    ) -> Outcome:
        """The parameters come as one vector, and so does the derivative."""
        image, truth, log_likelihood = self.reader(item, crop, seed)
        del item
        features = self.reader.pixel_features(image)
        parameters = unpacked(vector, K, features.shape[2])
        flow = LinearFlow(Grid(predict_weights(parameters, features)), log_likelihood)
        solution = self.integrator.solve(flow, self.time, keep_basis=gradient)
        value, g = self.loss(solution.v, truth)
        wrong = 100 * wrong_share(solution.v, truth)
        if not gradient:
            return Outcome(float(value), wrong, None)
        tol = 0.0 if isinstance(self.integrator, Taylor) else 1e-3
        G = weight_gradient(flow, solution, g, tol=tol).weights
        p, nu, sigma = prediction_gradient(parameters, features, G)
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


def unpacked(vector: np.ndarray, K: int, F: int) -> Parameters:
    """Parameters from p, ν and log σ in one vector."""
    p, nu = vector[: K * F].reshape(K, F), vector[K * F : -1].reshape(K, -1)
    return Parameters(p, nu, float(np.exp(vector[-1])))
