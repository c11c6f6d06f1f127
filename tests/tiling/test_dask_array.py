"""Tiles against the whole image, bit for bit; against the dense exponential; refusals name the tile and the reason."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import dask
import dask.array as da
import distributed
import numpy as np
import oracles
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import dense_probabilities, distances, patches, relative

import gpulaf
from gpulaf import Euler, Krylov, Labeler, Labeling, Taylor, WeightPredictor
from gpulaf.averaging import BilateralWeights, nearest_neighbor_graph
from gpulaf.backend.memory import largest_multiple
from gpulaf.backend.validation import first_is_short, image_features
from gpulaf.fields import to_rows
from gpulaf.prediction import Features, Training
from gpulaf.tiling import label_array, largest_tile, refine_array, tile_halo
from gpulaf.tiling.dask_array import label_tiles

SHARP = np.float32(0.3)
FEW = Training(steps=2)


def computed(result: Any, scheduler: str = "synchronous") -> tuple[np.ndarray, np.ndarray]:
    with dask.config.set(scheduler=scheduler):
        return dask.compute(*result)


def same_bits(result: Any, whole: Labeling) -> None:
    """Labels and probabilities, their dtypes and what Dask knew of them."""
    for lazy, array, expected in zip(result, computed(result), whole[:2], strict=True):
        assert array.dtype == expected.dtype == lazy.dtype
        assert array.shape == expected.shape == lazy.shape
        assert type(lazy._meta) is np.ndarray
        assert np.array_equal(array, expected), f"{np.sum(array != expected)} of {array.size} differ"


@st.composite
def chunk_sizes(draw: Any, length: int) -> tuple[int, ...]:
    """Regular tiles with a remainder, or tiles of any sizes."""
    if draw(st.booleans()):
        side = draw(st.integers(1, length))
        return (side,) * (length // side) + ((length % side,) if length % side else ())
    cuts = sorted(draw(st.sets(st.integers(1, length - 1), max_size=6))) if length > 1 else []
    return tuple(int(n) for n in np.diff([0, *cuts, length]))


@st.composite
def tiled_images(draw: Any) -> tuple[np.ndarray, Any, np.random.Generator]:
    """A random image, (H, W) or (H, W, C), and its Dask array."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    channels = draw(st.sampled_from([0, 1, 3, 4, 9, 17]))
    dtype = draw(st.sampled_from(["float32", "float64", "uint8", "uint16"]))
    image = rng.random((*shape, channels) if channels else shape)
    image = (np.iinfo(dtype).max * image).astype(dtype) if dtype[0] == "u" else image.astype(dtype)
    chunks = tuple(draw(chunk_sizes(n)) for n in shape) + ((draw(st.integers(1, channels)),) if channels else ())
    return image, da.from_array(image, chunks=chunks), rng


def prototypes_of(image: np.ndarray, labels: int, rng: np.random.Generator) -> np.ndarray:
    top = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    return top * rng.random((labels, image.shape[2] if image.ndim == 3 else 1))


def box_weights(features: np.ndarray, look: int) -> np.ndarray:
    """5×5 patches (H, 25, W) that depend on the mean over a (2·look+1)² window, in the order of its offsets."""
    grey = np.asarray(features[..., 0], np.float64)
    padded = np.pad(grey, look)
    mean = np.zeros_like(grey)
    for y in range(2 * look + 1):
        for x in range(2 * look + 1):
            mean = mean + padded[y : y + grey.shape[0], x : x + grey.shape[1]]
    o = np.arange(25.0)[:, None]
    return gpulaf.averaging.normalize_weights(1.5 + np.sin(3 * mean[:, None] + o))


class Box:
    radius: Any = 2

    def __init__(self, reach: Any) -> None:
        self.reach = reach

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return box_weights(features, self.reach)

    def workspace(self, channels: int) -> int:
        return 0


class Flat(Box):
    radius = 0


def of_image(weights: Any, image: np.ndarray) -> Any:
    """The weights of this image, where they are made from it."""
    return weights(image_features(image)[0]) if callable(weights) else weights


# --- bit for bit ----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::gpulaf.DataWarning")
@settings(deadline=None, max_examples=100)
@given(
    tiled=tiled_images(), labels=st.integers(2, 9), degree=st.integers(1, 9), substeps=st.integers(1, 2),
    kind=st.sampled_from(["uniform", "bilateral", "bilateral 5×5", "pixelwise", "pixelwise 5×5", "own"]),
    rho=st.sampled_from([0.1, 0.03]), time=st.sampled_from([1.0, 3.0, 8.0]),
)  # fmt: skip
def test_tiles_are_the_whole_image(
    tiled: Any, labels: int, degree: int, substeps: int, kind: str, rho: float, time: float
) -> None:
    image, lazy, rng = tiled
    assume(image.ndim == 2 or not first_is_short(image.shape))  # what looks like channels first is asked about
    prototypes, weights = prototypes_of(image, labels, rng), None
    if kind.startswith("bilateral"):
        weights = BilateralWeights(float(SHARP), 2 if "5" in kind else 1)
    elif kind.startswith("pixelwise"):
        count = 25 if "5" in kind else 9
        raw = rng.random((image.shape[0], count, image.shape[1])).astype(rng.choice(["f4", "f8"]))
        weights = gpulaf.averaging.normalize_weights(raw)
    elif kind == "own":
        weights = Box(int(rng.integers(0, 5)))
    options: dict[str, Any] = {"rho": rho, "time": time, "solver": Taylor(degree, substeps=substeps)}
    whole = gpulaf.label(image, prototypes, weights=of_image(weights, image), **options)
    same_bits(label_array(lazy, Labeler(prototypes, weights, **options)), whole)


@settings(deadline=None, max_examples=40)
@given(
    tiled=tiled_images(), labels=st.integers(2, 9), tol=st.sampled_from([1e-2, 1e-4]),
    kind=st.sampled_from(["uniform", "bilateral", "pixelwise"]), rho=st.sampled_from([1.0, 0.4]),
    time=st.sampled_from([1.0, 6.0]), dtype=st.sampled_from(["float32", "float64"]),
)  # fmt: skip
def test_tiles_of_predictions_are_the_whole_image(
    tiled: Any, labels: int, tol: float, kind: str, rho: float, time: float, dtype: str
) -> None:
    image, lazy, rng = tiled
    assume(not first_is_short((*image.shape[:2], labels)) and (image.ndim == 2 or not first_is_short(image.shape)))
    probabilities = rng.random((*image.shape[:2], labels)) ** 3 + 1e-6
    probabilities = (probabilities / probabilities.sum(axis=-1, keepdims=True)).astype(dtype)
    soft = da.from_array(probabilities, chunks=(*lazy.chunks[:2], 1))
    weights: Any = BilateralWeights(0.2) if kind == "bilateral" else None
    given_weights = of_image(weights, image)
    if kind == "pixelwise":
        given_weights = gpulaf.averaging.normalize_weights(rng.random((image.shape[0], 9, image.shape[1])))
        weights = da.from_array(given_weights, chunks=(17, 4, 23))
    options: dict[str, Any] = {"rho": rho, "time": time, "solver": Taylor(tol=tol)}
    whole = gpulaf.refine(probabilities, weights=given_weights, **options)
    same_bits(refine_array(soft, Labeler(weights=weights, **options), image=lazy), whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_default_arguments_give_the_whole_image(dtype: Any) -> None:
    scene = gpulaf.scenes.voronoi_colors(70, noise=0.3)
    image, chunks = scene.image.astype(dtype), (19, 23, 3)
    result = label_array(da.from_array(image, chunks=chunks), Labeler(scene.prototypes))
    assert result.labels.numblocks == (4, 3)
    same_bits(result, gpulaf.label(image, scene.prototypes))
    soft = np.random.default_rng(0).dirichlet(np.ones(3), image.shape[:2]).astype(dtype)
    same_bits(refine_array(da.from_array(soft, chunks=chunks), Labeler(rho=1.0)), gpulaf.refine(soft))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", [Taylor(), Taylor(tol=1e-7), Taylor(4), Taylor(substeps=3), Euler(7)], ids=str)
@pytest.mark.parametrize("time", [3.0, 11.0])
def test_every_plan_is_the_same_everywhere(dtype: Any, solver: Any, time: float) -> None:
    scene = gpulaf.scenes.voronoi_colors(70, noise=0.3)
    image = scene.image.astype(dtype)
    labeler = Labeler(scene.prototypes, time=time, solver=solver)
    whole = gpulaf.label(image, scene.prototypes, time=time, solver=solver)
    same_bits(label_array(da.from_array(image, chunks=(19, 23, 3)), labeler), whole)


def test_stretches_of_the_kernels_and_tiles_wider_than_them() -> None:
    rng = np.random.default_rng(0)
    image, prototypes = rng.random((9, 4300)).astype(np.float32), [0.2, 0.5, 0.9]
    solver, weights = Taylor(3, substeps=1), BilateralWeights()
    whole = gpulaf.label(image, prototypes, solver=solver, weights=of_image(weights, image))
    for width in (700, 2096, 2101):
        lazy = da.from_array(image, chunks=(9, width))
        same_bits(label_array(lazy, Labeler(prototypes, weights, solver=solver)), whole)


@pytest.mark.parametrize(
    "features", [0, 1, Features("patch:2+gaussian:0.7,1"), partial(gpulaf.prediction.gaussian_features, scales=(1.5,))]
)
def test_predicted_weights(features: Any) -> None:
    scenes = [gpulaf.scenes.voronoi_lines(80, sites=9, seed=seed) for seed in range(3)]
    images, truths = [scene.image for scene in scenes], [scene.truth for scene in scenes]
    predictor = WeightPredictor(9, features=features, time=2.0, training=FEW)
    predictor.fit(images[:2], truths[:2])
    image = (255 * images[2].clip(0, 1)).astype(np.uint8)[..., 0]
    result = label_array(da.from_array(image, chunks=(27, 31)), predictor.labeler())
    assert result.labels.numblocks[0] > 1
    same_bits(result, predictor.label(image))


@pytest.mark.parametrize("shared", [True, False])
def test_predicted_weights_of_layers(shared: bool) -> None:
    scene = gpulaf.scenes.voronoi_lines(80, sites=9)
    predictor = WeightPredictor(9, time=4.0, n_layers=2, shared_layers=shared, solver=Taylor(4), training=FEW)
    predictor.fit([scene.image], [scene.truth])
    result = label_array(da.from_array(scene.image, chunks=(27, 31, 1)), predictor.labeler())
    assert result.labels.numblocks[0] > 1
    same_bits(result, predictor.label(scene.image))


@pytest.mark.parametrize("coupled", [False, True])
def test_weights_in_a_grid_and_with_coupled_labels(coupled: bool) -> None:
    rng = np.random.default_rng(0)
    image, prototypes = rng.random((50, 70)), [0.2, 0.5, 0.9]
    weights = gpulaf.averaging.normalize_weights(rng.random((50, 9, 70)))
    matrix = rng.dirichlet(np.ones(3), 3)
    own = gpulaf.averaging.CoupledLabels(weights, matrix) if coupled else gpulaf.Grid(weights)
    for layers, time in ((own, 3.0), ([own, None, weights], [1.0, 1.0, 0.5])):
        labeler = Labeler(prototypes, layers, time=time)
        same_bits(label_array(da.from_array(image, chunks=30), labeler), labeler(image))
        soft = rng.dirichlet(np.ones(3), (50, 70))
        labeler = replace(labeler, rho=1.0)
        same_bits(refine_array(da.from_array(soft, chunks=(30, 30, 3)), labeler), labeler.refine(soft))


@pytest.mark.parametrize("kind", ["uniform", "bilateral", "shared", "each", "made"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers(kind: str, dtype: Any) -> None:
    """Linearized flows one after the other: the halo adds up."""
    rng, times = np.random.default_rng(0), [1.0, 6.0, 2.0]
    image, prototypes = rng.random((50, 70)).astype(dtype), [0.2, 0.5, 0.9]
    own = [gpulaf.averaging.normalize_weights(rng.random((50, n, 70)).astype(dtype)) for n in (9, 25, 9)]
    weights = {"uniform": None, "bilateral": BilateralWeights(), "shared": own[1], "each": own, "made": Thrice()}[kind]
    labeler = Labeler(prototypes, weights, time=times, solver=Taylor(2))
    assert tile_halo(labeler) == {"uniform": 8, "bilateral": 8, "shared": 16, "each": 16, "made": 8}[kind]
    lazy = da.from_array(image, chunks=25)
    result = label_array(lazy, labeler)
    assert result.labels.numblocks[1] > 1
    options: dict[str, Any] = {"weights": of_image(weights, image), "time": times, "solver": Taylor(2)}
    same_bits(result, gpulaf.label(image, prototypes, **options))
    if kind == "each":  # one time is shared by the layers
        whole = gpulaf.label(image, prototypes, weights=own, time=6.0, solver=Taylor(2))
        same_bits(label_array(lazy, replace(labeler, time=6.0)), whole)
    soft = rng.dirichlet(np.ones(3), (50, 70)).astype(dtype)
    result = refine_array(da.from_array(soft, chunks=(25, 25, 3)), replace(labeler, rho=1.0), image=lazy)
    same_bits(result, gpulaf.refine(soft, **options))


class Thrice(BilateralWeights):
    """Weights of three layers."""

    def __call__(self, features: np.ndarray) -> list[np.ndarray]:
        return [BilateralWeights(sigma)(features) for sigma in (0.1, 0.2, 0.4)]


def test_predicted_weights_for_probabilities() -> None:
    scenes = [gpulaf.scenes.voronoi_lines(60, sites=9, seed=seed) for seed in range(2)]
    soft = [np.stack([1 - s.image[..., 0].clip(0, 1), s.image[..., 0].clip(0, 1)], axis=-1) for s in scenes]
    predictor = WeightPredictor(9, time=2.0, rho=1.0, training=FEW)
    predictor.fit([s.image for s in scenes], [s.truth for s in scenes], probabilities=soft)
    grey = (255 * scenes[0].image[..., 0].clip(0, 1)).astype(np.uint8)
    for image, chunks, predictions in (
        (scenes[0].image, (60, 60, 1), soft[0]),
        (grey, (20, 20), soft[0].astype(float)),
    ):
        lazy = da.from_array(predictions, chunks=((20, 21, 19), (30, 30), 2))
        result = refine_array(lazy, predictor.labeler(), image=da.from_array(image, chunks=chunks))
        same_bits(result, predictor.refine(image, predictions))


# --- the halo -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "time"), [(Taylor(4, substeps=1), 3.0), (Taylor(3, substeps=2), 3.0), (Euler(5), 1.0)]
)
@pytest.mark.parametrize(
    "weights", [BilateralWeights(1.0), BilateralWeights(1.0, 2), Box(3)], ids=["3×3", "5×5", "far"]
)
def test_the_halo_is_what_a_pixel_depends_on_and_no_more(solver: Any, time: float, weights: Any) -> None:
    """A pixel that is changed as far away as the halo changes the result; one farther away does not."""
    labeler = Labeler([0.2, 0.4, 0.9], weights, rho=1.0, time=time, solver=solver)
    halo, centre = tile_halo(labeler), 30
    image = np.random.default_rng(0).random((61, 61))

    def at_centre(changed: int) -> np.ndarray:
        other = image.copy()
        other[:, : centre - changed + 1] += 5  # the columns from this distance on
        return labeler(other).probabilities[centre, centre]

    plain = labeler(image).probabilities[centre, centre]
    assert (at_centre(halo) != plain).any()
    assert np.array_equal(at_centre(halo + 1), plain)


def test_too_small_a_halo_shows() -> None:
    scene = gpulaf.scenes.voronoi_colors(64, noise=0.3)
    labeler, image = Labeler(scene.prototypes, solver=Taylor(4, substeps=1)), scene.image.astype(float)
    lazy = da.from_array(image, chunks=(16, 16, 3))

    def solve(cuts: Any, mask: Any, tile: Any) -> Labeling:
        return labeler(tile)

    same_bits(label_tiles(solve, [lazy], 8, 4), labeler(image))
    with pytest.raises(AssertionError, match="differ"):
        same_bits(label_tiles(solve, [lazy], 8, 3), labeler(image))


def test_halo_adds_up_steps_patches_and_what_weights_look_at() -> None:
    seven = Taylor(7, substeps=1)
    for halo, options in (
        (7, {"solver": seven}),
        (14, {"solver": Taylor(7, substeps=2)}),
        (14, {"solver": seven, "weights": gpulaf.uniform_weights((9, 9), 2)}),
        (6 * 2 + 5, {"solver": seven, "weights": Box(5)}),
        (100, {"solver": Euler(100)}),
        (200, {"solver": Euler(100), "time": [1.0, 3.0]}),
    ):
        assert tile_halo(Labeler(**options)) == halo
    scene = gpulaf.scenes.voronoi_lines(24, sites=3)
    for look, features in ((8, Features("patch:2+gaussian:1,2")), (3, 3)):
        predictor = WeightPredictor(3, features=features, solver=seven, training=FEW)
        predictor.fit([scene.image], [scene.truth])
        assert tile_halo(predictor.labeler()) == 6 + look
    for time in (1.0, 3.0, 5.5, 30.0):
        substeps, degree, bound = Taylor().plan(time)
        assert tile_halo(Labeler(time=time)) == substeps * degree
        assert bound <= 1e-4


def test_plans_hold_the_tolerance_and_repeat_on_any_image() -> None:
    scenes = [gpulaf.scenes.voronoi_colors(24, noise=noise, seed=3) for noise in (0.01, 0.6)]
    for time in (3.0, 9.0):
        solved = [gpulaf.label(s.image, s.prototypes, rho=0.3, time=time, solver=Taylor(tol=1e-5)) for s in scenes]
        assert len({result.products for result in solved}) == 1
        assert all(result.converged for result in solved)
        exact = gpulaf.label(scenes[1].image, scenes[1].prototypes, rho=0.3, time=time, solver=Krylov(tol=1e-7))
        assert relative(solved[1].probabilities, exact.probabilities) < 1e-4
    with pytest.raises(ValueError, match="substeps is 0; accepted are whole numbers from 1"):
        Taylor(substeps=0)


def test_tiles_are_the_dense_flow() -> None:
    rng = np.random.default_rng(1)
    image, prototypes, weights = rng.random((4, 9, 2)), rng.random((3, 2)), patches((4, 9), 1, 5)
    lazy = da.from_array(image, chunks=(4, 4, 1))
    result = label_array(lazy, Labeler(prototypes, weights, rho=0.5, time=0.5, solver=Taylor(3, substeps=1)))
    assert result.labels.numblocks == (1, 2)
    expected = dense_probabilities(-distances(image, prototypes) / 0.5, weights, 0.5)
    assert relative(computed(result)[1], expected) < 5e-3  # three terms


# --- Dask -----------------------------------------------------------------------------------------------------------


class Counting(BilateralWeights):
    calls: ClassVar[list[tuple[int, ...]]] = []

    def __call__(self, features: Any) -> Any:
        self.calls.append(features.shape)
        return super().__call__(features)


def test_nothing_is_computed_before_it_is_asked_for_and_nothing_twice() -> None:
    scene, calls = gpulaf.scenes.voronoi_lines(40), Counting.calls
    calls.clear()
    result = label_array(da.from_array(scene.image, chunks=(20, 20, 1)), Labeler(scene.prototypes, Counting()))
    assert calls == []
    computed(result)
    assert sorted(calls) == [(28, 28, 1)] * 4
    computed((result.labels[:5, :5],))
    assert len(calls) == 5  # one tile


def test_a_tile_is_converted_to_rows_at_the_door_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image or the predictions of a tile once; weights, fields and results never."""
    calls, rng = [], np.random.default_rng(0)

    def counted(values: Any, label_axis: int = -1) -> Any:
        calls.append(values.shape)
        return to_rows(values, label_axis)

    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "gpulaf"]:
        if vars(module).get("to_rows") is to_rows:
            monkeypatch.setattr(module, "to_rows", counted)
    weights = gpulaf.averaging.normalize_weights(rng.random((40, 9, 50)))
    chunked = da.from_array(weights, chunks=(15, 9, 20))
    image, soft = da.from_array(rng.random((40, 50)), chunks=(20, 25)), rng.dirichlet(np.ones(3), (40, 50))
    for given_weights in (None, weights, [weights, chunked]):
        labeler = Labeler([0.2, 0.5, 0.9], given_weights, rho=1.0, time=1.0, solver=Taylor(4, substeps=1))
        tile = 20 + tile_halo(labeler), 25 + tile_halo(labeler)
        computed(label_array(image, labeler))
        assert calls == [(*tile, 1)] * 4
        calls.clear()
        computed(refine_array(da.from_array(soft, chunks=(20, 25, 3)), labeler))
        assert calls == [(*tile, 3)] * 4
        calls.clear()


def test_weights_come_into_a_tile_as_rows() -> None:
    rng, seen = np.random.default_rng(0), []
    image, weights = rng.random((40, 50, 2)), rng.random((40, 9, 50))
    lazy = [da.from_array(image, chunks=(20, 25, 1)), da.from_array(weights, chunks=(40, 4, 7))]

    def solve(cuts: Any, mask: Any, tile: np.ndarray, cut: np.ndarray) -> Labeling:
        assert tile.flags.c_contiguous
        assert cut.flags.c_contiguous
        seen.append((cuts, tile, cut))
        return Labeler(np.eye(2))(tile)

    computed(label_tiles(solve, lazy[:1], 2, 3, lazy[1:]))
    assert len(seen) == 4
    for (above, below, left, right), tile, cut in seen:
        rows, columns = slice(17 * above, 40 - 17 * below), slice(22 * left, 50 - 22 * right)
        np.testing.assert_array_equal(tile, image[rows, columns])
        np.testing.assert_array_equal(cut, weights[rows, :, columns])


def test_threads_change_no_bit() -> None:
    scene = gpulaf.scenes.voronoi_colors(80, noise=0.3)
    result = label_array(da.from_array(scene.image, chunks=(20, 30, 3)), Labeler(scene.prototypes))
    for one, many in zip(computed(result), computed(result, "threads"), strict=True):
        np.testing.assert_array_equal(one, many)


def test_two_processes_change_no_bit() -> None:
    scene = gpulaf.scenes.voronoi_lines(72, sites=9)
    predictor = WeightPredictor(9, training=FEW).fit([scene.image], [scene.truth])
    lazy = da.from_array(scene.image, chunks=(24, 30, 1))
    labelers = [Labeler(scene.prototypes, BilateralWeights(0.2)), predictor.labeler()]
    results = [label_array(lazy, labeler) for labeler in labelers]
    expected = [computed(result) for result in results]
    broken = scene.image.copy()
    broken[30, 40] = np.nan
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        for result, arrays in zip(results, expected, strict=True):
            for future, array in zip(client.compute(list(result)), arrays, strict=True):
                np.testing.assert_array_equal(future.result(), array)
        result = label_array(da.from_array(broken, chunks=(24, 30, 1)), Labeler([0, 1]))
        with pytest.raises(ValueError, match=r"^tile \[24:48, 30:60\], with its halo .*: image holds 1 value"):
            client.compute(result.labels.blocks[1, 1]).result()


def test_a_tile_that_fails_names_itself() -> None:
    image = np.random.default_rng(0).random((50, 60))
    image[33, 21] = np.inf
    result = label_array(da.from_array(image, chunks=(20, 30)), Labeler([0.2, 0.8], solver=Taylor(3, substeps=1)))
    with pytest.raises(
        ValueError, match=r"^tile \[20:40, 0:30\], with its halo \[17:43, 0:33\]: image holds 1 value\(s\) that are NaN"
    ):
        computed((result.labels.blocks[1, 0],))
    computed((result.labels[:20],))  # the halo of three pixels ends before it
    weights = gpulaf.uniform_weights((50, 60), dtype=np.float64)
    weights[40, 2, 59] = 0.25  # outside the image
    result = label_array(da.from_array(np.zeros((50, 60)), chunks=(20, 30)), Labeler([0.2, 0.8], weights))
    with pytest.raises(ValueError, match=r"^tile \[40:50, 30:60\], .* weight at pixel \(8, 37\) points outside"):
        computed(result)


def test_tiles_smaller_than_the_halo_are_joined() -> None:
    image, labeler = np.random.default_rng(0).random((40, 21)), Labeler([0.2, 0.8], solver=Taylor(8))
    for rows, joined in (
        ((8, 8, 8, 8, 8), (8, 8, 8, 8, 8)),
        ((3, 29, 8), (32, 8)),
        ((30, 7, 3), (30, 10)),
        ((30, 8, 2), (30, 10)),
        ((20, 13, 7), (20, 20)),
        ((1,) * 40, (8,) * 5),
        ((39, 1), (40,)),
        ((40,), (40,)),
    ):
        result = label_array(da.from_array(image, chunks=(rows, 21)), labeler)
        assert result.labels.chunks == (joined, (21,))
    small = label_array(da.from_array(image[:5, :6], chunks=(2, 3)), labeler)
    assert small.probabilities.chunks == ((5,), (6,), (2,))


# --- refusals -------------------------------------------------------------------------------------------------------

GREY = da.zeros((20, 30), chunks=10)


class Uniform(Box):
    """3×3 weights, whatever it tells."""

    radius = 1

    def __call__(self, features: Any) -> Any:
        return gpulaf.uniform_weights(features.shape[:2])


class Wide(Uniform):
    radius = 2


class Silent(Uniform):
    radius = None


@pytest.mark.parametrize(
    ("image", "options", "kind", "said"),
    [
        (np.zeros((4, 5)), {}, TypeError, r"image is a ndarray; accepted is a Dask array"),
        (da.zeros(5), {}, ValueError, r"image has shape \(5,\); accepted is \(H, W\) and \(H, W, C\)"),
        (da.zeros((0, 5)), {}, ValueError, r"image of shape \(0, 5\) is empty"),
        (da.zeros((5, 5), dtype=complex), {}, TypeError, "image has dtype complex128; accepted are real numbers"),
        (GREY[GREY[:, 0] > -1], {}, ValueError, r"image has shape \(nan, 30\); accepted are known sizes"),
        (GREY, {"prototypes": 3}, ValueError, "3 prototypes were asked for, but the image has only 1 different values"),
        (GREY, {"prototypes": 1}, ValueError, "prototypes is 1; accepted are 2 to 65536 labels"),
        (GREY, {"prototypes": [[0, 1]]}, ValueError, r"prototypes have shape \(1, 2\); accepted is \(J, 1\)"),
        (GREY, {"rho": 0}, ValueError, "rho is 0; accepted are positive numbers"),
        (GREY, {"time": -1}, ValueError, r"time is -1(\.0)?; accepted are positive numbers"),
        (GREY, {"solver": Krylov()}, TypeError, r"Krylov\(.*accepted in tiles are Taylor and Euler.*inner prod"),
        (GREY, {"solver": gpulaf.LinearizedFlows()}, TypeError, "accepted in tiles .* control of nonlinear"),
        (GREY, {"weights": np.zeros((20, 9, 29))}, ValueError, r"weights have shape \(20, 9, 29\); .* \(20, N, 30\)"),
        (GREY, {"weights": np.zeros((20, 8, 30))}, ValueError, r"\(20, 8, 30\) hold 8 neighbors"),
        (GREY, {"weights": np.zeros((20, 27, 30))}, ValueError, r"\(20, 27, 30\); .* with N = \(2r\+1\)²"),
        (GREY, {"weights": np.zeros((20, 9, 30), "f2")}, TypeError, "weights have dtype float16; accepted are float32"),
        (GREY, {"weights": "bilateral"}, TypeError, "weights are a str; accepted are .* BilateralWeights"),
        (GREY, {"weights": lambda features: features}, TypeError, "weights are a function; accepted are .*Source"),
        (GREY, {"weights": Uniform(None)}, ValueError, "the reach of the weights .* is None; accepted .* Set"),
        (GREY, {"weights": Silent(1)}, ValueError, "the radius of the weights .* is None; accepted .* Set"),
        (GREY, {"weights": nearest_neighbor_graph(np.arange(9.0)[:, None], 2)}, TypeError, "weights are a Graph"),
        (GREY, {"weights": [gpulaf.uniform_weights((20, 30))] * 2, "time": [3.0]}, ValueError, "2 weights and 1 times"),
        (GREY, {"time": []}, ValueError, "there are 0 weights and 0 times; accepted are as many"),
        (GREY, {"weights": []}, ValueError, "there are 0 weights and 1 times; accepted are as many"),
        (GREY, {"time": [1, 0]}, ValueError, "time is 0.*; accepted are positive numbers"),
        (GREY, {"weights": Flat(0)}, ValueError, "the radius of the weights .* is 0; accepted"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_computed(
    image: Any, options: Any, kind: Any, said: str
) -> None:
    with pytest.raises(kind, match=said):
        label_array(image, Labeler(**{"prototypes": [0.2, 0.8]} | options))


def test_what_is_no_labeler_is_refused(tmp_path: Path) -> None:
    other: Any = gpulaf.WeightPredictor()
    for call in (
        lambda: label_array(GREY, other),
        lambda: gpulaf.tiling.refine_array(GREY[..., None], other),
        lambda: gpulaf.tiling.tile_halo(other),
        lambda: gpulaf.label_file(tmp_path / "in.png", tmp_path / "out.tif", other),
    ):
        with pytest.raises(TypeError, match=r"labeler is WeightPredictor.*; accepted is a gpulaf\.Labeler"):
            call()


def test_predictions_that_cannot_work_are_refused() -> None:
    soft = da.full((20, 30, 2), 0.5, chunks=10)
    bilateral = {"weights": BilateralWeights()}
    for array, options, image, kind, said in (
        (soft[..., 0], {}, None, ValueError, r"probabilities has shape \(20, 30\); accepted is \(H, W, J\)"),
        (soft.astype(int), {}, None, TypeError, "probabilities has dtype int64; accepted are floats"),
        (soft, bilateral, None, ValueError, "no image for it to look at. Pass image, too"),
        (soft, bilateral, GREY[:5], ValueError, r"\(20, 30\) and \(5, 30\) pixels"),
        (soft, {"rho": -1}, None, ValueError, "rho is -1; accepted are positive numbers"),
        (soft[..., :1], {}, None, ValueError, "probabilities hold 1 label; accepted are at least 2"),
    ):
        with pytest.raises(kind, match=said):
            refine_array(array, Labeler(**options), image=image)
    with pytest.raises(ValueError, match=r"^tile \[.*\], with its halo .*probabilities miss a sum of 1 by up to 0.5"):
        computed(refine_array(da.full((20, 30, 3), 0.5, chunks=10), Labeler(rho=1.0)))


def test_weights_that_do_not_keep_to_what_they_told() -> None:
    with pytest.raises(ValueError, match=r"tile .*patches of radius 1; accepted is the radius 2 that .* tells"):
        computed(label_array(GREY, Labeler([0.2, 0.8], Wide(1))))


def test_predictors_that_cannot_work_are_refused() -> None:
    scene = gpulaf.scenes.voronoi_lines(24, sites=3)
    with pytest.raises(ValueError, match="not trained"):
        WeightPredictor().labeler()
    own = WeightPredictor(3, features=lambda image: to_rows(image), training=FEW)
    own.fit([scene.image], [scene.truth])
    with pytest.raises(ValueError, match=r"reach of .*features=.* is None; .* Set reach on .*the features"):
        label_array(GREY, own.labeler())
    own.features.reach = 0
    lazy = da.from_array(scene.image, chunks=(12, 12, 1))
    assert computed(label_array(lazy, own.labeler()))[0].shape == (24, 24)
    with pytest.raises(ValueError, match=r"prototypes have shape \(2, 1\); accepted is \(J, 2\)"):
        label_array(da.zeros((20, 30, 2)), own.labeler())
    with pytest.raises(TypeError, match="accepted in tiles are Taylor and Euler"):
        label_array(GREY, own.set_params(solver=Krylov()).labeler())


def test_without_dask_there_is_a_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(ImportError, match=r"Install it with: python -m pip install 'gpulaf\[large\]'"):
        label_array(GREY, Labeler([0.2, 0.8]))


# --- memory ---------------------------------------------------------------------------------------------------------


def drawn(dtype: str, block_info: Any = None) -> np.ndarray:
    """A chunk of random numbers, as a file would give it."""
    values = np.random.default_rng(0).random(block_info[None]["chunk-shape"])
    return (255 * values).astype(dtype) if dtype == "uint8" else values.astype(dtype)


def drawn_image(side: int, channels: int, dtype: str) -> Any:
    chunks = ((side,) * 3, (side,) * 3, (channels,))
    return da.map_blocks(drawn, dtype, dtype=dtype, chunks=chunks, meta=np.empty((0, 0, 0), dtype))


@pytest.mark.parametrize(
    ("labels", "channels", "dtype", "memory"),
    [(2, 1, "uint8", 1.6e7), (8, 3, "float32", 3e7), (3, 16, "float32", 3e7), (9, 3, "float64", 6e7)],
)
@pytest.mark.parametrize(
    "weights", [None, BilateralWeights(), BilateralWeights(0.1, 2), "given", "predicted", "layers"], ids=str
)
def test_a_tile_of_the_side_that_fits_does_fit(
    labels: int, channels: int, dtype: str, memory: float, weights: Any
) -> None:
    labeler = Labeler(255 * np.random.default_rng(0).random((labels, channels)))
    if weights == "layers":
        labeler, memory = replace(labeler, time=[3.0] * 3), 3 * memory
    elif weights == "predicted":
        truth = np.arange(24 * 24).reshape(24, 24) % labels
        image = np.random.default_rng(0).random((24, 24, channels))
        labeler = WeightPredictor(9, training=FEW).fit([image], [truth]).labeler()
    else:
        labeler = replace(labeler, weights=gpulaf.uniform_weights((4, 4)) if weights == "given" else weights)
    memory *= 2 if labeler.radius > 1 else 1
    side = largest_tile(memory, labeler, labels, channels=channels, dtype=dtype)
    if weights == "given":
        whole = da.full((3 * side, 9, 3 * side), np.float32(1 / 9), chunks=(side, 9, side))
        labeler = replace(labeler, weights=whole + np.float32(0))  # in memory, as from a file
    result = label_array(drawn_image(side, channels, dtype), labeler)
    middle = [array.blocks[1, 1] for array in result]
    computed(middle)
    tracemalloc.start()
    try:
        computed(middle)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.2 * memory < peak < memory
    assert side % 64 == 0


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the system does not tell peaks of memory")
def test_the_process_stays_under_the_memory_that_a_tile_may_take() -> None:
    """Resident memory, with what the allocator keeps, while nine tiles are labeled one after the other."""
    code = """if True:
        import sys, dask, dask.array as da
        sys.path[:0] = sys.argv[1:]
        from test_dask_array import drawn_image, gpulaf, largest_tile, np
        class Nowhere:
            def __setitem__(self, key, value): pass
        def resident(name):
            rows = open("/proc/self/status").read().splitlines()
            return 1024 * int(next(row.split()[1] for row in rows if row.startswith(name)))
        labeler = gpulaf.Labeler(255 * np.eye(3))
        for side in (64, largest_tile(1.5e8, labeler, 3, channels=3)):
            open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
            before = resident("VmRSS")
            result = gpulaf.tiling.label_array(drawn_image(side, 3, "uint8"), labeler)
            da.store(list(result), [Nowhere(), Nowhere()], scheduler="synchronous")
        print(resident("VmHWM") - before)
    """
    folders = [os.path.dirname(__file__), os.path.dirname(oracles.__file__)]
    done = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True)
    assert 0.2 * 1.5e8 < int(done.stdout) < 1.5e8


def test_memory_for_not_even_a_small_tile() -> None:
    with pytest.raises(ValueError, match=r"^memory is 1e\+05 bytes; a tile of 64×64 pixels with a halo of 8") as e:
        largest_tile(1e5, Labeler(), 3)
    least = float(str(e.value).split("takes ")[1].split(". ")[0])
    assert largest_tile(1.001 * least, Labeler(), 3) == 64


def test_the_search_for_a_side_ends_whatever_the_memory() -> None:
    assert largest_tile(1e25, Labeler(), 3) == largest_tile(float("inf"), Labeler(), 3) == 64 * (2**31 - 1)
    assert largest_tile(1e18, Labeler(), 3) > 10**7
    with pytest.raises(ValueError, match="memory is nan bytes"):
        largest_tile(float("nan"), Labeler(), 3)


@pytest.mark.parametrize("step", [1, 64])
@pytest.mark.parametrize("most", [0, 1, 63, 64, 65, 127, 128, 1000, 4096, 4097, 10**9])
def test_the_largest_multiple_that_fits(step: int, most: int) -> None:
    assert largest_multiple(step, lambda n: n <= most) == most // step * step


@pytest.mark.parametrize(
    ("axis", "shape"), [(0, (3, 40, 50)), (1, (3, 2, 50)), (-1, (3, 2, 50)), (2, (1, 60, 4)), (-3, (4, 90, 60))]
)
def test_channels_on_any_axis(axis: int, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).random(shape)
    prototypes = np.random.default_rng(1).random((3, shape[axis]))
    expected = gpulaf.label(image, prototypes, channel_axis=axis)
    lazy = da.from_array(image, chunks=16)
    same_bits(label_array(lazy, Labeler(prototypes), channel_axis=axis), expected)
    soft = np.random.default_rng(2).dirichlet(np.ones(3), expected.labels.shape)
    options: dict[str, Any] = {"image": image, "channel_axis": axis, "weights": BilateralWeights()}
    labeler = Labeler(weights=BilateralWeights(), rho=1.0)
    found = refine_array(da.from_array(soft, chunks=(16, 16, 3)), labeler, image=lazy, channel_axis=axis)
    same_bits(found, gpulaf.refine(soft, **options))


def test_axes_that_tiles_do_not_take() -> None:
    lazy = da.zeros((20, 30, 40), chunks=20)
    with pytest.raises(ValueError, match=r"accepted is .* of a volume with D before H\. Move the axes"):
        label_array(lazy[None, None], Labeler([0, 1]), channel_axis=None)
    with pytest.raises(ValueError, match="channel_axis is 3; accepted are -3 to 2"):
        label_array(lazy, Labeler([0, 1]), channel_axis=3)
    with pytest.raises(ValueError, match="channel_axis is 0, but the image has no channels"):
        label_array(lazy[0], Labeler([0, 1]), channel_axis=0)


def test_layers_made_in_tiles_need_their_times() -> None:
    """With one time the halo would be that of one flow."""
    lazy = da.from_array(np.random.default_rng(0).random((50, 70)), chunks=25)
    result = label_array(lazy, Labeler([0.2, 0.8], Thrice(), time=3.0))
    with pytest.raises(ValueError, match=r"are those of 3 layers and time is 3\.0; accepted is the time of each"):
        result.labels.compute(scheduler="synchronous")
