"""Units of images: ranges, the same numbers in any dtype, and warnings of numbers that look wrong."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import gpulaf
from gpulaf import DataWarning, Labeler, label, refine, refine_logits
from gpulaf.averaging import BilateralWeights

GREY = np.clip(np.random.default_rng(0).normal(0.5, 0.2, (24, 30)), 0, 1)
BYTES = (255 * GREY).round()


def said(call: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    assert all(issubclass(x.category, DataWarning) for x in found)
    return [str(x.message) for x in found]


# --- ranges ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, BilateralWeights(0.3)])
@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", ">i4"])
def test_the_same_numbers_in_another_dtype_give_the_same_bits(dtype: str, weights: Any) -> None:
    expected = label(BYTES.astype(np.uint8), [60, 200], weights=weights)
    result = label(BYTES.astype(dtype), [60, 200], weights=weights, range=(0, 255))
    np.testing.assert_array_equal(result.probabilities, expected.probabilities)


def test_double_precision_keeps_its_digits() -> None:
    expected = label(BYTES.astype(np.uint8), [60, 200])
    result = label(BYTES, [60, 200], range=(0, 255))
    assert result.probabilities.dtype == np.float64
    np.testing.assert_array_equal(result.labels, expected.labels)


def test_a_range_far_from_zero() -> None:
    far = 4_000_000_000 + BYTES.astype(np.uint32)  # float32 tells numbers 256 apart here
    result = label(far, np.array([60.0, 200.0]) + 4e9, range=(4e9, 4e9 + 255))
    np.testing.assert_array_equal(result.labels, label(BYTES.astype(np.uint8), [60, 200]).labels)


def test_negative_counts() -> None:
    hounsfield = (3000 * GREY - 1000).round().astype(np.int16)
    result = label(hounsfield, [-400, 1300], range=(-1000, 2000))
    expected = label((hounsfield + 1000) / np.float32(3000), [0.2, 2300 / 3000])
    np.testing.assert_allclose(result.probabilities, expected.probabilities, atol=1e-4)


def test_k_means_finds_the_same_in_every_range() -> None:
    twelve = (4095 * GREY).round()
    one, two = label(twelve.astype(np.uint16), 3, range=(0, 4095)), label((twelve / 4095).astype(np.float32), 3)
    np.testing.assert_array_equal(one.labels, two.labels)


def test_the_image_of_refine_has_a_range() -> None:
    soft, image = np.stack([GREY, 1 - GREY], axis=-1), (4095 * GREY).round().astype(np.uint16)
    plain = (image / np.float32(4095)).astype(np.float32)
    for call in (refine, refine_logits):
        one = call(soft, image=image, weights=BilateralWeights(), range=(0, 4095))
        np.testing.assert_allclose(
            one.probabilities, call(soft, image=plain, weights=BilateralWeights()).probabilities, atol=1e-5
        )


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
def test_wide_integers_need_a_range(dtype: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"{np.dtype(dtype)}, which does not tell its range. Pass range=\(low, high\)"
    ):
        label(BYTES.astype(dtype), 2)
    with pytest.raises(ValueError, match="range="):
        label([[0, 1], [1, 0]], [0, 1])


@pytest.mark.parametrize(("bounds", "kind", "words"), [
    ((255, 0), ValueError, "two increasing"), ((0, np.inf), ValueError, "finite"), ((0, np.nan), ValueError, "finite"),
    ((0,), TypeError, "two numbers"), (255, TypeError, "two numbers"), ("0,255", TypeError, "two numbers"),
    ((-1e308, 1e308), ValueError, "finite"), ((0, 1, 2), TypeError, "two numbers"),
])  # fmt: skip
def test_ranges_that_are_none(bounds: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        Labeler(2, range=bounds)


# --- warnings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("image", "words"), [
    ((4095 * GREY).astype(np.uint16), r"of the range 0 to 65535 .*: rho 0.1 is 6554 of .*\(0, 4095\)"),
    ((1023 * GREY).astype(np.uint16), r"Pass range=\(0, 1023\)"),
    ((900 * GREY).astype(np.int16), r"% of the range 0 to 32767 .*range=\(0, 1023\)"),
    ((20 * GREY).astype(np.uint8), r"of the range 0 to 255"),
    (BYTES.astype(np.float32), r"rho 0.1, which suits values from 0 to 1.*Pass range=\(0, 255\), or rho"),
    (1e-3 * GREY, "rho 0.1, which suits"),
])  # fmt: skip
def test_little_or_much_of_the_range(image: np.ndarray, words: str) -> None:
    with pytest.warns(DataWarning, match=words):
        label(image, 2)


@pytest.mark.parametrize("call", [
    lambda: label(BYTES.astype(np.uint8), 2), lambda: label((4095 * GREY).astype(np.uint16), 2, range=(0, 4095)),
    lambda: label(GREY, 2), lambda: label(BYTES, 2, rho=25.0), lambda: label(10 * GREY - 5, 2),
    lambda: label(BYTES, 2, range=(0, 255)),
    lambda: label(1e-3 * GREY, 2, rho=1e-4), lambda: label(GREY, [0.4, 0.6, 1.2]),
])  # fmt: skip
def test_no_word_where_nothing_is_wrong(call: Any) -> None:
    assert said(call) == []


@pytest.mark.parametrize("call", [lambda: label(BYTES, 2), lambda: Labeler(2)(BYTES)])
def test_the_line_of_the_user_is_named(call: Any) -> None:
    with pytest.warns(DataWarning) as found:
        call()
    assert found[0].filename == __file__


def test_values_outside_of_a_given_range() -> None:
    with pytest.warns(DataWarning, match="far outside of the range 0 to 255"):
        label((4095 * GREY).astype(np.uint16), 2, range=(0, 255))


def test_prototypes_in_other_units() -> None:
    image = (100 + 100 * GREY).astype(np.uint8)
    with pytest.warns(
        DataWarning, match=r"prototypes lie far outside of the image's values, .*: label 0, 1. Give proto"
    ):
        label(image, [0.25, 0.75])
    with pytest.warns(DataWarning, match=r": label 1\. Give prototypes in the units of the image"):
        label(GREY, [0.2, 200])
    assert len(said(lambda: label(image, [0.25, 0.75]))) == 1  # one line each


def test_labels_that_no_pixel_got() -> None:
    with pytest.warns(DataWarning, match="Every pixel got the label 1 of 0 to 1. Check that the prototypes"):
        label(BYTES.astype(np.uint8), [0.25, 100.0], rho=0.01)
    result = label(GREY, [0.3, 0.5, 0.7, 1.1])
    assert result.reason.endswith("No pixel got the label 3 of 0 to 3.")
    assert "No pixel" not in label(GREY, [0.4, 0.6]).reason


def test_invalid_pixels_tell_nothing() -> None:
    image, mask = GREY.astype(np.float32), GREY > 0.2
    assert said(lambda: label(np.where(mask, image, -9999.0), [0.4, 0.7], mask=mask)) == []
    assert said(lambda: label(image, [0.4, 0.7], mask=np.zeros(mask.shape, bool))) == []


def test_a_predictor_on_another_range() -> None:
    scene = gpulaf.scenes.voronoi_lines(32, sites=5)
    predictor = gpulaf.WeightPredictor(6).set_params(training__steps=1).fit([scene.image], [scene.truth])
    assert said(lambda: predictor.label(scene.image)) == []
    with pytest.warns(DataWarning, match=r"learned on values of about .*Pass the range"):
        predictor.label(100 * scene.image + 500)


# --- channels and labels first --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 40, 50), (4, 17, 20), (1, 20, 30), (3, 30, 40, 50)])
def test_channels_first_are_asked_about(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).random(shape)
    with pytest.raises(ValueError, match=rf"{shape[0]} channels on the first axis. Pass channel_axis=0"):
        label(image, 2)
    assert label(image, 2, channel_axis=0, rho=1.0).labels.shape == shape[1:]


def test_few_rows_of_many_channels_can_be_said() -> None:
    image = np.random.default_rng(0).random((3, 40, 20))
    assert label(image, 2, channel_axis=2, rho=5.0).labels.shape == (3, 40)


def test_labels_first_are_asked_about() -> None:
    logits = np.random.default_rng(0).standard_normal((21, 100, 120))
    with pytest.raises(ValueError, match=r"21 labels on the first axis. Pass label_axis=0; .*label_axis=2"):
        refine_logits(logits)
    assert refine_logits(logits, label_axis=0).labels.shape == (100, 120)
    with pytest.raises(ValueError, match="label_axis=0"):
        refine(np.full((2, 64, 80), 0.5))


# --- soft predictions as they come ----------------------------------------------------------------------------------


def test_sigmoid_maps_name_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"pass numpy.stack\(\[1 - p, p\], axis=-1\)"):
        refine(GREY)
    with pytest.raises(ValueError, match=r"stack \[1 − p, p\]"):
        refine(GREY[..., None])


@pytest.mark.parametrize(("factor", "dtype", "words"), [
    (100, float, "sum to about 100, as percent do; .*Divide them by 100"),
    (255, np.uint8, "sum to about 255, as values of 8 bits"),
    (65535, np.uint16, "values of 16 bits"),
])  # fmt: skip
def test_percent_and_integers(factor: int, dtype: Any, words: str) -> None:
    soft = np.stack([GREY, 1 - GREY], axis=-1)
    scaled = (factor * soft).round().astype(dtype) if np.dtype(dtype).kind == "u" else factor * soft
    with pytest.raises(ValueError, match=words):
        refine(scaled)
    expected = refine(soft)
    found = refine(scaled, normalize=True).probabilities
    np.testing.assert_allclose(found, expected.probabilities, atol=0.02 if dtype is np.uint8 else 1e-3)


def test_one_hot_predictions_of_any_type() -> None:
    hot = np.eye(2, dtype=bool)[(GREY > 0.5).astype(int)]
    expected = refine(hot.astype(np.float32)).labels
    for dtype in (bool, np.uint8, np.int64):
        np.testing.assert_array_equal(refine(hot.astype(dtype)).labels, expected)


def test_half_precision_of_many_classes() -> None:
    x = np.random.default_rng(0).normal(0, 2, (24, 30, 150))
    soft = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    assert refine(soft.astype(np.float16)).labels.shape == (24, 30)


def test_rows_that_sum_to_anything_are_normalized() -> None:
    soft = np.stack([GREY, 1 - GREY], axis=-1)
    scale = np.random.default_rng(1).uniform(0.5, 3, GREY.shape)[..., None]
    np.testing.assert_allclose(
        refine(scale * soft, normalize=True).probabilities, refine(soft).probabilities, rtol=1e-9
    )
    with pytest.raises(ValueError, match="0 for every label"):
        refine(np.zeros((8, 8, 2)), normalize=True)


@pytest.mark.parametrize("rho", [1e-300, 1e-13, 1e13, 1e300])
def test_scales_beyond_what_numbers_hold(rho: float) -> None:
    with pytest.raises(ValueError, match="accepted are positive numbers, from 1e-12 to 1e12"):
        Labeler(2, rho=rho)
    with pytest.raises(ValueError, match="accepted are positive numbers, from 1e-15 to 1e15"):
        BilateralWeights(rho * rho)
    assert np.isfinite(gpulaf.bilateral_weights(GREY.astype(np.float32), sigma=1e-15)).all()
