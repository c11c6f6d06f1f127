"""From a file of soft predictions to a label file, tile by tile."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np

from ..averaging.sources import WeightSource
from ..backend.validation import check_spacing
from ..labeling.labeler import Labeler
from .jobs import Job, TiledLabeling, check_labeler_of_files, checked_targets, holds_volume, in_tiles
from .sizing import Tiling
from .source import Source, open_source

__all__ = ["refine_file"]


def refine_file(
    predictions: str | os.PathLike[str] | Source,
    output: str | os.PathLike[str],
    labeler: Labeler,
    *,
    image: str | os.PathLike[str] | Source | None = None,
    logits: bool = False,
    probabilities: str | os.PathLike[str] | None = None,
    values: Sequence[int] | np.ndarray | None = None,
    nodata: int | None = None,
    tiling: Tiling | None = None,
    say: Callable[[str], object] | None = None,
    spacing: tuple[float, ...] | None = None,
) -> TiledLabeling:
    """Regularize soft predictions in a file of any size, tile by tile, into another file.

    The result equals that of ``labeler.refine`` of the whole array bit for bit.

    Parameters
    ----------
    predictions : path or Source
        (H, W, J), or (D, H, W, J) of a volume; or what :func:`gpulaf.tiling.open_source` found with ``soft=True``.
    output, probabilities, values, nodata, tiling, say
        As in :func:`gpulaf.label_file`.
    labeler : Labeler
        As in :func:`gpulaf.label_file`; prototypes have no meaning here, rho is the temperature.
    image : path or Source, optional
        What weights are made from, where they are a WeightSource.
    logits : bool
        The predictions are scores before the softmax.
    spacing : (sy, sx) or (sz, sy, sx), optional
        Distance of the pixels on each axis. Three of them say that the files hold a volume.

    Returns
    -------
    TiledLabeling

    Raises
    ------
    ValueError, TypeError, FileExistsError, MemoryError, OSError, RuntimeError
        As :func:`gpulaf.label_file`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import gpulaf
    >>> from gpulaf.io import write_array
    >>> p = np.random.default_rng(0).dirichlet(np.ones(3), (40, 30, 20)).astype("float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soft, output = Path(folder, "p.npy"), Path(folder, "labels.tif")
    ...     write_array(soft, p)
    ...     done = gpulaf.tiling.refine_file(soft, output, gpulaf.Labeler(rho=1.0), spacing=(2, 1, 1))
    >>> done.shape, done.labels
    ((40, 30, 20), 3)
    """
    tiling, targets = tiling or Tiling(), checked_targets(output, probabilities)
    check_labeler_of_files(labeler)
    volume = holds_volume(labeler, spacing)
    source = predictions if isinstance(predictions, Source) else open_source(predictions, volume=volume, soft=True)
    check_spacing(spacing, source.axes)
    beside: Source | None = None
    if isinstance(labeler.weights, WeightSource):
        if image is None:
            raise ValueError(f"weights is {labeler.weights!r}, but there is no image to make them from. Pass image.")
        beside = image if isinstance(image, Source) else open_source(image, volume=source.axes == 3)
        if beside.pixels != source.pixels:
            raise ValueError(
                f"the image has {beside.pixels} pixels and the predictions {source.pixels}; accepted are as many. "
                "Check the pair."
            )
    soft = "logits" if logits else "probabilities"
    job = Job(source, labeler, source.shape[-1], targets, spacing, soft, beside)
    return in_tiles(job, values, nodata, tiling, say or (lambda _: None))
