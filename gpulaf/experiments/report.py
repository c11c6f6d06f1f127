"""All experiments one after the other, and a report of what they found."""

from __future__ import annotations

import os
import time as clock
from pathlib import Path

from .._version import __version__
from ..backend.progress import progress_bar
from ..io.atomic import whole_file
from . import EXPERIMENTS, Setting, missing, reproduce
from .result import ExperimentResult


def reproduce_all(folder: Path, *, quick: bool = False, seed: int = 0) -> Path:
    """Run every experiment that has its packages, with a progress bar; the path of ``report.md``.

    The report begins with the paper's claims beside ours, and says which experiments were left out and what they need.
    """
    from .paper import table

    lacks = {name: lack for name in EXPERIMENTS if (lack := missing(name))}
    results: dict[str, ExperimentResult] = {}
    seconds: dict[str, float] = {}
    began = clock.perf_counter()
    with progress_bar([name for name in EXPERIMENTS if name not in lacks], unit="experiment") as bar:
        for name in bar:
            bar.set_description(name)
            spent = _processor_seconds()
            results[name] = reproduce(name, folder, Setting(quick, seed, bar.set_postfix_str))
            seconds[name] = _processor_seconds() - spent
    size = "quick" if quick else "full"
    head = (
        f"# Experiments\n\ngpulaf {__version__}, {size} size, seed {seed}, {clock.perf_counter() - began:.0f} seconds, "
        f"{sum(seconds.values()):.0f} of processors: {', '.join(f'{name} {x:.0f}' for name, x in seconds.items())}.\n"
    )
    parts = [head, table(results), *(f"Left out: {lack}\n" for lack in lacks.values())]
    parts += [section(name, result) for name, result in results.items()]
    with whole_file(folder / "report.md") as path:
        path.write_text("\n".join(parts), encoding="utf-8")
    return folder / "report.md"


def _processor_seconds() -> float:
    """Seconds of processors that this process and those that it started and that have ended have taken."""
    return sum(os.times()[:4])


def section(name: str, result: ExperimentResult) -> str:
    """One experiment in Markdown: question, finding, figures with captions, numbers."""
    figures = "\n".join(f"![{name}]({stem}.png)\n\n*{drawing.caption}*\n" for stem, drawing in result.drawings.items())
    numbers = ", ".join(f"[{stem}.csv]({stem}.csv)" for stem in result.tables)
    return f"## {name}: {EXPERIMENTS[name]}\n\n{result.finding}\n\n{figures}\nNumbers: {numbers}.\n"
