"""Nothing that was learned is lost at the last write: results that fail, streams that are closed, checkpoints."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

import numpy as np
import pytest
from commands import ENVIRONMENT, PROGRAM, snapshot, write_example

from gpulaf.cli import main
from gpulaf.io import read_image, read_tensors, write_array, write_tensors

pytestmark = pytest.mark.usefixtures("without_cupy")

LEARN = "learn im.png truth.png --steps 2 -o"
TRAIN = "train im.png --truth truth.png --steps 2 --prototypes 4 -o"
LABEL = "label im.png --prototypes 2 -o"


class Run(NamedTuple):
    """What a command said, and its exit status."""

    code: Any
    output: str
    errors: list[str]


Command = Callable[[str], Run]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command within this process, in a folder with the example, and results/ beside it."""
    (tmp_path / "here").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "temporary").mkdir()
    write_example(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def run(arguments: str) -> Run:
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # as in a process
            with pytest.raises(SystemExit) as stopped:
                main(arguments.split(), prog_name="gpulaf")
        output, errors = capsys.readouterr()
        return Run(stopped.value.code, output, errors.splitlines())

    return run


def same_tensors(one: Path, other: Path, kind: str) -> bool:
    (a, _), (b, _) = read_tensors(one, kind), read_tensors(other, kind)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def gone_after(monkeypatch: pytest.MonkeyPatch, name: str, *folders: Path) -> None:
    """Remove folders when a function of the library has done its work."""
    work = resolve_name(name)

    def then_remove(*arguments: Any, **options: Any) -> Any:
        result = work(*arguments, **options)
        for folder in folders:
            folder.rmdir()
        return result

    monkeypatch.setattr(name, then_remove)


# --- the last write -------------------------------------------------------------------------------------------------


def test_what_learn_cannot_write_is_in_the_current_folder(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(f"{LEARN} expected.safetensors").code == 0
    gone_after(monkeypatch, "gpulaf.learning.fitting.fit_weights", Path("../results"))
    run = command(f"{LEARN} ../results/w.safetensors")
    assert run.code == 2
    assert len(run.errors) == 1
    assert run.errors[0].startswith("gpulaf: folder ")
    assert run.errors[0].endswith(f"It is in {Path('w.safetensors').absolute()} instead.")
    assert f"weights: {Path('w.safetensors').absolute()}\n" in run.output
    assert "wrong pixels: " in run.output
    assert same_tensors(Path("w.safetensors"), Path("expected.safetensors"), "weights")


def test_what_train_cannot_write_is_near_and_its_figure_is_drawn(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert command(f"{TRAIN} w.safetensors").code == 0
    gone_after(monkeypatch, "gpulaf.WeightPredictor.fit", tmp_path / "results")
    run = command(f"{TRAIN} ../results/w.safetensors --figure f.png")
    assert run.code == 2
    assert len(run.errors) == 1
    found = Path("rescued-1-w.safetensors").absolute()  # what is there is not replaced
    assert run.errors[0].endswith(f"It is in {found} instead.")
    assert f"model: {found}\n" in run.output
    assert "figure: f.png\n" in run.output
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")
    assert same_tensors(found, Path("w.safetensors"), "predictor")


def test_a_figure_and_a_model_that_fail_are_both_kept(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone_after(monkeypatch, "gpulaf.WeightPredictor.fit", tmp_path / "results")
    run = command(f"{TRAIN} ../results/m.safetensors --figure ../results/f.png")
    assert (run.code, len(run.errors)) == (2, 1)
    for name in ("m.safetensors", "f.png"):
        assert Path(name).is_file()
        assert f"It is in {Path(name).absolute()} instead." in run.errors[0]


def test_labels_that_cannot_be_written_are_near(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(f"{LABEL} expected.npy").code == 0
    gone_after(monkeypatch, "gpulaf.io.images.with_nodata", Path("../results"))
    run = command(f"{LABEL} ../results/o.npy --probabilities ../results/p.tif --preview v.png")
    assert (run.code, len(run.errors)) == (2, 1)
    assert str(Path("o.npy").absolute()) in run.output
    np.testing.assert_array_equal(np.load("o.npy"), np.load("expected.npy"))
    assert read_image("p.tif").shape == (32, 32, 2)


def test_a_closed_output_does_not_lose_the_weights(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ``gpulaf learn … | head -0``: the weights are written before anything is said."""

    def broken(*_: Any, **options: Any) -> None:
        if not options.get("err"):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("click.echo", broken)
    assert command(f"{LEARN} w.safetensors").code != 0
    assert read_tensors("w.safetensors", "weights")[1]["steps"] == 2


# --- before the work ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (f"{LEARN} folder.safetensors", "folder.safetensors is a folder"),
        (f"{LEARN} {'n' * 244}.safetensors", "cannot be written: File name too long"),
        (f"{LEARN} w.safetensors --checkpoint folder.safetensors", "folder.safetensors is a folder"),
        (f"{LEARN} w.safetensors --checkpoint pipe.safetensors", "pipe.safetensors is a device or a pipe"),
        (f"{LEARN} pipe.safetensors", "pipe.safetensors is a device or a pipe"),
        (f"{LEARN} w.safetensors --checkpoint w.safetensors", "two results go to the same file"),
        (f"{LEARN} w.safetensors --checkpoint truth.png", "truth.png is also an input"),
        (f"{TRAIN} folder.safetensors", "folder.safetensors is a folder"),
        (f"{TRAIN} m.safetensors --figure none/f.png", "none does not exist"),
        (f"{TRAIN} m.safetensors --checkpoint folder.safetensors", "folder.safetensors is a folder"),
        (f"{LABEL} o.npy --probabilities none/p.npy", "none does not exist"),
        (f"{LABEL} o.npy --preview folder.png", "folder.png is a folder"),
        ("profile --size 16 -o im.png/new", "cannot be made: Not a directory"),
        ("learn im.png im.png -o w.safetensors", "im.png is given as an image and as its truth"),
    ],
)
def test_outputs_are_proved_before_the_work(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: str, said: str
) -> None:
    Path("folder.safetensors").mkdir()
    Path("folder.png").mkdir()
    os.mkfifo("pipe.safetensors")
    before = snapshot_files()
    monkeypatch.setattr("gpulaf.io.images.read_record", lambda *_, **__: pytest.fail("an image was read"))
    run = command(arguments)
    assert run.code == 2
    assert len(run.errors) == 1
    assert said in run.errors[0]
    assert snapshot_files() == before


def snapshot_files() -> dict[str, bytes]:
    return {name: Path(name).read_bytes() if Path(name).is_file() else b"" for name in os.listdir()}


@pytest.mark.parametrize(
    ("arguments", "room"),
    [
        (f"{LEARN} w.safetensors", 4096),
        (f"{LEARN} w.safetensors", 2**16),
        (f"{LEARN} w.safetensors --checkpoint c", 200_000),
        (f"{TRAIN} m.safetensors", 4096),
        (f"{LABEL} o.npy", 4096),
    ],
)
def test_a_disk_without_room_is_known_before_learning(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: str, room: int
) -> None:
    """Weights of 64×64 pixels take 147 kB, the checkpoint three times as much."""
    write_example(Path(), 64)
    before = snapshot(Path())
    monkeypatch.setattr("gpulaf.Taylor.solve", lambda *_, **__: pytest.fail("a flow was solved"))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
    try:
        run = command(arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert run.code == 2
    assert len(run.errors) == 1
    assert "cannot be written: File too large" in run.errors[0]
    assert snapshot(Path()) == before


# --- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [f"{LEARN} w.safetensors", f"{TRAIN} w.safetensors"])
def test_a_checkpoint_that_fails_is_a_line_and_learning_goes_on(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    def full(path: Any, *_: Any) -> None:
        raise OSError(f"{path} cannot be written: No space left on device. Make room.")

    monkeypatch.setattr("gpulaf.learning.checkpoint.write_tensors", full)
    run = command(f"{arguments} --checkpoint c --steps 30".replace("--steps 2 ", ""))
    assert run.code == 0
    (line,) = run.errors
    assert line.startswith("gpulaf: after 10 steps, the checkpoint c cannot be written: No space left on device.")
    assert "goes on without." in line
    assert not Path("c").exists()
    assert Path("w.safetensors").is_file()


def test_checkpoints_of_other_runs_are_refused(command: Command) -> None:
    learn = f"{LEARN} w.safetensors --checkpoint c --resume --steps 10".replace("--steps 2 ", "")
    write_array("other.png", np.flip(np.asarray(read_image("im.png")), 1))
    assert command(learn).code == 0
    said = {
        "--rho 0.3": "belongs to a fit with other log_likelihood (image, prototypes or rho). Resume with the same",
        "--time 2": "belongs to a fit with other time",
        "--tau 0.1": "other tau",
        "--radius 2": "other weights",
        "--layers 2": "other weights, time",
        "--step-size 0.1": "other descent",
        "--tol 1e-3": "other solver",
        "--loss cross-entropy": "other loss",
        "--steps 5": "c has taken 10 steps, not 5",
    }
    for option, text in said.items():
        run = command(f"{learn} {option}")
        assert (run.code, len(run.errors)) == (2, 1), option
        assert text in run.errors[0], option
    run = command(learn.replace("im.png", "other.png"))
    assert "other log_likelihood (image, prototypes or rho)" in run.errors[0]
    run = command(f"{TRAIN} m.safetensors --checkpoint c --resume")
    assert run.errors == [
        "gpulaf: c holds a checkpoint of gpulaf learn or fit_weights; accepted is a checkpoint of gpulaf train or "
        "WeightPredictor. Check the path."
    ]
    for kept in (0, 100, 2000):
        content = Path("c").read_bytes()
        Path("part").write_bytes(content[:kept])
        run = command(learn.replace("--checkpoint c", "--checkpoint part"))
        assert "part is no readable safetensors file" in run.errors[0]


# --- streams --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["2>&-", "2>&- 1>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize(
    "arguments", [f"{LEARN} w.safetensors --checkpoint c", f"{TRAIN} w.safetensors", f"{LABEL} w.npy"]
)
def test_without_standard_streams(tmp_path: Path, arguments: str, closed: str) -> None:
    """No file that is opened takes the number of a closed stream, and gets what libraries say."""
    write_example(tmp_path)
    line = f"'{PROGRAM}' {arguments} {closed}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stderr == b""
    assert any(path.name.startswith("w.") for path in tmp_path.iterdir())
    if "1>&-" not in closed:
        assert b"w." in done.stdout


# --- weights belong to one image ------------------------------------------------------------------------------------


def test_weights_of_another_image_are_told(command: Command) -> None:
    image = read_image("im.png")
    write_array("other.png", np.flip(image, 1).copy())
    np.save("floats.npy", image.astype(np.float32))
    np.save("soft.npy", np.stack([1 - image / 255, image / 255], axis=-1))
    for layers in ("", " --layers 2"):
        assert command(f"{LEARN} w.safetensors{layers}").errors == []
        assert command("label im.png --weights w.safetensors -o o.png").errors == []
        run = command("label other.png --weights w.safetensors -o o.png")
        assert run.code == 0
        (line,) = run.errors
        assert line.startswith("gpulaf: the weights of w.safetensors were learned on another image than other.png")
        assert "gpulaf train" in line
    assert command("label floats.npy --weights w.safetensors --range 0,255 -o o.png").errors == []
    assert command("label other.png --weights w.safetensors --prototypes 2 -o o.png").errors == [line]
    assert command("refine soft.npy --weights w.safetensors --image im.png -o o.png").errors == []
    assert command("refine soft.npy --weights w.safetensors --image other.png -o o.png").errors == [line]
    assert command("refine soft.npy --weights w.safetensors -o o.png").errors == []


def test_weights_of_a_file_that_names_no_image_are_taken(command: Command) -> None:
    command(f"{LEARN} w.safetensors")
    arrays, metadata = read_tensors("w.safetensors", "weights")
    del metadata["image"]
    write_tensors("w.safetensors", "weights", arrays, metadata)
    assert command("label im.png --weights w.safetensors -o o.png").errors == []


# --- odd calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (f"{LABEL} o.npy --tol inf", "tol is inf; accepted are positive numbers, from 1e-300 to 1. 1e-4 is usual."),
        (f"{LABEL} o.npy --tol 1e9 --flow nonlinear", "tol is 1000000000.0; accepted are positive numbers"),
        (f"{LABEL} o.npy --time 1e-300", "time is 1e-300; accepted are positive numbers, from 1e-12 to 10000."),
        (f"{LABEL} o.npy --time inf", "time is inf"),
        (f"{LABEL} o.npy --time 1e9", "time is 1000000000.0; accepted are positive numbers, from 1e-12 to 10000."),
        (f"{LABEL} o.npy --rho 1e300", "rho is 1e+300; accepted are positive numbers, from 1e-12 to 1e12."),
        (f"{LEARN} w.safetensors --tau inf", "tau is inf; accepted are numbers from 0 to 1e12."),
        (f"{LEARN} w.safetensors --tau 1e300", "tau is 1e+300"),
        (f"{LEARN} w.safetensors --tol inf", "tol is inf"),
        (f"{LEARN} w.safetensors --step-size inf", "step is inf"),
        (f"{LEARN} w.safetensors --rho inf", "rho is inf"),
        (f"{LEARN} w.safetensors --time 1e-300", "time is 1e-300"),
    ],
)
def test_numbers_beyond_use_are_named(command: Command, arguments: str, said: str) -> None:
    run = command(arguments)
    assert run.code == 2
    assert len(run.errors) == 1
    assert said in run.errors[0]


def test_a_rho_that_tells_no_labels_apart_is_told(command: Command) -> None:
    for arguments in (f"{LEARN} w.safetensors --rho 1e9", f"{LABEL} o.npy --rho 1e9"):
        run = command(arguments)
        assert run.code == 0
        assert "times as large as the differences of the image's values" in run.errors[0]
        assert len(run.errors) == 1
    assert command(f"{LEARN} w.safetensors --rho 10").errors == []


def test_a_tolerance_under_rounding_ends(command: Command) -> None:
    run = command(f"{LABEL} o.npy --flow nonlinear --tol 1e-300 --time 1")
    assert run.code == 0


def test_an_image_named_twice_is_told(command: Command) -> None:
    write_array("other.png", read_image("im.png"))
    Path("link.png").symlink_to("im.png")
    train = "train {} --truth truth.png --steps 1 --prototypes 4 -o m.safetensors"
    for images, named in (("im.png im.png", "im.png"), ("im.png ./im.png", "im.png"), ("im.png link.png", "link.png")):
        run = command(train.format(images))
        assert run.code == 0
        assert run.errors == [f"gpulaf: {named} is named twice; it is taken once."]
    run = command("train im.png --truth truth.png --validate link.png --validate-truth truth.png -o m.safetensors")
    assert "link.png is an image of the training and of the validation" in run.errors[0]


def test_an_evaluation_needs_a_labeled_pixel(command: Command) -> None:
    assert command(f"{TRAIN} m.safetensors").code == 0
    write_array("void.png", np.full((32, 32), 255, np.uint8))
    run = command("evaluate im.png --truth void.png --model m.safetensors --unlabeled 255 --json n.json")
    assert run.code == 2
    assert "no labeled pixel" in run.errors[0]
    assert not Path("n.json").exists()
