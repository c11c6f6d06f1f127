"""The one training loop: fits of weights, trainings of a predictor and the descents of the experiments run in it."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from warnings import warn

from ..backend.array import host_dtype, reused
from ..backend.progress import progress_bar
from ..backend.validation import calling_level, check_count
from ..io.atomic import check_writable
from ..io.tensors import read_tensors, write_tensors

__all__ = [
    "Checkpoint", "CheckpointWarning", "Row", "Trainable", "best", "check_checkpoint", "check_finite", "check_patience",
    "run",
]  # fmt: skip


class Row(Protocol):
    """A row of a history, a NamedTuple: the state before a step is taken."""

    @property
    def step(self) -> int:
        """Steps taken so far."""
        ...

    @property
    def loss(self) -> float:
        """Loss."""
        ...

    @property
    def wrong(self) -> float:
        """Share of the labeled pixels that are wrong, 0 to 1."""
        ...

    @property
    def seconds(self) -> float:
        """Seconds since the first step, over all runs; the loop fills it in."""
        ...

    def _replace(self, *, seconds: float) -> Self: ...

    def __iter__(self) -> Iterator[Any]: ...


#: What the parts of a fingerprint are made of, where the name does not say it.
NAMES = {"log_likelihood": "log_likelihood (image, prototypes or rho)"}

R = TypeVar("R", bound=Row)
R_co = TypeVar("R_co", bound=Row, covariant=True)


class Trainable(Protocol[R_co]):
    """What :func:`run` trains: it evaluates its present state, and takes a step from it."""

    @property
    def kind(self) -> str:
        """What is trained, in messages and in its checkpoints: "fit" or "training"."""
        ...

    @property
    def row(self) -> Callable[..., R_co]:
        """Makes a row of its fields, for those of a checkpoint."""
        ...

    @property
    def watched(self) -> str:
        """The field of a row that patience watches: "loss", or one that is None in rows where it was not computed."""
        ...

    @property
    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree with, by name."""
        ...

    def evaluate(self, count: int) -> R_co:
        """Loss and derivative of the state after `count` steps; the derivative is kept for :meth:`advance`."""
        ...

    def advance(self, count: int) -> None:
        """Take the `count`-th step, from 0."""
        ...

    def presented(self) -> Any:
        """The state as a callback gets it; it is never overwritten."""
        ...

    def state(self) -> dict[str, Any]:
        """The arrays of a checkpoint, by name."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the arrays of a checkpoint, on the host."""
        ...


class CheckpointWarning(UserWarning):
    """A checkpoint cannot be written; the run goes on without."""


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a run saves its state.

    Parameters
    ----------
    path : path
        A safetensors file, written whole or not at all.
    every : int
        Steps between two saves.
    resume : bool
        Continue from the file if it is there. Without it, an existing file is an error: it is never overwritten.
    """

    path: str | os.PathLike[str]
    every: int = 10
    resume: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike):
            raise TypeError(f"path is {self.path!r}; accepted is the name of a file.")
        check_count(self.every, "every")


def run(
    trainable: Trainable[R],
    *,
    steps: int,
    patience: int | None = None,
    checkpoint: Checkpoint | None = None,
    callback: Callable[[R, Any], object] | None = None,
    progress: bool | None = None,
) -> tuple[list[R], str]:
    """Train: evaluate, tell, take a step, save, until the steps are taken or something ends it.

    Parameters
    ----------
    trainable : Trainable
        It holds the last state afterwards.
    steps : int
        The most steps to take, those of earlier runs included.
    patience : int, optional
        Stop after so many steps without a smaller watched loss.
    checkpoint : Checkpoint, optional
        Save the state on the way; a run that was killed and resumed ends in the same state bit for bit.
    callback : callable, optional
        ``callback(row, presented)`` after each evaluation; a true return value ends the run.
    progress : bool, optional
        Progress bar on standard error; None shows it where that is a terminal.

    Returns
    -------
    history, reason
        One row per step and a last one for the state at the end; why it stopped, in one sentence.

    Raises
    ------
    OSError
        If the checkpoint exists and is not to be resumed, or cannot be written. Where that is so later on, it is a
        CheckpointWarning, and the run goes on.
    ValueError
        If the checkpoint belongs to another run, is damaged, or took more steps than are asked for.
    FloatingPointError
        If a loss is not finite.
    """
    from ..kernels._numba import compiling

    kind, watched = trainable.kind, trainable.watched
    history = [] if checkpoint is None else _resumed(trainable, checkpoint, steps)
    began, told = clock.perf_counter() - (history[-1].seconds if history else 0.0), False
    bar = progress_bar(total=steps, initial=len(history), desc=kind, unit="step", shown=progress)
    with bar, reused(), compiling(lambda count: bar.set_description(f"compiling kernels, once ({count})")):
        for count in range(len(history), steps + 1):
            row = trainable.evaluate(count)
            check_finite(row.loss, count)
            history.append(row._replace(seconds=clock.perf_counter() - began))
            if not bar.disable and bar.desc != f"{kind}: ":  # the time of compilation is no time of a step
                bar.set_description(kind, refresh=False)
                bar.unpause()
            bar.set_postfix_str(f"loss {row.loss:.4f}, wrong {100 * row.wrong:.2f} %")
            if callback is not None and callback(history[-1], trainable.presented()):
                return history, f"The callback ended the {kind} after {count} steps."
            if patience is not None and count - _step_of_best(history, watched) >= patience:
                return history, f"The {watched.replace('_', ' ')} did not fall for {patience} steps."
            if count == steps:
                break
            trainable.advance(count)
            bar.update()
            if checkpoint is not None and (count + 1) % checkpoint.every == 0:
                told = _saved(trainable, checkpoint, history, told)
    return history, f"All {steps} steps were taken."


def best(history: list[R], watched: str = "loss") -> R | None:
    """The first row with the smallest watched loss; None where no row has one."""
    return min(
        (row for row in history if getattr(row, watched) is not None),
        key=lambda row: getattr(row, watched),
        default=None,
    )


def _step_of_best(history: list[R], watched: str) -> int:
    """The step of the smallest watched loss; 0 where no row has one."""
    row = best(history, watched)
    return row.step if row else 0


def check_finite(value: float, count: int, name: str = "loss") -> None:
    """Raise FloatingPointError for a loss, or something else of this name, that is not finite after `count` steps."""
    if not isfinite(value):
        raise FloatingPointError(f"the {name} is {value} after {count} steps. Take a shorter time or smaller steps.")


def check_checkpoint(checkpoint: Checkpoint | None) -> None:
    """Raise TypeError for what is neither None nor a Checkpoint."""
    if not isinstance(checkpoint, Checkpoint | None):
        raise TypeError(f"checkpoint is {checkpoint!r}; accepted is a gpulaf.learning.Checkpoint(path), or None.")


def check_patience(patience: int | None) -> None:
    """Raise an error for a patience that is neither None nor a whole number of steps."""
    check_count(patience, "patience", optional=True)


def _saved(trainable: Trainable[R], checkpoint: Checkpoint, history: list[R], told: bool) -> bool:
    """Save the state; where that fails, warn unless it was told. Whether it is now."""
    metadata = {"fingerprint": trainable.fingerprint, "history": [list(row) for row in history]}
    try:
        write_tensors(checkpoint.path, trainable.kind, trainable.state(), metadata)
    except OSError as error:
        if not told:
            text = f"after {len(history)} steps, the checkpoint {error} The {trainable.kind} goes on without."
            warn(text, CheckpointWarning, stacklevel=calling_level())
        return True
    return told


def _resumed(trainable: Trainable[R], checkpoint: Checkpoint, steps: int) -> list[R]:
    """Restore the state of a checkpoint and return its history, which is empty where there is no checkpoint yet."""
    path, kind, start = checkpoint.path, trainable.kind, trainable.state()
    check_writable(path, sum(prod(x.shape) * host_dtype(x).itemsize for x in start.values()))
    if not Path(path).exists():
        return []
    if not checkpoint.resume:
        raise FileExistsError(f"{path} exists. Resume from it, or name another checkpoint.")
    state, metadata = read_tensors(path, kind)
    try:
        saved = dict(metadata["fingerprint"])
        history = [trainable.row(*row) for row in metadata["history"]]
        whole = [row.step for row in history] == list(range(len(history)))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is a damaged checkpoint ({error!r}). Name another one.") from None
    different = [name for name, value in trainable.fingerprint.items() if saved.get(name) != value]
    if different:
        raise ValueError(
            f"{path} belongs to a {kind} with other {', '.join(NAMES.get(name, name) for name in different)}. "
            "Resume with the same input and options, or name another checkpoint."
        )
    if not (whole and history) or _layout(state) != _layout(start):
        raise ValueError(
            f"{path} is a damaged checkpoint: its arrays or steps are not those of a {kind}. Name another one."
        )
    if len(history) > steps:
        raise ValueError(f"{path} has taken {len(history)} steps, not {steps}. Ask for {len(history)} steps or more.")
    trainable.restore(state)
    return history


def _layout(state: dict[str, Any]) -> dict[str, Any]:
    """Shape and dtype of every array."""
    return {name: (tuple(x.shape), str(host_dtype(x))) for name, x in state.items()}
