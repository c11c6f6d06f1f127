"""gpulaf info."""

from __future__ import annotations

import os
import sys

import click

from .._version import __version__


@click.command()
def info() -> None:
    """Show versions, CPU threads and whether a GPU can be used."""
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
        properties = sys.modules["cupy"].cuda.runtime.getDeviceProperties(0)
        click.echo(f"GPU: {properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB")
    else:
        click.echo(f"GPU: none. {missing}")
