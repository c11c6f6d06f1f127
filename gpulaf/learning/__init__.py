"""Learning the weights of an image with ground truth.

* `loss`: losses of a labeling and their derivatives; `loss_names`: their names and options in files
* `boundary`, `connectivity`: losses for thin structures; `noisy`: for labels that are noisy
* `descent`: steps on a product of simplices
* `problem`: what a fit learns from, and its closed-form gradient
* `stepper`: one step of a fit; `cuda_graph`: the same recorded on a GPU; `label_coupling`: one of weights and labels
* `loop`: the loop of every training; `checkpoint`: what it saves on the way
* `fitting`: :func:`gpulaf.fit_weights`

Imports flows, io and what is below them.
"""

from .boundary import BoundaryLoss, boundary_weights
from .checkpoint import Checkpoint, CheckpointWarning
from .connectivity import ConnectivityLoss
from .descent import Adam, AdaMax, RiemannianAdam, RiemannianGradient
from .fitting import FitOptions, FitResult, fit_weights
from .loss import Loss, cosine_loss, cross_entropy_loss, weight_regularizer, wrong_share
from .loss_names import loss_of_options, loss_options
from .noisy import NoisyLabelLoss
from .stepper import FitStep

__all__ = [
    "AdaMax", "Adam", "BoundaryLoss", "Checkpoint", "CheckpointWarning", "ConnectivityLoss", "FitOptions", "FitResult",
    "FitStep", "Loss", "NoisyLabelLoss", "RiemannianAdam", "RiemannianGradient", "boundary_weights", "cosine_loss",
    "cross_entropy_loss", "fit_weights", "loss_of_options", "loss_options", "weight_regularizer", "wrong_share",
]  # fmt: skip
