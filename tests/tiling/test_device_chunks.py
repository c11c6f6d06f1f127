"""Dask arrays whose chunks live on a GPU: labels and probabilities stay there and are those of the whole image.

Bit for bit, but for predicted weights: products of matrices may sum in another order for another size.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

import gpulaf
from gpulaf import Euler, Labeler, Taylor, WeightPredictor
from gpulaf.averaging import BilateralWeights
from gpulaf.backend.array import gpu_missing, host_array, is_device_array
from gpulaf.prediction import Training
from gpulaf.tiling import label_array, refine_array

pytestmark = pytest.mark.skipif(gpu_missing() is not None, reason=str(gpu_missing()))

SCENE = gpulaf.scenes.voronoi_colors(48, noise=0.3)
CHUNKS = (19, 23, 3)


def put(x: Any) -> Any:
    import cupy

    return cupy.asarray(x)


def lazy(x: np.ndarray, chunks: Any) -> Any:
    """The chunks of a host array, brought to the GPU one by one."""
    return da.from_array(x, chunks=chunks).map_blocks(put, dtype=x.dtype, meta=put(np.empty((0,) * x.ndim, x.dtype)))


def same(result: Any, whole: Any, scheduler: str = "synchronous", accuracy: float = 0) -> None:
    with dask.config.set(scheduler=scheduler):
        arrays = dask.compute(*result)
    for told, array, expected in zip(result, arrays, whole[:2], strict=True):
        assert is_device_array(array)
        assert is_device_array(expected)
        assert is_device_array(told._meta)
        assert array.dtype == expected.dtype == told.dtype
        assert array.shape == expected.shape == told.shape
        np.testing.assert_allclose(host_array(array), host_array(expected), rtol=0, atol=accuracy)


def pixelwise(radius: int, dtype: Any) -> np.ndarray:
    rng = np.random.default_rng(radius)
    return gpulaf.averaging.normalize_weights(rng.random((48, (2 * radius + 1) ** 2, 48)).astype(dtype))


@pytest.mark.parametrize("kind", ["uniform", "bilateral", "5×5", "layers"])
def test_tiles_are_the_whole_image(kind: str, dtype: Any) -> None:
    image = SCENE.image.astype(dtype)
    options: dict[str, Any] = {"time": [1.0, 3.0], "solver": Taylor(3)} if kind == "layers" else {"time": 3.0}
    source = BilateralWeights(0.3) if kind == "bilateral" else None
    weights = source and put(source(image))
    given: Any = source
    if kind == "5×5":
        weights = put(pixelwise(2, dtype))
        given = lazy(host_array(weights), (20, -1, 17))
    if kind == "layers":
        weights = [put(pixelwise(1, dtype)), put(pixelwise(2, dtype))]
        given = [lazy(host_array(x), (20, -1, 17)) for x in weights]
    result = label_array(lazy(image, CHUNKS), Labeler(SCENE.prototypes, given, **options))
    assert min(result.labels.numblocks) > 1
    same(result, gpulaf.label(put(image), SCENE.prototypes, weights=weights, **options))


def test_bytes_arrays_of_the_device_and_threads() -> None:
    image = (255 * SCENE.image.clip(0, 1)).astype(np.uint8)
    labeler = Labeler(put(255 * SCENE.prototypes), solver=Euler(5))
    chunks = da.from_array(put(image), chunks=CHUNKS, asarray=False)
    same(label_array(chunks, labeler), labeler(put(image)))
    same(label_array(lazy(image, CHUNKS), labeler), labeler(put(image)), scheduler="threads")


def test_tiles_of_predictions_are_the_whole_image(dtype: Any) -> None:
    image = SCENE.image.astype(dtype)
    soft = np.random.default_rng(0).dirichlet(np.ones(4), image.shape[:2]).astype(dtype)
    source = BilateralWeights(0.2)
    result = refine_array(lazy(soft, (19, 23, 2)), Labeler(weights=source, rho=0.5), image=lazy(image, (48, 10, 1)))
    same(result, gpulaf.refine(put(soft), weights=put(source(image)), rho=0.5))


@pytest.mark.parametrize(
    "features", [1, partial(gpulaf.prediction.gaussian_features, scales=(0.7, 1.5))], ids=["patch", "gaussian"]
)
def test_predicted_weights(features: Any) -> None:
    scene = gpulaf.scenes.voronoi_lines(48, sites=9)
    predictor = WeightPredictor(9, features=features, time=2.0, training=Training(steps=2))
    predictor.fit([scene.image], [scene.truth], progress=False)
    image = scene.image.astype(np.float32)
    result = label_array(lazy(image, (27, 31, 1)), predictor.labeler())
    assert result.labels.numblocks == (2, 2)
    same(result, predictor.label(put(image)), accuracy=1e-5)


def test_a_tile_that_fails_names_itself() -> None:
    image = SCENE.image.copy()
    image[40, 5] = np.nan  # in the halo of the tile above, too
    result = label_array(lazy(image, CHUNKS), Labeler(SCENE.prototypes))
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(ValueError, match=r"tile \[(19:38|38:48), 0:23\], with its halo \[\d+:4\d, 0:\d+\]: .*NaN or in"),
    ):
        result.labels.compute()
