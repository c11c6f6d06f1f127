"""Labelings without learned weights, each with the settings that are tried.

A case has an image f, its truth and a cost D of every label at every pixel; ℓ = −D/ρ. Minimum cuts and random walkers
live on the eight neighbors, whose edges weigh exp(−‖f_i − f_k‖²/2σ²), those of diagonals 1/√2 of it (Boykov and
Kolmogorov 2003); σ = ∞ is smoothing that knows no image. All methods read the same numbers, the rows of labels of D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sparse
from measure import ASKED
from scipy.sparse.linalg import cg

import gpulaf
from gpulaf.fields import from_rows, pixel_shape
from gpulaf.simplex import softmax

#: One of the two directions of every edge.
OFFSETS = ((0, 1), (1, 0), (1, 1), (1, -1))
Edges = dict[tuple[int, int], np.ndarray]


class Case(NamedTuple):
    """One image to label."""

    #: (H, W, C) float32 array.
    image: np.ndarray
    #: (H, W) int32 array.
    truth: np.ndarray
    #: D, (H, J, W) float32 array.
    cost: np.ndarray

    def middle(self, side: int) -> Case:
        """The square in the middle of the image."""
        y, x = ((n - side) // 2 for n in self.truth.shape)
        rows, columns = slice(y, y + side), slice(x, x + side)
        cost = np.ascontiguousarray(self.cost[rows, :, columns])
        return Case(self.image[rows, columns], self.truth[rows, columns], cost)

    def shifted(self, offset: float) -> Case:
        """The cost of label 0 raised."""
        return self._replace(cost=self.cost + np.array([offset, 0], np.float32)[:, None])

    def probabilities(self, rho: float) -> np.ndarray:
        """softmax(−D/ρ), (H, J, W)."""
        return softmax(-self.cost / np.float32(rho))


def contrast(image: np.ndarray, sigma: float) -> Edges:
    """(H, W) weights of the edges from each pixel to its neighbor, 0 where that is outside."""
    edges = {}
    height, width = image.shape[:2]
    for y, x in OFFSETS:
        near = (slice(0, height - y), slice(max(0, -x), width - max(0, x)))
        far = (slice(y, height), slice(max(0, x), width + min(0, x)))
        squares = ((image[near].astype(float) - image[far]) ** 2).sum(axis=-1)
        edges[y, x] = np.zeros((height, width))
        edges[y, x][near] = np.exp(-squares / (2 * sigma**2)) / np.hypot(y, x)
    return edges


def energy(labels: np.ndarray, cost: np.ndarray, edges: Edges) -> float:
    """Σ_i cost of the label of i + Σ_ik weight of the edges whose ends differ."""
    total = np.take_along_axis(cost, labels[:, None].astype(int), axis=-2).sum()
    for (y, x), weight in edges.items():
        total += (weight * (labels != np.roll(labels, (-y, -x), axis=(0, 1)))).sum()
    return float(total)


def cut(cost: np.ndarray, edges: Edges) -> np.ndarray:
    """The labels (H, W) of smallest energy for two labels, by PyMaxflow, from costs (H, 2, W)."""
    import maxflow

    graph = maxflow.GraphFloat()
    nodes = graph.add_grid_nodes(pixel_shape(cost))
    for (y, x), weight in edges.items():
        structure = np.zeros((3, 3))
        structure[1 + y, 1 + x] = 1
        graph.add_grid_edges(nodes, weights=weight, structure=structure, symmetric=True)
    graph.add_grid_tedges(nodes, cost[:, 1].astype(float), cost[:, 0].astype(float))
    graph.maxflow()
    return graph.get_grid_segments(nodes).astype(np.int32)


def check_cut() -> None:
    """On a small case no labeling at all has a smaller energy."""
    rng = np.random.default_rng(0)
    cost, edges = rng.random((3, 2, 4)), contrast(rng.random((3, 4, 1)), 0.3)
    least = min(energy(np.reshape(bits, (3, 4)), cost, edges) for bits in product((0, 1), repeat=12))
    found = energy(cut(cost, edges), cost, edges)
    assert abs(found - least) < 1e-9, f"the cut costs {found}, the least is {least}"


def walk(probabilities: np.ndarray, edges: Edges, strength: float) -> np.ndarray:
    """Labels (H, W) of the random walker with priors (Grady 2005): (λL + I) x_j = p_j with the Laplacian L."""
    shape = pixel_shape(probabilities)
    count = shape[0] * shape[1]
    bands = {y * shape[1] + x: weight.ravel() for (y, x), weight in edges.items()}
    half = sparse.diags_array([w[: count - k] for k, w in bands.items()], offsets=list(bands), shape=(count, count))
    L = (half + half.T).tocsr()
    matrix = strength * (sparse.diags_array(L.sum(axis=1)) - L) + sparse.eye_array(count)
    inverse = sparse.diags_array(1 / matrix.diagonal())
    fields = []
    for p in from_rows(probabilities, 0).reshape(-1, count)[1:].astype(float):
        x, missed = cg(matrix, p, x0=p, rtol=1e-4, M=inverse, maxiter=2000)
        assert missed == 0, f"conjugate gradients stopped after {missed} iterations"
        fields.append(x)
    return np.argmax([1 - sum(fields), *fields], axis=0).reshape(shape)


def seeded(case: Case, share: float, beta: float) -> np.ndarray:
    """Labels (H, W) of scikit-image's random walker from seeds, the surest `share` of the pixels of each label."""
    from skimage.segmentation import random_walker

    margin, first = np.ptp(case.cost, axis=-2), case.cost.argmin(axis=-2)
    seeds = np.zeros(first.shape, np.int32)
    for j in np.unique(first):
        own = first == j
        seeds[own & (margin >= np.quantile(margin[own], 1 - share))] = j + 1
    if seeds.max() == seeds[seeds > 0].min():  # one label only
        return first
    return random_walker(case.image, seeds, beta=beta, mode="cg_j", prob_tol=1, channel_axis=-1) - 1


def flow(case: Case, weights: np.ndarray, rho: float, time: float) -> np.ndarray:
    """Labels (H, W) of the linearized flow."""
    linear = gpulaf.flows.LinearFlow(gpulaf.Grid(weights), case.cost * np.float32(-1 / rho))
    return gpulaf.Taylor(tol=1e-3).solve(linear, time, keep_basis=False).v.argmax(axis=-2)


def uniform(case: Case, radius: int, rho: float, time: float) -> np.ndarray:
    return flow(case, gpulaf.uniform_weights(case.truth.shape, radius), rho, time)


def bilateral(case: Case, sigma: float, radius: int, rho: float, time: float) -> np.ndarray:
    return flow(case, gpulaf.bilateral_weights(case.image, sigma=sigma, radius=radius), rho, time)


def min_cut(case: Case, strength: float, sigma: float = np.inf) -> np.ndarray:
    return cut(case.cost / strength, contrast(case.image, sigma))


def walker(case: Case, strength: float, rho: float, sigma: float) -> np.ndarray:
    return walk(case.probabilities(rho), contrast(case.image, sigma), strength)


class Method(NamedTuple):
    """A labeling and the values of its settings that are tried; those in `units` are in the units of the cost."""

    call: Callable[..., np.ndarray]
    settings: dict[str, tuple[float, ...]]
    units: tuple[str, ...] = ()

    def grid(self, unit: float) -> list[dict[str, float]]:
        """Every combination of settings; with --quick the first one and the last."""
        scale = {name: unit if name in self.units else 1 for name in self.settings}
        values = ([scale[name] * value for value in some] for name, some in self.settings.items())
        if ASKED.quick:
            values = list(zip(*((some[0], some[-1]) for some in values), strict=True))
            return [dict(zip(self.settings, chosen, strict=True)) for chosen in values] or [{}]
        return [dict(zip(self.settings, chosen, strict=True)) for chosen in product(*values)]


FLOW = {"radius": (1, 2), "rho": (0.05, 0.1, 0.3, 1), "time": (1, 3, 6, 12, 24)}
METHODS = {
    "pixelwise": Method(lambda case: case.cost.argmin(axis=-2), {}),
    "uniform": Method(uniform, FLOW, ("rho",)),
    "bilateral": Method(bilateral, {"sigma": (0.1, 0.2, 0.4, 0.8)} | FLOW, ("rho",)),
    "random walker": Method(seeded, {"share": (0.02, 0.1, 0.3, 0.9), "beta": (10, 100)}),
    "random walker, priors": Method(
        walker, {"strength": (0.3, 1, 3, 10), "rho": (0.05, 0.1, 0.3, 1), "sigma": (0.1, 0.2, np.inf)}, ("rho",)
    ),
    "min cut, plain": Method(min_cut, {"strength": (0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3)}, ("strength",)),
    "min cut, contrast": Method(
        min_cut,
        {"strength": (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3), "sigma": (0.1, 0.2, 0.4, 0.8, 1.6)},
        ("strength",),
    ),
}


def wrong(call: Callable[[Case], np.ndarray], cases: Sequence[Case]) -> float:
    """Share of wrong pixels, mean over the cases."""
    return float(np.mean([np.mean(call(case) != case.truth) for case in cases]))


def tuned(method: Method, cases: Sequence[Case], unit: float = 1.0, offsets: Sequence[float] = (0,)) -> dict[str, Any]:
    """The settings, and the offset if there are several, with the fewest wrong pixels on the cases."""
    moved = {offset: [case.shifted(offset) for case in cases] for offset in offsets}
    tried = [(offset, settings) for offset in offsets for settings in method.grid(unit)]
    scores = [wrong(lambda case: method.call(case, **settings), moved[offset]) for offset, settings in tried]  # noqa: B023
    offset, settings = tried[int(np.argmin(scores))]
    return ({"offset": offset} if len(offsets) > 1 else {}) | settings
