"""Read a trained predictor of either kind from its file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .predictor import WeightPredictor
from .serialization import estimator_name
from .weight_network import WeightNetwork

__all__ = ["load_predictor"]


def load_predictor(
    path: str | os.PathLike[str], *, features: Callable[[Any], Any] | None = None
) -> WeightPredictor | WeightNetwork:
    """Read a predictor that was saved, a :class:`gpulaf.WeightPredictor` or a :class:`gpulaf.WeightNetwork`.

    Parameters
    ----------
    path : path
    features : callable, optional
        The feature callable of a predictor that was trained with one of your own.

    Raises
    ------
    FileNotFoundError, ValueError
        As :meth:`gpulaf.WeightNetwork.load`.
    """
    network = estimator_name(path) == WeightNetwork.__name__
    return WeightNetwork.load(path, features=features) if network else WeightPredictor.load(path, features=features)
