"""The problem of a fit: data and start, loss and gradient of given weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..averaging.base import Averaging
from ..backend.array import host_array
from ..flows.deep import DeepFlow
from ..integrators.base import Integrator
from ..io.tensors import digest, qualified_name
from .loss import Loss, cosine_loss

__all__ = ["ClosedForm", "Evaluation", "FitProblem", "Gradient"]


@dataclass(frozen=True, eq=False)
class FitProblem:
    """An image or graph with ground truth, and the weights to start from; see :func:`gpulaf.fit_weights`.

    Attributes
    ----------
    log_likelihood : (H, J, W) array; (J, n) on a graph
    truth : (H, W) int32 array; (n,) on a graph
    start : list of Averaging
        Where the descent starts: that of every layer, or one that all layers share.
    times : list of float
        T of every layer.
    own : bool
        Whether every layer has weights of its own.
    valid : (H, W) array of bool, optional
        Pixels that count; all of them if None. ℓ is 0 at others, the truth −1, and no patch looks at them.
    """

    log_likelihood: Any
    truth: Any
    start: list[Averaging]
    times: list[float]
    own: bool = False
    valid: Any = None

    @cached_property
    def count(self) -> int:
        """Pixels that count."""
        return int(self.truth.size if self.valid is None else host_array(self.valid).sum())

    def averagings(self, patches: list[Any]) -> list[Averaging]:
        """Ω of these patches, of every layer or of all."""
        return [start.with_patches(x) for start, x in zip(self.start, patches, strict=True)]

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with, by name."""
        arrays = {"log_likelihood": [self.log_likelihood], "truth": [self.truth]}
        arrays["weights"] = [array for start in self.start for array in start.arrays]
        return {name: " ".join(map(digest, found)) for name, found in arrays.items()} | {"time": repr(self.times)}


class Evaluation(NamedTuple):
    """Loss and gradient of given weights, without regularizer."""

    #: The loss.
    loss: float
    #: v(T), (H, J, W).
    v: Any
    #: ∂Ω of every layer, or of all: (H, N, W) arrays, (nnz,) of a graph. None of them where the loss is not finite.
    weights: list[Any]
    #: Rank of the gradient; 0 where it has none.
    rank: int = 0
    #: ∂C of every layer, where labels are coupled.
    labels: Sequence[np.ndarray] = ()


#: From a problem and Ω, of every layer or of all, to loss and gradient.
Gradient = Callable[[FitProblem, list[Averaging]], Evaluation]


@dataclass(frozen=True)
class ClosedForm:
    """The closed-form gradient by an integrator, of any loss.

    Parameters
    ----------
    solver : Taylor, Krylov or Euler
    loss : callable
        ``loss(v, truth)`` gives a value and its derivative in v.
    rank : int, optional
        Of the gradient of each layer; see :func:`gpulaf.flows.weight_gradient`.
    """

    solver: Integrator
    loss: Callable[[Any, Any], Loss] = cosine_loss
    rank: int | None = None

    def __call__(self, problem: FitProblem, averagings: list[Averaging]) -> Evaluation:
        """Loss and gradient at these averagings."""
        flow = DeepFlow(averagings if problem.own else averagings[0], problem.times, solver=self.solver)
        solution = flow.solve(problem.log_likelihood)
        value, g = self.loss(solution.v, problem.truth)
        if not np.isfinite(value):
            return Evaluation(float(value), solution.v, [])
        gradient = flow.gradient(solution, g, rank=self.rank)
        return Evaluation(float(value), solution.v, gradient.weights, gradient.rank, gradient.labels)

    @property
    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with, by name."""
        return {"solver": repr(self.solver), "loss": qualified_name(self.loss), "rank": repr(self.rank)}
