"""A learned map from features to weights as a map from an image to the weights of its flow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..io.tensors import digest
from .features import check_channels, feature_names, features_name, known_reach, pixel_features
from .model import WeightMap

__all__ = ["PredictedWeights"]


@dataclass(frozen=True, eq=False, repr=False)
class PredictedWeights:
    """Weights predicted from an image, a :class:`gpulaf.averaging.WeightSource` (4.3)–(4.4).

    Parameters
    ----------
    weights : WeightMap
        On the host.
    features : int or callable
        Radius of the raw patch, or image (H, W, C) to features (H, F, W).
    n_channels : int
        C, those of probabilities included.
    feature_scale : (F,) array, optional
        What the features of a callable are multiplied by.
    spacing : (sy, sx) or (sz, sy, sx)
        Distance of the pixels on each axis in the training; three of volumes.
    sees_probabilities : bool
        Whether the last channels are the probabilities that are refined, of all labels but one.
    """

    weights: WeightMap
    features: int | Callable[[Any], Any]
    n_channels: int
    feature_scale: np.ndarray | None = None
    spacing: tuple[float, ...] = (1.0, 1.0)
    sees_probabilities: bool = False

    def __call__(self, features: Any) -> Any:
        """(H, W, C) scaled image to (H, N, W) patches, or to a list of those, or of the stages, of all layers.

        (D, H, W, C) of a volume to (D, H, N, W).

        Raises
        ------
        ValueError
            If the image has another number of channels.
        """
        check_channels(features, self.n_channels, len(self.spacing))
        return self.weights.bound(pixel_features(features, self.features, self.feature_scale)).layers

    @property
    def radius(self) -> int:
        """Of the patches, 1 for 3×3."""
        return self.weights.radius

    @property
    def reach(self) -> int | None:
        """Pixels around a pixel that its weights depend on; None for features that do not tell."""
        own = known_reach(self.features)
        return None if own is None else self.weights.reach_with(own)

    @property
    def concurrent(self) -> bool:
        """Whether several threads may make weights at the same time: features of this library can."""
        return not callable(self.features) or feature_names(self.features) is not None

    def workspace(self, channels: int) -> int:
        """Numbers per pixel that are held while weights are predicted, at most."""
        return self.weights.workspace() + 2 * channels + 8

    def __repr__(self) -> str:
        """The features and a digest of all tensors, which tell one model from another."""
        scale = np.ones(0) if self.feature_scale is None else self.feature_scale
        tensors = (*self.weights.tensors.values(), scale, self.spacing)
        whole = hashlib.sha256("".join(digest(np.asarray(x, np.float64)) for x in tensors).encode())
        return f"PredictedWeights({whole.hexdigest()[:16]}, features={features_name(self.features)})"
