"""Labelings without learned weights, each with the settings that are tried.

A case has an image f, its truth and a cost D of every label at every pixel, a negative log-likelihood in nats;
ℓ = −D/ρ. Minimum cuts and random walkers live on the eight neighbors, whose edges weigh exp(−‖f_i − f_k‖²/2σ²), those
of diagonals 1/√2 of it (Boykov and Kolmogorov 2003); σ = ∞ is smoothing that knows no image. More than two labels are
cut by α-expansion (Boykov, Veksler, Zabih 2001). All methods read the same numbers, the rows of labels of D.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import cg
from variation import least_variation

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
    #: D, (H, J, W) float32 array, in nats.
    cost: np.ndarray

    def middle(self, side: int) -> Case:
        """The square in the middle of the image."""
        y, x = ((n - side) // 2 for n in self.truth.shape)
        rows, columns = slice(y, y + side), slice(x, x + side)
        cost = np.ascontiguousarray(self.cost[rows, :, columns])
        return Case(self.image[rows, columns], self.truth[rows, columns], cost)

    def shifted(self, offset: float) -> Case:
        """The cost of label 0 raised."""
        cost = self.cost.copy()
        cost[:, 0] += np.float32(offset)
        return self._replace(cost=cost)

    def probabilities(self, rho: float = 1) -> np.ndarray:
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


def expanded(labels: np.ndarray, a: int, cost: np.ndarray, edges: Edges) -> np.ndarray:
    """The labels of smallest energy of all that differ from these by the label `a` only.

    With x = 1 where a pixel takes it, an edge costs E₀₀ + (E₁₀ − E₀₀)x_i − E₁₀x_k + (E₀₁ + E₁₀ − E₀₀)(1 − x_i)x_k.
    """
    import maxflow

    graph = maxflow.GraphFloat()
    nodes = graph.add_grid_nodes(labels.shape)
    more = cost[:, a].astype(float) - np.take_along_axis(cost, labels[:, None].astype(int), axis=-2)[:, 0]
    for (y, x), weight in edges.items():
        structure = np.zeros((3, 3))
        structure[1 + y, 1 + x] = 1
        far = np.roll(labels, (-y, -x), axis=(0, 1))
        keep, take_far, take_near = (weight * (p != q) for p, q in ((labels, far), (labels, a), (a, far)))
        graph.add_grid_edges(nodes, weights=take_far + take_near - keep, structure=structure, symmetric=False)
        more += take_near - keep - np.roll(take_near, (y, x), axis=(0, 1))
    graph.add_grid_tedges(nodes, more.clip(0), (-more).clip(0))
    graph.maxflow()
    return np.where(graph.get_grid_segments(nodes), a, labels).astype(np.int32)


def expansions(cost: np.ndarray, edges: Edges, sweeps: int = 4) -> np.ndarray:
    """Labels (H, W) that no expansion of a label improves, or those after so many sweeps over all labels."""
    labels, least = cost.argmin(axis=-2).astype(np.int32), np.inf
    for _ in range(sweeps):
        for a in range(cost.shape[-2]):
            labels = expanded(labels, a, cost, edges)
        found = energy(labels, cost, edges)
        if found > least - 1e-6 * abs(least):
            break
        least = found
    return labels


def check_cut() -> None:
    """On small cases no labeling has a smaller energy than that of two labels, none of three one smaller by 1 %."""
    rng = np.random.default_rng(0)
    for labels, shape, way, slack in ((2, (3, 4), cut, 1), (2, (3, 4), expansions, 1), (3, (2, 4), expansions, 1.01)):
        cost, edges = rng.random((shape[0], labels, shape[1])), contrast(rng.random((*shape, 1)), 0.3)
        least = min(energy(np.reshape(x, shape), cost, edges) for x in product(range(labels), repeat=np.prod(shape)))
        found = energy(way(cost, edges), cost, edges)
        assert found <= slack * least + 1e-9, f"{way.__name__} costs {found}, the least is {least}"


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of probabilities that are not quite
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
    way = cut if case.cost.shape[-2] == 2 else expansions
    return way(case.cost / np.float32(strength), contrast(case.image, sigma))


def variation(case: Case, strength: float) -> np.ndarray:
    return least_variation(case.cost, strength)


def walker(case: Case, strength: float, rho: float, sigma: float) -> np.ndarray:
    return walk(case.probabilities(rho), contrast(case.image, sigma), strength)


class Method(NamedTuple):
    """A labeling and the values of its settings that are tried."""

    call: Callable[..., np.ndarray]
    settings: dict[str, tuple[float, ...]]

    def grid(self, quick: bool) -> list[dict[str, Any]]:
        """Every combination of settings; where it is to be quick the first one and the last."""
        found = [dict(zip(self.settings, chosen, strict=True)) for chosen in product(*self.settings.values())]
        return [found[k] for k in sorted({0, len(found) - 1})] if quick else found


FLOW = {"radius": (1, 2), "rho": (0.3, 1, 3, 10), "time": (1, 3, 6, 12, 24)}
STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85, 1, 1.2, 1.5, 2, 3, 5)
METHODS = {
    "pixelwise": Method(lambda case: case.cost.argmin(axis=-2), {}),
    "uniform": Method(uniform, FLOW),
    "bilateral": Method(bilateral, {"sigma": (0.1, 0.2, 0.4, 0.8)} | FLOW),
    "total variation": Method(variation, {"strength": STRENGTHS}),
    "min cut, plain": Method(min_cut, {"strength": STRENGTHS}),
    "min cut, contrast": Method(min_cut, {"strength": STRENGTHS, "sigma": (0.1, 0.2, 0.4, 0.8, 1.6)}),
    "random walker": Method(seeded, {"share": (0.02, 0.1, 0.3, 0.9), "beta": (10, 100)}),
    "random walker, priors": Method(
        walker, {"strength": (0.3, 1, 3, 10), "rho": (0.3, 1, 3, 10), "sigma": (0.1, 0.2, np.inf)}
    ),
}
