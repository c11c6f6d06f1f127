"""How likely another noise of the same size changes a label: one probability per pixel, by few runs of the flow.

Pairs of runs at ℓ(x + σs) and ℓ(x − σs), with signs s of :mod:`gpulaf.labeling.noise`, give for the label and each
rival the mean of the margin, by the mean of the pair, and its variance, by half of the difference:

    mean = Σ (m₊ + m₋)/2P,   variance = Σ ((m₊ − m₋)/2)²/P,   flip probability = max over rivals of Φ(−mean/√variance)

Here m is LARGE·asinh(margin/LARGE): after long times margins grow exponentially, and under noise they are rather log-
normal than normal. For small noise the variance is that of J Σ_ℓ Jᵀ with J = ∂v/∂ℓ (:class:`gpulaf.flows.Tangent`) and
the mean is the margin itself. For noise as large as images have, J at x is not what the noise sees: the pairs take the
slope over the whole of it, and the mean says where the margin goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from ..backend.array import filled, host_array, like, namespace
from ..backend.numbers import check_count, check_number
from ..integrators.base import Integrator
from ..integrators.taylor import Taylor
from .noise import Probe

__all__ = ["Uncertainty", "flip_probability", "quick", "uncertainty_options"]

#: Margins far below count as they are, larger ones by their logarithm.
LARGE = 10.0
#: Accepted error of the series of a probe, whose place is the middle of many.
TOLERANCE = 1e-2


@dataclass(frozen=True)
class Uncertainty:
    """Options of the uncertainty of labels.

    Parameters
    ----------
    sigma : float, optional
        Standard deviation of the noise of every value, in image units scaled from 0 to 1; of predictions that are
        refined that of their logits. None: from the differences of neighbors in the image.
    probes : int
        Runs of the flow: 4, 8, 16, 32 or 64.
    seed : int
        Of their signs.
    radius : bool
        Also the certified radius of :func:`gpulaf.flows.certificate`, which takes as long as 8 to 18 labelings, and
        some 20 fields of one label in float64.
    """

    sigma: float | None = None
    probes: int = 16
    seed: int = 0
    radius: bool = False

    def __post_init__(self) -> None:
        if self.sigma is not None:
            check_number(self.sigma, "sigma", 1e-9, 1e9, "Noise of 0.01 to 0.3 is usual; None reads it off the image.")
        check_count(self.probes, "probes", 4, 64, "16 is usual.")
        if self.probes & (self.probes - 1):
            raise ValueError(f"probes is {self.probes}; accepted are 4, 8, 16, 32 and 64. 16 is usual.")
        check_count(self.seed, "seed", 0, 2**63)


def uncertainty_options(given: Any) -> Uncertainty | None:
    """The options that True, False, None or an Uncertainty stand for; TypeError for others."""
    if given is None or isinstance(given, Uncertainty):
        return given
    if not isinstance(given, bool):
        raise TypeError(
            f"uncertainty is {given!r}; accepted are True, False and gpulaf.Uncertainty(sigma=…). True reads the noise "
            "off the image."
        )
    return Uncertainty() if given else None


def quick(solver: Any) -> Integrator:
    """The solver of a probe: a Taylor series of fewer terms; others as they are."""
    if not isinstance(solver, Taylor) or solver.degree is not None:
        return cast("Integrator", solver)
    return replace(solver, tol=max(solver.tol, TOLERANCE))


def flip_probability(
    solve: Callable[[Probe], Any], probes: Iterator[tuple[Probe, Probe]], labels: Any, valid: Any = None
) -> Any:
    """The probability that the likeliest rival takes the place of the label.

    Parameters
    ----------
    solve : callable
        v (H, J, W) of a probe.
    probes : iterator of pairs of Probe
        Of noise of opposite signs.
    labels : (H, W) array of integers
    valid : (H, W) array of bool, optional

    Returns
    -------
    (H, W) array in the library and dtype of ℓ, from 0 to 1; NaN where not `valid`.
    """
    mean: Any = None
    square: Any = None
    own: Any = None
    count = 0
    for pair in probes:
        plus, minus = (solve(probe) for probe in pair)
        xp = namespace(plus)
        if own is None:
            numbers = xp.asarray(np.arange(plus.shape[-2])[:, None])
            own = numbers == xp.astype(labels, numbers.dtype)[..., None, :]
        plus, minus = (xp.sum(xp.where(own, v, 0.0), axis=-2, keepdims=True) - v for v in (plus, minus))
        plus, minus = (LARGE * xp.asinh(m / LARGE) for m in (plus, minus))
        half = (plus - minus) * 0.5
        mean = plus - half if mean is None else mean + (plus - half)
        square = half * half if square is None else square + half * half
        count += 1
    tiny = float(xp.finfo(mean.dtype).smallest_normal)
    ratio = mean / xp.sqrt(xp.maximum(square * count, xp.asarray(tiny, dtype=mean.dtype)))  # mean/√variance
    least = xp.min(xp.where(own, xp.asarray(float("inf"), dtype=mean.dtype), ratio), axis=-2)
    found = normal_tail(xp.clip(least, -40.0, 40.0))
    return found if valid is None else filled(found, valid, float("nan"))


def normal_tail(z: Any) -> Any:
    """Φ(−z), the probability that a normal variable is larger than z, by SciPy on the host."""
    from scipy.special import ndtr

    return like(ndtr(-host_array(z)), z)  # synchronize
