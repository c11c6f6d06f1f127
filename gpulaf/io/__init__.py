"""Files: what they say is read, and results are written whole or not at all.

From file to contents (`contents`): TIFF (`tiff`, `tiff_tags`), Zarr (`zarrs`), pictures (`pictures`), .npy and
others; which axis is which (`axes`), where the pixels lie (`place`), parts of stored arrays (`stored`), what is said
where a file cannot be read (`failures`). Images and predictions in memory (`images`), ground truth (`truth`), label
prototypes (`prototypes`), atomic replacement (`atomic`), results that find another place where theirs fails
(`results`), tensors with metadata in safetensors (`tensors`), pairs of files by their names (`pairing`). Imports
backend alone.
"""

from .atomic import whole_file
from .images import (
    FileWarning,
    Record,
    read_image,
    read_record,
    read_soft,
    read_volume,
    write_array,
    write_figure,
)
from .pairing import expanded, paired
from .place import Place
from .prototypes import PrototypeTable, read_prototypes, write_prototypes
from .tensors import read_tensors, write_tensors
from .truth import read_truth, read_values

__all__ = [
    "FileWarning", "Place", "PrototypeTable", "Record", "expanded", "paired", "read_image", "read_prototypes",
    "read_record", "read_soft", "read_tensors", "read_truth", "read_values", "read_volume", "whole_file", "write_array",
    "write_figure", "write_prototypes", "write_tensors",
]  # fmt: skip
