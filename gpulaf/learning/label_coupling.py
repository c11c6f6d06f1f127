"""A fit of weights and of one matrix that couples the labels, A = R_S(Ω ⊗ C): which label may stand beside which."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.array import host_array, like
from ..flows.network import FlowNetwork
from .problem import ClosedForm, Evaluation, FitProblem
from .stepper import StepByStep

__all__ = ["LabelCoupledFit"]

#: Share of the uniform matrix in the one that a fit starts from: a weight that is 0 could not grow.
UNIFORM = 0.1


class LabelCoupledFit(StepByStep):
    """A fit of one flow and of C, whose rows are points of the simplex like patches, moved by the same descent.

    C adds nothing to ‖A‖_∞ ≤ 1/2. Since R_S kills constants over labels and v is a tangent vector, C stands for
    Π₀CΠ₀: rows of the simplex reach repulsion as well as support, C = [[0, 1], [1, 0]] changes the sign of two labels.

    Parameters
    ----------
    problem : FitProblem
        Of one flow.
    gradient : ClosedForm
        Its solver and loss.
    descent : RiemannianGradient, RiemannianAdam, Adam or AdaMax
    tau : float
        Strength of the regularizer (3.5) of the weights per pixel; C has none.
    """

    gradient: ClosedForm

    def __init__(self, problem: FitProblem, gradient: ClosedForm, descent: Any, tau: float = 0.0) -> None:
        super().__init__(problem, gradient, descent, tau)
        count = problem.log_likelihood.shape[-2]
        start = like((1 - UNIFORM) * np.eye(count) + UNIFORM / count, problem.log_likelihood)
        self.weights.append(start)  # Cᵀ: simplices on axis −2
        self.states.append(descent.start(start))

    @property
    def matrix(self) -> np.ndarray:
        """C, (J, J) float64 on the host."""
        return host_array(self.weights[1]).astype(np.float64).T

    @property
    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with, by name."""
        found = super().fingerprint
        return found | {"weights": f"{found['weights']} with label coupling"}

    def _evaluated(self) -> Evaluation:
        """Loss and the derivatives in patches and in Cᵀ."""
        problem, averaging = self.problem, self.problem.averagings(self.weights[:1])[0]
        network = FlowNetwork(
            [averaging], problem.times, {}, mixing={(0, 0): self.matrix}, solver=self.gradient.solver
        )  # fmt: skip
        solution = network.solve([problem.log_likelihood])
        value, g = self.gradient.loss(solution.v[0], problem.truth)
        if not np.isfinite(value):
            return Evaluation(float(value), solution.v[0], [])
        found = network.gradient(solution, g)
        derivatives = [averaging.patch_gradient(found.weights[0]), like(found.mixing[0, 0].T, solution.v[0])]
        return Evaluation(float(value), solution.v[0], derivatives)

    def _ends(self) -> list[str]:
        """What the names of the arrays of weights and of C end in."""
        return ["", "[labels]"]
