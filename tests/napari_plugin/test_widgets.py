"""The widgets of the plugin in a real viewer of napari, used as a user would."""

import os
import re
import sys
import time
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from examples import IMAGES, ball, fitted

import gpulaf
from gpulaf.learning import RiemannianAdam
from gpulaf.scenes import voronoi_colors, voronoi_lines

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("needs a display with OpenGL, such as that of Xvfb", allow_module_level=True)
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("napari", reason="needs the extra napari", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore")  # of napari and Qt
COLORS = voronoi_colors(48, sites=6, noise=0.3)
LINES = voronoi_lines(40, sites=5)
#: Seconds that work may take.
LONGEST = 120


@pytest.fixture(scope="module")
def window():
    import napari

    viewer = napari.Viewer(show=False)
    yield viewer
    viewer.close()


@pytest.fixture
def viewer(window):
    window.layers.clear()
    yield window
    window.window.remove_dock_widget("all")
    window.layers.clear()


@pytest.fixture
def notified():
    """What notifications say."""
    from napari.utils.notifications import notification_manager

    said = []

    def note(notification):
        said.append((notification.severity.value, notification.message))

    notification_manager.notification_ready.connect(note)
    yield said
    notification_manager.notification_ready.disconnect(note)


def panel(viewer, name, **values):
    """A widget of the plugin, as its menu opens it, with these values chosen."""
    _, widget = viewer.window.add_plugin_dock_widget("gpulaf", name)
    for field, value in values.items():
        widget[field].value = value
    return widget


def wait(until):
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + LONGEST
    while not until():
        QApplication.processEvents()
        time.sleep(0.01)
        assert time.monotonic() < end


def click(widget, button="start"):
    widget[button].native.click()


def run(widget):
    click(widget)
    assert widget["cancel"].enabled
    assert not widget["start"].enabled
    wait(lambda: widget.worker is None)
    assert widget["start"].enabled
    assert not widget["cancel"].enabled


def test_the_menu_offers_the_widgets(window):
    from npe2 import PluginManager

    manifest = PluginManager.instance().get_manifest("gpulaf")
    names = [widget.display_name for widget in manifest.contributions.widgets]
    assert names == ["Label an image", "Refine probabilities", "Learn weights from labels", "Apply a model"]


def test_label_an_image(viewer):
    image = COLORS.image.clip(0, 1).astype(np.float32)
    viewer.add_image(image, rgb=True, name="cells", scale=[0.5, 0.25], translate=[1, 2], units=["um", "um"])
    run(panel(viewer, "Label an image", labels=8, sigma=0.3))
    weights = gpulaf.averaging.BilateralWeights(0.3, spacing=(0.5, 0.25))
    own = gpulaf.label(image, 8, weights=weights, spacing=(0.5, 0.25))
    found = viewer.layers["cells labels"]
    np.testing.assert_array_equal(found.data, own.labels + 1)
    np.testing.assert_array_equal(found.scale, [0.5, 0.25])
    np.testing.assert_array_equal(found.translate, [1, 2])
    assert found.units == viewer.layers["cells"].units
    assert len({tuple(found.get_color(j)) for j in range(1, 9)}) == 8
    assert "prototype" in found.features


def test_label_as_painted(viewer):
    image = COLORS.image.clip(0, 1).astype(np.float32)
    viewer.add_image(image, rgb=True, name="cells")
    widget = panel(viewer, "Label an image")
    strokes = viewer.add_labels(np.zeros(COLORS.truth.shape, int), name="strokes")
    for value, label in ((2, COLORS.truth[3, 3]), (7, COLORS.truth[-3, -3])):
        strokes.selected_label, strokes.brush_size = value, 3
        for place in np.argwhere(COLORS.truth == label)[:200:20]:
            strokes.paint(place, value)
    widget["strokes"].value = strokes
    run(widget)
    painted = strokes.data
    prototypes = np.array([[image[..., c][painted == v].astype(float).mean() for c in range(3)] for v in (2, 7)])
    found = viewer.layers["cells labels"]
    np.testing.assert_array_equal(found.data, np.array([2, 7])[gpulaf.label(image, prototypes).labels])
    np.testing.assert_allclose(found.get_color(7), strokes.get_color(7))


def test_a_turned_layer(viewer):
    viewer.add_image(LINES.image[..., 0], name="lines", rotate=30, shear=[0.2])
    run(panel(viewer, "Label an image", labels=2))
    ends = np.array([[0, 0], [0, 40], [40, 0], [40, 40]])
    image, found = viewer.layers
    for corner in ends:
        np.testing.assert_allclose(found.data_to_world(corner), image.data_to_world(corner), atol=1e-6)


def test_a_volume(viewer):
    volume = ball((2.0, 1.0, 1.0))[0].astype(np.float32)
    viewer.add_image(volume, name="ball", scale=[2, 1, 1], translate=[5, 6, 7])
    run(panel(viewer, "Label an image", labels=2))
    found = viewer.layers["ball labels"]
    own = gpulaf.label(volume, 2, channel_axis=None, spacing=(2, 1, 1))
    np.testing.assert_array_equal(found.data, own.labels + 1)
    np.testing.assert_array_equal(found.translate, [5, 6, 7])


def test_a_dask_array_tile_by_tile(viewer, monkeypatch):
    monkeypatch.setattr("gpulaf.napari.work.SIDES", {2: 16})
    image = COLORS.image.clip(0, 1)
    viewer.add_image(da.from_array(image, chunks=(16, 16, 3)), rgb=True, name="cells")
    widget, seen = panel(viewer, "Label an image", labels=8), []
    widget["progress"].changed.connect(lambda value: seen.append((value, widget["progress"].max)))
    run(widget)
    np.testing.assert_array_equal(viewer.layers["cells labels"].data, gpulaf.label(image, 8).labels + 1)
    assert seen[-1] == (8, 9)


def test_refine_probabilities(viewer):
    soft = np.random.default_rng(0).dirichlet(np.ones(5), (24, 31)).astype(np.float32)
    viewer.add_image(np.moveaxis(soft, -1, 0), name="soft", scale=[1, 2, 2], translate=[0, 3, 4])
    run(panel(viewer, "Refine probabilities", rho=2.0, time=4.0))
    found = viewer.layers["soft refined"]
    np.testing.assert_array_equal(found.data, gpulaf.refine(soft, rho=2.0, time=4.0).labels + 1)
    np.testing.assert_array_equal(found.scale, [2, 2])
    np.testing.assert_array_equal(found.translate, [3, 4])


def test_learn_weights(viewer):
    image = LINES.image[..., 0].astype(np.float32)
    viewer.add_image(image, name="lines")
    viewer.add_labels(LINES.truth + 1, name="truth")
    widget = panel(viewer, "Learn weights from labels", steps=4)
    run(widget)
    found = viewer.layers["lines learned"]
    prototypes = np.array([[image[LINES.truth == j].astype(float).mean()] for j in (0, 1)])
    likelihood = gpulaf.labeling.log_likelihood(gpulaf.labeling.distances(image[..., None], prototypes), 0.2)
    fit = gpulaf.fit_weights(likelihood, LINES.truth, time=6.0, steps=4, descent=RiemannianAdam(0.2))
    own = gpulaf.label(image, prototypes, weights=fit.weights, rho=0.2, time=6.0)
    np.testing.assert_array_equal(found.metadata["weights"], fit.weights)
    np.testing.assert_array_equal(found.data, own.labels + 1)


def test_apply_a_model(viewer, tmp_path):
    predictor = fitted()
    predictor.save(tmp_path / "model.safetensors")
    viewer.add_image(IMAGES[2][..., 0], name="unseen")
    run(panel(viewer, "Apply a model", path=tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(viewer.layers["unseen model"].data, predictor.predict([IMAGES[2]])[0])


def test_cancel(viewer):
    viewer.add_image(LINES.image[..., 0], name="lines")
    viewer.add_labels(LINES.truth + 1, name="truth")
    widget = panel(viewer, "Learn weights from labels", steps=10_000)
    click(widget)
    wait(lambda: widget["progress"].value > 0)
    assert widget["progress"].max == 10_000
    click(widget, "cancel")
    wait(lambda: widget.worker is None)
    assert [layer.name for layer in viewer.layers] == ["lines", "truth"]
    widget["steps"].value = 1
    run(widget)
    assert "lines learned" in viewer.layers


def test_closing_the_widget_cancels(viewer, notified):
    viewer.add_image(LINES.image[..., 0], name="lines")
    viewer.add_labels(LINES.truth + 1, name="truth")
    widget = panel(viewer, "Learn weights from labels", steps=10_000)
    click(widget)
    wait(lambda: widget["progress"].value > 0)
    viewer.window.remove_dock_widget("all")
    wait(lambda: widget.worker is None)
    assert notified == []
    assert len(viewer.layers) == 2


def test_errors_become_notifications(viewer, notified):
    widget = panel(viewer, "Label an image")
    run(widget)
    viewer.add_image(np.arange(400, dtype=np.int32).reshape(20, 20), name="counts")
    run(widget)
    (kind, missing), (_, wide) = notified
    assert kind == "error"
    assert missing == "a layer is missing. Open it in the viewer, and choose it."
    assert "Pass range=(low, high)" in wide
    widget["limits"].value = True
    run(widget)
    assert "counts labels" in viewer.layers


def test_warnings_become_notifications(viewer, notified):
    viewer.add_image(4000 * LINES.image[..., 0], name="lines")
    run(panel(viewer, "Label an image", labels=2))
    [(kind, text)] = notified
    assert kind == "warning"
    assert "rho" in text


def test_the_page_of_the_documentation(viewer):
    text = (Path(__file__).parents[2] / "docs/napari.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```py\n(.*?)```", text, re.S)
    viewer.add_image(COLORS.image.clip(0, 1), rgb=True, name="cells")
    exec(compile(code, "docs/napari.md", "exec"), {"viewer": viewer})
    own = gpulaf.label(COLORS.image.clip(0, 1), 8, time=6.0)
    np.testing.assert_array_equal(viewer.layers["cells labels"].data, own.labels + 1)
    offered = {name for line in text.splitlines() for name in re.findall(r"^\| (\w[\w ]+) \|", line)}
    assert {"Label an image", "Refine probabilities", "Learn weights from labels", "Apply a model"} <= offered
