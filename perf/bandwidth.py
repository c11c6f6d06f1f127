"""How far is each kernel from a copy that moves the same bytes?

Bytes per pixel, in floats, as each kernel must move them at least: operator and adjoint 3J + N, similarity 2J + N,
weight_gradient with R terms 3RJ + 4J + N, reverse_horner (a gradient of 8 terms in one wave) 4J + 2N (N = 9 weights;
here R = 1). A chain makes 6 products in succession, of which the time of one counts, with the bytes of one product that
stands alone. The copy is NumPy's, of half as many floats: it reads and writes each once, on one thread. Beside it
stands one by Numba on all threads, as the kernels have them. Kernel and copies take turns in one process. On a GPU the
copy is CuPy's, and 20 calls in a row are timed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gpulaf.kernels._numba import in_blocks, kernel
from measure import ASKED, Rows, command, interleaved, many, put, save
from stencils import LINKS, at_lines, kernel_calls

from gpulaf.plots.style import COLORS, INK, canvas, logarithmic, plain

#: J and side of the fields that the answer speaks of, and of others.
CASES = [(10, 512), (8, 1024)]
OTHERS = [(2, 1024), (8, 2048), (32, 256)]
#: Floats that a kernel must move at least: so many for each label, and for each neighbor.
FLOATS = {"similarity": (2, 1), "weight_gradient": (7, 1), "reverse_horner": (4, 2)}


@kernel
def copy_rows(first, last, source, target):
    for i in range(first, last):
        for x in range(source.shape[1]):
            target[i, x] = source[i, x]


def copies(floats: int, dtype: str) -> dict[str, Any]:
    """Copies that move so many floats: the library's, and on the CPU one on all threads."""
    shape = (max(8, floats // 2 // 4096), 4096)
    source, target = put(*at_lines(np.ones(shape, dtype), np.zeros(shape, dtype)))
    calls = {"copy": lambda: target.__setitem__(..., source)}
    if not ASKED.gpu:
        calls["threads' copy"] = lambda: in_blocks(copy_rows, len(source), 10**9, source, target)
    return calls


def measure(labels: int, side: int, dtype: str, repeats: int) -> Rows:
    """One row per kernel."""
    inner, rows = 20 if ASKED.gpu else 1, []
    for name, call in kernel_calls(labels, (side, side), dtype).items():
        of_labels, of_neighbors = FLOATS.get(name, (3, 1))
        floats = (of_labels * labels + of_neighbors * 9) * side**2
        calls = {k: many(f, inner) for k, f in ({name: call} | copies(floats, dtype)).items()}
        times = {k: t / inner for k, t in interleaved(calls, repeats=repeats).items()}
        times[name] /= LINKS if name.endswith("chain") else 1
        gigabytes = floats * np.dtype(dtype).itemsize / 1e9
        row = {
            "kernel": name, "dtype": dtype, "J": labels, "side": side, "ms": 1e3 * times[name],
            "copy ms": 1e3 * times["copy"], "ratio": times[name] / times["copy"],
            "GB/s": gigabytes / times[name], "copy GB/s": gigabytes / times["copy"],
        }  # fmt: skip
        if not ASKED.gpu:
            row["to threads' copy"] = times[name] / times["threads' copy"]
        rows.append(row)
    return rows


def figure(rows: Rows) -> Any:
    cases = sorted({(r["dtype"], r["J"], r["side"]) for r in rows})
    plot, ((axis,),) = canvas(1, 1, width=max(6, 1.5 + 1.3 * len(cases)), height=4)
    ratios = {(r["kernel"], r["dtype"], r["J"], r["side"]): r["ratio"] for r in rows}
    for k, name in enumerate(dict.fromkeys(r["kernel"] for r in rows)):
        values = [ratios[name, *case] for case in cases]
        axis.plot([i + 0.12 * (k - 3) for i in range(len(cases))], values, "o", ms=5, label=name, color=COLORS[k])
    axis.axhline(1, color=INK, lw=1)
    plain(axis, "", "", "time / copy of the same bytes")
    logarithmic(axis)
    axis.set_xticks(range(len(cases)), [f"{dtype}\n{labels} × {side}²" for dtype, labels, side in cases], fontsize=8)
    axis.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return plot


def answer(rows: Rows, cases: list[tuple[int, int]]) -> str:
    parts = []
    for names, said in (
        (("operator", "adjoint"), "one product"),
        (("operator chain", "adjoint chain"), f"one of {LINKS} in a chain"),
        (("weight_gradient",), "the gradient"),
        (("reverse_horner",), "the wave"),
    ):
        kept = [r for r in rows if r["kernel"] in names and (r["J"], r["side"]) in cases]
        worst = max(kept, key=lambda r: r["ratio"])
        parts.append(f"{said} {worst['ratio']:.2f} ({worst['kernel']}, {worst['dtype']}, J = {worst['J']})")
    sizes = " and ".join(f"{labels} labels on {side}²" for labels, side in cases)
    return f"At {sizes} pixels at most so many times the copy of the same bytes: {'; '.join(parts)}."


def main() -> None:
    asked = command(__doc__, gpu=True, repeats=(11, 1))
    cases, others, dtypes = (CASES, OTHERS, ("float32", "float64"))
    if asked.quick:
        cases, others, dtypes = [(3, 64)], [], ("float32",)
    rows = [row for J, side in cases + others for dtype in dtypes for row in measure(J, side, dtype, asked.repeats)]
    save(rows, answer(rows, cases), figure)


if __name__ == "__main__":
    main()
