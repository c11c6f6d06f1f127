"""How much faster is the closed-form gradient than automatic differentiation, at what error and memory?

    python perf/autodiff.py [--side 512] [--labels 10]          (needs: python -m pip install torch)

One loss and its ∂Ω from weights and log-likelihood, float32, T = 3. PyTorch differentiates the Krylov approximation
(2.28) and explicit Euler (3.49), as `gpulaf/experiments/autodiff.py` writes them. The error is that of ∂Ω against
quadrature in float64. Memory is the growth of the resident set of a process that does nothing else, so every method is
also run once in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, interleaved, save

from gpulaf import (
    Euler,
    Grid,
    Krylov,
    LinearFlow,
    Taylor,
    cosine_loss,
    exact_gradient,
    normalize_weights,
    weight_gradient,
)
from gpulaf.experiments.autodiff import derivative
from gpulaf.vectors import norm

TIME = 3.0


def problem(labels: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, log-likelihood and truth: noisy blocks of labels."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, labels, (side // 16 + 1, side // 16 + 1))
    truth = np.kron(blocks, np.ones((16, 16), int))[:side, :side].astype(np.int32)
    l = 3 * rng.standard_normal((labels, side, side)) + 4 * (np.arange(labels)[:, None, None] == truth)
    weights = normalize_weights(0.5 + rng.random((9, side, side)))
    return weights.astype(np.float32), l.astype(np.float32), truth


def ours(integrator: Any, weights: np.ndarray, l: np.ndarray, truth: np.ndarray, **options: Any) -> np.ndarray:
    flow = LinearFlow(Grid(weights), l)
    solution = integrator.solve(flow, TIME)
    return weight_gradient(flow, solution, cosine_loss(solution.v, truth).derivative, **options).weights


def torch_gradient(integrator: Any, weights: np.ndarray, l: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """∂Ω of the same loss by backpropagation through the scheme."""
    return derivative(integrator, weights, l, truth, TIME).weights


METHODS = {
    "ours: Taylor 5, reverse Horner": lambda *p: ours(Taylor(5), *p, tol=0),
    "ours: Taylor 6, reverse Horner": lambda *p: ours(Taylor(6), *p, tol=0),
    "ours: Taylor 8, reverse Horner": lambda *p: ours(Taylor(8), *p, tol=0),
    "ours: Taylor 8, rank 1": lambda *p: ours(Taylor(8), *p, rank=1),
    "ours: Krylov 5, rank 2": lambda *p: ours(Krylov(5), *p, rank=2),
    "autodiff: Krylov 5": lambda *p: torch_gradient(Krylov(5), *p),
    "autodiff: Krylov 10": lambda *p: torch_gradient(Krylov(10), *p),
    "autodiff: Euler 10": lambda *p: torch_gradient(Euler(10), *p),
    "autodiff: Euler 20": lambda *p: torch_gradient(Euler(20), *p),
}


def resident() -> float:
    """Peak resident set of this process in megabytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def memory(name: str, labels: int, side: int) -> float:
    """Megabytes by which one gradient raises the peak of a process that has computed a small one before."""
    command = [sys.executable, __file__, "--child", name, str(labels), str(side)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def child(name: str, labels: int, side: int) -> None:
    METHODS[name](*problem(labels, 32))
    data = problem(labels, side)
    before = resident()
    METHODS[name](*data)
    print(json.dumps(resident() - before))


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
    times = interleaved({name: lambda m=method: m(weights, l, truth) for name, method in METHODS.items()}, repeats=5)
    rows = []
    for name, method in METHODS.items():
        error = norm(method(weights, l, truth).astype(float) - exact) / norm(exact)
        rows.append({"method": name, "ms": 1e3 * times[name], "error": error, "MB": memory(name, labels, side)})
    by_name = {row["method"]: row for row in rows}
    claims = []
    for other in ("autodiff: Krylov 5", "autodiff: Krylov 10"):
        # the fastest of ours that is no less accurate; single precision cannot tell errors under 5e-7 apart
        least = max(by_name[other]["error"], 5e-7)
        accurate = [row for row in rows if row["method"].startswith("ours") and row["error"] <= least]
        if not accurate:
            claims.append(f"none of ours is as accurate as {other}")
            continue
        mine = min(accurate, key=lambda r: r["ms"])
        faster, memory_share = by_name[other]["ms"] / mine["ms"], mine["MB"] / by_name[other]["MB"]
        errors = f"error {mine['error']:.0e} against {by_name[other]['error']:.0e}"
        claim = f"{faster:.1f} × faster than {other}, {memory_share:.2f} of its memory"
        claims.append(f"{claim} ({mine['method']}, {errors})")
    figure(rows)
    save("autodiff", rows, f"∂Ω at ({labels}, {side}, {side}), float32: " + "; ".join(claims) + ".")


def figure(rows: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    from gpulaf.image_io import write_figure
    from gpulaf.plots import ALARM, QUALITATIVE

    plot = Figure(figsize=(7.5, 4.2), layout="constrained")
    axis = plot.subplots()
    for row in rows:
        mine = row["method"].startswith("ours")
        axis.scatter(row["ms"], row["error"], s=row["MB"], alpha=0.75, color=QUALITATIVE[0] if mine else ALARM)
        at = (row["ms"], row["error"])
        axis.annotate(row["method"].split(": ")[1], at, xytext=(6, 6), textcoords="offset points", fontsize=8)
    axis.set(xscale="log", yscale="log", xlabel="ms for one loss and its gradient", ylabel="relative error of ∂Ω")
    axis.set_title("blue: closed form, red: automatic differentiation; area: memory", fontsize=10)
    axis.margins(x=0.25, y=0.15)
    axis.spines[["top", "right"]].set_visible(False)
    write_figure(RESULTS / "autodiff.png", plot)


if __name__ == "__main__":
    main()
