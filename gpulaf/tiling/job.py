"""What is done with the window of one tile: its labels, and on request its probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..backend.array import device_array, host_array
from ..backend.validation import image_features
from ..integrators import Taylor
from ..integrators.base import Integrator
from ..labeling.label import label, smallest_unsigned
from ..labeling.likelihood import prototype_array
from .halo import fixed, tile_halo
from .source import Source
from .store import Place, write_block

__all__ = ["LabelTiles", "Labeler", "sample_prototypes"]

#: Windows that prototypes are found from, and their side in pixels.
SAMPLES, SAMPLE_SIDE = 64, 128


@dataclass(frozen=True, eq=False)
class Labeler:
    """Labels windows of an image, away from their edges just as it would label the whole image.

    Parameters
    ----------
    prototypes : (J, C) array
        In scaled image units, 0 to 1 for uint8 and uint16 images.
    weights : BilateralWeights, PredictedWeights or callable, optional
        ``weights(features)``: (H, W, C) scaled image to (N, H, W) patches, with the attributes ``reach`` and ``radius``
        of :func:`gpulaf.tiling.tile_halo`; its ``repr`` tells it from others. Uniform 3×3 weights if None.
    rho, time
        As in :func:`gpulaf.label`.
    integrator : Taylor or Euler
        Taken with the degree that `time` needs at most, so that every tile is solved alike.
    values : (J,) array, optional
        What stands for the labels in the result; 0 … J−1 if None.
    device : str
        cpu, gpu or auto.

    Raises
    ------
    ValueError, TypeError
        If no tile could be labeled so, whatever its pixels.
    """

    prototypes: np.ndarray
    weights: Callable[[Any], Any] | None = None
    rho: float = 0.1
    time: float | Sequence[float] = 3.0
    integrator: Integrator = field(default_factory=Taylor)
    values: np.ndarray | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse at once what every tile would fail with."""
        prototype_array(self.prototypes, np.empty((1, 1, np.shape(self.prototypes)[-1])))
        if not self.rho > 0:
            raise ValueError(f"rho is {self.rho}; accepted are positive numbers. 0.1 suits values from 0 to 1.")
        fixed(self.integrator, self.time)

    @property
    def labels(self) -> int:
        """J."""
        return len(self.prototypes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned dtype that holds the labels, or the values that stand for them."""
        if self.values is None:
            return smallest_unsigned(self.labels)
        return np.min_scalar_type(int(max(self.values)))

    @property
    def halo(self) -> int:
        """Pixels around a tile that its labels depend on: those of the flow, and those that the weights look at."""
        return tile_halo(self.time, integrator=self.integrator, weights=self.weights)

    def __call__(self, window: np.ndarray) -> tuple[np.ndarray, Any]:
        """Labels (H, W) and probabilities (H, W, J) of a window."""
        features = device_array(image_features(window)[0], self.device)
        weights = None if self.weights is None else self.weights(features)
        integrator = fixed(self.integrator, self.time)[0]
        result = label(features, self.prototypes, weights=weights, rho=self.rho, time=self.time, integrator=integrator)
        labels = host_array(result.labels)
        return labels if self.values is None else self.values.astype(self.dtype)[labels], result.probabilities


@dataclass(frozen=True)
class LabelTiles:
    """The job of a tile: read it with its halo, label it, write what lies inside."""

    source: Source
    labeler: Labeler
    folder: Path
    side: int
    #: Names of the arrays in the folder; no probabilities if None.
    labels: str = "labels"
    probabilities: str | None = None

    def read(self, place: Place) -> np.ndarray:
        """The window of a tile."""
        return self.source[place.window(self.side, self.source.shape, self.labeler.halo)]

    def compute(self, place: Place, read: np.ndarray) -> dict[str, np.ndarray]:
        """What lies inside the tile, for each array."""
        outer = place.window(self.side, self.source.shape, self.labeler.halo)
        inner = place.window(self.side, self.source.shape)
        cut = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
        labels, probabilities = self.labeler(read)
        blocks = {self.labels: labels[cut].copy()}  # not a view, which would keep the whole window
        if self.probabilities is not None:
            blocks[self.probabilities] = host_array(probabilities[cut]).copy()
        return blocks

    def write(self, place: Place, blocks: dict[str, np.ndarray]) -> dict[str, Any]:
        """Write it; the files."""
        inner, files = place.window(self.side, self.source.shape), dict[str, Any]()
        for name, block in blocks.items():
            files |= write_block(self.folder, name, inner, block)
        return files


def sample_features(source: Source, *, seed: int = 0) -> Any:
    """Scaled (H, W, C) features of windows here and there; of the whole image where it is not larger than those."""
    height, width = source.shape[:2]
    if height * width <= SAMPLES * SAMPLE_SIDE**2:
        return image_features(source[:, :])[0]
    rng = np.random.default_rng(seed)
    sides = min(SAMPLE_SIDE, height), min(SAMPLE_SIDE, width)
    corners = [rng.integers(0, n - side + 1, SAMPLES) for n, side in zip((height, width), sides, strict=True)]
    windows = [source[y : y + sides[0], x : x + sides[1]] for y, x in zip(*corners, strict=True)]
    return image_features(np.concatenate([window.reshape(1, -1, *source.shape[2:]) for window in windows]))[0]


def sample_prototypes(source: Source, labels: int, *, seed: int = 0) -> np.ndarray:
    """Label prototypes by k-means of sampled windows: (J, C) in scaled image units, the same for the same image."""
    return prototype_array(int(labels), sample_features(source, seed=seed), seed=seed)
