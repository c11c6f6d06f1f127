"""Masks in tiles: bit for bit what the whole image gives, wherever tiles are cut and whatever invalid pixels hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpulaf
from gpulaf import Labeler, Taylor, uniform_weights
from gpulaf.averaging import BilateralWeights, normalize_weights
from gpulaf.tiling import label_array, refine_array, tile_halo

da = pytest.importorskip("dask.array")

SHAPE, CHUNKS = (70, 85), (23, 31)


def holes(seed: int = 0) -> np.ndarray:
    """A mask with islands, a strip, a whole tile and scattered pixels away."""
    rng = np.random.default_rng(seed)
    valid = rng.random(SHAPE) < 0.95
    valid[10:30, 20:60] = valid[:, 40] = valid[46:, :31] = False
    valid[15:18, 30:33] = True
    return valid


def scene() -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(1).random((*SHAPE, 2)).astype(np.float32)
    image[~holes()] = np.nan
    return image, np.array([[0.2, 0.7], [0.6, 0.4], [0.9, 0.8]])


def equal(found: Any, whole: Any) -> None:
    labels, probabilities = found.labels.compute(), found.probabilities.compute()
    assert labels.dtype == whole.labels.dtype == found.labels.dtype
    np.testing.assert_array_equal(labels, whole.labels)
    np.testing.assert_array_equal(probabilities, whole.probabilities)


def predicted(features: Any) -> Any:
    """Weights of a small predictor."""
    scenes = [gpulaf.scenes.voronoi_colors(24, sites=4, seed=seed) for seed in range(2)]
    predictor = gpulaf.WeightPredictor(6, features=features).set_params(training__steps=1)
    images = [s.image[..., :2].astype(np.float32) for s in scenes]
    return predictor.fit(images, [s.truth for s in scenes]).weight_source()


@pytest.mark.parametrize("made", ["uniform", "bilateral", "given", "patch", "gaussian"])
def test_tiles_equal_the_whole_image(made: str) -> None:
    image, prototypes = scene()
    weights: Any = {"uniform": None, "bilateral": BilateralWeights(0.3, radius=2)}.get(made)
    if made == "given":
        random = np.random.default_rng(2).random((SHAPE[0], 9, SHAPE[1])).astype(np.float32)
        weights = [normalize_weights(random), uniform_weights(SHAPE)]
    if made in ("patch", "gaussian"):
        weights = predicted(1 if made == "patch" else gpulaf.prediction.Features("gaussian:1"))
    labeler = Labeler(prototypes, weights, rho=0.3, time=1.0, solver=Taylor(tol=1e-2))
    whole = labeler(image, mask=holes())
    tiles = da.from_array(image, chunks=(*CHUNKS, 2))
    equal(label_array(tiles, labeler, mask=holes()), whole)
    equal(label_array(tiles, labeler, mask=da.from_array(holes(), chunks=40)), whole)
    assert (whole.labels[~holes()] == 255).all()


def test_masked_chunks_and_masks_are_joined() -> None:
    image, prototypes = scene()
    labeler, mask = Labeler(prototypes), np.ones(SHAPE, bool)
    mask[:5] = False
    masked = da.ma.masked_invalid(da.from_array(image, chunks=(*CHUNKS, 2)))
    equal(label_array(masked, labeler), labeler(image, mask=holes()))
    equal(label_array(masked, labeler, mask=mask), labeler(image, mask=holes() & mask))


def test_soft_predictions() -> None:
    image, _ = scene()
    soft = np.random.default_rng(3).random((*SHAPE, 3)).astype(np.float32)
    soft /= soft.sum(axis=-1, keepdims=True)
    soft[~holes()] = np.nan
    tiles = da.from_array(soft, chunks=(*CHUNKS, 3))
    plain, edges = Labeler(), Labeler(weights=BilateralWeights())
    equal(refine_array(tiles, plain, mask=holes()), plain.refine(soft, mask=holes()))
    other = da.from_array(image, chunks=(*CHUNKS, 2))
    whole = edges.refine(soft, image=image, mask=holes())
    equal(refine_array(tiles, edges, image=other, mask=holes()), whole)


def test_no_data_beside_many_labels() -> None:
    labeler = Labeler(np.linspace(0, 1, 256), rho=0.01)
    image = np.random.default_rng(4).random(SHAPE)
    found = label_array(da.from_array(image, chunks=CHUNKS), labeler, mask=holes())
    assert found.labels.dtype == np.uint16
    assert (found.labels.compute()[~holes()] == 65535).all()


def test_twelve_bits_in_tiles() -> None:
    image = np.random.default_rng(5).integers(0, 4096, SHAPE).astype(np.uint16)
    labeler = Labeler([1000, 3000], range=(0, 4095))
    equal(label_array(da.from_array(image, chunks=CHUNKS), labeler), labeler(image))


def test_the_halo_of_a_mask_holds_what_weights_are_made_of_twice() -> None:
    labeler = Labeler(weights=BilateralWeights(radius=2))
    assert tile_halo(labeler, masked=True) == tile_halo(labeler) + 2
    assert tile_halo(Labeler(), masked=True) == tile_halo(Labeler())


@pytest.mark.parametrize("mask", [np.ones(SHAPE[::-1], bool), np.ones(SHAPE), [True]])
def test_masks_that_do_not_fit(mask: Any) -> None:
    image = da.zeros(SHAPE, chunks=CHUNKS)
    with pytest.raises(ValueError, match=r"accepted is bool of shape \(70, 85\)"):
        label_array(image, Labeler([0, 1]), mask=mask)


def test_nan_without_a_mask_names_the_tile_and_the_way_out() -> None:
    image, prototypes = scene()
    found = label_array(da.from_array(image, chunks=(*CHUNKS, 2)), Labeler(prototypes))
    with pytest.raises(ValueError, match=r"tile \[.*mask=numpy.isfinite\(image\)"):
        found.labels.compute(scheduler="synchronous")


def test_channels_first_are_asked_about() -> None:
    with pytest.raises(ValueError, match=r"3 channels on the first axis\. Pass channel_axis=0; of an image of 3 rows"):
        label_array(da.zeros((3, 40, 50), chunks=20), Labeler([0, 1]))


def test_prototypes_are_sampled_where_there_are_data(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    image = np.full((1500, 1400), -9999, np.float32)
    image[700:900, 300:500] = np.random.default_rng(0).choice([0.2, 0.8], (200, 200)).astype(np.float32)
    options = {"extratags": [(42113, "s", 0, "-9999", True)], "tile": (128, 128)}
    tifffile.imwrite(tmp_path / "rare.tif", image, **options)
    source = gpulaf.tiling.open_source(tmp_path / "rare.tif")
    found = gpulaf.tiling.sample_prototypes(source, 2)
    np.testing.assert_allclose(np.sort(found, axis=0), [[0.2], [0.8]], rtol=1e-6)
    done = gpulaf.label_file(source, tmp_path / "labels.tif", Labeler(2), tiling=gpulaf.tiling.Tiling(side=512))
    labels = tifffile.imread(tmp_path / "labels.tif")
    np.testing.assert_array_equal(labels == done.nodata, image == -9999)
    tifffile.imwrite(tmp_path / "none.tif", np.full((80, 90), -9999, np.float32), **options)
    with pytest.raises(ValueError, match="has no pixel with data"):
        gpulaf.label_file(tmp_path / "none.tif", tmp_path / "none.zarr", Labeler(2))


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("missing", [True, False])
def test_a_value_for_no_data_is_written_where_there_is_none(
    tmp_path: Path, dtype: Any, declared: bool, missing: bool
) -> None:
    """As in memory: not because the type of the image could hold NaN."""
    image = np.random.default_rng(0).integers(0, 200, (200, 150)).astype(dtype)
    if missing:
        image[150:, 90] = -1 if declared else np.nan if dtype == np.float32 else 7
    lacking = missing and (declared or dtype == np.float32)
    tags = [(42113, "s", 0, "-1", True)] if declared else []
    tifffile, zarr = pytest.importorskip("tifffile"), pytest.importorskip("zarr")
    tifffile.imwrite(tmp_path / "in.tif", image, tile=(64, 64), extratags=tags)
    labeler = Labeler([20.0, 160.0], range=(0, 255))
    for name in ("o.tif", "o.zarr", "o.ome.zarr"):
        done = gpulaf.label_file(
            tmp_path / "in.tif", tmp_path / name, labeler, tiling=gpulaf.tiling.Tiling(side=64), nodata=9
        )
        assert done.nodata == (9 if lacking else None)
        found = gpulaf.tiling.open_source(tmp_path / name)
        attributes = zarr.open(tmp_path / name).attrs if name.endswith("zarr") else {"_FillValue": found.place.nodata}
        assert attributes.get("_FillValue") == done.nodata
        labels, valid = found.read(np.s_[:, :])
        assert (labels == 9).sum() == 50 * lacking
        assert (valid is None) == (not lacking or name == "o.ome.zarr")


def test_values_of_a_file_are_looked_at_before_its_tiles(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 1000, (600, 500)).astype(np.uint16)
    np.save(tmp_path / "image.npy", image)
    with pytest.warns(gpulaf.DataWarning, match=r"Pass range=\(0, 1023\)"):
        gpulaf.label_file(tmp_path / "image.npy", tmp_path / "labels.tif", Labeler([200, 800]))
    labeler = Labeler([200, 800], range=(0, 1023))
    gpulaf.label_file(tmp_path / "image.npy", tmp_path / "ranged.tif", labeler)
    tifffile = pytest.importorskip("tifffile")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "ranged.tif"), labeler(image).labels)
