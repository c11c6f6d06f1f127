"""A plugin of napari: label, refine, learn and apply models to the layers of its viewer.

The work without Qt and without napari (`work`): layers in, layer data tuples out, with progress and cancel; layers as
arrays and labels as a layer (`layers`). The widgets (`widgets`) need the extra ``napari``; ``napari.yaml`` tells napari
of them. Imports prediction, tiling, plots and what is below them.
"""

from .work import Cancelled, Settings, apply_model, label_image, learn_weights, refine_probabilities

__all__ = ["Cancelled", "Settings", "apply_model", "label_image", "learn_weights", "refine_probabilities"]
