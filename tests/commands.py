"""The command line as a user runs it: real processes on real files."""

from __future__ import annotations

import faulthandler
import fcntl
import gc
import os
import re
import resource
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from gpulaf.cli import main
from gpulaf.io import write_array
from gpulaf.scenes import voronoi_lines

PROGRAM = Path(sys.executable).parent / "gpulaf"
#: One thread suits images this small, and processes side by side do not wait for each other; results are compared with
#: those of the CPU.
ENVIRONMENT = os.environ | {"NUMBA_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}


def gpulaf_process(folder: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed program in a folder."""
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, encoding="utf-8", check=False)


def run_here(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[Any, str, str]:
    """Run the program within this process and folder: exit status, standard output and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)), prog_name="gpulaf")
    return (stopped.value.code, *capsys.readouterr())


def succeeds(folder: Path, *arguments: Any) -> str:
    """Standard output of a run that succeeds and leaves standard error silent."""
    done = gpulaf_process(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"(folder)" for path in folder.iterdir()}


class Example(NamedTuple):
    """Dark lines between bright cells, as files."""

    image: np.ndarray
    truth: np.ndarray


def write_example(folder: Path, size: int = 32) -> Example:
    """im.png, truth.png (values 40 and 200), and files that do not fit."""
    scene = voronoi_lines(size, sites=8, noise=0.25, seed=1)
    image = (255 * scene.image[..., 0].clip(0, 1)).round().astype(np.uint8)
    truth = np.array([40, 200], np.uint8)[scene.truth]
    write_array(folder / "im.png", image)
    write_array(folder / "truth.png", truth)
    return Example(image, truth)


def check_mistake(returncode: Any, stderr: str, said: str) -> None:
    assert returncode == 2, stderr
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("gpulaf: ")
    assert re.search(said, lines[0]), stderr


class Outcome(NamedTuple):
    """What a command did: exit status, both streams as the terminal would show them, and what it raised."""

    code: int
    output: str
    errors: str
    #: The traceback that a user would see; empty where there is none.
    traceback: str


class Overdue(BaseException):
    """A command did not end in time; nothing takes it for a mistake of the user."""


def in_process(folder: Path, *arguments: Any, seconds: int = 60, memory: int = 4 << 30) -> Outcome:
    """Run the program within this process, in a folder: as :func:`gpulaf_process` does, in milliseconds.

    Results are those of the CPU. What libraries write to the streams themselves is seen, too. A call that takes longer
    raises Overdue; a loop that cannot be interrupted ends the process with its stack. Python's filters of warnings are
    those of a new process.
    """
    from gpulaf.cli import main

    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    traceback_, code, started = "", 0, Path.cwd()
    with ExitStack() as stack:
        output, errors = (stack.enter_context(_Redirected(number)) for number in (1, 2))
        stack.enter_context(warnings.catch_warnings())
        warnings.resetwarnings()
        warnings.simplefilter("default")
        before = signal.signal(signal.SIGALRM, _overdue)
        faulthandler.dump_traceback_later(3 * seconds, exit=True, file=sys.__stderr__)
        signal.alarm(seconds)
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, limits[1]))
        stack.enter_context(_without_cupy())
        os.chdir(folder)
        gc.collect(1)
        gc.freeze()
        try:
            main([str(x) for x in arguments], prog_name="gpulaf")
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else 1
        except Overdue:
            raise
        except BaseException:
            traceback_, code = traceback.format_exc(), 1
        finally:
            os.chdir(started)
            resource.setrlimit(resource.RLIMIT_AS, limits)
            signal.alarm(0)
            faulthandler.cancel_dump_traceback_later()
            signal.signal(signal.SIGALRM, before)
            gc.collect()  # what complains when it is collected belongs to this run
            gc.unfreeze()
    return Outcome(code, output.text, errors.text, traceback_)


class _NoCupy:
    """Finds no CuPy, for ``sys.meta_path``."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'", name="cupy")


@contextmanager
def _without_cupy() -> Iterator[None]:
    """Let CuPy be as if it were not installed."""
    loaded = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "cupy"}
    for name in loaded:
        del sys.modules[name]
    sys.meta_path.insert(0, _NoCupy)
    try:
        yield
    finally:
        sys.meta_path.remove(_NoCupy)
        sys.modules.update(loaded)


def _overdue(*_: Any) -> None:
    raise Overdue("the command takes too long")


class _Redirected:
    """A stream of this process, that of Python and that of libraries in C, goes through a pipe, which takes 1 MiB."""

    def __init__(self, number: int) -> None:
        self.number, self.name, self.text = number, {1: "stdout", 2: "stderr"}[number], ""

    def __enter__(self) -> _Redirected:
        self.old, self.kept = getattr(sys, self.name), os.dup(self.number)
        self.source, sink = os.pipe()
        fcntl.fcntl(self.source, fcntl.F_SETPIPE_SZ, 1 << 20)
        os.dup2(sink, self.number)
        os.close(sink)
        setattr(sys, self.name, open(self.number, "w", encoding="utf-8", closefd=False))
        return self

    def __exit__(self, *_: object) -> None:
        getattr(sys, self.name).close()
        setattr(sys, self.name, self.old)
        os.dup2(self.kept, self.number)
        os.close(self.kept)
        with open(self.source, encoding="utf-8", errors="replace") as file:
            self.text = file.read()


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file in a folder and its folders, with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"(folder)"
        for path in sorted(folder.rglob("*"))
    }


def complaint(function: Callable[[], Any]) -> tuple[Any, str]:
    """What a function returns, or None and the text of the error that it raises about its arguments."""
    try:
        return function(), ""
    except (ValueError, TypeError, OSError, MemoryError) as error:
        return None, str(error) or repr(error)


def check_refusal(outcome: Outcome, named: str | tuple[str, ...] = "") -> str:
    """The last line of a command that refused: one sentence or more of gpulaf, naming the file or value; no traceback.

    Nothing but lines of gpulaf goes before it.
    """
    assert not outcome.traceback, outcome.traceback
    assert outcome.code == 2, outcome
    lines = outcome.errors.splitlines()
    assert lines, outcome
    assert lines[-1].startswith("gpulaf: "), outcome.errors
    check_lines(lines)
    assert lines[-1].endswith((".", "--help.")), lines[-1]
    assert len(re.findall(r"[.;?] ", lines[-1])) >= 1, f"no next step: {lines[-1]}"
    assert any(name in lines[-1] for name in ((named,) if isinstance(named, str) else named)), lines[-1]
    return lines[-1]


#: Lines that do not begin with the name of the program.
OTHERS = (
    "The flow did not reach its tolerance", " cannot hold the size and place of the pixels", " are free: tile by tile.",
)  # fmt: skip


def check_lines(lines: list[str]) -> None:
    """Every line of standard error is one of gpulaf."""
    for line in lines:
        assert line.startswith(("gpulaf: ", "note: ")) or any(text in line for text in OTHERS), line
