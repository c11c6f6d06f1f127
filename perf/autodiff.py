"""How much faster is the closed-form gradient than automatic differentiation, at what error and memory?

    python perf/autodiff.py [--side 512] [--labels 10] [--gpu]          (needs: python -m pip install torch)

One loss and its ∂Ω from weights and log-likelihood, float32, T = 3. PyTorch differentiates the Krylov approximation
(2.28) and explicit Euler (3.49), as `gpulaf/experiments/autodiff.py` writes them, as they are and fused by
`torch.compile` (on the CPU that takes a C++ compiler). The error is that of ∂Ω against quadrature in float64. Memory is
the growth of the resident set during the second gradient of a process that computes nothing else; on a GPU it is what
the pools of CuPy and PyTorch took, arguments included.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, interleaved, many, on_gpu, put, result_name, save

from gpulaf import Euler, Grid, Krylov, Taylor, cosine_loss
from gpulaf.averaging import normalize_weights
from gpulaf.backend.array import host_array
from gpulaf.backend.fields import norm
from gpulaf.experiments.autodiff import derivative
from gpulaf.flows import LinearFlow, exact_gradient, weight_gradient

TIME = 3.0


def problem(labels: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, log-likelihood and truth on the host: noisy blocks of labels."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, labels, (side // 16 + 1, side // 16 + 1))
    truth = np.kron(blocks, np.ones((16, 16), int))[:side, :side].astype(np.int32)
    l = 3 * rng.standard_normal((labels, side, side)) + 4 * (np.arange(labels)[:, None, None] == truth)
    weights = normalize_weights(0.5 + rng.random((9, side, side)))
    return weights.astype(np.float32), l.astype(np.float32), truth


def ours(integrator: Any, weights: Any, l: Any, truth: Any, *, basis: bool = True, **options: Any) -> Any:
    flow = LinearFlow(Grid(weights), l)
    solution = integrator.solve(flow, TIME, keep_basis=basis)
    return weight_gradient(flow, solution, cosine_loss(solution.v, truth).derivative, **options).weights


def theirs(integrator: Any, compiled: bool, weights: Any, l: Any, truth: Any) -> Any:
    """∂Ω of the same loss by backpropagation through the scheme."""
    return derivative(integrator, weights, l, truth, TIME, compiled=compiled).weights


SCHEMES = {"Krylov 5": Krylov(5), "Krylov 10": Krylov(10), "Euler 10": Euler(10), "Euler 20": Euler(20)}
METHODS = {
    "ours: Taylor 5, reverse Horner": partial(ours, Taylor(5), tol=0),
    "ours: Taylor 6, reverse Horner": partial(ours, Taylor(6), tol=0),
    "ours: Taylor 8, reverse Horner": partial(ours, Taylor(8), tol=0),
    "ours: Taylor 5, in one wave": partial(ours, Taylor(5), tol=0, basis=False),
    "ours: Taylor 6, in one wave": partial(ours, Taylor(6), tol=0, basis=False),
    "ours: Taylor 8, in one wave": partial(ours, Taylor(8), tol=0, basis=False),
    "ours: Taylor 8, rank 1": partial(ours, Taylor(8), rank=1),
    "ours: Krylov 5, rank 2": partial(ours, Krylov(5), rank=2),
} | {
    f"autodiff{', compiled' if compiled else ''}: {name}": partial(theirs, scheme, compiled)
    for compiled in (False, True)
    for name, scheme in SCHEMES.items()
}  # fmt: skip


def megabytes(name: str) -> float:
    """A row of this process's status (Linux): VmRSS, what is resident, or VmHWM, the most that was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name))) / 1024


def memory(name: str, labels: int, side: int) -> float:
    """Megabytes that one gradient takes at its peak, in a process that has computed it once before."""
    command = [sys.executable, __file__, "--child", name, str(labels), str(side)] + ["--gpu"] * on_gpu()
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def child(name: str, labels: int, side: int) -> None:
    data = put(*problem(labels, side))
    METHODS[name](*data)
    if on_gpu():
        import cupy
        import torch

        print(json.dumps((cupy.get_default_memory_pool().total_bytes() + torch.cuda.max_memory_reserved()) / 2**20))
        return
    ctypes.CDLL(None).malloc_trim(0)  # give back what the first run left
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = megabytes("VmRSS")
    METHODS[name](*data)
    print(json.dumps(megabytes("VmHWM") - before))


def main() -> None:
    if "--child" in sys.argv:
        at = sys.argv.index("--child")
        child(sys.argv[at + 1], int(sys.argv[at + 2]), int(sys.argv[at + 3]))
        return
    side = int(sys.argv[sys.argv.index("--side") + 1]) if "--side" in sys.argv else 512
    labels = int(sys.argv[sys.argv.index("--labels") + 1]) if "--labels" in sys.argv else 10
    weights, l, truth = problem(labels, side)
    wide = LinearFlow(Grid(weights.astype(float)), l.astype(float))
    g = cosine_loss(Taylor(tol=1e-13).solve(wide, TIME).v, truth).derivative
    exact = exact_gradient(wide, TIME, g).weights
    data = put(weights, l, truth)
    times = interleaved({name: many(partial(method, *data), 1) for name, method in METHODS.items()}, repeats=7)
    rows = []
    for name, method in METHODS.items():
        error = norm(host_array(method(*data)).astype(float) - exact) / norm(exact)
        rows.append({"method": name, "ms": 1e3 * times[name], "error": error, "MB": memory(name, labels, side)})
    figure(rows)
    claims = [claim(rows, f"autodiff{kind}: Krylov {m}") for m in (5, 10) for kind in ("", ", compiled")]
    save("autodiff", rows, f"∂Ω at ({labels}, {side}, {side}), float32: " + "; ".join(claims) + ".")


def claim(rows: list[dict[str, Any]], name: str) -> str:
    """The fastest of ours that is no less accurate; single precision cannot tell errors under 5e-7 apart."""
    other = next(row for row in rows if row["method"] == name)
    least = max(other["error"], 5e-7)
    accurate = [row for row in rows if row["method"].startswith("ours") and row["error"] <= least]
    if not accurate:
        return f"none of ours is as accurate as {name}"
    mine = min(accurate, key=lambda r: r["ms"])
    faster, share = other["ms"] / mine["ms"], mine["MB"] / other["MB"]
    errors = f"error {mine['error']:.0e} against {other['error']:.0e}"
    return f"{faster:.1f} × faster than {name}, {share:.2f} of its memory ({mine['method']}, {errors})"


def figure(rows: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    from gpulaf.io.images import write_figure
    from gpulaf.plots.figures import ALARM, QUALITATIVE

    plot = Figure(figsize=(7.5, 4.2), layout="constrained")
    axis = plot.subplots()
    for row in rows:
        mine, fused = row["method"].startswith("ours"), "compiled" in row["method"]
        color = QUALITATIVE[0] if mine else ALARM
        axis.scatter(row["ms"], row["error"], s=row["MB"], alpha=0.75, c="none" if fused else color, edgecolor=color)
        if fused:
            place = {"xytext": (0, -4 - 0.56 * row["MB"] ** 0.5), "ha": "center", "va": "top"}
        elif "in one wave" in row["method"]:
            place = {"xytext": (-6, -5), "ha": "right", "va": "top"}
        else:
            place = {"xytext": (6, 8)}
        name, at = row["method"].split(": ")[1], (row["ms"], row["error"])
        axis.annotate(name, at, textcoords="offset points", fontsize=8, **place)
    axis.set(xscale="log", yscale="log", xlabel="ms for one loss and its gradient", ylabel="relative error of ∂Ω")
    axis.set_title("blue: closed form, red: automatic differentiation (rings: compiled); area: memory", fontsize=10)
    axis.margins(x=0.35, y=0.15)
    axis.spines[["top", "right"]].set_visible(False)
    write_figure(RESULTS / f"{result_name('autodiff')}.png", plot)


if __name__ == "__main__":
    main()
