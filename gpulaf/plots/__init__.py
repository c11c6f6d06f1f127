"""Figures of labelings and predictors.

Labels in color (`previews`), the demo and the roofline (`figures`), what a predictor learned (`predictor`), the look of
all figures (`style`). Imports prediction and what is below it.
"""

from .predictor import confusion_figure, predictor_figure

__all__ = ["confusion_figure", "predictor_figure"]
