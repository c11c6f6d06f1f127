"""Images larger than memory, or than one machine: from file to file, tile by tile."""

from __future__ import annotations

from .job import Labeler, sample_prototypes
from .label_file import TiledLabeling, label_file
from .sizing import Tiling
from .source import open_image, open_source

__all__ = [
    "Labeler",
    "TiledLabeling",
    "Tiling",
    "label_file",
    "open_image",
    "open_source",
    "sample_prototypes",
]
