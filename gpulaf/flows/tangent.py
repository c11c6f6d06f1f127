"""How v(T) follows a small change of ℓ: J δℓ with J = ∂v/∂ℓ, as one linear solve beside v.

With x̃ = Ωδℓ − ⟨S, Ωδℓ⟩, the change of S is δS = S∘x̃ = A δℓ, that of the flow is

    δv' = A δv + δA v + δS,   δA v = x̃∘Av − S⟨x̃, Av⟩,   δv(0) = 0,

and that of a Taylor series a₀ = Av + B, a_{k+1} = A a_k follows term by term: δa_{k+1} = A δa_k + x̃∘a_{k+1} −
S⟨x̃, a_{k+1}⟩. The transposed product Jᵀg is ∂ℓ of :class:`gpulaf.flows.DeepGradient`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend.array import namespace
from ..backend.operands import check_like
from ..backend.products import combine
from ..integrators.taylor import Taylor, coefficients, series
from .deep import DeepFlow, Stage
from .linear import LinearFlow

__all__ = ["Tangent"]


class _Layer(NamedTuple):
    """A linearized flow, c_k of the series of its substeps, and a_k of each of them."""

    flow: LinearFlow
    coefficients: np.ndarray
    series: list[Any]


class Tangent:
    """J = ∂v/∂ℓ of a flow at one ℓ, as a map of directions δℓ; the weights stay as they are.

    Parameters
    ----------
    flow : DeepFlow
        Layers of linearized flows; ``DeepFlow(weights, time)`` is one alone. A Taylor solver is differentiated exactly
        as it is; in place of others, the series of :class:`gpulaf.Taylor` stands.
    log_likelihood : (H, J, W) array
        ℓ, in the library and dtype of the weights.

    Raises
    ------
    TypeError
        If a layer makes its weights from the state where it starts.

    Notes
    -----
    A direction costs d products with A and as many passes over a field. Memory: the d terms of every series.

    Examples
    --------
    >>> import numpy as np
    >>> from gpulaf.averaging import uniform_weights
    >>> from gpulaf.flows import DeepFlow, Tangent
    >>> l = np.random.default_rng(0).standard_normal((8, 3, 8)).astype(np.float32)
    >>> tangent = Tangent(DeepFlow(uniform_weights((8, 8)), 3.0), l)
    >>> float(np.abs(tangent(np.ones_like(l))).max()) < 1e-5  # a constant over labels changes nothing
    True
    """

    def __init__(self, flow: DeepFlow, log_likelihood: Any) -> None:
        solver = flow.solver if isinstance(flow.solver, Taylor) else Taylor()
        self.layers: list[_Layer] = []
        for stage, time in zip(flow.stages, flow.times, strict=True):
            if isinstance(stage, Stage):
                raise TypeError(
                    "the weights are made layer by layer; accepted are weights that stay as they are. Take finite "
                    "differences of the solution."
                )
            substeps, degree, _ = solver.plan(time)
            layer = _Layer(LinearFlow(stage, log_likelihood), coefficients(time / substeps, degree), [])
            v = None
            for _ in range(substeps):
                a = series(layer.flow, None if v is None else layer.flow.A(v, layer.flow.B), degree)
                layer.series.append(a)
                v = combine(layer.coefficients, a, v)
            self.layers.append(layer)
            log_likelihood = log_likelihood + v

    def __call__(self, direction: Any) -> Any:
        """J δℓ, (H, J, W), of the direction δℓ, (H, J, W)."""
        first = self.layers[0].flow
        check_like(direction, "direction", first.S)
        change = None
        for layer in self.layers:
            own = _change(layer, direction if change is None else direction + change)
            change = own if change is None else change + own
        return change


def _change(layer: _Layer, direction: Any) -> Any:
    """δv of one layer."""
    flow, xp = layer.flow, namespace(direction)
    S, x = flow.S, flow.averaging.apply(direction)
    x = x - xp.sum(S * x, axis=-2, keepdims=True)

    def of_matrix(Av: Any) -> Any:
        """δA v, from A v."""
        product = x * Av
        return product - S * xp.sum(product, axis=-2, keepdims=True)

    change = None
    for a in layer.series:
        term = S * x
        if change is not None:  # the substep starts from v, and a₀ = A v + B
            term = flow.A(change, term + of_matrix(a[0, ...] - flow.B), 1.0)
        part = float(layer.coefficients[0]) * term
        for k in range(1, len(layer.coefficients)):
            term = flow.A(term, of_matrix(a[k, ...]), 1.0)
            part = part + float(layer.coefficients[k]) * term
        change = part if change is None else change + part
    return change
