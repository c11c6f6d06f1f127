"""Prototypes by k-means are those of the image, wherever it is stored and however it is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

import gpulaf
from gpulaf import Labeler
from gpulaf.averaging import BilateralWeights
from gpulaf.backend.validation import image_features
from gpulaf.labeling import kmeans_prototypes
from gpulaf.labeling.prototypes import prototype_array
from gpulaf.tiling import Tiling, label_array, label_file, open_image, open_source, sample_prototypes
from gpulaf.tiling.source import Source

SHAPE = (1100, 1000)


def image_of(channels: int, dtype: Any) -> np.ndarray:
    """Noise over a gradient: any other sample has other centres."""
    rng = np.random.default_rng(3)
    smooth = np.add.outer(np.linspace(0, 1, SHAPE[0]), np.linspace(0, 1, SHAPE[1]))[..., None] / 3
    values = smooth + rng.random((*SHAPE, channels)) / 3
    return (values if dtype == np.float32 else 255 * values).astype(dtype).squeeze()


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint8), (1, np.float32)])
def test_prototypes_of_files_and_chunks_are_those_in_memory(tmp_path: Path, channels: int, dtype: Any) -> None:
    image = image_of(channels, dtype)
    pixels = image_features(image)
    expected = prototype_array(4, pixels.features, pixels.range)
    clusters = kmeans_prototypes(pixels.features, 4)
    np.testing.assert_allclose(expected, clusters, rtol=1e-11)
    tifffile.imwrite(tmp_path / "tiles.tif", image, tile=(128, 128), compression="zlib")
    tifffile.imwrite(tmp_path / "rows.tif", image)
    np.save(tmp_path / "plain.npy", image)
    chunks = (300, 450, 3)[: image.ndim]
    zarr.create_array(tmp_path / "a.zarr", data=image, chunks=chunks, dimension_names=("y", "x", "c")[: image.ndim])
    for name in ("tiles.tif", "rows.tif", "plain.npy", "a.zarr"):
        np.testing.assert_array_equal(sample_prototypes(open_source(tmp_path / name), 4), expected)
    whole = gpulaf.label(image, 4)
    np.testing.assert_array_equal(whole.labels, gpulaf.label(image, whole.prototypes).labels)
    for lazy in (da.from_array(image, chunks=chunks), open_image(tmp_path / "tiles.tif", tile=512)):
        found = label_array(lazy, Labeler(4)).labels
        np.testing.assert_array_equal(found.compute(scheduler="synchronous"), whole.labels)


@pytest.mark.parametrize("side", [64, 400, 4096])
def test_labels_of_a_file_by_a_number_are_those_in_memory(tmp_path: Path, side: int) -> None:
    image = image_of(1, np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", image, tile=(256, 256))
    labeler = Labeler(4, BilateralWeights() if side == 400 else None)
    for output, options in (("o.tif", {}), ("p.tif", {"memory": 10**9})):
        label_file(tmp_path / "in.tif", tmp_path / output, labeler, tiling=Tiling(side=side, **options))
        np.testing.assert_array_equal(tifffile.imread(tmp_path / output), labeler(image).labels)


@pytest.mark.parametrize("share", [0.3, 1e-4])
def test_masks_and_nan_in_files_leave_the_pixels_that_they_leave_in_memory(tmp_path: Path, share: float) -> None:
    image = image_of(1, np.float32)
    mask = np.random.default_rng(0).random(SHAPE) < share
    expected = gpulaf.label(image, 3, mask=mask)
    missing = np.where(mask, image, np.float32(np.nan))
    tifffile.imwrite(tmp_path / "in.tif", missing, tile=(128, 128))
    label_file(tmp_path / "in.tif", tmp_path / "o.tif", Labeler(3), tiling=Tiling(side=256))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "o.tif"), expected.labels)
    lazy = da.from_array(missing, chunks=500)
    found = label_array(lazy, Labeler(3), mask=da.from_array(mask, chunks=300))
    np.testing.assert_array_equal(found.labels.compute(scheduler="synchronous"), expected.labels)


def test_given_prototypes_are_compared_with_the_sample(tmp_path: Path) -> None:
    """Of an image whose values only here and there tell that its range is another one."""
    image = np.zeros(SHAPE, np.float32)
    image[::40] = 200
    tifffile.imwrite(tmp_path / "in.tif", image, tile=(64, 64))
    for run in (
        lambda: gpulaf.label(image, [0.1, 0.9]),
        lambda: label_file(tmp_path / "in.tif", tmp_path / "o.tif", Labeler([0.1, 0.9])),
    ):
        with pytest.warns(gpulaf.DataWarning, match="the image holds values from 0 to 200"):
            run()


def test_a_sample_reads_few_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr.create_array(tmp_path / "in.zarr", shape=(10**5, 10**5), chunks=(1024, 1024), dtype="u1")
    source, read = open_source(tmp_path / "in.zarr"), 0

    def counted(self: Source, window: tuple[slice, ...]) -> Any:
        nonlocal read
        sizes = [s.stop - s.start for s in window]
        read += int(np.prod(sizes))
        return np.random.default_rng(0).random(sizes).astype(np.float32), None

    monkeypatch.setattr(Source, "read", counted)
    sample_prototypes(source, 2)
    assert read == 256 * 64**2
