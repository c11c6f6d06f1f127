"""The assignment flow itself (2.9), nonlinear: v' = Π₀ softmax(Ω(ℓ + v)) in the flat coordinates of the lifting map."""

from __future__ import annotations

from math import log
from typing import Any, NamedTuple

import numpy as np

from ..averaging.base import check_field
from ..averaging.coupled import CoupledLabels
from ..backend.array import filled, namespace, reused, total
from ..backend.operands import check_like
from ..integrators.base import check_time
from ..integrators.nonlinear import LinearizedFlows, Scheme
from ..simplex import entropy, softmax
from .linear import LinearFlow

__all__ = ["LONGEST", "AssignmentFlow", "FlowResult"]

#: The first step that is tried: rates are below 1.
FIRST = 1.0

#: A time by which images have come to rest, but for pixels where two labels are even.
LONGEST = 50.0


class FlowResult(NamedTuple):
    """End of an assignment flow: its solution, and why it stopped."""

    #: v at the end, (H, J, W); W = softmax(log W₀ + v).
    v: Any
    #: The time that was reached.
    time: float
    #: Mean entropy of W over the pixels, as a share of log J.
    entropy: float
    #: Accepted steps, and evaluations of the right-hand side or products with its linearization.
    steps: int
    evaluations: int
    #: Whether the flow came to rest: its entropy fell under the threshold.
    converged: bool
    #: Why it stopped, in one sentence.
    reason: str


class AssignmentFlow:
    """v' = Π₀ softmax(Ω(ℓ + v)), v(0) = 0: the assignment flow (2.9), W = softmax(log W₀ + v).

    Parameters
    ----------
    averaging : Grid or Graph
        Ω.
    log_likelihood : (H, J, W) floating array
        ℓ = log W₀ − D/ρ, from the barycenter −D/ρ alone, in the library, on the device and in the dtype of the weights;
        of one image.
    valid : (H, W) array of bool, optional
        Pixels whose entropy counts; all of them if None.
    log_start : (H, J, W) or (J, 1) array, optional
        log W₀, by which the end is told; None of the barycenter.

    Raises
    ------
    ValueError
        If ℓ has other pixels than the weights, for a batch of images, as each has steps of its own, or coupled labels.
    TypeError
        If the averaging is none, or ℓ is no array of the library and dtype of the weights.
    """

    def __init__(self, averaging: Any, log_likelihood: Any, valid: Any = None, log_start: Any = None) -> None:
        check_field(averaging, log_likelihood, labels=2)
        averaging.check_one_image(log_likelihood, "the nonlinear flow chooses its steps")
        if isinstance(averaging, CoupledLabels):
            raise ValueError(
                "weights are CoupledLabels; accepted in the nonlinear flow are weights without them. Take a linearized "
                "flow, as of Taylor."
            )
        self.averaging = averaging
        self.log_likelihood = log_likelihood
        self.valid = valid
        self.log_start = log_start

    def rate(self, v: Any) -> Any:
        """v' = Π₀ S with S = softmax(Ω(ℓ + v)), (H, J, W)."""
        S, _ = self.averaging.similarity(self._lifted(v))
        return S - 1.0 / v.shape[-2]

    def linearized(self, v: Any) -> LinearFlow:
        """The flow linearized at v; its solution over h is added to v (1.5)–(1.6)."""
        return LinearFlow(self.averaging, self._lifted(v))

    def _lifted(self, v: Any) -> Any:
        """ℓ + v."""
        check_like(v, "v", self.log_likelihood)
        return self.log_likelihood + v

    def solve(
        self, scheme: Scheme = LinearizedFlows(), *, time: float = LONGEST, threshold: float = 1e-3
    ) -> FlowResult:
        """Integrate until W is nearly integral, or to `time`.

        Parameters
        ----------
        scheme : LinearizedFlows, DormandPrince or GeometricEuler
        time : float
            The longest time T.
        threshold : float
            The flow ends when the mean entropy of W over log J falls under it; 0 goes on to `time`.

        Returns
        -------
        FlowResult

        Raises
        ------
        ValueError
            If `time` is not positive or `threshold` negative.
        FloatingPointError
            If v overflows.
        """
        if isinstance(scheme, type) or not isinstance(scheme, Scheme):
            raise TypeError(f"scheme is {scheme!r}; accepted are GeometricEuler, DormandPrince and LinearizedFlows.")
        time = check_time(time)
        if not threshold >= 0:
            raise ValueError(f"threshold is {threshold}; accepted are numbers from 0. 1e-3 is usual.")
        v, now, length = namespace(self.log_likelihood).zeros_like(self.log_likelihood), 0.0, FIRST
        steps = evaluations = 0
        level = 1.0
        with reused():
            while time - now > 1e-12 * time:
                v, taken, length, spent = scheme.step(self, v, min(length, time - now))
                now, steps, evaluations = now + taken, steps + 1, evaluations + spent
                level = self.entropy(v)
                if not np.isfinite(level):
                    raise FloatingPointError(f"v overflows at time {now:.3g}. Take a shorter time or smaller steps.")
                if level < threshold:
                    break
        after = f"after {steps} step{'s' if steps > 1 else ''}"
        reason = f"The time {time:g} was reached {after}; the mean entropy was {level:.2g}."
        if level < threshold:
            reason = f"The mean entropy fell under {threshold:g} at time {now:.4g}, {after}."
        return FlowResult(v, now, level, steps, evaluations, level < threshold, reason)

    def entropy(self, v: Any) -> float:
        """Mean entropy of W = softmax(log W₀ + v) as a share of log J."""
        found, count = entropy(softmax(v if self.log_start is None else v + self.log_start)), v.size // v.shape[-2]
        if self.valid is not None:
            found, count = filled(found, self.valid), max(1.0, total(namespace(v).astype(self.valid, v.dtype)))
        return total(found) / (count * log(v.shape[-2]))
