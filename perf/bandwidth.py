"""How far is each kernel from a copy that moves the same bytes?

Bytes per pixel, in floats, as each kernel must move them at least: operator and adjoint 3J + N, similarity 2J + N,
weight_gradient with R terms 3RJ + 4J + N (N = 9 weights; here R = 1). A chain makes 6 products in succession, of which
the time of one counts, with the bytes of one product that stands alone. The copy is NumPy's or Numba's, whichever is
faster, of half as many floats: it reads and writes each once. Beside it stands one that is written past the caches
(`stream`), as the kernels write large results: the most that this memory gives. Kernel and copies take turns in one
process. On a GPU the copy is CuPy's, and 20 calls in a row are timed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gpulaf.kernels._numba import in_blocks, kernel
from gpulaf.kernels._vectors import fence, lanes_of, load, place, stream
from measure import ASKED, Rows, command, interleaved, many, put, save
from stencils import LINKS, at_lines, kernel_calls

from gpulaf.plots.style import COLORS, INK, canvas, plain

#: J and side of the fields that the answer speaks of, and of others.
CASES = [(10, 512), (8, 1024)]
OTHERS = [(2, 1024), (8, 2048), (32, 256), (8, 4096)]


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


def copies(floats: int, dtype: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copies that move so many floats, and those that are written past the caches."""
    shape = (max(8, floats // 2 // 4096), 4096)  # from 128 kB on memory begins at a line, as `stream` takes for granted
    source, target = put(*at_lines(np.ones(shape, dtype), np.zeros(shape, dtype)))
    usual, streamed = {"copy": lambda: target.__setitem__(..., source)}, {}
    if not ASKED.gpu:
        usual["numba copy"] = lambda: in_blocks(copy_blocks, len(source), 10**9, source, target)
        streamed["streamed"] = lambda: in_blocks(stream_blocks, len(source), 10**9, source, target)
    return usual, streamed


def measure(labels: int, side: int, dtype: str, repeats: int) -> Rows:
    """One row per kernel."""
    fields = {"similarity": 2, "weight_gradient": 7}
    inner, rows = 20 if ASKED.gpu else 1, []
    for name, call in kernel_calls(labels, (side, side), dtype).items():
        floats = (fields.get(name, 3) * labels + 9) * side**2
        usual, streamed = copies(floats, dtype)
        calls = {k: many(f, inner) for k, f in ({name: call} | usual | streamed).items()}
        times = {k: t / inner for k, t in interleaved(calls, repeats=repeats).items()}
        copy, fastest = min(times[k] for k in usual), min(times[k] for k in (usual | streamed))
        times[name] /= LINKS if name.endswith("chain") else 1
        gigabytes = floats * np.dtype(dtype).itemsize / 1e9
        rows.append(
            {
                "kernel": name, "dtype": dtype, "J": labels, "side": side, "ms": 1e3 * times[name],
                "copy ms": 1e3 * copy, "ratio": times[name] / copy, "GB/s": gigabytes / times[name],
                "copy GB/s": gigabytes / copy, "to streamed copy": times[name] / fastest,
            }
        )  # fmt: skip
    return rows


def figure(rows: Rows) -> Any:
    cases = sorted({(r["dtype"], r["J"], r["side"]) for r in rows})
    plot, ((axis,),) = canvas(1, 1, width=1.5 + 1.3 * len(cases), height=4)
    ratios = {(r["kernel"], r["dtype"], r["J"], r["side"]): r["ratio"] for r in rows}
    for k, name in enumerate(dict.fromkeys(r["kernel"] for r in rows)):
        values = [ratios[name, *case] for case in cases]
        axis.bar([i + 0.14 * (k - 2.5) for i in range(len(cases))], values, 0.13, label=name, color=COLORS[k])
    axis.axhline(1, color=INK, lw=1)
    plain(axis, "", "", "time / copy of the same bytes")
    axis.set_xticks(range(len(cases)), [f"{dtype}\n{labels} × {side}²" for dtype, labels, side in cases], fontsize=8)
    axis.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return plot


def answer(rows: Rows, cases: list[tuple[int, int]]) -> str:
    worst = []
    for kind in ("", " chain"):
        names = [f"operator{kind}", f"adjoint{kind}"]
        bar = [r for r in rows if r["kernel"] in names and (r["J"], r["side"]) in cases]
        worst.append(max(bar, key=lambda r: r["ratio"]))
    ratios = [f"{r['ratio']:.2f} times" for r in worst]
    which = [f"(worst: {r['kernel']}, {r['dtype']}, J = {r['J']})" for r in worst]
    shapes = " and ".join(f"({labels}, {side}, {side})" for labels, side in cases)
    return (
        f"operator and adjoint at {shapes} take at most {ratios[0]} the copy of the same bytes {which[0]}; in a chain "
        f"of {LINKS} products at most {ratios[1]} {which[1]}; of one past the caches "
        f"{worst[0]['to streamed copy']:.2f} and {worst[1]['to streamed copy']:.2f} times."
    )


def main() -> None:
    asked = command(__doc__, gpu=True, repeats=(11, 1))
    cases, others, dtypes = (CASES, OTHERS, ("float32", "float64"))
    if asked.quick:
        cases, others, dtypes = [(3, 64)], [], ("float32",)
    rows = [row for J, side in cases + others for dtype in dtypes for row in measure(J, side, dtype, asked.repeats)]
    save(rows, answer(rows, cases), figure)


if __name__ == "__main__":
    main()
