"""From an image file to a label file, tile by tile; killed and started again it ends in the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np

from ..backend.validation import check_spacing
from ..labeling.hints import warn_of_labels
from ..labeling.labeler import Labeler
from .jobs import Job, TiledLabeling, check_labeler_of_files, checked_targets, holds_volume, in_tiles
from .prototypes import with_prototypes
from .sizing import Tiling
from .source import Source, open_source

__all__ = ["label_file"]


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
    spacing: tuple[float, ...] | None = None,
) -> TiledLabeling:
    """Label an image file of any size, or a volume, tile by tile, into another file.

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
    spacing : (sy, sx) or (sz, sy, sx), optional
        Distance of the pixels on each axis, as in :func:`gpulaf.label`. Three of them say that the file is a volume.

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
    tiling, targets = tiling or Tiling(), checked_targets(output, probabilities)
    check_labeler_of_files(labeler)
    source = image if isinstance(image, Source) else open_source(image, volume=holds_volume(labeler, spacing))
    check_spacing(spacing, source.axes)
    learned, (labeler, told) = labeler.scaled, with_prototypes(labeler, source)
    job = Job(source, labeler, len(labeler.prototypes), targets, spacing)
    done = in_tiles(job, values, nodata, tiling, say or (lambda _: None))
    if not (told or learned):
        warn_of_labels(done.unused)
    return done
