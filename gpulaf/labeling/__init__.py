"""Labels of images, volumes and the nodes of graphs.

One description of a labeling (`labeler`), three functions that make it and apply it (`label`), distances to label
prototypes and log-likelihoods (`likelihood`), the table of labels (`table`), warnings of numbers that look wrong
(`hints`). Imports flows and what is below them.
"""

from .hints import DataWarning
from .label import label, refine, refine_logits
from .labeler import Labeler, Labeling
from .likelihood import distances, kmeans_prototypes, log_likelihood
from .table import LabelTable

__all__ = [
    "DataWarning", "LabelTable", "Labeler", "Labeling", "distances", "kmeans_prototypes", "label", "log_likelihood",
    "refine", "refine_logits",
]  # fmt: skip
