"""What the measurements share: medians, the machine, a table, a JSON file in results/."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def seconds(call: Callable[[], Any], *, repeats: int = 7) -> float:
    """Median wall time of a call, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def on_gpu() -> bool:
    """Whether ``--gpu`` was asked for: arrays then are CuPy's, and results go to a file of their own."""
    return "--gpu" in sys.argv


def put(*arrays: Any) -> list[Any]:
    """Arrays on the device that is measured."""
    if not on_gpu():
        return list(arrays)
    import cupy

    return [cupy.asarray(x) for x in arrays]


def many(call: Callable[[], Any], count: int) -> Callable[[], None]:
    """The call `count` times in a row, and the wait for a GPU where there is one: what launches cost drops out."""

    def run() -> None:
        for _ in range(count):
            call()
        if on_gpu():
            import cupy

            cupy.cuda.get_current_stream().synchronize()

    return run


def interleaved(calls: dict[str, Callable[[], Any]], *, repeats: int = 7, settled: bool = False) -> dict[str, float]:
    """Medians of several calls measured in turns, so that a slow spell of the machine hits all of them.

    With `settled`, each timed call follows an untimed one of its own, so that none pays for caches or for memory that
    the one before, of another size, gave back.
    """
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            if settled:
                call()
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def machine() -> dict[str, Any]:
    """Processor, cores and versions."""
    import numba
    import numpy
    import scipy

    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = {}
    if on_gpu():
        import cupy

        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        gpu = {"gpu": name, "cupy": cupy.__version__, "cuda": cupy.cuda.runtime.runtimeGetVersion()}
    return gpu | {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": numba.get_num_threads(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "numba": numba.__version__,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Rows with equal keys as an aligned table."""
    head = list(rows[0])
    cells = [head] + [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(head))]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in cells)


def result_name(name: str) -> str:
    """The name of a result, apart for GPUs."""
    return f"{name}-gpu" if on_gpu() else name


def save(name: str, rows: list[dict[str, Any]], answer: str) -> None:
    """Print the table and the answer, and write both with the machine to results/NAME.json."""
    from gpulaf.io.atomic import whole_file

    print(table(rows))
    print(f"\n{answer}")
    with whole_file(RESULTS / f"{result_name(name)}.json") as path:
        path.write_text(json.dumps({"machine": machine(), "answer": answer, "rows": rows}, indent=1) + "\n")
