"""How fast should the CUDA kernels and a learning step be on paper, and what keeps them from their floor?

The floor of a kernel is the least bytes that it moves over the published bandwidth of a GPU (`gpulaf.profiling.costs`,
`devices.py`); that of a sequence is the sum of its kernels'. The prediction is the longest of four times: these bytes
at the bandwidth of a copy, and as fast as the reads under way on resident threads are answered, lines through the
first-level caches, operations over the peak; and what every launch adds. Registers are those of results/registers.json.
Launches are not listed by hand: the code's own host part is run and recorded (`launches.py`). A step is the fixed step
of `fit_weights`, once replayed as a graph and once launched call by call from Python.

Not in the model: what the second-level cache of 40 or 50 MB keeps from one kernel to the next (a product of ten labels
at 512² moves 41 MB, small images lie in it altogether), its own bandwidth, and instructions that compute no float.
Where bandwidth-gpu.json or fit-gpu.json of a GPU with such a name is found in results/gpu or results, it stands beside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from devices import CALL, DEVICES, Device, Time, resident_blocks, time_of
from gpulaf.kernels import reverse_horner
from launches import PLAIN_REGISTERS, Launch, noted, recorded
from measure import ASKED, RESULTS, Rows, command, in_readme, save
from stencils import LINKS, TERMS

from gpulaf import RiemannianGradient
from gpulaf.backend.dispatch import implementation
from gpulaf.fields import field_shape
from gpulaf.learning.cuda_graph import FixedStep
from gpulaf.plots.style import ALARM, COLORS, GRID, INK, canvas, plain, plain_numbers
from gpulaf.profiling.costs import cost

TIME = 3.0
#: Labels and side of the images: that of fit.py, and a small one.
CASES = [(10, 512), (8, 128)]
#: What a kernel may take, in floors.
NEAR = 1.3


def calls(labels: int, side: int, dtype: str) -> dict[str, Callable[[], Any]]:
    """Kernels by name, with the operands of a learning step, and sequences of them; to be called while recorded."""
    weights, (S, l, v, u) = zeros(side, 9, dtype), (zeros(side, labels, dtype) for _ in range(4))
    stack, two = noted(np.zeros((TERMS, *v.shape), dtype)), noted(np.zeros((2, *v.shape), dtype))
    truth = noted(np.zeros((1, side, side), np.int32))
    ones, sums = noted(np.ones(labels, dtype)), noted(np.zeros((1, 6)))
    rows, one = stack.reshape(TERMS, -1), noted(np.ones((1, TERMS), dtype))
    images, norms = v[None], weights[:, 0, :]
    c = np.cumprod(TIME / np.arange(1.0, TERMS + 1))
    step = FixedStep(l, truth[0], TIME, TERMS, RiemannianGradient(1.0))

    def kernel(name: str, *operands: Any, **options: Any) -> Callable[[], Any]:
        return lambda: implementation(name, weights)(*operands, **options)

    def take_step() -> None:
        new, _, _ = step(weights, {}, ())
        weights[...] = new  # what follows the replay

    return {
        "operator": kernel("operator", weights, S, v),
        "adjoint": kernel("adjoint", weights, S, v),
        "adjoint, source": kernel("adjoint", weights, S, v, u, 0.5),
        "similarity": kernel("similarity", weights, l),
        "weight_gradient": kernel("weight_gradient", weights, S, l, v, stack[:1], stack[1:2], stack[2:3]),
        "weight_gradient, 7 terms": kernel("weight_gradient", weights, S, l, v, *3 * (stack[:-1],)),
        "agreement": kernel("agreement", images, truth, ones),
        "cosine": kernel("cosine", images, truth, ones, sums),
        "moments": kernel("moments", weights, weights, weights, norms, (0.9, 0.99, 1.0)),
        "moments, norms": kernel("moments", weights, weights),
        "geodesic": kernel("geodesic", weights, weights, -0.1),
        "combination, 8 to 1": kernel("combination", one, rows),
        "inner_products, 8 by 8": kernel("inner_products", rows, rows),
        "inner_products, 8 by 1": kernel("inner_products", rows, rows[:1]),
        "operator chain": kernel("chain", weights, S, v, None, np.zeros(LINKS), out=two),
        "adjoint chain": kernel("chain", weights, S, v, None, np.zeros(LINKS), out=two, transposed=True),
        "reverse_horner": lambda: reverse_horner.gpu(weights, S, l, v, c),
        "step": take_step,
    }


#: The last ones are sequences; one of the products of a chain counts, as in bandwidth.py.
SEQUENCES = {"operator chain": LINKS, "adjoint chain": LINKS, "reverse_horner": 1, "step": 1}


def zeros(side: int, count: int, dtype: str) -> Any:
    """A field of zeros."""
    return noted(np.zeros(field_shape((side, side), count), dtype))


def record(call: Callable[[], Any]) -> list[Launch]:
    """The launches of a call."""
    with recorded() as launches:
        call()
    return launches


@cache
def compiled() -> dict[str, Any]:
    """What the compiler reported."""
    return json.loads((RESULTS / "registers.json").read_text(encoding="utf-8"))


def usage(architecture: str, launch: Launch) -> dict[str, int]:
    """Registers and shared memory of a launch; of more labels where those of its own number were not recorded."""
    if not launch.entry:
        return {"registers": PLAIN_REGISTERS, "shared": 0}
    rows = compiled()[architecture][launch.kernel]
    labels = next((int(w[7:]) for w in launch.constants.split() if w.startswith("LABELS=")), 0)
    for more in range(labels, 2 * labels + 8):
        label = launch.constants.replace(f"LABELS={labels}", f"LABELS={more}")
        if label in rows:
            return rows[label][launch.entry]
    return rows[launch.constants.replace(f"LABELS={labels}", "LABELS=0")][launch.entry]


def blocks_of(device: Device, launch: Launch) -> int:
    """Blocks of a launch on a multiprocessor at once."""
    used = usage(device.architecture, launch)
    return resident_blocks(device.architecture, used["registers"], used["shared"], launch.threads)


def predict(device: Device, name: str, launches: list[Launch], labels: int, side: int, dtype: str) -> dict[str, Any]:
    """One row: counts, prediction and floor of a kernel or a sequence."""
    times = [time_of(device, x, blocks_of(device, x)) for x in launches]
    alone, parts, first = name not in SEQUENCES, SEQUENCES.get(name, 1), launches[0]
    reading = CALL if name == "step" else 0.0
    read, written, flops = (sum(getattr(x.cost, key) for x in launches) for key in ("read", "written", "operations"))
    spent = {key: sum(t.longest for t in times if t.bound == key) for key in Time._fields[:4]}
    device_only = sum(spent.values()) + sum(t.start for t in times)
    spent["start"] = sum(t.start for t in times) + 3 * reading  # replay, numbers read, weights copied
    seconds, in_calls = sum(spent.values()), reading + max(device_only + reading, CALL * len(launches))
    floor = sum(x.cost.bytes for x in launches if x.entry) / device.bandwidth
    return {
        "kernel": name, "J": labels, "side": side, "dtype": dtype, "gpu": device.name, "launches": len(launches),
        "by CuPy": sum(not x.entry for x in launches), "MB read": read / 1e6, "MB written": written / 1e6,
        "Mflop": flops / 1e6, "registers": usage(device.architecture, first)["registers"] if alone else "",
        "occupancy": blocks_of(device, first) * first.threads / 2048 if alone else "",
        "most in": max(spent, key=lambda key: spent[key]),
        "L1/memory": sum(t.cache for t in times) / sum(t.memory for t in times),
        "us": 1e6 * seconds / parts, "floor us": 1e6 * floor / parts, "floors": seconds / floor,
        "us in calls": 1e6 * in_calls / parts,
        "wave us": wave_floor(device, name, labels, side, dtype),
        "us measured": measured(device, name, labels, side, dtype),
    }  # fmt: skip


def wave_floor(device: Device, name: str, labels: int, side: int, dtype: str) -> float | str:
    """The least that a sequence moves where all its products run in one wave through the image, in microseconds."""
    weights, field = zeros(side, 9, dtype), zeros(side, labels, dtype)
    product = cost("operator", weights, field, field)  # a series in a wave moves as much: S, B and v
    gradient = cost("reverse_horner", weights, field, field, field, np.ones(TERMS))
    truth, norms = np.zeros((1, side, side), np.int32), np.zeros((1, 6))
    ends = (
        cost("similarity", weights, field), cost("agreement", field, truth, None),
        cost("cosine", field, truth, None, norms), cost("moments", weights, weights),
        cost("geodesic", weights, weights, 1.0),
    )  # fmt: skip
    of_step = sum(x.bytes for x in (*ends, product, gradient))
    moved = {"operator chain": product.bytes / LINKS, "adjoint chain": product.bytes / LINKS,
             "reverse_horner": gradient.bytes, "step": of_step}  # fmt: skip
    return 1e6 * moved[name] / device.bandwidth if name in moved else ""


def measured(device: Device, name: str, labels: int, side: int, dtype: str) -> float | str:
    """Microseconds on such a GPU, where a result holds them."""
    file = "fit-gpu.json" if name == "step" else "bandwidth-gpu.json"
    for path in (RESULTS / "gpu" / file, RESULTS / file):
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if found is None or device.name.split()[0] not in found["machine"]["gpu"]:
            continue
        if name == "step":
            steps, *size = map(int, re.findall(r"\d+", found["answer"])[:3])  # 50 steps at 512² pixels with 10 labels
            own = [1e6 * r["s"] / steps for r in found["rows"] if "1e-4" in r["gradient"] and size == [side, labels]]
        else:
            key = (name, labels, side, dtype)
            own = [1e3 * r["ms"] for r in found["rows"] if (r["kernel"], r["J"], r["side"], r["dtype"]) == key]
        if own:
            return float(own[0])
    return ""


def figure(rows: Rows) -> Any:
    """Kernels in floors, sequences in time; a cross is a measurement."""
    plot, ((left, right),) = canvas(1, 2, width=6.2, height=5.2)
    cases = list(dict.fromkeys((r["J"], r["side"]) for r in rows))
    kernels = [r for r in rows if r["kernel"] not in SEQUENCES and (r["J"], r["side"]) == cases[0]]
    sequences = [r for r in rows if r["kernel"] in SEQUENCES]
    names = list(dict.fromkeys(r["kernel"] for r in kernels))
    whole = list(dict.fromkeys((r["kernel"], r["J"], r["side"]) for r in sequences))
    for k, device in enumerate(DEVICES):
        shift, color = 0.22 * (k - 1), COLORS[k]
        own = [r for r in kernels if r["gpu"] == device.name]
        at = [names.index(r["kernel"]) + shift for r in own]
        left.plot([r["floors"] for r in own], at, "o", ms=5, color=color, label=device.name)
        own_whole = [r for r in sequences if r["gpu"] == device.name]
        places = [whole.index((r["kernel"], r["J"], r["side"])) + shift for r in own_whole]
        for key, marker, size in (("floor us", "|", 9), ("wave us", "1", 7), ("us", "o", 5)):
            right.plot([r[key] for r in own_whole], places, marker, ms=size, color=color)
        right.plot([r["us in calls"] for r in own_whole], places, "o", ms=5, mec=color, mfc="none")
        for axis, found, heights, unit in ((left, own, at, "floor us"), (right, own_whole, places, None)):
            seen = [(r, y) for r, y in zip(found, heights, strict=True) if r["us measured"]]
            values = [r["us measured"] / (r[unit] if unit else 1) for r, _ in seen]
            axis.plot(values, [y for _, y in seen], "x", ms=7, color=INK)
    left.axvline(NEAR, color=ALARM, lw=1)
    plain(left, "{} labels, {}² pixels, float32".format(*cases[0]), "time on paper / floor", "")
    plain(right, "sequences; of a chain, one product", "µs", "")
    left.set_yticks(range(len(names)), names)
    right.set_yticks(range(len(whole)), [f"{name}\n{J} × {side}²" for name, J, side in whole])
    right.set_xscale("log")
    plain_numbers(right.xaxis, "1")
    for axis in (left, right):
        axis.invert_yaxis()
        axis.grid(axis="x", color=GRID, lw=0.6)
    marks = [("|", "floor of its kernels", INK), ("1", "floor in one wave", INK), ("o", "on paper, as a graph", INK),
             ("o", "launched call by call", "none"), ("x", "measured", INK)]  # fmt: skip
    handles = [right.plot([], [], mark, color=INK, mfc=fill, label=label)[0] for mark, label, fill in marks]
    outside = {"frameon": False, "fontsize": 8, "loc": "upper center", "bbox_to_anchor": (0.5, -0.12)}
    right.legend(handles=handles, ncols=3, **outside)
    left.legend(ncols=3, **outside)
    return plot


def answer(rows: Rows) -> str:
    """Steps, and what is farther from its floor than NEAR at the first size."""
    said = []
    for J, side in dict.fromkeys((r["J"], r["side"]) for r in rows):
        steps = [r for r in rows if (r["kernel"], r["J"], r["side"]) == ("step", J, side)]
        times = ", ".join(f"{r['us'] / 1e3:.2f} ms on {r['gpu']} ({r['us in calls'] / 1e3:.2f})" for r in steps)
        said.append(f"a step of {J} labels on {side}² pixels takes {times}")
    first = [r for r in rows if (r["J"], r["side"]) == (rows[0]["J"], rows[0]["side"])]
    far: dict[str, list[float]] = {}
    for row in first:
        if row["floors"] > NEAR:
            far.setdefault(row["kernel"], []).append(row["floors"])
    names = "; ".join(f"{name} {max(values):.2f}" for name, values in far.items())
    far_ones = f"Over {NEAR} floors at the first size, at most: {names or 'nothing'}."
    return f"On paper (launched call by call) {'; '.join(said)}. {far_ones}"


def markdown(rows: Rows) -> str:
    """Tables for README.md: kernels of the first size, sequences of all."""
    size = rows[0]["J"], rows[0]["side"]
    kernels = [r for r in rows if r["kernel"] not in SEQUENCES and (r["J"], r["side"]) == size]
    heads = " | ".join(device.name for device in DEVICES)
    line = "|---" * (4 + len(DEVICES)) + "|"
    parts = [f"| kernel | MB read + written | occupancy | L1 over memory, H200 | {heads} |", line]
    for group in groups(kernels):
        first, last = group[0], group[-1]
        occupancy = " ".join(dict.fromkeys(f"{r['occupancy']:.2g}" for r in group))
        parts.append(
            f"| {first['kernel']} | {first['MB read']:.1f} + {first['MB written']:.1f} | {occupancy} | "
            f"{last['L1/memory']:.2f} | {' | '.join(map(cell, group))} |"
        )
    parts += ["", f"| sequence | launches | of CuPy | floor in one wave, H200 | {heads} |", line]
    for group in groups([r for r in rows if r["kernel"] in SEQUENCES]):
        first, wave = group[0], group[-1]["wave us"]
        calls_of = "; in calls {us in calls:.0f}" if first["kernel"] in ("reverse_horner", "step") else ""
        cells = " | ".join(cell(r) + calls_of.format(**r) for r in group)
        name = f"{first['kernel']}, {first['J']} × {first['side']}²"
        parts.append(f"| {name} | {first['launches']} | {first['by CuPy']} | {wave:.3g} | {cells} |")
    return "\n".join(parts)


def groups(rows: Rows) -> list[Rows]:
    """Rows of all GPUs together."""
    return [rows[k : k + len(DEVICES)] for k in range(0, len(rows), len(DEVICES))]


def cell(row: dict[str, Any]) -> str:
    """Time on paper and floor, bold where it is not near."""
    text = f"{row['us']:.3g} ({row['floor us']:.3g})"
    return f"**{text}**" if row["floors"] > NEAR else text


def main() -> None:
    asked = command(__doc__, labels=(tuple(j for j, _ in CASES), (3,)), sides=(tuple(s for _, s in CASES), (48,)))
    rows = []
    for labels, side in zip(asked.labels, asked.sides, strict=True):
        for name, call in calls(labels, side, "float32").items():
            launches = record(call)
            rows += [predict(device, name, launches, labels, side, "float32") for device in DEVICES]
    save(rows, answer(rows), figure)
    if ASKED.output == RESULTS:
        in_readme("gpu_model", markdown(rows))


if __name__ == "__main__":
    main()
