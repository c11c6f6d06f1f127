"""Images larger than memory, or than one machine: the whole image's labels, tile by tile.

How far a label looks (`halo`), Dask arrays (`dask_array`), and from file to file: the input (`source`), the
size of tiles (`sizing`), what is done (`label_file`, `refine_file`; `jobs`, `plan`, `label_task`, `prototypes`,
`engine`), what is stored (`store`, `outputs`, `pyramid`). Imports labeling and what is below it.
"""

from .dask_array import LabelArrays, label_array, refine_array
from .halo import largest_tile, tile_halo
from .jobs import TiledLabeling
from .label_file import label_file
from .prototypes import sample_prototypes
from .refine_file import refine_file
from .sizing import Tiling
from .source import open_image, open_source

__all__ = [
    "LabelArrays", "TiledLabeling", "Tiling", "label_array", "label_file", "largest_tile", "open_image",
    "open_source", "refine_array", "refine_file", "sample_prototypes", "tile_halo",
]  # fmt: skip
