"""A fit of weights and of one matrix that couples the labels, A = R_S(Ω ⊗ C): which label may stand beside which."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..averaging.coupled import CoupledLabels
from ..backend.array import host_array, like
from .problem import ClosedForm, Evaluation, FitProblem
from .stepper import StepByStep

__all__ = ["LabelCoupledFit"]

#: Share of the uniform matrix in the one that a fit starts from: a weight that is 0 could not grow.
UNIFORM = 0.1


class LabelCoupledFit(StepByStep):
    """A fit of patches and of C, the same in all layers, whose rows are points of the simplex like patches.

    One descent moves both.

    Parameters
    ----------
    problem : FitProblem
    gradient : ClosedForm
        Its solver and loss.
    descent : RiemannianGradient, RiemannianAdam, Adam or AdaMax
    tau : float
        Strength of the regularizer (3.5) of the weights per pixel; C has none.
    """

    def __init__(self, problem: FitProblem, gradient: ClosedForm, descent: Any, tau: float = 0.0) -> None:
        super().__init__(problem, gradient, descent, tau)
        count = problem.log_likelihood.shape[-2]
        start = like((1 - UNIFORM) * np.eye(count) + UNIFORM / count, problem.log_likelihood)
        self.weights.append(start)  # Cᵀ: simplices on axis −2
        self.states.append(descent.start(start))

    def presented(self) -> Any:
        """The weights with C."""
        found = super().presented()
        return [self._coupled(x) for x in found] if self.problem.own else self._coupled(found)

    @property
    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with, by name."""
        found = super().fingerprint
        return found | {"weights": f"{found['weights']} with label coupling"}

    def _evaluated(self) -> Evaluation:
        """Loss and the derivatives in patches and in Cᵀ."""
        averagings: list[Any] = [self._coupled(x) for x in self.problem.averagings(self.weights[:-1])]
        found = self.gradient(self.problem, averagings)
        patches = [x.patch_gradient(w) for x, w in zip(averagings, found.weights, strict=bool(found.weights))]
        labels = [like(np.sum(found.labels, axis=0).T, found.v)] if found.labels else []
        return found._replace(weights=[*patches, *labels])

    def _coupled(self, averaging: Any) -> CoupledLabels:
        return CoupledLabels(averaging, host_array(self.weights[-1]).astype(np.float64).T)

    def _ends(self) -> list[str]:
        """What the names of the arrays of weights and of C end in."""
        return [*super()._ends(), "[labels]"]
