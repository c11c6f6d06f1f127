"""Fig. 1: both scenes with noise, labeled pixel by pixel, with uniform weights and with learned weights."""

from __future__ import annotations

from ..plots.figures import show_image
from ..plots.style import canvas
from .demo import SCENES, Demo, run_demo
from .result import Drawing, ExperimentResult, Row, Setting, only

METHODS = ("pixelwise", "uniform weights", "learned weights")


def run(setting: Setting) -> ExperimentResult:
    """Label both scenes three ways."""
    demos = {}
    for name in SCENES:
        setting.tell(f"weights of {name}")
        demos[name] = run_demo(
            name, size=setting.size, seed=setting.seed, steps=setting.pick(50, 20), device="cpu", progress=False
        )
    rows = [
        {"scene": name, "method": method, "wrong %": 100 * demo.wrong(method)}
        for name, demo in demos.items()
        for method in METHODS
    ]
    steps = len(next(iter(demos.values())).fit.history) - 1
    caption = (
        "Noisy data and three labelings. Pixelwise: the nearest label. Uniform weights: the linearized assignment flow "
        f"with T = 3, ρ = 0.1. Learned weights: the same flow after {steps} steps of Riemannian descent with the "
        "rank-1 gradient on this image and its truth."
    )
    return ExperimentResult({"fig1": Drawing(_draw(demos), caption)}, {"fig1": rows}, finding(rows))


def finding(rows: list[Row]) -> str:
    """Whether learned weights label best on both scenes."""
    sentences, won = [], True
    for name in dict.fromkeys(row["scene"] for row in rows):
        pixels, uniform, learned = (only(rows, "wrong %", scene=name, method=method) for method in METHODS)
        won &= learned < min(pixels, uniform)
        sentences.append(f"{name}: {pixels:.2f} % wrong pixelwise, {uniform:.2f} % uniform, {learned:.2f} % learned")
    verdict = "Learned weights label both scenes best" if won else "Learned weights do not label every scene best"
    return f"{verdict} ({'; '.join(sentences)})."


def _draw(demos: dict[str, Demo]) -> object:
    figure, axes = canvas(len(demos), 5, width=2.4, height=2.6)
    for line, (name, demo) in zip(axes, demos.items(), strict=True):
        scene = demo.scene
        show_image(line[0], scene.image.clip(0, 1), f"{name}: noisy image")
        show_image(line[1], scene.clean, "ground truth")
        for axis, method in zip(line[2:], METHODS, strict=True):
            show_image(axis, scene.prototypes[demo.panels[method]], f"{method}\n{100 * demo.wrong(method):.2f} % wrong")
    return figure
