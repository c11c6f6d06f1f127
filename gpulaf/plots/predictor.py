"""Figures of a trained predictor: what it learned, how, and what that does to an image (Fig. 5); its confusion."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.array import host_array
from ..fields import from_rows
from ..learning.loop import best
from ..prediction.evaluation import compare
from ..prediction.metrics import confusion_matrix, scores
from ..prediction.model import Parameters, predict_weights
from ..prediction.predictor import WeightPredictor
from ..prediction.samples import Item
from ..prediction.trained import TrainedPredictor
from .previews import label_colors
from .style import ALARM, COLORS, error_axis, frame

__all__ = ["confusion_figure", "predictor_figure"]

#: Rows of prototypes that the figure shows at most, and patches in a row: of pixels and of the weights of each layer.
ROWS, PATCHES = 5, 14
#: Side of a drawn patch, a multiple of 3, 5 and 7.
CELL = 105


def predictor_figure(
    predictor: TrainedPredictor,
    image: Any,
    truth: Any,
    *,
    probabilities: Any = None,
    unlabeled: int | None = None,
    title: str = "unseen image",
) -> Any:
    """Draw labelings of an image without learning and by a predictor, what it learned, and its history.

    Of a :class:`gpulaf.WeightPredictor` the prototypes with their weights are shown, of a :class:`gpulaf.WeightNetwork`
    how many neighbors a pixel averages over. Of a volume the middle plane is shown, and so of patches.

    Parameters
    ----------
    predictor : WeightPredictor or WeightNetwork
    image : (H, W) or (H, W, C) array, of a volume with D before H, or a path
        Better one that was not trained on.
    truth : (H, W) integer array, or a path
    probabilities : (H, W, J) array, or a path, optional
        For a predictor that was trained on them.
    unlabeled : int, optional
        A value of the truth that is no label.
    title : str
        Of the image.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If image, truth or probabilities do not fit the predictor.
    """
    from matplotlib.figure import Figure

    item = Item(image, truth, probabilities, -1 if unlabeled is None else unlabeled)
    image, known, labels = compare(predictor, item)
    figure = Figure(figsize=(14.4, 7.2), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)  # type: ignore[union-attr, call-arg]
    grid = figure.add_gridspec(2, 10, height_ratios=(1, 1.25))
    axes = [figure.add_subplot(grid[0, k : k + 2]) for k in range(0, 10, 2)]
    shown = _label_colors(predictor)
    plane = len(known) // 2 if known.ndim == 3 else slice(None)
    title = title if known.ndim == 2 else f"{title}, plane {plane} of 0 to {len(known) - 1}"
    _show(axes[0], display_colors(host_array(image))[plane], title)
    _show(axes[1], _colored(known[plane], shown), "truth")
    for axis, (method, found) in zip(axes[2:], labels.items(), strict=True):
        wrong = scores(confusion_matrix(known, found, len(shown))).wrong
        _show(axis, _colored(found[plane], shown), f"{method}\n{100 * wrong:.2f} % wrong")
    lower = figure.add_subplot(grid[1, :7])
    if isinstance(predictor, WeightPredictor):
        _prototypes(lower, predictor, image)
    else:
        _neighbors(lower, predictor.weights(item.image, item.probabilities), plane)
    _curves(figure.add_subplot(grid[1, 7:]), predictor)
    return figure


def confusion_figure(confusion: np.ndarray, names: list[str]) -> Any:
    """Draw a confusion matrix, each row in percent of its class.

    Parameters
    ----------
    confusion : (J, J) integer array
        Pixels by class (rows) and label (columns).
    names : list of str
        Of the classes.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    count, sizes = len(names), confusion.sum(axis=1, keepdims=True)
    percent = 100 * confusion / np.maximum(sizes, 1)
    side = max(4.0, 1.6 + 0.55 * count)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row in range(count):
        for column in range(count):
            text = f"{percent[row, column]:.1f}" if sizes[row, 0] else "–"
            color = "white" if percent[row, column] > 55 else "black"
            axis.text(column, row, text, ha="center", va="center", fontsize=9, color=color)
    axis.set_xticks(range(count), names, rotation=90 if max(map(len, names)) > 4 else 0)
    axis.set_yticks(range(count), names)
    axis.set_xlabel("label")
    axis.set_ylabel("class of the truth")
    found = scores(confusion)
    axis.set_title(f"% of each class; {100 * found.wrong:.2f} % of all pixels wrong", fontsize=10)
    return figure


def own_weights(predictor: WeightPredictor) -> np.ndarray:
    """(K, N) float64: the weight patch of a pixel that lies on each prototype, away from the border.

    (L, K, N) where L layers have their own.
    """
    parameters = Parameters(predictor.feature_prototypes_, predictor.tangents_, predictor.sigma_)
    radius, axes = parameters.radius, predictor.axes
    side = 2 * radius + 1
    here = [np.broadcast_to(p[:, None], (*(side,) * (axes - 1), len(p), side)) for p in predictor.feature_prototypes_]
    centre: Any = (..., *(radius,) * (axes - 1), slice(None), radius)
    return np.stack([np.stack(predict_weights(parameters, x.copy()))[centre] for x in here], axis=-2)


def prototype_patches(predictor: WeightPredictor, image: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return an image patch for every prototype, and how many pixels of the image are nearest to each.

    Prototypes of raw patches are such patches; other features are shown by the 5×5 pixels around the pixel nearest to
    them.

    Returns
    -------
    (K, s, s, 3) float64 array of colors in [0, 1], (K,) integer array
    """
    from scipy.spatial import cKDTree

    reader, p = predictor.reader, predictor.feature_prototypes_
    features, axes = from_rows(host_array(reader.pixel_features(image))), predictor.axes
    f = features.reshape(-1, features.shape[-1]).astype(np.float64)
    used = np.bincount(cKDTree(p).query(f)[1], minlength=len(p))
    if isinstance(predictor.features, int | np.integer):
        side = 2 * int(predictor.features) + 1
        patches = p.reshape(len(p), *(side,) * axes, -1)
        return display_colors(patches if axes == 2 else patches[:, side // 2]), used
    *planes, rows, columns = np.unravel_index(cKDTree(f).query(p)[1], features.shape[:-1])
    padded = np.pad(display_colors(host_array(image)), (*[(0, 0)] * len(planes), (2, 2), (2, 2), (0, 0)), mode="edge")
    places = zip(*planes, rows, columns, strict=True)
    return np.stack([padded[(*z, slice(y, y + 5), slice(x, x + 5))] for *z, y, x in places]), used


def display_colors(values: np.ndarray) -> np.ndarray:
    """Convert (…, C) values to (…, 3) colors in [0, 1]: RGB for three channels, else the first one in grey."""
    colors = values if values.shape[-1] == 3 else values[..., :1]
    low, high = np.percentile(colors, (1, 99))
    if low > -1 and 0.1 < high < 2:  # as most images are
        low, high = 0.0, 1.0
    scaled = ((colors - low) / max(float(high - low), 1e-30)).clip(0, 1)
    return np.broadcast_to(scaled, (*values.shape[:-1], 3)).astype(np.float64)


def _show(axis: Any, colors: np.ndarray, title: str) -> None:
    axis.imshow(colors, interpolation="nearest")
    frame(axis, title)


def _label_colors(predictor: TrainedPredictor) -> np.ndarray:
    """(J, 3) uint8: the mean colors of color images, black and white for two labels of grey ones, else a scheme."""
    values = predictor.label_prototypes_
    if values.shape[1] == 3:
        return (255 * display_colors(values)).round().astype(np.uint8)
    if values.shape == (2, 1):
        return np.repeat(np.uint8(255) * (values == values.max()).astype(np.uint8), 3, axis=1)
    return label_colors(np.zeros((1, 1), np.uint8), len(values))


def _colored(labels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Labels in their colors; pixels without truth in pale red."""
    return np.where(labels[..., None] >= 0, colors[labels.clip(0)], np.array([245, 190, 180], np.uint8))


def _prototypes(axis: Any, predictor: WeightPredictor, image: Any) -> None:
    """Prototypes with their weights in each layer, those that most pixels are nearest to first."""
    from matplotlib import colormaps

    patches, used = prototype_patches(predictor, image)
    weights = own_weights(predictor)
    weights = weights.reshape(-1, *weights.shape[-2:])
    columns = max(1, PATCHES // (1 + len(weights)))
    order = np.argsort(-used, kind="stable")[: ROWS * columns]
    weights = weights[:, order]
    side = 2 * predictor.radius + 1
    if predictor.axes == 3:
        weights = weights.reshape(*weights.shape[:2], side, side**2)[:, :, predictor.radius]
    tinted = colormaps["Blues"](weights.reshape(*weights.shape[:2], side, side) / weights.max())[..., :3]
    cell, step = CELL, (CELL + 40, (1 + len(weights)) * (CELL + 16) + 48)
    canvas = np.ones((-(-len(order) // columns) * step[0], min(columns, len(order)) * step[1], 3))
    for k, group in enumerate(zip(patches[order], *tinted, strict=True)):
        for place, colors in enumerate(group):
            top, left = k // columns * step[0] + 3, k % columns * step[1] + place * (cell + 16) + 3
            canvas[top - 3 : top + cell + 3, left - 3 : left + cell + 3] = 0.6  # a frame
            canvas[top : top + cell, left : left + cell] = _enlarged(colors, cell)
    axis.imshow(canvas, interpolation="nearest")
    raw = isinstance(predictor.features, int | np.integer)
    kind = "prototype patches" if raw else "surroundings of the pixel nearest to a prototype"
    size = "×".join([str(side)] * predictor.axes)
    kind = f"middle planes of {kind}" if predictor.axes == 3 else kind
    said = f"{kind} (left) and the {size} weights that they predict{_where(predictor, len(weights))}"
    said += f" (white 0, blue {weights.max():.2f})"
    frame(axis, f"{said}\n{len(order)} of {len(patches)} prototypes, most used first")
    axis.spines[:].set_visible(False)


def _neighbors(axis: Any, weights: Any, plane: Any) -> None:
    """How many neighbors every pixel averages over in each layer: the exponential of the entropy of its weights."""
    layers = [host_array(x) for x in (weights if isinstance(weights, list) else [weights])]
    counts = [np.exp(-(w * np.log(np.maximum(w, 1e-30))).sum(axis=-2))[plane] for w in layers]
    gap = np.full((len(counts[0]), max(2, len(counts[0]) // 20)), np.nan)
    parts = [x for count in counts for x in (count, gap)][:-1]
    shown = axis.imshow(np.concatenate(parts, axis=1), cmap="viridis", vmin=1, vmax=layers[0].shape[-2])
    axis.figure.colorbar(shown, ax=axis, shrink=0.7, pad=0.01)
    where = "" if len(layers) == 1 else f" in layers 1 to {len(layers)}, from left to right"
    frame(axis, f"how many neighbors a pixel averages over{where}: few where it would blur an edge")
    axis.spines[:].set_visible(False)


def _where(predictor: WeightPredictor, sets: int) -> str:
    """In which layers weights are used, where there are several."""
    if predictor.n_layers == 1:
        return ""
    return f" in all {predictor.n_layers} layers" if sets == 1 else f" in layers 1 to {sets}, from left to right"


def _enlarged(colors: np.ndarray, side: int) -> np.ndarray:
    """Nearest-neighbor enlargement of (s, s, 3) to (side, side, 3)."""
    at = np.arange(side) * len(colors) // side
    return colors[at][:, at]


def _curves(axis: Any, predictor: TrainedPredictor) -> None:
    """Wrong pixels over the steps, on the training and on the validation images; of hidden ones without truth."""
    history = predictor.history_
    validated = [row for row in history if row.validation_loss is not None]
    steps, wrong = [row.step for row in history], [100 * row.wrong for row in history]
    what = "wrong pixels" if predictor.transition_ is None else "hidden pixels that say another label"
    axis.plot(steps, wrong, color=COLORS[0], lw=1.6, label="training")
    values, said = wrong, f"{wrong[0]:.2f} → {wrong[-1]:.2f} % of training"
    kept = best(history, "validation_loss")
    if kept is not None:
        steps, wrong = [row.step for row in validated], [100 * (row.validation_wrong or 0.0) for row in validated]
        axis.plot(steps, wrong, color=ALARM, lw=1.6, label="validation")
        lowest = 100 * (kept.validation_wrong or 0.0)
        axis.plot(kept.step, lowest, "o", color=ALARM, label=f"kept: step {kept.step}")
        values, said = values + wrong, f"{wrong[0]:.2f} → {lowest:.2f} % of validation"
    axis.legend(frameon=False, fontsize=9)
    error_axis(axis, values, "training step")
    axis.set_title(f"{what}: {said}", fontsize=10)
