"""Volumes in tiles, from file to file: bit for bit the whole volume's, with masks, spacing and predicted weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from examples import cells

import gpulaf
from gpulaf import Labeler, Taylor, WeightNetwork, WeightPredictor
from gpulaf.averaging import BilateralWeights
from gpulaf.io import read_record, write_array
from gpulaf.io.place import Place
from gpulaf.tiling import (
    Tiling,
    label_array,
    label_file,
    open_image,
    open_source,
    refine_array,
    refine_file,
    sample_prototypes,
)

zarr = pytest.importorskip("zarr", reason="tiles need zarr")
pytestmark = pytest.mark.usefixtures("without_cupy")

SPACING = (2.0, 1.0, 1.0)
TILING = Tiling(side=16, progress=False)
SHORT: dict[str, Any] = {"rho": 0.3, "time": 1.0, "solver": Taylor(degree=3)}
PROTOTYPES = [[0.0], [0.5], [1.0]]


def stored(path: Path) -> np.ndarray:
    if path.suffix == ".tif":
        return tifffile.imread(path)
    return zarr.open(path / "0" if path.name.endswith(".ome.zarr") else path, mode="r")[:]


def network(volume: np.ndarray, truth: np.ndarray) -> Any:
    given = {"hidden": (6,), "n_layers": 2, "time": 1.0, "solver": Taylor(degree=3), "spacing": SPACING}
    features = "patch:1+gaussian:0.7+affinity:0.7"
    return WeightNetwork.of_volumes(features=features, **given).set_params(training__steps=2)


def prototypes(volume: np.ndarray, truth: np.ndarray) -> Any:
    given = {"features": "patch:1+gaussian:0.7", "time": 1.0, "solver": Taylor(degree=3), "spacing": SPACING}
    return WeightPredictor(6, **given).set_params(training__steps=2)


@pytest.fixture(scope="module")
def volume() -> tuple[np.ndarray, np.ndarray]:
    return cells(0, (20, 35, 33))


@pytest.mark.parametrize("name", ["o.tif", "o.zarr", "o.ome.zarr"])
@pytest.mark.parametrize(
    ("options", "spacing"),
    [({}, SPACING), ({"weights": BilateralWeights(0.3, spacing=SPACING)}, None), ({"prototypes": 3}, SPACING)],
    ids=["uniform", "bilateral", "k-means"],
)
def test_tiles_are_the_whole_volume(
    volume: Any, options: dict[str, Any], spacing: Any, name: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "v.npy", volume[0])
    labeler = Labeler(**{"prototypes": PROTOTYPES} | SHORT | options)
    done = label_file(
        tmp_path / "v.npy", tmp_path / name, labeler, probabilities=tmp_path / "p.zarr", spacing=spacing, tiling=TILING
    )
    whole = labeler(volume[0], channel_axis=None, spacing=spacing)
    assert done.shape == volume[0].shape
    assert done.tiles == 2 * 3 * 3
    np.testing.assert_array_equal(stored(tmp_path / name), whole.labels)
    np.testing.assert_array_equal(stored(tmp_path / "p.zarr"), whole.probabilities)
    np.testing.assert_array_equal(done.table.pixels, np.bincount(whole.labels.ravel(), minlength=3))


@pytest.mark.parametrize("make", [network, prototypes])
@pytest.mark.parametrize("masked", [False, True])
def test_tiles_with_predicted_weights(volume: Any, make: Callable[..., Any], masked: bool, tmp_path: Path) -> None:
    """The model alone says that the file is a volume; NaN is no data."""
    values, truth = volume[0].copy(), volume[1]
    model = make(values, truth).fit([values], [truth], progress=False)
    if masked:
        values[np.random.default_rng(0).random(values.shape) < 0.05] = np.nan
        values[5:14, 10:30, 12:20] = np.nan
    np.save(tmp_path / "v.npy", values)
    given = {"probabilities": tmp_path / "p.zarr", "tiling": TILING}
    label_file(tmp_path / "v.npy", tmp_path / "o.tif", model.labeler(), **given)
    whole = model.label(values, mask=np.isfinite(values))
    np.testing.assert_array_equal(stored(tmp_path / "p.zarr"), whole.probabilities)
    valid = np.isfinite(values)
    np.testing.assert_array_equal(stored(tmp_path / "o.tif")[valid], whole.labels[valid])
    assert (stored(tmp_path / "o.tif")[~valid] == 255).all()


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("axes", [2, 3])
def test_predictions_in_tiles(axes: int, logits: bool, tmp_path: Path) -> None:
    rng, shape = np.random.default_rng(0), (20, 35, 33)[-axes:]
    soft = rng.standard_normal((*shape, 3)) if logits else rng.dirichlet(np.ones(3), shape)
    soft = soft.astype(np.float32)
    np.save(tmp_path / "s.npy", soft)
    labeler, spacing = Labeler(**SHORT | {"rho": 0.8}), SPACING[-axes:] if axes == 3 else None
    done = refine_file(
        tmp_path / "s.npy", tmp_path / "o.zarr", labeler, logits=logits, probabilities=tmp_path / "p.zarr",
        values=[7, 8, 300], spacing=spacing, tiling=TILING,
    )  # fmt: skip
    refine = labeler.refine_logits if logits else labeler.refine
    whole = refine(soft, spacing=spacing)
    assert done.tiles == np.prod([-(-n // 16) for n in shape])
    np.testing.assert_array_equal(stored(tmp_path / "o.zarr"), np.array([7, 8, 300])[whole.labels])
    np.testing.assert_array_equal(stored(tmp_path / "p.zarr"), whole.probabilities)


def test_predictions_with_weights_of_an_image_in_tiles(volume: Any, tmp_path: Path) -> None:
    values, truth = volume
    soft = gpulaf.label(values, PROTOTYPES, channel_axis=None, spacing=SPACING).probabilities
    model = network(values, truth).fit([values], [truth], probabilities=[soft], progress=False)
    np.save(tmp_path / "v.npy", values)
    np.save(tmp_path / "s.npy", soft)
    files = tmp_path / "s.npy", tmp_path / "o.tif", model.labeler()
    with pytest.raises(ValueError, match=r"there is no image to make them from\. Pass image"):
        refine_file(*files, tiling=TILING)
    np.save(tmp_path / "small.npy", values[:10])
    with pytest.raises(ValueError, match=r"the image has \(10, 35, 33\) pixels and the predictions \(20, 35, 33\)"):
        refine_file(*files, image=tmp_path / "small.npy", tiling=TILING)
    refine_file(*files, image=tmp_path / "v.npy", tiling=TILING)
    np.testing.assert_array_equal(stored(tmp_path / "o.tif"), model.refine(values, soft).labels)


def test_labels_of_tiles_lie_where_the_volume_lies(volume: Any, tmp_path: Path) -> None:
    place = Place(scale=(2.0, 0.5, 0.5), unit="micrometer", translation=(1.0, 2.0, 3.0), flavor="ome")
    write_array(tmp_path / "v.ome.tif", volume[0], volume=True, place=place)
    for name in ("o.ome.tif", "o.ome.zarr", "o.zarr"):
        labeler = Labeler(PROTOTYPES, **SHORT)
        label_file(tmp_path / "v.ome.tif", tmp_path / name, labeler, spacing=SPACING, tiling=TILING)
        found = read_record(tmp_path / name, volume=True).place
        assert (found.scale, found.unit, found.translation) == (place.scale, place.unit, place.translation)
    levels = zarr.open_group(tmp_path / "o.ome.zarr", mode="r")
    whole = levels["0"][:]
    assert "1" in levels
    np.testing.assert_array_equal(levels["1"][:], whole[::2, ::2, ::2])


def test_a_stopped_run_goes_on(volume: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed tiles are told by planes, rows and columns; the next run does those alone and ends in the same bytes."""
    from gpulaf.tiling import source

    np.save(tmp_path / "v.npy", volume[0])
    labeler, read = Labeler(PROTOTYPES, **SHORT), source.Source.read

    def torn(self: Any, window: Any) -> Any:
        if window[0].start > 0 and window[2].start == 0:
            raise OSError("a torn chunk.")
        return read(self, window)

    monkeypatch.setattr(source.Source, "read", torn)
    with pytest.raises(RuntimeError, match="3 of 18 tiles failed: planes 16:20, rows 0:16, columns 0:16: a torn"):
        label_file(tmp_path / "v.npy", tmp_path / "o.zarr", labeler, spacing=SPACING, tiling=TILING)
    monkeypatch.setattr(source.Source, "read", read)
    with pytest.raises(FileExistsError, match=r"spacing \[2.0, 1.0, 1.0\] and not \[3.0, 1.0, 1.0\]"):
        label_file(tmp_path / "v.npy", tmp_path / "o.zarr", labeler, spacing=(3.0, 1.0, 1.0), tiling=TILING)
    done = label_file(tmp_path / "v.npy", tmp_path / "o.zarr", labeler, spacing=SPACING, tiling=TILING)
    assert (done.tiles, done.kept) == (18, 15)
    whole = labeler(volume[0], channel_axis=None, spacing=SPACING).labels
    np.testing.assert_array_equal(stored(tmp_path / "o.zarr"), whole)


def test_large_volumes_are_sampled_as_in_memory(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((60, 150, 160)).astype(np.float32)  # more than a million voxels
    values[3, :, 2:70] = np.nan
    np.save(tmp_path / "v.npy", values)
    source = open_source(tmp_path / "v.npy", volume=True)
    found = sample_prototypes(source, 2)
    labeler = Labeler(2, time=0.1, solver=Taylor(degree=1))
    whole = labeler(values, channel_axis=None, mask=np.isfinite(values))
    np.testing.assert_allclose(np.ravel(found), np.ravel(whole.prototypes), rtol=1e-11)


def test_a_volume_opens_as_a_dask_array(volume: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.stack([volume[0]] * 2, axis=-1))
    array = open_image(tmp_path / "v.npy", volume=True, tile=16)
    assert array.shape == (20, 35, 33, 2)
    np.testing.assert_array_equal(array[3:7, 10:20, ::2, 1].compute(), volume[0][3:7, 10:20, ::2])
    np.save(tmp_path / "image.npy", volume[0][0])
    np.testing.assert_array_equal(open_image(tmp_path / "image.npy")[1::3, ::2].compute(), volume[0][0, 1::3, ::2])


@pytest.mark.parametrize("side", [16, 64])
def test_the_largest_tile_of_a_volume(side: int) -> None:
    """The memory that a cube takes is what its estimate says, and one of 16 more takes more."""
    from gpulaf.tiling import largest_tile

    labeler = Labeler(**SHORT)
    sizes = [largest_tile(memory, labeler, 3, axes=3) for memory in (4e7, 4e8)]
    assert sizes[0] < sizes[1]
    assert all(size % 16 == 0 for size in sizes)
    with pytest.raises(ValueError, match="a tile of 16×16×16 pixels with a halo of 3 takes"):
        largest_tile(1e4, labeler, 3, axes=3)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weights", [None, "bilateral", "given", "network"])
def test_dask_arrays_of_volumes(volume: Any, weights: str | None, masked: bool) -> None:
    da = pytest.importorskip("dask.array", reason="tiles need Dask")
    values, truth = volume
    mask = np.random.default_rng(0).random(values.shape) < 0.9 if masked else None
    labeler, spacing = Labeler(PROTOTYPES, **SHORT), SPACING if weights is None else None
    if weights == "network":
        labeler = network(values, truth).fit([values], [truth], progress=False).labeler()
    elif weights is not None:
        given = BilateralWeights(0.3, spacing=SPACING)
        patches = given(values[..., None].astype(np.float32)) if weights == "given" else given
        labeler = Labeler(PROTOTYPES, patches, **SHORT)
    array = da.from_array(values, chunks=(8, 16, 17))
    found = label_array(array, labeler, channel_axis=None, mask=mask, spacing=spacing)
    whole = labeler(values, channel_axis=None, mask=mask, spacing=spacing)
    labels, probabilities = da.compute(found.labels, found.probabilities, scheduler="synchronous")
    np.testing.assert_array_equal(labels, whole.labels)
    np.testing.assert_array_equal(probabilities, whole.probabilities)


def test_dask_arrays_of_predictions_of_volumes(volume: Any) -> None:
    da = pytest.importorskip("dask.array", reason="tiles need Dask")
    soft = np.random.default_rng(0).dirichlet(np.ones(3), volume[0].shape).astype(np.float32)
    array, labeler = da.from_array(soft, chunks=(8, 16, 17, 3)), Labeler(**SHORT)
    found = refine_array(array, labeler, spacing=SPACING).probabilities.compute(scheduler="synchronous")
    np.testing.assert_array_equal(found, labeler.refine(soft, spacing=SPACING).probabilities)
    with pytest.raises(ValueError, match=r"spacing is \(1, 2\), and there are 3 spatial axes"):
        refine_array(array, labeler, spacing=(1, 2))
    soft[0, 0, 0] = np.nan
    bad = da.from_array(soft, chunks=(8, 16, 17, 3))
    with pytest.raises(ValueError, match=r"tile \[0:8, 0:16, 0:17\], with its halo \[0:11, 0:19, 0:20\]"):
        refine_array(bad, labeler).labels.compute(scheduler="synchronous")
