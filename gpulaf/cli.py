"""The command line: ``gpulaf COMMAND --help`` explains each command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from . import __version__

#: What a user can mend: one line and exit status 2.
MISTAKES = (ValueError, TypeError, OSError, RuntimeError, FloatingPointError, MemoryError)


class OneLineErrors(click.Group):
    """Turn a user's mistake into one line on standard error and exit status 2."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except (click.exceptions.Exit, click.Abort):
            raise
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "gpulaf"
            click.echo(f"gpulaf: {' '.join(error.format_message().split())} See {where} --help.", err=True)
            context.exit(2)
        except MISTAKES as error:
            if context.params.get("debug"):
                raise
            text = " ".join(str(error).split()) or type(error).__name__
            click.echo(f"gpulaf: {text}", err=True)
            context.exit(2)


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


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show a full traceback for errors.")
def main(debug: bool) -> None:
    """Label images with linearized assignment flows, and learn their weights from ground truth."""


@main.command()
@click.option("--scene", type=click.Choice(["colors", "lines"]), default="colors", show_default=True)
@click.option("--size", type=click.IntRange(16, 4096), default=128, show_default=True, help="Pixels on a side.")
@click.option("--steps", type=click.IntRange(0), default=50, show_default=True, help="Learning steps.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Folder of the figure."
)
@device_option
def demo(scene: str, size: int, steps: int, seed: int, output: Path, device: str) -> None:
    """Learn the weights of a synthetic noisy scene and show what that changes.

    Prints the share of wrong pixels for pixelwise labels, uniform weights and learned weights, and writes a figure.
    """
    from .array import host_array
    from .demo import run_demo
    from .image_io import write_figure
    from .plots import demo_figure

    output.mkdir(parents=True, exist_ok=True)
    result = run_demo(scene, size=size, seed=seed, steps=steps, device=device)
    path = output / f"gpulaf-{scene}.png"
    wrong = [row.wrong for row in result.fit.history]
    write_figure(path, demo_figure(result.scene, result.panels, host_array(result.fit.weights), wrong))
    click.echo(f"{scene}, {size}×{size} pixels, {len(result.scene.prototypes)} labels")
    for title in result.panels:
        click.echo(f"  {title:<16}{result.wrong(title):7.2f} % wrong")
    click.echo(f"  learned in {result.seconds:.1f} s ({len(wrong) - 1} steps)")
    click.echo(f"figure: {path}")


@main.command()
@click.argument("image", type=click.Path(path_type=Path))
@output_option
@click.option(
    "--prototypes",
    help="Number of labels (k-means), or a .json/.csv file with a row per label. [default: 5, or the weight file's]",
)
@click.option(
    "--weights",
    default="uniform",
    show_default=True,
    help="uniform, bilateral, or a .safetensors file of gpulaf learn.",
)
@click.option("--rho", type=float, help="Scale of the data in image units, 0 to 1. [default: 0.1, or the file's]")
@click.option(
    "--sigma", type=float, default=0.1, show_default=True, help="Scale of bilateral weights in image units, 0 to 1."
)
@click.option("--channel-axis", type=int, help="Axis of the channels, where the file does not say it.")
@probabilities_option
@preview_option
@flow_options
def label(
    image: Path, output: Path, prototypes: str | None, weights: str, rho: float | None, sigma: float,
    channel_axis: int | None, probabilities: Path | None, preview: Path | None, time_: float | None, tol: float,
    device: str,
) -> None:  # fmt: skip
    """Label the pixels of IMAGE (PNG, JPEG, TIFF or .npy).

    Labels are found by k-means or given as prototypes: one value per channel and label, in the units of the image.
    """
    from .array import device_array
    from .image_io import read_image, read_prototypes
    from .integrators import Krylov
    from .labeling import image_features, label, prototype_array
    from .patches import bilateral_weights

    _check_outputs([image, Path(weights)], output, probabilities, preview)
    pixels = read_image(image, channel_axis=channel_axis)
    features, scale = image_features(pixels)
    patches = None
    stored: dict[str, Any] = {}
    if weights == "bilateral":
        patches = bilateral_weights(features, sigma=sigma)
    elif weights != "uniform":
        patches, stored = _read_weights(weights)
    if prototypes is not None or "prototypes" not in stored:
        values = prototype_array(read_prototypes(prototypes or "5"), features, scale)
    else:
        values = np.array(stored["prototypes"])
        if values.shape[1] != features.shape[-1]:
            raise ValueError(
                f"{weights} was learned on an image with {values.shape[1]} channel(s), "
                f"{image} has {features.shape[-1]}. Weights belong to one image."
            )
    result = label(
        device_array(features, device), values,
        weights=None if patches is None else device_array(patches, device),
        rho=_first(rho, stored.get("rho"), 0.1), time=_first(time_, stored.get("time"), 3.0),
        integrator=Krylov(tol=tol),
    )  # fmt: skip
    names = stored.get("label_values") if prototypes is None else None
    _write(result, output, probabilities, preview, pixels, names)


@main.command()
@click.argument("probabilities_file", metavar="PROBABILITIES", type=click.Path(path_type=Path))
@output_option
@click.option("--logits", is_flag=True, help="The file holds logits (scores before the softmax).")
@click.option("--label-axis", type=int, default=-1, show_default=True, help="Axis of the labels.")
@click.option("--image", type=click.Path(path_type=Path), help="The image, for bilateral weights and the preview.")
@click.option(
    "--weights", default="uniform", show_default=True, help="uniform, bilateral (of --image), or a .safetensors file."
)
@click.option("--rho", type=float, default=1.0, show_default=True, help="Temperature of the predictions.")
@click.option(
    "--sigma", type=float, default=0.1, show_default=True, help="Scale of bilateral weights in image units, 0 to 1."
)
@probabilities_option
@preview_option
@flow_options
def refine(
    probabilities_file: Path, output: Path, logits: bool, label_axis: int, image: Path | None, weights: str, rho: float,
    sigma: float, probabilities: Path | None, preview: Path | None, time_: float | None, tol: float, device: str,
) -> None:  # fmt: skip
    """Clean up the soft predictions of a classifier, PROBABILITIES (.tif or .npy) of shape (H, W, labels)."""
    from .array import device_array
    from .image_io import read_array, read_image
    from .integrators import Krylov
    from .labeling import image_features, refine, refine_logits
    from .patches import bilateral_weights

    _check_outputs([probabilities_file, image or Path(), Path(weights)], output, probabilities, preview)
    values = read_array(probabilities_file)
    pixels = read_image(image) if image is not None else None
    patches = None
    stored: dict[str, Any] = {}
    if weights == "bilateral":
        if pixels is None:
            raise ValueError("bilateral weights need the image. Name it with --image.")
        patches = bilateral_weights(image_features(pixels)[0], sigma=sigma)
    elif weights != "uniform":
        patches, stored = _read_weights(weights)
    size = tuple(np.delete(values.shape, label_axis).tolist()) if values.ndim == 3 and -3 <= label_axis < 3 else None
    if pixels is not None and size is not None and pixels.shape[:2] != size:
        raise ValueError(f"{image} has {pixels.shape[:2]} pixels, not {size} as the predictions. Check the pair.")
    result = (refine_logits if logits else refine)(
        device_array(values, device), label_axis=label_axis, rho=rho,
        weights=None if patches is None else device_array(patches, device),
        time=_first(time_, stored.get("time"), 3.0), integrator=Krylov(tol=tol),
    )  # fmt: skip
    _write(result, output, probabilities, preview, pixels)


@main.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Weight file: .safetensors.")
@click.option("--steps", type=click.IntRange(0), default=50, show_default=True, help="Learning steps.")
@click.option("--step-size", type=float, default=0.2, show_default=True, help="Step of Riemannian Adam.")
@click.option(
    "--radius", type=click.IntRange(1, 3), default=1, show_default=True, help="1 for 3×3 patches, 2 for 5×5, 3 for 7×7."
)
@click.option("--rho", type=float, default=0.2, show_default=True, help="Scale of the data in image units, 0 to 1.")
@click.option("--time", "time_", type=float, default=6.0, show_default=True, help="Integration time T.")
@click.option("--tol", type=float, default=1e-4, show_default=True, help="Accepted relative error of the flow.")
@click.option(
    "--loss", type=click.Choice(["cosine", "cross-entropy"]), default="cosine", show_default=True, help="What to lower."
)
@click.option(
    "--tau",
    type=float,
    default=0.0,
    show_default=True,
    help="Strength of the pull towards uniform weights; 0.01 to 0.5 is usual.",
)
@click.option("--unlabeled", type=int, help="Value of TRUTH at pixels without ground truth.")
@click.option("--channel-axis", type=int, help="Axis of the channels, where the file does not say it.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Save the state of learning here on the way.")
@click.option("--resume", is_flag=True, help="Continue from the checkpoint if it is there.")
@device_option
def learn(
    image: Path, truth: Path, output: Path, steps: int, step_size: float, radius: int, rho: float, time_: float,
    tol: float, loss: str, tau: float, unlabeled: int | None, channel_axis: int | None, checkpoint: Path | None,
    resume: bool, device: str,
) -> None:  # fmt: skip
    """Learn the weight patches of IMAGE from its ground truth, the label image TRUTH.

    The values of TRUTH are the labels; their prototypes are the mean colors. The weights belong to this one image:
    apply them with gpulaf label IMAGE --weights FILE.
    """
    from .array import device_array
    from .checkpoint import write_tensors
    from .descent import RiemannianAdam
    from .distance import distances, log_likelihood
    from .fitting import Checkpoint, fit_weights
    from .image_io import read_image, read_truth
    from .integrators import Taylor
    from .labeling import image_features
    from .loss import cosine_loss, cross_entropy_loss
    from .patches import uniform_weights

    if output.suffix != ".safetensors":
        raise ValueError(f"{output} ends in {output.suffix!r}; weights are written to .safetensors.")
    if resume and checkpoint is None:
        raise ValueError("--resume needs to know where from. Name the file with --checkpoint.")
    if not rho > 0:
        raise ValueError(f"rho is {rho}; accepted are positive numbers. 0.1 to 0.2 suits most images.")
    _check_folders(output, checkpoint)
    if checkpoint is not None and checkpoint.resolve() in {path.resolve() for path in (output, image, truth)}:
        raise ValueError(f"{checkpoint} is an input or the result, too. Choose another name for the checkpoint.")
    features, _ = image_features(read_image(image, channel_axis=channel_axis))
    labels, values = read_truth(truth, unlabeled=unlabeled)
    if labels.shape != features.shape[:2]:
        raise ValueError(
            f"{truth} has {labels.shape} pixels and {image} {features.shape[:2]}; accepted are equal sizes. "
            "Check the pair."
        )
    prototypes = np.stack([features[labels == j].mean(axis=0, dtype=np.float64) for j in range(len(values))])
    result = fit_weights(
        device_array(log_likelihood(distances(features, prototypes), rho), device), labels,
        weights=uniform_weights(labels.shape, radius), time=time_, integrator=Taylor(tol=tol), steps=steps, tau=tau,
        loss={"cosine": cosine_loss, "cross-entropy": cross_entropy_loss}[loss], descent=RiemannianAdam(step_size),
        checkpoint=None if checkpoint is None else Checkpoint(checkpoint, resume=resume),
    )  # fmt: skip
    first, last = result.history[0], result.history[-1]
    metadata = {
        "prototypes": prototypes.tolist(), "rho": rho, "time": time_, "label_values": values.tolist(),
        "steps": last.step, "loss": last.loss, "wrong_percent": last.wrong,
    }  # fmt: skip
    write_tensors(output, "weights", {"weights": result.weights}, metadata)
    click.echo(f"wrong pixels: {first.wrong:.2f} % with uniform weights, {last.wrong:.2f} % after {last.step} steps")
    click.echo(f"{result.reason} {last.seconds:.1f} s. weights: {output}")


@main.command()
def info() -> None:
    """Show versions, CPU threads and whether a GPU can be used."""
    from importlib.metadata import PackageNotFoundError, version

    from .array import gpu_missing

    click.echo(f"gpulaf {__version__}, Python {sys.version.split()[0]}")
    for package in ("numpy", "scipy", "numba", "matplotlib", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            click.echo(f"  {package} {version(package)}")
        except PackageNotFoundError:
            if package == "numba":
                click.echo("  numba is not installed: the slower reference kernels are used")
    try:
        import numba

        threads = numba.get_num_threads()
    except ImportError:
        threads = 1
    click.echo(f"CPU: {os.cpu_count()} cores, {threads} threads for the kernels (set NUMBA_NUM_THREADS for fewer)")
    missing = gpu_missing()
    if missing is None:
        properties = sys.modules["cupy"].cuda.runtime.getDeviceProperties(0)
        click.echo(f"GPU: {properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB")
    else:
        click.echo(f"GPU: none. {missing}")


def _read_weights(path: str) -> tuple[np.ndarray, dict[str, Any]]:
    from .checkpoint import read_tensors

    if not path.endswith(".safetensors"):
        raise ValueError(
            f"--weights is {path!r}; accepted are uniform, bilateral or a .safetensors file of gpulaf learn."
        )
    arrays, metadata = read_tensors(path, "weights")
    if "weights" not in arrays:
        raise ValueError(f"{path} holds no tensor named weights. Write it again with gpulaf learn.")
    return arrays["weights"], metadata


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _check_outputs(inputs: list[Path], output: Path, probabilities: Path | None, preview: Path | None) -> None:
    """Find out before any work whether the results can be written."""
    from .image_io import check_output

    check_output(output)
    if probabilities is not None:
        check_output(probabilities, "f")
    if preview is not None:
        check_output(preview)
    _check_folders(output, probabilities, preview)
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


def _check_folders(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"folder {path.parent} does not exist. Create it first, or choose another path.")


def _write(
    result: Any,
    output: Path,
    probabilities: Path | None,
    preview: Path | None,
    pixels: np.ndarray | None,
    names: list[int] | None = None,
) -> None:
    """Write the results; `names` are the values that stand for the labels in the truth they were learned from."""
    from .array import host_array
    from .image_io import write_array
    from .plots import colored

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
