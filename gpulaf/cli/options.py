"""What the commands share: options, checks before any work, and the writing of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np


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
    """Add --time, --tol and --device."""
    command = device_option(command)
    command = click.option(
        "--tol", type=float, default=1e-4, show_default=True, help="Accepted relative error of the flow."
    )(command)
    return click.option(
        "--time", "time_", type=float, help="Integration time T: the larger, the smoother. [default: 3, or the file's]"
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


def read_weights(path: str) -> tuple[np.ndarray, dict[str, Any]]:
    """The weights of a file of gpulaf learn, and what it says about them."""
    from ..checkpoint import read_tensors

    if not path.endswith(".safetensors"):
        raise ValueError(
            f"--weights is {path!r}; accepted are uniform, bilateral or a .safetensors file of gpulaf learn."
        )
    arrays, metadata = read_tensors(path, "weights")
    if "weights" not in arrays:
        raise ValueError(f"{path} holds no tensor named weights. Write it again with gpulaf learn.")
    return arrays["weights"], metadata


def first(*values: float | None) -> float:
    """The first value that is given."""
    return next(value for value in values if value is not None)


def check_outputs(inputs: list[Path], output: Path, probabilities: Path | None, preview: Path | None) -> None:
    """Find out before any work whether the results can be written."""
    from ..image_io import check_output

    check_output(output)
    if probabilities is not None:
        check_output(probabilities, "f")
    if preview is not None:
        check_output(preview)
    check_folders(output, probabilities, preview)
    files = [path for path in (output, probabilities, preview) if path is not None]
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


def write_labeling(
    result: Any,
    output: Path,
    probabilities: Path | None,
    preview: Path | None,
    pixels: np.ndarray | None,
    names: list[int] | None = None,
) -> None:
    """Write the results; `names` are the values that stand for the labels in the truth they were learned from."""
    from ..array import host_array
    from ..image_io import write_array
    from ..plots import colored

    labels = host_array(result.labels)
    count = result.probabilities.shape[-1]
    if names is not None and min(names) >= 0 and max(names) < 65536:
        write_array(output, np.array(names, np.min_scalar_type(max(names)))[labels])
    else:
        write_array(output, labels)
    if probabilities is not None:
        write_array(probabilities, host_array(result.probabilities))
    if preview is not None:
        write_array(preview, colored(labels, count, pixels))
    click.echo(f"{labels.shape[0]}×{labels.shape[1]} pixels, {count} labels, error {result.error:.1e}: {output}")
    if not result.converged:
        click.echo("The flow did not reach its tolerance: shorten --time or raise --tol.", err=True)
