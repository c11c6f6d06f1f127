"""How does the cost grow with pixels, labels, and the degree of a series or the dimension of a Krylov space?

Times of one product A v, and of one solution with its gradient ∂Ω for a given derivative of the loss, float32, T = 3: a
Taylor series by reverse Horner, a Krylov space with rank 1. All sizes of an axis take turns. An exponent is the slope
of log time over log size by least squares; in parentheses the lowest and the highest slope between neighboring sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from measure import Rows, command, interleaved, megabytes, save

from gpulaf import Grid, Krylov, Taylor
from gpulaf.averaging import normalize_weights
from gpulaf.fields import field_shape
from gpulaf.flows import LinearFlow, weight_gradient
from gpulaf.plots.style import COLORS, canvas, plain

TIME = 3.0
#: What stays fixed while something else grows.
LABELS, DEGREE, DIMENSION = 8, 6, 5
#: Labels of the images that grow to 4096².
FEW = 2


def fields(labels: int, side: int) -> tuple[LinearFlow, np.ndarray, np.ndarray]:
    """A flow of noise and random weights, a field to multiply and one to write, float32 throughout."""
    rng, pixels = np.random.default_rng(0), (side, side)
    weights = normalize_weights(0.5 + rng.random(field_shape(pixels, 9), dtype=np.float32))
    l, v = (rng.standard_normal(field_shape(pixels, labels), dtype=np.float32) for _ in range(2))
    flow = LinearFlow(Grid(weights), 3 * l)
    return flow, v, np.empty_like(v)


def calls(labels: int, side: int, degree: int = DEGREE, dimension: int = DIMENSION) -> dict[str, Callable[[], Any]]:
    """The product, and the solution with its gradient both ways."""
    flow, v, out = fields(labels, side)

    def gradient(solver: Any, rank: int | None = None) -> np.ndarray:
        return weight_gradient(flow, solver.solve(flow, TIME), v, rank=rank).weights

    return {
        "product": lambda: flow.A(v, out=out),
        "Taylor": lambda: gradient(Taylor(degree)),
        "Krylov": lambda: gradient(Krylov(dimension), rank=1),
    }


def measure(axis: str, sizes: dict[int, dict[str, int]], repeats: int) -> Rows:
    """One row per size."""
    every = {(x, name): call for x, size in sizes.items() for name, call in calls(**size).items()}
    times = interleaved(every, repeats=repeats, settled=True)
    rows = []
    for x, size in sizes.items():
        fixed = {"axis": axis, "size": x, "J": size["labels"], "side": size["side"]}
        rows.append({**fixed, **{f"{name} ms": 1e3 * times[x, name] for name in ("product", "Taylor", "Krylov")}})
    return rows


def exponent(rows: Rows, axis: str, name: str, least: int = 0) -> tuple[float, float, float]:
    """The slope from size `least` on, and the lowest and highest between neighbors."""
    kept = [row for row in rows if row["axis"] == axis and row["size"] >= least]
    x, y = (np.log([row[key] for row in kept]) for key in ("size", f"{name} ms"))
    between = np.diff(y) / np.diff(x)
    return float(np.polyfit(x, y, 1)[0]), float(between.min()), float(between.max())


def spelled(axis: str, size: int) -> str:
    """Pixels as the square of a side."""
    return f"{round(size**0.5)}²" if axis == "pixels" else str(size)


def claim(rows: Rows, axis: str, names: tuple[str, ...], least: int = 0) -> str:
    """The exponents over one axis in words."""
    sizes = [row["size"] for row in rows if row["axis"] == axis and row["size"] >= least]
    slopes = []
    for name in names:
        slope, low, high = exponent(rows, axis, name, least)
        slopes.append(f"{name} {slope:.2f} ({low:.2f} to {high:.2f})")
    return f"over {axis} from {spelled(axis, sizes[0])} to {spelled(axis, sizes[-1])} " + ", ".join(slopes)


def main() -> None:
    asked = command(
        __doc__, side=(512, 16), sides=((128, 256, 512, 1024, 2048, 4096), (16, 24, 32)),
        labels=((2, 4, 8, 16, 32), (2, 4)), terms=((2, 3, 4, 6, 8, 12, 16), (2, 4)), repeats=(9, 1),
    )  # fmt: skip
    side, repeats = asked.side, asked.repeats
    rows = measure("pixels", {s * s: {"labels": FEW, "side": s} for s in asked.sides}, repeats)
    rows += measure("labels", {j: {"labels": j, "side": side} for j in asked.labels}, repeats)
    terms = {d: {"labels": LABELS, "side": side, "degree": d, "dimension": d} for d in asked.terms}
    rows += measure("terms", terms, repeats)
    every = ("product", "Taylor", "Krylov")
    large = [512**2] * (max(asked.sides) > 512)  # where no cache holds them
    claims = [claim(rows, "pixels", every, least) for least in (*large, 0)]
    claims += [claim(rows, "labels", every), claim(rows, "terms", every[1:])]
    memory = f"peak memory {megabytes('VmHWM') / 1024:.1f} GiB"
    save(rows, f"exponents of time: {'; '.join(claims)}; {memory}.", figure)


def figure(rows: Rows) -> Any:
    from matplotlib.ticker import LogFormatter, NullLocator

    plot, (line,) = canvas(1, 3, width=4, height=4.2)
    for panel, axis in zip(line, ("pixels", "labels", "terms"), strict=True):
        kept = [row for row in rows if row["axis"] == axis]
        x, J, side = [row["size"] for row in kept], kept[0]["J"], kept[0]["side"]
        names = ("Krylov", "Taylor", "product") if axis != "terms" else ("Krylov", "Taylor")
        for k, name in enumerate(names):
            color = COLORS[k]
            panel.plot(x, [row[f"{name} ms"] for row in kept], "o-", ms=4, color=color)
            text = f"{name}: exponent {exponent(rows, axis, name)[0]:.2f}"
            if axis == "pixels" and x[-1] > 512**2:
                text += f", from 512² {exponent(rows, axis, name, 512**2)[0]:.2f}"
            panel.text(0.03, 0.98 - 0.075 * k, text, color=color, va="top", transform=panel.transAxes)
        fixed = {"pixels": f"{J} labels", "labels": f"{side}² pixels", "terms": f"{side}² pixels, {J} labels"}[axis]
        more = f", degree {DEGREE}, dimension {DIMENSION}" if axis != "terms" else ""
        plain(panel, fixed + more, "degree or dimension" if axis == "terms" else axis, "ms")
        panel.set(xscale="log", yscale="log")
        panel.set_xticks(x, [spelled(axis, size) for size in x])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_formatter("{x:.10g}")
        panel.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.5)))
        low, high = panel.get_ylim()
        panel.set_ylim(low, high * (high / low) ** 0.25)  # room for the words
    return plot


if __name__ == "__main__":
    main()
