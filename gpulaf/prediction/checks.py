"""Checks of a predictor's arguments and of what it is fitted to, before an image is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.validation import check_range, check_rho, check_spacing
from ..integrators.base import check_integrator, check_time
from ..labeling.metrics import check_metric, value_scale
from .features import Features
from .samples import Samples
from .training import Training

__all__ = ["check_distances", "check_fit", "check_options", "validation_samples"]

#: The least and the largest value of arguments that are whole numbers.
WHOLE = {
    "n_prototypes": (1, 10**6), "radius": (1, 100), "seed": (0, 2**63 - 1), "n_layers": (1, 10**4),
    "features": (0, 100), "state": (0, 20), "label_state": (0, 20),
}  # fmt: skip
OPTIONAL = ("state", "label_state")


def check_options(options: dict[str, Any]) -> None:
    """Raise an error for arguments of a predictor that cannot work."""
    for name, (least, most) in WHOLE.items():
        if name not in options:
            continue
        value = options[name]
        if name == "features" and isinstance(value, str):
            Features(value)
            continue
        if (name in OPTIONAL and value is None) or (name == "features" and callable(value)):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
            more = {"features": ", names, or a callable"}.get(name, ", or None" if name in OPTIONAL else "")
            raise ValueError(f"{name} is {value!r}; accepted are whole numbers from {least} to {most}{more}.")
    for name in ("hidden", "label_hidden"):
        hidden = options.get(name, ())
        if not isinstance(hidden, Sequence) or isinstance(hidden, str) or not all(_is_width(n) for n in hidden):
            raise ValueError(f"{name} is {hidden!r}; accepted are widths of layers up to 4096, as (64, 64).")
    for name in ("shared_layers", "correction", "state_gradient", "label_coupling"):
        if name in options and not isinstance(options[name], bool):
            raise ValueError(f"{name} is {options[name]!r}; accepted are True and False.")
    if not ("hidden" in options and options["rho"] is None):
        check_rho(options["rho"])
    check_metric(options["metric"], functions=False)
    if options["rho"] is None and value_scale(options["metric"], 1.0) is None:
        raise ValueError(
            f"rho is None and metric {options['metric']!r}; accepted is a number: noise does not tell it in the units "
            "of this metric. Give rho."
        )
    check_range(options["range"])
    check_distances(options["spacing"])
    check_time(options["time"])
    check_integrator(options["solver"], "Weights are learned by the linearized flow.")
    if not isinstance(options["training"], Training):
        raise TypeError(f"training is {options['training']!r}; accepted is a gpulaf.prediction.Training.")


def check_distances(spacing: Any) -> None:
    """Raise ValueError for distances of pixels that are not two or three positive numbers."""
    if spacing is None:
        return
    if np.ndim(spacing) != 1 or len(spacing) not in (2, 3):
        raise ValueError(f"spacing is {spacing!r}; accepted are (sy, sx), (sz, sy, sx) of volumes, and None.")
    check_spacing(spacing, len(spacing))


def _is_width(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(0 < value <= 4096)


def check_fit(samples: Samples, held: Samples | None, training: Training, clean: Any, cluster: Any) -> None:
    """Raise an error for images, validation images and a cluster that do not go together."""
    if held is not None and (held.probabilities is None) != (samples.probabilities is None):
        raise ValueError("probabilities are given for one of training and validation only. Give them for both.")
    if clean is not None and len(clean) != len(samples):
        raise ValueError(f"there are {len(samples)} images and {len(clean)} clean ones; accepted are as many.")
    if training.patience is not None and held is None:
        raise ValueError(f"patience is {training.patience}, but there is no validation to watch. Pass validation.")
    if cluster is not None and not (hasattr(cluster, "submit") and hasattr(cluster, "scatter")):
        raise TypeError(
            f"cluster is a {type(cluster).__name__}; accepted is a distributed.Client. "
            "Install it with: python -m pip install 'gpulaf[large]'."
        )


def validation_samples(validation: Sequence[Any], unlabeled: int, training: Samples) -> Samples:
    """Images to choose parameters by, from (images, truths), with probabilities (or None) and masks where given.

    Their truths are None where the images of the training have none.
    """
    if training.truths is None:
        images, truths, probabilities, masks = (*validation, *[None] * 4)[:4]
        if not 1 <= len(validation) <= 4 or truths is not None or probabilities is not None:
            raise ValueError(
                "validation holds more than images, and the training has no truths; accepted are (images,) and "
                "(images, None, None, masks)."
            )
        return Samples(images, None, None, unlabeled, "validation", masks, training.plain_axes)
    if len(validation) not in (2, 3, 4):
        raise ValueError(
            f"validation holds {len(validation)} parts; accepted are (images, truths), "
            "(images, truths, probabilities) and (images, truths, probabilities or None, masks)."
        )
    images, truths, probabilities, masks = (*validation, None, None)[:4]
    return Samples(images, truths, probabilities, unlabeled, "validation", masks)
