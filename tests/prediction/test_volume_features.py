"""Features of volumes, with distances of pixels that differ between the axes: loops, SciPy and eigenvalues."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from oracles import relative, tol
from scipy.ndimage import gaussian_filter

from gpulaf.backend.array import host_array
from gpulaf.fields import from_rows
from gpulaf.prediction import Features, affinity_features, gaussian_features, patch_features
from gpulaf.prediction.features import feature_names, feature_reach, on_spacing

SHAPE = (4, 5, 6)
VOLUME = np.random.default_rng(0).random((*SHAPE, 2))
SPACED = "patch:2+gaussian:0.5,1+affinity:0.7"


def mirrored(i: int, n: int) -> int:
    while not 0 <= i < n:
        i = -i if i < 0 else 2 * (n - 1) - i
    return i


def skip_strict(xp: Any) -> None:
    if xp.name == "strict":
        pytest.skip("Gaussians are those of SciPy and CuPy")


@pytest.mark.parametrize(
    ("radius", "spacing", "radii"),
    [(0, (3, 1, 1), (0, 0, 0)), (1, None, (1, 1, 1)), (2, (2, 1, 1), (1, 2, 2)), (3, (6.0, 0.6, 1.0), (1, 3, 2))],
)
def test_patches_voxel_by_voxel(xp: Any, dtype: Any, radius: int, spacing: Any, radii: tuple[int, ...]) -> None:
    found = from_rows(host_array(patch_features(xp(VOLUME.astype(dtype)), radius, spacing)))
    assert found.dtype == dtype
    for at in product(*map(range, SHAPE)):
        places = product(*(range(i - r, i + r + 1) for i, r in zip(at, radii, strict=True)))
        patch = [VOLUME[tuple(map(mirrored, place, SHAPE))] for place in places]
        np.testing.assert_array_equal(found[at], np.concatenate(patch).astype(dtype))


@pytest.mark.parametrize("spacing", [None, (3.0, 1.5, 2.0), (1.0, 2.0, 1.0)])
def test_gaussians_against_scipy_and_eigenvalues(xp: Any, dtype: Any, spacing: Any) -> None:
    """Derivatives by the distance, in units of the scale: σ_a = s · s_min/s_a pixels on each axis."""
    skip_strict(xp)
    found = from_rows(host_array(gaussian_features(xp(VOLUME.astype(dtype)), (0.7, 1.5), spacing)))
    assert found.dtype == dtype
    distances, expected = np.array(spacing or (1, 1, 1)), []
    distances = distances / distances.min()
    for s, c in product((0.7, 1.5), range(2)):

        def smooth(order: Any, s: float = s, c: int = c) -> np.ndarray:
            return gaussian_filter(VOLUME[..., c].astype(dtype).astype(float), s / distances, order, mode="mirror")

        unit = np.eye(3, dtype=int)
        slope = np.stack([s * smooth(unit[a]) / distances[a] for a in range(3)], axis=-1)
        hessian = np.empty((*SHAPE, 3, 3))
        for a, b in np.ndindex(3, 3):
            hessian[..., a, b] = s**2 * smooth(unit[a] + unit[b]) / distances[a] / distances[b]
        values = np.linalg.eigvalsh(hessian)[..., ::-1]
        expected += [smooth((0, 0, 0)), np.linalg.norm(slope, axis=-1), *np.moveaxis(values, -1, 0)]
    assert relative(found, np.stack(expected, axis=-1)) < tol(dtype)


def test_eigenvalues_of_matrices_that_are_nearly_multiples_of_the_identity() -> None:
    volume = np.ones((5, 5, 5, 1))
    volume[2, 2, 2] = 2  # in the middle, the Hessian is a multiple of the identity
    values = gaussian_features(volume, (1.0,))[2, 2, 2:, 2]
    assert np.isfinite(values).all()
    assert np.ptp(values) < 1e-7
    constant = gaussian_features(np.ones((3, 3, 3, 1)), (1.0,))[..., 2:, :]
    assert np.ptp(constant) < 1e-7  # also finite


def test_an_axis_that_a_gaussian_does_not_reach(dtype: Any) -> None:
    """Planes far apart are smoothed each by itself, and nothing changes across them."""
    found = gaussian_features(VOLUME.astype(dtype), (0.5,), (10.0, 1.0, 1.0))
    for z in range(SHAPE[0]):
        plane = gaussian_features(VOLUME[z].astype(dtype), (0.5,))
        for c in range(2):
            value, slope, *eigenvalues = np.moveaxis(found[z, :, 5 * c : 5 * c + 5], 1, 0)
            np.testing.assert_array_equal(value, plane[:, 4 * c])
            assert relative(slope, plane[:, 4 * c + 1]) < tol(dtype)
            two = np.moveaxis(plane[:, 4 * c + 2 : 4 * c + 4], 1, 0)
            assert relative(eigenvalues, np.sort([*two, 0 * two[0]], axis=0)[::-1]) < 10 * tol(dtype)


@pytest.mark.parametrize(("radius", "spacing"), [(1, None), (2, (2.0, 1.0, 1.0)), (None, (1.0, 3.0, 1.0))])
def test_affinities_voxel_by_voxel(xp: Any, dtype: Any, radius: int | None, spacing: Any) -> None:
    skip_strict(xp)
    found = from_rows(host_array(affinity_features(xp(VOLUME.astype(dtype)), (0.7,), radius, spacing)))
    distances = np.array(spacing or (1, 1, 1)) / min(spacing or (1,))
    radii = [max(1, int((radius or 1) / d + 0.5)) for d in distances]
    assert found.shape[-1] == np.prod([2 * r + 1 for r in radii]) - 1
    smooth = np.stack([gaussian_filter(VOLUME[..., c], 0.7 / distances, mode="mirror") for c in (0, 1)], axis=-1)
    for at in product(*map(range, SHAPE)):
        places = product(*(range(i - r, i + r + 1) for i, r in zip(at, radii, strict=True)))
        expected = [np.linalg.norm(smooth[at] - smooth[tuple(map(mirrored, x, SHAPE))]) for x in places if x != at]
        np.testing.assert_allclose(found[at], expected, atol=20 * tol(dtype))


def test_spacing_of_an_image_counts_too() -> None:
    image = VOLUME[0]
    assert patch_features(image, 2, (2, 1)).shape[1] == 2 * 3 * 5
    value = gaussian_features(image, (1.0,), (2.0, 1.0))[:, 0]
    np.testing.assert_allclose(value, gaussian_filter(image[..., 0], (0.5, 1.0), mode="mirror"), atol=1e-12)


@pytest.mark.parametrize("spacing", [None, (3.0, 1.0, 1.0), (1.0, 2.0, 5.0)])
def test_no_feature_looks_farther_than_it_says(spacing: Any) -> None:
    """A changed voxel changes features within the reach, and some at its end on the finest axis."""
    features = Features(SPACED, spacing)
    reach = feature_reach(features)
    volume = np.random.default_rng(1).random((25, 25, 25, 1))
    other = volume.copy()
    other[12, 12, 12] += 1e3
    changed = np.nonzero((features(volume) != features(other)).any(axis=-2))
    assert max(abs(at - 12).max() for at in changed) <= reach
    assert max(abs(at - 12).max() for at in changed) >= reach - 1


def test_names_keep_no_spacing_and_a_predictor_gives_its_own() -> None:
    spacing = (3.0, 1.0, 1.0)
    assert feature_names(Features("gaussian:1", spacing)) == "gaussian:1"
    assert on_spacing(Features("patch:1+affinity"), spacing) == Features("patch:1+affinity:0.7,1.5,3", spacing)
    assert on_spacing(partial(gaussian_features, scales=(2,)), spacing) == Features("gaussian:2", spacing)
    assert on_spacing(Features("patch:1", spacing), (2.0, 2.0, 2.0)) == Features("patch:1")
    own = partial(gaussian_features, spacing=spacing)
    assert feature_names(own) is None
    assert on_spacing(own, (2.0, 1.0, 1.0)) is own
    assert on_spacing(2, spacing) == 2


@pytest.mark.parametrize("make", [patch_features, gaussian_features, affinity_features])
def test_mistakes(make: Any) -> None:
    with pytest.raises(ValueError, match=r"image has shape \(4, 5\); accepted is \(H, W, C\), and \(D, H, W, C\)"):
        make(VOLUME[0, :, :, 0][:, :5][:4])
    with pytest.raises(ValueError, match=r"spacing is \(1, 2\), and there are 3 spatial axes"):
        make(VOLUME, spacing=(1, 2))
    with pytest.raises(ValueError, match=r"spacing is \(1, 0, 2\); accepted are positive distances"):
        make(VOLUME, spacing=(1, 0, 2))
