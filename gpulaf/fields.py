"""The layout of fields: rows of labels (…, H, J, W), and conversions from and to every other order of axes.

For every image row there are J lines of W numbers: labels on axis −2, the pixels of a line on axis −1, C-contiguous. An
image is (H, J, W), a volume (D, H, J, W), the nodes of a graph (J, n); weights are (…, H, N, W), the features of a
predictor (H, F, W). Axes before those are a batch of images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_cupy_array, is_numpy_array

__all__ = ["field_shape", "from_rows", "pixel_shape", "to_rows"]


def to_rows(values: Any, label_axis: int = -1) -> Any:
    """Convert values with their labels on any axis to rows of labels.

    Parameters
    ----------
    values : (…, H, W, J) array of any library and dtype; (n, J) of a graph
        Or with the labels, neighbors or channels on another axis.
    label_axis : int
        That axis: −1 for probabilities as images have them, 0 for planes (J, H, W), 1 for a batch (B, J, H, W).

    Returns
    -------
    (…, H, J, W) array, C-contiguous; (J, n) of a graph
        Copied only where the memory of `values` has another order.

    Examples
    --------
    >>> import numpy as np
    >>> from gpulaf.fields import from_rows, to_rows
    >>> field = to_rows(np.zeros((4, 5, 3)))
    >>> field.shape, from_rows(field, 0).shape, np.shares_memory(field, to_rows(from_rows(field)))
    ((4, 3, 5), (3, 4, 5), True)
    """
    xp = array_namespace(values)
    moved = xp.moveaxis(values, label_axis, -2)
    if is_numpy_array(moved):
        return np.ascontiguousarray(moved)
    return xp.ascontiguousarray(moved) if is_cupy_array(moved) else moved


def from_rows(field: Any, label_axis: int = -1) -> Any:
    """View rows of labels (…, H, J, W) with the labels on any axis, the last one as images have them; never a copy."""
    return array_namespace(field).moveaxis(field, -2, label_axis)


def field_shape(pixels: tuple[int, ...], labels: int) -> tuple[int, ...]:
    """The shape (…, H, J, W) of fields on pixels (…, H, W)."""
    return (*pixels[:-1], int(labels), pixels[-1])


def pixel_shape(field: Any) -> tuple[int, ...]:
    """The pixels (…, H, W) of a field (…, H, J, W)."""
    return (*field.shape[:-2], field.shape[-1])
