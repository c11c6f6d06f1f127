"""Check that arrays fit together before a compiled loop runs over them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .array import floating_dtype, is_array, namespace

__all__ = ["check_floating", "check_like", "check_real", "unit_of"]


def check_floating(x: Any, name: str, accepted: str, *, empty: bool = False) -> None:
    """Raise an error for what is no array of floating numbers (…, J, W).

    Parameters
    ----------
    x : array
    name : str
        How a user calls it.
    accepted : str
        Its shape, as ``(H, J, W)``.
    empty : bool
        Whether it may hold nothing.
    """
    _check_array(x, name, accepted)
    if x.ndim < 2 or (0 in x.shape and not empty):
        raise ValueError(
            f"{name} {_have(name)} shape {tuple(x.shape)}; accepted is {accepted}, with at least one number."
        )
    if not namespace(x).isdtype(x.dtype, "real floating"):
        raise TypeError(f"{name} {_have(name)} dtype {x.dtype}; accepted are floating dtypes. Convert it first.")


def check_like(x: Any, name: str, like: Any, shape: tuple[int, ...] | None = None) -> None:
    """Raise an error unless `x` has the shape, dtype and library of another array.

    Parameters
    ----------
    x : array
    name : str
        How a user calls it.
    like : array
    shape : tuple of int, optional
        Accepted instead of that of `like`.

    Raises
    ------
    ValueError
        For another shape.
    TypeError
        For another dtype or library, and what is no array.
    """
    accepted = like.shape if shape is None else shape
    if type(x) is type(like) and x.shape == accepted and x.dtype == like.dtype:
        return
    _check_array(x, name, str(tuple(accepted)))
    if tuple(x.shape) != tuple(accepted):
        raise ValueError(f"{name} {_have(name)} shape {tuple(x.shape)}; accepted is {tuple(accepted)}.")
    if namespace(x) is not namespace(like):
        raise TypeError(
            f"{name} {_have(name)} the type of {_library(x)}; accepted is that of {_library(like)}. Move or convert it."
        )
    if x.dtype != like.dtype:
        raise TypeError(f"{name} {_have(name)} dtype {x.dtype}; accepted is {like.dtype}. Convert it first.")


def check_real(x: Any, name: str) -> None:
    """Raise TypeError for arrays of another dtype than float32 and float64."""
    if x.dtype != floating_dtype(x):
        raise TypeError(f"{name} {_have(name)} dtype {x.dtype}; accepted are float32 and float64. Convert it first.")


def unit_of(values: np.ndarray) -> float:
    """A power of two near the largest of finite numbers: in this unit they have squares, and keep their digits."""
    return float(2.0 ** min(max(np.frexp(np.abs(values).max())[1], -1000), 1000))


def _check_array(x: Any, name: str, accepted: str) -> None:
    """Raise TypeError for what is no array, and for masked arrays, whose mask the loops would not see."""
    if not is_array(x) or isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{name} {_have(name)} the type {type(x).__name__}; accepted is an array of shape {accepted}. Pass values "
            "alone, without a mask."
        )


def _have(name: str) -> str:
    """The verb after a name: weights have, v has."""
    return "have" if name.endswith("s") else "has"


def _library(x: Any) -> str:
    return type(x).__module__.partition(".")[0]
