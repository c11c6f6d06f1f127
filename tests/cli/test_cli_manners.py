"""What people expect of a program: help on every console, Ctrl-C, exit status, a log, completion, python -m."""

from __future__ import annotations

import importlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

import click
import numpy as np
import pytest
from commands import ENVIRONMENT, PROGRAM, run_here, write_example

from gpulaf.cli import main
from gpulaf.io import read_image
from gpulaf.learning import loop
from gpulaf.plots.previews import label_colors, preview

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with im.png and truth.png."""
    write_example(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- help -----------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_with_a_whole_summary(capsys: pytest.CaptureFixture[str]) -> None:
    status, output, _ = run_here(capsys, "--help")
    listed = "".join(output.partition("Commands:")[2].split())
    assert status == 0
    assert "..." not in listed
    for name, command in main.commands.items():
        summary = str(command.help).partition("\n\n")[0]
        assert name + "".join(summary.split()) in listed
    assert list(main.commands)[:2] == ["demo", "label"]
    for said in ("Exit status: 0 done", "130 stopped by Ctrl-C", "_GPULAF_COMPLETE=bash_source gpulaf"):
        assert said in output


def main_help(command: str) -> str:
    context = click.Context(main)
    return (main.commands[command] if command else main).get_help(context)


@pytest.mark.parametrize("encoding", ["cp437", "cp1252", "latin-1"])
@pytest.mark.parametrize("command", ["", *main.commands])
def test_help_on_a_console_without_all_characters(
    command: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"], prog_name="gpulaf")
    sys.stdout.flush()
    assert stopped.value.code == 0
    text = written.getvalue().decode(encoding)
    assert text.startswith("Usage: gpulaf")
    plain, full = (" ".join(x.split()) for x in (text, main_help(command)))
    assert plain.count("?") == full.count("?")
    if command == "learn":
        assert "1 for 3x3 patches" in text or "1 for 3×3 patches" in text


def test_results_on_a_console_without_all_characters(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp437"))
    name = "λ\udcff.png"  # a name that is no text in any encoding
    with pytest.raises(SystemExit) as stopped:
        main(["label", "im.png", "--prototypes", "2", "-o", name], prog_name="gpulaf")
    sys.stdout.flush()
    assert stopped.value.code == 0
    assert (here / name).exists()
    assert b"32x32 pixels, 2 labels, error" in written.getvalue()


def test_help_of_python_has_a_short_start() -> None:
    import gpulaf

    assert gpulaf.__doc__ is not None
    assert "gpulaf.label(" in gpulaf.__doc__


def test_python_m(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gpulaf", "--version"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout[:7]) == (0, "gpulaf,")


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------


def stopped_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let Ctrl-C be pressed in a step of the next training."""
    check = loop.check_finite

    def pressed(value: float, count: int, name: str = "loss") -> None:
        if count == steps:
            raise KeyboardInterrupt
        check(value, count, name)

    monkeypatch.setattr(loop, "check_finite", pressed)


@pytest.mark.parametrize("command", ["learn", "train"])
def test_a_training_that_is_stopped_says_what_is_lost(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    stopped_after(monkeypatch, 3)
    options = {"learn": ["learn", "im.png", "truth.png"], "train": ["train", "im.png", "--truth", "truth.png"]}
    status, output, errors = run_here(capsys, *options[command], "-o", "w.safetensors", "--steps", 5)
    assert (status, output) == (130, "")
    kind = {"learn": "fit", "train": "training"}[command]
    assert errors.splitlines()[-1] == (
        f"gpulaf: stopped by Ctrl-C. The {kind} had taken 2 steps, and they are lost. To be able to go on, save them "
        "on the way with --checkpoint FILE."
    )
    assert not (here / "w.safetensors").exists()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (4, "The fit had taken 3 steps, and none is saved yet: that is done every 10 steps."),
        (13, "The fit had taken 12 steps; those up to the last multiple of 10 are in state. To go on from there, start "
         "it again with --resume."),
    ],
)  # fmt: skip
def test_a_training_that_is_stopped_says_how_to_resume(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], steps: int, said: str
) -> None:
    options = ["learn", "im.png", "truth.png", "-o", "w.safetensors", "--steps", 14, "--checkpoint", "state"]
    with monkeypatch.context() as patch:
        stopped_after(patch, steps)
        status, _, errors = run_here(capsys, *options)
    assert (status, errors.splitlines()[-1]) == (130, f"gpulaf: stopped by Ctrl-C. {said}")
    status, output, _ = run_here(capsys, *options, "--resume")
    assert status == 0
    assert "All 14 steps were taken." in output


def test_in_python_the_interrupt_has_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    import gpulaf

    stopped_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt) as stopped:
        gpulaf.fit_weights(np.zeros((4, 2, 4)), np.zeros((4, 4), int), steps=3)
    assert stopped.value.__notes__ == [
        "The fit had taken 1 steps, and they are lost. To be able to go on, save them on the way with Checkpoint(path)."
    ]


def test_tiles_that_are_stopped_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dask", reason="dask is not installed")
    tiles = importlib.import_module("gpulaf.tiling.jobs")
    run, count = tiles.run_task, 0

    def pressed(*operands: Any) -> Any:
        nonlocal count
        for done in run(*operands):
            yield done
            count += 1
            if count == 2:
                raise KeyboardInterrupt

    options = ["label", "im.png", "-o", "labels.tif", "--tile", 16, "--prototypes", 2]
    monkeypatch.setattr(tiles, "run_task", pressed)
    status, _, errors = run_here(capsys, *options)
    assert (status, errors.splitlines()[-1]) == (
        130,
        "gpulaf: stopped by Ctrl-C. The tiles that are done are kept in labels.tif.partial: the same command goes on "
        "from there.",
    )
    monkeypatch.undo()
    monkeypatch.chdir(here)
    status, _, errors = run_here(capsys, *options)
    assert status == 0
    assert "Going on with labels.tif.partial: 2 of 4 tiles are done." in errors


def test_other_commands_that_are_stopped(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_after(monkeypatch, 1)
    status, _, errors = run_here(capsys, "demo", "--size", 16, "--steps", 2)
    said = "gpulaf: stopped by Ctrl-C. Files that were written are whole; the rest begins anew."
    assert (status, errors.splitlines()[-1]) == (130, said)


def test_a_real_ctrl_c(here: Path) -> None:
    command = [str(PROGRAM), "-vv", "learn", "im.png", "truth.png", "-o", "w.safetensors", "--steps", "10000000"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what runs in the background may not hear it
    with subprocess.Popen(
        command, env=ENVIRONMENT, cwd=here, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as process:
        assert process.stderr is not None
        last = Timer(300, process.kill)
        last.start()
        lines = iter(process.stderr.readline, "")
        assert any("fit: step 3," in line for line in lines)  # all is compiled
        process.send_signal(signal.SIGINT)
        rest = list(lines)
        last.cancel()
    assert process.returncode == 130
    assert rest[-1].startswith("gpulaf: stopped by Ctrl-C. The fit had taken ")
    assert not (here / "w.safetensors").exists()


# --- the log --------------------------------------------------------------------------------------------------------


def test_a_log_by_v(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    options = ["learn", "im.png", "truth.png", "-o", "w.safetensors", "--steps", 1]
    _, quiet, silent = run_here(capsys, *options)
    assert silent == ""
    for before, after, steps in (([], ["-v"], 0), (["-v"], [], 0), (["-v"], ["-v"], 2), ([], ["-vv"], 2)):
        status, output, errors = run_here(capsys, *before, *options, *after)
        assert status == 0
        assert output.splitlines()[:-1] == quiet.splitlines()[:-1]
        for said in ("io.images: read im.png: (32, 32) uint8", "loop: fit: 0 of 1 steps", "wrote w.safetensors, "):
            assert said in errors
        assert errors.count("loop: fit: step") == steps
    logger = logging.getLogger("gpulaf")
    assert (logger.handlers, logger.level) == ([], logging.NOTSET)


def test_the_log_of_python(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    import gpulaf
    from gpulaf.io import read_image

    with caplog.at_level("DEBUG", logger="gpulaf"):
        gpulaf.label(read_image("im.png"), 2)
    assert {record.name for record in caplog.records} >= {"gpulaf.io.images", "gpulaf.labeling.solve"}


# --- completion -----------------------------------------------------------------------------------------------------


def completed(words: str, shell: str = "bash") -> list[str]:
    """What a shell offers for the last of the words, as the script that it runs asks for it."""
    given = {"_GPULAF_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run([str(PROGRAM)], env=ENVIRONMENT | given, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_completion_of_commands_options_and_files() -> None:
    assert completed("gpulaf re") == ["plain,refine", "plain,reproduce"]
    assert completed("gpulaf label --prev") == ["plain,--preview"]
    for words in (
        "gpulaf label im", "gpulaf label im.png -o l", "gpulaf train im --truth tr", "gpulaf label im.png --weights w",
        "gpulaf learn im.png tr",
    ):  # fmt: skip
        assert completed(words)[0].startswith("file,"), words
    assert completed("gpulaf reproduce fig1", "zsh") == ["plain", "fig1", "_"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_line_of_the_help_works_in_a_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    _, output, _ = run_here(capsys, "--help")
    (line,) = (x.partition(")  ")[2] for x in output.splitlines() if x.strip().startswith(f"{shell} "))
    before, after = {
        "bash": ("", "complete -p gpulaf"), "zsh": ("autoload -U compinit; compinit -u; ", "which _gpulaf_completion")
    }[shell]  # fmt: skip
    path = {"PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [shell, "-c", f"{before}{line}; {after}"], env=ENVIRONMENT | path, capture_output=True, text=True, check=True
    )
    assert "_gpulaf_completion" in done.stdout


# --- packages -------------------------------------------------------------------------------------------------------


def test_extras() -> None:
    """What the command line asks for by name is an extra; no cloud clients come with large images."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert not any("ome-zarr" in package for package in extras["large"])
    assert any(package.startswith("dask-cuda") for package in extras["large-gpu"])


def test_every_file_option_says_its_mistakes_itself(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Types that complete files do not change what is said about them."""
    for command in main.commands.values():
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                assert not parameter.type.exists
    status, _, errors = run_here(capsys, "label", "none.png", "-o", "l.png")
    assert status == 2
    assert "none.png" in errors


# --- previews, swatches, folders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mosaic", "overlay", "boundaries"])
def test_kinds_of_previews(here: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    for name in (kind, f"{kind}=own.png"):
        status, _, errors = run_here(capsys, "label", "im.png", "-o", "l.png", "--prototypes", 2, "--preview", name)
        assert (status, errors) == (0, "")
    labels, image = read_image("l.png"), read_image("im.png")
    colors = label_colors(labels, 2, image if kind == "mosaic" else None)
    expected = preview(kind, labels, colors, image)
    for name in (f"l-{kind}.png", "own.png"):
        np.testing.assert_array_equal(read_image(name), expected)


def test_previews_of_several_images_and_of_predictions(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "two.png").write_bytes((here / "im.png").read_bytes())
    options = ["--prototypes", 2, "--preview", "overlay"]
    assert run_here(capsys, "label", "im.png", "two.png", "-o", "v1.0/", *options)[0] == 0
    names = ["im-overlay.png", "im.png", "two-overlay.png", "two.png"]
    assert sorted(path.name for path in Path("v1.0").iterdir()) == names
    np.save("soft.npy", np.random.default_rng(0).dirichlet(np.ones(2), (32, 32)))
    status, _, errors = run_here(capsys, "refine", "soft.npy", "-o", "r.png", "--preview", "overlay")
    assert (status, errors) == (2, "gpulaf: --preview is overlay, which shows the image. Name it with --image.\n")
    options = ["--image", "im.png", "--preview", "boundaries"]
    assert run_here(capsys, "refine", "soft.npy", "-o", "r.ome.tif", *options)[0] == 0
    assert Path("r-boundaries.png").exists()


def test_a_folder_for_one_image(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("new/", "new", "new/"):
        status, output, errors = run_here(capsys, "label", "im.png", "-o", name, "--prototypes", 2)
        assert (status, errors) == (0, "")
        assert "new/im.png" in output
    assert [path.name for path in Path("new").iterdir()] == ["im.png"]


class Terminal(io.StringIO):
    """Standard output that says to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "terminal", "colored"),
    [
        ({}, True, True), ({}, False, False), ({"NO_COLOR": "1"}, True, False), ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
    ],
)  # fmt: skip
def test_swatches_where_a_terminal_has_colors(
    here: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], terminal: bool, colored: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    output = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    with pytest.raises(SystemExit):
        main(["label", "im.png", "-o", "l.png", "--prototypes", "2", "--preview", "p.png"], prog_name="gpulaf")
    text, labels, shown = output.getvalue(), read_image("l.png"), read_image("p.png")
    for j in range(2):
        red, green, blue = shown[labels == j][0]
        assert (f"\033[48;2;{red};{green};{blue}m  \033[0m" in text) == colored
    plain = [re.sub(r"\033\[[^m]*m", "", line).split() for line in text.splitlines()[1:]]
    assert [line[0] for line in plain] == ["label", "0", "1"]


def test_output_into_head(here: Path) -> None:
    command = f"'{PROGRAM}' label im.png -o l.png --prototypes 2 | true"
    done = subprocess.run(["bash", "-c", command], cwd=here, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stderr == ""
