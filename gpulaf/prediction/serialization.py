"""The file of a trained predictor: its tensors and what belongs to them, no pickle."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import numpy as np

from ..backend.validation import check_range
from ..integrators import Euler, Krylov, Taylor
from ..io.tensors import read_tensors, write_tensors
from ..learning.loss import check_transition, cosine_loss
from ..learning.loss_names import loss_of_options, loss_options
from .checks import check_distances, check_options
from .features import Features, feature_names, features_name
from .training import Training, TrainingStep

__all__ = ["NEXT", "Model", "check_dimensions", "estimator_name", "read_model", "write_model"]

SOLVERS = {kind.__name__: kind for kind in (Euler, Krylov, Taylor)}

#: Options that a file holds as they are, and their types.
Stored = dict[str, Callable[[Any], Any]]

#: Fields of a Training that files do not hold: where and how it ran.
NOT_STORED = ("checkpoint", "memory", "loss")


#: The next step for tensors that do not fit.
NEXT = "Set the options back to those of the fit, or fit the predictor again, and save it."


class Model(NamedTuple):
    """What a predictor has learned, and how it was made."""

    #: Those of its map, and feature_scale (F,), label_prototypes (J, C), label_pixels (J,), classes (J,), rho () and
    #: spacing (A,).
    tensors: dict[str, np.ndarray]
    #: The arguments of the constructor.
    options: dict[str, Any]
    on_probabilities: bool
    history: list[TrainingStep]
    reason: str
    #: Q, (J, J) array, where it was learned without ground truth.
    transition: np.ndarray | None = None


def write_model(path: str | os.PathLike[str], estimator: str, stored: Stored, model: Model) -> None:
    """Write a model to one file, whole or not at all.

    Raises
    ------
    ValueError
        If its solver is not one of this library.
    """
    solver, training = model.options["solver"], model.options["training"]
    if type(solver).__name__ not in SOLVERS:
        raise ValueError(f"solver is {solver!r}; a file can hold {', '.join(SOLVERS)}. Take one of them.")
    features = model.options["features"]
    named = feature_names(features) if callable(features) else features if isinstance(features, str) else None
    metadata = {
        "estimator": estimator,
        "options": {name: kind(model.options[name]) for name, kind in stored.items()},
        "range": None if model.options["range"] is None else [float(x) for x in model.options["range"]],
        "spacing": None if model.options["spacing"] is None else [float(x) for x in model.options["spacing"]],
        "solver": [type(solver).__name__, _plain(asdict(solver))],
        "training": _plain({f.name: getattr(training, f.name) for f in fields(training) if f.name not in NOT_STORED}),
        "loss": loss_options(training.loss),
        "features": {"names": named} if named else features_name(features) if callable(features) else int(features),
        "on_probabilities": model.on_probabilities,
        "transition": None if model.transition is None else np.asarray(model.transition).tolist(),
        "history": [list(row) for row in model.history],
        "reason": model.reason,
    }
    write_tensors(path, "predictor", model.tensors, metadata)


def estimator_name(path: str | os.PathLike[str]) -> str:
    """The class of the predictor in a file; ValueError where it is none."""
    return str(read_tensors(path, "predictor")[1].get("estimator", "WeightPredictor"))


def read_model(
    path: str | os.PathLike[str], estimator: str, kinds: Stored, features: Callable[[Any], Any] | None = None
) -> Model:
    """Read a model; its tensors are those of the file, whatever the options say.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, damaged, incomplete, of another kind or newer; or if the features are a callable of
        others and it is not given.
    """
    tensors, metadata = read_tensors(path, "predictor")
    if "integrator" in metadata:
        raise ValueError(f"{path} was written by gpulaf 0.1; accepted are files of 0.2. Train the predictor again.")
    if metadata.get("estimator") != estimator:
        raise ValueError(
            f"{path} holds a {metadata.get('estimator')}, no {estimator}. gpulaf.prediction.load_predictor reads both."
        )
    try:
        stored = metadata["features"]
        options = {name: _plain_option(metadata["options"][name], kind) for name, kind in kinds.items()}
        own = Features(stored["names"]) if isinstance(stored, dict) else None
        if not isinstance(stored, str | dict) and (isinstance(stored, bool) or int(stored) != stored or stored < 0):
            raise ValueError(f"features are {stored}")
        nothing = {"features": 0, "range": None, "spacing": None, "solver": Taylor(), "training": Training()}
        check_options(options | nothing)
        kind, arguments = metadata["solver"]
        options["solver"] = SOLVERS[kind](**arguments)
        bounds = metadata["range"]
        options["range"] = None if bounds is None else tuple(bounds)
        check_range(options["range"])
        distances = metadata["spacing"]
        options["spacing"] = None if distances is None else tuple(distances)
        check_distances(options["spacing"])
        loss = cosine_loss if metadata["loss"] is None else loss_of_options(metadata["loss"])
        options["training"] = Training(**metadata["training"], loss=loss)
        history = [TrainingStep(*row) for row in metadata["history"]]
        stored_noise = metadata.get("transition")
        transition = None if stored_noise is None else check_transition(stored_noise, len(tensors["classes"]))
        rest = bool(metadata["on_probabilities"]), history, str(metadata["reason"]), transition
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
        raise ValueError(f"{path} has damaged metadata ({error!r}). Save the predictor again.") from None
    options["features"] = _restored(path, own or stored, features)
    return Model(tensors, options, *rest)


def _plain_option(value: Any, kind: Callable[[Any], Any]) -> Any:
    """An option of a file as its type; a truth value is no number, and a number none."""
    if isinstance(value, bool) != (kind is bool):
        raise ValueError(f"an option is {value!r}")
    return kind(value)


def check_dimensions(path: Any, tensors: dict[str, np.ndarray], dimensions: dict[str, int]) -> bool:
    """Whether tensors have as many axes; ValueError where one is missing or holds what is not finite."""
    missing = [name for name in dimensions if name not in tensors]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}. {NEXT}")
    if not all(np.isfinite(x).all() for x in tensors.values()):
        raise ValueError(f"{path} holds values that are not finite. {NEXT}")
    return all(tensors[name].ndim == n for name, n in dimensions.items())


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
