"""How much faster is the closed-form gradient than automatic differentiation, at what error and memory?

One loss and its ∂Ω from weights and log-likelihood, float32, T = 3: ours by the public calls `solve`, `cosine_loss` and
`weight_gradient(flow, solution, g)`. PyTorch differentiates the Krylov approximation (2.28) and explicit Euler (3.49),
as `gpulaf/experiments/autodiff.py` writes them, as they are and fused by `torch.compile` (on the CPU that takes a C++
compiler; not with --quick), from the same arrays. The error is that of ∂Ω against quadrature in float64. Memory is the
growth of the resident set during the second gradient of a process that computes nothing else; on a GPU it is what the
pools of CuPy and PyTorch took, arguments included.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from measure import Rows, StoredGrid, command, interleaved, many, megabytes, problem, put, save

from gpulaf import Euler, Grid, Krylov, Taylor, cosine_loss
from gpulaf.backend.array import host_array
from gpulaf.backend.products import norm
from gpulaf.experiments.autodiff import derivative
from gpulaf.flows import LinearFlow, exact_gradient, weight_gradient
from gpulaf.plots.style import ALARM, COLORS, canvas, plain

TIME = 3.0


def ours(solver: Any, weights: Any, l: Any, truth: Any, *, grid: Any = Grid, rank: int | None = None) -> Any:
    flow = LinearFlow(grid(weights), l)
    solution = solver.solve(flow, TIME)
    return weight_gradient(flow, solution, cosine_loss(solution.v, truth).derivative, rank=rank).weights


def theirs(solver: Any, compiled: bool, weights: Any, l: Any, truth: Any) -> Any:
    """∂Ω of the same loss by backpropagation through the scheme."""
    return derivative(solver, weights, l, truth, TIME, compiled=compiled).weights


SCHEMES = {"Krylov 5": Krylov(5), "Krylov 10": Krylov(10), "Euler 10": Euler(10), "Euler 20": Euler(20)}
METHODS = {
    "ours: Taylor 5, reverse Horner": partial(ours, Taylor(5), grid=StoredGrid),
    "ours: Taylor 6, reverse Horner": partial(ours, Taylor(6), grid=StoredGrid),
    "ours: Taylor 8, reverse Horner": partial(ours, Taylor(8), grid=StoredGrid),
    "ours: Taylor 5, in one wave": partial(ours, Taylor(5)),
    "ours: Taylor 6, in one wave": partial(ours, Taylor(6)),
    "ours: Taylor 8, in one wave": partial(ours, Taylor(8)),
    "ours: Taylor 8, rank 1": partial(ours, Taylor(8), rank=1),
    "ours: Krylov 5, rank 2": partial(ours, Krylov(5), rank=2),
} | {
    f"autodiff{', compiled' if compiled else ''}: {name}": partial(theirs, scheme, compiled)
    for compiled in (False, True)
    for name, scheme in SCHEMES.items()
}  # fmt: skip


def memory(name: str, asked: Any) -> float:
    """Megabytes that one gradient takes at its peak, in a process that has computed it once before."""
    command = [sys.executable, __file__, "--alone", name, "--side", asked.side, "--labels", asked.labels]
    command = [*map(str, command), *["--gpu"] * asked.gpu]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure_memory(name: str, data: list[Any], gpu: bool) -> float:
    """The same in this process, which does nothing else."""
    METHODS[name](*data)
    if gpu:
        import cupy
        import torch

        return (cupy.get_default_memory_pool().total_bytes() + torch.cuda.max_memory_reserved()) / 2**20
    ctypes.CDLL(None).malloc_trim(0)  # give back what the first run left
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = megabytes("VmRSS")
    METHODS[name](*data)
    return megabytes("VmHWM") - before


def main() -> None:
    alone = {"--alone": {"metavar": "METHOD", "help": argparse.SUPPRESS}}
    asked = command(
        __doc__, gpu=True, needs=("torch",), more=alone, side=(512, 32), labels=(10, 3), repeats=(7, 1)
    )  # fmt: skip
    weights, l, truth = problem(asked.labels, asked.side)
    data = put(weights, l, truth)
    if asked.alone:
        print(json.dumps(measure_memory(asked.alone, data, asked.gpu)))
        return
    wide = LinearFlow(Grid(weights.astype(float)), l.astype(float))
    g = cosine_loss(Taylor(tol=1e-13).solve(wide, TIME).v, truth).derivative
    exact = exact_gradient(wide, TIME, g).weights
    methods = {name: method for name, method in METHODS.items() if not (asked.quick and "compiled" in name)}
    times = interleaved({k: many(partial(f, *data), 1) for k, f in methods.items()}, repeats=asked.repeats)
    rows = []
    for name, method in methods.items():
        error = norm(host_array(method(*data)).astype(float) - exact) / norm(exact)
        held = memory(name, asked) if not asked.quick or name in list(methods)[::4] else 0.0
        rows.append({"method": name, "ms": 1e3 * times[name], "error": error, "MB": held})
    claims = [claim(rows, name) for name in methods if name.startswith("autodiff") and "Krylov" in name]
    size = f"{asked.side}² pixels with {asked.labels} labels"
    save(rows, f"∂Ω at {size}, float32: {'; '.join(claims)}.", figure)


def claim(rows: Rows, name: str) -> str:
    """The fastest of ours that is no less accurate; single precision cannot tell errors under 5e-7 apart."""
    other = next(row for row in rows if row["method"] == name)
    least = max(other["error"], 5e-7)
    accurate = [row for row in rows if row["method"].startswith("ours") and row["error"] <= least]
    if not accurate:
        return f"none of ours is as accurate as {name}"
    mine = min(accurate, key=lambda r: r["ms"])
    faster, share = other["ms"] / mine["ms"], mine["MB"] / max(other["MB"], 1e-3)
    errors = f"error {mine['error']:.0e} against {other['error']:.0e}"
    return f"{faster:.1f} × faster than {name}, {share:.2f} of its memory ({mine['method']}, {errors})"


def figure(rows: Rows) -> Any:
    plot, ((axis,),) = canvas(1, 1, width=7.5, height=4.2)
    for row in rows:
        mine, fused = row["method"].startswith("ours"), "compiled" in row["method"]
        color = COLORS[0] if mine else ALARM
        axis.scatter(row["ms"], row["error"], s=row["MB"], alpha=0.75, c="none" if fused else color, edgecolor=color)
        if fused:
            place = {"xytext": (0, -4 - 0.56 * row["MB"] ** 0.5), "ha": "center", "va": "top"}
        elif "in one wave" in row["method"]:
            place = {"xytext": (-6, -5), "ha": "right", "va": "top"}
        else:
            place = {"xytext": (6, 8)}
        name, at = row["method"].split(": ")[1], (row["ms"], row["error"])
        axis.annotate(name, at, textcoords="offset points", fontsize=8, **place)
    title = "blue: closed form, red: automatic differentiation (rings: compiled); area: memory"
    plain(axis, title, "ms for one loss and its gradient", "relative error of ∂Ω")
    axis.set(xscale="log", yscale="log")
    axis.margins(x=0.35, y=0.15)
    return plot


if __name__ == "__main__":
    main()
