"""Images larger than memory, or than one machine: from file to file, tile by tile."""

from __future__ import annotations

from .labeler import Labeler, PredictedWeights, sample_prototypes
from .labeling import TiledLabeling, label_file
from .plan import Tiling
from .source import open_image, open_source

__all__ = [
    "Labeler",
    "PredictedWeights",
    "TiledLabeling",
    "Tiling",
    "label_file",
    "open_image",
    "open_source",
    "sample_prototypes",
]
