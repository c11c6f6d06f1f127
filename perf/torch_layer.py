"""What does the flow bring behind a small U-Net, and what does it cost beside autodiff and a mean-field CRF?

Cost: forward and backward pass from weights and logits (4, 4, 256, 256), float32, T = 3, and a step of the U-Net with
them, each on one thread; the closed form beside automatic differentiation of the same Taylor series and of a mean field
with as many iterations, in plain torch operations. Times are medians of calls in turns; memory is the growth of the
resident set during the second call of a process that does nothing else; "kept" is what autograd holds for the backward
pass.

Quality: a U-Net of three scales learns the membranes of electron micrographs 00 … 09 from crops, by cross-entropy, with
each layer behind it or none, and labels 10 … 14; the same crops and steps for all, several seeds. The mean field has a
fixed strength, the flow a fixed time. With --quick scenes of lines in their place.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from measure import Rows, command, in_turns, megabytes, save

from gpulaf.plots.style import COLORS, canvas, plain


def cost(name: str, part: str, asked: Any) -> Callable[[], Any]:
    """One forward and backward pass of a layer, or of the U-Net with it."""
    import torch
    import unet

    numba.set_num_threads(1)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size, labels, side, layer = asked.batch, asked.labels, asked.side, unet.LAYERS[name]
    if part == "layer":
        weights = unet.gpulaf.torch.weights_from_logits(torch.randn(size, 9, side, side)).contiguous()
        operands = [weights.requires_grad_(), (2 * torch.randn(size, labels, side, side)).requires_grad_()]
        call, learned = (lambda: layer(*operands)), operands
    else:
        model, image = unet.UNet(layer, labels), torch.randn(size, 1, side, side)
        call, learned = (lambda: model(image)), list(model.parameters())
    truth = torch.randint(labels, (size, side, side))

    def run(kept: Callable[[Any], Any] | None = None) -> None:
        for x in learned:
            x.grad = None
        with torch.autograd.graph.saved_tensors_hooks(kept or (lambda x: x), lambda x: x):
            v = call()
        torch.nn.functional.cross_entropy(v, truth).backward()

    return run


def measure_memory(run: Callable[..., Any]) -> dict[str, float]:
    """Megabytes at the peak of a second call, and kept for the backward pass, in this process."""
    held: dict[int, int] = {}

    def keep(x: Any) -> Any:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    run()
    ctypes.CDLL(None).malloc_trim(0)  # give back what the first run left
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = megabytes("VmRSS")
    run()
    peak = megabytes("VmHWM") - before
    run(keep)
    return {"MB": peak, "kept": sum(held.values()) / 2**20}


def memory(name: str, part: str, asked: Any) -> dict[str, float]:
    """The same in a process that does nothing else."""
    sizes = [f"--{x}={getattr(asked, x)}" for x in ("batch", "labels", "side")]
    call = [sys.executable, __file__, "--alone", name, part, *sizes]
    return json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout)


def quality(name: str, asked: Any, seed: int) -> tuple[float, float]:
    """Wrong pixels in percent and Rand F-score of unseen images."""
    import unet

    if asked.quick:
        known, unseen = unet.scenes(64, range(2)), unet.scenes(64, range(2, 3))
    else:
        known, unseen = unet.micrographs(range(10)), unet.micrographs(range(10, 15))
    model = unet.train(
        unet.LAYERS[name], known, steps=asked.steps, size=asked.crops, side=asked.crop, seed=seed
    )  # fmt: skip
    return unet.errors(model, unseen)


def main() -> None:
    more = {"--alone": {"nargs": 2, "help": argparse.SUPPRESS}}
    asked = command(
        __doc__, needs=("torch",), more=more, batch=(4, 2), labels=(4, 3), side=(256, 32), repeats=(5, 1),
        steps=(400, 2), crops=(2, 2), crop=(128, 32), seeds=(3, 1),
    )  # fmt: skip
    if asked.alone:
        print(json.dumps(measure_memory(cost(*asked.alone, asked))))
        return
    import unet

    rows: Rows = []
    clocks, taken = ("ms", "CPU ms"), dict[Any, float]()
    for part in ("layer", "step"):
        runs = {name: cost(name, part, asked) for name, layer in unet.LAYERS.items() if layer or part == "step"}
        for name, pairs in in_turns(runs, asked.repeats).items():
            for clock, seconds in zip(clocks, zip(*pairs, strict=True), strict=True):
                taken[name, part, clock] = 1e3 * statistics.median(seconds)
    for name, layer in unet.LAYERS.items():
        row: dict[str, Any] = {"layer": name}
        for part in ("layer", "step"):
            known = layer is not None or part == "step"
            row |= {f"{part} {clock}": taken[name, part, clock] if known else "" for clock in clocks}
            held = memory(name, part, asked) if known and not (asked.quick and part == "step") else {}
            row |= {f"{part} {what}": held.get(what, "") for what in ("MB", "kept")}
        found = [] if name == "flow, autodiff" else [quality(name, asked, seed) for seed in range(asked.seeds)]
        for k, what in enumerate(("wrong %", "Rand F")):
            values = [x[k] for x in found]
            row[what] = statistics.mean(values) if values else ""
            row[f"{what} of seeds"] = [round(x, 4) for x in values]
        rows.append(row)
    save(rows, answer(rows, asked), figure)


def answer(rows: Rows, asked: Any) -> str:
    none, mine, auto, field = rows

    def over(key: str, other: dict[str, Any]) -> str:
        return f"{mine[key] / max(other[key], 1e-3):.2f}"

    size = f"({asked.batch}, {asked.labels}, {asked.side}, {asked.side})"
    told = [
        f"{over('layer ms', other)} of the time ({over('layer CPU ms', other)} of the processor's), "
        f"{over('layer MB', other)} of the memory and {over('layer kept', other)} of what is kept of {what}"
        for other, what in ((auto, "autodiff of the same series"), (field, "the mean field"))
    ]
    scored = (none, mine, field)
    found = "; ".join(f"{r['layer']}: {r['wrong %']:.2f} % wrong, Rand F {r['Rand F']:.3f}" for r in scored)
    return f"At {size} the closed form takes {'; '.join(told)}. Unseen images, mean of {asked.seeds} seeds: {found}."


def figure(rows: Rows) -> Any:
    plot, (axes,) = canvas(1, 4, width=3.0, height=2.9)
    marks = dict(zip([row["layer"] for row in rows], (COLORS[6], COLORS[0], COLORS[1], COLORS[3]), strict=True))
    for axis, (key, title) in zip(
        axes,
        (("layer CPU ms", "processor time of the layer, ms"), ("layer MB", "memory of the layer, MB"),
         ("wrong %", "wrong pixels, unseen images, %"), ("Rand F", "Rand F-score, unseen images")),
        strict=True,
    ):  # fmt: skip
        shown = [row for row in rows if row[key] != ""]
        names = [row["layer"].replace(", ", "\n") for row in shown]
        bars = axis.bar(names, [row[key] for row in shown], color=[marks[row["layer"]] for row in shown], width=0.6)
        axis.bar_label(bars, fmt="%.3g", fontsize=8, label_type="center")  # dots of seeds are near the top
        if f"{key} of seeds" in rows[0]:
            for k, row in enumerate(shown):
                values = row[f"{key} of seeds"]
                axis.plot([k] * len(values), values, "o", ms=3, color="#222222", alpha=0.7)
        plain(axis, title, "", "")
        axis.margins(y=0.15)
    return plot


if __name__ == "__main__":
    main()
