"""Weights that are made from an image, of the whole of it or of a tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend.validation import image_features
from .patches import bilateral_weights

__all__ = ["BilateralWeights"]


@dataclass(frozen=True)
class BilateralWeights:
    """Bilateral weights of every tile: :func:`gpulaf.bilateral_weights` of the image as :func:`gpulaf.label` scales it.

    Parameters
    ----------
    sigma : float
        Scale of the features, in scaled image units.
    radius : int
        1 for 3×3 patches.
    """

    sigma: float = 0.1
    radius: int = 1

    def __post_init__(self) -> None:
        """Refuse at once what every tile would fail with."""
        bilateral_weights(np.zeros((1, 1)), sigma=self.sigma, radius=self.radius)

    @property
    def reach(self) -> int:
        """Pixels that the weights of a pixel look around."""
        return self.radius

    def floats(self, channels: int) -> int:
        """Numbers per pixel that are held while the weights are made, at most."""
        return 7 * (2 * self.radius + 1) ** 2 + 4 * channels + 8

    def __call__(self, image: Any) -> Any:
        """(H, W) or (H, W, C) image to (N, H, W) weight patches."""
        return bilateral_weights(image_features(image)[0], sigma=self.sigma, radius=self.radius)
