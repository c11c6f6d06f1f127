"""Check numbers and counts that users give."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["check_count", "check_number"]


def check_number(value: Any, name: str, low: float = 1e-12, high: float = 1e12, usual: str = "") -> float:
    """Return a number as one of Python; raise an error for what is none, or none from `low` to `high`.

    Parameters
    ----------
    value : number
    name : str
        How a user calls it.
    low, high : float
        The smallest and the largest that are accepted.
    usual : str
        A sentence about usual ones.

    Raises
    ------
    TypeError, ValueError
        With the value, what is accepted and the next step.
    """
    sort = "positive numbers" if low > 0 else "numbers"
    usual = f" {usual}" if usual else ""
    ends = f"{',' * (low > 0)} from {low:g} to {high:g}".replace("e+", "e")
    if np.ndim(value) or np.asarray(value).dtype.kind not in "iuf":
        raise TypeError(f"{name} is {value!r}; accepted are {sort}.{usual}")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; accepted are {sort}{ends}.{usual}")
    return float(value)


def check_count(
    value: Any, name: str, low: int = 1, high: int = 10**9, usual: str = "", *, optional: bool = False
) -> None:
    """Raise an error for what is no whole number from `low` to `high`, nor None where that is `optional`.

    Raises
    ------
    TypeError, ValueError
        With the value, what is accepted and the next step.
    """
    if value is None and optional:
        return
    accepted = f"whole numbers from {low}" + (f" to {high}" if high < 10**9 else "") + (", or None" if optional else "")
    text = f"{name} is {value!r}; accepted are {accepted}." + (f" {usual}" if usual else "")
    if np.ndim(value) or np.asarray(value).dtype.kind not in "iuf":
        raise TypeError(text)
    if np.asarray(value).dtype.kind == "f" or not low <= value <= high:
        raise ValueError(text)
