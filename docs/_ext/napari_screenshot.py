"""Make docs/images/napari.png: a noisy scene and its labels side by side, and the widget that made them.

Needs the extra napari and a display; in place of one, ``xvfb-run -a python docs/_ext/napari_screenshot.py``.
"""

from __future__ import annotations

import time
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication

import gpulaf

TARGET = Path(__file__).parents[1] / "images" / "napari.png"


def main() -> None:
    """Label a scene as a user would, and write what the viewer then looks like."""
    scene = gpulaf.scenes.voronoi_colors(128, noise=0.4)
    viewer = napari.Viewer(show=False)
    viewer.add_image(scene.image.clip(0, 1).astype(np.float32), rgb=True, name="cells")
    _, widget = viewer.window.add_plugin_dock_widget("gpulaf", "Label an image")
    widget["labels"].value, widget["time"].value = 8, 6.0
    widget["start"].native.click()
    while widget.worker is not None:
        QApplication.processEvents()
        time.sleep(0.01)
    viewer.layers["cells labels"].opacity = 1
    grid = viewer.canvas.grid
    grid.stride, grid.enabled = 1, True
    viewer.window.resize(1240, 640)
    for _ in range(50):
        QApplication.processEvents()
        time.sleep(0.01)
    viewer.reset_view()
    picture = Image.fromarray(viewer.screenshot(canvas_only=False)[..., :3])
    picture.quantize(96, dither=Image.Dither.NONE).save(TARGET, optimize=True)
    viewer.close()


if __name__ == "__main__":
    main()
