"""Averaging Ω over neighborhoods, and the weights it is made of.

The interface (`base`), the grid of an image or volume with its kernels (`grid`), any graph as a sparse matrix (`graph`,
`sparsity`), graphs of points and regions (`graph_builders`), either of them with coupled labels (`coupled`), weight
patches (`patches`, `bilateral`), those of invalid pixels and of parts of an image (`masks`), and maps from an image to
its weights (`sources`). Imports backend, simplex and kernels.
"""

from .base import Averaging
from .bilateral import bilateral_weights
from .coupled import CoupledLabels
from .graph import Graph
from .graph_builders import nearest_neighbor_graph, region_graph, region_means
from .grid import Grid, as_averaging
from .masks import mask_weights
from .patches import (
    check_weights,
    normalize_weights,
    spaced_weights,
    uniform_weights,
)  # fmt: skip
from .sources import BilateralWeights, WeightSource

__all__ = [
    "Averaging", "BilateralWeights", "CoupledLabels", "Graph", "Grid", "WeightSource", "as_averaging",
    "bilateral_weights", "check_weights", "mask_weights", "nearest_neighbor_graph", "normalize_weights", "region_graph",
    "region_means", "spaced_weights", "uniform_weights",
]  # fmt: skip
