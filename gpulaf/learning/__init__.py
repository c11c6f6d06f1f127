"""Learning the weights of an image with ground truth.

Losses (`loss`), descent on a product of simplices (`descent`), one step of a fit (`stepper`), recorded on a GPU
(`cuda_graph`), the loop of every training (`loop`), and :func:`gpulaf.fit_weights` (`fitting`). Imports flows, io and
what is below them.
"""

from .descent import Adam, AdaMax, RiemannianAdam, RiemannianGradient
from .fitting import FitOptions, FitResult, fit_weights
from .loop import Checkpoint
from .loss import Loss, cosine_loss, cross_entropy_loss, weight_regularizer, wrong_share
from .stepper import FitStep

__all__ = [
    "AdaMax",
    "Adam",
    "Checkpoint",
    "FitOptions",
    "FitResult",
    "FitStep",
    "Loss",
    "RiemannianAdam",
    "RiemannianGradient",
    "cosine_loss",
    "cross_entropy_loss",
    "fit_weights",
    "weight_regularizer",
    "wrong_share",
]
