"""The training loop on a trainable that is only numbers: what it restores, when it stops, what it refuses."""

import re
import sys
from typing import NamedTuple

import numpy as np
import pytest

from gpulaf.io import read_tensors, write_tensors
from gpulaf.learning import Checkpoint, CheckpointWarning
from gpulaf.learning.loop import best, check_finite, run


class Row(NamedTuple):
    step: int
    loss: float
    wrong: float
    looked: float | None
    seconds: float


class Parabola:
    """Heavy-ball descent on x², with a second loss that is looked at every other step."""

    kind, row, share = "fit", Row, "wrong"

    def __init__(self, start=3.0, rate=0.1, watched="loss", losses=None):
        self.fingerprint = {"start": repr(start), "rate": repr(rate)}
        self.x, self.speed, self.rate, self.watched = np.float64(start), np.float64(0), rate, watched
        self.losses, self.evaluated = losses, []

    def evaluate(self, count):
        self.evaluated.append(count)
        loss = float(self.x**2) if self.losses is None else self.losses[count]
        self._derivative = 2 * self.x
        return Row(count, loss, 0.25, loss if count % 2 == 0 else None, 0.0)

    def advance(self, count):
        self.speed = 0.9 * self.speed - self.rate * self._derivative / (count + 1)
        self.x = self.x + self.speed

    def presented(self):
        return self.x

    def state(self):
        return {"x": np.array([self.x]), "speed": np.array([self.speed])}

    def restore(self, state):
        self.x, self.speed = state["x"][0], state["speed"][0]


def timeless(history):
    return [row._replace(seconds=0.0) for row in history]


@pytest.mark.parametrize("killed_at", [1, 2, 5, 6])
def test_killed_and_resumed_ends_in_the_same_bits(tmp_path, killed_at):
    whole, again = Parabola(), Parabola()
    expected, reason = run(whole, steps=7)
    assert reason == "All 7 steps were taken."
    assert [row.step for row in expected] == list(range(8))
    assert [row.seconds for row in expected] == sorted(row.seconds for row in expected)
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every=2, resume=True)

    class Killed(Exception):
        pass

    def kill(row, x):
        if row.step == killed_at:
            raise Killed

    with pytest.raises(Killed):
        run(Parabola(), steps=7, checkpoint=checkpoint, callback=kill)
    history, _ = run(again, steps=7, checkpoint=checkpoint)
    assert again.evaluated == list(range(2 * (killed_at // 2), 8))
    assert again.x == whole.x
    assert timeless(history) == timeless(expected)
    assert [row.seconds for row in history] == sorted(row.seconds for row in history)


def test_a_checkpoint_of_another_run_or_of_too_many_steps(tmp_path):
    path = tmp_path / "state.safetensors"
    run(Parabola(), steps=4, checkpoint=Checkpoint(path, every=1))
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"exists. Resume from it, or name another"):
        run(Parabola(), steps=4, checkpoint=Checkpoint(path))
    with pytest.raises(ValueError, match=r"belongs to a fit with other rate. Resume with the same"):
        run(Parabola(2.0, 0.2), steps=4, checkpoint=Checkpoint(path, resume=True))
    with pytest.raises(ValueError, match=r"has taken 4 steps, not 3. Ask for 4 steps or more."):
        run(Parabola(), steps=3, checkpoint=Checkpoint(path, resume=True))

    class Training(Parabola):
        kind = "training"

    with pytest.raises(ValueError, match="holds a checkpoint of gpulaf learn or fit_weights; accepted is a checkpoint"):
        run(Training(), steps=4, checkpoint=Checkpoint(path, resume=True))
    assert path.read_bytes() == before


def test_patience_counts_from_the_first_smallest_loss():
    losses = [3.0, 1.0, 2.0, 1.0, 1.5, 1.5, 0.5]
    history, reason = run(Parabola(losses=losses), steps=6, patience=3)
    assert (len(history), reason) == (5, "The loss did not fall for 3 steps.")
    assert best(history) == history[1]
    assert len(run(Parabola(losses=losses), steps=6, patience=4)[0]) == 6


def test_patience_watches_the_loss_that_is_named():
    losses = [3.0, 0.0, 1.0, 0.0, 2.0, 0.0, 2.0]
    history, reason = run(Parabola(losses=losses, watched="looked"), steps=6, patience=3)
    assert (len(history), reason) == (6, "The looked did not fall for 3 steps.")
    assert best(history, "looked").step == 2
    assert best([row._replace(looked=None) for row in history], "looked") is None


def test_a_true_value_of_the_callback_ends_the_run():
    heard = []
    history, reason = run(Parabola(), steps=9, callback=lambda row, x: heard.append((row, x)) or row.step == 2)
    assert reason == "The callback ended the fit after 2 steps."
    assert [row for row, _ in heard] == history
    assert [x**2 for _, x in heard] == [row.loss for row in history]


def test_what_is_not_finite_ends_the_run():
    with pytest.raises(FloatingPointError, match=r"the loss is nan after 2 steps\. Take a shorter"):
        run(Parabola(losses=[1.0, 2.0, float("nan"), 1.0]), steps=3)
    with pytest.raises(FloatingPointError, match="the gradient is inf after 7 steps"):
        check_finite(float("inf"), 7, "gradient")


def test_the_folder_of_a_checkpoint_is_there_before_the_first_step(tmp_path):
    parabola = Parabola()
    with pytest.raises(FileNotFoundError, match=r"folder .*none does not exist\. Create it first"):
        run(parabola, steps=1, checkpoint=Checkpoint(tmp_path / "none" / "state"))
    with pytest.raises(IsADirectoryError, match="is a folder"):
        run(parabola, steps=1, checkpoint=Checkpoint(tmp_path))
    assert parabola.evaluated == []


def test_a_checkpoint_that_cannot_be_written_is_one_warning_and_no_end(tmp_path, recwarn):
    """The folder is gone from step 3 to step 6: what was saved before and is saved after is whole."""
    folder, expected = tmp_path / "folder", Parabola()
    run(expected, steps=8)
    folder.mkdir()
    saved = []

    def move(row, x):
        if row.step in (3, 6):
            folder.rename(tmp_path / "moved") if row.step == 3 else (tmp_path / "moved").rename(folder)
        if (folder / "state").exists():
            saved.append(len(read_tensors(folder / "state", "fit")[1]["history"]))

    found = Parabola()
    history, reason = run(found, steps=8, checkpoint=Checkpoint(folder / "state", every=1), callback=move)
    assert (found.x, reason) == (expected.x, "All 8 steps were taken.")
    assert len(history) == 9
    assert saved == [1, 2, 3, 7, 8]
    (warning,) = recwarn
    assert warning.category is CheckpointWarning
    assert re.fullmatch(
        r"after 4 steps, the checkpoint folder \S+/folder does not exist\. Create it first, or choose another path\. "
        r"The fit goes on without\.",
        str(warning.message),
    )
    assert warning.filename == __file__


def damaged(path, change):
    """A checkpoint with other arrays or metadata."""
    arrays, metadata = read_tensors(path, "fit")
    change(arrays, metadata)
    write_tensors(path, "fit", arrays, metadata)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, metadata: arrays.pop("speed"),
        lambda arrays, metadata: arrays.update(more=np.zeros(1)),
        lambda arrays, metadata: arrays.update(x=np.zeros(2)),
        lambda arrays, metadata: arrays.update(x=np.zeros(1, np.float32)),
        lambda arrays, metadata: metadata.pop("history"),
        lambda arrays, metadata: metadata.pop("fingerprint"),
        lambda arrays, metadata: metadata.update(history=[]),
        lambda arrays, metadata: metadata.update(history=3),
        lambda arrays, metadata: metadata.update(history=[[0, 1.0]]),
        lambda arrays, metadata: metadata.update(history=metadata["history"][1:]),
        lambda arrays, metadata: metadata.update(fingerprint="start"),
        lambda arrays, metadata: metadata.update(fingerprint=None),
    ],
)
def test_damaged_checkpoints(tmp_path, change):
    path = tmp_path / "state"
    run(Parabola(), steps=4, checkpoint=Checkpoint(path, every=2))
    damaged(path, change)
    parabola = Parabola()
    with pytest.raises(ValueError, match=r"state is a damaged checkpoint.* Name another one\."):
        run(parabola, steps=6, checkpoint=Checkpoint(path, resume=True))
    assert parabola.evaluated == []


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_truncated_checkpoints(tmp_path, share):
    path = tmp_path / "state"
    run(Parabola(), steps=4, checkpoint=Checkpoint(path, every=2))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="state is no readable safetensors file"):
        run(Parabola(), steps=6, checkpoint=Checkpoint(path, resume=True))


@pytest.mark.parametrize("progress", [None, True])
def test_runs_without_a_standard_error(monkeypatch, progress):
    monkeypatch.setattr(sys, "stderr", None)
    history, _ = run(Parabola(), steps=3, progress=progress)
    assert len(history) == 4


def test_the_progress_bar_names_the_run_its_loss_and_its_error(capsys):
    run(Parabola(losses=[1.0, 0.5]), steps=1, progress=True)
    run(Parabola(losses=[1.0, 0.5]), steps=1, progress=False)
    shown = capsys.readouterr().err.split("\r")[-1]
    assert "fit: 100%" in shown
    assert "loss 0.5000, wrong 25.00 %" in shown
