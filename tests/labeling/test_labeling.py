"""`label`, `refine` and `refine_logits` against the dense matrix exponential; every bad input gets a helpful error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracles import dense_probabilities, distances, patches
from realdata import DATA, realdata

import gpulaf
from gpulaf import Krylov, label, refine, refine_logits
from gpulaf.fields import from_rows

EXACT = Krylov(tol=1e-10)


def random_image(shape: tuple[int, ...] = (4, 5, 3), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def random_probabilities(shape: tuple[int, ...] = (4, 5, 3), seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random(shape) + 0.05
    return values / values.sum(axis=-1, keepdims=True)


# --- the flow -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rho", "time"), [(0.1, 3.0), (0.5, 0.7), (0.2, 8.0)])
@pytest.mark.parametrize(("radius", "seed"), [(1, None), (1, 5), (2, 6)])
def test_label_is_the_dense_flow(radius: int, seed: int | None, rho: float, time: float) -> None:
    image, prototypes, weights = random_image(), random_image((3, 3), 1), patches((4, 5), radius, seed)
    result = label(image, prototypes, weights=weights, rho=rho, time=time, solver=EXACT)
    expected = dense_probabilities(-distances(image, prototypes) / rho, weights, time)
    np.testing.assert_allclose(result.probabilities, expected, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(result.labels, expected.argmax(axis=-1))
    assert result.converged
    assert 0 <= result.error <= 1e-10
    assert result.products > 0


def test_defaults_are_uniform_patches_rho_and_time_of_the_docstring() -> None:
    image, prototypes = random_image(), random_image((3, 3), 1)
    result = label(image, prototypes)
    expected = dense_probabilities(-distances(image, prototypes) / 0.1, patches((4, 5)), 3.0)
    np.testing.assert_allclose(result.probabilities, expected, rtol=0, atol=1e-3)
    assert result.converged
    assert result.error <= 1e-4


@pytest.mark.parametrize("rho", [1.0, 2.5])
@pytest.mark.parametrize("seed", [None, 7])
def test_refine_is_the_dense_flow(rho: float, seed: int | None) -> None:
    probabilities, weights = random_probabilities(), patches((4, 5), 1, seed)
    expected = dense_probabilities(np.log(probabilities) / rho, weights, 2.0)
    for result in (
        refine(probabilities, weights=weights, rho=rho, time=2.0, solver=EXACT),
        refine_logits(np.log(probabilities) + 7.5, weights=weights, rho=rho, time=2.0, solver=EXACT),
    ):
        np.testing.assert_allclose(result.probabilities, expected, rtol=0, atol=1e-8)
        np.testing.assert_array_equal(result.labels, expected.argmax(axis=-1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_refine_of_probabilities_is_refine_logits_of_their_log(dtype: Any) -> None:
    probabilities = random_probabilities((9, 8, 4)).astype(dtype)
    one, two = refine(probabilities), refine_logits(np.log(probabilities))
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(one.probabilities, two.probabilities)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 4)])
@pytest.mark.parametrize("radius", [1, 2])
def test_small_images_and_images_smaller_than_the_patch(shape: tuple[int, int], radius: int) -> None:
    image, prototypes, weights = random_image((*shape, 2)), random_image((3, 2), 1), patches(shape, radius)
    result = label(image, prototypes, weights=gpulaf.uniform_weights(shape, radius), solver=EXACT)
    expected = dense_probabilities(-distances(image, prototypes) / 0.1, weights, 3.0)
    np.testing.assert_allclose(result.probabilities, expected, rtol=0, atol=1e-6)  # the weights are float32


@pytest.mark.parametrize("J", [2, 3, 4, 7, 8, 9, 16, 17, 31, 33, 40])
def test_numbers_of_labels(J: int) -> None:
    image, prototypes = random_image((2, 3, 1)), np.linspace(0, 1, J)[:, None]
    result = label(image, prototypes, solver=EXACT)
    expected = dense_probabilities(-distances(image, prototypes) / 0.1, patches((2, 3)), 3.0)
    np.testing.assert_allclose(result.probabilities, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.probabilities.sum(axis=-1), 1, atol=1e-12)


@pytest.mark.parametrize(("J", "dtype"), [(2, "uint8"), (256, "uint8"), (257, "uint16"), (300, "uint16")])
def test_labels_have_the_smallest_unsigned_dtype(J: int, dtype: str) -> None:
    prototypes = np.linspace(0, 1, J)
    image = np.empty((6, 8))
    image[:, :4], image[:, 4:] = prototypes[-1], prototypes[1]
    result = label(image, prototypes, rho=0.01)
    assert result.labels.dtype == dtype
    assert (result.labels[:, :3] == J - 1).all()  # labels beyond 255 are not cut off
    assert (result.labels[:, 5:] == 1).all()
    assert result.probabilities.shape == (6, 8, J)


@pytest.mark.parametrize(
    ("dtype", "top", "scale"),
    [
        ("uint8", 255, 255), ("uint16", 65535, 65535), (">u2", 65535, 65535), ("int8", 127, 127),
        ("int16", 32767, 32767),
        ("bool", 1, 1), ("float16", 1, 1), ("float32", 1, 1), (">f4", 1, 1), ("float64", 1, 1), (">f8", 1, 1),
    ],
)  # fmt: skip
def test_image_dtypes(dtype: str, top: float, scale: float) -> None:
    values = random_image() * top
    image = values.round().astype(dtype) if np.dtype(dtype).kind in "bui" else values.astype(dtype)
    prototypes = random_image((3, 3), 1) * top
    result = label(image, prototypes, solver=Krylov(tol=1e-6))
    expected = dense_probabilities(-distances(image / scale, prototypes / scale) / 0.1, patches((4, 5)), 3.0)
    np.testing.assert_allclose(result.probabilities, expected, rtol=0, atol=2e-4)
    assert result.probabilities.dtype == (np.float64 if np.dtype(dtype).newbyteorder("=") == np.float64 else np.float32)
    assert result.labels.shape == (4, 5)


@pytest.mark.parametrize(
    "view",
    [
        np.asfortranarray, lambda x: np.repeat(x, 2, axis=1)[:, ::2], lambda x: x[::-1].copy()[::-1],
        lambda x: np.moveaxis(np.moveaxis(x, -1, 0).copy(), 0, -1), lambda x: x.tolist(),
        lambda x: tuple(map(tuple, x.tolist())),
    ],
    ids=["Fortran", "strided", "backwards", "planar", "list", "tuple"],
)  # fmt: skip
def test_memory_order_changes_nothing(view: Callable[[np.ndarray], Any]) -> None:
    image, prototypes, probabilities = random_image((5, 6, 3)), random_image((4, 3), 1), random_probabilities((5, 6, 4))
    weights = patches((5, 6), 1, 3)
    pairs = [
        (label(image, prototypes), label(view(image), view(prototypes))),
        (label(image, prototypes, weights=weights), label(image, prototypes, weights=np.asarray(view(weights)))),
        (refine(probabilities), refine(view(probabilities))),
        (refine_logits(probabilities), refine_logits(view(probabilities))),
    ]
    for plain, other in pairs:
        np.testing.assert_array_equal(plain.probabilities, other.probabilities)
        np.testing.assert_array_equal(plain.labels, other.labels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_inputs_may_be_read_only_and_are_never_modified(dtype: str) -> None:
    image = (200 * random_image((6, 7, 3))).astype(dtype)
    prototypes, weights = 200 * random_image((4, 3), 1), patches((6, 7), 1, 3)
    floating = dtype if dtype.startswith("float") else "float64"
    probabilities = random_probabilities((6, 7, 4)).astype(floating)
    inputs = [image, prototypes, weights, probabilities]
    copies = [x.copy() for x in inputs]

    def run() -> list[Any]:
        return [
            label(image, prototypes, weights=weights), label(image, 3), refine(probabilities, weights=weights),
            refine_logits(probabilities), refine_logits(np.moveaxis(probabilities, -1, 0), label_axis=0),
        ]  # fmt: skip

    first = run()
    for x, copy in zip(inputs, copies, strict=True):
        np.testing.assert_array_equal(x, copy)
        x.flags.writeable = False
    for one, two in zip(first, run(), strict=True):
        np.testing.assert_array_equal(one.probabilities, two.probabilities)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_channel_axis_and_label_axis(axis: int) -> None:
    image, prototypes, probabilities = random_image((5, 6, 3)), random_image((4, 3), 1), random_probabilities((5, 6, 4))
    moved = label(np.moveaxis(image, -1, axis), prototypes, channel_axis=axis)
    np.testing.assert_array_equal(moved.probabilities, label(image, prototypes).probabilities)
    for function in (refine, refine_logits):
        moved = function(np.moveaxis(probabilities, -1, axis), label_axis=axis)
        np.testing.assert_array_equal(moved.probabilities, function(probabilities).probabilities)
        assert moved.probabilities.shape == (5, 6, 4)


def test_grey_images_and_one_channel_are_the_same() -> None:
    image = random_image((5, 6))
    flat, column = label(image, [0.2, 0.8]), label(image[..., None], [[0.2], [0.8]])
    np.testing.assert_array_equal(flat.probabilities, column.probabilities)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_sum_to_one_and_labels_are_their_argmax(dtype: Any) -> None:
    scene = gpulaf.scenes.voronoi_colors(40, seed=2)
    for result in (
        label(scene.image.astype(dtype), scene.prototypes),
        label(scene.image.astype(dtype), 5),
        refine(random_probabilities((20, 30, 6)).astype(dtype)),
    ):
        np.testing.assert_allclose(result.probabilities.sum(axis=-1), 1, atol=1e-6)
        assert result.probabilities.min() >= 0
        assert result.probabilities.dtype == dtype
        np.testing.assert_array_equal(result.labels, result.probabilities.argmax(axis=-1))
        assert result.labels.dtype == np.uint8


def test_labeling_removes_noise() -> None:
    scene = gpulaf.scenes.voronoi_colors(48, noise=0.4, seed=1)
    pixelwise = distances(scene.image, scene.prototypes).argmin(axis=-1)
    result = label(scene.image, scene.prototypes)
    assert np.mean(pixelwise != scene.truth) > 0.25
    assert np.mean(result.labels != scene.truth) < 0.4 * np.mean(pixelwise != scene.truth)


def test_a_number_of_prototypes_means_clusters_the_largest_first() -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat([0, 1, 2], [15, 9, 6])[None, :].repeat(20, axis=0)
    image = np.array([0.5, 0.9, 0.1])[truth] + 0.02 * rng.standard_normal(truth.shape)
    result = label(image, 3)
    assert np.mean(result.labels == truth) > 0.95
    np.testing.assert_array_equal(result.probabilities, label(image, np.int64(3)).probabilities)


def test_the_units_of_the_image_do_not_matter() -> None:
    image, prototypes = random_image((6, 7, 3)), random_image((4, 3), 1)
    one, two = label(image, prototypes, rho=0.1), label(64 * image, 64 * prototypes, rho=6.4)
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-10)


def test_where_nothing_speaks_for_a_label_all_stay_equal() -> None:
    for result in (
        refine(np.full((5, 6, 4), 0.25)),
        refine_logits(np.zeros((5, 6, 4), np.float32)),
        label(np.full((5, 6), 0.5), [0.25, 0.75]),
    ):
        J = result.probabilities.shape[-1]
        np.testing.assert_allclose(result.probabilities, 1 / J, rtol=1e-6)
        assert result.converged


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rho", [1.0, 1e-3])
def test_certain_predictions_stay_finite(dtype: Any, rho: float) -> None:
    truth = np.repeat([0, 2, 1], 4)[None, :].repeat(8, axis=0)
    result = refine(np.eye(3, dtype=dtype)[truth], rho=rho)
    assert np.isfinite(result.probabilities).all()
    np.testing.assert_array_equal(result.labels, truth)


def test_a_loose_integrator_says_that_it_did_not_converge() -> None:
    result = label(random_image(), random_image((3, 3), 1), time=20.0, solver=Krylov(2))
    assert not result.converged
    assert result.products == 2
    assert result.error > 1e-4


@realdata
def test_a_photograph_in_six_labels() -> None:
    from gpulaf.io.images import read_image
    from gpulaf.labeling.prototypes import kmeans_prototypes

    image = read_image(DATA / "photos" / "101027.jpg")
    result = label(image, 6)
    assert result.labels.shape == image.shape[:2]
    assert result.converged
    assert set(np.unique(result.labels)) == set(range(6))

    def borders(labels: np.ndarray) -> float:
        return float(np.mean(labels[:, 1:] != labels[:, :-1]) + np.mean(labels[1:] != labels[:-1]))

    prototypes = kmeans_prototypes((image / np.float32(255)).astype(np.float32), 6)
    pixelwise = distances(image / 255, prototypes).argmin(axis=-1)
    assert borders(result.labels) < 0.7 * borders(pixelwise)
    unexplained = np.mean((image / 255 - prototypes[result.labels]) ** 2) / np.var(image / 255, axis=(0, 1)).mean()
    assert unexplained < 0.3  # share of the color variance that six labels leave


@realdata
def test_weights_of_an_electron_micrograph_are_learned() -> None:
    from gpulaf.io import read_image, read_truth

    window = np.s_[100:228, 100:228]
    image = read_image(DATA / "em" / "image_00.png")[window].astype(np.float32) / 255
    truth, values = read_truth(DATA / "em" / "truth_00.png")
    truth = truth[window]
    assert list(values) == [0, 255]
    means = np.array([[image[truth == j].mean()] for j in (0, 1)])
    likelihood = gpulaf.labeling.log_likelihood(gpulaf.labeling.distances(image[..., None], means), 0.2)
    fit = gpulaf.fit_weights(likelihood, truth, steps=12)
    assert fit.history[-1].wrong < 0.75 * fit.history[0].wrong
    result = label(image, means, weights=fit.weights, rho=0.2)
    assert np.mean(result.labels != truth) == pytest.approx(fit.history[-1].wrong, abs=0.0005)


# --- errors ---------------------------------------------------------------------------------------------------------


def check_error(call: Callable[[], Any], kind: type[Exception], said: str) -> None:
    """The first sentence holds the value or shape, and another one says what to do."""
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    sentences = re.split(r"(?<=[.])\s+(?=[A-Z0-9])", text)
    assert said in sentences[0], text
    assert len(sentences) >= 2, f"no next step: {text}"
    assert text.endswith(".")


COLOR, GREY, THREE = random_image((6, 7, 3)), random_image((6, 7)), random_image((3, 3), 1)


def spoiled(array: np.ndarray, at: tuple[int, ...], value: float) -> np.ndarray:
    array = array.copy()
    array[at] = value
    return array


@pytest.mark.parametrize(
    ("image", "kind", "said"),
    [
        (np.zeros(5), ValueError, "(5,)"),
        (np.float64(3), ValueError, "()"),
        (np.zeros((2, 3, 4, 3, 2)), ValueError, "(2, 3, 4, 3, 2)"),
        (np.zeros((0, 5)), ValueError, "(0, 5)"),
        (np.zeros((5, 0)), ValueError, "(5, 0)"),
        (np.zeros((5, 5, 0)), ValueError, "(5, 5, 0)"),
        (np.zeros((0, 5, 3)), ValueError, "(0, 5, 3)"),
        (spoiled(GREY, (2, 3), np.nan), ValueError, "1 value(s) that are NaN or infinite"),
        (spoiled(COLOR, (2, 3, 1), np.inf), ValueError, "1 value(s) that are NaN or infinite"),
        (spoiled(COLOR.astype(np.float32), (2, slice(4), 1), -np.inf), ValueError, "4 value(s) that are NaN"),
        (COLOR * 1j, TypeError, "complex128"),
        (COLOR.astype(object), TypeError, "object"),
        (np.full((3, 3), "a"), TypeError, "<U1"),
        (np.zeros((3, 3), "datetime64[s]"), TypeError, "datetime64"),
        ("photo.png", TypeError, "<U9"),
        (None, TypeError, "object"),
        ([[0.1, 0.2], [0.3]], ValueError, "image"),
    ],
    ids=[
        "one axis", "number", "five axes", "no rows", "no columns", "no channels", "no color rows", "NaN", "inf",
        "-inf", "complex", "objects", "strings", "dates", "path", "None", "ragged",
    ],
)  # fmt: skip
def test_bad_images(image: Any, kind: type[Exception], said: str) -> None:
    check_error(lambda: label(image, 2), kind, said)


@pytest.mark.parametrize(
    ("prototypes", "kind", "said"),
    [
        (1, ValueError, "1"),
        (0, ValueError, "0"),
        (-3, ValueError, "-3"),
        (2.5, ValueError, "2.5"),
        (70_000, ValueError, "70000"),
        (float("nan"), ValueError, "nan"),
        (float("inf"), ValueError, "inf"),
        (True, TypeError, "True"),
        (np.False_, TypeError, "False"),
        ("five", TypeError, "'five'"),
        (5j, TypeError, "5j"),
        (None, TypeError, "None"),
        ({}, TypeError, "{}"),
        (np.zeros((3, 5)), ValueError, "(3, 5)"),
        (np.zeros((5, 4)), ValueError, "(5, 4)"),
        (np.zeros(3), ValueError, "(3,)"),
        (np.zeros((2, 2, 3)), ValueError, "(2, 2, 3)"),
        (np.zeros((1, 3)), ValueError, "1 label"),
        (np.zeros((0, 3)), ValueError, "0 label"),
        (spoiled(THREE, (1, 1), np.nan), ValueError, "not finite"),
        (spoiled(THREE, (1, 1), np.inf), ValueError, "not finite"),
        (THREE * 1j, TypeError, "complex128"),
        (THREE.astype(str), TypeError, "<U"),
        ([[1, 2, 3], [1, 2]], ValueError, "prototypes"),
    ],
)
def test_bad_prototypes(prototypes: Any, kind: type[Exception], said: str) -> None:
    check_error(lambda: label(COLOR, prototypes), kind, said)


def test_transposed_prototypes_are_recognized() -> None:
    with pytest.raises(ValueError, match=r"\(3, 5\).*Transpose"):
        label(COLOR, np.zeros((3, 5)))


@pytest.mark.parametrize("values", [1, 3])
def test_more_prototypes_than_different_colors(values: int) -> None:
    image = np.resize(np.linspace(0, 1, values), (6, 7))
    check_error(lambda: label(image, values + 1), ValueError, f"only {values} different values")


BAD_NUMBERS = [
    ({"rho": 0}, "0"),
    ({"rho": -0.5}, "-0.5"),
    ({"rho": float("nan")}, "nan"),
    ({"time": 0}, "0"),
    ({"time": -1.5}, "-1.5"),
    ({"time": float("nan")}, "nan"),
    ({"time": float("inf")}, "inf"),
]


@pytest.mark.parametrize(("options", "said"), BAD_NUMBERS)
def test_bad_rho_and_time(options: dict[str, float], said: str) -> None:
    name = next(iter(options))
    check_error(lambda: label(COLOR, THREE, **options), ValueError, f"{name} is {said}")
    check_error(lambda: refine(random_probabilities(), **options), ValueError, f"{name} is {said}")
    check_error(lambda: refine_logits(random_probabilities(), **options), ValueError, f"{name} is {said}")


def test_a_time_that_overflows_is_no_result() -> None:
    with pytest.raises((ValueError, FloatingPointError), match="10000"):
        label(COLOR.astype(np.float32), THREE, time=10_000)


@pytest.mark.parametrize("axis", [3, -4, 1.5])
def test_axes_out_of_range(axis: Any) -> None:
    check_error(lambda: label(COLOR, THREE, channel_axis=axis), ValueError, f"channel_axis is {axis}")
    check_error(lambda: refine(random_probabilities(), label_axis=axis), ValueError, f"label_axis is {axis}")
    check_error(lambda: refine_logits(random_probabilities(), label_axis=axis), ValueError, f"label_axis is {axis}")


def test_a_grey_image_has_no_channel_axis() -> None:
    check_error(lambda: label(GREY, 2, channel_axis=0), ValueError, "(6, 7)")


UNIFORM = patches((6, 7))


@pytest.mark.parametrize(
    ("weights", "kind", "said"),
    [
        (UNIFORM[:-1], ValueError, "(5, 9, 7)"),
        (UNIFORM.transpose(2, 1, 0), ValueError, "(7, 9, 6)"),
        (from_rows(UNIFORM), ValueError, "(6, 7, 9)"),
        (UNIFORM[:, 0], ValueError, "(6, 7)"),
        (UNIFORM[:, :8], ValueError, "(6, 8, 7)"),
        (1.1 * UNIFORM, ValueError, "1.1"),
        (spoiled(UNIFORM, (0, 0, 3), 0.01), ValueError, "(0, 3) points outside"),
        (spoiled(UNIFORM, (2, 4, 3), -0.1), ValueError, "(2, 3) is negative"),
        (spoiled(UNIFORM, (2, 4, 3), 0.5), ValueError, "(2, 3) is in a patch that does not sum to 1"),
        (spoiled(UNIFORM, (2, 4, 3), np.nan), ValueError, "(2, 3) is not finite"),
        (spoiled(UNIFORM, (2, 4, 3), np.inf), ValueError, "(2, 3) is not finite"),
        ((UNIFORM > 0).astype(int), TypeError, "int64"),
        (UNIFORM * 1j, TypeError, "complex128"),
    ],
    ids=[
        "other size", "transposed", "last axis", "one each", "eight", "sums of 1.1", "outside", "negative", "one sum",
        "NaN", "inf", "integers", "complex",
    ],
)  # fmt: skip
def test_bad_weights(weights: Any, kind: type[Exception], said: str) -> None:
    check_error(lambda: label(COLOR, THREE, weights=weights), kind, said)
    check_error(lambda: refine(random_probabilities((6, 7, 4)), weights=weights), kind, said)
    check_error(lambda: refine_logits(random_probabilities((6, 7, 4)), weights=weights), kind, said)


def test_float32_weights_that_sum_to_one_up_to_rounding_are_accepted() -> None:
    image, weights = random_image((6, 7)), patches((6, 7), 1, 4)
    single, double = (label(image, [0.2, 0.8], weights=w) for w in (weights.astype(np.float32), weights))
    np.testing.assert_allclose(single.probabilities, double.probabilities, atol=1e-5)


BOTH = (refine, refine_logits)
P = random_probabilities()


@pytest.mark.parametrize(
    ("functions", "values", "kind", "said"),
    [
        ((refine,), spoiled(P, (2, 3, 1), -0.3), ValueError, "-0.3"),
        ((refine,), 2 * P, ValueError, "up to 1"),
        ((refine,), spoiled(P, (2, 3), [0.5, 0.5, 0.01]), ValueError, "0.01"),
        ((refine,), np.moveaxis(P, -1, 0), ValueError, "miss a sum of 1"),
        (BOTH, spoiled(P, (2, 3, 1), np.nan), ValueError, "1 value(s) that are NaN or infinite"),
        (BOTH, spoiled(P, (2, 3, 1), np.inf), ValueError, "1 value(s) that are NaN or infinite"),
        (BOTH, P[..., 0], ValueError, "(4, 5)"),
        (BOTH, P[None, None], ValueError, "(1, 1, 4, 5, 3)"),
        (BOTH, np.ones((4, 5, 1)), ValueError, "1 label on axis -1"),
        (BOTH, np.ones((4, 5, 0)), ValueError, "0 label on axis -1"),
        (BOTH, np.ones((0, 5, 3)), ValueError, "(0, 5, 3)"),
        ((refine,), np.ones((4, 5, 3), int), ValueError, "up to 2"),
        ((refine_logits,), np.ones((4, 5, 3), int), TypeError, "int64"),
        ((refine_logits,), P > 0.5, TypeError, "bool"),
        (BOTH, P * 1j, TypeError, "complex128"),
        (BOTH, P.astype(object), TypeError, "object"),
        (BOTH, "predictions.npy", TypeError, "<U15"),
    ],
    ids=[
        "negative", "sum 2", "one sum", "labels first", "NaN", "inf", "two axes", "five axes", "one label", "no label",
        "empty", "sum of integers", "integers", "bool", "complex", "objects", "path",
    ],
)  # fmt: skip
def test_bad_predictions(functions: Any, values: Any, kind: type[Exception], said: str) -> None:
    for function in functions:
        check_error(lambda: function(values), kind, said)  # noqa: B023
