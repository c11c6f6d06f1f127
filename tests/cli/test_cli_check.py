"""gpulaf info --check: one page to send in, and the exit status."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from commands import ENVIRONMENT, PROGRAM
from gpulaf.kernels import inner_products

from gpulaf.backend import array
from gpulaf.backend.array import gpu_missing
from gpulaf.cli import main
from gpulaf.profiling import cases, check
from gpulaf.profiling.cases import KERNELS, Size


def page(capsys: pytest.CaptureFixture[str], expected: int) -> list[str]:
    """The lines of a run in this process, which ends with the expected status."""
    assert (main(["info", "--check"], standalone_mode=False) or 0) == expected
    output, errors = capsys.readouterr()
    assert errors == ""
    lines = output.splitlines()
    assert len(lines) <= 60
    assert all(len(line) <= 100 for line in lines if not line.startswith(("GPU: ", "CPU: ")))
    return lines


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a GPU, and small."""
    monkeypatch.setattr(array, "gpu_missing", lambda: "CuPy is not installed. Install it with: …")
    monkeypatch.setattr(check, "SIDE", {"cpu": 64, "gpu": 64})


def number_of(row: str) -> float:
    return float(row.split()[-1])


def test_a_process_without_a_gpu_says_so_and_checks_the_cpu(tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "info", "--check"], cwd=tmp_path, env=ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(re.match(r"GPU: none\. CuPy (is not installed\. Install it with|finds no usable GPU)", x) for x in lines)
    rows = {name: next(line for line in lines if line.startswith(f"{name} ")) for name in KERNELS}
    assert all("Numba" in row and number_of(row) < 1 for row in rows.values())
    assert re.fullmatch(r"All 16 checks of the CPU passed in \d+ s\.", lines[-1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("on_the_cpu")
def test_the_page_of_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    lines = page(capsys, 0)
    assert "GPU: none. CuPy is not installed. Install it with: …" in lines
    at = next(k for k, line in enumerate(lines) if line.startswith("64², 10 labels, float32"))
    speeds = [re.split(r"  +", line) for line in lines[at + 1 : -1]]
    assert [cells[0] for cells in speeds] == ["copy", "operator", "∂Ω", "step"]
    assert [len(cells) for cells in speeds] == [2, 4, 2, 2]
    assert all(float(cell) > 0 for cells in speeds for cell in cells[1:])


@pytest.mark.skipif(gpu_missing() is not None, reason=str(gpu_missing()))
def test_the_page_of_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cases, "SIZES", [Size((19, 70)), Size((9, 41), images=3, shared=True), Size((5, 9, 41))])
    monkeypatch.setattr(check, "SIDE", {"gpu": 32})
    monkeypatch.setattr(check, "LARGEST_COPY", 2**16)
    lines = page(capsys, 0)
    assert re.search(r"^GPU: .+ GiB, compute capability \d+\.\d+, driver for CUDA \d+\.\d+", "\n".join(lines), re.M)
    assert sum(" CUDA " in line and not line.startswith("GPU: ") for line in lines) == len(KERNELS) - 2
    assert sum(line.startswith("5 steps") and " recorded " in line for line in lines) == 2
    assert [line for line in lines if line.startswith(("step, recorded", "step, kernel by kernel"))]
    assert re.fullmatch(r"All 18 checks of the GPU passed in \d+ s\.", lines[-1])


def off(function: Any) -> Any:
    def changed(*operands: Any, **options: Any) -> Any:
        result = function(*operands, **options)
        result.reshape(-1)[-1:] += 1
        return result

    return changed


@pytest.mark.usefixtures("on_the_cpu")
def test_a_kernel_that_computes_wrongly_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inner_products, "cpu", off(inner_products.cpu))
    lines = page(capsys, 1)
    at = next(k for k, line in enumerate(lines) if line.startswith("inner_products "))
    assert number_of(lines[at]) > 1
    assert lines[at + 1].startswith("    FAILED: error ")
    assert "FAILED" not in "".join(lines[:at])
    assert re.match(r"1 of 16 checks FAILED: inner_products \(.+\)\. Speed was not measured\.", lines[-1])


@pytest.mark.usefixtures("on_the_cpu")
def test_a_page_on_which_everything_fails_is_one_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered; " + "what was so " * 30)

    fits = chain([check._fit("float64", "cpu")], repeat(None))  # what it is compared with

    def broken_fit(*_: Any) -> Any:
        return next(fits) or broken()

    monkeypatch.setattr(check, "_call", broken)
    monkeypatch.setattr(check, "_fit", broken_fit)
    lines = page(capsys, 1)
    assert sum(line.startswith("    FAILED: RuntimeError: cudaErrorIllegalAddress") for line in lines) == 16
    assert any(line.startswith("16 of 16 checks FAILED: similarity (") for line in lines)


def test_without_numba_the_references_are_compared(tmp_path: Path) -> None:
    code = (
        "from gpulaf.backend import array; array.gpu_missing = lambda: 'none'\n"
        "from gpulaf.profiling import check; check.SIDE = {'cpu': 16}\n"
        "from gpulaf.cli import main; main(['info', '--check'])"
    )
    environment = ENVIRONMENT | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True,
        encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" array API ") == len(KERNELS)
