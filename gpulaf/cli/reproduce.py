"""gpulaf reproduce: the experiments of the paper."""

from __future__ import annotations

from pathlib import Path

import click

from ..experiments import EXPERIMENTS, missing
from .options import result_folder, tell_notes


@click.command()
@click.argument("figure", type=click.Choice([*EXPERIMENTS, "all"]))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("reproduced"), show_default=True,
    help="Folder of the results.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Small images and few steps: minutes instead of half an hour.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first scene.")
def reproduce(figure: str, output: Path, quick: bool, seed: int) -> None:
    """Redo an experiment of the paper (Sect. 4): its figure, the numbers behind it, and what they say.

    FIGURE is one of fig1 (labelings), fig2 (training by three gradients; needs PyTorch), fig3 (low rank against exact),
    fig4 (Krylov dimension, rank, time), fig5 (predicted weights), subspace, dimension (learning in subspaces), depth
    (several linearized flows), neighborhoods (3×3 to 7×7 weights), cost (seconds and memory of a training), space
    (memory of every gradient), or all, which also writes report.md: the paper's claims beside these results, and what
    each experiment found. Without PyTorch, all leaves fig2 out, and space its baselines.
    """
    from ..experiments import Setting
    from ..experiments import reproduce as redo
    from ..experiments.report import reproduce_all

    result_folder(output)
    if figure == "all":
        tell_notes(f"left out: {lack}" for name in EXPERIMENTS if (lack := missing(name)))
        path = reproduce_all(output, quick=quick, seed=seed)
        click.echo(f"report: {path}")
        return
    result = redo(figure, output, Setting(quick, seed))
    click.echo(result.finding)
    for stem in result.drawings:
        click.echo(f"figure: {output / stem}.png")
    for stem in result.tables:
        click.echo(f"numbers: {output / stem}.csv")
