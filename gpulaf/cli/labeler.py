"""The options that describe a labeling, and the Labeler that they describe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from .options import device_option
from .weights import checked_metadata

if TYPE_CHECKING:
    from ..io.prototypes import PrototypeTable
    from ..labeling.labeler import Labeler

#: What a model brings itself.
OF_MODELS = ("prototypes", "weights", "rho", "metric", "sigma", "spacing", "flow", "time_", "tol")


class Described(NamedTuple):
    """The labeling that the options of a command describe."""

    labeler: Labeler
    #: What stands for the labels, where a model, learned weights or a file of prototypes say it, and their names.
    classes: list[int] | None = None
    names: list[str] | None = None
    #: The digest of the image that the weights were learned on; None where they belong to none.
    image: str | None = None
    #: Distances of the voxels that a model of volumes was trained on; None of others.
    spacing: tuple[float, ...] | None = None

    def values(self, count: int) -> np.ndarray:
        """What stands for `count` labels in a label image."""
        if self.classes is not None and len(self.classes) != count:
            raise ValueError(
                f"there are values of {len(self.classes)} labels and prototypes of {count}; accepted are as many. Make "
                "the file that holds them again."
            )
        return np.arange(count) if self.classes is None else np.array(self.classes)


def labeler_options(command: Any) -> Any:
    """Add --sigma, --spacing, --range, --model, --flow, --time, --tol and --device."""
    text = "Distance of the pixels on each axis. Three numbers say that the file holds a volume."
    command = spacing_option(text)(range_option(device_option(command)))
    for name, text, kind in (
        ("--tol", "Accepted error of the linear flow, of the largest v in reach, or of a step of the nonlinear.",
         {"type": float, "default": 1e-4, "show_default": True}),
        ("--time", "Integration time T: the larger, the smoother. [default: 3, or the file's; nonlinear: at most 50]",
         {"type": float}),
        ("--flow", "Linearized, over --time; or the assignment flow itself, until its labels are certain.",
         {"type": click.Choice(["linear", "nonlinear"]), "default": "linear", "show_default": True}),
        ("--model", "A predictor of gpulaf train: weights, labels, rho, time and flow.",
         {"type": click.Path(path_type=Path)}),
        ("--sigma", "Scale of bilateral weights in image units, 0 to 1.",
         {"type": float, "default": 0.1, "show_default": True}),
    ):  # fmt: skip
        names = (name, "time_") if name == "--time" else (name,)
        command = click.option(*names, help=text, **kind)(command)
    return command


def spacing_option(text: str) -> Any:
    """The option --spacing."""
    return click.option(
        "--spacing", metavar="SZ,SY,SX", help=text, callback=lambda context, option, value: read_spacing(value)
    )


def range_option(command: Any) -> Any:
    """Add --range."""
    return click.option(
        "--range", metavar="LOW,HIGH", callback=lambda context, option, text: read_range(text),
        help="Values of the image that become 0 and 1, as 0,4095. [default: those of a model or weight file that is "
        "applied; 0 and the largest value of an integer type; floats as they are]",
    )(command)  # fmt: skip


def read_range(text: str | None) -> tuple[float, float] | None:
    """The values of --range, checked."""
    from ..backend.validation import check_range

    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--range is {text!r}; accepted are two numbers, as 0,4095.") from None
    check_range((low, high))
    return low, high


def read_spacing(text: str | None) -> tuple[float, ...] | None:
    """The distances of --spacing, checked."""
    from ..backend.validation import check_spacing

    if text is None:
        return None
    try:
        spacing = tuple(float(part) for part in text.split(","))
    except ValueError:
        spacing = ()
    if len(spacing) not in (2, 3):
        raise ValueError(f"--spacing is {text!r}; accepted are two or three numbers, as 2,1,1.")
    check_spacing(spacing, len(spacing))
    return spacing


def is_volume(options: dict[str, Any], described: Described) -> bool:
    """Whether the file holds a volume: --spacing has three numbers, or the model was trained on volumes."""
    return len(options["spacing"] or ()) == 3 or described.spacing is not None


def described_labeling(options: dict[str, Any], *, soft: bool = False) -> Described:
    """The labeling that the options describe: of an image, or where `soft` of the predictions of a classifier.

    Raises
    ------
    ValueError, TypeError, OSError
        If a file cannot be read, an option is out of its range, or options contradict each other.
    """
    from ..averaging.sources import BilateralWeights
    from ..integrators import Taylor
    from ..integrators.nonlinear import DormandPrince
    from ..io.prototypes import read_prototypes
    from ..labeling.labeler import Labeler
    from ..labeling.prototypes import check_label_count

    bounds = options["range"]
    if options["model"] is not None:
        described = _of_model(options["model"], soft)
        return described if bounds is None else described._replace(labeler=replace(described.labeler, range=bounds))
    name, prototypes, stored = options["weights"], options.get("prototypes"), dict[str, Any]()
    table: PrototypeTable | None = None
    weights: Any = None if name == "uniform" else BilateralWeights(options["sigma"], spacing=options["spacing"])
    if name not in ("uniform", "bilateral"):
        weights, stored = read_weights(name, options["device"])
    linear, learned = options["flow"] == "linear", prototypes is None and "prototypes" in stored and not soft
    if learned:
        prototypes = np.array(stored["prototypes"])
    elif not soft:
        found = read_prototypes("5" if prototypes is None else prototypes)
        if isinstance(found, int):
            check_label_count(found)
            prototypes = found
        else:
            table, prototypes = found, found.prototypes
    if bounds is None and stored.get("range") is not None:
        bounds = tuple(stored["range"])
    given, time = options["rho"], options["time_"]
    labeler = Labeler(
        prototypes, weights, rho=stored.get("rho", 0.1) if given is None else given,
        time=stored.get("time") if linear and time is None else time,
        solver=Taylor(tol=options["tol"]) if linear else DormandPrince(tol=options["tol"]),
        scaled=learned, range=bounds, metric=options.get("metric", "euclidean"),
    )  # fmt: skip
    if learned:
        return Described(labeler, stored.get("label_values"), image=stored.get("image"))
    values, names = (None, None) if table is None else (table.values, table.names)
    return Described(labeler, values, names, stored.get("image"))


def read_weights(path: str, device: str) -> tuple[Any, dict[str, Any]]:
    """The weights of a file of gpulaf learn, a list of those of layers, and what it says about them."""
    from ..backend.array import device_array
    from ..io.tensors import read_tensors

    if not path.endswith(".safetensors"):
        raise ValueError(
            f"--weights is {path!r}; accepted are uniform, bilateral or a .safetensors file of gpulaf learn."
        )
    arrays, metadata = read_tensors(path, "weights")
    metadata = checked_metadata(path, metadata)
    layers = [arrays[f"weights[{s}]"] for s in range(len(arrays)) if f"weights[{s}]" in arrays]
    if layers and len(layers) == len(arrays):
        return [device_array(x, device) for x in layers], metadata
    if "weights" not in arrays:
        raise ValueError(f"{path} holds no tensor named weights. Write it again with gpulaf learn.")
    return device_array(arrays["weights"], device), metadata


def _of_model(path: Path, soft: bool) -> Described:
    """The labeling of a model of gpulaf train, which brings everything itself."""
    from ..prediction.loading import load_predictor

    context, line = click.get_current_context(), click.core.ParameterSource.COMMANDLINE
    given = [f"--{name.rstrip('_')}" for name in OF_MODELS if context.get_parameter_source(name) == line]
    if given:
        raise ValueError(f"--model and {given[0]} are given; a model brings its own. Leave {', '.join(given)} out.")
    predictor = load_predictor(path)
    if soft and not predictor.on_probabilities_:
        raise ValueError(f"{path} was trained without probabilities. Use it with gpulaf label IMAGE --model.")
    if predictor.on_probabilities_ and not soft:
        raise ValueError(f"{path} was trained on probabilities. Use it with gpulaf refine PROBABILITIES --image IMAGE.")
    spacing = predictor.trained_spacing if predictor.axes == 3 else None
    return Described(predictor.labeler(), predictor.classes_.tolist(), spacing=spacing)
