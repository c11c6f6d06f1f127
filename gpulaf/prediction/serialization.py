"""The file of a trained predictor: six tensors and what belongs to them, no pickle."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import numpy as np

from ..backend.validation import check_range
from ..integrators import Euler, Krylov, Taylor
from ..io.tensors import read_tensors, write_tensors
from ..learning.loss import cosine_loss, cross_entropy_loss
from .checks import check_options
from .features import Features, feature_names, features_name
from .training import Training, TrainingStep

__all__ = ["Model", "read_model", "write_model"]

SOLVERS = {kind.__name__: kind for kind in (Euler, Krylov, Taylor)}
LOSSES = {loss.__name__: loss for loss in (cosine_loss, cross_entropy_loss)}

#: Types of the plain options of a predictor.
OPTIONS: dict[str, Callable[[Any], Any]] = {
    "n_prototypes": int,
    "radius": int,
    "rho": float,
    "time": float,
    "n_layers": int,
    "shared_layers": bool,
    "seed": int,
}

#: Fields of a Training that files do not hold: where and how it ran.
NOT_STORED = ("checkpoint", "memory", "loss")


#: The next step for tensors that do not fit.
NEXT = "Set the options back to those of the fit, or fit the predictor again, and save it."


class Model(NamedTuple):
    """What a predictor has learned, and how it was made."""

    #: feature_prototypes (K, F), tangents (K, N), or (L, K, N) where L layers have their own, sigma (),
    #: feature_scale (F,), label_prototypes (J, C), classes (J,).
    tensors: dict[str, np.ndarray]
    #: The arguments of the constructor.
    options: dict[str, Any]
    on_probabilities: bool
    history: list[TrainingStep]
    reason: str


def write_model(path: str | os.PathLike[str], model: Model) -> None:
    """Write a model to one file, whole or not at all.

    Raises
    ------
    ValueError
        If its solver is not one of this library, or options were changed that what was learned does not fit.
    """
    solver, training = model.options["solver"], model.options["training"]
    if type(solver).__name__ not in SOLVERS:
        raise ValueError(f"solver is {solver!r}; a file can hold {', '.join(SOLVERS)}. Take one of them.")
    features = model.options["features"]
    _check_tensors("the predictor", model.tensors, _size(model.options), None if callable(features) else int(features))
    names = feature_names(features) if callable(features) else None
    metadata = {
        "options": {name: kind(model.options[name]) for name, kind in OPTIONS.items()},
        "range": None if model.options["range"] is None else [float(x) for x in model.options["range"]],
        "solver": [type(solver).__name__, _plain(asdict(solver))],
        "training": _plain({f.name: getattr(training, f.name) for f in fields(training) if f.name not in NOT_STORED}),
        "loss": next((name for name, loss in LOSSES.items() if loss is training.loss), None),
        "features": {"names": names} if names else features_name(features) if callable(features) else int(features),
        "on_probabilities": model.on_probabilities,
        "history": [list(row) for row in model.history],
        "reason": model.reason,
    }
    write_tensors(path, "predictor", model.tensors, metadata)


def read_model(path: str | os.PathLike[str], features: Callable[[Any], Any] | None = None) -> Model:
    """Read a model and check that everything is there and fits together.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, damaged, incomplete, of another kind or newer; or if the features are a callable of
        others and it is not given.
    """
    tensors, metadata = read_tensors(path, "predictor")
    if "integrator" in metadata:
        raise ValueError(f"{path} was written by gpulaf 0.1; accepted are files of 0.2. Train the predictor again.")
    try:
        stored, options = metadata["features"], dict(metadata["options"])
        own = Features(stored["names"]) if isinstance(stored, dict) else None
        if not isinstance(stored, str | dict) and (isinstance(stored, bool) or int(stored) != stored or stored < 0):
            raise ValueError(f"features are {stored}")
        check_options(options | {"features": 0, "range": None, "solver": Taylor(), "training": Training()})
        kind, arguments = metadata["solver"]
        options["solver"] = SOLVERS[kind](**arguments)
        bounds = metadata["range"]
        options["range"] = None if bounds is None else tuple(bounds)
        check_range(options["range"])
        options["training"] = Training(**metadata["training"], loss=LOSSES.get(metadata["loss"], cosine_loss))
        history = [TrainingStep(*row) for row in metadata["history"]]
        rest = bool(metadata["on_probabilities"]), history, str(metadata["reason"])
        size = _size(options)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise ValueError(f"{path} has damaged metadata ({error!r}). Save the predictor again.") from None
    found = _restored(path, own or stored, features)
    _check_tensors(path, tensors, size, found if isinstance(found, int) else None)
    return Model(tensors, options | {"features": found}, *rest)


def _size(options: dict[str, Any]) -> tuple[int, int]:
    """Radius of the weight patches, and number of layers with weights of their own."""
    return int(options["radius"]), 1 if options["shared_layers"] else int(options["n_layers"])


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Python numbers in the place of NumPy's, which JSON does not know."""
    return {name: x.item() if isinstance(x, np.generic) else x for name, x in values.items()}


def _restored(path: Any, stored: Any, given: Callable[[Any], Any] | None) -> int | Callable[[Any], Any]:
    if isinstance(stored, str) and given is None:
        raise ValueError(
            f"{path} was trained with the features {stored}, which a file cannot hold. "
            "Pass them: WeightPredictor.load(path, features=…)."
        )
    if isinstance(stored, Features):
        if given is None or feature_names(given) == feature_names(stored):
            return given or stored
        raise ValueError(f"{path} was trained with the features {stored.names!r}. Leave features out.")
    if not isinstance(stored, str) and given is not None:
        raise ValueError(f"{path} was trained on raw patches of radius {stored}. Leave features out.")
    return given or int(stored)


def _check_tensors(path: Any, tensors: dict[str, np.ndarray], size: tuple[int, int], patch: int | None) -> None:
    radius, layers = size
    several = (layers,) if layers > 1 else ()
    dimensions = {
        "feature_prototypes": 2,
        "tangents": 2 + len(several),
        "sigma": 0,
        "feature_scale": 1,
        "label_prototypes": 2,
        "classes": 1,
    }
    missing = [name for name in dimensions if name not in tensors]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}. {NEXT}")
    shapes = {name: tensors[name].shape for name in dimensions}
    K, J, C = shapes["feature_prototypes"][:1], shapes["classes"], shapes["label_prototypes"][1:]
    fits = all(len(shapes[name]) == n for name, n in dimensions.items())
    fits = fits and shapes["feature_scale"] == shapes["feature_prototypes"][1:]
    fits = fits and shapes["tangents"] == (*several, *K, (2 * radius + 1) ** 2)
    fits = fits and shapes["label_prototypes"][:1] == J
    if fits and patch is not None:
        fits = shapes["feature_prototypes"][1] == C[0] * (2 * patch + 1) ** 2
    if not fits or 0 in K + J:
        raise ValueError(
            f"{path} holds tensors of shapes {shapes}, which do not fit together for weight patches of radius {radius}"
            + (f" in {layers} layers" if several else "")
            + ("" if patch is None else f" and raw patches of radius {patch}")
            + f". {NEXT}"
        )
    if not all(np.isfinite(x).all() for x in tensors.values()) or not tensors["sigma"] > 0:
        raise ValueError(f"{path} holds values that are not finite, or σ is not positive. {NEXT}")
