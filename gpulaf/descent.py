"""Descent on weight patches, a product of simplices: the plain Riemannian gradient and Riemannian Adam.

A method has ``start(weights) -> state`` and ``update(weights, gradient, state, count) -> (weights, state)``; the state
is a dictionary of arrays. Step sizes are per pixel: the derivative of a loss over the image scales like 1/(H·W), so it
is multiplied by H·W first. Steps are bounded and weights stay in the open simplex, whatever the step size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .array import namespace
from .simplex import geodesic_step

__all__ = ["RiemannianAdam", "RiemannianGradient", "squared_norms"]

State = dict[str, Any]


@dataclass(frozen=True)
class RiemannianGradient:
    """Plain Riemannian descent: Ω ← Exp_Ω(−h R_Ω ∂L) (3.7).

    Parameters
    ----------
    step : float
        h per pixel; 0.1 to 1 works on the paper's scenes.
    """

    step: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", _step(self.step))

    def start(self, weights: Any) -> State:
        """No state."""
        return {}

    def update(self, weights: Any, gradient: Any, state: State, count: int) -> tuple[Any, State]:
        """One step: (N, H, W) weights and ∂L to new weights."""
        return geodesic_step(weights, -self.step * _pixels(weights) * gradient), state


@dataclass(frozen=True)
class RiemannianAdam:
    """Adam on a product of simplices: one second moment per pixel, the Fisher–Rao norm of its gradient.

    The first moment lives in log-coordinates, where parallel transport is the identity:
    log Ω_i ← log Ω_i − h m_i/√s_i.

    Parameters
    ----------
    step : float
        h; about the relative change of a weight in one step.
    beta1, beta2 : float
        Decay of the first and the second moment.

    epsilon : float
        Added to √s_i, as a share of its root mean square over the image: pixels that hardly matter hardly move.

    Notes
    -----
    G. Bécigneul, O.-E. Ganea, Riemannian adaptive optimization methods, ICLR 2019.
    """

    step: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", _step(self.step))
        for name in ("beta1", "beta2", "epsilon"):
            value = float(getattr(self, name))
            object.__setattr__(self, name, value)
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value}; accepted are numbers from 0 to below 1. 0.9 and 0.999 are usual.")

    def start(self, weights: Any) -> State:
        """Moments of zero."""
        xp = namespace(weights)
        return {"first": xp.zeros_like(weights), "second": xp.zeros_like(weights[0, ...])}

    def update(self, weights: Any, gradient: Any, state: State, count: int) -> tuple[Any, State]:
        """One step, the `count`-th from 0: (N, H, W) weights and ∂L to new weights and moments."""
        xp = namespace(weights)
        scaled = _pixels(weights) * gradient
        tangent = scaled - xp.sum(weights * scaled, axis=0, keepdims=True)
        first = self.beta1 * state["first"] + (1 - self.beta1) * tangent
        second = self.beta2 * state["second"] + (1 - self.beta2) * squared_norms(weights, scaled)
        length = xp.sqrt(second / (1 - self.beta2 ** (count + 1)))
        length = length + self.epsilon * xp.sqrt(xp.mean(length * length))
        direction = first / (1 - self.beta1 ** (count + 1)) / xp.where(length > 0, length, xp.ones_like(length))
        return geodesic_step(weights, -self.step * direction), {"first": first, "second": second}


def squared_norms(weights: Any, gradient: Any) -> Any:
    """⟨∂L_i, R_Ω ∂L_i⟩: squared Fisher–Rao norm of every patch's Riemannian gradient, (N, H, W) to (H, W)."""
    xp = namespace(weights, gradient)
    mean = xp.sum(weights * gradient, axis=0, keepdims=True)
    return xp.sum(weights * (gradient - mean) ** 2, axis=0)


def _pixels(weights: Any) -> int:
    return int(weights.size // weights.shape[0])


def _step(step: float) -> float:
    if not (step > 0 and step < float("inf")):
        raise ValueError(f"step is {step}; accepted are positive numbers. 0.1 to 1 is usual.")
    return float(step)
