"""Files, written whole or not at all.

Atomic replacement (`atomic`), tensors with metadata in safetensors (`tensors`), images, ground truth and predictions
(`images`), pairs of files by their names (`pairing`). Imports backend alone.
"""

from .atomic import whole_file
from .images import (
    read_array,
    read_image,
    read_prototypes,
    read_truth,
    read_values,
    read_volume,
    write_array,
    write_figure,
)
from .pairing import expanded, paired
from .tensors import read_tensors, write_tensors

__all__ = [
    "expanded", "paired", "read_array", "read_image", "read_prototypes", "read_tensors", "read_truth",
    "read_values", "read_volume", "whole_file", "write_array", "write_figure", "write_tensors",
]  # fmt: skip
