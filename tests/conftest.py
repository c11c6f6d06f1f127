"""Numerical tests run over libraries and dtypes: NumPy, read-only NumPy, the strict array API, CuPy.

Where CuPy finds no GPU it is the one of ``simulated_cuda``, which needs g++.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

SIMULATED = str(Path(__file__).with_name("simulated_cuda"))
FIND_GPU = "import cupy, sys; sys.exit(not cupy.cuda.runtime.getDeviceCount())"


def has_gpu() -> bool:
    """Whether an installed CuPy finds a GPU, found out without importing it here."""
    if find_spec("cupy") is None:
        return False
    return subprocess.run([sys.executable, "-c", FIND_GPU], capture_output=True, check=False).returncode == 0


if shutil.which("g++") and not has_gpu():
    sys.path.insert(0, SIMULATED)

from gpulaf.backend.array import gpu_missing  # noqa: E402

settings.register_profile("gate", derandomize=True, deadline=None)
if os.environ.get("CI"):  # the gate tries the same examples every time; other runs go on looking for new ones
    settings.load_profile("gate")


@dataclass(frozen=True)
class Library:
    """An array library: brings host arrays in; everything comes back by `host_array`."""

    name: str

    def __call__(self, x: Any) -> Any:
        if self.name == "read-only":
            x = np.array(x)
            x.flags.writeable = False
            return x
        if self.name == "strict":
            import array_api_strict

            return array_api_strict.asarray(x)
        if self.name == "cupy":
            import cupy

            return cupy.asarray(x)
        return np.asarray(x)


@pytest.fixture(params=["numpy", "read-only", "strict", "cupy"])
def xp(request: pytest.FixtureRequest) -> Iterator[Library]:
    if request.param == "cupy" and (missing := gpu_missing()):
        pytest.skip(missing)
    yield Library(request.param)
    if request.param == "cupy":  # what failed on the device and nobody waited for
        sys.modules["cupy"].cuda.runtime.deviceSynchronize()


class NotInstalled:
    """Finds no CuPy, for ``sys.meta_path``."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'", name="cupy")


@pytest.fixture
def without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CuPy be as if it were not installed, as where results are compared with those of the CPU bit for bit."""
    monkeypatch.setattr(sys, "meta_path", [NotInstalled, *sys.meta_path])
    monkeypatch.delitem(sys.modules, "cupy", raising=False)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype[Any]:
    return np.dtype(request.param)
