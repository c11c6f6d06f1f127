"""What the measurements share: command line, problem, medians, machine, table, results as JSON and figure."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import gpulaf
from gpulaf.fields import field_shape

RESULTS = Path(__file__).parent / "results"
Rows = list[dict[str, Any]]

#: What the command line asked for.
ASKED = argparse.Namespace(quick=False, gpu=False, output=None)


def command(
    doc: str | None, *, gpu: bool = False, needs: tuple[str, ...] = (), more: dict[str, Any] | None = None, **sizes: Any
) -> argparse.Namespace:
    """Read the command line of a script.

    Parameters
    ----------
    doc : str
        The question of the script and how it is answered: its docstring.
    gpu : bool
        Whether arrays of a GPU can be measured.
    needs : tuple of str
        Modules that gpulaf alone does not install.
    more : dict
        Other arguments by name, as options of ``add_argument``.
    **sizes : (int, int) or (tuple of int, tuple of int)
        The usual value and the one with --quick, by name.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that the script works, in seconds")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="write results there (perf/results; with --quick nowhere)"
    )
    if gpu:
        parser.add_argument("--gpu", action="store_true", help="measure arrays of a GPU; results end in -gpu")
    for name, (usual, quick) in sizes.items():
        many = isinstance(usual, tuple)
        said = "; with --quick ".join(" ".join(map(str, x)) if many else str(x) for x in (usual, quick))
        options = {"type": int, "metavar": "N", "nargs": "+" if many else None}
        parser.add_argument(f"--{name}", help=said, **options)
    for name, options in (more or {}).items():
        parser.add_argument(name, **options)
    parser.set_defaults(gpu=False)
    parser.parse_args(namespace=ASKED)
    for name, values in sizes.items():
        if getattr(ASKED, name) is None:
            setattr(ASKED, name, values[ASKED.quick])
    if ASKED.output is None and not ASKED.quick:
        ASKED.output = RESULTS
    if missing := [name for name in (*needs, *["cupy"] * ASKED.gpu) if find_spec(name) is None]:
        sys.exit(f"{', '.join(missing)} cannot be imported; perf/README.md says what to install.")
    return ASKED


def problem(labels: int, side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (H, 9, W), log-likelihood (H, J, W) and truth (H, W) on the host: noisy blocks of labels, float32."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, labels, (side // 16 + 1, side // 16 + 1))
    truth = np.kron(blocks, np.ones((16, 16), int))[:side, :side].astype(np.int32)
    hit = np.arange(labels)[:, None] == truth[:, None, :]
    l = 3 * rng.standard_normal(field_shape(truth.shape, labels)) + 4 * hit
    weights = gpulaf.averaging.normalize_weights(0.5 + rng.random(field_shape(truth.shape, 9)))
    return weights.astype(np.float32), l.astype(np.float32), truth


class StoredGrid(gpulaf.Grid):
    """A grid whose gradients take a stored series, as on a GPU, where others take one wave on the CPU."""

    in_one_wave = False


def put(*arrays: Any) -> list[Any]:
    """Move arrays to the device that is measured."""
    if not ASKED.gpu:
        return list(arrays)
    import cupy

    return [cupy.asarray(x) for x in arrays]


def many(call: Callable[[], Any], count: int) -> Callable[[], None]:
    """Repeat the call `count` times, and wait for a GPU where there is one: what launches cost drops out."""

    def run() -> None:
        for _ in range(count):
            call()
        if ASKED.gpu:
            import cupy

            cupy.cuda.get_current_stream().synchronize()

    return run


def interleaved(
    calls: dict[Any, Callable[[], Any]],
    *,
    repeats: int,
    settled: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Any, float]:
    """Medians of several calls measured in turns, so that a slow spell of the machine hits all of them.

    With `settled`, each timed call follows an untimed one of its own, so that none pays for caches or for memory that
    the one before, of another size, gave back.
    """
    for call in calls.values():
        call()
    times: dict[Any, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            if settled:
                call()
            began = clock()
            call()
            times[name].append(clock() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def in_turns(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of every repetition of several calls."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):  # the first one warms up
        for name, call in calls.items():
            wall, processor = time.perf_counter(), time.process_time()
            many(call, 1)()
            if repeat:
                taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return taken


def over(mine: list[tuple[float, float]], other: list[tuple[float, float]]) -> list[float]:
    """Median ratios of wall and of processor seconds, of repetitions next to each other."""
    pairs = list(zip(mine, other, strict=True))
    return [statistics.median(a[k] / max(b[k], 1e-9) for a, b in pairs) for k in (0, 1)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Run kernels on the calling thread."""
    import numba

    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(threads)


def megabytes(name: str) -> float:
    """Read a row of this process's status (Linux): VmRSS, memory that is resident, or VmHWM, the most that was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name))) / 1024


def machine() -> dict[str, Any]:
    """Processor, cores and versions."""
    import numba
    import scipy

    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = {}
    if ASKED.gpu:
        import cupy

        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        gpu = {"gpu": name, "cupy": cupy.__version__, "cuda": cupy.cuda.runtime.runtimeGetVersion()}
    return gpu | {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": numba.get_num_threads(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "numba": numba.__version__,
    }


def table(rows: Rows) -> str:
    """Align rows with equal keys."""
    head = list(rows[0])
    cells = [head] + [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(head))]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in cells)


def in_readme(name: str, text: str) -> None:
    """Replace what stands between <!-- name: --> and <!-- :name --> in perf/README.md."""
    readme = RESULTS.parent / "README.md"
    head, _, rest = readme.read_text(encoding="utf-8").partition(f"<!-- {name}: -->\n")
    _, _, tail = rest.partition(f"<!-- :{name} -->")
    if tail:
        readme.write_text(f"{head}<!-- {name}: -->\n{text}\n<!-- :{name} -->{tail}", encoding="utf-8")


def save(rows: Rows, answer: str, figure: Callable[[Rows], Any] | None = None, *, name: str = "") -> None:
    """Print table and answer; where results are written, write both with the machine to NAME.json, and the figure.

    The name is that of the script if none is given.
    """
    from gpulaf.io.atomic import whole_file
    from gpulaf.io.images import write_figure

    print(table(rows))
    print(f"\n{answer}")
    if ASKED.output is None:
        return
    ASKED.output.mkdir(parents=True, exist_ok=True)
    name = (name or Path(sys.argv[0]).stem) + "-gpu" * ASKED.gpu
    with whole_file(ASKED.output / f"{name}.json") as path:
        path.write_text(json.dumps({"machine": machine(), "answer": answer, "rows": rows}, indent=1) + "\n")
    if figure is not None:
        write_figure(ASKED.output / f"{name}.png", figure(rows))
