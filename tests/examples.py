"""Images and predictors that several tests use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from gpulaf import WeightPredictor
from gpulaf.prediction import Training
from gpulaf.scenes import voronoi_lines

SCENES = [voronoi_lines(32, sites=6, noise=0.3, seed=seed) for seed in range(4)]
IMAGES = [s.image.astype(np.float32) for s in SCENES]
TRUTHS = [s.truth for s in SCENES]


def fitted(count: int = 2, steps: int = 3, **options: Any) -> WeightPredictor:
    own = {name: options.pop(name) for name in list(options) if name in WeightPredictor(1).get_params(deep=False)}
    predictor = WeightPredictor(**({"n_prototypes": 8, "training": Training(steps=steps)} | own))
    return predictor.fit(IMAGES[:count], TRUTHS[:count], progress=False, **options)


def same(first: WeightPredictor, second: WeightPredictor) -> None:
    """Everything learned is equal bit for bit; seconds pass."""
    names = ("feature_prototypes_", "tangents_", "sigma_", "feature_scale_", "classes_", "label_prototypes_")
    for name in (*names, "n_channels_", "reason_"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert [row[:5] for row in first.history_] == [row[:5] for row in second.history_]


def change(path: Path, metadata: dict[str, Any] | None = None, **tensors: np.ndarray | None) -> None:
    """Replace or remove (None) tensors and entries of the metadata of a model file."""
    with safe_open(path, framework="numpy") as file:
        header = file.metadata()
        arrays = {key: file.get_tensor(key) for key in file.keys()} | tensors  # noqa: SIM118
    stored = json.loads(header["metadata"]) | (metadata or {})
    header["metadata"] = json.dumps({k: v for k, v in stored.items() if v is not None or k not in (metadata or {})})
    version = stored.pop("version", None)
    header |= {"version": version} if version else {}
    save_file({k: v for k, v in arrays.items() if v is not None}, path, metadata=header)


def ball(spacing=(1.0, 1.0, 1.0), noise=0.3, side=24.0):
    """A ball of radius 8 in a cube, sampled at a spacing, grey values 0 and 1 with noise: the volume and its truth."""
    axes = [np.arange(s / 2, side, s) - side / 2 for s in spacing]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    truth = (z**2 + y**2 + x**2 < 64).astype(np.uint8)
    return truth + np.random.default_rng(0).normal(0, noise, truth.shape), truth


def stripes(height: int = 300, width: int = 250, color: bool = False) -> np.ndarray:
    """A uint8 image of bright stripes on a dark ground, with noise: (H, W), or (H, W, 3)."""
    rng = np.random.default_rng(3)
    bright = np.add.outer(np.sin(np.arange(height) / 9), np.cos(np.arange(width) / 7)) > 0
    image = bright[..., None] * [90, 120, 60] + 60 + 40 * rng.standard_normal((height, width, 3))
    return (image if color else image[..., 0]).clip(0, 255).astype(np.uint8)


def cells(
    seed: int, shape: tuple[int, ...] = (10, 20, 20), spacing: tuple[float, ...] = (2.0, 1.0, 1.0), noise: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """A volume of cells of three labels with grey values 0, 1/2 and 1 in noise: float32, and its truth."""
    rng = np.random.default_rng(seed)
    sites = rng.random((9, len(shape))) * np.multiply(shape, spacing)
    axes = [(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    truth = np.argmin(((points[..., None, :] - sites) ** 2).sum(axis=-1), axis=-1) % 3
    return (truth / 2 + rng.normal(0, noise, shape)).astype(np.float32), truth.astype(np.uint8)
