"""Learning the weights of an image with ground truth.

* `loss`: losses of a labeling and their derivatives
* `descent`: steps on a product of simplices
* `problem`: what a fit learns from, and its closed-form gradient
* `stepper`: one step of a fit; `cuda_graph`: the same recorded on a GPU
* `loop`: the loop of every training; `checkpoint`: what it saves on the way
* `fitting`: :func:`gpulaf.fit_weights`

Imports flows, io and what is below them.
"""

from .checkpoint import Checkpoint, CheckpointWarning
from .descent import Adam, AdaMax, RiemannianAdam, RiemannianGradient
from .fitting import FitOptions, FitResult, fit_weights
from .loss import Loss, cosine_loss, cross_entropy_loss, weight_regularizer, wrong_share
from .stepper import FitStep

__all__ = [
    "AdaMax", "Adam", "Checkpoint", "CheckpointWarning", "FitOptions", "FitResult", "FitStep", "Loss", "RiemannianAdam",
    "RiemannianGradient", "cosine_loss", "cross_entropy_loss", "fit_weights", "weight_regularizer", "wrong_share",
]  # fmt: skip
