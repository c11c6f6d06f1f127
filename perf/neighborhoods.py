"""How much longer do larger neighborhoods take than 3×3, and volumes?

Every kernel at radius 1, 2 and 3 (9, 25 and 49 weights) on the same fields, in turns in one process; 3×3×3 (27 weights)
on a volume of as many pixels. A chain makes 6 products in succession. Beside wall time stands the time of one thread on
its own, by its clock: on a machine that others use, too, it moves less. On a GPU only wall time of 20 calls in a row.
"""

from __future__ import annotations

import time
from typing import Any

from measure import ASKED, Rows, command, interleaved, many, one_thread, save
from stencils import kernel_calls

from gpulaf.plots.style import COLORS, INK, canvas, plain

#: J and side of the fields.
CASES = [(10, 512), (8, 1024)]
#: The most that 5×5 may take of the time of 3×3.
GOAL = 2.2
VOLUME = "3×3×3"


def measure(labels: int, side: int, dtype: str, repeats: int) -> Rows:
    """One row per kernel and neighborhood."""
    edge = min(128, side // 2)
    cube = (side**2 // edge**2, edge, edge)  # as many pixels
    cases = {f"{2 * r + 1}×{2 * r + 1}": ((side, side), r) for r in (1, 2, 3)} | {VOLUME: (cube, 1)}
    kernels = {case: kernel_calls(labels, shape, dtype, radius) for case, (shape, radius) in cases.items()}
    inner, rows = 20 if ASKED.gpu else 1, []
    for name in kernels[VOLUME]:
        runs = {case: many(kernels[case][name], inner) for case in cases}
        wall, single = interleaved(runs, repeats=repeats), {}
        if not ASKED.gpu:
            with one_thread():
                single = interleaved(runs, repeats=repeats, clock=time.thread_time)
        rows += [
            {
                "kernel": name, "dtype": dtype, "J": labels, "side": side, "patch": case,
                "ms": 1e3 * wall[case] / inner, "ratio": wall[case] / wall["3×3"],
                **({"ms of one thread": 1e3 * t, "its ratio": t / single["3×3"]} if (t := single.get(case)) else {}),
            }
            for case in runs
        ]  # fmt: skip
    return rows


def shown() -> str:
    """The ratio that counts."""
    return "ratio" if ASKED.gpu else "its ratio"


def figure(rows: Rows) -> Any:
    cases = sorted({(r["dtype"], r["J"], r["side"]) for r in rows})
    names, patches = (list(dict.fromkeys(r[key] for r in rows)) for key in ("kernel", "patch"))
    plot, ((axis,),) = canvas(1, 1, width=1.2 + 1.6 * len(names), height=4)
    for k, patch in enumerate(patches[1:]):
        for i, name in enumerate(names):
            values = [r[shown()] for r in rows if r["kernel"] == name and r["patch"] == patch]
            at = [i + 0.26 * (k - 1) + 0.055 * (c - (len(cases) - 1) / 2) for c in range(len(values))]
            axis.plot(at, values, "o", ms=5, color=COLORS[k], label=patch if i == 0 else None)
    axis.axhline(1, color=INK, lw=1)
    axis.axhline(GOAL, color=INK, lw=1, ls=":")
    sizes = ", ".join(dict.fromkeys(f"{labels} × {side}²" for _, labels, side in cases))
    dtypes = ", ".join(dict.fromkeys(dtype for dtype, _, _ in cases))
    plain(axis, f"one point for each of {dtypes} at {sizes}", "", "time / time of 3×3")
    axis.set_xticks(range(len(names)), names, fontsize=9)
    axis.set_ylim(0)
    axis.legend(frameon=False, fontsize=9, ncols=3)
    return plot


def answer(rows: Rows) -> str:
    parts = []
    for patch in ("5×5", "7×7", VOLUME):
        kept = [r for r in rows if r["patch"] == patch]
        worst, wall = max(kept, key=lambda r: r[shown()]), max(r["ratio"] for r in kept)
        other = "" if ASKED.gpu else f" and {wall:.2f} on all threads by the wall clock"
        parts.append(f"{patch} {worst[shown()]:.2f} ({worst['kernel']}, {worst['dtype']}, J = {worst['J']}){other}")
    clock = "time" if ASKED.gpu else "time of one thread"
    return f"At most so many times the {clock} of 3×3: {'; '.join(parts)}. Goal for 5×5: {GOAL}."


def main() -> None:
    asked = command(__doc__, gpu=True, repeats=(7, 1))
    cases, dtypes = ([(3, 32)], ("float32",)) if asked.quick else (CASES, ("float32", "float64"))
    rows = [row for J, side in cases for dtype in dtypes for row in measure(J, side, dtype, asked.repeats)]
    save(rows, answer(rows), figure)


if __name__ == "__main__":
    main()
