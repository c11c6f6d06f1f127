# ruff: noqa: NPY002 - the global generator of compiled code, seeded there
"""What does the noise permit? The Bayes error of the paper's scenes, by sampling the cells given the noisy image.

Metropolis moves of Voronoi sites, one at a time, half of them by a normal step and half to a uniform place, accepted
by the likelihood of the noisy image; of colors, that of a cell is summed over its eight colors, all alike probable. The
chain starts at the true sites: they are a draw of the posterior, so every later state is one, and nothing is burnt in.
The label of a pixel is the most probable one of all states. Its error is the Bayes error where the chain mixes, and
less where it does not leave the surroundings of the truth; the error that the probabilities themselves expect stands
beside it, and agrees where the chain mixes. The unseen scenes are those of `quality.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numba
import numpy as np
from measure import command, save

import gpulaf

#: Sites of the scenes of `gpulaf.scenes`.
SITES = {"lines": 30, "colors": 50}
#: Standard deviations of the normal steps, in pixels.
STEPS = (0.2, 0.7, 2.0, 6.0)


def true_sites(kind: str, seed: int, side: int) -> np.ndarray:
    """The sites (S, 2) that a scene was drawn with: the first numbers of its generator."""
    return np.random.default_rng(seed).random((SITES[kind], 2)) * side


@numba.njit
def assigned(sites, side, owner, least):
    """The nearest site of every pixel, and the squared distance to it."""
    for i in range(side * side):
        y, x = i // side + 0.5, i % side + 0.5
        least[i] = np.inf
        for k in range(len(sites)):
            d = (y - sites[k, 0]) ** 2 + (x - sites[k, 1]) ** 2
            if d < least[i]:
                least[i], owner[i] = d, k


@numba.njit
def moved(sites, k, side, owner, least, now, nearest):
    """The same after site k has moved."""
    for i in range(side * side):
        y, x = i // side + 0.5, i % side + 0.5
        d = (y - sites[k, 0]) ** 2 + (x - sites[k, 1]) ** 2
        if owner[i] != k:
            now[i], nearest[i] = (k, d) if d < least[i] else (owner[i], least[i])
            continue
        now[i], nearest[i] = k, d
        for other in range(len(sites)):
            e = (y - sites[other, 0]) ** 2 + (x - sites[other, 1]) ** 2
            if e < nearest[i]:
                now[i], nearest[i] = other, e


@numba.njit
def of_cells(owner, costs, side, sums):
    """−log of the likelihood of cells with unknown labels, and the cost of every label in every cell."""
    sums[:] = 0
    for i in range(side * side):
        for j in range(costs.shape[1]):
            sums[owner[i], j] += costs[i, j]
    total = 0.0
    for k in range(len(sums)):
        low, mass = sums[k].min(), 0.0
        for j in range(costs.shape[1]):
            mass += np.exp(low - sums[k, j])
        total += low - np.log(mass)
    return total


@numba.njit
def is_cell(owner, i, side):
    """0 on a line, 1 in a cell: whether the right and the lower neighbor are of the same cell."""
    right, below = i % side < side - 1, i < side * (side - 1)
    return int(not ((right and owner[i] != owner[i + 1]) or (below and owner[i] != owner[i + side])))


@numba.njit
def of_lines(owner, costs, side, sums):
    """−log of the likelihood of lines between cells."""
    total = 0.0
    for i in range(side * side):
        total += costs[i, is_cell(owner, i, side)]
    return total


@numba.njit
def sampled(sites, costs, side, moves, every, lines, seed, steps):
    """Probabilities of the labels (n, J), a mean over the states, and the share of moves that were accepted."""
    np.random.seed(seed)
    owner, now = np.zeros(side * side, np.int64), np.zeros(side * side, np.int64)
    least, nearest = np.zeros(side * side), np.zeros(side * side)
    sums, p, accepted = np.zeros((len(sites), costs.shape[1])), np.zeros(costs.shape), 0
    assigned(sites, side, owner, least)
    cost = of_lines(owner, costs, side, sums) if lines else of_cells(owner, costs, side, sums)
    for move in range(moves):
        k, old = np.random.randint(len(sites)), np.zeros(2)
        old[:] = sites[k]
        if np.random.random() < 0.5:
            scale = steps[np.random.randint(len(steps))]
            sites[k, 0] += scale * np.random.normal()
            sites[k, 1] += scale * np.random.normal()
        else:
            sites[k, 0], sites[k, 1] = side * np.random.random(), side * np.random.random()
        if 0 <= sites[k, 0] < side and 0 <= sites[k, 1] < side:
            moved(sites, k, side, owner, least, now, nearest)
            other = of_lines(now, costs, side, sums) if lines else of_cells(now, costs, side, sums)
            if np.log(np.random.random()) < cost - other:
                owner[:], least[:], cost = now, nearest, other
                accepted += 1
            else:
                sites[k] = old
        else:
            sites[k] = old
        if move % every == every - 1:
            if lines:
                for i in range(side * side):
                    p[i, is_cell(owner, i, side)] += 1
                continue
            of_cells(owner, costs, side, sums)
            for c in range(len(sums)):
                sums[c] = np.exp(sums[c].min() - sums[c])
                sums[c] /= sums[c].sum()
            for i in range(side * side):
                p[i] += sums[owner[i]]
    return p / (moves // every), accepted / moves


def scene_error(kind: str, noise: float, side: int, moves: int, seed: int) -> dict[str, float]:
    """% of wrong pixels of the most probable labels of one scene, and what their probabilities expect."""
    make: Callable[..., Any] = gpulaf.scenes.voronoi_lines if kind == "lines" else gpulaf.scenes.voronoi_colors
    scene, began = make(side, noise=noise, seed=seed), time.process_time()
    costs = ((scene.image[:, :, None] - scene.prototypes) ** 2).sum(axis=-1) / (2 * noise**2)
    p, accepted = sampled(
        true_sites(kind, seed, side), costs.reshape(side**2, -1), side, moves, 50, kind == "lines", seed,
        np.array(STEPS),
    )  # fmt: skip
    wrong = float(np.mean(p.argmax(axis=1) != scene.truth.ravel()))
    expected = float(np.mean(1 - p.max(axis=1)))
    return {
        "wrong": 100 * wrong,
        "expected": 100 * expected,
        "accepted": accepted,
        "s": time.process_time() - began,
    }


def main() -> None:
    asked = command(__doc__, side=(128, 32), scenes=(10, 2), moves=(200_000, 2000))
    rows = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for kind, noise in (("lines", 0.3), ("lines", 0.5), ("colors", 0.55)):
            calls = [
                pool.submit(scene_error, kind, noise, asked.side, asked.moves, 500 + k) for k in range(asked.scenes)
            ]
            found = [call.result() for call in calls]
            wrong = [x["wrong"] for x in found]
            rows.append(
                {
                    "scene": f"{kind} {noise}",
                    "wrong %": float(np.mean(wrong)),
                    "expected %": float(np.mean([x["expected"] for x in found])),
                    "accepted %": 100 * float(np.mean([x["accepted"] for x in found])),
                    "s": float(np.sum([x["s"] for x in found])),
                    "each": " ".join(f"{x:.2f}" for x in wrong),
                }
            )
            print(rows[-1], flush=True)
    said = ", ".join(f"{row['scene']} {row['wrong %']:.2f} % (expected {row['expected %']:.2f} %)" for row in rows)
    save(rows, f"Bayes error of {asked.scenes} scenes of {asked.side}² pixels: {said}.")


if __name__ == "__main__":
    main()
