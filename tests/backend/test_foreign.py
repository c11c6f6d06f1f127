"""Tensors of torch, arrays of xarray with named axes and others come in right, or are refused by name."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpulaf
from gpulaf.backend.foreign import adopted, named_axes
from gpulaf.labeling import distances, log_likelihood
from gpulaf.prediction import Training

SCENE = gpulaf.scenes.voronoi_colors(20, noise=0.3, seed=2)
IMAGE = SCENE.image[:, :14].copy()
TRUTH = SCENE.truth[:, :14].copy()
SOFT = np.random.default_rng(0).dirichlet(np.ones(3), IMAGE.shape[:2])

Named = Callable[[Any, tuple[str, ...]], Any]


class _DataArray:
    """What is used of xarray.DataArray, where xarray is not installed."""

    def __init__(self, values: Any, dims: tuple[str, ...]) -> None:
        self.values, self.dims = np.asarray(values), dims
        self.dtype, self.ndim, self.shape = self.values.dtype, self.values.ndim, self.values.shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


_DataArray.__module__ = "xarray.core.dataarray"


@pytest.fixture(params=["xarray", "stand-in"])
def named(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Named:
    """Makes an array with named axes."""
    if request.param == "xarray":
        xarray = pytest.importorskip("xarray", reason="xarray is not installed")
        return lambda values, dims: xarray.DataArray(values, dims=dims)
    monkeypatch.setitem(sys.modules, "xarray", types.ModuleType("xarray"))
    return _DataArray


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed")


def same(found: Any, expected: Any) -> None:
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, expected)


# --- axes with names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dims", [("y", "x", "band"), ("band", "y", "x"), ("x", "y", "band"), ("Channel", "lon", "lat")]
)
def test_an_image_by_the_names_of_its_axes(named: Named, dims: tuple[str, ...]) -> None:
    letter = {"y": 0, "lat": 0, "x": 1, "lon": 1, "band": 2, "Channel": 2}
    image = named(IMAGE.transpose([letter[dim] for dim in dims]), dims)
    expected = gpulaf.label(IMAGE, SCENE.prototypes)
    found = gpulaf.label(image, SCENE.prototypes)
    same(found.labels, expected.labels)
    same(found.probabilities, expected.probabilities)
    same(gpulaf.bilateral_weights(image), gpulaf.bilateral_weights(IMAGE))


def test_what_belongs_to_an_image_by_the_names_of_its_axes(named: Named) -> None:
    mask = np.random.default_rng(1).random(TRUTH.shape) < 0.8
    expected = gpulaf.label(IMAGE, SCENE.prototypes, mask=mask)
    same(gpulaf.label(IMAGE, SCENE.prototypes, mask=named(mask.T, ("x", "y"))).labels, expected.labels)
    expected = gpulaf.refine(SOFT)
    same(gpulaf.refine(named(SOFT.transpose(2, 1, 0), ("label", "x", "y"))).labels, expected.labels)
    likelihood = log_likelihood(distances(IMAGE, SCENE.prototypes), rho=0.1)
    expected_fit = gpulaf.fit_weights(likelihood, TRUTH, steps=1)
    same(gpulaf.fit_weights(likelihood, named(TRUTH.T, ("x", "y")), steps=1).weights, expected_fit.weights)
    loss = gpulaf.cosine_loss(likelihood, TRUTH)
    assert gpulaf.cosine_loss(likelihood, named(TRUTH.T, ("x", "y"))).value == loss.value


def test_a_predictor_on_named_axes(named: Named) -> None:
    options = {"features": 0, "training": Training(steps=1)}
    expected = gpulaf.WeightPredictor(4, **options).fit([IMAGE], [TRUTH])
    image, truth = named(IMAGE.transpose(2, 1, 0), ("c", "x", "y")), named(TRUTH.T, ("x", "y"))
    found = gpulaf.WeightPredictor(4, **options).fit([image], [truth])
    same(found.feature_prototypes_, expected.feature_prototypes_)
    same(found.predict([image])[0], expected.predict([IMAGE])[0])


def test_a_volume_by_the_names_of_its_axes(named: Named) -> None:
    volume = np.random.default_rng(2).random((4, 6, 8))
    expected = gpulaf.label(volume, [0.2, 0.8], channel_axis=None)
    same(gpulaf.label(named(volume.transpose(2, 0, 1), ("x", "depth", "y")), [0.2, 0.8]).labels, expected.labels)


@pytest.mark.parametrize(
    ("dims", "axis", "said"),
    [
        (("foo", "bar", "c"), -1, "image has axes named foo, bar, c; accepted are those of y and x, also z and"),
        (("time", "y", "x"), -1, "image has axes named time, y, x; "),
        (("y", "x", "lon"), -1, "image has axes named y, x, lon; "),
        (("y", "x", "c"), 0, "channel_axis is 0, and that axis of image is named y. Leave channel_axis out"),
    ],
)
def test_names_that_are_refused(named: Named, dims: tuple[str, ...], axis: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        gpulaf.label(named(IMAGE, dims), SCENE.prototypes, channel_axis=axis)


def test_axes_without_names_are_those_of_numpy(named: Named) -> None:
    values, axis = named_axes(named(IMAGE, ("dim_0", "dim_1", "dim_2")), 2, "image")
    same(values, IMAGE)
    assert axis == 2


def test_a_dataset_is_refused() -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    with pytest.raises(TypeError, match="image is an xarray Dataset; accepted is one DataArray of it"):
        gpulaf.label(xarray.Dataset({"a": (("y", "x"), TRUTH)}), 2)


# --- torch ----------------------------------------------------------------------------------------------------------


def test_tensors_come_in_right(torch: Any) -> None:
    expected = gpulaf.label(IMAGE, SCENE.prototypes)
    for image, axis in ((torch.tensor(IMAGE), -1), (torch.tensor(IMAGE.transpose(2, 0, 1).copy()), 0)):
        found = gpulaf.label(image, torch.tensor(SCENE.prototypes), channel_axis=axis, mask=torch.ones(20, 14).bool())
        same(found.probabilities, expected.probabilities)
    assert np.shares_memory(adopted(tensor := torch.tensor(IMAGE), "image"), tensor.numpy())
    same(gpulaf.refine(torch.tensor(SOFT)).labels, gpulaf.refine(SOFT).labels)
    likelihood = log_likelihood(distances(IMAGE, SCENE.prototypes), rho=0.1)
    fit = gpulaf.fit_weights(torch.tensor(likelihood), torch.tensor(TRUTH), steps=1)
    same(fit.weights, gpulaf.fit_weights(likelihood, TRUTH, steps=1).weights)
    loss = gpulaf.cosine_loss(torch.tensor(likelihood), torch.tensor(TRUTH))
    assert loss.value == pytest.approx(gpulaf.cosine_loss(likelihood, TRUTH).value, rel=1e-12)
    predictor = gpulaf.WeightPredictor(4, features=0, training=Training(steps=1))
    predictor.fit([torch.tensor(IMAGE)], [torch.tensor(TRUTH)])
    same(predictor.predict([torch.tensor(IMAGE)])[0], predictor.predict([IMAGE])[0])


def test_tensors_of_other_types(torch: Any) -> None:
    half = torch.tensor(IMAGE).to(torch.bfloat16)
    same(gpulaf.label(half, SCENE.prototypes).labels, gpulaf.label(half.float().numpy(), SCENE.prototypes).labels)
    pixels = (255 * IMAGE.clip(0, 1)).astype(np.uint8)
    same(gpulaf.label(torch.tensor(pixels), 3).labels, gpulaf.label(pixels, 3).labels)


def test_a_tensor_whose_gradient_would_be_lost(torch: Any) -> None:
    with pytest.raises(TypeError, match=r"image is a tensor that requires a gradient, .* Pass image\.detach\(\)"):
        gpulaf.label(torch.tensor(IMAGE, requires_grad=True), 3)


# --- others ---------------------------------------------------------------------------------------------------------


def test_an_array_of_dask_is_refused_by_name() -> None:
    array = pytest.importorskip("dask.array", reason="dask is not installed")
    with pytest.raises(TypeError, match=r"image is an array of Dask; .* gpulaf\.tiling\.label_array"):
        gpulaf.label(array.from_array(IMAGE), 3)


def test_arrays_and_sequences_stay() -> None:
    for x in (IMAGE, [[0.0, 1.0], [1.0, 0.0]], np.ma.MaskedArray(IMAGE, IMAGE > 1)):
        assert adopted(x, "image") is x
        assert named_axes(x, -1, "image") == (x, -1) or named_axes(x, -1, "image")[0] is x
