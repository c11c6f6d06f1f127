"""Where the flow starts (2.20): W₀ of every label, or of every label at each pixel."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.array import filled, host_array, like, namespace
from ..backend.validation import real_array
from ..fields import pixel_shape, to_rows

__all__ = ["check_prior", "log_prior", "of_pixels", "part_of_prior"]

#: How far the sum over the labels may be from 1, as of probabilities that are refined.
SUM = 1e-3


def check_prior(prior: Any) -> None:
    """Raise an error for a prior of the wrong kind, or of all pixels that is no point of the simplex."""
    if prior is None:
        return
    array = real_array(prior, "prior")
    if array.ndim not in (1, 2, 3, 4):
        raise ValueError(
            f"prior has shape {tuple(array.shape)}; accepted are (J,), one probability for each label, and (H, W, J)."
        )
    if array.ndim == 1:
        _check_values(host_array(array).astype(np.float64))


def log_prior(prior: Any, fields: Any, valid: Any = None) -> Any:
    """log W₀ of fields (H, J, W): (J, 1) for all pixels, or (H, J, W), 0 where not `valid`; None of the barycenter.

    Raises
    ------
    ValueError
        If the prior has other pixels or labels, or is not positive with the sum 1 at some valid pixel.
    """
    if prior is None:
        return None
    array, labels = real_array(prior, "prior"), fields.shape[-2]
    expected = (*pixel_shape(fields), labels)
    if tuple(array.shape) not in ((labels,), expected):
        raise ValueError(
            f"prior has shape {tuple(array.shape)}; accepted are ({labels},), one probability for each label, and "
            f"{expected}, those of every pixel."
        )
    xp = namespace(fields)
    if array.ndim == 1:
        return like(np.log(host_array(array).astype(np.float64))[:, None], fields)
    values = like(array, fields)
    if valid is not None:
        values = filled(values, valid[..., None], 1 / labels)
    _check_values(values)
    return to_rows(xp.log(values))


def of_pixels(prior: Any) -> bool:
    """Whether a prior has values of its own for every pixel of one image."""
    return prior is not None and real_array(prior, "prior").ndim > 1


def part_of_prior(start: Any, window: tuple[slice, slice]) -> Any:
    """log W₀ of a part of an image."""
    return start if start is None or start.ndim == 2 else start[window[0], :, window[1]]


def _check_values(values: Any) -> None:
    """Raise ValueError for values (…, J) that are not positive or do not sum to 1."""
    xp = namespace(values)
    least = float(xp.min(values))  # synchronize
    if not least > 0:
        raise ValueError(
            f"prior goes down to {least:.4g}; accepted are positive probabilities: a label that starts at 0 stays "
            "there, and log 0 is no number. Take a small one, as 1e-6."
        )
    miss = float(xp.max(xp.abs(xp.sum(values, axis=-1) - 1)))  # synchronize
    if not miss <= SUM:
        raise ValueError(
            f"prior misses a sum of 1 over the labels by up to {miss:.4g}; accepted is {SUM}. Divide it by its sum."
        )
