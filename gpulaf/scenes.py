"""The two synthetic scenes of the paper: Voronoi cells in color, and Voronoi lines (Sect. 4.1)."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

__all__ = ["Scene", "voronoi_colors", "voronoi_lines"]


class Scene(NamedTuple):
    """A noisy image with its ground truth."""

    #: (H, W, C) float64 array: the image without noise, values in [0, 1].
    clean: np.ndarray
    #: (H, W, C) float64 array: with additive Gaussian noise.
    image: np.ndarray
    #: (H, W) int32 array: the label of every pixel.
    truth: np.ndarray
    #: (J, C) float64 array: the value of every label.
    prototypes: np.ndarray


def voronoi_colors(size: int = 128, *, sites: int = 50, noise: float = 0.55, seed: int = 0) -> Scene:
    """Voronoi cells in eight colors, the corners of the RGB cube drawn in to 0.1 and 0.9.

    Parameters
    ----------
    size : int
        Height and width in pixels.
    sites : int
        Number of cells.
    noise : float
        Standard deviation of the noise; the colors are in [0.1, 0.9].
    seed : int

    Returns
    -------
    Scene
        With 8 labels and 3 channels.
    """
    rng = np.random.default_rng(seed)
    prototypes = np.array(list(product((0.1, 0.9), repeat=3)))
    cells = _cells(rng, size, sites)
    truth = rng.integers(0, len(prototypes), sites)[cells].astype(np.int32)
    return _scene(rng, truth, prototypes, noise)


def voronoi_lines(size: int = 128, *, sites: int = 30, noise: float = 0.3, seed: int = 0) -> Scene:
    """Black lines of one pixel between white Voronoi cells.

    Parameters
    ----------
    size : int
        Height and width in pixels.
    sites : int
        Number of cells.
    noise : float
        Standard deviation of the noise; lines are 0, cells are 1.
    seed : int

    Returns
    -------
    Scene
        With 2 labels (0 line, 1 cell) and 1 channel.
    """
    rng = np.random.default_rng(seed)
    cells = _cells(rng, size, sites)
    line = np.zeros(cells.shape, bool)
    line[:, :-1] |= cells[:, :-1] != cells[:, 1:]
    line[:-1] |= cells[:-1] != cells[1:]
    return _scene(rng, (~line).astype(np.int32), np.array([[0.0], [1.0]]), noise)


def _cells(rng: np.random.Generator, size: int, sites: int) -> np.ndarray:
    if int(size) != size or size < 2 or int(sites) != sites or sites < 1:
        raise ValueError(f"size is {size} and sites is {sites}; accepted are whole numbers from 2 and from 1.")
    points = rng.random((sites, 2)) * size
    pixels = np.moveaxis(np.indices((size, size)), 0, -1) + 0.5
    return cKDTree(points).query(pixels.reshape(-1, 2))[1].reshape(size, size)


def _scene(rng: np.random.Generator, truth: np.ndarray, prototypes: np.ndarray, noise: float) -> Scene:
    clean = prototypes[truth]
    return Scene(clean, clean + noise * rng.standard_normal(clean.shape), truth, prototypes)
