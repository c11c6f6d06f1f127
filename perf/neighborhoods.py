"""How much longer do larger neighborhoods take than 3×3, and volumes?

    python perf/neighborhoods.py [--quick] [--gpu]

Every kernel at radius 1, 2 and 3 (9, 25 and 49 weights) on the same fields, in turns in one process; 3×3×3 (27 weights)
on a volume of as many pixels. A chain makes 6 products in succession. Beside wall time stands the time of one thread on
its own, by its clock: on a machine that others use, too, it moves less. On a GPU only wall time of 20 calls in a row.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from gpulaf.kernels import adjoint, chain, operator, similarity, weight_gradient
from measure import RESULTS, interleaved, many, on_gpu, put, result_name, save

from gpulaf.averaging.patches import normalize_weights

#: Products of a chain.
LINKS = 6
#: The most that 5×5 may take of the time of 3×3.
GOAL = 2.2
VOLUME = "3×3×3"
Key = tuple[str, str]


def calls(labels: int, shape: tuple[int, ...], radius: int, dtype: str) -> dict[str, Callable[[], Any]]:
    """Every kernel on fields of one shape."""
    rng, run = np.random.default_rng(0), "gpu" if on_gpu() else "cpu"
    weights = normalize_weights(rng.random(((2 * radius + 1) ** len(shape), *shape)).astype(dtype))
    v, u, out, two = (rng.standard_normal((*more, labels, *shape)).astype(dtype) for more in ((), (), (), (2,)))
    weights, v, u, out, two = put(weights, v, u, out, two)
    one, A, At, links, gradient = (getattr(m, run) for m in (similarity, operator, adjoint, chain, weight_gradient))
    S, _ = one(weights, v)
    return {
        "operator": lambda: A(weights, S, v, out=out),
        "adjoint": lambda: At(weights, S, u, out=out),
        "operator chain": lambda: links(weights, S, v, None, np.zeros(LINKS), out=two),
        "adjoint chain": lambda: links(weights, S, u, None, np.zeros(LINKS), out=two, transposed=True),
        "similarity": lambda: one(weights, v),
        "weight_gradient": lambda: gradient(weights, S, v, u, u[None], v[None], out[None]),
    }


def alone(runs: dict[Key, Callable[[], Any]], repeats: int = 7) -> dict[Key, float]:
    """Medians of the processor time of one thread, in turns."""
    import numba

    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    times: dict[Key, list[float]] = {key: [] for key in runs}
    try:
        for _ in range(repeats):
            for key, call in runs.items():
                began = time.thread_time()
                call()
                times[key].append(time.thread_time() - began)
    finally:
        numba.set_num_threads(threads)
    return {key: statistics.median(values) for key, values in times.items()}


def measure(labels: int, side: int, dtype: str) -> list[dict[str, object]]:
    cube = (side**2 // 128**2, 128, 128)  # as many pixels
    cases = {f"{2 * r + 1}×{2 * r + 1}": ((side, side), r) for r in (1, 2, 3)} | {VOLUME: (cube, 1)}
    kernels = {case: calls(labels, shape, radius, dtype) for case, (shape, radius) in cases.items()}
    rows = []
    for name in kernels[VOLUME]:
        inner = 20 if on_gpu() else 1
        runs = {(name, case): many(kernels[case][name], inner) for case in cases}
        wall = interleaved(runs)  # type: ignore[arg-type, type-var]
        single = {} if on_gpu() else alone(runs)
        first = (name, "3×3")
        rows += [
            {
                "kernel": name, "dtype": dtype, "J": labels, "side": side, "patch": key[1],
                "ms": 1e3 * wall[key] / inner, "ratio": wall[key] / wall[first],
                **({"ms of one thread": 1e3 * single[key], "its ratio": single[key] / single[first]} if single else {}),
            }
            for key in runs
        ]  # fmt: skip
    return rows


def figure(rows: list[dict[str, Any]], ratio: str) -> None:
    from matplotlib.figure import Figure

    from gpulaf.io.images import write_figure
    from gpulaf.plots.figures import QUALITATIVE

    cases = sorted({(r["dtype"], r["J"], r["side"]) for r in rows})
    names, patches = (list(dict.fromkeys(r[key] for r in rows)) for key in ("kernel", "patch"))
    plot = Figure(figsize=(1.2 + 1.6 * len(names), 4), layout="constrained")
    axis = plot.subplots()
    for k, patch in enumerate(patches[1:]):
        for i, name in enumerate(names):
            values = [r[ratio] for r in rows if r["kernel"] == name and r["patch"] == patch]
            at = [i + 0.26 * (k - 1) + 0.055 * (c - (len(cases) - 1) / 2) for c in range(len(values))]
            axis.plot(at, values, "o", ms=5, color=QUALITATIVE[k], label=patch if i == 0 else None)
    axis.axhline(1, color="#444444", lw=1)
    axis.axhline(GOAL, color="#444444", lw=1, ls=":")
    axis.set_xticks(range(len(names)), names, fontsize=9)
    axis.set_ylim(0)
    axis.set_ylabel("time / time of 3×3")
    sizes = ", ".join(dict.fromkeys(f"{labels} × {side}²" for _, labels, side in cases))
    axis.set_title(f"one point for each of float32, float64 at {sizes}", fontsize=9, loc="left")
    axis.legend(frameon=False, fontsize=9, ncols=3)
    axis.spines[["top", "right"]].set_visible(False)
    write_figure(RESULTS / f"{result_name('neighborhoods')}.png", plot)


def main() -> None:
    sizes = [(10, 512)] if "--quick" in sys.argv else [(10, 512), (8, 1024)]
    rows: list[dict[str, Any]] = []
    for labels, side in sizes:
        for dtype in ("float32", "float64"):
            rows += measure(labels, side, dtype)
    ratio = "ratio" if on_gpu() else "its ratio"
    figure(rows, ratio)
    save("neighborhoods", rows, answer(rows, ratio))


def answer(rows: list[dict[str, Any]], ratio: str) -> str:
    parts = []
    for patch in ("5×5", "7×7", VOLUME):
        worst = max((r for r in rows if r["patch"] == patch), key=lambda r: r[ratio])
        wall = max(r["ratio"] for r in rows if r["patch"] == patch)
        other = "" if on_gpu() else f" and {wall:.2f} on all threads by the wall clock"
        parts.append(f"{patch} {worst[ratio]:.2f} ({worst['kernel']}, {worst['dtype']}, J = {worst['J']}){other}")
    clock = "time" if on_gpu() else "time of one thread"
    return f"At most so many times the {clock} of 3×3: {'; '.join(parts)}. Goal for 5×5: {GOAL}."


if __name__ == "__main__":
    main()
