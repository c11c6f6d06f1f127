"""Images larger than memory, or than one machine: the whole image's labels, tile by tile.

How far a label looks (`halo`), Dask arrays (`dask_array`), and from file to file: the input (`source`, `layouts`), the
size of tiles (`sizing`), the run (`label_file`, `run`, `job`, `engine`), what it stores (`store`, `outputs`,
`pyramid`). Imports labeling and what is below it.
"""

from .dask_array import LabelArrays, label_array, refine_array
from .halo import tile_halo
from .job import sample_prototypes
from .label_file import TiledLabeling, label_file
from .sizing import Tiling
from .source import open_image, open_source

__all__ = [
    "LabelArrays",
    "TiledLabeling",
    "Tiling",
    "label_array",
    "label_file",
    "open_image",
    "open_source",
    "refine_array",
    "sample_prototypes",
    "tile_halo",
]
