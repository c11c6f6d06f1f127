"""Cross entropy in which pixels near a boundary of the truth count more: thin structures are all boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend.array import host_array
from ..backend.operands import check_floating
from .loss import Loss, cross_entropy_loss, known_truth

__all__ = ["BoundaryLoss", "boundary_weights"]


@dataclass(frozen=True)
class BoundaryLoss:
    """Cross entropy whose pixels count 1 + a·exp(−d²/2s²) times, d their distance to the nearest boundary.

    The boundary weight of U-Net (Ronneberger, Fischer, Brox 2015) with the distance to the nearest change of the label
    in the place of that to the two nearest cells, for labels of any kind.

    Parameters
    ----------
    weight : float
        a: what a pixel at a boundary counts more than one far away.
    width : float
        s, in pixels.
    """

    weight: float = 5.0
    width: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"weight is {self.weight}; accepted are numbers from 0. 5 is usual.")
        if not 0 < self.width < float("inf"):
            raise ValueError(f"width is {self.width}; accepted are positive numbers of pixels. 2 is usual.")

    def __call__(self, v: Any, truth: Any, *, class_weights: Any = None, batch: int = 0) -> Loss:
        """The loss of v (…, H, J, W) with truth (…, H, W), as :func:`gpulaf.cross_entropy_loss`."""
        check_grid(v, batch)
        pixels = boundary_weights(truth, self.weight, self.width, batch=batch)
        return cross_entropy_loss(v, truth, class_weights=class_weights, pixel_weights=pixels, batch=batch)


def boundary_weights(truth: Any, weight: float, width: float, *, batch: int = 0) -> np.ndarray:
    """1 + a·exp(−d²/2s²) of every pixel, on the host, with d the distance to a pixel that touches another label.

    Pixels of −1 have no label that others could touch. An image of one label has no boundary and weights of 1.
    """
    from scipy.ndimage import distance_transform_edt

    labels = host_array(known_truth(truth))  # synchronize
    weights = np.ones(labels.shape)
    for image in np.ndindex(labels.shape[:batch]):
        border = touching(labels[image])
        if border.any():
            d = distance_transform_edt(~border)
            weights[image] += weight * np.exp(-0.5 * (d / width) ** 2)
    return weights


def check_grid(v: Any, batch: int) -> None:
    """Raise ValueError for v whose pixels have no neighbors, (J, n) of a graph."""
    check_floating(v, "v", "(H, J, W) or (D, H, J, W)")
    if v.ndim - batch < 3:
        raise ValueError(
            f"v has shape {tuple(v.shape)}; accepted are (H, J, W) and (D, H, J, W): the loss looks at neighbors on a "
            "grid. Take cross_entropy_loss on a graph."
        )


def touching(labels: np.ndarray) -> np.ndarray:
    """Where a pixel shares a face with one of another label."""
    border = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        before, after = (np.moveaxis(labels, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        change = (before != after) & (before >= 0) & (after >= 0)
        along = np.moveaxis(border, axis, 0)
        along[:-1] |= change
        along[1:] |= change
    return border
