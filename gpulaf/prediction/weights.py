"""Predicted weight patches as a map from the features of an image to its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend.array import host_array
from ..io.tensors import digest
from .features import check_channels, features_name, known_reach, pixel_features
from .model import Parameters, predict_weights

__all__ = ["PredictedWeights"]


@dataclass(frozen=True, eq=False, repr=False)
class PredictedWeights:
    """Weights predicted from an image, a :class:`gpulaf.averaging.WeightSource` (4.3)–(4.4).

    Parameters
    ----------
    parameters : Parameters
        On the host.
    features : int or callable
        Radius of the raw patch, or image (H, W, C) to features (H, F, W).
    n_channels : int
        C, of the images.
    feature_scale : (F,) array, optional
        What the features of a callable are multiplied by.
    """

    parameters: Parameters
    features: int | Callable[[Any], Any]
    n_channels: int
    feature_scale: np.ndarray | None = None

    def __call__(self, features: Any) -> Any:
        """(H, W, C) scaled image to (H, N, W) patches, or to a list of them where layers have their own.

        Raises
        ------
        ValueError
            If the image has another number of channels.
        """
        check_channels(features, self.n_channels)
        return predict_weights(self.parameters, pixel_features(features, self.features, self.feature_scale))

    @property
    def radius(self) -> int:
        """Of the patches, 1 for 3×3."""
        return (round(self.parameters.tangents.shape[-1] ** 0.5) - 1) // 2

    @property
    def reach(self) -> int | None:
        """Pixels around a pixel that its weights depend on; None for features that do not tell."""
        return known_reach(self.features)

    def workspace(self, channels: int) -> int:
        """Numbers per pixel that are held while weights are predicted, at most."""
        tangents = self.parameters.tangents
        layers = tangents.shape[0] if tangents.ndim == 3 else 1
        return 2 * self.parameters.feature_prototypes.shape[1] + layers * tangents.shape[-1] + 2 * channels + 8

    def __repr__(self) -> str:
        """The features and a digest of all tensors, which tell one model from another."""
        scale = np.ones(0) if self.feature_scale is None else self.feature_scale
        tensors = (*self.parameters, scale)
        whole = hashlib.sha256("".join(digest(host_array(x).astype(np.float64)) for x in tensors).encode())
        return f"PredictedWeights({whole.hexdigest()[:16]}, features={features_name(self.features)})"
