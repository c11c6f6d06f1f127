"""Labels of images, volumes and the nodes of graphs.

One description of a labeling (`labeler`), three functions that make it and apply it (`label`), distances to label
prototypes and log-likelihoods (`likelihood`), warnings of numbers that look wrong (`hints`). Imports flows and what is
below them.
"""

from .hints import DataWarning
from .label import label, refine, refine_logits
from .labeler import Labeler, Labeling
from .likelihood import distances, kmeans_prototypes, log_likelihood

__all__ = [
    "DataWarning", "Labeler", "Labeling", "distances", "kmeans_prototypes", "label", "log_likelihood", "refine",
    "refine_logits",
]  # fmt: skip
