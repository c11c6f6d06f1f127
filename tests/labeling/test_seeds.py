"""Labels grown from seeds keep them, come back in their own values, and find what colors and paths say."""

from __future__ import annotations

import re
from heapq import heappop, heappush
from typing import Any

import numpy as np
import pytest

import gpulaf
from gpulaf import label_seeds
from gpulaf.averaging import BilateralWeights
from gpulaf.labeling.seeds import STEP, SURE, _path_graph, _path_lengths


def marked(truth: np.ndarray, share: float, values: Any, dtype: Any = np.int64, seed: int = 0) -> np.ndarray:
    """Markers at random pixels; label j is values[j]."""
    known = np.random.default_rng(seed).random(truth.shape) < share
    return np.where(known, np.array(values, dtype)[truth], 0).astype(dtype)


def lengths(image: np.ndarray, seeds: np.ndarray, contrast: float, spacing: tuple[float, ...]) -> np.ndarray:
    """Shortest paths by Dijkstra's algorithm with a heap, pixel by pixel."""
    found, heap = np.full(image.shape[:-1], np.inf), [(0.0, tuple(p)) for p in np.argwhere(seeds)]
    while heap:
        length, p = heappop(heap)
        if length >= found[p]:
            continue
        found[p] = length
        for offset in np.ndindex((3,) * len(p)):
            q = tuple(np.add(p, offset) - 1)
            if all(0 <= k < n for k, n in zip(q, found.shape, strict=True)) and q != p:
                far = np.linalg.norm((np.array(offset) - 1) * spacing) / min(spacing)
                heappush(heap, (length + ((image[p] - image[q]) ** 2).sum() / contrast**2 + STEP * far, q))
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "spacing"), [((7, 9), (1.0, 1.0)), ((6, 5), (1.0, 2.5)), ((3, 4, 5), (2.0, 1.0, 1.0))]
)
def test_shortest_paths(shape: tuple[int, ...], spacing: tuple[float, ...], dtype: Any) -> None:
    rng = np.random.default_rng(0)
    image, seeds = rng.random((*shape, 2)).astype(dtype), rng.random(shape) < 0.1
    seeds.flat[3] = True
    found = _path_lengths(_path_graph(image, 0.3, spacing, None), seeds)
    np.testing.assert_allclose(found, lengths(image.astype(float), seeds, 0.3, spacing), rtol=1e-12)


def test_paths_do_not_cross_pixels_without_data() -> None:
    valid = np.ones((4, 7), bool)
    valid[:, 3] = False
    seeds = np.zeros((4, 7), bool)
    seeds[0, 0] = True
    found = _path_lengths(_path_graph(np.zeros((4, 7, 1)), 1.0, None, valid), seeds)
    assert (found[:, :3] < 1).all()
    assert (found[:, 3:] == 2 * SURE).all()


@pytest.mark.parametrize("values", [[1, 2], [2**40, 7], [255, 3], [65535, 65534]])
@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_seeds_keep_their_values(values: list[int], dtype: Any) -> None:
    scene = gpulaf.scenes.voronoi_lines(32, sites=6, noise=0.5, seed=1)
    markers = marked(scene.truth, 0.1, values, dtype)
    result = label_seeds(scene.image, markers)
    assert result.labels.dtype == dtype
    assert sorted(np.unique(result.labels).tolist()) == sorted(values)
    np.testing.assert_array_equal(result.labels[markers > 0], markers[markers > 0])
    ordered = np.unique(markers[markers > 0])
    np.testing.assert_array_equal(ordered[result.probabilities.argmax(axis=-1)], result.labels)
    assert set(np.unique(result.probabilities[markers > 0])) == {0.0, 1.0}
    assert label_seeds(scene.image.astype(np.float32), markers.astype(np.int64)).probabilities.dtype == np.float32


@pytest.mark.parametrize(("rho", "contrast"), [(0.1, 0.1), (None, 0.1), (0.1, None)])
def test_a_clean_image_is_found_from_few_seeds(rho: float | None, contrast: float | None) -> None:
    truth = np.zeros((40, 40), int)
    truth[5:18, 5:18], truth[22:36, 8:30] = 1, 2
    image = np.array([0.1, 0.5, 0.9])[truth]
    markers = np.zeros((40, 40), np.uint8)
    markers[0, 0], markers[10, 10], markers[30, 20] = 1, 2, 3
    result = label_seeds(image, markers, rho=rho, contrast=contrast, weights=BilateralWeights(0.1))
    np.testing.assert_array_equal(result.labels, truth + 1)
    stack = np.stack([image] * 3)
    volume = label_seeds(
        stack, np.stack([markers, 0 * markers, 0 * markers]), channel_axis=None, rho=rho, contrast=contrast,
        weights=BilateralWeights(0.1), spacing=(2, 1, 1),
    )  # fmt: skip
    np.testing.assert_array_equal(volume.labels, np.stack([truth + 1] * 3))


def test_regions_that_look_alike_are_told_apart_by_paths() -> None:
    image = np.full((20, 41), 0.8)
    image[:, 20] = 0.0  # a wall
    markers = np.zeros((20, 41), int)
    markers[10, 5], markers[10, 22] = 4, 9
    result = label_seeds(image, markers, rho=None, contrast=0.1)
    assert (result.labels[:, :20] == 4).all()
    assert (result.labels[:, 21:] == 9).all()


def test_channels_on_any_axis_and_integers() -> None:
    scene = gpulaf.scenes.voronoi_colors(32, sites=6, noise=0.2, seed=2)
    image = (255 * scene.image.clip(0, 1)).astype(np.uint8)
    markers = marked(scene.truth, 0.2, np.arange(1, 9))
    expected = label_seeds(image, markers)
    found = label_seeds(image.transpose(2, 0, 1), markers, channel_axis=0)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert expected.prototypes is not None
    for j, value in enumerate(np.unique(markers[markers > 0])):
        np.testing.assert_allclose(expected.prototypes[j], image[markers == value].mean(axis=0), rtol=1e-6)


def test_pixels_that_are_left_out_change_nothing() -> None:
    scene = gpulaf.scenes.voronoi_lines(32, sites=6, seed=3)
    markers = marked(scene.truth, 0.2, [1, 2])
    markers[:, 16] = -3
    mask = np.ones((32, 32), bool)
    mask[20:] = False
    other = scene.image.copy()
    other[:, 16], other[20:] = 1e6, np.nan
    first, second = (label_seeds(image, markers, mask=mask) for image in (scene.image, other))
    np.testing.assert_array_equal(first.labels, second.labels)
    assert (first.labels[:20, 16] == -3).all()
    assert (first.labels[20:][markers[20:] == 0] == 0).all()
    assert np.isnan(first.probabilities[20:][markers[20:] == 0]).all()


@pytest.mark.parametrize(
    ("markers", "options", "error", "said"),
    [
        (np.zeros((4, 5), int), {}, ValueError, "markers have shape (4, 5); accepted is (6, 6)"),
        (np.zeros((6, 6)), {}, TypeError, "markers have dtype float64; accepted are integers"),
        (np.zeros((6, 6), int), {}, ValueError, "markers hold 0 label(s) in valid pixels; accepted are at least 2"),
        (np.eye(6, dtype=int), {"rho": None, "contrast": None}, ValueError, "rho and contrast are None"),
        (np.eye(6, dtype=int), {"contrast": 0}, ValueError, "contrast is 0; accepted"),
        (np.eye(6, dtype=int), {}, ValueError, "markers hold 1 label(s)"),
    ],
)
def test_refused(markers: np.ndarray, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        label_seeds(np.random.default_rng(0).random((6, 6)), markers, **options)


def test_beside_the_random_walker() -> None:
    segmentation = pytest.importorskip("skimage.segmentation", reason="scikit-image is not installed")
    scene = gpulaf.scenes.voronoi_lines(48, sites=8, noise=0.2, seed=4)
    markers, image = marked(scene.truth, 0.1, [1, 2]), scene.image[..., 0]
    found = label_seeds(image, markers, weights=BilateralWeights(0.2)).labels
    walked = segmentation.random_walker(image, markers, mode="bf")  # exact
    assert found.shape == walked.shape
    assert np.mean(found != scene.truth + 1) < np.mean(walked != scene.truth + 1)
