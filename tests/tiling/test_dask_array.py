"""Tiles against the whole image, bit for bit; against the dense exponential; refusals name the tile and the reason."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from functools import partial
from typing import Any, ClassVar

import dask
import dask.array as da
import distributed
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import dense_probabilities, distances, patches, relative

import gpulaf
from gpulaf import Euler, Krylov, Taylor, WeightPredictor
from gpulaf.averaging import BilateralWeights
from gpulaf.labeling.label import Labeling
from gpulaf.prediction import Features
from gpulaf.tiling import label_array, refine_array, tile_halo
from gpulaf.tiling.dask_array import label_tiles

SHARP = np.float32(0.3)


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


def box_weights(image: np.ndarray, look: int) -> np.ndarray:
    """5×5 patches that depend on the mean over a (2·look+1)² window, in the order of its offsets."""
    grey = np.asarray(image, np.float64).reshape(*image.shape[:2], -1)[..., 0] / 255
    padded = np.pad(grey, look)
    mean = np.zeros_like(grey)
    for y in range(2 * look + 1):
        for x in range(2 * look + 1):
            mean = mean + padded[y : y + grey.shape[0], x : x + grey.shape[1]]
    o = np.arange(25.0)[:, None, None]
    return gpulaf.averaging.normalize_weights(1.5 + np.sin(3 * mean[None] + o))


class Box:
    radius = 2

    def __init__(self, reach: int) -> None:
        self.reach = reach

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return box_weights(image, self.reach)


class Flat(Box):
    radius = 0


# --- bit for bit ----------------------------------------------------------------------------------------------------


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
    prototypes, weights = prototypes_of(image, labels, rng), None
    if kind.startswith("bilateral"):
        weights = BilateralWeights(float(SHARP), 2 if "5" in kind else 1)
    elif kind.startswith("pixelwise"):
        count = 25 if "5" in kind else 9
        weights = gpulaf.averaging.normalize_weights(rng.random((count, *image.shape[:2])).astype(rng.choice(["f4", "f8"])))
    elif kind == "own":
        weights = Box(int(rng.integers(0, 5)))
    options: dict[str, Any] = {"rho": rho, "time": time, "integrator": Taylor(degree, substeps=substeps)}
    whole = gpulaf.label(image, prototypes, weights=weights(image) if callable(weights) else weights, **options)
    same_bits(label_array(lazy, prototypes, weights=weights, **options), whole)


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
    probabilities = rng.random((*image.shape[:2], labels)) ** 3 + 1e-6
    probabilities = (probabilities / probabilities.sum(axis=-1, keepdims=True)).astype(dtype)
    soft = da.from_array(probabilities, chunks=(*lazy.chunks[:2], 1))
    weights: Any = {"bilateral": BilateralWeights(0.2), "uniform": None}.get(kind)
    given_weights = weights(image) if weights else None
    if kind == "pixelwise":
        given_weights = gpulaf.averaging.normalize_weights(rng.random((9, *image.shape[:2])))
        weights = da.from_array(given_weights, chunks=(4, 17, 23))
    options: dict[str, Any] = {"rho": rho, "time": time}
    whole = gpulaf.refine(probabilities, weights=given_weights, integrator=Taylor(tol=tol).fixed(time), **options)
    result = refine_array(soft, image=lazy, weights=weights, integrator=Taylor(tol=tol), **options)
    same_bits(result, whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("integrator", [Taylor(), Taylor(tol=1e-7), Taylor(4), Taylor(substeps=3), Euler(7)], ids=str)
@pytest.mark.parametrize("time", [3.0, 11.0])
def test_every_plan_that_is_the_same_everywhere(dtype: Any, integrator: Any, time: float) -> None:
    scene = gpulaf.scenes.voronoi_colors(70, noise=0.3)
    image = scene.image.astype(dtype)
    whole_plan = integrator.fixed(time) if isinstance(integrator, Taylor) else integrator
    whole = gpulaf.label(image, scene.prototypes, time=time, integrator=whole_plan)
    lazy = da.from_array(image, chunks=(19, 23, 3))
    same_bits(label_array(lazy, scene.prototypes, time=time, integrator=integrator), whole)


def test_stretches_of_the_kernels_and_tiles_wider_than_them() -> None:
    rng = np.random.default_rng(0)
    image, prototypes = rng.random((9, 4300)).astype(np.float32), [0.2, 0.5, 0.9]
    whole = gpulaf.label(image, prototypes, integrator=Taylor(3, substeps=1), weights=BilateralWeights()(image))
    for width in (700, 2096, 2101):
        lazy = da.from_array(image, chunks=(9, width))
        same_bits(label_array(lazy, prototypes, integrator=Taylor(3), weights=BilateralWeights()), whole)


@pytest.mark.parametrize(
    "features", [0, 1, Features("patch:2+gaussian:0.7,1"), partial(gpulaf.prediction.gaussian_features, scales=(1.5,))]
)
def test_predicted_weights(features: Any) -> None:
    scenes = [gpulaf.scenes.voronoi_lines(80, sites=9, seed=seed) for seed in range(3)]
    images, truths = [scene.image for scene in scenes], [scene.truth for scene in scenes]
    predictor = WeightPredictor(prototypes=9, features=features, time=2.0)
    predictor.fit(images[:2], truths[:2], training=gpulaf.prediction.Training(steps=2))
    image = (255 * images[2].clip(0, 1)).astype(np.uint8)[..., 0]
    result = predictor.label_array(da.from_array(image, chunks=(27, 31)))
    assert result.labels.numblocks[0] > 1
    predictor.set_params(integrator=predictor.solver.fixed(2.0))
    same_bits(result, predictor.label(image))


@pytest.mark.parametrize("shared", [True, False])
def test_predicted_weights_of_layers(shared: bool) -> None:
    scene = gpulaf.scenes.voronoi_lines(80, sites=9)
    predictor = WeightPredictor(prototypes=9, time=4.0, layers=2, shared_layers=shared, integrator=Taylor(4))
    predictor.fit([scene.image], [scene.truth], training=gpulaf.prediction.Training(steps=2))
    result = predictor.label_array(da.from_array(scene.image, chunks=(27, 31, 1)))
    assert result.labels.numblocks[0] > 1
    predictor.set_params(integrator=Taylor(4).fixed(2.0))
    same_bits(result, predictor.label(scene.image))


@pytest.mark.parametrize("kind", ["uniform", "bilateral", "shared", "each", "made"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers(kind: str, dtype: Any) -> None:
    """Linearized flows one after the other: the halo adds up."""
    rng, times = np.random.default_rng(0), [1.0, 6.0, 2.0]
    image, prototypes = rng.random((50, 70)).astype(dtype), [0.2, 0.5, 0.9]
    own = [gpulaf.averaging.normalize_weights(rng.random((n, 50, 70)).astype(dtype)) for n in (9, 25, 9)]
    weights = {"uniform": None, "bilateral": BilateralWeights(), "shared": own[1], "each": own, "made": Thrice()}[kind]
    plan, halo = Taylor(2), tile_halo(times, integrator=Taylor(2), weights=weights)
    assert halo == {"uniform": 12, "bilateral": 12, "shared": 24, "each": 24, "made": 12}[kind]
    lazy = da.from_array(image, chunks=25)
    result = label_array(lazy, prototypes, weights=weights, time=times, integrator=plan)
    assert result.labels.numblocks[1] > 1
    known = weights(image) if callable(weights) else weights
    options: dict[str, Any] = {"weights": known, "time": times, "integrator": plan.fixed(6.0)}
    same_bits(result, gpulaf.label(image, prototypes, **options))
    if kind == "each":  # one time is shared by the layers
        whole = gpulaf.label(image, prototypes, weights=own, time=6.0, integrator=plan.fixed(2.0))
        same_bits(label_array(lazy, prototypes, weights=own, time=6.0, integrator=plan), whole)
    soft = rng.dirichlet(np.ones(3), (50, 70)).astype(dtype)
    predictions = da.from_array(soft, chunks=(25, 25, 3))
    result = refine_array(predictions, image=lazy, weights=weights, time=times, integrator=plan)
    same_bits(result, gpulaf.refine(soft, **options))


class Thrice(BilateralWeights):
    """Weights of three layers."""

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        return [BilateralWeights(sigma)(image) for sigma in (0.1, 0.2, 0.4)]


def test_predicted_weights_for_probabilities() -> None:
    scenes = [gpulaf.scenes.voronoi_lines(60, sites=9, seed=seed) for seed in range(2)]
    soft = [np.stack([1 - s.image[..., 0].clip(0, 1), s.image[..., 0].clip(0, 1)], axis=-1) for s in scenes]
    predictor = WeightPredictor(prototypes=9, time=2.0, rho=1.0)
    predictor.fit(
        [s.image for s in scenes], [s.truth for s in scenes], probabilities=soft, training=gpulaf.prediction.Training(steps=2)
    )
    chunks = ((20, 21, 19), (30, 30), 2)
    result = predictor.refine_array(
        da.from_array(scenes[0].image, chunks=(60, 60, 1)), da.from_array(soft[0], chunks=chunks)
    )
    predictor.set_params(integrator=predictor.solver.fixed(2.0))
    same_bits(result, predictor.refine(scenes[0].image, soft[0]))
    grey, double = (255 * scenes[0].image[..., 0].clip(0, 1)).astype(np.uint8), soft[0].astype(float)
    result = predictor.refine_array(da.from_array(grey, chunks=20), da.from_array(double, chunks=chunks))
    same_bits(result, predictor.refine(grey, double))


# --- the halo -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("integrator", "time"), [(Taylor(4, substeps=1), 3.0), (Taylor(3, substeps=2), 3.0), (Euler(5), 1.0)]
)
@pytest.mark.parametrize(
    "weights", [BilateralWeights(1.0), BilateralWeights(1.0, 2), Box(3)], ids=["3×3", "5×5", "far"]
)
def test_the_halo_is_what_a_pixel_depends_on_and_no_more(integrator: Any, time: float, weights: Any) -> None:
    """A pixel that is changed as far away as the halo changes the result; one farther away does not."""
    halo, centre = tile_halo(time, integrator=integrator, weights=weights), 30
    image = np.random.default_rng(0).random((61, 61))
    options: dict[str, Any] = {"rho": 1.0, "time": time, "integrator": integrator}

    def at_centre(changed: int) -> np.ndarray:
        other = image.copy()
        other[:, : centre - changed + 1] += 5  # the columns from this distance on
        return gpulaf.label(other, [0.2, 0.4, 0.9], weights=weights(other), **options).probabilities[centre, centre]

    plain = gpulaf.label(image, [0.2, 0.4, 0.9], weights=weights(image), **options).probabilities[centre, centre]
    assert (at_centre(halo) != plain).any()
    assert np.array_equal(at_centre(halo + 1), plain)


def test_too_small_a_halo_shows() -> None:
    scene = gpulaf.scenes.voronoi_colors(64, noise=0.3)
    plan = Taylor(4, substeps=1)
    whole = gpulaf.label(scene.image.astype(float), scene.prototypes, integrator=plan)
    solve = partial(_label, prototypes=scene.prototypes, integrator=plan)
    lazy = da.from_array(scene.image.astype(float), chunks=(16, 16, 3))
    same_bits(label_tiles(solve, [lazy], 8, 4), whole)
    with pytest.raises(AssertionError, match="differ"):
        same_bits(label_tiles(solve, [lazy], 8, 3), whole)


def _label(cuts: Any, tile: Any, **options: Any) -> Labeling:
    return gpulaf.label(tile, **options)


def test_halo_adds_up_steps_patches_and_what_weights_look_at() -> None:
    seven = Taylor(7, substeps=1)
    assert tile_halo(3.0, integrator=seven) == 7
    assert tile_halo(3.0, integrator=Taylor(7, substeps=2)) == 14
    assert tile_halo(3.0, integrator=seven, weights=gpulaf.uniform_weights((9, 9), 2)) == 14
    assert tile_halo(3.0, integrator=seven, weights=Box(5)) == 6 * 2 + 5
    assert tile_halo(3.0, integrator=Euler(100)) == 100
    assert tile_halo([1.0, 3.0], integrator=Euler(100)) == 200
    predictor = WeightPredictor(features=Features("patch:2+gaussian:1,2"), radius=1)
    assert tile_halo(3.0, integrator=seven, weights=predictor) == 6 + 8
    assert tile_halo(3.0, integrator=seven, weights=WeightPredictor(features=3)) == 6 + 3
    for time in (1.0, 3.0, 5.5, 30.0):
        substeps, degree, bound = Taylor().plan(0.5 * time)
        assert tile_halo(time) == substeps * degree
        assert bound <= 1e-4


def test_fixed_plans_hold_the_tolerance_and_repeat_on_any_image() -> None:
    scenes = [gpulaf.scenes.voronoi_colors(24, noise=noise, seed=3) for noise in (0.01, 0.6)]
    for time in (3.0, 9.0):
        plan = Taylor(tol=1e-5).fixed(time)
        solved = [gpulaf.label(s.image, s.prototypes, rho=0.3, time=time, integrator=plan) for s in scenes]
        assert len({result.products for result in solved}) == 1
        assert all(result.converged for result in solved)
        exact = gpulaf.label(scenes[1].image, scenes[1].prototypes, rho=0.3, time=time, integrator=Krylov(tol=1e-7))
        assert relative(solved[1].probabilities, exact.probabilities) < 1e-4
    with pytest.raises(ValueError, match="substeps is 0; accepted are whole numbers from 1"):
        Taylor(substeps=0)


def test_tiles_are_the_dense_flow() -> None:
    rng = np.random.default_rng(1)
    image, prototypes, weights = rng.random((4, 9, 2)), rng.random((3, 2)), patches((4, 9), 1, 5)
    lazy = da.from_array(image, chunks=(4, 4, 1))
    result = label_array(lazy, prototypes, weights=weights, rho=0.5, time=0.5, integrator=Taylor(3, substeps=1))
    assert result.labels.numblocks == (1, 2)
    expected = dense_probabilities(-distances(image, prototypes) / 0.5, weights, 0.5)
    assert relative(computed(result)[1], expected) < 5e-3  # three terms


# --- Dask -----------------------------------------------------------------------------------------------------------


class Counting(BilateralWeights):
    calls: ClassVar[list[tuple[int, ...]]] = []

    def __call__(self, image: Any) -> Any:
        self.calls.append(image.shape)
        return super().__call__(image)


def test_nothing_is_computed_before_it_is_asked_for_and_nothing_twice() -> None:
    scene, calls = gpulaf.scenes.voronoi_lines(40), Counting.calls
    calls.clear()
    result = label_array(da.from_array(scene.image, chunks=(20, 20, 1)), scene.prototypes, weights=Counting())
    assert calls == []
    computed(result)
    assert sorted(calls) == [(28, 28, 1)] * 4
    computed((result.labels[:5, :5],))
    assert len(calls) == 5  # one tile


def test_threads_change_no_bit() -> None:
    scene = gpulaf.scenes.voronoi_colors(80, noise=0.3)
    result = label_array(da.from_array(scene.image, chunks=(20, 30, 3)), scene.prototypes)
    for one, many in zip(computed(result), computed(result, "threads"), strict=True):
        np.testing.assert_array_equal(one, many)


def test_two_processes_change_no_bit() -> None:
    scene = gpulaf.scenes.voronoi_lines(72, sites=9)
    predictor = WeightPredictor(prototypes=9).fit([scene.image], [scene.truth], training=gpulaf.prediction.Training(steps=1))
    lazy = da.from_array(scene.image, chunks=(24, 30, 1))
    results = [label_array(lazy, scene.prototypes, weights=BilateralWeights(0.2)), predictor.label_array(lazy)]
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
        with pytest.raises(ValueError, match=r"^tile \[24:48, 30:60\], with its halo .*: image holds 1 value"):
            client.compute(label_array(da.from_array(broken, chunks=(24, 30, 1)), [0, 1]).labels.blocks[1, 1]).result()


def test_a_tile_that_fails_names_itself() -> None:
    image = np.random.default_rng(0).random((50, 60))
    image[33, 21] = np.inf
    result = label_array(da.from_array(image, chunks=(20, 30)), [0.2, 0.8], integrator=Taylor(3))
    with pytest.raises(
        ValueError, match=r"^tile \[20:40, 0:30\], with its halo \[17:43, 0:33\]: image holds 1 value\(s\) that are NaN"
    ):
        computed((result.labels.blocks[1, 0],))
    computed((result.labels[:20],))  # the halo of three pixels ends before it
    weights = gpulaf.uniform_weights((50, 60), dtype=np.float64)
    weights[2, 40, 59] = 0.25  # outside the image
    result = label_array(da.from_array(np.zeros((50, 60)), chunks=(20, 30)), [0.2, 0.8], weights=weights)
    with pytest.raises(ValueError, match=r"^tile \[40:50, 30:60\], .* weight at pixel \(8, 37\) points outside"):
        computed(result)


def test_tiles_smaller_than_the_halo_are_joined() -> None:
    image = np.random.default_rng(0).random((40, 21))
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
        result = label_array(da.from_array(image, chunks=(rows, 21)), [0.2, 0.8], integrator=Taylor(8))
        assert result.labels.chunks == (joined, (21,))
    small = label_array(da.from_array(image[:5, :6], chunks=(2, 3)), [0.2, 0.8], integrator=Taylor(8))
    assert small.probabilities.chunks == ((5,), (6,), (2,))


# --- refusals -------------------------------------------------------------------------------------------------------

GREY = da.zeros((20, 30), chunks=10)


class Silent:
    def __call__(self, image: Any) -> Any:
        return gpulaf.uniform_weights(image.shape[:2])


@pytest.mark.parametrize(
    ("image", "options", "kind", "said"),
    [
        (np.zeros((4, 5)), {}, TypeError, r"image is a ndarray; accepted is a Dask array"),
        (da.zeros(5), {}, ValueError, r"image has shape \(5,\); accepted is \(H, W\) and \(H, W, C\)"),
        (da.zeros((0, 5)), {}, ValueError, r"image of shape \(0, 5\) is empty"),
        (da.zeros((5, 5), dtype=complex), {}, TypeError, "image has dtype complex128; accepted are real numbers"),
        (GREY[GREY[:, 0] > -1], {}, ValueError, r"image has shape \(nan, 30\); accepted are known sizes"),
        (GREY, {"prototypes": 3}, ValueError, r"prototypes is 3; accepted in tiles is an array \(J, C\)\. .*kmeans"),
        (GREY, {"prototypes": [[0, 1]]}, ValueError, r"prototypes have shape \(1, 2\); accepted is \(J, 1\)"),
        (GREY, {"rho": 0}, ValueError, "rho is 0; accepted are positive numbers"),
        (GREY, {"time": -1}, ValueError, "time is -1; accepted are positive numbers"),
        (GREY, {"integrator": Krylov()}, TypeError, r"Krylov\(.*accepted in tiles are Taylor and Euler.*inner prod"),
        (GREY, {"integrator": gpulaf.LinearizedFlows()}, TypeError, "accepted in tiles .* control of nonlinear"),
        (GREY, {"weights": np.zeros((9, 20, 29))}, ValueError, r"weights have shape \(9, 20, 29\); .* \(N, 20, 30\)"),
        (GREY, {"weights": np.zeros((8, 20, 30))}, ValueError, "patches of 8 neighbors"),
        (GREY, {"weights": np.zeros((9, 20, 30), "f2")}, TypeError, "weights have dtype float16; accepted are float32"),
        (GREY, {"weights": "bilateral"}, ValueError, r"'bilateral'|shape \(\)"),
        (GREY, {"weights": Silent()}, ValueError, "the reach of the weights .* is None; accepted .* Set"),
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
        label_array(image, **{"prototypes": [0.2, 0.8]} | options)


def test_predictions_that_cannot_work_are_refused() -> None:
    soft = da.full((20, 30, 2), 0.5, chunks=10)
    for array, options, kind, said in (
        (soft[..., 0], {}, ValueError, r"probabilities has shape \(20, 30\); accepted is \(H, W, J\)"),
        (soft.astype(int), {}, TypeError, "probabilities has dtype int64; accepted are floats"),
        (soft, {"weights": BilateralWeights()}, ValueError, "no image for it to look at. Pass image, too"),
        (soft, {"weights": BilateralWeights(), "image": GREY[:5]}, ValueError, r"\(20, 30\) and \(5, 30\) pixels"),
        (soft, {"rho": -1}, ValueError, "rho is -1; accepted are positive numbers. 1 takes"),
        (soft[..., :1], {}, ValueError, "probabilities hold 1 label; accepted are at least 2"),
    ):
        with pytest.raises(kind, match=said):
            refine_array(array, **options)
    with pytest.raises(ValueError, match=r"^tile \[.*\], with its halo .*probabilities miss a sum of 1 by up to 0.5"):
        computed(refine_array(da.full((20, 30, 3), 0.5, chunks=10)))


def test_weights_that_do_not_keep_to_what_they_told() -> None:
    class Wrong(Silent):
        reach, radius = 1, 2

    with pytest.raises(ValueError, match=r"tile .*patches of radius 1; accepted is the radius 2 that they told"):
        computed(label_array(GREY, [0.2, 0.8], weights=Wrong()))


def test_predictors_that_cannot_work_are_refused() -> None:
    scene = gpulaf.scenes.voronoi_lines(24, sites=3)
    with pytest.raises(ValueError, match="not trained"):
        WeightPredictor().label_array(GREY)
    own = WeightPredictor(prototypes=3, features=lambda image: image + 0)
    own.fit([scene.image], [scene.truth], training=gpulaf.prediction.Training(steps=1))
    with pytest.raises(ValueError, match=r"the reach of the features .* is None; .* Set features\.reach"):
        own.label_array(GREY)
    own.features.reach = 0
    assert computed(own.label_array(da.from_array(scene.image, chunks=(12, 12, 1))))[0].shape == (24, 24)
    with pytest.raises(ValueError, match="image has 2 channels; accepted are 1, as in the training"):
        own.label_array(da.zeros((20, 30, 2)))
    with pytest.raises(ValueError, match="trained without probabilities"):
        own.refine_array(GREY, da.full((20, 30, 2), 0.5))
    with pytest.raises(TypeError, match="accepted in tiles are Taylor and Euler"):
        own.set_params(integrator=Krylov()).label_array(GREY)


def test_without_dask_there_is_a_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(ImportError, match=r"Install it with: python -m pip install 'gpulaf\[large\]'"):
        label_array(GREY, [0.2, 0.8])


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
    prototypes, label_tile = 255 * np.random.default_rng(0).random((labels, channels)), label_array
    options: dict[str, Any] = {}
    if weights == "layers":
        weights, options["time"], memory = None, [3.0] * 3, 3 * memory
    if weights == "predicted":
        truth = np.arange(24 * 24).reshape(24, 24) % labels
        image = np.random.default_rng(0).random((24, 24, channels))
        weights = WeightPredictor(prototypes=9).fit([image], [truth], training=gpulaf.prediction.Training(steps=1))
        options["integrator"] = weights.solver
        label_tile = lambda image, _, weights, **options: weights.label_array(image)  # noqa: E731
    shown = gpulaf.uniform_weights((4, 4)) if weights == "given" else weights
    memory *= 2 if getattr(weights, "radius", 1) > 1 else 1
    side = gpulaf.tile_side(memory, labels, channels=channels, dtype=dtype, weights=shown, **options)
    if weights == "given":
        weights = da.from_array(gpulaf.uniform_weights((3 * side, 3 * side)), chunks=(9, side, side))
    result = label_tile(drawn_image(side, channels, dtype), prototypes, weights=weights, **options)
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
        sys.path.insert(0, sys.argv[1])
        from test_dask_array import drawn_image, gpulaf, np
        class Nowhere:
            def __setitem__(self, key, value): pass
        def resident(name):
            rows = open("/proc/self/status").read().splitlines()
            return 1024 * int(next(row.split()[1] for row in rows if row.startswith(name)))
        for side in (64, gpulaf.tile_side(1.5e8, 3, channels=3)):
            open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
            before = resident("VmRSS")
            result = gpulaf.tiling.label_array(drawn_image(side, 3, "uint8"), 255 * np.eye(3))
            da.store(list(result), [Nowhere(), Nowhere()], scheduler="synchronous")
        print(resident("VmHWM") - before)
    """
    folder = os.path.dirname(__file__)
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert 0.2 * 1.5e8 < int(done.stdout) < 1.5e8


def test_memory_for_not_even_a_small_tile() -> None:
    with pytest.raises(ValueError, match=r"^memory is 1e\+05 bytes; a tile of 64×64 pixels with a halo of 8") as e:
        gpulaf.tile_side(1e5, labels=3)
    least = float(str(e.value).split("takes ")[1].split(". ")[0])
    assert gpulaf.tile_side(1.001 * least, labels=3) == 64


def test_layers_made_in_tiles_need_their_times() -> None:
    """With one time the halo would be that of one flow."""
    lazy = da.from_array(np.random.default_rng(0).random((50, 70)), chunks=25)
    result = label_array(lazy, [0.2, 0.8], weights=Thrice(), time=3.0)
    with pytest.raises(ValueError, match="a list of 3 and time is one number"):
        result.labels.compute(scheduler="synchronous")
