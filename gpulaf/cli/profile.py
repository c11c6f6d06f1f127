"""gpulaf profile: the time of a learning step by stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .options import device_option, result_folder

FOOTNOTES = (
    "Times are means of the middle third of the steps. MB: every operand of every call once, the products of a series",
    "one by one.",
    "of a copy: bandwidth as a share of that of a copy of as many bytes. It passes 1 where products share reads in",
    "cache, and where more is read than written.",
    "flop/B: floating-point operations per byte; a multiply-add is two.",
)


@click.command()
@click.option("--size", type=click.IntRange(16, 16384), default=512, show_default=True, help="Pixels on a side.")
@click.option("--labels", type=click.IntRange(2, 256), default=10, show_default=True, help="Number of labels.")
@click.option(
    "--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True, help="Of all fields."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for profile.json and profile.png."
)
@device_option
def profile(size: int, labels: int, dtype: str, output: Path | None, device: str) -> None:
    """Time the stages of a learning step on a synthetic problem, each beside a copy of as many bytes.

    A step is a Taylor series, the cosine loss, its exact gradient and a step of Riemannian Adam, at T = 3. The stages
    are those of the device: a CPU computes the gradient in one wave through the image. The figure is a roofline. On a
    GPU the kernels are NVTX ranges, too.
    """
    from ..io.images import write_figure
    from ..io.results import Results
    from ..plots.figures import roofline_figure
    from ..profiling.profile import profile_step

    if output is not None:
        result_folder(output)
    result = profile_step(size, labels, device=device, dtype=dtype)
    click.echo(f"{result.machine}, {dtype}, {size}×{size} pixels, {labels} labels, Taylor degree {result.degree}")
    click.echo(_table(result))
    if result.peak is not None:
        click.echo(f"Multiply-adds in first-level cache: {result.peak / 1e9:.3g} Gflop/s.")
    click.echo("\n".join(FOOTNOTES))
    if output is not None:
        with Results() as results:
            numbers = results.write(output / "profile.json", lambda path: _write_json(path, result))
            figure = results.write(output / "profile.png", lambda path: write_figure(path, roofline_figure(result)))
            click.echo(f"written: {numbers}, {figure}")


def _table(profile: Any) -> str:
    """Return stages, the rest and the total as aligned text."""
    rows = [["stage", "calls", "ms", "MB", "GB/s", "of a copy", "flop/B"]]
    for stage in profile.stages:
        rates = (f"{stage.bandwidth / 1e9:.1f}", f"{stage.share:.2f}", f"{stage.intensity:.2f}")
        rows.append([stage.name, str(stage.calls), _ms(stage.seconds), f"{stage.cost.bytes / 1e6:.4g}", *rates])
    calls = sum(stage.calls for stage in profile.stages)
    moved, operations, _ = (sum(numbers) for numbers in zip(*(s.cost for s in profile.stages), strict=True))
    share = sum(stage.cost.bytes / stage.copy for stage in profile.stages) / profile.total
    rates = (f"{moved / profile.total / 1e9:.1f}", f"{share:.2f}", f"{operations / moved:.2f}")
    rows.append(["everything else", "", _ms(profile.rest), "", "", "", ""])
    rows.append(["total", str(calls), _ms(profile.total), f"{moved / 1e6:.4g}", *rates])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3f}"


def _write_json(path: Path, profile: Any) -> None:
    """Write the profile as JSON, in seconds, bytes and operations."""
    from dataclasses import asdict

    from ..io.atomic import whole_file

    record = asdict(profile)
    for row, stage in zip(record["stages"], profile.stages, strict=True):
        row["cost"] = stage.cost._asdict()
        row |= {"bandwidth": stage.bandwidth, "share": stage.share, "intensity": stage.intensity, "rate": stage.rate}
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
