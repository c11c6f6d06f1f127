"""From an image file to a label file, tile by tile; killed and started again it ends in the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .engine import Job, cluster, work
from .job import Labeler
from .outputs import Targets, check_targets
from .run import Run
from .sizing import Tiling, check_disk, tile_side
from .source import Source, open_source
from .store import Partial, Place, begin, begun_with

__all__ = ["TiledLabeling", "label_file"]

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


def label_file(
    image: str | os.PathLike[str] | Source,
    output: str | os.PathLike[str],
    labeler: Labeler,
    *,
    probabilities: str | os.PathLike[str] | None = None,
    tiling: Tiling | None = None,
    say: Callable[[str], object] | None = None,
) -> TiledLabeling:
    """Label an image file of any size, tile by tile, into another file.

    Every tile is read with a halo as wide as anything that its labels depend on: the result equals that of
    :func:`gpulaf.label` with ``Taylor(…).fixed(time)`` bit for bit. The work grows in ``OUTPUT.partial``, which is
    renamed when it is complete; the same call goes on where an earlier one was stopped.

    Parameters
    ----------
    image : path or Source
        TIFF, Zarr, OME-Zarr, PNG, JPEG or .npy; or what :func:`gpulaf.tiling.open_source` found in one.
    output : path
        ``.zarr`` (an array), ``.ome.zarr`` (a pyramid of every second pixel, OME-Zarr 0.5) or ``.tif`` (BigTIFF).
    labeler : Labeler
    probabilities : path, optional
        ``.zarr``: an array (H, W, J) of the probabilities.
    tiling : Tiling, optional
        Tiles, memory, processes.
    say : callable, optional
        Gets a sentence where there is something to say.

    Returns
    -------
    TiledLabeling

    Raises
    ------
    ValueError, FileExistsError, MemoryError, OSError
        Before any work, if the outputs cannot be written, the tiles do not fit or the disk has no room.
    RuntimeError
        If tiles failed, after all others are done: with their rows and columns. The same call does only those again.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import gpulaf
    >>> from gpulaf.io.images import write_array
    >>> scene = gpulaf.scenes.voronoi_lines(96, seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     image, output = Path(folder, "lines.npy"), Path(folder, "labels.tif")
    ...     write_array(image, scene.image[..., 0].astype("float32"))
    ...     done = gpulaf.label_file(image, output, gpulaf.Labeler(scene.prototypes), tiling=gpulaf.tiling.Tiling(side=64))
    >>> done.shape, done.tiles
    ((96, 96), 4)
    """
    tiling, say = tiling or Tiling(), say or (lambda _: None)
    targets = Targets(Path(output).absolute(), None if probabilities is None else Path(probabilities).absolute())
    check_targets(targets)
    source = image if isinstance(image, Source) else open_source(image)
    if targets.labels.exists() and targets.labels.samefile(source.path):
        raise ValueError(f"{targets.labels} is also the input. Choose another name for the result.")
    if labeler.prototypes.shape[1] != (channels := source.layout.channels or 1):
        raise ValueError(
            f"{source.path} has {channels} channel(s), the prototypes have {labeler.prototypes.shape[1]}; accepted are "
            "as many. Take an image like those of the prototypes or the model."
        )
    if tiling.side is None and not tiling.restart:  # the memory that is free may have changed
        tiling = replace(tiling, side=begun_with(targets.partial).get("tile"))
    side = tile_side(tiling, source, labeler)
    run = Run(source, labeler, targets, side)
    if not targets.partial.exists() or tiling.restart:
        check_disk(targets.labels.parent, run.disk_bytes())
    with begin(targets.partial, run.fingerprint(), restart=tiling.restart) as partial:
        tiles = run.tiles()
        kept = sum(1 for place in partial.done if place.level == 0) if not partial.complete else tiles
        if partial.resumed:
            say(f"Going on with {targets.partial.name}: {kept} of {tiles} tiles are done.")
        if partial.complete:
            partial.end_moves()
        else:
            run.create()
            with cluster(tiling.workers, tiling.scheduler, labeler.device == "gpu") as client:
                for level, job in enumerate(run.jobs()):
                    _work_level(run, partial, level, job, client, tiling.progress)
            run.finish(partial)
    return TiledLabeling(targets.labels, run.shapes[0], labeler.labels, side, tiles, kept)


def _work_level(run: Run, partial: Partial, level: int, job: Job, client: Any, progress: bool | None) -> None:
    """Work on all tiles of a level that are not finished; tell which failed when the others are."""
    from tqdm import tqdm

    def pixels(place: Place) -> float:
        rows, columns = place.window(run.side, run.shapes[level])
        return (rows.stop - rows.start) * (columns.stop - columns.start) / 1e6

    failed, total = [], run.shapes[level][0] * run.shapes[level][1] / 1e6
    done = sum(pixels(place) for place in partial.done if place.level == level)
    rest = (place for place in run.places(level) if place not in partial.done)
    form = "{l_bar}{bar}| {n:.0f}/{total:.0f} Mpixel [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
    name = "labeling" if level == 0 else f"level {level}"
    hidden = None if progress is None else not progress
    with tqdm(total=total, initial=done, unit="Mpixel", bar_format=form, desc=name, disable=hidden) as bar:
        for place, files, error in work(job, rest, client):
            if error is None:
                partial.record(place, files)
                bar.update(pixels(place))
            else:
                failed.append((place, error))
                bar.set_postfix_str(f"{len(failed)} failed")
    if failed:
        raise RuntimeError(_failures(run, level, failed)) from failed[0][1]


def _failures(run: Run, level: int, failed: list[tuple[Place, Exception]]) -> str:
    lines = []
    for place, error in failed[:LISTED]:
        rows, columns = place.window(run.side, run.shapes[level])
        text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        lines.append(f"rows {rows.start}:{rows.stop}, columns {columns.start}:{columns.stop}: {text}")
    more = f"; and {len(failed) - LISTED} more" if len(failed) > LISTED else ""
    unless = "" if Path(run.source.path).is_dir() else ", unless the image file is another by then"
    return (
        f"{len(failed)} of {run.tiles(level)} tiles failed: {'; '.join(lines)}{more}. The others are kept in "
        f"{run.targets.partial.name}: the same command does only these again{unless}."
    )
