"""Colors of labels, and the figure of the demo."""

from __future__ import annotations

from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
import pytest
from examples import cells
from oracles import patches

import gpulaf
from gpulaf.plots.figures import demo_figure, patch_glyphs
from gpulaf.plots.predictor import predictor_figure
from gpulaf.plots.previews import colored, label_colors, preview
from gpulaf.plots.style import canvas
from gpulaf.prediction import Training


@pytest.mark.parametrize("count", [2, 5, 15, 16, 40])
def test_colors_of_labels_are_distinct(count: int) -> None:
    colors = label_colors(np.zeros((4, 4), np.uint8), count)
    assert colors.shape == (count, 3)
    assert colors.dtype == np.uint8
    assert len(np.unique(colors, axis=0)) == count


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.array([[[10, 0, 0], [30, 0, 0]], [[0, 200, 0], [0, 100, 250]]], np.uint8), [[20, 0, 0], [0, 150, 125]]),
        (np.array([[10, 30], [200, 101]], np.uint8), [[20] * 3, [150] * 3]),
        (np.array([[0.0, 0.5], [1.0, 2.0]]), [[32] * 3, [191] * 3]),  # the range of other images is stretched
        (np.array([[[0], [65535]], [[65535], [65535]]], np.uint16), [[128] * 3, [255] * 3]),
    ],
    ids=["RGB", "grey", "float", "one channel"],
)
def test_a_label_has_the_mean_color_of_its_pixels(image: np.ndarray, expected: list[list[int]]) -> None:
    labels = np.array([[0, 0], [1, 1]], np.uint8)
    np.testing.assert_allclose(label_colors(labels, 2, image), expected, atol=1)
    np.testing.assert_array_equal(colored(labels, 2, image), label_colors(labels, 2, image)[labels])


def test_labels_of_images_of_other_channels_get_the_scheme() -> None:
    labels = np.array([[0, 1], [2, 2]], np.uint8)
    np.testing.assert_array_equal(colored(labels, 3, np.zeros((2, 2, 5))), colored(labels, 3))


def test_a_label_without_pixels_and_a_constant_image() -> None:
    assert label_colors(np.zeros((2, 2), np.uint8), 3, np.full((2, 2), 0.5)).shape == (3, 3)


def test_many_grey_labels_do_not_look_alike() -> None:
    labels = np.arange(9).repeat(4).reshape(6, 6)
    image = (20 + 25 * labels).astype(np.uint8)
    np.testing.assert_array_equal(label_colors(labels, 9, image), label_colors(labels, 9))
    assert np.ptp(label_colors(labels, 9, image), axis=-1).max() > 100  # in color
    few = np.minimum(labels, 2)
    assert np.ptp(label_colors(few, 3, (60 * few).astype(np.uint8)), axis=-1).max() == 0  # three greys are enough
    assert np.ptp(label_colors(few, 5, (60 * few).astype(np.uint8)), axis=-1).max() == 0  # also where two have no pixel


def test_previews_over_the_image() -> None:
    labels = np.array([[0, 0, 1], [0, 0, 1], [1, 1, 1]])
    colors = np.array([[200, 0, 0], [0, 100, 0]], np.uint8)
    image = np.full((3, 3), 100, np.uint8)
    np.testing.assert_array_equal(preview("mosaic", labels, colors), colors[labels])
    found = preview("overlay", labels, colors, image)
    np.testing.assert_array_equal(found[0, 0], [150, 50, 50])
    np.testing.assert_array_equal(found[2, 2], [50, 100, 50])
    found = preview("boundaries", labels, colors, image)
    line = np.array([[0, 1, 0], [1, 1, 0], [0, 0, 0]], bool)
    np.testing.assert_array_equal((found == 100).all(axis=-1), ~line)
    assert (found[line] == [255, 221, 0]).all()
    bright = preview("boundaries", labels, colors, np.full((3, 3), 250, np.uint8))
    assert (bright[line] == [0, 70, 255]).all()
    for style in ("overlay", "boundaries"):
        five = preview(style, labels, colors, np.random.default_rng(0).random((3, 3, 5)))
        assert (five.shape, five.dtype) == ((3, 3, 3), np.uint8)
        with pytest.raises(ValueError, match=f"the preview is {style}, which shows the image"):
            preview(style, labels, colors)


def figure_of(make: Any, wrong: list[float], radius: int = 1, size: int = 24) -> Any:
    scene = make(size, seed=1)
    flipped = scene.truth.copy()
    flipped[0, :6] = 1 - flipped[0, :6].clip(0, 1)
    panels = {"pixelwise": flipped, "uniform weights": flipped, "learned weights": scene.truth}
    return scene, panels, demo_figure(scene, panels, gpulaf.uniform_weights(scene.truth.shape, radius), wrong)


@pytest.mark.parametrize("make", [gpulaf.scenes.voronoi_colors, gpulaf.scenes.voronoi_lines])
@pytest.mark.parametrize("wrong", [[0.2, 0.035, 0.0025], [0.2], [0.02, 0.0], [0.0, 0.0]])
def test_demo_figure(make: Any, wrong: list[float]) -> None:
    scene, panels, figure = figure_of(make, wrong)
    share = 100 * np.mean(panels["pixelwise"] != scene.truth)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:4] == [
        "noisy image", f"pixelwise: {share:.2f} % wrong", f"uniform weights: {share:.2f} % wrong",
        "learned weights: 0.00 % wrong",
    ]  # fmt: skip
    assert titles[4:6] == ["ground truth", "wrong with uniform weights (red)"]
    assert titles[6].startswith("learned weights of the boxed pixels")
    assert titles[7].startswith("wrong pixels")
    assert titles[7].endswith(f"{100 * wrong[0]:.2f} → {100 * wrong[-1]:.2f} %")
    file = BytesIO()
    figure.savefig(file, format="png", dpi=50)
    assert file.getvalue().startswith(b"\x89PNG")


def test_the_figure_shows_the_errors_and_the_curve() -> None:
    scene, panels, figure = figure_of(gpulaf.scenes.voronoi_lines, [0.2, 0.035, 0.0025])
    errors, curve = figure.axes[5], figure.axes[7]
    np.testing.assert_array_equal(errors.images[0].get_array(), panels["uniform weights"] != scene.truth)
    np.testing.assert_allclose(curve.lines[0].get_ydata(), [20.0, 3.5, 0.25], rtol=1e-15)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), scene.image[..., 0].clip(0, 1))


@pytest.mark.parametrize("radius", [1, 2])
def test_every_patch_of_the_window_is_drawn(radius: int) -> None:
    _, _, figure = figure_of(gpulaf.scenes.voronoi_lines, [0.2, 0.035], radius)
    side = 2 * radius + 1
    glyphs = np.ma.filled(figure.axes[6].images[0].get_array().astype(float), np.nan)
    np.testing.assert_allclose(glyphs[:side, :side], 1 / side**2, rtol=1e-6)
    assert np.isnan(glyphs[side]).all()  # the frame between glyphs
    assert f"{side}×{side} glyph" in figure.axes[6].get_title()


@pytest.mark.parametrize("radius", [1, 2])
def test_a_glyph_is_the_patch_of_its_pixel(radius: int) -> None:
    scene, weights, side = gpulaf.scenes.voronoi_lines(24, seed=1), patches((24, 20), radius, seed=0), 2 * radius + 1
    scene = scene._replace(truth=scene.truth[:, :20])
    _, ((axis, overview),) = canvas(1, 2)
    patch_glyphs(axis, overview, scene, weights)
    left, top = (round(corner + 0.5) for corner in overview.patches[0].get_xy())
    glyphs = np.ma.filled(axis.images[0].get_array(), np.nan)
    for y, x in product(range(9), repeat=2):
        glyph = glyphs[y * (side + 1) :, x * (side + 1) :][:side, :side]
        np.testing.assert_array_equal(glyph.ravel(), weights[top + y, :, left + x])


def test_figures_leave_no_global_state() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    figure_of(gpulaf.scenes.voronoi_colors, [0.03, 0.01])
    assert plt.get_fignums() == before


@pytest.mark.parametrize("kind", ["network", "raw patches", "features"])
def test_the_figure_of_a_predictor_of_volumes_shows_a_plane(kind: str) -> None:
    volume, truth = cells(0, (5, 9, 8))
    options = {"spacing": (2, 1, 1), "training": Training(steps=1)}
    if kind == "network":
        own = gpulaf.WeightNetwork(hidden=(4,), features="patch:1", state=0, n_layers=2, **options)
    else:
        own = gpulaf.WeightPredictor(4, features=1 if kind == "raw patches" else "gaussian:1", **options)
    figure = predictor_figure(own.fit([volume], [truth], progress=False), volume, truth)
    axes = figure.axes
    assert "plane 2 of 0 to 4" in axes[0].get_title()
    assert axes[1].images[0].get_array().shape == (9, 8, 3)
    assert ("3×3×3 weights" in axes[5].get_title()) == (kind != "network")
