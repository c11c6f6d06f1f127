"""gpulaf info."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from itertools import chain
from typing import Any

import click

from .._version import __version__

#: Columns of the report.
WIDTH = 100


@click.command()
@click.option("--check", is_flag=True, help="Also check every kernel and measure the speed: a page to send in.")
def info(check: bool) -> None:
    """Show versions, CPU threads and whether a GPU can be used.

    With --check every kernel runs on the GPU, or on the CPU where there is none, and is compared with its definition,
    as are steps of a fit; then speed is measured. The exit status is 1 where a check fails.
    """
    _show_versions()
    if check and not _run_checks():
        click.get_current_context().exit(1)


def _show_versions() -> None:
    from importlib.metadata import PackageNotFoundError, version

    from ..backend.array import gpu_missing

    click.echo(f"gpulaf {__version__}, Python {sys.version.split()[0]}")
    for package in ("numpy", "scipy", "numba", "matplotlib", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            click.echo(f"  {package} {version(package)}")
        except PackageNotFoundError:
            if package == "numba":
                click.echo("  numba is not installed: the slower reference kernels are used")
    try:
        import numba

        threads = numba.get_num_threads()
    except ImportError:
        threads = 1
    click.echo(f"CPU: {os.cpu_count()} cores, {threads} threads for the kernels (set NUMBA_NUM_THREADS for fewer)")
    missing = gpu_missing()
    if missing is None:
        click.echo(f"GPU: {_gpu(sys.modules['cupy'])}")
    else:
        click.echo(f"GPU: none. {missing}")


def _gpu(cupy: Any) -> str:
    """Name, memory and versions of the first GPU."""
    runtime = cupy.cuda.runtime
    properties, versions = runtime.getDeviceProperties(0), (runtime.driverGetVersion(), runtime.runtimeGetVersion())
    driver, library = (f"{version // 1000}.{version % 1000 // 10}" for version in versions)
    return (
        f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB, compute capability "
        f"{properties['major']}.{properties['minor']}, driver for CUDA {driver}, CUDA {library}, "
        f"CuPy {cupy.__version__}"
    )


def _run_checks() -> bool:
    """Print what every check finds as soon as it is known, and then the speed; return whether all passed."""
    from ..backend.array import gpu_missing
    from ..profiling.check import check_fit, check_kernels
    from ..profiling.clocks import machine

    began, failed, count, on_device = time.perf_counter(), [], 0, gpu_missing() is None
    click.echo(f"\nChecked: {machine(on_device)}")
    click.echo(
        "Images, volumes and batches of odd sizes in float32 and float64, results beside those of the\n"
        "definitions in float64; error: share of the tolerance, below 1."
    )
    click.echo(_row("", "", "results", "error"))
    for found in chain(check_kernels(), check_fit()):
        count += 1
        click.echo(_row(found.name, found.how, str(found.cases), f"{found.error:.2g}"))
        if found.failure:
            failed.append(f"{found.name} ({found.how})")
            click.echo(_wrapped(f"FAILED: {found.failure}", 3 if len(failed) < 4 else 1, "    "))
    if failed:
        said = f"{len(failed)} of {count} checks FAILED: {', '.join(failed)}. Speed was not measured."
        click.echo(_wrapped(said, 3))
        return False
    _show_speed("gpu" if on_device else "cpu")
    device, seconds = "GPU" if on_device else "CPU", time.perf_counter() - began
    click.echo(f"All {count} checks of the {device} passed in {seconds:.0f} s.")
    return True


def _show_speed(device: str) -> None:
    from ..profiling.check import LABELS, SIDE, speeds

    click.echo()
    click.echo(_row(f"{SIDE[device]}², {LABELS} labels, float32", "ms", "GB/s", "of a copy"))
    for speed in speeds(device):
        numbers = ((speed.seconds, 1e3, ".3f"), (speed.bandwidth, 1e-9, ".1f"), (speed.share, 1, ".2f"))
        cells = ("" if value is None else f"{value * factor:{form}}" for value, factor, form in numbers)
        click.echo(_row(speed.name, *cells))


def _row(name: str, *cells: str) -> str:
    return f"{name:28}{cells[0]:>18}{cells[1]:>10}{cells[2]:>11}".rstrip()


def _wrapped(text: str, lines: int, indent: str = "") -> str:
    """The text on so many lines at most."""
    options: dict[str, Any] = {"initial_indent": indent, "subsequent_indent": indent, "placeholder": " …"}
    return textwrap.fill(text, WIDTH, max_lines=lines, **options)
