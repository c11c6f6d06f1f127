"""The objective of one image: the loss of its labeling under a map from features to weights, and the derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..integrators.base import Integrator
from ..learning.loss import Loss, wrong_share
from .dataset import Prepared, Reader
from .model import WeightMap
from .samples import Item
from .views import View

__all__ = ["ImageLoss", "Objective"]


class ImageLoss(NamedTuple):
    """Loss of one image, and its derivative in the parameters."""

    loss: float
    #: Share of the labeled pixels that are wrong, 0 to 1.
    wrong: float
    #: That in the vector of the map, float64 on the host; None where it was not asked for.
    derivative: Any


@dataclass(frozen=True, eq=False)
class Objective:
    """Loss of an image as a function of a map, from features to weights to labeling.

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

    def __call__(self, weights: WeightMap, prepared: Prepared, gradient: bool = True) -> ImageLoss:
        """Loss of an image with its features, and its derivative where asked for."""
        bound = weights.bound(prepared.features, prepared.valid)
        flow = (bound.keep() if gradient else bound).flow(self.times, self.solver)
        solution = flow.solve(prepared.log_likelihood, keep_basis=gradient, keep_states=gradient and bound.learns_times)
        value, g = self.loss(solution.v, prepared.truth)
        wrong = wrong_share(solution.v, prepared.truth)
        derivative = bound.derivative(flow.gradient(solution, g, times=bound.learns_times)) if gradient else None
        return ImageLoss(float(value), wrong, derivative)

    def of_item(
        self, weights: WeightMap, item: Item, view: View | None, seed: tuple[int, ...], gradient: bool
    ) -> ImageLoss:
        """Read an item, or a view of it, and evaluate: the task of a worker of a cluster."""
        return self(weights, self.reader.with_features(self.reader(item, view, seed)), gradient)
