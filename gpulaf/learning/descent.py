"""Descent on weight patches, a product of simplices: the plain Riemannian gradient and three methods of Adam's kind.

A method has ``start(weights) -> state`` and ``update(weights, gradient, state, count) -> (weights, state)``; the state
is a dictionary of arrays. ``update`` is ``step_by`` with ``corrections(count)``, apart for steps that are recorded.
Step sizes are per pixel: the derivative of a loss over the image scales like 1/(H·W), so it
is multiplied by H·W first. Steps are bounded and weights stay in the open simplex, whatever the step size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend.array import columns, namespace
from ..backend.dispatch import implementation
from ..simplex import geodesic_step, replicator

__all__ = ["AdaMax", "Adam", "RiemannianAdam", "RiemannianGradient", "squared_norms"]

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
        return self.step_by(weights, gradient, state, self.corrections(count))

    def corrections(self, count: int) -> tuple[float, ...]:
        """Numbers that change from step to step: none."""
        return ()

    def step_by(self, weights: Any, gradient: Any, state: State, corrections: Any) -> tuple[Any, State]:
        """One step with its corrections."""
        return geodesic_step(weights, gradient, factor=-self.step * _pixels(weights)), state


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
        _check(self)

    def start(self, weights: Any) -> State:
        """Moments of zero."""
        xp = namespace(weights)
        return {"first": xp.zeros_like(weights), "second": xp.zeros_like(weights[0, ...])}

    def update(self, weights: Any, gradient: Any, state: State, count: int) -> tuple[Any, State]:
        """One step, the `count`-th from 0: (N, H, W) weights and ∂L to new weights and moments."""
        return self.step_by(weights, gradient, state, self.corrections(count))

    def corrections(self, count: int) -> tuple[float, ...]:
        """Numbers that change from step to step: what the moments of the `count`-th one lack, 1 − βᵏ."""
        return 1 - self.beta1 ** (count + 1), 1 - self.beta2 ** (count + 1)

    def step_by(self, weights: Any, gradient: Any, state: State, corrections: Any) -> tuple[Any, State]:
        """One step with its corrections, numbers or arrays of one number."""
        xp = namespace(weights)
        factors = (self.beta1, self.beta2, float(_pixels(weights)))
        first, second = _moments(weights, gradient, state["first"], state["second"], factors)
        length = xp.sqrt(second / corrections[1])
        length = length + self.epsilon * xp.sqrt(xp.mean(length * length))
        scale = 1 / (corrections[0] * xp.where(length > 0, length, xp.ones_like(length)))
        return geodesic_step(weights, first, factor=-self.step, scale=scale), {"first": first, "second": second}


@dataclass(frozen=True)
class Adam:
    """Adam on log-weights: one second moment per weight, of the derivative R_Ω ∂L in θ where Ω = softmax(θ).

    With x = H·W R_Ω ∂L and its moments m and s: θ ← θ − h m̂/(√ŝ + ε rms(√ŝ)), hats for moments without their start
    from 0.

    Parameters
    ----------
    step : float
        h; about the relative change of a weight in one step.
    beta1, beta2 : float
        Decay of the first and the second moment.
    epsilon : float
        Added to √ŝ, as a share of its root mean square over all weights.

    Notes
    -----
    D. P. Kingma, J. Ba, Adam: a method for stochastic optimization, ICLR 2015, Algorithm 1.
    """

    step: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        _check(self)

    def start(self, weights: Any) -> State:
        """Moments of zero."""
        return _zeros(weights)

    def update(self, weights: Any, gradient: Any, state: State, count: int) -> tuple[Any, State]:
        """One step, the `count`-th from 0: (N, H, W) weights and ∂L to new weights and moments."""
        x = replicator(weights, gradient) * _pixels(weights)
        first = self.beta1 * state["first"] + (1 - self.beta1) * x
        second = self.beta2 * state["second"] + (1 - self.beta2) * (x * x)
        length = namespace(weights).sqrt(second / (1 - self.beta2 ** (count + 1)))
        return _log_step(self, weights, first, length, count), {"first": first, "second": second}


@dataclass(frozen=True)
class AdaMax:
    """AdaMax on log-weights: Adam with the largest derivative of late in the place of the second moment.

    With x = H·W R_Ω ∂L and its first moment m: u ← max(β₂ u, |x|), θ ← θ − h m̂/(u + ε rms(u)) where Ω = softmax(θ).

    Parameters
    ----------
    step : float
        h; about the relative change of a weight in one step.
    beta1, beta2 : float
        Decay of the first moment and of the largest derivative.
    epsilon : float
        Added to u, as a share of its root mean square over all weights.

    Notes
    -----
    D. P. Kingma, J. Ba, Adam: a method for stochastic optimization, ICLR 2015, Algorithm 2.
    """

    step: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        _check(self)

    def start(self, weights: Any) -> State:
        """Moments of zero."""
        return _zeros(weights)

    def update(self, weights: Any, gradient: Any, state: State, count: int) -> tuple[Any, State]:
        """One step, the `count`-th from 0: (N, H, W) weights and ∂L to new weights and moments."""
        xp = namespace(weights)
        x = replicator(weights, gradient) * _pixels(weights)
        first = self.beta1 * state["first"] + (1 - self.beta1) * x
        second = xp.maximum(self.beta2 * state["second"], xp.abs(x))
        return _log_step(self, weights, first, second, count), {"first": first, "second": second}


def squared_norms(weights: Any, gradient: Any) -> Any:
    """⟨∂L_i, R_Ω ∂L_i⟩: squared Fisher–Rao norm of every patch's Riemannian gradient, (N, H, W) to (H, W)."""
    return _moments(weights, gradient)[1]


def _moments(weights: Any, gradient: Any, first: Any = None, second: Any = None, *factors: Any) -> tuple[Any, Any]:
    """The kernel ``moments`` on fields of any shape."""
    xp, shape = namespace(weights, gradient), weights.shape
    flat = None if first is None else columns(first), None if second is None else xp.reshape(second, (-1,))
    new = implementation("moments", weights)(columns(weights), columns(gradient), *flat, *factors)
    return None if new[0] is None else xp.reshape(new[0], shape), xp.reshape(new[1], shape[1:])


def _zeros(weights: Any) -> State:
    xp = namespace(weights)
    return {"first": xp.zeros_like(weights), "second": xp.zeros_like(weights)}


def _log_step(method: Adam | AdaMax, weights: Any, first: Any, length: Any, count: int) -> Any:
    """θ − h m̂/(length + ε rms(length)); entries without any derivative stay."""
    xp = namespace(weights)
    length = length + method.epsilon * xp.sqrt(xp.mean(length * length))
    direction = first / xp.where(length > 0, length, xp.ones_like(length))
    return geodesic_step(weights, direction, factor=-method.step / (1 - method.beta1 ** (count + 1)))


def _check(method: Any) -> None:
    """Plain numbers in the frozen options, in their ranges."""
    object.__setattr__(method, "step", _step(method.step))
    for name in ("beta1", "beta2", "epsilon"):
        value = float(getattr(method, name))
        object.__setattr__(method, name, value)
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value}; accepted are numbers from 0 to below 1. 0.9 and 0.999 are usual.")


def _pixels(weights: Any) -> int:
    return int(weights.size // weights.shape[0])


def _step(step: float) -> float:
    if not (step > 0 and step < float("inf")):
        raise ValueError(f"step is {step}; accepted are positive numbers. 0.1 to 1 is usual.")
    return float(step)
