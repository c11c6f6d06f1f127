"""gpulaf demo."""

from __future__ import annotations

from pathlib import Path

import click

from .options import device_option, result_folder


@click.command()
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
    from ..backend.array import host_array
    from ..experiments.demo import run_demo
    from ..io.images import write_figure
    from ..io.results import Results
    from ..kernels._numba import compiling
    from ..plots.figures import demo_figure

    result_folder(output)
    compiled: list[int] = []
    with compiling(compiled.append):
        result = run_demo(scene, size=size, seed=seed, steps=steps, device=device)
    path = output / f"gpulaf-{scene}.png"
    wrong = [row.wrong for row in result.fit.history]
    figure = demo_figure(result.scene, result.panels, host_array(result.fit.weights), wrong)
    click.echo(f"{scene}, {size}×{size} pixels, {len(result.scene.prototypes)} labels")
    for title in result.panels:
        click.echo(f"  {title:<16}{100 * result.wrong(title):7.2f} % wrong")
    included = ", the compilation of kernels included" if compiled else ""
    click.echo(f"  learned in {result.seconds:.1f} s ({len(wrong) - 1} steps){included}")
    with Results() as results:
        click.echo(f"figure: {results.write(path, lambda path: write_figure(path, figure))}")
