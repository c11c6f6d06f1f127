"""How far is each kernel from a copy that moves the same bytes?

    python perf/bandwidth.py [--quick] [--gpu]

Bytes per pixel, in floats, as each kernel must move them at least: operator and adjoint 3J + N, similarity 2J + N,
weight_gradient with R terms 3RJ + 4J + N (N = 9 weights; here R = 1). A chain makes 6 products in succession, of which
the time of one counts, with the bytes of one product that stands alone. The copy is NumPy's or Numba's, whichever is
faster, of half as many floats: it reads and writes each once. Beside it stands one that is written past the caches
(`stream`), as the kernels write large results: the most that this memory gives. Kernel and copies take turns in one
process. On a GPU the copy is CuPy's, and 20 calls in a row are timed.
"""

from __future__ import annotations

import sys

import numpy as np
from gpulaf.kernels import adjoint, chain, operator, similarity, weight_gradient
from gpulaf.kernels._memory import empty
from gpulaf.kernels._numba import in_blocks, kernel
from gpulaf.kernels._vectors import fence, lanes_of, load, place, stream
from measure import RESULTS, interleaved, many, on_gpu, put, result_name, save

from gpulaf.averaging.patches import normalize_weights

#: Products of a chain.
LINKS = 6


@kernel
def copy_blocks(first, last, source, target):
    for i in range(first, last):
        for x in range(source.shape[1]):
            target[i, x] = source[i, x]


@kernel
def stream_blocks(first, last, source, target):
    for i in range(first, last):
        p, q = place(source, i), place(target, i)
        for x in range(0, source.shape[1], lanes_of(source)):
            stream(q, x, load(p, x))
    fence()


def at_lines(*arrays: np.ndarray) -> list[np.ndarray]:
    """Copies that begin at lines of cache, as the library's own fields do."""
    copies = [empty(a.shape, a.dtype) for a in arrays]
    for copy, array in zip(copies, arrays, strict=True):
        copy[...] = array
    return copies


def measure(labels: int, side: int, dtype: str) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    shape, run, inner = (labels, side, side), "gpu" if on_gpu() else "cpu", 20 if on_gpu() else 1
    weights = normalize_weights(rng.random((9, side, side)).astype(dtype))
    v, u, out, two = (rng.standard_normal((*more, *shape)).astype(dtype) for more in ((), (), (), (2,)))
    weights, v, u, out, two = put(*at_lines(weights, v, u, out, two))
    one, A, At, links, gradient = (getattr(m, run) for m in (similarity, operator, adjoint, chain, weight_gradient))
    S, _ = one(weights, v)
    pixels = side * side
    floats = {
        "operator": 3 * labels + 9,
        "adjoint": 3 * labels + 9,
        "operator chain": 3 * labels + 9,
        "adjoint chain": 3 * labels + 9,
        "similarity": 2 * labels + 9,
        "weight_gradient": 7 * labels + 9,
    }
    calls = {
        "operator": lambda: A(weights, S, v, out=out),
        "adjoint": lambda: At(weights, S, u, out=out),
        "operator chain": lambda: links(weights, S, v, None, np.zeros(LINKS), out=two),
        "adjoint chain": lambda: links(weights, S, u, None, np.zeros(LINKS), out=two, transposed=True),
        "similarity": lambda: one(weights, v),
        "weight_gradient": lambda: gradient(weights, S, v, u, u[None], v[None], out[None]),
    }
    rows = []
    for name, call in calls.items():
        half = floats[name] * pixels // 2 // 4096
        source, target = put(*at_lines(np.ones((half, 4096), dtype), np.zeros((half, 4096), dtype)))
        copies = {"copy": lambda s=source, t=target: t.__setitem__(..., s)}
        streamed = {}
        if not on_gpu():
            copies["numba copy"] = lambda s=source, t=target: in_blocks(copy_blocks, len(s), 10**9, s, t)
            streamed["streamed"] = lambda s=source, t=target: in_blocks(stream_blocks, len(s), 10**9, s, t)
        times = interleaved({k: many(f, inner) for k, f in ({name: call} | copies | streamed).items()}, repeats=11)
        times = {k: t / inner for k, t in times.items()}
        copy, fastest = min(times[k] for k in copies), min(times[k] for k in (copies | streamed))
        times[name] /= LINKS if name.endswith("chain") else 1
        gigabytes = floats[name] * pixels * np.dtype(dtype).itemsize / 1e9
        rows.append(
            {
                "kernel": name, "dtype": dtype, "J": labels, "side": side, "ms": 1e3 * times[name],
                "copy ms": 1e3 * copy, "ratio": times[name] / copy, "GB/s": gigabytes / times[name],
                "copy GB/s": gigabytes / copy, "to streamed copy": times[name] / fastest,
            }
        )  # fmt: skip
    return rows


def figure(rows: list[dict[str, object]]) -> None:
    from matplotlib.figure import Figure

    from gpulaf.io.images import write_figure
    from gpulaf.plots.figures import QUALITATIVE

    cases = sorted({(r["dtype"], r["J"], r["side"]) for r in rows})
    names = list(dict.fromkeys(r["kernel"] for r in rows))
    plot = Figure(figsize=(1.5 + 1.3 * len(cases), 4), layout="constrained")
    axis = plot.subplots()
    ratios = {(r["kernel"], r["dtype"], r["J"], r["side"]): r["ratio"] for r in rows}
    for k, name in enumerate(names):
        values = [ratios[name, *case] for case in cases]
        axis.bar([i + 0.14 * (k - 2.5) for i in range(len(cases))], values, 0.13, label=name, color=QUALITATIVE[k])
    axis.axhline(1, color="#444444", lw=1)
    axis.set_xticks(range(len(cases)), [f"{dtype}\n{labels} × {side}²" for dtype, labels, side in cases], fontsize=8)
    axis.set_ylabel("time / copy of the same bytes")
    axis.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axis.spines[["top", "right"]].set_visible(False)
    write_figure(RESULTS / f"{result_name('bandwidth')}.png", plot)


def main() -> None:
    cases = [(10, 512), (8, 1024)]
    if "--quick" not in sys.argv:
        cases += [(2, 1024), (8, 2048), (32, 256), (8, 4096)]
    rows = [row for labels, side in cases for dtype in ("float32", "float64") for row in measure(labels, side, dtype)]
    figure(rows)
    worst = {}
    for kind in ("", " chain"):
        names = [f"operator{kind}", f"adjoint{kind}"]
        bar = [r for r in rows if r["kernel"] in names and (r["J"], r["side"]) in ((10, 512), (8, 1024))]
        worst[kind] = max(bar, key=lambda r: r["ratio"])
    one, many = worst[""], worst[" chain"]
    answer = (
        f"operator and adjoint at (10, 512, 512) and (8, 1024, 1024) take at most {one['ratio']:.2f} times the copy "
        f"of the same bytes (worst: {one['kernel']}, {one['dtype']}, J = {one['J']}); in a chain of {LINKS} products "
        f"at most {many['ratio']:.2f} times (worst: {many['kernel']}, {many['dtype']}, J = {many['J']}); of one past "
        f"the caches {one['to streamed copy']:.2f} and {many['to streamed copy']:.2f} times."
    )
    save("bandwidth", rows, answer)


if __name__ == "__main__":
    main()
