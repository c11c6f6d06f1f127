"""What tests compare with: explicit matrices, loops over pixels, random problems, one tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import expm

from gpulaf import Grid
from gpulaf.averaging import normalize_weights
from gpulaf.backend.array import host_array
from gpulaf.fields import field_shape
from gpulaf.flows import LinearFlow


def tol(dtype: Any) -> float:
    """The one tolerance: relative error that a handful of roundings in each of some ten products may reach."""
    return 200 * float(np.finfo(dtype).eps)


def relative(x: Any, y: Any) -> float:
    """‖x − y‖/‖y‖ over everything, on the host in float64."""
    x, y = (np.asarray(host_array(a), dtype=np.float64) for a in (x, y))
    assert x.shape == y.shape
    return float(np.linalg.norm(x - y) / max(np.linalg.norm(y), 1e-300))


@dataclass(frozen=True)
class Problem:
    """A random flow, on the host in float64."""

    weights: np.ndarray
    log_likelihood: np.ndarray
    g: np.ndarray
    truth: np.ndarray

    def flow(self, library: Any = np.asarray, dtype: Any = np.float64) -> LinearFlow:
        return LinearFlow(Grid(library(self.weights.astype(dtype))), library(self.log_likelihood.astype(dtype)))


def random_problem(
    labels: int = 3, height: int = 4, width: int = 5, radius: int = 1, seed: int = 0, depth: int | None = None
) -> Problem:
    rng = np.random.default_rng(seed)
    shape = (height, width) if depth is None else (depth, height, width)
    weights = normalize_weights(rng.random(field_shape(shape, (2 * radius + 1) ** len(shape))) ** 2)
    log_likelihood = 2 * rng.standard_normal(field_shape(shape, labels))
    g = rng.standard_normal(field_shape(shape, labels))
    truth = rng.integers(-1, labels, shape).astype(np.int32)
    truth[(0,) * len(shape)] = 0
    return Problem(weights, log_likelihood, g, truth)


def dense_average(weights: np.ndarray) -> np.ndarray:
    """Ω as a matrix over the pixels of an image or a volume, by loops over pixels and neighbors."""
    *rows, count, width = weights.shape
    shape = (*rows, width)
    side = round(count ** (1 / len(shape)))
    number = np.arange(np.prod(shape)).reshape(shape)
    matrix = np.zeros((number.size, number.size))
    for pixel in np.ndindex(*shape):
        for o in range(count):
            steps = [o // side**k % side - side // 2 for k in reversed(range(len(shape)))]
            neighbor = tuple(i + step for i, step in zip(pixel, steps, strict=True))
            if all(0 <= i < n for i, n in zip(neighbor, shape, strict=True)):
                matrix[number[pixel], number[neighbor]] = weights[*pixel[:-1], o, pixel[-1]]
    return matrix


def flat(field: np.ndarray) -> np.ndarray:
    """A field (…, J, W) as a vector (J·n,), label by label, as the matrices of `dense_flow` take it."""
    return np.moveaxis(field, -2, 0).ravel()


def unflat(vector: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A vector (J·n,) as a field of the shape of `like`."""
    *rows, labels, width = like.shape
    return np.ascontiguousarray(np.moveaxis(vector.reshape(labels, *rows, width), 0, -2))


def dense_flow(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """S (J, n), A (J·n, J·n) and B (J·n) of a problem, by explicit matrices."""
    omega = dense_average(problem.weights)
    labels, n = problem.log_likelihood.shape[-2], omega.shape[0]
    averaged = flat(problem.log_likelihood).reshape(labels, n) @ omega.T
    exponential = np.exp(averaged - averaged.max(axis=0))
    S = exponential / exponential.sum(axis=0)
    A = np.zeros((labels * n, labels * n))
    for j in range(labels):
        for k in range(labels):
            replicator = S[j] * (j == k) - S[j] * S[k]
            A[j * n : (j + 1) * n, k * n : (k + 1) * n] = replicator[:, None] * omega
    return S, A, (S - 1 / labels).ravel()


def dense_solution(problem: Problem, time: float) -> np.ndarray:
    """v(T) by the exponential of the bordered matrix (2.29)."""
    _, A, B = dense_flow(problem)
    n = len(B)
    bordered = np.zeros((n + 1, n + 1))
    bordered[:n, :n], bordered[:n, n] = time * A, time * B
    return unflat(expm(bordered)[:n, n], problem.log_likelihood)


def patches(shape: tuple[int, int], radius: int = 1, seed: int | None = None) -> np.ndarray:
    """Uniform (no seed) or random weight patches, pixel by pixel."""
    rng = np.random.default_rng(seed)
    (height, width), side = shape, 2 * radius + 1
    weights = np.zeros((height, side**2, width))
    for y in range(height):
        for x in range(width):
            for n in range(side**2):
                if 0 <= y + n // side - radius < height and 0 <= x + n % side - radius < width:
                    weights[y, n, x] = 1.0 if seed is None else rng.uniform(0.05, 1)
            weights[y, :, x] /= weights[y, :, x].sum()
    return weights


def dense_probabilities(ell: np.ndarray, weights: np.ndarray, time: float) -> np.ndarray:
    """softmax(v(T)), v' = Av + B, for ℓ of shape (H, W, J): the matrix A entry by entry, and its exponential."""
    height, width, J = ell.shape
    side = round(weights.shape[1] ** 0.5)
    radius = side // 2

    def neighbors(y: int, x: int) -> list[tuple[int, int, float]]:
        found = []
        for n in range(side**2):
            y2, x2 = y + n // side - radius, x + n % side - radius
            if 0 <= y2 < height and 0 <= x2 < width:
                found.append((y2, x2, weights[y, n, x]))
        return found

    size = height * width * J
    A, B = np.zeros((size, size)), np.zeros(size)
    for y in range(height):
        for x in range(width):
            mean = sum(weight * ell[y2, x2] for y2, x2, weight in neighbors(y, x))
            S = np.exp(mean - mean.max())
            S /= S.sum()
            for j in range(J):
                row = (y * width + x) * J + j
                B[row] = S[j] - 1 / J
                for y2, x2, weight in neighbors(y, x):
                    for l in range(J):
                        A[row, (y2 * width + x2) * J + l] += S[j] * ((j == l) - S[l]) * weight
    bordered = np.zeros((size + 1, size + 1))
    bordered[:-1, :-1], bordered[:-1, -1] = time * A, time * B
    v = expm(bordered)[:-1, -1].reshape(height, width, J)
    W = np.exp(v - v.max(axis=-1, keepdims=True))
    return W / W.sum(axis=-1, keepdims=True)


def distances(image: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    """(H, W, J) Euclidean distances."""
    return np.linalg.norm(image[:, :, None, :] - prototypes[None, None], axis=-1)


def dense_remaining(ell: np.ndarray, omega: np.ndarray, valid: np.ndarray, time: float) -> np.ndarray:
    """softmax(v(T)), (n, J), of the flow on the n valid nodes alone: rows and columns of others are taken out of Ω.

    ℓ is (N, J), Ω (N, N) and `valid` (N,), nodes in the order of the pixels.
    """
    omega, ell = omega[np.ix_(valid, valid)], ell[valid]
    omega = omega / omega.sum(axis=1, keepdims=True)
    n, labels = ell.shape
    S = np.exp(omega @ ell)
    S /= S.sum(axis=1, keepdims=True)
    R = np.einsum("ij,jk->ijk", S, np.eye(labels)) - S[:, :, None] * S[:, None, :]
    A = np.einsum("ijk,il->ijlk", R, omega).reshape(n * labels, n * labels)
    bordered = np.zeros((n * labels + 1, n * labels + 1))
    bordered[:-1, :-1], bordered[:-1, -1] = time * A, time * (S - 1 / labels).ravel()
    v = expm(bordered)[:-1, -1].reshape(n, labels)
    W = np.exp(v - v.max(axis=1, keepdims=True))
    return W / W.sum(axis=1, keepdims=True)
