"""Weights for images without ground truth, predicted from their features.

* `features`: features of pixels; `model`: the map from features to weights and its derivative
* `dataset`, `statistics`: images with ground truth; `prepared`: those kept in memory
* `initialization`, `objective`, `training`: where training starts, its loss, its steps
* `predictor`: :class:`gpulaf.WeightPredictor`; `trained`: the half of it that is used after training; `checks`,
  `estimator` (parameters by name), `serialization` (its file)
* `weights`: predicted weights as a WeightSource
* `evaluation`, `metrics`: comparison with ground truth

Imports labeling, learning and what is below them.
"""

from .evaluation import Evaluation, evaluate
from .features import Features, gaussian_features, patch_features
from .metrics import RandScores, Scores, confusion_matrix, rand_scores, scores, segments
from .model import Parameters, predict_weights, prediction_gradient
from .predictor import WeightPredictor
from .training import Training, TrainingStep
from .weights import PredictedWeights

__all__ = [
    "Evaluation", "Features", "Parameters", "PredictedWeights", "RandScores", "Scores", "Training",
    "TrainingStep", "WeightPredictor", "confusion_matrix", "evaluate", "gaussian_features", "patch_features",
    "predict_weights", "prediction_gradient", "rand_scores", "scores", "segments",
]  # fmt: skip
