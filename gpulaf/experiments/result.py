"""How an experiment is asked for, and its result: drawings, tables and a finding, written to files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..io.atomic import whole_file
from ..io.images import write_figure

T = TypeVar("T")

#: One row of a table.
Row = dict[str, Any]


def _quiet(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Setting:
    """How large and from which seed.

    Parameters
    ----------
    quick : bool
        Small images and few steps: what the figures look like, in minutes.
    seed : int
        Of the first scene; the others follow.
    tell : callable
        Hears in a few words what is being done.
    """

    quick: bool = False
    seed: int = 0
    tell: Callable[[str], object] = _quiet

    def pick(self, full: T, quick: T) -> T:
        """The value of this setting."""
        return quick if self.quick else full

    @property
    def size(self) -> int:
        """Height and width of the scenes in pixels."""
        return self.pick(128, 64)

    def sites(self, full: int) -> int:
        """Voronoi cells, as dense as `full` of them at 128×128."""
        return max(4, round(full * (self.size / 128) ** 2))


class Drawing(NamedTuple):
    """A figure and its caption."""

    figure: Any
    caption: str


class ExperimentResult(NamedTuple):
    """What an experiment found; figures and tables by the stem of their file."""

    drawings: dict[str, Drawing]
    tables: dict[str, list[Row]]
    #: What the numbers say, in a sentence or two.
    finding: str


def write(result: ExperimentResult, folder: Path) -> None:
    """Write every figure as PNG and PDF and every table as CSV, each whole or not at all."""
    for stem, drawing in result.drawings.items():
        for suffix in (".png", ".pdf"):
            write_figure(folder / f"{stem}{suffix}", drawing.figure)
    for stem, rows in result.tables.items():
        with whole_file(folder / f"{stem}.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def select(rows: list[Row], **values: Any) -> list[Row]:
    """The rows in which every named column has its value."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def only(rows: list[Row], column: str, **values: Any) -> Any:
    """The one value of a column among the selected rows."""
    (row,) = select(rows, **values)
    return row[column]
