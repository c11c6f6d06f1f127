"""perf/gpu.sh with an interpreter that pretends: the measurements themselves need a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import ENVIRONMENT

from gpulaf.backend.array import gpu_missing

SCRIPT = Path(__file__).parents[2] / "perf" / "gpu.sh"
STEPS = ["check", "profile", "bandwidth", "fit", "batch", "deep", "neighborhoods", "autodiff"]


def run(folder: Path, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return with_environment(folder, *arguments, PYTHON=python, CUDA_VISIBLE_DEVICES="")


def with_environment(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments], cwd=folder, env=ENVIRONMENT | environment, capture_output=True,
        encoding="utf-8", check=False, timeout=300,
    )  # fmt: skip


def pretending(folder: Path, cases: str = "") -> str:
    """An interpreter that finds a GPU, and answers with what it was asked."""
    path = folder / "python"
    path.write_text(
        f'#!/bin/bash\ncase "$*" in\n-c*) ;;\n{cases}\n*" profile "*) echo "total 12 ms"; echo written ;;\n'
        '*) echo one; echo "answer to ${*##*/}" ;;\nesac\n'
    )
    path.chmod(0o755)
    return str(path)


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return dict(line.split()[:2] for line in done.stdout.splitlines()[:-1])


def test_it_runs_every_script_that_knows_a_gpu() -> None:
    scripts = {path.stem for path in SCRIPT.parent.glob("*.py") if "gpu=True" in path.read_text(encoding="utf-8")}
    assert set(STEPS) == scripts | {"check", "profile"}
    assert re.findall(r"^(?:script|step) (\w+) \d", SCRIPT.read_text(encoding="utf-8"), re.M) == STEPS


def test_help(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: perf/gpu.sh [--seconds N] [--output FOLDER] [--quick]")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seconds", "ten"], "--seconds is ten; accepted are whole numbers"), (["--seconds"], "needs a value"),
        (["--size", "3"], "--size is unknown"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run(tmp_path, *arguments, python=pretending(tmp_path))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_without_a_gpu_it_says_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "--output", "new")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(r"gpu\.sh: nothing is measured\. CuPy (is not installed\. Install it|finds no usable)", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_without_gpulaf_it_says_so(tmp_path: Path) -> None:
    broken = pretending(tmp_path).replace("python", "broken")
    Path(broken).write_text("#!/bin/bash\necho Traceback >&2\necho 'No module named gpulaf' >&2\nexit 1\n")
    Path(broken).chmod(0o755)
    done = run(tmp_path, python=broken)
    assert done.returncode == 1
    assert done.stderr.endswith("broken cannot use gpulaf: No module named gpulaf\n")


def test_all_run_and_a_summary_ends_it(tmp_path: Path) -> None:
    skipped = "*autodiff*) echo 'torch cannot be imported; see' >&2; exit 1 ;;"
    done = run(tmp_path, "--output", "a folder/new", python=pretending(tmp_path, skipped))
    folder = tmp_path / "a folder" / "new"
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert outcomes(done) == dict.fromkeys(STEPS[:-1], "ok") | {"autodiff": "skipped"}
    assert re.search(r"^check +ok +\d+ s  answer to -m gpulaf info --check$", done.stdout, re.M)
    assert re.search(r"^profile +ok +\d+ s  total 12 ms$", done.stdout, re.M)
    assert re.search(r"^autodiff +skipped +\d+ s  torch cannot be imported; see$", done.stdout, re.M)
    assert done.stdout.splitlines()[-1].startswith("All ran, in ")
    assert (folder / "summary.txt").read_text(encoding="utf-8") == done.stdout
    assert {path.name for path in folder.iterdir()} == {f"{name}.txt" for name in [*STEPS, "summary"]}


@pytest.mark.skipif(gpu_missing() is not None, reason=str(gpu_missing()))
def test_the_measurements_run(tmp_path: Path) -> None:
    """On tiny sizes, all but those that take their time where the GPU is a simulated one."""
    slow = f'*"info --check"|*neighborhoods*) echo "left out" ;;\n*) exec {sys.executable} "$@" ;;'
    simulated = [path for path in sys.path if path.endswith("simulated_cuda")]
    paths = os.pathsep.join([*simulated, *filter(None, [os.environ.get("PYTHONPATH")])])
    python = pretending(tmp_path, slow)
    done = with_environment(tmp_path, "--quick", "--output", "new", PYTHON=python, PYTHONPATH=paths)
    assert done.returncode == 0, done.stdout
    found = outcomes(done)
    assert found.pop("autodiff") in ("ok", "skipped")  # which needs PyTorch
    assert found == dict.fromkeys(STEPS[:-1], "ok"), done.stdout
    results = {path.name for path in (tmp_path / "new").glob("*.json")}
    assert results >= {"profile.json", "bandwidth-gpu.json", "fit-gpu.json", "batch-gpu.json", "deep-gpu.json"}


def test_quick_is_passed_on(tmp_path: Path) -> None:
    done = run(tmp_path, "--quick", "--output", ".", python=pretending(tmp_path, '*.py*) echo "$*" ;;'))
    assert done.returncode == 0
    assert done.stdout.count(f" --gpu --output {tmp_path} --quick\n") == len(STEPS) - 2


def test_what_fails_and_what_has_no_time_is_told(tmp_path: Path) -> None:
    cases = "*fit*) echo 'Error: boom' >&2; exit 3 ;;\n*batch*) sleep 60 & sleep 60 ;;"
    began = time.monotonic()
    done = run(tmp_path, "--seconds", "3", "--output", ".", python=pretending(tmp_path, cases))
    assert time.monotonic() - began < 30
    assert done.returncode == 1
    found = outcomes(done)
    assert (found["check"], found["fit"], found["batch"]) == ("ok", "failed", "timed-out")
    assert re.search(r"^fit +failed +\d+ s  Error: boom$", done.stdout, re.M)
    assert re.findall(r"^(\w+) +no time +0 s$", done.stdout.replace("  \n", "\n"), re.M) == STEPS[-3:]
    assert done.stdout.splitlines()[-1].startswith("Not all ran, in ")
