"""Distances of features to a label prototype (2.15): named as SciPy names them, or a function of one's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from ..backend.array import host_array, is_host_array, like, namespace, scalar
from ..fields import from_rows

__all__ = ["METRICS", "Metric", "check_finite", "check_metric", "distance", "needs_check", "value_scale"]

#: The name of a distance, or a function of features (…, C) and a prototype (C,) that gives distances (…).
Metric = str | Callable[[Any, Any], Any]


def _squares(channels: Any, prototype: Any) -> Any:
    return sum((channels[..., c, :] - prototype[c]) ** 2 for c in range(prototype.shape[0]))


def _euclidean(channels: Any, prototype: Any) -> Any:
    return namespace(channels).sqrt(_squares(channels, prototype))


def _differences(channels: Any, prototype: Any) -> list[Any]:
    xp = namespace(channels)
    return [xp.abs(channels[..., c, :] - prototype[c]) for c in range(prototype.shape[0])]


def _cityblock(channels: Any, prototype: Any) -> Any:
    return sum(_differences(channels, prototype))


def _chebyshev(channels: Any, prototype: Any) -> Any:
    return reduce(namespace(channels).maximum, _differences(channels, prototype))


def _cosine(channels: Any, prototype: Any) -> Any:
    """1 − cos of the angle as half the squared chord, which keeps small angles."""
    return _squares(_directions(channels), _directions(prototype[:, None])[:, 0]) / 2


def _correlation(channels: Any, prototype: Any) -> Any:
    mean = namespace(channels).mean
    return _cosine(channels - mean(channels, axis=-2, keepdims=True), prototype - mean(prototype))


def _directions(channels: Any) -> Any:
    """Features (…, C, W) of length 1; 0 where they are 0."""
    xp = namespace(channels)
    largest = xp.max(xp.abs(channels), axis=-2, keepdims=True)
    channels = channels / xp.where(largest > 0, largest, xp.ones_like(largest))
    length = xp.sqrt(xp.sum(channels**2, axis=-2, keepdims=True))
    return channels / xp.where(length > 0, length, xp.ones_like(length))


#: In any array library: of rows of channels (…, C, W) and a prototype (C,).
OWN = {
    "euclidean": _euclidean, "sqeuclidean": _squares, "cityblock": _cityblock, "chebyshev": _chebyshev,
    "cosine": _cosine, "correlation": _correlation,
}  # fmt: skip
#: By SciPy, of NumPy arrays.
SCIPY = ("braycurtis", "canberra", "jensenshannon")
METRICS = (*OWN, *SCIPY)
#: Distances by the direction of features, and the channels that a direction needs at least.
DIRECTIONS = {"cosine": 2, "correlation": 3}


def check_metric(metric: Any, *, functions: bool = True) -> None:
    """Raise ValueError for a distance that is none of :data:`METRICS`, and no function where these are accepted."""
    if (callable(metric) and functions) or (isinstance(metric, str) and metric in METRICS):
        return
    accepted = f"{', '.join(METRICS[:-1])} and {METRICS[-1]}"
    if callable(metric):
        raise ValueError(f"metric is the function {metric!r}, which a file cannot hold; accepted here are {accepted}.")
    own = ", and a function of features (..., C) and a prototype (C,)" if functions else ""
    raise ValueError(f"metric is {metric!r}; accepted are {accepted}{own}.")


def needs_check(metric: Metric) -> bool:
    """Whether distances between finite numbers may be infinite or NaN."""
    return not (isinstance(metric, str) and metric in OWN)


def value_scale(metric: Metric, rho: float) -> float | None:
    """ρ in the units of the values of an image; None where distances have others."""
    if metric == "sqeuclidean":
        return float(rho) ** 0.5
    return float(rho) if metric in ("euclidean", "cityblock", "chebyshev") else None


def distance(channels: Any, prototype: Any, metric: Metric) -> Any:
    """Distance of every pixel, rows of channels (…, C, W), to one prototype (C,): (…, W).

    Raises
    ------
    ValueError
        If the metric has no meaning for so few channels or for the prototype, or a function gives another shape.
    TypeError
        If SciPy is to compute it, and the features are not NumPy's.
    """
    if callable(metric):
        return _by_function(metric, from_rows(channels), prototype)
    count = prototype.shape[0]
    if count < DIRECTIONS.get(metric, 1):
        raise ValueError(
            f"metric is {metric!r}, and there are {count} channels; accepted are at least {DIRECTIONS[metric]}: fewer "
            "have no direction. Take euclidean."
        )
    if metric in DIRECTIONS:
        centred = prototype - namespace(prototype).mean(prototype) if metric == "correlation" else prototype
        if not scalar(namespace(centred).max(abs(centred))) > 0:  # synchronize
            raise ValueError(
                f"metric is {metric!r}, and the prototype {host_array(prototype).tolist()} has no direction. Give one "
                f"that is not {'the same in all channels' if metric == 'correlation' else '0'}, or take euclidean."
            )
    if metric in OWN:
        return OWN[metric](channels, prototype)
    if not is_host_array(channels):
        raise TypeError(
            f"metric is {metric!r}, which SciPy computes on the CPU; accepted on a GPU are {', '.join(OWN)}, and a "
            "function. Take one of them, or pass a NumPy array."
        )
    from scipy.spatial.distance import cdist

    pixels = from_rows(channels)
    return cdist(pixels.reshape(-1, count), prototype[None], metric)[:, 0].reshape(pixels.shape[:-1])


def _by_function(metric: Callable[[Any, Any], Any], features: Any, prototype: Any) -> Any:
    """What a function gives, (…), checked and in the dtype of the features (…, C)."""
    found = metric(features, prototype)
    shape, expected = tuple(getattr(found, "shape", ())), tuple(features.shape[:-1])
    if shape != expected:
        raise ValueError(
            f"metric gives shape {shape} for features of shape {tuple(features.shape)} and a prototype of shape "
            f"{tuple(prototype.shape)}; accepted is {expected}, one distance for each pixel. Reduce the last axis."
        )
    return like(found, features)


def check_finite(distances: Any, metric: Metric, valid: Any = None) -> None:
    """Raise ValueError for distances (H, J, W) of `valid` pixels (H, W) that are NaN or infinite."""
    xp = namespace(distances)
    wrong = ~xp.isfinite(distances)
    if valid is not None:
        wrong = wrong & valid[..., None, :]
    count = int(xp.sum(xp.astype(wrong, xp.int64)))  # synchronize
    if count:
        name = repr(metric) if isinstance(metric, str) else getattr(metric, "__name__", repr(metric))
        raise ValueError(
            f"metric {name} gives {count} distance(s) that are NaN or infinite; accepted are finite ones. Leave those "
            "pixels out by a mask, or take another metric."
        )
