"""The measurements as processes: every script explains itself, and runs on tiny sizes without touching its results."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ENVIRONMENT, snapshot

PERF = Path(__file__).parents[2] / "perf"
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(PERF.glob("*.py"))}
SCRIPTS = [name for name, text in TEXTS.items() if "__main__" in text]


def run(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder; skip the test where it says that a package is missing."""
    command = [sys.executable, "-B", str(PERF / script), *arguments]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, encoding="utf-8", check=False)
    if "cannot be imported" in done.stderr and len(done.stderr.splitlines()) == 1:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(autouse=True)
def results_stay() -> Iterator[None]:
    """What is tracked is the same after each test."""
    before = snapshot(PERF), snapshot(PERF / "results")
    yield
    assert (snapshot(PERF), snapshot(PERF / "results")) == before


def test_scripts_are_found() -> None:
    assert len(SCRIPTS) >= 5
    for script in SCRIPTS:
        assert f"python perf/{script}" in (PERF / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_asks_the_question(tmp_path: Path, script: str) -> None:
    told = run(script, "--help", folder=tmp_path).stdout
    question = TEXTS[script].split('"""')[1].splitlines()[0]
    assert "?" in question
    assert question in told
    assert "--quick" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_quick_run(tmp_path: Path, script: str) -> None:
    done = run(script, "--quick", "--output", "new/folder", folder=tmp_path)
    assert done.stderr == ""
    found = {path.name: path for path in (tmp_path / "new/folder").iterdir()}
    name = Path(script).stem
    record = json.loads(next(path for path in found.values() if path.suffix == ".json").read_text(encoding="utf-8"))
    assert list(record) == ["machine", "answer", "rows"]
    assert done.stdout.splitlines()[-1].endswith(record["answer"])
    assert ("def figure(" in TEXTS[script]) == (f"{name}.png" in found)
    assert all(key in done.stdout for key in record["rows"][0])


def test_a_quick_run_writes_nothing(tmp_path: Path) -> None:
    done = run("fit.py", "--quick", folder=tmp_path)
    assert "3 steps at 48² pixels with 3 labels" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_sizes_can_be_given(tmp_path: Path) -> None:
    done = run("fit.py", "--quick", "--side", "32", "--labels", "2", "--steps", "1", folder=tmp_path)
    assert "1 steps at 32² pixels with 2 labels" in done.stdout
    command = [sys.executable, "-B", str(PERF / "fit.py"), "--sid", "32"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert "unrecognized arguments" in done.stderr
