"""Distances against SciPy, and prototypes by k-means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from gpulaf.labeling import distances, kmeans_prototypes, log_likelihood


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize(("channels", "labels"), [(1, 2), (3, 5), (7, 20)])
def test_distances_are_euclidean(dtype: Any, tolerance: float, channels: int, labels: int) -> None:
    rng = np.random.default_rng(0)
    features, prototypes = rng.random((6, 7, channels)).astype(dtype), rng.random((labels, channels))
    result = distances(features, prototypes)
    expected = cdist(features.reshape(-1, channels).astype(float), prototypes).reshape(6, 7, labels)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected.transpose(0, 2, 1), rtol=tolerance, atol=tolerance)


def test_distances_of_volumes_and_nodes_are_those_of_their_images() -> None:
    rng = np.random.default_rng(0)
    volume, prototypes = rng.random((4, 6, 7, 3)).astype(np.float32), rng.random((5, 3))
    found = distances(volume, prototypes)
    assert found.shape == (4, 6, 5, 7)
    np.testing.assert_array_equal(found, np.stack([distances(image, prototypes) for image in volume]))
    np.testing.assert_array_equal(distances(volume[1, 2], prototypes), found[1, 2])


def test_a_pixel_at_a_prototype_has_distance_zero() -> None:
    prototypes = np.array([[0.1, 0.2, 0.3], [0.7, 0.8, 0.9]])
    result = distances(prototypes[[[0, 1], [1, 1]]], prototypes)
    np.testing.assert_array_equal(result[:, 0] == 0, [[True, False], [False, False]])
    np.testing.assert_array_equal(result[:, 1] == 0, [[False, True], [True, True]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_likelihood_is_minus_distance_over_rho(dtype: Any) -> None:
    D = np.array([[[0.5, 2.0], [1.0, 0.0]]], dtype)
    result = log_likelihood(D, 0.25)
    np.testing.assert_array_equal(result, [[[-2.0, -8.0], [-4.0, 0.0]]])
    assert result.dtype == dtype


def separated(seed: int, count: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels around nine centres on a grid, with shares that differ; centres, the largest cluster first."""
    rng = np.random.default_rng(seed)
    centres = np.stack(np.meshgrid([0.0, 5.0, 10.0], [0.0, 5.0, 10.0]), axis=-1).reshape(9, 2)
    centres = rng.permutation(centres)
    members = rng.permutation(np.repeat(np.arange(9), [20 * (9 - j) for j in range(9)]))
    return centres[members].reshape(30, -1, 2) + 0.05 * rng.standard_normal((30, count // 30, 2)), centres, members


@pytest.mark.parametrize("seed", range(6))
def test_kmeans_finds_separated_centres_the_largest_first(seed: int) -> None:
    features, centres, members = separated(seed)
    result = kmeans_prototypes(features, 9, seed=seed)
    means = [features.reshape(-1, 2)[members == j].mean(axis=0) for j in range(9)]
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, means, atol=1e-12)
    np.testing.assert_allclose(result, centres, atol=0.1)


def test_kmeans_repeats_with_its_seed() -> None:
    features = np.random.default_rng(1).random((40, 40, 3)).astype(np.float32)
    one, two, other = (kmeans_prototypes(features, 7, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_kmeans_leaves_the_global_random_state_alone() -> None:
    features = np.random.default_rng(1).random((20, 20, 3))
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    kmeans_prototypes(features, 4)
    assert np.random.random() == expected  # noqa: NPY002


def test_as_many_prototypes_as_colors_are_the_colors_the_largest_first() -> None:
    image = np.full((5, 6, 1), 0.75)
    image[0, 0], image[0, 1:4] = 0.125, 0.5
    np.testing.assert_array_equal(kmeans_prototypes(image, 3), [[0.75], [0.5], [0.125]])


def test_more_prototypes_than_colors() -> None:
    image = np.array([[0.0, 1.0], [1.0, 0.5]])[..., None]
    with pytest.raises(ValueError, match=r"4 prototypes.*only 3 different values.*fewer"):
        kmeans_prototypes(image, 4)


def test_a_rare_color_of_a_large_image_counts() -> None:
    image = np.zeros((400, 400, 1))  # many more pixels than the sample holds
    image[7, 9] = 1.0
    np.testing.assert_array_equal(np.sort(kmeans_prototypes(image, 2), axis=0), [[0.0], [1.0]])


def test_kmeans_of_a_sample_is_close_to_that_of_all_pixels() -> None:
    rng = np.random.default_rng(2)
    features = rng.choice([0.1, 0.5, 0.9], (300, 300, 1), p=[0.5, 0.3, 0.2]) + 0.02 * rng.standard_normal((300, 300, 1))
    np.testing.assert_allclose(kmeans_prototypes(features, 3, sample=2000), [[0.1], [0.5], [0.9]], atol=0.01)
