"""gpulaf label, on images that are labeled in tiles: from file to file, with restart, on any number of processes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .options import check_model_alone, compile_notice, first, read_predictor

if TYPE_CHECKING:
    from ..tiling import Labeler
    from ..tiling.source import Source

#: Options that ask for tiles.
ASKING = ("tile", "memory", "workers", "scheduler", "restart")
UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


class Bytes(click.ParamType):
    """A number of bytes like 4GB, 500M or 2GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        """Bytes."""
        found = re.fullmatch(r"([0-9]*\.?[0-9]+) *([KMGT]?I?)B?", str(value).strip().upper())
        if found is None or found[2] not in UNITS or not float(found[1]):
            self.fail(f"{value!r} is no size; accepted are numbers like 4GB, 500MB or 2GiB.", param, context)
        return int(float(found[1]) * UNITS[found[2]])


def large_options(command: Any) -> Any:
    """Add the options of images that are labeled in tiles."""
    for name, type_, text in (
        ("--restart", None, "Throw away what an earlier run began, in place of going on with it."),
        ("--scheduler", str, "Address of a running Dask scheduler, whose workers see the same files."),
        ("--workers", click.IntRange(1), "Processes that label tiles. [default: 1, on all cores]"),
        ("--memory", Bytes(), "Memory for all processes together, like 4GB. [default: what is free]"),
        (
            "--tile",
            click.IntRange(16),
            "Label in tiles of this side. [default: up to 2048 pixels, as memory allows]",
        ),
    ):
        kind: dict[str, Any] = {"is_flag": True} if type_ is None else {"type": type_}
        command = click.option(name, help=text, **kind)(command)
    return command


def goes_large(options: dict[str, Any]) -> bool:
    """Whether an image is labeled in tiles: it is asked for, or the image does not fit into memory."""
    from ..backend.memory import USABLE, free_bytes, memory_estimate
    from ..integrators import Krylov
    from ..io.images import TIFFS
    from ..tiling.source import is_zarr, open_source

    image: Path = options["image"]
    if is_zarr(image) or options["output"].suffix.lower() == ".zarr" or any(options[name] for name in ASKING):
        return True
    if image.suffix.lower() not in TIFFS or not image.is_file():
        return False
    try:
        source = open_source(image, channel_axis=options["channel_axis"])
    except (ValueError, TypeError, ImportError):
        return False  # what is wrong with it is said where it is read
    labels = int(options["prototypes"]) if str(options["prototypes"]).isdigit() else 5
    needed, free = memory_estimate(source.shape[:2], labels, integrator=Krylov(tol=options["tol"])), free_bytes()
    if free is None or needed <= USABLE * free:
        return False
    click.echo(f"{image} takes about {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free: tile by tile.", err=True)
    return True


def label_large(options: dict[str, Any]) -> None:
    """Label an image in tiles, by the options of the command line."""
    from ..tiling import Tiling, label_file, open_source

    if options["preview"] is not None:
        raise ValueError("--preview needs the image in memory, not in tiles. Leave it out.")
    if options["spacing"] is not None:
        raise ValueError("--spacing is for images in memory; tiles take square pixels. Leave it out.")
    if options["flow"] == "nonlinear":
        raise ValueError(
            "--flow nonlinear chooses its steps by the whole image, which tiles do not see. Take the linear flow, or "
            "leave the options of tiles out."
        )
    source = open_source(options["image"], channel_axis=options["channel_axis"])
    labeler = _predicting(options) if options["model"] is not None else _labeling(options, source)
    tiling = Tiling(
        options["tile"], options["memory"], options["workers"] or 1, options["scheduler"], options["restart"]
    )  # fmt: skip
    with compile_notice():
        done = label_file(
            source, options["output"], labeler, probabilities=options["probabilities"], tiling=tiling,
            say=lambda text: click.echo(text, err=True),
        )  # fmt: skip
    height, width = done.shape
    click.echo(f"{height}×{width} pixels, {done.labels} labels, {done.tiles} tiles: {options['output']}")


def _labeling(options: dict[str, Any], source: Source) -> Labeler:
    """Uniform or bilateral weights, prototypes from a file or from a sample of the image."""
    from ..averaging.sources import BilateralWeights
    from ..backend.validation import image_features
    from ..integrators import Taylor
    from ..io.images import read_prototypes
    from ..labeling.likelihood import prototype_array
    from ..tiling import Labeler, sample_prototypes

    if options["weights"] not in ("uniform", "bilateral"):
        raise ValueError(
            f"--weights is {options['weights']!r}; accepted for images that are labeled in tiles are uniform and "
            "bilateral. For learned weights, train a --model."
        )
    asked = read_prototypes(options["prototypes"] or "5")
    if isinstance(asked, int):
        prototypes = sample_prototypes(source, asked)
    else:
        pixel, scale = image_features(np.zeros((1, 1, source.layout.channels or 1), source.dtype))
        prototypes = prototype_array(asked, pixel, scale)
    return Labeler(
        prototypes,
        BilateralWeights(options["sigma"]) if options["weights"] == "bilateral" else None,
        rho=first(options["rho"], 0.1),
        time=first(options["time_"], 3.0),
        integrator=Taylor(tol=options["tol"]),
        device=_device(options["device"]),
    )


def _predicting(options: dict[str, Any]) -> Labeler:
    """A model of gpulaf train."""
    from ..prediction.predictor import PredictedWeights
    from ..tiling import Labeler

    check_model_alone("prototypes", "weights", "rho", "sigma", "flow", "time_", "tol")
    path: Path = options["model"]
    predictor = read_predictor(path, soft=False)
    values = predictor.label_values_
    return Labeler(
        predictor.label_prototypes_,
        PredictedWeights(predictor, hashlib.sha256(path.read_bytes()).hexdigest()[:16]),
        rho=predictor.rho,
        time=predictor.layer_times,
        integrator=predictor.solver,
        values=values if min(values) >= 0 and max(values) < 65536 else None,
        device=_device(options["device"]),
    )


def _device(device: str) -> str:
    """The cpu or the gpu: what auto finds here."""
    from ..backend.array import device_array, is_host_array

    return "cpu" if is_host_array(device_array(np.zeros(1), device)) else "gpu"
