"""Which labels cannot be other ones: whatever the solver left out, and whatever a bounded change of ℓ does.

The span osc(x) = max_j x_j − min_j x_j at a pixel is the norm here, since labels differ by differences. For any point S
of the simplex with its largest entries s₁ ≥ s₂, osc(R_S y) ≤ β osc(y) with β = s₁(1 − s₁ + s₂) ≤ 1/2, so that
osc(Av)_i ≤ β_i Σ_k ω_ik osc(v_k).

**Numerical.** Let v_K be K terms of the series, with Σ_{k≥K} T^{k+1} 2^{−k}/(k+1)! negligible. The solution v of any
solver is no farther from that of the exact flow than osc(v − v_K) and this rest. For a Taylor series of d terms this is
at most the bound 2‖B‖_∞ Σ_{k≥d} T^{k+1} α^k/(k+1)! that is known before.

**Data.** On the path ℓ + sδ, 0 ≤ s ≤ 1, w = ∂v/∂s solves w' = A(w + δ) + R_S(x̃∘z̃), where x̃ and z̃ are Ωδ and Ωv less
their means by S, and osc(x̃∘z̃) ≤ osc(Ωδ) osc(Ωv). Let x = Ω osc(δ), n(t) = osc(Ωv(t)) of the unchanged flow, and β, γ
bounds on the path, where S moves by no more than a factor e^x between two labels. Then q(t) = sup_s osc(w) obeys

    q' ≤ β(Ωq + x) + γ x (n + Ωq),   q(0) = 0,

as v is nowhere on the path farther than q from the unchanged one. The solution of the equation is a bound, by Duhamel's
formula with nonnegative terms; it sees no farther than the flow does. A label holds where its margin is larger. Here
γ = β; of two labels γ = 2s(1 − s)|1 − 2s|. In layers, osc(δ) of the next one is that of ℓ and of v together.
"""

from __future__ import annotations

from math import exp
from typing import Any, NamedTuple

import numpy as np

from ..averaging.coupled import CoupledLabels
from ..backend.array import like, namespace, scalar
from ..integrators.phi import tail
from ..integrators.taylor import LARGEST_NORM, coefficients
from .deep import DeepFlow, Stage
from .linear import LinearFlow

__all__ = ["Certificate", "certificate"]

#: Radii that are tried, between and below which the bound is linear.
RADII = tuple(0.01 * 1.6**k for k in range(14))
#: Changes of ℓ, in span, from which on nothing is proven.
LARGEST_CHANGE = 20.0
#: What the series may leave out, in units of v.
REST = 1e-10


class Certificate(NamedTuple):
    """What is proven about the label of each pixel."""

    #: (H, W) float64 array: v of the label less the largest other one; negative where the exact flow has another label.
    margin: Any
    #: (H, W) float64 array: a bound of the error of any difference of two entries of v.
    error: Any
    #: (H, W) float64 array: as long as no entry of ℓ changes by more, the exact flow gives this label; 0 where not even
    #: the label is certain.
    radius: Any

    @property
    def exact(self) -> Any:
        """(H, W) array of bool: whether the label is proven to be that of the exact flow."""
        return self.margin > self.error


class _Layer(NamedTuple):
    """A flow in float64 with what its bounds need."""

    flow: LinearFlow
    time: float
    #: osc(Ω a_k), (H, 1, W) each.
    spans: list[Any]


def certificate(flow: DeepFlow, log_likelihood: Any, v: Any = None, *, start: Any = None) -> Certificate:
    """Certificates of the labels argmax v, numerical and of the data.

    Parameters
    ----------
    flow : DeepFlow
        ``DeepFlow(weights, time)`` is one linearized flow alone. The exact flow is that of these weights and times.
    log_likelihood : (H, J, W) array
        ℓ, in the library and dtype of the weights.
    v : (H, J, W) array, optional
        The solution, by whatever solver. None: that of the solver of `flow`.
    start : (H, J, W) or (J, 1) array, optional
        log W₀, added to v before it is rounded to labels; it stays when ℓ changes.

    Returns
    -------
    Certificate
        In float64, in which all bounds are computed, whatever the dtype of v.

    Raises
    ------
    ValueError
        If shapes do not fit, or values are not finite.
    TypeError
        If a layer makes its weights from the state where it starts, or couples labels: how they change, and what a
        matrix does to spans, is not bounded here.
    """
    if not isinstance(flow, DeepFlow):
        raise TypeError(f"flow is a {type(flow).__name__}; accepted is a DeepFlow, as DeepFlow(weights, time).")
    xp = namespace(log_likelihood)
    if v is None:
        v = flow.solve(log_likelihood, keep_basis=False).v
    shape = tuple(log_likelihood.shape)
    if tuple(v.shape) != shape:
        raise ValueError(f"v has shape {tuple(v.shape)}; accepted is {shape}, that of log_likelihood.")
    if start is not None and tuple(start.shape) not in (shape, (shape[-2], 1)):
        raise ValueError(f"start has shape {tuple(start.shape)}; accepted are {shape} and {(shape[-2], 1)}.")
    for name, x in (("log_likelihood", log_likelihood), ("v", v), ("start", start)):
        if x is not None and not bool(xp.all(xp.isfinite(x))):  # synchronize
            raise ValueError(f"{name} holds values that are not finite; accepted are numbers. Leave their pixels out.")
    v, field = (xp.astype(x, xp.float64) for x in (v, log_likelihood))
    layers, exact, rest = _reference(flow, field)
    error = _span(v - exact)[..., 0, :] + rest
    if start is not None:
        start = xp.astype(start, xp.float64)
        v, exact = v + start, exact + start
    margin = _margin(exact, xp.argmax(v, axis=-2))
    return Certificate(margin, error, _radius(layers, xp.clip(margin - rest, 0.0, None)))


def _reference(flow: DeepFlow, field: Any) -> tuple[list[_Layer], Any, float]:
    """The layers in float64, the sum of their solutions, and a bound of its error in span."""
    layers, total, rest = [], None, 0.0
    for stage, time in zip(flow.stages, flow.times, strict=True):
        if isinstance(stage, Stage):
            raise TypeError(
                "the weights are made layer by layer; accepted for certificates are weights that stay as they are. "
                "Take a predictor without stages, or leave radius out."
            )
        if isinstance(stage, CoupledLabels):
            raise TypeError(
                "the labels are coupled by a matrix, which may stretch spans; accepted for certificates is plain "
                "averaging. Take its Grid or Graph, or leave radius out."
            )
        one = LinearFlow(stage.like(field), field)
        a, xp, terms = one.B, namespace(field), _terms(time)
        v, spans = time * a, [_span(one.averaging.apply(a))]
        for c in coefficients(time, terms)[1:]:
            a = one.A(a)
            v = v + float(c) * a
            spans.append(_span(one.averaging.apply(a)))
        layers.append(_Layer(one, time, spans))
        # what was left out before changes ℓ here: q ≤ ε T e^{T/2}(1 + T); and rounding, by any order of summation
        growth, entries = (1 + time) ** 2 * exp(LARGEST_NORM * time), one.averaging.patches.shape[-2] + v.shape[-2] + 8
        rounding = entries * float(np.finfo(np.float64).eps) * (1 + scalar(xp.max(xp.abs(field))))
        rest += growth * (rest + rounding) + time * tail(LARGEST_NORM * time, terms)
        total = v if total is None else total + v
        field = field + v
    return layers, total, rest


def _terms(time: float) -> int:
    """Terms of the series that leave out no more than REST."""
    reach, terms = LARGEST_NORM * time, 2
    while time * tail(reach, terms) > REST:
        terms += 1
    return terms


def _radius(layers: list[_Layer], margin: Any) -> Any:
    """The largest radius that the bounds at RADII prove, for margins (H, W): below each of them they are linear."""
    xp = namespace(margin)
    found = xp.zeros_like(margin)
    for radius in RADII:
        bound = _moved(layers, radius)[..., 0, :]
        proven = radius * xp.where(bound > margin, margin / xp.where(bound > 0, bound, 1.0), 1.0)
        found = xp.maximum(found, xp.where(margin > 0, proven, 0.0))
    return found * (1 - 1e-6)


def _moved(layers: list[_Layer], radius: float) -> Any:
    """A bound of the change of v in span, (H, 1, W), where no entry of ℓ changes by more than `radius`."""
    spans = layers[0].spans[0]
    change = namespace(spans).full_like(spans, 2 * radius)
    for layer in layers:
        change = change + _change(layer, change)
    return change - 2 * radius


def _change(layer: _Layer, change: Any) -> Any:
    """q(T) of one layer, (H, 1, W), for osc(δ) ≤ `change`."""
    apply, xp = layer.flow.averaging.apply, namespace(change)
    nothing = xp.full_like(change, float("inf"))
    if not scalar(xp.max(change)) < LARGEST_CHANGE:
        return nothing
    x = apply(change)
    beta, gamma = _contractions(layer.flow.S, x)
    gamma = gamma * x
    factor, T = beta + gamma, layer.time
    norm, terms = scalar(xp.max(factor)), len(layer.spans)
    left_out = T * tail(LARGEST_NORM * T, terms)  # of osc(Ωv), at any time
    b = beta * x + gamma * left_out
    c, total = T, T * b
    for k in range(1, terms + int(4 * norm * T) + 2):
        b = factor * apply(b) + (gamma * layer.spans[k - 1] if k <= terms else 0.0)
        c *= T / (k + 1)
        total = total + c * b
        share = norm * T / (k + 2)
        if k >= terms and share < 0.5:
            return total + c * scalar(xp.max(b)) * share / (1 - share)
    return nothing


def _contractions(S: Any, x: Any) -> tuple[Any, Any]:
    """β and γ on the path, (H, 1, W): where no ratio of two entries of S moves by more than e^x."""
    xp = namespace(S)
    largest = _of_label(S, xp.argmax(S, axis=-2))
    first, second = (xp.max(xp.where(of, S, 0.0), axis=-2, keepdims=True) for of in (largest, ~largest))
    up, down = xp.exp(x), xp.exp(-x)
    low, high = first / (first + (1 - first) * up), first / (first + (1 - first) * down)
    second = second / (second + (1 - second) * down)
    middle = (1 + second) / 2
    beta = xp.minimum(2 * low * (1 - low), xp.where(low >= middle, low * (1 - low + second), middle * middle))
    beta = xp.where(low >= 0.5, beta, xp.clip(high, None, 0.5))
    if S.shape[-2] > 2:
        return beta, beta
    # 2s(1 − s)(2s − 1) of the larger entry has its maximum √3/9 at (3 + √3)/6
    low = xp.clip(low, 0.5, None)
    top = (3 + 3**0.5) / 6
    ends = xp.maximum(*(2 * s * (1 - s) * (2 * s - 1) for s in (low, high)))
    return beta, xp.where((low <= top) & (high >= top), 3**0.5 / 9, ends)


def _span(x: Any) -> Any:
    """max − min over labels, (H, 1, W)."""
    xp = namespace(x)
    return xp.max(x, axis=-2, keepdims=True) - xp.min(x, axis=-2, keepdims=True)


def _margin(v: Any, labels: Any) -> Any:
    """v of the label less the largest other one, (H, W)."""
    xp = namespace(v)
    own, low = _of_label(v, labels), -float("inf")
    return xp.max(xp.where(own, v, low), axis=-2) - xp.max(xp.where(own, low, v), axis=-2)


def _of_label(field: Any, labels: Any) -> Any:
    """Whether an entry is that of the label of its pixel, (H, J, W)."""
    return like(np.arange(field.shape[-2])[:, None], labels) == labels[..., None, :]
