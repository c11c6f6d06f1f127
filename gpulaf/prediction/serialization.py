"""The file of a trained predictor: six tensors and what belongs to them, no pickle."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from ..integrators import Euler, Krylov, Taylor
from ..io.tensors import qualified_name, read_tensors, write_tensors
from .features import Features, feature_names
from .training import TrainingStep

__all__ = ["Model", "read_model", "stored_options", "write_model"]

#: Options that files and checkpoints hold only where they differ from this.
DEFAULTS = {"layers": 1, "shared_layers": False}

INTEGRATORS = {kind.__name__: kind for kind in (Euler, Krylov, Taylor)}

#: Types of the options that are no whole numbers.
TYPES: dict[str, Any] = {"rho": float, "time": float, "shared_layers": bool}


class Model(NamedTuple):
    """A trained predictor, taken apart."""

    #: prototypes (K, F), tangents (K, N), or (L, K, N) where L layers have their own, sigma (), feature_scale (F,),
    #: label_prototypes (J, C), label_values (J,).
    tensors: dict[str, np.ndarray]
    #: The arguments of the constructor.
    options: dict[str, Any]
    on_probabilities: bool
    history: list[TrainingStep]
    reason: str


def stored_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that a file holds: one layer is not spoken of."""
    return {name: value for name, value in options.items() if name not in DEFAULTS or value != DEFAULTS[name]}


def write_model(path: str | os.PathLike[str], model: Model) -> None:
    """Write a model to one file, whole or not at all."""
    options = stored_options(model.options)
    integrator, features = options.pop("integrator"), options.pop("features")
    if integrator is not None and type(integrator).__name__ not in INTEGRATORS:
        raise ValueError(f"integrator is {integrator!r}; a file can hold {', '.join(INTEGRATORS)}. Take one of them.")
    metadata = {
        "options": {k: TYPES.get(k, int)(v) for k, v in options.items()},
        "integrator": None if integrator is None else [type(integrator).__name__, asdict(integrator)],
        "features": _stored_features(features),
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
    try:
        stored, options = metadata["features"], dict(metadata["options"])
        own = Features(stored["names"]) if isinstance(stored, dict) else None
        kind = metadata["integrator"]
        options["integrator"] = None if kind is None else INTEGRATORS[kind[0]](**kind[1])
        history = [TrainingStep(*row) for row in metadata["history"]]
        rest = bool(metadata["on_probabilities"]), history, str(metadata["reason"])
        own_layers = 1 if options.get("shared_layers") else int(options.get("layers", 1))
        radius = int(options["radius"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path} has damaged metadata ({error!r}). Save the predictor again.") from None
    found = _restored(path, own or stored, features)
    _check_tensors(path, tensors, (radius, own_layers), found if isinstance(found, int) else None)
    return Model(tensors, options | {"features": found}, *rest)


def _stored_features(features: int | Callable[[Any], Any]) -> int | str | dict[str, str]:
    """A radius, the names of features of this library, or the name of a callable of others."""
    if not callable(features):
        return int(features)
    names = feature_names(features)
    return qualified_name(features) if names is None else {"names": names}


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
        "prototypes": 2,
        "tangents": 2 + len(several),
        "sigma": 0,
        "feature_scale": 1,
        "label_prototypes": 2,
        "label_values": 1,
    }
    missing = [name for name in dimensions if name not in tensors]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}. Save the predictor again.")
    shapes = {name: tensors[name].shape for name in dimensions}
    K, J, C = shapes["prototypes"][:1], shapes["label_values"], shapes["label_prototypes"][1:]
    fits = all(len(shapes[name]) == n for name, n in dimensions.items())
    fits = fits and shapes["feature_scale"] == shapes["prototypes"][1:]
    fits = fits and shapes["tangents"] == (*several, *K, (2 * radius + 1) ** 2)
    fits = fits and shapes["label_prototypes"][:1] == J
    if fits and patch is not None:
        fits = shapes["prototypes"][1] == C[0] * (2 * patch + 1) ** 2
    if not fits or 0 in K + J:
        raise ValueError(
            f"{path} holds tensors of shapes {shapes}, which do not fit together for weight patches of radius {radius}"
            + (f" in {layers} layers" if several else "")
            + ("" if patch is None else f" and raw patches of radius {patch}")
            + ". Save the predictor again."
        )
    if not all(np.isfinite(x).all() for x in tensors.values()) or not tensors["sigma"] > 0:
        raise ValueError(f"{path} holds values that are not finite, or σ is not positive. Save the predictor again.")
