"""The options --uncertainty and --noise of gpulaf label: how likely another noise changes the label of a pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..io.images import Record
    from ..io.place import Place
    from ..io.results import Results
    from ..labeling.labeler import Labeler


def uncertainty_options(command: Any) -> Any:
    """Add --uncertainty and --noise."""
    command = click.option(
        "--noise", type=float, metavar="SIGMA",
        help="Standard deviation of that noise in image units, 0 to 1. [default: read off neighboring pixels]",
    )(command)  # fmt: skip
    return click.option(
        "--uncertainty", type=click.Path(path_type=Path),
        help="Also write the probability that another noise of the same size changes the label, a float per pixel: "
        ".tif or .npy.",
    )(command)  # fmt: skip


def check_uncertainty(options: dict[str, Any]) -> None:
    """Raise ValueError for options that contradict each other."""
    from ..backend.numbers import check_number

    if options["noise"] is not None:
        if options["uncertainty"] is None:
            raise ValueError("--noise is given, and --uncertainty is not. Name its file, or leave --noise out.")
        check_number(options["noise"], "--noise", 1e-9, 1e9, "0.01 to 0.3 is usual; left out, the image tells it.")
    if options["uncertainty"] is not None and options["flow"] == "nonlinear":
        raise ValueError("--uncertainty is that of --flow linear. Leave --flow nonlinear out.")


def with_uncertainty(labeler: Labeler, options: dict[str, Any], record: Record, axis: int | None) -> Labeler:
    """The labeler that finds the uncertainty, too, where a file is named for it; its noise is told."""
    from ..backend.validation import image_features
    from ..labeling.noise import noise_level
    from ..labeling.uncertainty import Uncertainty

    if options["uncertainty"] is None:
        return labeler
    sigma, found = options["noise"], ""
    if sigma is None:
        try:
            sigma = noise_level(image_features(record.pixels, axis, mask=record.valid, range=labeler.range))
        except ValueError as error:
            reason = str(error).partition(". ")[0].partition(" Say ")[0]
            raise ValueError(f"{reason.removesuffix('.')}. Say how large it is: --noise SIGMA.") from error
        found = ", read off the image: --noise says another"
    click.echo(f"noise: {sigma:.3g} of the range of values{found}")
    return replace(labeler, uncertainty=Uncertainty(sigma))


def write_uncertainty(results: Results, path: Path, result: Any, volume: bool, place: Place) -> None:
    """Write the uncertainty at its place, and tell its mean."""
    from ..backend.array import host_array
    from ..io.images import write_array

    values = host_array(result.uncertainty)
    masked = getattr(result, "valid", None) is not None
    floating = replace(place, nodata=float("nan") if masked else None)
    path = results.write(path, lambda path: write_array(path, values, volume=volume, place=floating))
    known = values[values == values]
    click.echo(
        f"labels that another noise of this size changes: about {100 * known.mean():.3g} %; "
        f"{100 * (known > 0.1).mean():.3g} % of the pixels with a probability over 0.1: {path}"
    )
