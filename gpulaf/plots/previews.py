"""Pictures of a labeling to look at: labels in color, their colors over the image, their boundaries in it."""

from __future__ import annotations

import numpy as np

from .style import COLORS

__all__ = ["STYLES", "colored", "label_colors", "preview"]

#: What a preview may show: each label in its color; the colors over the image; the image with lines between labels.
STYLES = ("mosaic", "overlay", "boundaries")
#: Mean colors that are less than this apart, in steps of 8 bits, of grey and of color images, look alike.
GREY, COLOR = 35 * 3**0.5, 20
#: The line between labels: yellow, on bright pixels blue.
LINES = np.array([[255, 221, 0], [0, 70, 255]], np.uint8)


def preview(style: str, labels: np.ndarray, colors: np.ndarray, image: np.ndarray | None = None) -> np.ndarray:
    """Return an (H, W, 3) uint8 picture of labels.

    Parameters
    ----------
    style : str
        One of :data:`STYLES`.
    labels : (H, W) integer array
    colors : (J, 3) uint8 array
        Of the labels.
    image : (H, W) or (H, W, C) array, optional
        For what shows the image; other channels than three become grey, their mean.

    Raises
    ------
    ValueError
        If there is no image, and the style needs one.
    """
    if style == "mosaic":
        return colors[labels]
    if image is None:
        raise ValueError(f"the preview is {style}, which shows the image. Name the image, or take mosaic.")
    shown = _shown(image)
    if style == "overlay":
        return (0.5 * shown + 0.5 * colors[labels]).round().astype(np.uint8)
    border = np.zeros(labels.shape, bool)
    border[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    border[:-1] |= labels[:-1] != labels[1:]
    bright = (shown.mean(axis=-1) > 150).astype(int)
    return np.where(border[..., None], LINES[bright], shown.round().astype(np.uint8))


def label_colors(labels: np.ndarray, count: int, image: np.ndarray | None = None) -> np.ndarray:
    """Return the mean color of each label in a grey or RGB image; where these look alike, a qualitative scheme.

    Parameters
    ----------
    labels : (H, W) integer array
    count : int
        J.
    image : (H, W) or (H, W, C) array, optional

    Returns
    -------
    (J, 3) uint8 array
    """
    if image is not None and (image.ndim == 2 or image.shape[-1] in (1, 3)):
        pixels, sizes = _shown(image).reshape(-1, 3), np.bincount(labels.ravel(), minlength=count)
        means = [np.bincount(labels.ravel(), c, minlength=count) / np.maximum(sizes, 1) for c in pixels.T]
        found, grey = np.stack(means, axis=1), image.ndim == 2 or image.shape[-1] == 1
        if _least_distance(found[sizes > 0]) >= (GREY if grey else COLOR):
            return found.round().astype(np.uint8)
    from matplotlib.colors import hsv_to_rgb, to_rgb

    colors = [to_rgb(color) for color in COLORS[:count]]
    more = np.arange(count - len(colors))  # beyond the scheme: hues in golden steps, three tones
    colors += [tuple(hsv_to_rgb((0.618034 * j % 1, 0.85 - 0.1 * (j % 7), 0.95 - 0.2 * (j % 3)))) for j in more]
    return (255 * np.array(colors)).round().astype(np.uint8)


def colored(labels: np.ndarray, count: int, image: np.ndarray | None = None) -> np.ndarray:
    """Return an (H, W, 3) uint8 image of labels in their :func:`label_colors`."""
    return label_colors(labels, count, image)[labels]


def _shown(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) floats from 0 to 255: bytes as they are, others stretched from their least value to their largest."""
    pixels = image[..., None] if image.ndim == 2 else image
    pixels = pixels.astype(np.float64) if pixels.shape[-1] == 3 else pixels.mean(axis=-1, dtype=np.float64)[..., None]
    known = np.isfinite(pixels)
    low, high = (0.0, 255.0) if image.dtype == np.uint8 else (pixels[known].min(), pixels[known].max())
    scaled = 255 * (np.where(known, pixels, low) - low) / max(high - low, 1e-30)
    return np.broadcast_to(scaled.clip(0, 255), (*pixels.shape[:-1], 3))


def _least_distance(colors: np.ndarray) -> float:
    """Between any two of (J, 3) colors; infinite of one."""
    pairs = np.linalg.norm(colors[:, None] - colors, axis=-1)[np.triu_indices(len(colors), 1)]
    return float(pairs.min(initial=np.inf))
