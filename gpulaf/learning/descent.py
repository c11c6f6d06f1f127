"""Descent on weight patches, a product of simplices: the plain Riemannian gradient and three methods of Adam's kind.

Step sizes are per pixel: the derivative of a loss over the image scales like 1/(H·W), so it is multiplied by H·W
first. Steps are bounded and weights stay in the open simplex, whatever the step size. Weights are (H, N, W),
(D, H, N, W) of a volume or (K, n) of a graph; every image of a batch (B, H, N, W) moves as it would alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from ..backend.array import namespace, rows
from ..backend.dispatch import implementation
from ..backend.numbers import check_number
from ..backend.operands import check_floating, check_like
from ..fields import pixel_shape
from ..kernels.stencil import axes_of
from ..simplex import geodesic_step, replicator

__all__ = ["AdaMax", "Adam", "Descent", "RiemannianAdam", "RiemannianGradient", "squared_norms"]

State = dict[str, Any]


class Descent(ABC):
    """A method of descent; its state is a dictionary of arrays."""

    def start(self, weights: Any) -> State:
        """The state before the first step from (H, N, W) weights: zeros."""
        return {name: namespace(weights).zeros_like(like) for name, like in self._state_like(weights).items()}

    def _state_like(self, weights: Any) -> State:
        """Arrays of the shapes and dtypes of the state, by name; none here."""
        return {}

    def update(self, weights: Any, gradient: Any, state: State, count: int) -> tuple[Any, State]:
        """One step, the `count`-th from 0: (H, N, W) weights and ∂L to new weights and state.

        Raises
        ------
        ValueError, TypeError
            If the gradient or the state is not that of weights of this shape and dtype.
        """
        self._check(weights, gradient, state)
        return self.step_by(weights, gradient, state, self.corrections(count))

    def _check(self, weights: Any, gradient: Any, state: State) -> None:
        check_floating(weights, "weights", "(H, N, W), (D, H, N, W) or (K, n)")
        check_like(gradient, "gradient", weights)
        expected = self._state_like(weights)
        if sorted(state) != sorted(expected):
            raise ValueError(f"the state holds {sorted(state)}; accepted is {sorted(expected)}, as start() makes it.")
        for name, like in expected.items():
            check_like(state[name], f"{name} of the state", like)

    def corrections(self, count: int) -> tuple[float, ...]:
        """Numbers that change from step to step, so that the rest of a step can be recorded; none here."""
        return ()

    @abstractmethod
    def step_by(self, weights: Any, gradient: Any, state: State, corrections: Any) -> tuple[Any, State]:
        """One step with its corrections, numbers or arrays of one number; no number is read to the host."""


@dataclass(frozen=True)
class RiemannianGradient(Descent):
    """Plain Riemannian descent: Ω ← Exp_Ω(−h R_Ω ∂L) (3.7).

    Parameters
    ----------
    step : float
        h per pixel; 0.1 to 1 works on the paper's scenes.
    """

    step: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", _step(self.step))

    def step_by(self, weights: Any, gradient: Any, state: State, corrections: Any) -> tuple[Any, State]:
        """One step; there are no corrections."""
        return geodesic_step(weights, gradient, factor=-self.step * _pixels(weights)), state


@dataclass(frozen=True)
class AdamFamily(Descent):
    """log Ω ← log Ω − h m̂/(λ + ε rms(λ)): a mean m of the derivatives over a length λ of them.

    Hats are for moments without their start from 0, m̂ = m/(1 − β₁ᵏ); the logarithms are those before Ω is normalized.
    """

    step: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-3

    #: Whether there is one length for each pixel, or one for each weight.
    per_pixel: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", _step(self.step))
        for name, usual in (("beta1", 0.9), ("beta2", 0.999), ("epsilon", 1e-3)):
            value = check_number(getattr(self, name), name, 0, 1 - 2**-53, f"{usual} is usual.")
            object.__setattr__(self, name, value)

    def _state_like(self, weights: Any) -> State:
        """Moments."""
        return {"first": weights, "second": weights[..., 0, :] if self.per_pixel else weights}

    def corrections(self, count: int) -> tuple[float, ...]:
        """What the moments of the `count`-th step lack, 1 − βᵏ."""
        return 1 - self.beta1 ** (count + 1), 1 - self.beta2 ** (count + 1)

    def step_by(self, weights: Any, gradient: Any, state: State, corrections: Any) -> tuple[Any, State]:
        """One step with its corrections; weights without any derivative stay."""
        xp = namespace(weights)
        first, second = self._moments(weights, gradient, state["first"], state["second"])
        length = self._length(second, corrections[1])
        image = tuple(range(_batch_axes(weights), length.ndim))
        length = length + self.epsilon * xp.sqrt(xp.mean(length * length, axis=image, keepdims=True))
        length = corrections[0] * xp.where(length > 0, length, xp.ones_like(length))
        direction, scale = (first, 1 / length) if self.per_pixel else (first / length, None)
        return geodesic_step(weights, direction, factor=-self.step, scale=scale), {"first": first, "second": second}

    def _moments(self, weights: Any, gradient: Any, first: Any, second: Any) -> tuple[Any, Any]:
        """The moments after one more gradient, of x = H·W R_Ω ∂L, the derivative in θ where Ω = softmax(θ)."""
        x = replicator(weights, gradient) * _pixels(weights)
        return self.beta1 * first + (1 - self.beta1) * x, self._second(second, x)

    def _second(self, second: Any, x: Any) -> Any:
        """The mean of x²."""
        return self.beta2 * second + (1 - self.beta2) * (x * x)

    def _length(self, second: Any, correction: Any) -> Any:
        """λ = √ŝ."""
        return namespace(second).sqrt(second / correction)


class RiemannianAdam(AdamFamily):
    """Adam on a product of simplices: one second moment per pixel, the Fisher–Rao norm of its gradient.

    The first moment lives in log-coordinates, where parallel transport is the identity:
    log Ω_i ← log Ω_i − h m̂_i/√ŝ_i, hats for moments without their start from 0.

    Parameters
    ----------
    step : float
        h; about the relative change of a weight in one step.
    beta1, beta2 : float
        Decay of the first and the second moment.
    epsilon : float
        Added to √ŝ_i, as a share of its root mean square over the image: pixels that hardly matter hardly move.

    Notes
    -----
    G. Bécigneul, O.-E. Ganea, Riemannian adaptive optimization methods, ICLR 2019.
    """

    per_pixel = True

    def _moments(self, weights: Any, gradient: Any, first: Any, second: Any) -> tuple[Any, Any]:
        """The moments after one more gradient, in one pass."""
        return _fused_moments(weights, gradient, first, second, (self.beta1, self.beta2, float(_pixels(weights))))


class Adam(AdamFamily):
    """Adam on log-weights: one second moment per weight, of x = H·W R_Ω ∂L.

    θ ← θ − h m̂/(√ŝ + ε rms(√ŝ)) where Ω = softmax(θ), with the moments m of x and s of x². Parameters are those of
    :class:`RiemannianAdam`; ε counts relative to all weights.

    Notes
    -----
    D. P. Kingma, J. Ba, Adam: a method for stochastic optimization, ICLR 2015, Algorithm 1.
    """


class AdaMax(AdamFamily):
    """AdaMax on log-weights: Adam with the largest derivative of late in the place of the second moment.

    θ ← θ − h m̂/(u + ε rms(u)) where Ω = softmax(θ), with u ← max(β₂ u, |x|), x = H·W R_Ω ∂L and its first moment m.
    Parameters are those of :class:`RiemannianAdam`; ε counts relative to all weights.

    Notes
    -----
    D. P. Kingma, J. Ba, Adam: a method for stochastic optimization, ICLR 2015, Algorithm 2.
    """

    def _second(self, second: Any, x: Any) -> Any:
        """u."""
        xp = namespace(x)
        return xp.maximum(self.beta2 * second, xp.abs(x))

    def _length(self, second: Any, correction: Any) -> Any:
        """λ = u."""
        return second


def squared_norms(weights: Any, gradient: Any) -> Any:
    """⟨∂L_i, R_Ω ∂L_i⟩: squared Fisher–Rao norm of every patch's Riemannian gradient, (H, N, W) to (H, W)."""
    return _fused_moments(weights, gradient)[1]


def _fused_moments(
    weights: Any, gradient: Any, first: Any = None, second: Any = None, *factors: Any
) -> tuple[Any, Any]:
    """The kernel ``moments`` on weights of any shape."""
    xp, shape = namespace(weights, gradient), weights.shape
    before = () if first is None else (rows(first), xp.reshape(second, (-1, shape[-1])))
    new = implementation("moments", weights)(rows(weights), rows(gradient), *before, *factors)
    return None if new[0] is None else xp.reshape(new[0], shape), xp.reshape(new[1], pixel_shape(weights))


def _batch_axes(weights: Any) -> int:
    """How many leading axes count images."""
    return weights.ndim - 1 - axes_of(weights) if weights.ndim > 2 else 0


def _pixels(weights: Any) -> int:
    """Pixels of an image."""
    return prod(pixel_shape(weights)[_batch_axes(weights) :])


def _step(step: float) -> float:
    return check_number(step, "step", usual="0.1 to 1 is usual.")
