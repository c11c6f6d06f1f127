"""Checkpoints of a training: saved on the way, refused where they belong to another run or are damaged."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

from ..backend.array import host_dtype
from ..backend.numbers import check_count
from ..backend.validation import calling_level
from ..io.atomic import ROOM, check_writable
from ..io.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from .loop import R, Trainable

__all__ = ["Checkpoint", "CheckpointWarning", "check_checkpoint", "resumed", "save_checkpoint"]

#: What the parts of a fingerprint are made of, where the name does not say it.
NAMES = {
    "log_likelihood": "log_likelihood (image, prototypes or rho)",
    "decay": "number of steps, over which the step size falls, or decay",
}


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


def check_checkpoint(checkpoint: Checkpoint | None) -> None:
    """Raise TypeError for what is neither None nor a Checkpoint."""
    if not isinstance(checkpoint, Checkpoint | None):
        raise TypeError(f"checkpoint is {checkpoint!r}; accepted is a gpulaf.learning.Checkpoint(path), or None.")


def save_checkpoint(trainable: Trainable[R], checkpoint: Checkpoint, history: list[R], told: bool) -> bool:
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


def resumed(trainable: Trainable[R], checkpoint: Checkpoint, steps: int) -> list[R]:
    """Restore the state of a checkpoint and return its history, which is empty where there is no checkpoint yet."""
    path, kind, start = checkpoint.path, trainable.kind, trainable.state()
    check_writable(path, ROOM + sum(prod(x.shape) * host_dtype(x).itemsize for x in start.values()))
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
    different = [name for name in different if name != "start"] or different
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
