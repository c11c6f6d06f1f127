"""Weights for images without ground truth, predicted from their features.

* `features`: features of pixels by name; `filters`: what they are
* `model`: what maps from features to weights have in common, and that by prototypes;
  `perceptron`, `stage`, `network`: that by a network, stage by stage
* `samples`, `dataset`, `statistics`: images with ground truth, as they are given, as fields, and what is known of all;
  `views`: parts of them; `spacing`: distances of their pixels; `prepared`: those kept in memory
* `without_truth`: learning from images alone; `noise`: that of their pixelwise labels, `hiding`: pixels that a step
  does not see, `independence`: a warning where neighbors share noise
* `initialization`, `objective`, `training`: where training starts, its loss, its steps
* `predictor`: :class:`gpulaf.WeightPredictor`; `weight_network`: :class:`gpulaf.WeightNetwork`; what both have in
  common: `fitted` (training), `trained` (use), `classification` (classes and scores), `checks`, `estimator` (parameters
  by name, other conventions of scikit-learn), `serialization` (files), `loading` (of either kind)
* `tuning`: options chosen on images held back; `summary`: what is said about a training at its end
* `weights`: predicted weights as a WeightSource
* `evaluation`, `metrics`: comparison with ground truth

Imports labeling, learning and what is below them.
"""

from .estimator import NotFittedError
from .evaluation import Evaluation, evaluate
from .features import Features
from .filters import affinity_features, gaussian_features, patch_features
from .loading import load_predictor
from .metrics import RandScores, Scores, confusion_matrix, rand_scores, scores, segments
from .model import Parameters, predict_weights, prediction_gradient
from .network import Network
from .noise import label_noise
from .predictor import WeightPredictor
from .training import Training, TrainingStep
from .tuning import Trial, Tuning, tune
from .weight_network import WeightNetwork
from .weights import PredictedWeights

__all__ = [
    "Evaluation", "Features", "Network", "NotFittedError", "Parameters", "PredictedWeights", "RandScores", "Scores",
    "Training", "TrainingStep", "Trial", "Tuning", "WeightNetwork", "WeightPredictor", "affinity_features",
    "confusion_matrix", "evaluate", "gaussian_features", "label_noise", "load_predictor", "patch_features",
    "predict_weights", "prediction_gradient", "rand_scores", "scores", "segments", "tune",
]  # fmt: skip
