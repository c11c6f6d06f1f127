"""A labeling from file to file in tiles: what is read, how it is labeled, where it goes, and the run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..averaging.sources import WeightSource
from ..backend.array import device_array, is_host_array
from ..backend.progress import progress_bar, stoppable
from ..io.atomic import as_path
from ..io.images import with_nodata
from ..labeling.hints import unused_labels
from ..labeling.labeler import Labeler
from ..labeling.metrics import check_metric
from ..labeling.prototypes import in_units
from ..labeling.table import LabelTable
from .engine import TileTask, cluster, run_task
from .halo import check_labeler, tile_halo
from .outputs import Targets, check_targets, check_type
from .plan import Plan
from .prototypes import value_range
from .sizing import Tiling, check_disk, chosen_side
from .source import Source, told
from .store import PartialResult, TileIndex, open_partial, stored_fingerprint

__all__ = ["Job", "TiledLabeling", "check_labeler_of_files", "checked_targets", "holds_volume", "in_tiles"]

LOG = logging.getLogger(__name__)
#: Failed tiles that a message lists.
LISTED = 10


class TiledLabeling(NamedTuple):
    """A labeled image file, or refined predictions of one."""

    output: Path
    shape: tuple[int, ...]
    labels: int
    #: Side and number of the tiles.
    side: int
    tiles: int
    #: Tiles that an earlier run had finished.
    kept: int
    #: What stands for pixels without data; None where all hold some.
    nodata: int | None
    #: Value, pixels and prototype of each label.
    table: LabelTable
    #: A sentence about labels that no pixel got; empty where there are none.
    unused: str


@dataclass(frozen=True, eq=False)
class Job:
    """What is labeled in tiles, and where the result goes.

    Parameters
    ----------
    source : Source
        An image, or soft predictions.
    labeler : Labeler
        Its prototypes are in scaled image units.
    labels : int
        J.
    targets : Targets
    spacing : tuple of float, optional
        Distance of the pixels on each axis.
    soft : str
        What the source holds where it is no image: "probabilities" or "logits".
    image : Source, optional
        What weights are made from, beside soft predictions.
    """

    source: Source
    labeler: Labeler
    labels: int
    targets: Targets
    spacing: tuple[float, ...] | None = None
    soft: str = ""
    image: Source | None = None

    @property
    def sources(self) -> list[Source]:
        """All that is read."""
        return [self.source, *([] if self.image is None else [self.image])]


def in_tiles(
    job: Job,
    values: Sequence[int] | np.ndarray | None,
    nodata: int | None,
    tiling: Tiling,
    say: Callable[[str], object],
) -> TiledLabeling:
    """Run a job, or go on with it; see :func:`gpulaf.label_file`."""
    targets, labeler = job.targets, job.labeler
    for source in job.sources:
        if targets.labels.exists() and targets.labels.samefile(source.path):
            raise ValueError(f"{targets.labels} is also the input. Choose another name for the result.")
    device = "cpu" if is_host_array(device_array(np.zeros(1), tiling.device)) else "gpu"
    if tiling.side is None and not tiling.restart:  # the memory that is free may have changed
        tiling = replace(tiling, side=stored_fingerprint(targets.partial).get("tile"))
    channels = sum(source.layout.channels or 1 for source in job.sources)
    side = chosen_side(tiling, job.source, labeler, job.labels, channels, device)
    gaps = any(source.gaps for source in job.sources)
    named, nodata = with_nodata(_label_values(values, job.labels), nodata, masked=gaps)
    check_type(targets.labels, named)
    plan = Plan(job.source, labeler, named, targets, side, device, nodata, job.image, job.soft, job.spacing)
    if not targets.partial.exists() or tiling.restart:
        check_disk(targets.labels.parent, plan.disk_bytes())
    with open_partial(targets.partial, plan.fingerprint(), restart=tiling.restart) as partial:
        count = plan.count()
        kept = sum(1 for tile in partial.done if tile.level == 0) if not partial.complete else count
        if partial.resumed:
            say(f"Going on with {targets.partial.name}: {kept} of {count} tiles are done.")
        if partial.complete:
            pixels = partial.pixels
            partial.finish_moves()
        else:
            plan.create_arrays()
            left = f"The tiles that are done are kept in {targets.partial.name}: the same command goes on from there."
            LOG.info("%s: %d tiles with sides of %d pixels, %d done", job.source.path, count, side, kept)
            with stoppable(lambda: left), cluster(tiling.workers, tiling.scheduler, device == "gpu") as client:
                for level, task in enumerate(plan.tasks()):
                    _run_level(plan, partial, level, task, client, tiling.progress)
            pixels = partial.pixels
            plan.finish(partial)
    units = None if job.soft else in_units(labeler.prototypes, value_range(job.source, labeler))
    table = LabelTable(named.tolist(), np.array(pixels), units)
    unused = unused_labels(table.pixels)
    nodata = None if plan.is_full(pixels) else nodata
    return TiledLabeling(targets.labels, plan.shapes[0], len(named), side, count, kept, nodata, table, unused)


def holds_volume(labeler: Labeler, spacing: Sequence[float] | None) -> bool:
    """Whether a file is read as a volume: three distances are given, or the weights are those of volumes."""
    return 3 in (len(spacing or ()), len(getattr(labeler.weights, "spacing", None) or ()))


def checked_targets(output: str | os.PathLike[str], probabilities: str | os.PathLike[str] | None) -> Targets:
    """Paths of the results; ValueError or OSError where they cannot be written."""
    targets = Targets(as_path(output).absolute(), None if probabilities is None else as_path(probabilities).absolute())
    check_targets(targets)
    return targets


def check_labeler_of_files(labeler: Labeler) -> None:
    """Raise ValueError or TypeError where tiles of a file cannot be labeled so, whatever the file."""
    check_labeler(labeler)
    if not (labeler.weights is None or isinstance(labeler.weights, WeightSource)):
        raise TypeError(
            f"weights are a {type(labeler.weights).__name__}; accepted for files are uniform ones (None) and a "
            "WeightSource, as BilateralWeights or that of a predictor. For weights of every pixel take label_array."
        )
    check_metric(labeler.metric, functions=False)
    tile_halo(labeler)


def _label_values(values: Any, labels: int) -> np.ndarray:
    """Check the values of the labels, (J,); 0 … J−1 if None."""
    if values is None:
        return np.arange(labels)
    array = np.asarray(values)
    if array.shape != (labels,) or array.dtype.kind not in "ui" or int(array.max()) >= 2**63:
        raise ValueError(f"values are {values}; accepted are {labels} whole numbers, one for each label.")
    return array.astype(np.int64)


def _run_level(
    plan: Plan, partial: PartialResult, level: int, task: TileTask, client: Any, progress: bool | None
) -> None:
    """Run the task on all tiles of a level that are not finished; tell which failed when the others are."""

    def megapixels(tile: TileIndex) -> float:
        return prod(part.stop - part.start for part in tile.window(plan.side, plan.shapes[level])) / 1e6

    failed, total = [], prod(plan.shapes[level]) / 1e6
    done = sum(megapixels(tile) for tile in partial.done if tile.level == level)
    rest = (tile for tile in plan.tiles(level) if tile not in partial.done)
    form = "{l_bar}{bar}| {n:.0f}/{total:.0f} Mpixel [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
    name = "labeling" if level == 0 else f"level {level}"
    with progress_bar(total=total, initial=done, unit="Mpixel", bar_format=form, desc=name, shown=progress) as bar:
        for tile, written, error in run_task(task, rest, client):
            if error is None:
                partial.record(tile, written)
                LOG.debug("done: %s", tile)
                bar.update(megapixels(tile))
            else:
                failed.append((tile, error))
                bar.set_postfix_str(f"{len(failed)} failed")
    if failed:
        raise RuntimeError(_failures(plan, level, failed)) from failed[0][1]


def _failures(plan: Plan, level: int, failed: list[tuple[TileIndex, Exception]]) -> str:
    lines = []
    for tile, error in failed[:LISTED]:
        text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        lines.append(f"{told(tile.window(plan.side, plan.shapes[level]))}: {text}")
    more = f"; and {len(failed) - LISTED} more" if len(failed) > LISTED else ""
    unless = "" if Path(plan.source.path).is_dir() else ", unless the image file is another by then"
    return (
        f"{len(failed)} of {plan.count(level)} tiles failed: {'; '.join(lines)}{more}. The others are kept in "
        f"{plan.targets.partial.name}: the same command does only these again{unless}."
    )
