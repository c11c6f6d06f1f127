"""What the commands share: options, checks before any work, and the writing of results."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

if TYPE_CHECKING:
    from ..prediction.predictor import WeightPredictor


def device_option(command: Any) -> Any:
    """Add --device."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "gpu"]),
        default="auto",
        show_default=True,
        help="Where to compute; auto takes a GPU if CuPy finds one.",
    )(command)


def flow_options(command: Any) -> Any:
    """Add --flow, --time, --tol and --device."""
    command = device_option(command)
    command = click.option(
        "--tol",
        type=float,
        default=1e-4,
        show_default=True,
        help="Accepted relative error of the linear flow, or of a step of the nonlinear one.",
    )(command)
    command = click.option(
        "--time",
        "time_",
        type=float,
        help="Integration time T: the larger, the smoother. [default: 3, or the file's; nonlinear: at most 50]",
    )(command)
    return click.option(
        "--flow",
        type=click.Choice(["linear", "nonlinear"]),
        default="linear",
        show_default=True,
        help="Linearized, over --time; or the assignment flow itself, until its labels are certain.",
    )(command)


output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Label image: .png, .tif or .npy."
)
probabilities_option = click.option(
    "--probabilities", type=click.Path(path_type=Path), help="Also write the probabilities (H, W, J): .tif or .npy."
)
preview_option = click.option(
    "--preview", type=click.Path(path_type=Path), help="Also write a picture to look at (.png)."
)
spacing_option = click.option(
    "--spacing",
    metavar="SZ,SY,SX",
    callback=lambda context, option, text: read_spacing(text),
    help="Distance of the pixels on each axis. Three numbers say that the file holds a volume.",
)
model_option = click.option(
    "--model", type=click.Path(path_type=Path), help="A predictor of gpulaf train: weights, labels, rho, time and flow."
)
files_argument = click.argument("images", nargs=-1, required=True, metavar="IMAGES...")


def files_option(name: str, text: str, required: bool = False) -> Any:
    """An option that names files, folders and globs, and may be repeated."""
    return click.option(name, multiple=True, required=required, metavar="FILES", help=text)


@contextmanager
def compile_notice() -> Iterator[None]:
    """Say on a terminal that kernels are being compiled, where they are."""
    from ..kernels._numba import compiling

    told = False

    def notice(count: int) -> None:
        nonlocal told
        if sys.stderr.isatty():
            told = True
            click.echo(f"\rcompiling kernels, once ({count})", nl=False, err=True)

    with compiling(notice):
        yield
    if told:
        click.echo(err=True)


def read_spacing(text: str | None) -> tuple[float, ...] | None:
    """The distances of --spacing, checked."""
    from ..backend.validation import spatial_axes

    if text is None:
        return None
    try:
        spacing = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--spacing is {text!r}; accepted are two or three numbers, as 2,1,1.") from None
    spatial_axes(spacing)
    return spacing


def check_model_alone(*others: str) -> None:
    """Refuse options of the command line that a model brings itself."""
    context = click.get_current_context()
    source = click.core.ParameterSource.COMMANDLINE
    given = [f"--{name.rstrip('_')}" for name in others if context.get_parameter_source(name) == source]
    if given:
        raise ValueError(f"--model and {given[0]} are given; a model brings its own. Leave {', '.join(given)} out.")


def flow_arguments(flow: str, time: float | None, tol: float, stored: dict[str, Any]) -> dict[str, Any]:
    """What --flow, --time and --tol ask for; `stored` is what the file of the weights says about the linear flow."""
    from ..integrators import Krylov
    from ..integrators.nonlinear import DormandPrince

    if flow == "nonlinear":
        return {"time": time, "scheme": DormandPrince(tol=tol)}
    return {"time": first(time, stored.get("time"), 3.0), "integrator": Krylov(tol=tol)}


class FileSet(NamedTuple):
    """Images with what belongs to each of them."""

    images: list[Path]
    truths: list[Path]
    probabilities: list[Path] | None

    def all(self) -> list[Path]:
        """Every file."""
        return [*self.images, *self.truths, *(self.probabilities or [])]


def file_set(images: Sequence[str], truths: Sequence[str], probabilities: Sequence[str] = ()) -> FileSet:
    """The files that the names stand for, paired by name."""
    from ..io.pairing import expanded, paired

    files = expanded(images)
    soft = paired(files, expanded(probabilities), "probabilities") if probabilities else None
    return FileSet(files, paired(files, expanded(truths)), soft)


def image_sequence(paths: Sequence[Path], device: str, channel_axis: int | None = None) -> Sequence[Any]:
    """Images to be read one at a time, to the device."""
    from ..backend.array import device_array, is_host_array
    from ..prediction.dataset import Files

    if is_host_array(device_array(np.zeros(1), device)) and channel_axis is None:
        return paths
    return Files(paths, device, channel_axis)


def read_weights(path: str) -> tuple[np.ndarray | list[np.ndarray], dict[str, Any]]:
    """The weights of a file of gpulaf learn, a list of those of layers, and what it says about them."""
    from ..io.tensors import read_tensors

    if not path.endswith(".safetensors"):
        raise ValueError(
            f"--weights is {path!r}; accepted are uniform, bilateral or a .safetensors file of gpulaf learn."
        )
    arrays, metadata = read_tensors(path, "weights")
    layers = [arrays[f"weights[{s}]"] for s in range(len(arrays)) if f"weights[{s}]" in arrays]
    if layers and len(layers) == len(arrays):
        return layers, metadata
    if "weights" not in arrays:
        raise ValueError(f"{path} holds no tensor named weights. Write it again with gpulaf learn.")
    return arrays["weights"], metadata


def to_device(weights: Any, device: str) -> Any:
    """Weights, those of each layer or None for uniform ones, to the device."""
    from ..backend.array import device_array

    if isinstance(weights, list):
        return [device_array(x, device) for x in weights]
    return None if weights is None else device_array(weights, device)


def read_predictor(path: Path, soft: bool) -> WeightPredictor:
    """A model of gpulaf train that labels images, or one that refines soft predictions."""
    from ..prediction.predictor import WeightPredictor

    predictor = WeightPredictor.load(path)
    if soft and not predictor.on_probabilities_:
        raise ValueError(f"{path} was trained without probabilities. Use it with gpulaf label IMAGE --model.")
    if predictor.on_probabilities_ and not soft:
        raise ValueError(f"{path} was trained on probabilities. Use it with gpulaf refine PROBABILITIES --image IMAGE.")
    return predictor


def first(*values: float | None) -> float:
    """The first value that is given."""
    return next(value for value in values if value is not None)


def check_outputs(
    inputs: list[Path], output: Path, probabilities: Path | None, preview: Path | None, *, volume: bool = False
) -> None:
    """Find out before any work whether the results can be written."""
    from ..io.images import check_output

    check_output(output, volume=volume)
    if probabilities is not None:
        check_output(probabilities, "f", volume=volume)
    if preview is not None:
        check_output(preview)
    check_folders(output, probabilities, preview)
    check_files(inputs, [path for path in (output, probabilities, preview) if path is not None])


def check_files(inputs: Sequence[Path], files: Sequence[Path]) -> None:
    """Find out before any work whether a result is a folder, an input or another result."""
    for path in files:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder. Choose the name of a file.")
        if path.exists() and any(path.samefile(other) for other in inputs if other.is_file()):
            raise ValueError(f"{path} is also an input. Choose another name for the result.")
    if len({path.resolve() for path in files}) < len(files):
        raise ValueError(
            f"two results go to the same file, one of {', '.join(map(str, files))}. Choose different names."
        )


def check_folders(*paths: Path | None) -> None:
    """Find out before any work whether the folders of the results exist."""
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"folder {path.parent} does not exist. Create it first, or choose another path.")


def check_figure(path: Path | None) -> None:
    """Find out before any work whether a figure can be written to this type of file."""
    if path is not None and path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ValueError(f"{path} ends in {path.suffix!r}; accepted for figures are .pdf, .png, .svg.")


def write_labeling(
    result: Any,
    output: Path,
    probabilities: Path | None,
    preview: Path | None,
    pixels: np.ndarray | None,
    names: list[int] | None = None,
) -> None:
    """Write the results; `names` are the values that stand for the labels in the truth they were learned from."""
    from ..backend.array import host_array
    from ..io.images import write_array
    from ..plots.figures import colored

    labels = host_array(result.labels)
    count = result.probabilities.shape[-1]
    volume = labels.ndim == 3
    if names is not None and min(names) >= 0 and max(names) < 65536:
        write_array(output, np.array(names, np.min_scalar_type(max(names)))[labels], volume=volume)
    else:
        write_array(output, labels, volume=volume)
    if probabilities is not None:
        write_array(probabilities, host_array(result.probabilities), volume=volume)
    if preview is not None and volume:
        middle = len(labels) // 2
        write_array(preview, colored(labels[middle], count, None if pixels is None else pixels[middle]))
        click.echo(f"{preview} shows the middle plane, {middle} of 0 to {len(labels) - 1}.")
    elif preview is not None:
        write_array(preview, colored(labels, count, pixels))
    nonlinear = click.get_current_context().params["flow"] == "nonlinear"
    found = f"error {result.error:.1e}{' per step' if nonlinear else ''}"
    click.echo(f"{'×'.join(map(str, labels.shape))} pixels, {count} labels, {found}: {output}")
    if nonlinear:
        click.echo(result.reason)
    elif not result.converged:
        click.echo("The flow did not reach its tolerance: shorten --time or raise --tol.", err=True)
