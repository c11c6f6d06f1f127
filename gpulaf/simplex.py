"""The open probability simplex with its Fisher–Rao geometry: labels (or neighbors) on axis −2.

Every function acts on each pixel alike: arrays are rows of labels (…, J, W), and the simplex runs over the J entries.
Source: Zeilmann, Petra, Schnörr, J. Math. Imaging Vis. 65 (2023), Sect. 2.1.
"""

from __future__ import annotations

from typing import Any

from .backend.array import namespace, rows
from .backend.dispatch import implementation
from .backend.operands import check_floating, check_like
from .fields import pixel_shape


def project(x: Any) -> Any:
    """Π₀ x = x − mean(x): orthogonal projection on the tangent space T₀ (2.11a).

    Parameters
    ----------
    x : (…, J, W) floating array

    Returns
    -------
    (…, J, W) array, same dtype; its entries sum to 0 over axis −2.
    """
    xp = namespace(x)
    return x - xp.mean(x, axis=-2, keepdims=True)


def replicator(p: Any, x: Any) -> Any:
    """R_p x = p∘x − p⟨p, x⟩: the replicator map, also the inverse metric at p (2.11b).

    Parameters
    ----------
    p : (…, J, W) floating array
        Points of the simplex.
    x : (…, J, W) floating array

    Returns
    -------
    (…, J, W) array, same dtype.
    """
    xp = namespace(p, x)
    return p * (x - xp.sum(p * x, axis=-2, keepdims=True))


def softmax(x: Any) -> Any:
    """e^x / Σ e^x over axis −2, for any finite x.

    Parameters
    ----------
    x : (…, J, W) floating array

    Returns
    -------
    (…, J, W) array of probabilities, same dtype.
    """
    xp = namespace(x)
    exponential = xp.exp(x - xp.max(x, axis=-2, keepdims=True))
    return exponential / xp.sum(exponential, axis=-2, keepdims=True)


def lift(p: Any, v: Any) -> Any:
    """exp_p(v) = p e^v / ⟨p, e^v⟩ = softmax(log p + v): the lifting map (2.11e).

    Parameters
    ----------
    p : (…, J, W) floating array
        Points of the open simplex.
    v : (…, J, W) floating array
        Tangent vectors; a constant added to a pixel changes nothing.

    Returns
    -------
    (…, J, W) array, same dtype.
    """
    return softmax(namespace(p).log(p) + v)


def entropy(p: Any) -> Any:
    """−Σ p log p over axis −2, in nats; 0 log 0 = 0.

    Parameters
    ----------
    p : (…, J, W) floating array of probabilities

    Returns
    -------
    (…, W) array, same dtype; between 0 and log J.
    """
    xp = namespace(p)
    safe = xp.where(p > 0, p, xp.ones_like(p))
    return -xp.sum(p * xp.log(safe), axis=-2)


def geodesic_step(
    p: Any, x: Any, *, factor: float = 1.0, scale: Any = None, bound: float = 5.0, floor: float = 1e-10
) -> Any:
    """Exp_p(s R_p x) = p∘e^sx / ⟨p, e^sx⟩: a step along the e-geodesic with tangent R_p x (3.7), kept in the simplex.

    Entries of p that are exactly 0 stay 0 (the neighbors outside the image); every other entry of the result is at
    least `floor` before they are normalized, and an entry changes by at most a factor e^(2·bound) before that.

    Parameters
    ----------
    p : (…, N, W) floating array
        Points of the simplex, or of one of its faces.
    x : (…, N, W) floating array
        The direction in log-coordinates: ∂L for descent. A constant added to a pixel changes nothing.
    factor : float
        s, the length of the step: −h for descent.
    scale : (…, W) array, optional
        Multiplies s, a number for every pixel.
    bound : float
        The largest absolute entry of the step, once its mean under p is taken out.
    floor : float
        The smallest weight of an existing neighbor.

    Returns
    -------
    (…, N, W) array, same dtype.

    Raises
    ------
    ValueError, TypeError
        If the shapes or dtypes do not fit together.
    """
    check_floating(p, "p", "(…, N, W)")
    check_like(x, "x", p)
    if scale is not None:
        check_like(scale, "scale", p, pixel_shape(p))
    xp = namespace(p)
    rates = None if scale is None else xp.reshape(scale, (-1, scale.shape[-1]))
    moved = implementation("geodesic", p)(rows(p), rows(x), factor, rates, bound=bound, floor=floor)
    return xp.reshape(moved, p.shape)
