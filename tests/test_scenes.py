"""The synthetic scenes against their definition by loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from gpulaf.scenes import voronoi_colors, voronoi_lines


def cells_by_loops(size: int, sites: int, seed: int) -> np.ndarray:
    """The nearest of the random sites for each pixel centre."""
    points = np.random.default_rng(seed).random((sites, 2)) * size
    cells = np.empty((size, size), int)
    for y in range(size):
        for x in range(size):
            cells[y, x] = min(range(sites), key=lambda k: (points[k, 0] - y - 0.5) ** 2 + (points[k, 1] - x - 0.5) ** 2)
    return cells


@pytest.mark.parametrize(("size", "sites", "seed"), [(24, 30, 0), (31, 5, 3), (17, 1, 1)])
def test_a_line_has_another_cell_to_its_right_or_below(size: int, sites: int, seed: int) -> None:
    cells = cells_by_loops(size, sites, seed)
    truth = voronoi_lines(size, sites=sites, seed=seed).truth
    for y in range(size):
        for x in range(size):
            right = x + 1 < size and cells[y, x + 1] != cells[y, x]
            below = y + 1 < size and cells[y + 1, x] != cells[y, x]
            assert truth[y, x] == (0 if right or below else 1), (y, x)


@pytest.mark.parametrize(("size", "sites", "seed"), [(24, 50, 0), (31, 5, 3)])
def test_a_cell_has_one_color(size: int, sites: int, seed: int) -> None:
    cells = cells_by_loops(size, sites, seed)
    truth = voronoi_colors(size, sites=sites, seed=seed).truth
    for k in np.unique(cells):
        assert len(np.unique(truth[cells == k])) == 1
    assert len(np.unique(truth)) > 1


def test_prototypes() -> None:
    corners = {tuple(p) for p in voronoi_colors(16).prototypes}
    assert corners == set(product((0.1, 0.9), repeat=3))
    np.testing.assert_array_equal(voronoi_lines(16).prototypes, [[0.0], [1.0]])


@pytest.mark.parametrize(("make", "channels"), [(voronoi_colors, 3), (voronoi_lines, 1)])
def test_arrays_of_a_scene(make: object, channels: int) -> None:
    scene = make(20, seed=4)
    assert scene.image.shape == scene.clean.shape == (20, 20, channels)
    assert scene.image.dtype == scene.clean.dtype == np.float64
    assert scene.truth.shape == (20, 20)
    assert scene.truth.dtype == np.int32
    for y, x in product(range(20), repeat=2):
        np.testing.assert_array_equal(scene.clean[y, x], scene.prototypes[scene.truth[y, x]])


@pytest.mark.parametrize("make", [voronoi_colors, voronoi_lines])
def test_a_seed_repeats(make: object) -> None:
    one, two, other = make(24, seed=7), make(24, seed=7), make(24, seed=8)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.truth, other.truth)
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize(("make", "default"), [(voronoi_colors, 0.55), (voronoi_lines, 0.3)])
def test_the_noise_is_gaussian_of_the_level_asked_for(make: object, default: float) -> None:
    for scene, level in ((make(128), default), (make(128, noise=0.125), 0.125)):
        noise = scene.image - scene.clean
        assert noise.std() == pytest.approx(level, rel=0.03)
        assert abs(noise.mean()) < 0.03 * level
        assert np.mean(np.abs(noise) < level) == pytest.approx(0.6827, abs=0.015)
        assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.03


@pytest.mark.parametrize("make", [voronoi_colors, voronoi_lines])
def test_without_noise_the_image_is_clean(make: object) -> None:
    scene = make(16, noise=0.0)
    np.testing.assert_array_equal(scene.image, scene.clean)


@pytest.mark.parametrize("make", [voronoi_colors, voronoi_lines])
@pytest.mark.parametrize(("options", "said"), [({"size": 1}, "size is 1"), ({"size": 2.5}, "2.5"), ({"sites": 0}, "0")])
def test_bad_sizes(make: object, options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(**({"size": 16} | options))
