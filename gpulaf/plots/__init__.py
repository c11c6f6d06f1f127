"""Figures of labelings and predictors.

Colors, panels and the demo (`figures`), what a predictor learned (`predictor`), the look of the paper's figures
(`style`). Imports prediction and what is below it.
"""

from .predictor import confusion_figure, predictor_figure

__all__ = [
    "confusion_figure",
    "predictor_figure",
]
