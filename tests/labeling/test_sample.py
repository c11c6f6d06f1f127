"""The sample of an image: the same pixels wherever it is stored, from all over it, valid ones alone."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest

from gpulaf import DataWarning, label
from gpulaf.backend.validation import Pixels, image_features
from gpulaf.labeling import kmeans_prototypes
from gpulaf.labeling.sample import CELLS, FEWEST, PIXELS, sampled_pixels, sampled_values

SHAPES: list[tuple[int, ...]] = [
    (1025, 1025), (4096, 8192), (40, 10**6), (10**6, 40), (1, 3 * 10**6), (10**7,), (200, 300, 400), (3, 2000, 3000),
    (10**6, 10**6),
]  # fmt: skip


def windows_of(shape: tuple[int, ...], seed: int = 0) -> list[Any]:
    asked: list[Any] = []
    sampled_values(shape, lambda windows: asked.extend(windows) or [np.zeros((FEWEST, 1))], seed=seed)
    return asked


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_windows_lie_all_over_the_image_and_repeat(shape: tuple[int, ...]) -> None:
    windows = windows_of(shape)
    assert windows == windows_of(shape)
    assert windows != windows_of(shape, seed=1)
    assert 0.8 * CELLS <= len(windows) <= CELLS
    sizes = [np.prod([s.stop - s.start for s in window]) for window in windows]
    assert 0.9 * CELLS * PIXELS < sum(sizes) <= CELLS * PIXELS
    for axis, n in enumerate(shape):
        spans = sorted({(w[axis].start, w[axis].stop) for w in windows})
        assert spans[0][0] >= 0
        assert spans[-1][1] <= n
        middle = np.mean([start + stop for start, stop in spans]) / 2
        assert abs(middle - n / 2) < 0.1 * n
    if prod(shape) < 10**8:  # no pixel is taken twice
        taken = np.zeros(shape, bool)
        for window in windows:
            assert not taken[window].any()
            taken[window] = True


def test_small_images_are_looked_at_as_a_whole() -> None:
    pixels = image_features(np.random.default_rng(0).random((1024, 1024)))
    assert sampled_pixels(pixels) is pixels
    mask = np.random.default_rng(1).random((40, 50)) < 0.5
    image = np.random.default_rng(2).random((40, 50, 3))
    found = sampled_pixels(image_features(image, mask=mask))
    np.testing.assert_array_equal(found.features, image[mask])
    assert found.valid is None


def test_masked_pixels_are_left_out_and_rare_ones_are_found() -> None:
    image = np.zeros((2000, 1500))
    mask = np.zeros(image.shape, bool)
    mask[1203:1210, 900:905] = True
    image[mask] = np.arange(35)
    found = sampled_pixels(image_features(image, mask=mask)).features
    np.testing.assert_array_equal(np.sort(found[:, 0]), np.arange(35))
    some = np.random.default_rng(0).random(image.shape) < 0.3
    image = np.where(some, 1.0, np.nan)
    found = sampled_pixels(image_features(image, mask=some)).features
    assert (found == 1).all()
    assert 0.25 * CELLS * PIXELS < len(found) < 0.35 * CELLS * PIXELS


@pytest.mark.parametrize("shape", [(2100, 600, 3), (110, 100, 120, 1)], ids=str)
def test_clusters_of_a_sample_are_those_of_the_image(shape: tuple[int, ...]) -> None:
    features = np.random.default_rng(0).random(shape).astype(np.float32)
    sample = sampled_pixels(Pixels(features, (0.0, 1.0))).features
    assert sample.shape[0] <= CELLS * PIXELS < features[..., 0].size
    np.testing.assert_array_equal(kmeans_prototypes(features, 3), kmeans_prototypes(sample, 3))


def test_labels_by_a_number_are_those_of_the_prototypes_of_the_sample() -> None:
    image = np.random.default_rng(0).random((1100, 1000)).astype(np.float32)
    found = label(image, 3)
    prototypes = kmeans_prototypes(image_features(image).features, 3)
    np.testing.assert_allclose(found.prototypes, prototypes, rtol=1e-11)
    np.testing.assert_array_equal(found.labels, label(image, found.prototypes).labels)


def test_an_image_with_too_few_values_says_how_many_pixels_were_looked_at() -> None:
    with pytest.raises(ValueError, match=r"only 2 different values in the 200 pixels that were looked at"):
        label(np.arange(200).reshape(10, 20) % 2 / 1.0, 3)


def test_warnings_look_at_the_sample() -> None:
    image = np.random.default_rng(0).integers(0, 4096, (1100, 1000)).astype(np.uint16)
    with pytest.warns(DataWarning, match="6.2 % of the range 0 to 65535"):
        label(image, [100, 3000])
