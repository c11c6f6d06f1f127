"""Arrays of other libraries: torch tensors, xarray with named axes, JAX and others become NumPy or CuPy arrays."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np
from array_api_compat import is_dask_array, is_jax_array, is_torch_array

__all__ = ["LETTERS", "adopted", "named_axes"]

#: Names of axes, in xarray and in Zarr, by letter.
NAMES = {
    "y": ("y", "row", "rows", "lat", "latitude", "northing", "height", "line"),
    "x": ("x", "col", "cols", "column", "columns", "lon", "longitude", "easting", "width"),
    "z": ("z", "depth", "plane", "slice", "level", "altitude"),
    "c": ("c", "s", "channel", "channels", "band", "bands", "sample", "wavelength", "label", "labels", "class"),
    "t": ("t", "time", "frame", "date"),
}
LETTERS = {name: letter for letter, names in NAMES.items() for name in names}
#: Names that xarray gives axes which have none.
UNNAMED = "dim_"


def adopted(x: Any, name: str) -> Any:
    """A torch tensor, a JAX array or one of xarray as a NumPy array, one on a GPU as a CuPy array; others as they are.

    Memory is shared where the library allows it. The axes of xarray keep their order: see :func:`named_axes`.

    Raises
    ------
    TypeError
        For a tensor that requires a gradient, an array of Dask, and several arrays under names.
    """
    if isinstance(x, np.ndarray):
        return x
    if is_torch_array(x):
        return _of_torch(x, name)
    if is_dask_array(x):
        raise TypeError(
            f"{name} is an array of Dask; accepted are NumPy and CuPy arrays. Label it tile by tile with "
            "gpulaf.tiling.label_array, or pass its values by compute()."
        )
    if _of(x, "xarray") and not hasattr(x, "dtype"):
        raise TypeError(
            f"{name} is an xarray {type(x).__name__}; accepted is one DataArray of it. Pick it by its name."
        )
    return np.asarray(x) if is_jax_array(x) or _of(x, "xarray") else x


def named_axes(x: Any, channel_axis: int | None, name: str) -> tuple[Any, int | None]:
    """An array with its axes in the order (z,) y, x and channels or labels, where they have names; else as it is.

    Parameters
    ----------
    x : array
    channel_axis : int or None
        What was said of it; -1 and None are what is said of most arrays.
    name : str
        How a user calls it.

    Returns
    -------
    array, channel_axis
        Of named axes the last one, counted from 0, or None where there are no channels.

    Raises
    ------
    ValueError
        If the names are not known, or contradict `channel_axis`.
    """
    named = _of(x, "xarray") and hasattr(x, "dtype") and x.ndim > 1
    if not named or all(str(dim).startswith(UNNAMED) for dim in x.dims):
        return adopted(x, name), channel_axis
    letters, values = [LETTERS.get(str(dim).lower(), "?") for dim in x.dims], adopted(x, name)
    if len(set(letters)) < len(letters) or not {"y", "x"} <= set(letters) <= set("zyxc"):
        raise ValueError(
            f"{name} has axes named {', '.join(map(str, x.dims))}; accepted are those of y and x, also z and channel, "
            f"each once. Rename them, pick one image, or pass {name}.values without names."
        )
    if channel_axis not in (-1, None) and letters[channel_axis] != "c":
        raise ValueError(
            f"channel_axis is {channel_axis}, and that axis of {name} is named {x.dims[channel_axis]}. "
            "Leave channel_axis out."
        )
    values = np.transpose(values, [letters.index(letter) for letter in "zyxc" if letter in letters])
    return values, values.ndim - 1 if "c" in letters else None


def _of_torch(x: Any, name: str) -> Any:
    if x.requires_grad:
        raise TypeError(
            f"{name} is a tensor that requires a gradient, which would be lost here. Pass {name}.detach(), or take the "
            "flow of gpulaf.torch, which has one."
        )
    if str(x.dtype) == "torch.bfloat16":  # which NumPy does not have
        x = x.float()
    x = x.resolve_conj().resolve_neg()
    return import_module("cupy").from_dlpack(x) if x.is_cuda else x.cpu().numpy()


def _of(x: Any, library: str) -> bool:
    """Whether an object is of a library, which is not imported for that."""
    return library in sys.modules and type(x).__module__.partition(".")[0] == library
