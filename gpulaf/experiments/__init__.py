"""The experiments of the paper (Sect. 4), one file each: figures, the numbers behind them, and what they say.

Every experiment has ``run(setting) -> ExperimentResult``; its finding is a sentence made from the numbers. Same seeds
give the same numbers, seconds and bytes excepted.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from .result import ExperimentResult, Setting, write

__all__ = ["EXPERIMENTS", "Setting", "missing", "reproduce"]

#: Name, which is the module, and the question.
EXPERIMENTS = {
    "fig1": "What do learned weights change?",
    "fig2": "Does the closed-form gradient train as automatic differentiation does?",
    "fig3": "Does a gradient of low rank point where the exact one points?",
    "fig4": "Which Krylov dimension, rank and integration time does learning need?",
    "fig5": "Do weights predicted for unseen images label them?",
    "subspace": "In which subspace do the weights move?",
    "dimension": "In how many dimensions does learning happen?",
    "depth": "Do several linearized flows label unseen images better than one?",
    "neighborhoods": "What do larger weight patches bring and cost?",
    "cost": "How long does learning take, and how much memory does its process need?",
    "space": "How much memory does each gradient take?",
}

#: Experiments that need PyTorch.
TORCH = {"fig2"}


def missing(name: str) -> str | None:
    """None where an experiment can run, else what it lacks and how to install that."""
    if name in TORCH:
        try:
            import torch  # noqa: F401
        except ImportError:
            return f"{name} needs PyTorch. Install it with: python -m pip install 'gpulaf[torch]'."
    return None


def reproduce(name: str, folder: Path, setting: Setting | None = None) -> ExperimentResult:
    """Run one experiment and write its figures (PNG, PDF) and numbers (CSV) to a folder.

    Parameters
    ----------
    name : str
        One of `EXPERIMENTS`.
    folder : path
        An existing folder.
    setting : Setting, optional

    Raises
    ------
    ValueError
        If there is no such experiment.
    RuntimeError
        If a package is missing; the message says how to install it.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"the experiment is {name!r}; accepted are {', '.join(EXPERIMENTS)}.")
    if lack := missing(name):
        raise RuntimeError(lack)
    result = import_module(f".{name}", __package__).run(setting or Setting())
    write(result, folder)
    return result
