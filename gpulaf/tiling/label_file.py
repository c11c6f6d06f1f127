"""From an image file to a label file, tile by tile; killed and started again it ends in the same bytes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..averaging.sources import WeightSource
from ..backend.array import device_array, is_host_array
from ..backend.progress import progress_bar, stoppable
from ..io.atomic import as_path
from ..io.images import with_nodata
from ..labeling.hints import unused_labels, warn_of_labels
from ..labeling.labeler import Labeler
from ..labeling.likelihood import in_units
from ..labeling.table import LabelTable
from .engine import TileTask, cluster, run_task
from .halo import check_labeler, tile_halo
from .outputs import Targets, check_targets, check_type
from .plan import Plan
from .prototypes import value_range, with_prototypes
from .sizing import Tiling, check_disk, chosen_side
from .source import Source, open_source
from .store import PartialResult, TileIndex, open_partial, stored_fingerprint

__all__ = ["TiledLabeling", "label_file"]

LOG = logging.getLogger(__name__)
#: Failed tiles that a message lists.
LISTED = 10


class TiledLabeling(NamedTuple):
    """A labeled image file."""

    output: Path
    shape: tuple[int, int]
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


def label_file(
    image: str | os.PathLike[str] | Source,
    output: str | os.PathLike[str],
    labeler: Labeler,
    *,
    probabilities: str | os.PathLike[str] | None = None,
    values: Sequence[int] | np.ndarray | None = None,
    nodata: int | None = None,
    tiling: Tiling | None = None,
    say: Callable[[str], object] | None = None,
) -> TiledLabeling:
    """Label an image file of any size, tile by tile, into another file.

    Every tile is read with a halo as wide as anything that its labels depend on: the result equals that of
    ``labeler(image)`` for the whole image bit for bit. It grows in ``OUTPUT.partial``, which is renamed when it is
    complete; the same call goes on where an earlier one was stopped.

    Parameters
    ----------
    image : path or Source
        TIFF, Zarr, OME-Zarr, PNG, JPEG or .npy; or what :func:`gpulaf.tiling.open_source` found in one.
    output : path
        ``.zarr`` (an array), ``.ome.zarr`` (a pyramid of every second pixel, OME-Zarr 0.5) or ``.tif`` (BigTIFF).
    labeler : Labeler
        With uniform weights or a WeightSource, whose ``repr`` tells it from others, and Taylor or Euler as its solver.
        A number of prototypes is found by k-means, the same as in memory.
    probabilities : path, optional
        ``.zarr``: an array (H, W, J) of the probabilities.
    values : (J,) integers, optional
        What stands for the labels in the output, in the smallest type that holds them; 0 … J−1 if None.
    nodata : int, optional
        What stands for pixels without data in the output, if there may be such: the largest number of its type if None.
    tiling : Tiling, optional
        Tiles, memory, processes, device.
    say : callable, optional
        Called with a sentence where the run goes on with what an earlier one finished.

    Returns
    -------
    TiledLabeling

    Raises
    ------
    ValueError, TypeError, FileExistsError, MemoryError, OSError
        Before any tile, if none could be labeled so, the outputs cannot be written, the tiles do not fit or the disk
        has no room.
    RuntimeError
        If tiles failed, after all others are done: with their rows and columns. The same call does only those again.

    Warns
    -----
    DataWarning
        If the values of the image do not go with its range, rho or the prototypes, or every pixel got one label.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import gpulaf
    >>> from gpulaf.io import write_array
    >>> scene = gpulaf.scenes.voronoi_lines(96, seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     image, output = Path(folder, "lines.npy"), Path(folder, "labels.tif")
    ...     write_array(image, scene.image[..., 0].astype("float32"))
    ...     labeler, tiling = gpulaf.Labeler(scene.prototypes), gpulaf.tiling.Tiling(side=64)
    ...     done = gpulaf.label_file(image, output, labeler, tiling=tiling)
    >>> done.shape, done.tiles
    ((96, 96), 4)
    """
    tiling, say = tiling or Tiling(), say or (lambda _: None)
    targets = Targets(as_path(output).absolute(), None if probabilities is None else as_path(probabilities).absolute())
    check_targets(targets)
    _check_labeler(labeler)
    source = image if isinstance(image, Source) else open_source(image)
    if targets.labels.exists() and targets.labels.samefile(source.path):
        raise ValueError(f"{targets.labels} is also the input. Choose another name for the result.")
    device = "cpu" if is_host_array(device_array(np.zeros(1), tiling.device)) else "gpu"
    learned, (labeler, told) = labeler.scaled, with_prototypes(labeler, source)
    if tiling.side is None and not tiling.restart:  # the memory that is free may have changed
        tiling = replace(tiling, side=stored_fingerprint(targets.partial).get("tile"))
    side = chosen_side(tiling, source, labeler, device)
    named, nodata = with_nodata(_label_values(values, len(labeler.prototypes)), nodata, masked=source.gaps)
    check_type(targets.labels, named)
    plan = Plan(source, labeler, named, targets, side, device, nodata)
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
            LOG.info("%s: %d tiles of %d² pixels, %d done", source.path, count, side, kept)
            with stoppable(lambda: left), cluster(tiling.workers, tiling.scheduler, device == "gpu") as client:
                for level, task in enumerate(plan.tasks()):
                    _run_level(plan, partial, level, task, client, tiling.progress)
            pixels = partial.pixels
            plan.finish(partial)
    table = LabelTable(named.tolist(), np.array(pixels), in_units(labeler.prototypes, value_range(source, labeler)))
    unused = unused_labels(table.pixels)
    if not (told or learned):
        warn_of_labels(unused)
    nodata = None if plan.is_full(pixels) else nodata
    return TiledLabeling(targets.labels, plan.shapes[0], len(named), side, count, kept, nodata, table, unused)


def _check_labeler(labeler: Labeler) -> None:
    """Raise ValueError or TypeError where tiles of a file cannot be labeled so, whatever the file."""
    check_labeler(labeler)
    if not (labeler.weights is None or isinstance(labeler.weights, WeightSource)):
        raise TypeError(
            f"weights are a {type(labeler.weights).__name__}; accepted for files are uniform ones (None) and a "
            "WeightSource, as BilateralWeights or that of a predictor. For weights of every pixel take label_array."
        )
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
        rows, columns = tile.window(plan.side, plan.shapes[level])
        return (rows.stop - rows.start) * (columns.stop - columns.start) / 1e6

    failed, total = [], plan.shapes[level][0] * plan.shapes[level][1] / 1e6
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
        rows, columns = tile.window(plan.side, plan.shapes[level])
        text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        lines.append(f"rows {rows.start}:{rows.stop}, columns {columns.start}:{columns.stop}: {text}")
    more = f"; and {len(failed) - LISTED} more" if len(failed) > LISTED else ""
    unless = "" if Path(plan.source.path).is_dir() else ", unless the image file is another by then"
    return (
        f"{len(failed)} of {plan.count(level)} tiles failed: {'; '.join(lines)}{more}. The others are kept in "
        f"{plan.targets.partial.name}: the same command does only these again{unless}."
    )
