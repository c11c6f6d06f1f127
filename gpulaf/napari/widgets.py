"""The widgets of the plugin: a form over what :mod:`gpulaf.napari.work` does, in a thread, with progress and cancel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import napari.layers
from magicgui.widgets import Container, ProgressBar, PushButton, create_widget
from napari.qt.threading import FunctionWorker, create_worker
from napari.utils.notifications import notification_manager
from superqt.utils import ensure_main_thread

from .layers import LayerData
from .work import Cancelled, Settings, apply_model, label_image, learn_weights, refine_probabilities

__all__ = ["ApplyModel", "LabelImage", "LearnWeights", "RefineProbabilities"]


class Panel(Container):
    """A form with a button that starts work in a thread, one that cancels it, and a bar of its progress.

    Errors and warnings of the work become notifications of the viewer; closing the form cancels it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where results are added.
    """

    #: What is written on the button.
    verb: str

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        start = PushButton(text=self.verb, name="start")
        cancel = PushButton(text="Cancel", name="cancel", enabled=False)
        bar = ProgressBar(name="progress", visible=False, label=" ")
        super().__init__(widgets=[*self.fields(), start, cancel, bar])
        self.viewer = viewer
        self.worker: FunctionWorker | None = None
        self._docked = False
        start.changed.connect(self._start)
        cancel.changed.connect(self._quit)

    def fields(self) -> Sequence[Any]:
        """The fields of the form."""
        raise NotImplementedError

    def work(self, values: dict[str, Any], tell: Callable[[int, int], None]) -> list[LayerData]:
        """The layers that come of the values of the fields."""
        raise NotImplementedError

    def _start(self) -> None:
        if self.worker is not None:
            return
        values = {x.name: x.value for x in self if x.name not in ("start", "cancel", "progress")}

        def work() -> list[LayerData]:
            try:
                return self.work(values, tell)
            except Cancelled:
                return []
            except Exception as error:
                self._fail(error)
                return []

        def tell(done: int, total: int) -> None:
            if worker.abort_requested:
                raise Cancelled
            self._show(done, total)

        worker = create_worker(work, _start_thread=False, _ignore_errors=True)
        worker.warned.connect(lambda warning: notification_manager.receive_warning(*warning))
        worker.returned.connect(self._add)
        worker.finished.connect(self._finished)
        self.worker, self._docked = worker, self.native.parent() is not None
        self._set_running(True)
        worker.start()

    def _quit(self) -> None:
        if self.worker is not None:
            self.worker.quit()

    def _add(self, layers: list[LayerData]) -> None:
        for data, attributes, kind in layers:
            self.viewer.add_layer(napari.layers.Layer.create(data, attributes, kind))

    def _finished(self) -> None:
        self.worker = None
        self._set_running(False)

    def _set_running(self, running: bool) -> None:
        with suppress(RuntimeError):  # the widget was closed meanwhile
            self["start"].enabled, self["cancel"].enabled, self["progress"].visible = not running, running, running

    @ensure_main_thread
    def _show(self, done: int, total: int) -> None:
        with suppress(RuntimeError):
            if self._docked and self.native.parent() is None:
                self._quit()
            self["progress"].max, self["progress"].value = total, done

    @ensure_main_thread
    def _fail(self, error: Exception) -> None:
        notification_manager.receive_error(type(error), error, error.__traceback__)


class LabelImage(Panel):
    """Label an image by prototypes: a number of them, or the colors under painted labels."""

    verb = "Label"

    def fields(self) -> Sequence[Any]:
        """The fields of the form."""
        return [
            _layer("image", "image"),
            _number("labels", "number of labels", 4, 2, 255),
            _layer("strokes", "or as painted in", "Labels", optional=True),
            *_settings(Settings()),
        ]

    def work(self, values: dict[str, Any], tell: Callable[[int, int], None]) -> list[LayerData]:
        """The layers that come of the values of the fields."""
        image, labels, strokes = (values.pop(name) for name in ("image", "labels", "strokes"))
        return label_image(image, labels, strokes=strokes, settings=Settings(**values), tell=tell)


class RefineProbabilities(Panel):
    """Refine the probabilities of a classifier."""

    verb = "Refine"

    def fields(self) -> Sequence[Any]:
        """The fields of the form."""
        return [
            _layer("probabilities", "probabilities"),
            _axis(),
            _layer("image", "image, if sigma is given", optional=True),
            *_settings(Settings(rho=1.0)),
        ]

    def work(self, values: dict[str, Any], tell: Callable[[int, int], None]) -> list[LayerData]:
        """The layers that come of the values of the fields."""
        probabilities, axis, image = (values.pop(name) for name in ("probabilities", "label_axis", "image"))
        return refine_probabilities(probabilities, image, label_axis=axis, settings=Settings(**values), tell=tell)


class LearnWeights(Panel):
    """Learn the weights of an image from labels, and label it with them."""

    verb = "Learn"

    def fields(self) -> Sequence[Any]:
        """The fields of the form."""
        return [
            _layer("image", "image"),
            _layer("truth", "labels", "Labels"),
            create_widget(False, bool, name="zero", label="0 is a label, too"),
            _number("steps", "steps", 50, 1, 10_000),
            _number("radius", "radius of the weights", 1, 1, 3),
            *(x for x in _settings(Settings(rho=0.2, time=6.0)) if x.name != "sigma"),
        ]

    def work(self, values: dict[str, Any], tell: Callable[[int, int], None]) -> list[LayerData]:
        """The layers that come of the values of the fields."""
        image, truth = values.pop("image"), values.pop("truth")
        options = {name: values.pop(name) for name in ("zero", "steps", "radius")}
        return learn_weights(image, truth, **options, settings=Settings(**values), tell=tell)


class ApplyModel(Panel):
    """Label an image by a model of ``gpulaf train``."""

    verb = "Apply"

    def fields(self) -> Sequence[Any]:
        """The fields of the form."""
        return [
            _layer("image", "image"),
            create_widget(annotation="pathlib.Path", name="path", label="model", options={"filter": "*.safetensors"}),
            _layer("probabilities", "probabilities, if any", optional=True),
            _axis(),
        ]

    def work(self, values: dict[str, Any], tell: Callable[[int, int], None]) -> list[LayerData]:
        """The layers that come of the values of the fields."""
        return apply_model(values.pop("image"), values.pop("path"), **values, tell=tell)


def _layer(name: str, label: str, kind: str = "Image", optional: bool = False) -> Any:
    """A field for a layer of the viewer."""
    annotation = getattr(napari.layers, kind)
    return create_widget(annotation=annotation | None if optional else annotation, name=name, label=label)


def _number(name: str, label: str, value: float, least: float, most: float, **options: Any) -> Any:
    return create_widget(value, type(value), name=name, label=label, options={"min": least, "max": most} | options)


def _axis() -> Any:
    """A field for the axis of the labels of probabilities."""
    choices = [("first", 0), ("last", -1)]
    return create_widget(0, name="label_axis", label="axis of their labels", options={"choices": choices})


def _settings(settings: Settings) -> list[Any]:
    """The fields of the settings."""
    scale = "The distance of values that matters, in units of the image; of probabilities a temperature, 1 is neutral."
    bilateral = "Scale of bilateral weights, in units of the image; 0 averages uniformly."
    limits = "The contrast limits of the image become 0 and 1, in place of the range of its type."
    return [
        _number("rho", "rho", settings.rho, 0.001, 1e6, step=0.05, tooltip=scale),
        _number("time", "time", settings.time, 0.0, 1000.0, step=0.5, tooltip="The longer, the smoother."),
        _number("sigma", "sigma (0: uniform)", settings.sigma, 0.0, 1e6, step=0.05, tooltip=bilateral),
        create_widget(
            settings.limits, bool, name="limits", label="scale by contrast limits", options={"tooltip": limits}
        ),
    ]
