"""Labels of images, volumes and the nodes of graphs.

One description of a labeling (`labeler`), what it does with fields (`solve`) and its result (`result`), three functions
that make it and apply it (`label`), labels grown from seeds (`seeds`), the blocks of a large image (`blocks`) and how
far around them a labeling looks (`halo`), a sample of its pixels (`sample`), the distance of features to a prototype
(`metrics`), those to all prototypes and log-likelihoods (`likelihood`), prototypes by k-means (`prototypes`), where the
flow starts (`prior`), the table of labels (`table`), warnings of numbers that look wrong (`hints`). The noise of an
image (`noise`), how likely it changes a label (`uncertainty`), and sets of labels that hold the true one as often as
asked (`conformal`). Imports flows and what is below them.
"""

from .conformal import LabelSets, calibrated_sets
from .hints import DataWarning
from .label import label, refine, refine_logits
from .labeler import Labeler
from .likelihood import distances, log_likelihood
from .prototypes import kmeans_prototypes
from .result import Labeling
from .seeds import label_seeds
from .table import LabelTable
from .uncertainty import Uncertainty

__all__ = [
    "DataWarning", "LabelSets", "LabelTable", "Labeler", "Labeling", "Uncertainty", "calibrated_sets", "distances",
    "kmeans_prototypes", "label", "label_seeds", "log_likelihood", "refine", "refine_logits",
]  # fmt: skip
