"""Weights for images without ground truth, predicted from their features.

Features (`features`), the map from features to weights and its derivative (`model`), images with ground truth
(`dataset`, `statistics`), training (`initialization`, `objective`, `training`), :class:`gpulaf.WeightPredictor`
(`predictor`) and its file (`serialization`), comparison with ground truth (`evaluation`, `metrics`). Imports labeling,
learning and what is below them.
"""

from .evaluation import Evaluation, evaluate
from .features import Features, gaussian_features, patch_features
from .metrics import Scores, confusion_matrix, scores
from .model import Parameters, predict_weights, prediction_gradient
from .predictor import WeightPredictor
from .training import Training, TrainingStep

__all__ = [
    "Evaluation", "Features", "Parameters", "Scores", "Training", "TrainingStep", "WeightPredictor",
    "confusion_matrix", "evaluate", "gaussian_features", "patch_features", "predict_weights", "prediction_gradient",
    "scores",
]  # fmt: skip
