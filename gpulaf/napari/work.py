"""What the plugin does with the layers of a viewer, without Qt: layers in, layer data tuples of napari out.

Layers are those of napari, or anything like them (:mod:`gpulaf.napari.layers`). Labels of a result start at 1, since 0
is no label in napari, unless painted labels, ground truth or a model say what they are. Pixels that are NaN, infinite
or transparent are no data and become 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..averaging.patches import spaced_weights
from ..averaging.sources import BilateralWeights
from ..backend.validation import image_features
from ..labeling.hints import warn_of_values
from ..labeling.labeler import Labeler
from ..labeling.likelihood import distances, log_likelihood
from ..learning.descent import RiemannianAdam
from ..learning.fitting import FitOptions, fit_weights
from ..learning.stepper import FitStep
from ..prediction.features import check_channels
from ..prediction.loading import load_predictor
from ..tiling.dask_array import dask_array, label_array, refine_array
from .layers import (
    Found,
    LayerData,
    Picture,
    counted,
    finite_pixels,
    labels_layer,
    mean_values,
    place_of,
    read_marks,
    read_pixels,
    read_probabilities,
    spacing_of,
)

__all__ = ["Cancelled", "Settings", "apply_model", "label_image", "learn_weights", "refine_probabilities"]

#: Pixels from which on an image is labeled tile by tile, as Dask arrays always are; the side of a tile.
LARGE, SIDES = 2**20, {2: 1024, 3: 128}
#: The step of the descent, as of ``gpulaf learn``.
STEP_SIZE = 0.2

#: ``tell(done, total)`` hears of progress, with a total of 0 where it is not known; it may raise :class:`Cancelled`.
Tell = Callable[[int, int], object]


class Cancelled(Exception):
    """Raised by a function that hears of progress, to end the work."""


@dataclass(frozen=True)
class Settings:
    """How layers are labeled.

    Parameters
    ----------
    rho : float
        Scale of the data, or temperature of probabilities; see :class:`gpulaf.Labeler`.
    time : float
        Integration time T.
    sigma : float
        Scale of bilateral weights in scaled image units; 0 for uniform averaging.
    limits : bool
        The contrast limits of the image become 0 and 1, rather than the range of its type.
    """

    rho: float = 0.1
    time: float = 3.0
    sigma: float = 0.0
    limits: bool = False

    def labeler(self, prototypes: Any, image: Any, spacing: Any) -> Labeler:
        """The labeling of an image layer, or where `image` is None of probabilities alone."""
        weights = BilateralWeights(self.sigma, spacing=spacing) if self.sigma else None
        return Labeler(prototypes, weights, self.rho, self.time, range=self.range(image))

    def range(self, image: Any) -> tuple[float, float] | None:
        """The values of a layer that become 0 and 1; None for those of its type."""
        limits = getattr(image, "contrast_limits", None) if self.limits else None
        return None if limits is None else (float(limits[0]), float(limits[1]))


def _silent(done: int, total: int) -> None:
    """Hear of progress."""


def label_image(
    image: Any, labels: int = 4, *, strokes: Any = None, settings: Settings = Settings(), tell: Tell = _silent
) -> list[LayerData]:
    """Label an image layer as :func:`gpulaf.label` does.

    Parameters
    ----------
    image : layer
        (H, W), (H, W, 3 or 4) where it is `rgb`, or a volume (D, H, W); NumPy, Dask or Zarr, or several scales.
    labels : int
        Number of labels, whose prototypes k-means finds.
    strokes : layer, optional
        Labels painted on the image, 0 where there are none: the mean value under each label is its prototype.
    settings : Settings
    tell : callable
        Hears of progress; see :data:`Tell`.

    Returns
    -------
    list of one Labels layer
        Labels are those of `strokes`, or 1 … `labels`.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As :func:`gpulaf.label`; ValueError if fewer than two labels are painted, or on an image of another size.
    Cancelled
        By `tell`.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import gpulaf
    >>> from gpulaf.napari import label_image
    >>> scene = gpulaf.scenes.voronoi_colors(32, noise=0.2)
    >>> layer = SimpleNamespace(data=scene.image, rgb=True, name="cells", scale=[0.5, 0.5], translate=[0, 8])
    >>> [(data, attributes, kind)] = label_image(layer, 8)
    >>> data.min(), data.max(), kind, attributes["name"], attributes["translate"]
    (np.uint8(1), np.uint8(8), 'labels', 'cells labels', [0, 8])
    """
    pixels, spacing = read_pixels(image), spacing_of(image)
    values, prototypes = counted(int(labels)), np.asarray(labels)
    if strokes is not None:
        marks, values = read_marks(strokes, pixels)
        prototypes = mean_values(pixels, marks, len(values))
    found = _labeled(settings.labeler(prototypes, image, spacing), pixels, spacing, tell)
    return [labels_layer(found, values, f"{image.name} labels", place_of(image), strokes)]


def refine_probabilities(
    probabilities: Any,
    image: Any = None,
    *,
    label_axis: int = 0,
    settings: Settings = Settings(rho=1.0),
    tell: Tell = _silent,
) -> list[LayerData]:
    """Refine a layer of probabilities as :func:`gpulaf.refine` does.

    Parameters
    ----------
    probabilities : image layer
        (J, H, W) or (H, W, J), of a volume with D before H.
    image : image layer, optional
        What bilateral weights are made from.
    label_axis : 0 or -1
        Where J is; it is last where the layer is `rgb`.
    settings : Settings
    tell : callable
        Hears of progress; see :data:`Tell`.

    Returns
    -------
    list of one Labels layer
        Labels 1 … J, where the image is.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As :func:`gpulaf.refine`.
    Cancelled
        By `tell`.
    """
    soft, dropped = read_probabilities(probabilities, label_axis)
    place = place_of(probabilities, dropped)
    spacing = spacing_of(probabilities, dropped)
    pixels = read_pixels(image) if image is not None and settings.sigma else None
    found = _labeled(settings.labeler(None, image, spacing), pixels, spacing, tell, soft)
    place = place if image is None else place_of(image)
    return [labels_layer(found, counted(soft.shape[-1]), f"{probabilities.name} refined", place)]


def learn_weights(
    image: Any,
    truth: Any,
    *,
    zero: bool = False,
    steps: int = 50,
    radius: int = 1,
    settings: Settings = Settings(rho=0.2, time=6.0),
    tell: Tell = _silent,
) -> list[LayerData]:
    """Learn the weights of an image layer by :func:`gpulaf.fit_weights`, and label it with them.

    Parameters
    ----------
    image : image layer
        As of :func:`label_image`; it is held in memory.
    truth : Labels layer
        The labels, whose prototypes are the mean values under them.
    zero : bool
        0 is a label like others, rather than no ground truth.
    steps, radius : int
        Learning steps, and the radius of the weight patches; learning starts from uniform ones.
    settings : Settings
        Without `sigma`.
    tell : callable
        Hears of progress; see :data:`Tell`.

    Returns
    -------
    list of one Labels layer
        With the labels of `truth`. Its metadata hold the `weights` (H, N, W), the `prototypes` in the units of the
        image, and the `history` of the fit.

    Raises
    ------
    ValueError, TypeError, MemoryError, FloatingPointError
        As :func:`gpulaf.fit_weights`; ValueError if there are fewer than two labels, or the sizes differ.
    Cancelled
        By `tell`.
    """
    pixels, spacing = read_pixels(image).in_memory(), spacing_of(image)
    marks, values = read_marks(truth, pixels, zero)
    range = settings.range(image)
    known = image_features(pixels.data, pixels.channels, mask=pixels.mask, range=range)
    means = mean_values(Picture(known.features, -1, pixels.mask), marks, len(values))
    warn_of_values(known, means, settings.rho, ranged=range is not None or known.range != (0, 1), learned=False)
    distance = spacing or (1.0,) * marks.ndim
    start = spaced_weights(marks.shape, distance, radius, dtype=known.features.dtype)

    def watch(row: FitStep, weights: Any) -> None:
        tell(row.step, steps)

    fit = fit_weights(
        log_likelihood(distances(known.features, means), settings.rho), marks, mask=known.valid, weights=start,
        time=settings.time, descent=RiemannianAdam(STEP_SIZE), steps=steps,
        options=FitOptions(callback=watch, progress=False),
    )  # fmt: skip
    labeler = Labeler(means, fit.weights, settings.rho, settings.time, scaled=True, range=range)
    found = _labeled(labeler, pixels, None, lambda done, total: tell(0, 0))
    learned = {"weights": fit.weights, "history": fit.history, "reason": f"{fit.reason} {found.reason}"}
    return [labels_layer(found, values, f"{image.name} learned", place_of(image), truth, **learned)]


def apply_model(
    image: Any, path: str | os.PathLike[str], *, probabilities: Any = None, label_axis: int = 0, tell: Tell = _silent
) -> list[LayerData]:
    """Label an image layer, or refine its probabilities, by a model of ``gpulaf train``.

    Parameters
    ----------
    image : image layer
        Of the kind that the model was trained on.
    path : path
        A saved :class:`gpulaf.WeightNetwork` or :class:`gpulaf.WeightPredictor`.
    probabilities : image layer, optional
        For a model that was trained on probabilities.
    label_axis : 0 or -1
        As of :func:`refine_probabilities`.
    tell : callable
        Hears of progress; see :data:`Tell`.

    Returns
    -------
    list of one Labels layer
        Its labels are the classes of the model.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError, MemoryError
        As :func:`gpulaf.prediction.load_predictor` and :meth:`gpulaf.WeightNetwork.label`.
    Cancelled
        By `tell`.
    """
    predictor, soft = load_predictor(path), None
    pixels = read_pixels(image, predictor.axes)
    if predictor.on_probabilities_ != (probabilities is not None):
        kind, step = ("on", "Choose their layer") if predictor.on_probabilities_ else ("without", "Choose none")
        raise ValueError(f"{path} was trained {kind} probabilities. {step}, too.")
    check_channels(pixels.data, predictor.n_channels_, predictor.axes)
    if probabilities is not None:
        soft, _ = read_probabilities(probabilities, label_axis)
        if soft.shape[-1] != len(predictor.classes_):
            accepted = len(predictor.classes_)
            raise ValueError(f"{probabilities.name} holds {soft.shape[-1]} labels; accepted are {accepted}.")
    found = _labeled(predictor.labeler(), pixels, None, tell, soft)
    channels = None if image.rgb or pixels.channels is None else len(image.scale) - 1
    name = f"{image.name} {Path(path).stem}"
    return [labels_layer(found, predictor.classes_, name, place_of(image, channels))]


def _labeled(labeler: Labeler, pixels: Picture | None, spacing: Any, tell: Tell, soft: Any = None) -> Found:
    """Label pixels, or refine (H, W, J) probabilities with them; large and Dask arrays tile by tile."""
    tell(0, 0)
    image, mask = (None, None) if pixels is None else (pixels.data, pixels.mask)
    if soft is not None and (finite := finite_pixels(soft, -1)) is not None:
        mask = finite if mask is None else finite & mask
    options: dict[str, Any] = {"mask": mask, "spacing": spacing}
    if pixels is not None:
        options["channel_axis"] = pixels.channels
    arrays = [x for x in (image, soft) if x is not None]
    shape = soft.shape[:-1] if pixels is None else pixels.shape
    if prod(shape) < LARGE and all(isinstance(x, np.ndarray) for x in arrays):
        result = labeler(image, **options) if soft is None else labeler.refine(soft, image=image, **options)
        return Found(result.labels, result.nodata, result.reason, result.prototypes)
    image, soft, options["mask"] = (None if x is None else _tiles(x, len(shape)) for x in (image, soft, mask))
    if soft is None:
        labels = label_array(image, labeler, **options).labels
    else:
        labels = refine_array(soft, labeler, image=image, **options).labels
    return Found(_computed(labels, tell), None if mask is None else int(np.iinfo(labels.dtype).max))


def _tiles(x: Any, axes: int) -> Any:
    """An array in tiles of about the same side; stored chunks are joined, or cut where they are larger."""
    da, side = dask_array(), SIDES[axes]
    if isinstance(x, np.ndarray):
        return da.from_array(x, chunks=(*(side,) * axes, *(-1,) * (x.ndim - axes)), name=False)
    sizes = [max(chunks) for chunks in x.chunks[:axes]]
    return x.rechunk({k: n * (side // n) if n <= side else side for k, n in enumerate(sizes)})


def _computed(labels: Any, tell: Tell) -> np.ndarray:
    """Compute a Dask array of labels tile by tile."""
    found = np.empty(labels.shape, labels.dtype)
    windows = dask_array().core.slices_from_chunks(labels.chunks)
    for k, (place, window) in enumerate(zip(np.ndindex(labels.numblocks), windows, strict=True)):
        tell(k, len(windows))
        found[window] = labels.blocks[place].compute(scheduler="synchronous")
    return found
