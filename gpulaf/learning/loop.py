"""The one training loop: fits of weights, trainings of a predictor and the descents of the experiments run in it."""

from __future__ import annotations

import logging
import time as clock
from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from ..backend.array import reused
from ..backend.numbers import check_count
from ..backend.progress import progress_bar, stoppable
from .checkpoint import Checkpoint, check_checkpoint, resumed, save_checkpoint

__all__ = ["Checkpoint", "Row", "Trainable", "best", "check_checkpoint", "check_finite", "check_patience", "run"]


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
        """Share of the labeled pixels that are wrong, 0 to 1, or what the trainable calls so."""
        ...

    @property
    def seconds(self) -> float:
        """Seconds since the first step, over all runs; the loop fills it in."""
        ...

    def _replace(self, *, seconds: float) -> Self: ...

    def __iter__(self) -> Iterator[Any]: ...


LOG = logging.getLogger(__name__)
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
    def share(self) -> str:
        """What the share `wrong` of a row is called beside the progress bar."""
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
    history = [] if checkpoint is None else resumed(trainable, checkpoint, steps)
    began, told = clock.perf_counter() - (history[-1].seconds if history else 0.0), False
    bar = progress_bar(total=steps, initial=len(history), desc=kind, unit="step", shown=progress)
    notice = compiling(lambda count: bar.set_description(f"compiling kernels, once ({count})"))
    LOG.info("%s: %d of %d steps taken so far", kind, len(history), steps)
    with stoppable(lambda: _kept(kind, max(0, len(history) - 1), checkpoint)), bar, reused(), notice:
        for count in range(len(history), steps + 1):
            row = trainable.evaluate(count)
            check_finite(row.loss, count)
            history.append(row._replace(seconds=clock.perf_counter() - began))
            LOG.debug("%s: step %d, loss %.6g, %.3f %% wrong", kind, count, row.loss, 100 * row.wrong)
            if not bar.disable and bar.desc != f"{kind}: ":  # the time of compilation is no time of a step
                bar.set_description(kind, refresh=False)
                bar.unpause()
            bar.set_postfix_str(f"loss {row.loss:.4f}, {trainable.share} {100 * row.wrong:.2f} %")
            if callback is not None and callback(history[-1], trainable.presented()):
                return history, f"The callback ended the {kind} after {count} steps."
            if patience is not None and count - _step_of_best(history, watched) >= patience:
                return history, f"The {watched.replace('_', ' ')} did not fall for {patience} steps."
            if count == steps:
                break
            trainable.advance(count)
            bar.update()
            if checkpoint is not None and (count + 1) % checkpoint.every == 0:
                told = save_checkpoint(trainable, checkpoint, history, told)
    return history, f"All {steps} steps were taken."


def _kept(kind: str, steps: int, checkpoint: Checkpoint | None) -> str:
    """What is left of a run that was stopped, and how to go on."""
    taken = f"The {kind} had taken {steps} steps"
    if checkpoint is None:
        return f"{taken}, and they are lost. To be able to go on, save them on the way with Checkpoint(path)."
    if not Path(checkpoint.path).exists():
        return f"{taken}, and none is saved yet: that is done every {checkpoint.every} steps."
    return (
        f"{taken}; those up to the last multiple of {checkpoint.every} are in {checkpoint.path}. To go on from there, "
        "start it again with Checkpoint(path, resume=True)."
    )


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


def check_patience(patience: int | None) -> None:
    """Raise an error for a patience that is neither None nor a whole number of steps."""
    check_count(patience, "patience", optional=True)
