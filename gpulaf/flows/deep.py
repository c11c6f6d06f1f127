"""A sequence of linearized flows as a deep model, (1.5)–(1.6): one layer after the other, each with its own weights.

    ℓ_{s+1} = ℓ_s + v_s,   v_s = solution at h_s of the flow linearized at ℓ_s with weights Ω_s,   v = Σ_s v_s

With g = ∂f/∂v and e_n = 0 the adjoint of layer s is g_s = g + e_{s+1}, e_s = e_{s+1} + ∂ℓ_s(g_s): every layer has its
closed-form gradient, and nothing is backpropagated through a solver. A :class:`Stage` makes the weights of its layer
from the ℓ_s where it starts, and may change ℓ_s before: it takes e_s and ∂Ω_s to the derivative in the ℓ_s that it got.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ..averaging.grid import as_averaging
from ..backend.array import namespace, reused, total
from ..backend.products import combine
from ..integrators.base import Integrator, Solution, check_integrator, layer_times
from ..integrators.taylor import Taylor
from .gradient import weight_gradient
from .linear import LinearFlow, derivative_like

__all__ = ["DeepFlow", "DeepGradient", "DeepSolution", "Stage"]


@runtime_checkable
class Stage(Protocol):
    """A layer that makes its weights from the state it starts from; each layer has one of its own."""

    @property
    def radius(self) -> int:
        """Of its weight patches."""
        ...

    def __call__(self, log_likelihood: Any) -> tuple[Any, Any]:
        """ℓ_s to the weights Ω_s and to the ℓ that the flow is linearized at, both like it."""
        ...

    def pull(self, weights: Any, log_likelihood: Any) -> Any:
        """∂ℓ_s from the derivatives in what the last call gave."""
        ...

    def masked(self, valid: Any) -> Stage:
        """The stage that looks at valid pixels, (H, W) bool, alone."""
        ...


class DeepSolution(NamedTuple):
    """Forward pass of a deep flow: two fields per layer, and the basis of the last one where the gradient uses it.

    Its layers hold v_s of the last one only, or of all where :meth:`DeepFlow.solve` was to keep them.
    """

    #: Σ_s v_s, (H, J, W); W = softmax(v).
    v: Any
    #: The flow of each layer and its solution.
    layers: list[tuple[LinearFlow, Solution]]

    @property
    def log_likelihoods(self) -> list[Any]:
        """ℓ_s of each layer."""
        return [flow.log_likelihood for flow, _ in self.layers]

    @property
    def last(self) -> tuple[LinearFlow, Solution]:
        """The flow of the last layer and its solution."""
        return self.layers[-1]

    @property
    def summary(self) -> tuple[float, int, bool, str]:
        """Of all layers: the sum of their errors, products, whether all converged, and why they stopped.

        Raises
        ------
        ValueError
            If v or an error is not finite.
        """
        parts, xp = [part for _, part in self.layers], namespace(self.v)
        error = sum(part.error for part in parts)
        if not (np.isfinite(error) and bool(xp.all(xp.isfinite(self.v)))):  # synchronize
            total = sum(part.time for part in parts)
            raise ValueError(f"the flow overflows before time {total}. Take a shorter time: 1 to 5 are usual.")
        reason = " ".join(dict.fromkeys(part.reason for part in parts))
        return error, sum(part.products for part in parts), all(part.converged for part in parts), reason


@dataclass(frozen=True, eq=False)
class DeepGradient:
    """The derivative of a loss f(v).

    Attributes
    ----------
    weights : list of (H, N, W) arrays
        ∂Ω_s of each layer; their sum alone, as one entry, where the layers share their weights.
    rank : int
        The most terms that a layer's gradient used.
    times : list of float
        ∂h_s = ⟨g_s, A v_s + B⟩ of each layer, where they were asked for.
    labels : list of (J, J) float64 arrays
        ∂C of each layer whose averaging is a :class:`gpulaf.averaging.CoupledLabels`, on the host.
    """

    weights: list[Any]
    rank: int
    times: list[float]
    labels: list[np.ndarray]
    _below: Callable[[], Any] = field(repr=False)

    @cached_property
    def log_likelihood(self) -> Any:
        """∂ℓ, (H, J, W); one more product, on first use."""
        return self._below()


class DeepFlow:
    """Layers of linearized assignment flows.

    Parameters
    ----------
    weights : (H, N, W) array, Grid, Graph or Stage, or a list of them
        Weights that all layers share, or in a list those of each layer.
    times : float or sequence of float
        h_s of each layer; layers with weights of their own share one number in equal parts.
    solver : Taylor, Krylov or Euler

    Raises
    ------
    ValueError
        If there is no layer, a time is not positive, or the numbers of weights and times differ.

    Notes
    -----
    Memory: two fields (H, J, W) per layer, ℓ_s and S_s, and the basis of one layer at a time. Layers but the last
    make their basis again for the gradient, without similarity or estimates; a Taylor series on the CPU does so within
    the wave that uses it (:mod:`gpulaf.kernels.reverse_horner`), in every layer, and no basis is held at all.
    """

    def __init__(self, weights: Any, times: float | Sequence[float], *, solver: Integrator = Taylor()) -> None:
        self.times = layer_times(times, weights)
        check_integrator(solver, "A deep flow is a sequence of linearized ones.")
        self.solver = solver
        self.shared = not isinstance(weights, (list, tuple))
        layers = [weights] * len(self.times) if self.shared else list(weights)
        self.stages = [x if isinstance(x, Stage) else as_averaging(x) for x in layers]

    def solve(self, log_likelihood: Any, *, keep_basis: bool = True, keep_states: bool = False) -> DeepSolution:
        """The forward pass: ℓ (H, J, W) to v; `keep_basis` keeps what the gradient needs, `keep_states` all v_s."""
        layers: list[Any] = []
        v, last = None, len(self.times) - 1
        with reused():
            for s, (stage, time) in enumerate(zip(self.stages, self.times, strict=True)):
                if isinstance(stage, Stage):
                    weights, log_likelihood = stage(log_likelihood)
                    stage = as_averaging(weights)
                flow = LinearFlow(stage, log_likelihood)
                solution = self.solver.solve(flow, time, keep_basis=keep_basis and s == last)
                v = solution.v if v is None else _sum(v, solution.v)
                if s < last:
                    log_likelihood = _sum(log_likelihood, solution.v)
                    solution = solution if keep_states else replace(solution, v=None)
                layers.append((_lean(flow) if keep_basis else None, solution))
        return DeepSolution(v, layers)

    def gradient(self, solution: DeepSolution, g: Any, *, rank: int | None = None, times: bool = False) -> DeepGradient:
        """The derivatives of a loss in the weights of every layer and in ℓ; a second call makes the basis again.

        Parameters
        ----------
        solution : DeepSolution
            Of this flow.
        g : (H, J, W) array
            The derivative of the loss in v.
        rank : int, optional
            Of the gradient of each layer; see :func:`gpulaf.flows.weight_gradient`.
        times : bool
            Also the derivatives in the times, those of the exact flow: one more product for each layer.

        Raises
        ------
        ValueError
            If the solution is that of another flow, `g` has another shape than v, or there are no states for `times`.
        """
        if len(solution.layers) != len(self.times):
            raise ValueError(
                f"the solution has {len(solution.layers)} layers, the flow {len(self.times)}; accepted is a solution "
                "of this flow."
            )
        g = derivative_like(g, solution.v)
        weights: list[Any] = []
        above, ranks, found, labels = g, [], list[float](), list[np.ndarray]()
        with reused():
            for s in reversed(range(len(self.times))):
                flow, layer = solution.layers[s]
                if times:
                    found.insert(0, _time_derivative(flow, layer, above))
                gradient = weight_gradient(_lean(flow), layer, above, rank=rank)
                if len(self.times) > 1:
                    solution.layers[s] = flow, replace(layer, basis=None)
                del flow, layer
                ranks.append(gradient.rank)
                if gradient.labels is not None:
                    labels.insert(0, gradient.labels)
                if self.shared and weights:
                    weights = [weights[0] + gradient.weights]
                else:
                    weights.insert(0, gradient.weights)
                stage = self.stages[s]
                if isinstance(stage, Stage):
                    below = stage.pull(gradient.weights, gradient.added_to(above) - g)
                    above = g + below if s else below
                elif s:
                    above = gradient.added_to(above)
        if isinstance(stage, Stage):
            return DeepGradient(weights, max(ranks), found, labels, lambda: above)
        return DeepGradient(weights, max(ranks), found, labels, lambda: gradient.added_to(above) - g)


def _time_derivative(flow: LinearFlow, layer: Solution, g: Any) -> float:
    """⟨g, A v + B⟩ at the end of a layer."""
    if layer.v is None:
        raise ValueError("the solution kept no states. Pass keep_states=True to solve for the derivatives in times.")
    return total(g * (flow.A(layer.v) + flow.B))  # synchronize


def _lean(flow: LinearFlow) -> LinearFlow:
    """Return the same flow without its cached fields."""
    return LinearFlow(flow.averaging, flow.log_likelihood, flow.similarity)


def _sum(x: Any, y: Any) -> Any:
    """x + y of fields, on all threads and in memory that is used again."""
    return combine(np.ones(1), y[None, ...], x)
