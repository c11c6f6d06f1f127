"""The distances of the pixels of a training: given, or as the files of its volumes say."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from warnings import warn

import numpy as np

from ..backend.validation import calling_level, check_spacing
from ..io.images import FileWarning, read_spacing
from .samples import Files, Samples, is_path

__all__ = ["common_spacing", "told_spacing"]


def common_spacing(samples: Samples, given: Sequence[float] | None = None) -> tuple[float, ...]:
    """The distance of the pixels on each axis: the given one, that of the files of volumes, or 1.

    Raises
    ------
    ValueError
        If another number of distances is given than the truths have axes.

    Warns
    -----
    FileWarning
        If files say other distances than the first one, or than the given ones.
    """
    axes = samples.axes
    if given is not None and len(given) != axes:
        what = "volumes, (D, H, W)" if axes == 3 else "images, (H, W)"
        raise ValueError(f"spacing is {tuple(given)} and the truths are {what}; accepted are {axes} distances.")
    check_spacing(given, axes)
    spacing = None if given is None else tuple(map(float, given))
    paths = samples.images.paths if isinstance(samples.images, Files) else samples.images
    channel_axis = samples.images.channel_axis if isinstance(samples.images, Files) else None
    for k in range(len(paths) if axes == 3 else 0):
        found = None
        if is_path(paths[k]):
            with suppress(ValueError, TypeError):  # what is wrong with it is said where it is read
                found = read_spacing(paths[k], channel_axis=channel_axis)
        if found is None or (spacing is not None and np.allclose(found, spacing, rtol=0.01, atol=0)):
            continue
        if spacing is not None:
            told, said = _text(spacing), _text(found)
            text = f"{samples.called(k)} says distances of {said} between its voxels; the training takes {told}."
            warn(text, FileWarning, stacklevel=calling_level())
            break
        spacing = found
    return spacing or (1.0,) * axes


def told_spacing(own: Sequence[float], found: Sequence[float] | None, path: Any) -> str | None:
    """A sentence where a file says other distances of its voxels than those of the training; None where it does not."""
    if found is None or np.allclose(found, own, rtol=0.01, atol=0):
        return None
    return (
        f"the model was trained on voxels at distances of {_text(own)}, and {path} says {_text(found)}: what was "
        "learned is applied voxel by voxel."
    )


def _text(spacing: Sequence[float]) -> str:
    return ", ".join(f"{size:.6g}" for size in spacing)
