"""A small U-Net with and without a layer behind it, a mean-field CRF in plain torch, and the images they learn from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import gpulaf
import gpulaf.torch
from gpulaf.prediction.metrics import rand_scores, segments
from gpulaf.torch.patches import as_rows, from_rows, neighbors

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "em"
TIME, SOLVER = 3.0, gpulaf.Taylor(tol=1e-4)
#: Products of the Taylor series, and iterations of the mean field.
ITERATIONS = SOLVER.plan(TIME)[1]


class Block(nn.Sequential):
    """Two convolutions."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(
            nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(4, after), nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(4, after), nn.ReLU(),
        )  # fmt: skip


class UNet(nn.Module):
    """Three scales; the last convolution gives ℓ of the labels, and logits of nine neighbors for a layer."""

    def __init__(self, layer: Layer | None, labels: int = 2, width: int = 12) -> None:
        super().__init__()
        self.labels, self.layer = labels, layer
        widths = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList([Block(1, widths[0]), Block(widths[0], widths[1]), Block(widths[1], widths[2])])
        self.up = nn.ModuleList([Block(widths[2] + widths[1], widths[1]), Block(widths[1] + widths[0], widths[0])])
        self.last = nn.Conv2d(widths[0], labels + 9 * (layer is not None), 1)

    def forward(self, x: Any) -> Any:
        kept = []
        for k, block in enumerate(self.down):
            x = block(x if k == 0 else functional.max_pool2d(x, 2))
            kept.append(x)
        for block, beside in zip(self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2), beside], dim=1))
        y = self.last(x)
        if self.layer is None:
            return y
        return self.layer(gpulaf.torch.weights_from_logits(y[:, self.labels :]), y[:, : self.labels])


Layer = Callable[[Any, Any], Any]


def mean_field(weights: Any, log_likelihood: Any, *, strength: float = 3.0) -> Any:
    """Mean field of a CRF with Potts interactions ω_ik of the neighbors, q ← softmax(ℓ + c Ω q): log q + const."""
    omega, l = as_rows(weights, "planes"), as_rows(log_likelihood, "planes")
    x = l
    for _ in range(ITERATIONS):
        q = torch.softmax(x, dim=-2)
        average = omega[..., :1, :] * 0
        for o, seen in enumerate(neighbors(q, 1, 2)):
            average = torch.addcmul(average, omega[..., o : o + 1, :], seen)
        x = l + strength * average
    return from_rows(x, "planes")


#: By name. Autodiff runs through the same series as the closed form: what it learns is the same.
LAYERS: dict[str, Layer | None] = {
    "no layer": None,
    "flow, closed form": partial(gpulaf.torch.linear_flow, time=TIME, solver=SOLVER),
    "flow, autodiff": partial(gpulaf.torch.plain_flow, time=TIME, solver=SOLVER),
    "mean field, autodiff": mean_field,
}


class Images(NamedTuple):
    """Grey images (H, W), scaled to mean 0 and deviation 1, and truths (H, W) of 0 and 1."""

    images: list[np.ndarray]
    truths: list[np.ndarray]


def scenes(side: int, seeds: range) -> Images:
    made = [gpulaf.scenes.voronoi_lines(side, sites=side // 4, noise=0.3, seed=seed) for seed in seeds]
    return Images([normal(s.image[..., 0]) for s in made], [np.asarray(s.truth) for s in made])


def micrographs(numbers: range) -> Images:
    """Electron micrographs: 0 membrane, 1 interior."""
    if not DATA.is_dir():
        sys.exit(f"{DATA} does not exist. Put the folder of real images beside the checkout, or try --quick.")
    read = gpulaf.io.read_image
    images = [normal(read(DATA / f"image_{k:02d}.png")) for k in numbers]
    return Images(images, [(read(DATA / f"truth_{k:02d}.png") > 127).astype(np.int64) for k in numbers])


def normal(image: Any) -> np.ndarray:
    image = np.asarray(image, np.float32)
    return (image - image.mean()) / image.std()


def batches(data: Images, count: int, size: int, side: int, seed: int) -> Iterator[tuple[Any, Any]]:
    """Crops of random images, turned and mirrored: (size, 1, side, side) and (size, side, side)."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        pairs = []
        for _ in range(size):
            k = rng.integers(len(data.images))
            y, x = (rng.integers(n - side + 1) for n in data.images[k].shape)
            turns, mirrored = rng.integers(4), rng.integers(2)
            crops = (a[k][y : y + side, x : x + side] for a in data)
            pairs.append([np.rot90(c[::-1] if mirrored else c, turns) for c in crops])
        images, truths = (torch.from_numpy(np.ascontiguousarray(np.stack(x))) for x in zip(*pairs, strict=True))
        yield images[:, None], truths.long()


def train(layer: Layer | None, data: Images, *, steps: int, size: int, side: int, seed: int) -> UNet:
    """Adam with one cycle of the rate, the same crops for every layer."""
    torch.manual_seed(seed)
    model = UNet(layer)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps + 1)
    for images, truths in batches(data, steps, size, side, seed):
        optimizer.zero_grad()
        functional.cross_entropy(model(images), truths).backward()
        optimizer.step()
        cycle.step()
    return model


def errors(model: UNet, data: Images) -> tuple[float, float]:
    """Wrong pixels in percent, and the Rand F-score of the interiors of cells: means over the images."""
    wrong, scores = [], []
    with torch.no_grad():
        for image, truth in zip(*data, strict=True):
            labels = model(torch.from_numpy(image)[None, None]).argmax(1)[0].numpy()
            wrong.append(100 * np.mean(labels != truth))
            scores.append(rand_scores(segments(truth), segments(labels)).f_score)
    return float(np.mean(wrong)), float(np.mean(scores))
