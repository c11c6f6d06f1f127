"""The labeling of fields ℓ: the weights of each layer, given or made from the image, the flow, labels and W(T)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..averaging.base import Averaging
from ..averaging.grid import Grid, as_averaging
from ..averaging.masks import extended
from ..averaging.patches import spaced_weights, uniform_weights
from ..averaging.sources import WeightSource
from ..backend.array import filled, host_dtype, is_host_array, like, namespace
from ..fields import pixel_shape
from ..flows.assignment import AssignmentFlow
from ..flows.certificate import certificate
from ..flows.deep import DeepFlow, Stage
from ..integrators.nonlinear import Scheme
from .likelihood import beside
from .noise import Probe
from .prior import log_prior
from .result import Labeling, rounded
from .uncertainty import Uncertainty, flip_probability, quick

if TYPE_CHECKING:
    from .labeler import Labeler

__all__ = ["label_by", "weights_of_layers"]

LOG = logging.getLogger(__name__)


def label_by(
    labeler: Labeler,
    log_likelihood: Any,
    features: Any = None,
    *,
    valid: Any = None,
    spacing: tuple[float, ...] | None = None,
    layers: Sequence[Averaging | Stage | None] | None = None,
    start: Any = None,
    probes: Callable[[], Iterator[tuple[Probe, Probe]]] | None = None,
) -> Labeling:
    """Label by −D/ρ (H, J, W), and where weights are made from them by features (H, W, C), at `valid` pixels.

    All of them are trusted; so are `layers`, in place of the weights of the labeler where these are given, and log W₀,
    (H, J, W) or (J, 1), that is added, in place of that of its prior; and `probes`, which the uncertainty is found by.
    """
    if start is None:
        start = log_prior(labeler.prior, log_likelihood, valid)
    holes = None if valid is None or bool(namespace(valid).all(valid)) else valid  # synchronize
    if holes is not None:
        log_likelihood = filled(log_likelihood, holes[..., None, :])
    if layers is None:
        layers = weights_of_layers(labeler, log_likelihood, features, holes)
    averagings = _averagings(layers, log_likelihood, holes, spacing)
    if start is not None:
        log_likelihood = log_likelihood + start
    where = "CPU" if is_host_array(log_likelihood) else "GPU"
    LOG.info("label %s on the %s, T = %s, %s", tuple(log_likelihood.shape), where, labeler.times, labeler.solver)
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(labeler.solver, Scheme):
            if isinstance(averagings[0], Stage):
                raise TypeError(
                    f"the weights are made layer by layer; accepted are linearized flows, not {labeler.solver!r}. "
                    "Leave solver out."
                )
            nonlinear = AssignmentFlow(averagings[0], log_likelihood, holes, start)
            end = nonlinear.solve(labeler.solver, time=labeler.times[0])
            v, summary = end.v, (labeler.solver.accuracy, end.evaluations, end.converged, end.reason)
        else:
            shared = len(averagings) == 1
            flow = DeepFlow(averagings[0] if shared else averagings, labeler.times, solver=labeler.solver)
            solution = flow.solve(log_likelihood, keep_basis=False)
            v, summary = solution.v, solution.summary
        LOG.debug("error %.3g, %d products, converged: %s. %s", *summary)
        result = rounded(v if start is None else v + start, valid, *summary)
        if probes is None:
            return result
        radius = None
        if isinstance(labeler.uncertainty, Uncertainty) and labeler.uncertainty.radius:
            radius = _certified(certificate(flow, log_likelihood, v, start=start).radius, log_likelihood, valid)

        solve = _solver_of_probes(labeler, averagings, features, holes, spacing, start)
        return result._replace(uncertainty=flip_probability(solve, probes(), result.labels, valid), radius=radius)


def _solver_of_probes(
    labeler: Labeler, averagings: Sequence[Any], features: Any, holes: Any, spacing: Any, start: Any
) -> Callable[[Probe], Any]:
    """The map from a probe to log W₀ + v; weights that are made from an image are made of the noisy one."""
    made, solver = isinstance(labeler.weights, WeightSource), quick(labeler.solver)

    def solve(probe: Probe) -> Any:
        field, weights = probe.log_likelihood, averagings
        field = field if holes is None else filled(field, holes[..., None, :])
        if made:
            layers = weights_of_layers(labeler, field, features + probe.noise, holes)
            weights = _averagings(layers, field, holes, spacing)
        flow = DeepFlow(weights[0] if len(weights) == 1 else weights, labeler.times, solver=solver)
        if start is None:
            return flow.solve(field, keep_basis=False).v
        return flow.solve(field + start, keep_basis=False).v + start

    return solve


def _certified(radius: Any, field: Any, valid: Any) -> Any:
    """Radii in the dtype of ℓ, not larger than they were; NaN where there is no data."""
    xp = namespace(radius)
    radius = xp.astype(radius * (1 - 1e-6), field.dtype)
    return radius if valid is None else filled(radius, valid, float("nan"))


def weights_of_layers(labeler: Labeler, fields: Any, features: Any, valid: Any) -> list[Averaging | Stage | None]:
    """Given and made weights of each layer, or alone those that all share, checked; None for uniform ones."""
    source = labeler.weights
    given = _made(labeler, source, fields, features, valid) if isinstance(source, WeightSource) else labeler.layers
    return [x if x is None or isinstance(x, Stage) else as_averaging(x).like(fields) for x in given]


def _averagings(layers: Sequence[Any], fields: Any, valid: Any, spacing: Any) -> list[Averaging | Stage]:
    """Ω of each layer for these fields, or alone that which all of them share."""
    plain = uniform_weights if spacing is None else partial(spaced_weights, spacing=spacing)
    shape, dtype = pixel_shape(fields), host_dtype(fields)
    found = [Grid(like(plain(shape, dtype=dtype), fields)) if x is None else x for x in layers]
    return found if valid is None else [x.masked(valid) for x in found]


def _made(labeler: Labeler, source: WeightSource, fields: Any, features: Any, valid: Any) -> list[Any]:
    """The weights that a source makes from features, those of each layer or one for all."""
    if features is None:
        raise ValueError(f"weights is {source!r}, but there is no image for it to look at. Pass image, too.")
    if getattr(source, "sees_probabilities", False):
        features = beside(features, fields, labeler.rho)
    weights = source(features if valid is None else extended(features, valid, source.reach))
    made = list(weights) if isinstance(weights, (list, tuple)) else [weights]
    if len(made) > 1 and len(made) != len(labeler.times):
        raise ValueError(
            f"the weights made from the image are those of {len(made)} layers and time is {labeler.time}; accepted is "
            "the time of each layer. Give times like [1.0, 1.0, 1.0]."
        )
    for radius in ((x if isinstance(x, Stage) else as_averaging(x)).radius for x in made):
        if radius != source.radius:
            raise ValueError(
                f"the weights made from the image are patches of radius {radius}; accepted is the radius "
                f"{source.radius} that {source!r} tells. Set its radius."
            )
    return made
