"""What does a deep flow cost? Its gradient through several layers beside that of one.

One loss and all its ∂Ω from weights and log-likelihood, float32, Taylor 1e-4, every layer with weights of its own;
beside it the same without the wave (`kernels/reverse_horner.py`), as on a GPU: each layer's series is stored, and made
again in the layers below the last. Ratios are medians over interleaved repetitions, of wall time and of processor time;
memory is what NumPy hands out at most, in fields (H, J, W).
"""

from __future__ import annotations

import statistics
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

from measure import Rows, StoredGrid, command, in_turns, over, problem, put, save

from gpulaf import Grid, cosine_loss
from gpulaf.flows import DeepFlow

Calls = dict[str, Callable[[], Any]]


def gradients(averaging: Any, l: Any, truth: Any, times: list[float]) -> Any:
    """∂Ω of every layer."""
    flow = DeepFlow([averaging] * len(times), times)
    solution = flow.solve(l)
    return flow.gradient(solution, cosine_loss(solution.v, truth).derivative).weights


def fields_held(call: Callable[[], Any], field: Any) -> float:
    """The most that NumPy holds during a call, in fields."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / field.nbytes
    finally:
        tracemalloc.stop()


def measure(calls: Calls, h: float, field: Any, repeats: int, gpu: bool) -> Rows:
    """One row per call; the first one is that of one layer."""
    rows, taken = [], in_turns(calls, repeats)
    first = taken[next(iter(calls))]
    for name, call in calls.items():
        wall, processor = (statistics.median(t[k] for t in taken[name]) for k in (0, 1))
        ratios = over(taken[name], first)
        memory = {} if gpu else {"fields held": fields_held(call, field)}
        row = {"gradient": name, "h": h, "ms": 1e3 * wall, "processor ms": 1e3 * processor}
        rows.append(row | {"× one layer": ratios[0], "× processor": ratios[1]} | memory)
    return rows


def main() -> None:
    asked = command(__doc__, gpu=True, side=(512, 32), labels=(10, 3), layers=(3, 2), repeats=(9, 1))
    weights, l, truth = put(*problem(asked.labels, asked.side))
    rows, several = [], f"{asked.layers} layers"
    for h in (1.0, 3.0):
        calls = {
            "one layer": partial(gradients, Grid(weights), l, truth, [h]),
            several: partial(gradients, Grid(weights), l, truth, [h] * asked.layers),
            f"{several}, stored bases": partial(gradients, StoredGrid(weights), l, truth, [h] * asked.layers),
        }
        rows += measure(calls, h, l, asked.repeats, asked.gpu)
    ratios = [f"{row['× one layer']:.2f} × one layer at h = {row['h']:g}" for row in rows if row["gradient"] == several]
    size = f"{asked.side}² pixels with {asked.labels} labels"
    save(rows, f"Loss and gradient through {several} at {size}, float32, take {' and '.join(ratios)}.")


if __name__ == "__main__":
    main()
