"""The table of labels, prototypes that survive a text file, those that images share, and values that mean no truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpulaf
from gpulaf.backend.validation import image_features
from gpulaf.labeling.hints import unused_labels, void_value
from gpulaf.labeling.prototypes import in_units, kmeans_prototypes, shared_prototypes
from gpulaf.labeling.table import ROWS, LabelTable, label_pixels

Y, X = np.mgrid[:48, :64]
#: A disk, a bar and the rest.
CLASSES = np.where((Y - 22) ** 2 + (X - 20) ** 2 < 150, 1, np.where(X > 50, 2, 0))


# --- the table ------------------------------------------------------------------------------------------------------


def test_a_line_for_each_label() -> None:
    table = LabelTable([-3, 70_000], np.array([30, 10]), np.array([[0.125, 12.0], [254.99999, 1e-7]]), ["sea", "rock"])
    assert table.lines() == [
        "  label  name  pixels   share  prototype",
        "     -3  sea       30  75.0 %  0.125 12",
        "  70000  rock      10  25.0 %  255 1e-07",
    ]
    assert LabelTable([1, 2], np.array([0, 0])).lines()[1:] == ["      1       0  0.0 %", "      2       0  0.0 %"]


def test_many_labels_and_channels_are_cut_short() -> None:
    lines = LabelTable(range(300), np.full(300, 2), np.ones((300, 9))).lines()
    assert len(lines) == ROWS + 2
    assert lines[1].endswith("1 1 1 1 1 1 1 1 …")
    assert lines[-1] == f"  and {300 - ROWS} more, {100 * (300 - ROWS) / 300:.1f} % of the pixels"


def test_pixels_are_counted_where_there_are_data() -> None:
    labels = CLASSES.astype(np.uint8)
    counted = label_pixels(labels, None, 5)
    assert counted.tolist() == [*np.bincount(CLASSES.ravel()).tolist(), 0, 0]
    assert unused_labels(counted) == "No pixel got the labels 3, 4 of 0 to 4."
    valid = X < 40
    assert label_pixels(np.where(valid, labels, 255), valid, 3).tolist() == [*np.bincount(CLASSES[valid]).tolist(), 0]
    assert unused_labels(np.array([0, 99, 0])) == "Every pixel got the label 1 of 0 to 2."


# --- prototypes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.0, 255.0), (0.0, 65535.0), (-1024.0, 3071.0), (1e9, 1e9 + 1)])
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e20])
def test_units_are_stable_under_scaling(bounds: tuple[float, float], scale: float) -> None:
    """Numbers in units, scaled and brought back, are the same bit for bit."""
    bounds = bounds[0] * scale, bounds[1] * scale
    scaled = np.random.default_rng(0).uniform(-0.2, 1.2, (200, 3))
    units = in_units(scaled, bounds)
    np.testing.assert_array_equal(in_units((units - bounds[0]) * (1 / (bounds[1] - bounds[0])), bounds), units)
    expected = bounds[0] + (bounds[1] - bounds[0]) * scaled
    np.testing.assert_allclose(units, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_prototypes_that_were_found_give_the_same_labels_again(dtype: str) -> None:
    image = (np.array([40, 120, 90])[CLASSES] + np.random.default_rng(1).normal(0, 20, CLASSES.shape)).clip(0, 255)
    image = image.astype(dtype)
    bounds: dict[str, Any] = {} if dtype == "uint8" else {"range": (0, 255)}
    found = gpulaf.label(image, 3, **bounds)
    assert found.prototypes is not None
    again = gpulaf.label(image, found.prototypes, **bounds)
    np.testing.assert_array_equal(again.probabilities, found.probabilities)
    np.testing.assert_array_equal(again.prototypes, found.prototypes)
    features, units, _ = image_features(image, **bounds)
    np.testing.assert_allclose(found.prototypes, kmeans_prototypes(features, 3) * units[1], rtol=1e-9)
    assert gpulaf.refine(found.probabilities).prototypes is None


def test_prototypes_of_several_images_are_those_of_their_pixels_together() -> None:
    rng = np.random.default_rng(2)
    parts = [rng.normal(center, 3, (20, 30)).clip(0, 255).astype(np.uint8) for center in (30, 120, 220)]
    masked = parts[1].copy()
    masked[:5] = 255  # no data, nor a fourth cluster
    pixels = [image_features(parts[0]), image_features(masked, mask=np.arange(20)[:, None].repeat(30, 1) >= 5)]
    pixels.append(image_features(parts[2]))
    found = shared_prototypes(pixels, ["a", "b", "c"], 3)
    means = [parts[0].mean(), parts[1][5:].mean(), parts[2].mean()]
    np.testing.assert_allclose(sorted(found[:, 0]), means, rtol=1e-6)
    colors = [image_features(np.zeros((4, 4, 3), np.uint8)), image_features(np.zeros((4, 4), np.uint8))]
    with pytest.raises(ValueError, match=r"b has 1 channels .* 0 to 255, a 3 channels .* images of one kind"):
        shared_prototypes(colors, ["a", "b"], 2)
    ranges = [image_features(parts[0]), image_features(parts[0].astype(np.uint16))]
    with pytest.raises(ValueError, match=r"b has .* 0 to 65535, a .* 0 to 255; .*range=\(0, 255\)"):
        shared_prototypes(ranges, ["a", "b"], 2)
    with pytest.raises(ValueError, match="4 prototypes were asked for"):
        shared_prototypes([image_features(np.eye(4))], ["a"], 4)


# --- values that mean no ground truth -------------------------------------------------------------------------------


def border(width: int) -> np.ndarray:
    """Where the classes meet."""
    from scipy.ndimage import maximum_filter, minimum_filter

    return maximum_filter(CLASSES, width) != minimum_filter(CLASSES, width)


def void(truth: np.ndarray) -> int | None:
    values, labels = np.unique(truth, return_inverse=True)
    return void_value(labels.reshape(truth.shape), values)


@pytest.mark.parametrize(
    ("truth", "value"),
    [
        (np.where(border(3), 255, CLASSES), 255),
        (np.where(border(5), 255, CLASSES), 255),
        (np.where(Y < 12, 255, CLASSES), 255),  # a quarter of the image
        (np.where(border(3), 255, 100 * CLASSES), 255),  # not far from the others, but a border
        (np.where(border(3), 0, CLASSES + 1), 0),
        (np.where(X < 2, 65535, CLASSES), 65535),
        (np.where(X < 2, 99, CLASSES), 99),
    ],
    ids=["thin", "wide", "area", "grey codes", "zero", "16 bits", "another"],
)
def test_values_that_look_like_no_truth(truth: np.ndarray, value: int) -> None:
    assert void(truth) == value


@pytest.mark.parametrize(
    "truth",
    [
        CLASSES,
        np.array([0, 128, 255])[CLASSES],
        np.array([0, 85, 170, 255])[(X // 16) % 4],
        np.where(CLASSES == 1, 255, 0),
        np.where(border(3), 255, 0),
        np.where(np.abs(Y - 30) < 2, 2, CLASSES == 1),  # a thin class in the rest
        np.where(Y < 24, 99, CLASSES),
        np.where(CLASSES == 0, 0, CLASSES + 4),
    ],
    ids=["labels", "grey codes", "four grey codes", "mask", "edges", "line", "half", "background"],
)
def test_labels_that_do_not(truth: np.ndarray) -> None:
    assert void(truth) is None
