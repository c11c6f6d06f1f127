"""What does a deep flow cost? Its gradient through several layers beside that of one.

    python perf/deep.py [--side 512] [--labels 10] [--layers 3] [--gpu]

One loss and all its ∂Ω from weights and log-likelihood, float32, Taylor 1e-4, every layer with weights of its own;
beside it the same without the wave (`kernels/reverse_horner.py`): each layer's basis is stored, and solved for again in
the layers below the last. Ratios are medians over interleaved repetitions, of wall time and of processor time;
memory is what NumPy hands out at most, in fields (J, H, W).
"""

from __future__ import annotations

import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from autodiff import problem
from measure import many, on_gpu, put, save

from gpulaf import Grid, Taylor, cosine_loss
from gpulaf.flows import DeepFlow, LinearFlow, weight_gradient

REPEATS = 9


def single(weights: Any, l: Any, truth: Any, h: float) -> Any:
    flow = LinearFlow(Grid(weights), l)
    solution = Taylor(tol=1e-4).solve(flow, h)
    return weight_gradient(flow, solution, cosine_loss(solution.v, truth).derivative, tol=0).weights


def deep(weights: Any, l: Any, truth: Any, times: list[float]) -> Any:
    flow = DeepFlow([weights] * len(times), times)
    solution = flow.solve(l)
    return flow.gradient(solution, cosine_loss(solution.v, truth).derivative).weights


def solved_again(weights: Any, l: Any, truth: Any, times: list[float]) -> Any:
    """Layers below the last are solved twice, the second time with a basis that is stored."""
    integrator, fields, v = Taylor(tol=1e-4), [], 0 * l
    for h in times:
        fields.append(l)
        flow = LinearFlow(Grid(weights), l)
        solution = integrator.solve(flow, h, keep_basis=len(fields) == len(times))
        v, l = v + solution.v, l + solution.v
    adjoint, gradients = cosine_loss(v, truth).derivative, []
    for s in reversed(range(len(times))):
        if s + 1 < len(times):
            flow = LinearFlow(Grid(weights), fields[s])
            solution = integrator.solve(flow, times[s])
        gradient = weight_gradient(flow, solution, adjoint, tol=0)
        gradients.append(gradient.weights)
        adjoint = adjoint + gradient.log_likelihood
    return gradients


def fields_held(call: Callable[[], Any], field: Any) -> float:
    """The most that NumPy holds during a call, in fields."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / field.nbytes
    finally:
        tracemalloc.stop()


def argument(name: str, usual: int) -> int:
    return int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else usual


def main() -> None:
    count = argument("--layers", 3)
    data = put(*problem(argument("--labels", 10), argument("--side", 512)))
    rows, ratios = [], []
    for h in (1.0, 3.0):
        times = [h] * count
        names = ("one layer", f"{count} layers", f"{count} layers, stored bases")
        calls = dict(zip(names, (
            lambda h=h: single(*data, h), lambda t=times: deep(*data, t), lambda t=times: solved_again(*data, t),
        ), strict=True))  # fmt: skip
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
        for repeat in range(REPEATS + 1):  # the first one warms up
            for name, call in calls.items():
                wall, processor = time.perf_counter(), time.process_time()
                many(call, 1)()
                if repeat:
                    taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
        for name, call in calls.items():
            wall, processor = (statistics.median(t[k] for t in taken[name]) for k in (0, 1))
            pairs = list(zip(taken[name], taken["one layer"], strict=True))
            over = [statistics.median(mine[k] / one[k] for mine, one in pairs) for k in (0, 1)]
            memory = {} if on_gpu() else {"fields held": fields_held(call, data[1])}
            row = {"gradient": name, "h": h, "ms": 1e3 * wall, "processor ms": 1e3 * processor}
            rows.append(row | {"× one layer": over[0], "× processor": over[1]} | memory)
        ratios.append(rows[-2]["× one layer"])
    shape = ", ".join(map(str, data[1].shape))
    cost = f"{ratios[0]:.2f} × one layer at h = 1 and {ratios[1]:.2f} × at h = 3"
    save("deep", rows, f"Loss and gradient through {count} layers at ({shape}), float32, take {cost}.")


if __name__ == "__main__":
    main()
