"""Losses by name and options, as files hold them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

from .boundary import BoundaryLoss
from .connectivity import ConnectivityLoss
from .loss import Loss, cosine_loss, cross_entropy_loss
from .noisy import NoisyLabelLoss

__all__ = ["loss_of_options", "loss_options"]

#: What a file can name: functions, and types with options.
LOSSES: dict[str, Any] = {
    x.__name__: x for x in (cosine_loss, cross_entropy_loss, BoundaryLoss, ConnectivityLoss, NoisyLabelLoss)
}


def loss_options(loss: Callable[..., Loss]) -> dict[str, Any] | None:
    """Name and options of a loss, plain values that JSON knows; None for one that is not of this library.

    Examples
    --------
    >>> from gpulaf.learning import BoundaryLoss, ConnectivityLoss, loss_of_options, loss_options
    >>> loss_options(BoundaryLoss(width=3.0))
    {'name': 'BoundaryLoss', 'weight': 5.0, 'width': 3.0}
    >>> loss_of_options(loss_options(ConnectivityLoss(0, weight=2.0))) == ConnectivityLoss(0, weight=2.0)
    True
    """
    name = getattr(loss, "__name__", type(loss).__name__)
    if LOSSES.get(name) not in (loss, type(loss)) or isinstance(loss, type):
        return None
    values: Any = {field.name: getattr(loss, field.name) for field in fields(loss)} if is_dataclass(loss) else {}
    options = {k: loss_options(v) if callable(v) else v for k, v in values.items()}
    return None if None in options.values() else {"name": name, **options}


def loss_of_options(options: dict[str, Any]) -> Callable[..., Loss]:
    """The loss of this name and these options.

    Raises
    ------
    ValueError, TypeError
        If there is none of this name, or it does not take these options.
    """
    name, rest = options.get("name"), {k: v for k, v in options.items() if k != "name"}
    if name not in LOSSES:
        raise ValueError(f"the loss is {name!r}; accepted are {', '.join(LOSSES)}.")
    if not isinstance(LOSSES[name], type):
        return LOSSES[name]
    return LOSSES[name](**{k: loss_of_options(v) if isinstance(v, dict) else v for k, v in rest.items()})
