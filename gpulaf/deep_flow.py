"""A sequence of linearized flows as a deep model, (1.5)–(1.6): one layer after the other, each with its own weights.

    ℓ_{s+1} = ℓ_s + v_s,   v_s = solution at h_s of the flow linearized at ℓ_s with weights Ω_s,   v = Σ_s v_s

With g = ∂f/∂v and g_n = g the adjoint of layer s is g_s = g_{s+1} + ∂ℓ_s(g_{s+1}): every layer has its closed-form
gradient, and nothing is backpropagated through a solver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .averaging import Grid
from .flow import LinearFlow
from .gradient import weight_gradient
from .integrators import Solution, Taylor
from .integrators.solution import Integrator, check_time

__all__ = ["DeepFlow", "DeepGradient", "DeepSolution"]


class DeepSolution(NamedTuple):
    """What a forward pass leaves: one field per layer, and the basis of the last one."""

    #: Σ_s v_s, (J, H, W); W = softmax(v).
    v: Any
    #: ℓ_s of each layer.
    log_likelihoods: list[Any]
    #: The flow of the last layer and its solution, with the basis.
    last: tuple[LinearFlow, Solution]


class DeepGradient(NamedTuple):
    """The derivative of a loss f(v)."""

    #: ∂Ω_s of each layer, (N, H, W); their sum alone, as one entry, where the layers share their weights.
    weights: list[Any]
    #: ∂ℓ, (J, H, W).
    log_likelihood: Any


class DeepFlow:
    """Layers of linearized assignment flows.

    Parameters
    ----------
    weights : (N, H, W) array, or sequence of them
        Weight patches that all layers share, or those of each layer. A Grid or Graph stands for its weights.
    times : sequence of float
        h_s of each layer.
    integrator : Krylov, Taylor or Euler, optional
        Taylor(tol=1e-4) if None.

    Raises
    ------
    ValueError
        If there is no layer, a time is not positive, or the numbers of weights and times differ.

    Notes
    -----
    Memory: one field (J, H, W) per layer, and the basis of one layer at a time; layers but the last are solved again
    for the gradient.
    """

    def __init__(self, weights: Any, times: Sequence[float], *, integrator: Integrator | None = None) -> None:
        self.times = [check_time(time) for time in times]
        self.integrator = integrator or Taylor(tol=1e-4)
        self.shared = not isinstance(weights, (list, tuple))
        layers = [weights] * len(self.times) if self.shared else list(weights)
        if not self.times or len(layers) != len(self.times):
            raise ValueError(
                f"there are {len(layers)} weights and {len(self.times)} times; accepted are as many, one of each for "
                "every layer, or one array of weights that the layers share."
            )
        self.averagings = [x if hasattr(x, "replicate") else Grid(x) for x in layers]

    def solve(self, log_likelihood: Any) -> DeepSolution:
        """The forward pass: ℓ (J, H, W) to v."""
        v, fields = None, []
        for s, (averaging, time) in enumerate(zip(self.averagings, self.times, strict=True)):
            fields.append(log_likelihood)
            flow, is_last = LinearFlow(averaging, log_likelihood), s + 1 == len(self.times)
            solution = self.integrator.solve(flow, time, keep_basis=is_last)
            v = solution.v if v is None else v + solution.v
            if not is_last:
                log_likelihood = log_likelihood + solution.v
        return DeepSolution(v, fields, (flow, solution))

    def gradient(self, solution: DeepSolution, g: Any) -> DeepGradient:
        """The derivatives of a loss in the weights of every layer and in ℓ.

        Parameters
        ----------
        solution : DeepSolution
            Of this flow.
        g : (J, H, W) array
            The derivative of the loss in v.
        """
        tol = 0.0 if isinstance(self.integrator, Taylor) else 1e-3
        weights: list[Any] = []
        adjoint = g
        for s in reversed(range(len(self.times))):
            if s + 1 == len(self.times):
                flow, layer = solution.last
            else:
                flow = LinearFlow(self.averagings[s], solution.log_likelihoods[s])
                layer = self.integrator.solve(flow, self.times[s])
            gradient = weight_gradient(flow, layer, adjoint, tol=tol)
            if self.shared and weights:
                weights = [weights[0] + gradient.weights]
            else:
                weights.insert(0, gradient.weights)
            adjoint = adjoint + gradient.log_likelihood
        return DeepGradient(weights, adjoint - g)
