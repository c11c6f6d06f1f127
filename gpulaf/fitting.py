"""Learn the weight patches of one image with ground truth."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .array import contiguous, host_array, host_dtype, like, namespace, reused
from .checkpoint import read_tensors, write_tensors
from .descent import RiemannianAdam
from .integrators import Krylov
from .integrators.solution import Integrator, check_time
from .kernels.stencil import radius_of
from .loss import Loss, cosine_loss
from .memory import check_memory
from .patches import check_weights, uniform_weights
from .steps import FitStep, Options, Problem, stepper

__all__ = ["Checkpoint", "FitResult", "FitStep", "fit_weights"]


@dataclass(frozen=True, eq=False)
class FitResult:
    """Learned weights, how they came about and why the fit ended.

    Attributes
    ----------
    weights : (N, H, W) array
    history : list of FitStep
        One row per step and a last one for the returned weights.
    reason : str
        Why the fit stopped, in one sentence.
    """

    weights: Any
    history: list[FitStep] = field(repr=False)
    reason: str


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a fit saves its state.

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
        if int(self.every) != self.every or self.every < 1:
            raise ValueError(f"every is {self.every}; accepted are whole numbers of steps from 1.")


def fit_weights(
    log_likelihood: Any,
    truth: Any,
    *,
    weights: Any = None,
    time: float = 3.0,
    integrator: Integrator | None = None,
    loss: Callable[[Any, Any], Loss] = cosine_loss,
    descent: Any = None,
    steps: int = 50,
    rank: int | None = None,
    tau: float = 0.0,
    patience: int | None = None,
    checkpoint: Checkpoint | None = None,
    callback: Callable[[FitStep, Any], object] | None = None,
    progress: bool | None = None,
) -> FitResult:
    """Learn weight patches by Riemannian descent with the closed-form gradient (Algorithm of Sect. 3).

    Parameters
    ----------
    log_likelihood : (J, H, W) floating array, of a volume (J, D, H, W)
        ℓ = −D/ρ; see :func:`gpulaf.distance.log_likelihood`. Its library, device and dtype are those of the work.
    truth : (H, W) or (D, H, W) integer array
        Labels 0 … J−1; −1 marks pixels without ground truth.
    weights : (N, H, W) or (N, D, H, W) array, optional
        Where the descent starts; uniform 3×3 or 3×3×3 patches if None.
    time : float
        T, dimensionless.
    integrator : Krylov, Taylor or Euler, optional
        Krylov() if None.
    loss : callable
        ``loss(v, truth)`` gives a value and its derivative in v: :func:`cosine_loss`, :func:`cross_entropy_loss` or
        your own.
    descent : RiemannianGradient, RiemannianAdam, Adam or AdaMax, optional
        RiemannianAdam() if None.
    steps : int
        The most steps to take.
    rank : int, optional
        Rank of the gradient; None chooses it by the singular values (Krylov) or takes the exact one (Taylor, Euler).
    tau : float
        Strength of the regularizer (3.5) per pixel, τ/(2HW) Σ_i ‖Π₀ log Ω_i‖²; 0.01 to 0.5 is usual. Its derivative is
        stiff where weights are small: much larger values need much smaller steps.
    patience : int, optional
        Stop after so many steps without a smaller loss; the weights are the last ones.
    checkpoint : Checkpoint, optional
        Save the state on the way. A fit that was killed and resumed ends in the same weights bit for bit.
    callback : callable, optional
        ``callback(fit_step, weights)`` after each evaluation; a true return value ends the fit.
    progress : bool, optional
        Progress bar on standard error; None shows it where that is a terminal.

    Returns
    -------
    FitResult

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match, labels out of range, no labeled pixel, log-likelihoods that are not finite, or
        a checkpoint that belongs to another fit.
    FileExistsError
        If the checkpoint exists and is not to be resumed.
    FloatingPointError
        If a loss is not finite.
    MemoryError
        If the fit takes more memory than is free.
    """
    xp = namespace(log_likelihood)
    integrator = integrator or Krylov()
    descent = descent or RiemannianAdam()
    time = check_time(time)
    _check_problem(log_likelihood, truth, steps, tau, patience)
    log_likelihood = contiguous(log_likelihood)
    labels, shape = log_likelihood.shape[0], tuple(log_likelihood.shape[1:])
    radius = 1 if weights is None else radius_of(weights)
    check_memory(log_likelihood, shape, labels, integrator=integrator, time=time, learn=True, radius=radius)
    truth = xp.asarray(truth, dtype=xp.int32)
    if weights is None:
        weights = uniform_weights(shape, dtype=host_dtype(log_likelihood))
    weights = contiguous(like(weights, log_likelihood))
    check_weights(weights, shape)

    state: dict[str, Any] = descent.start(weights)
    history: list[FitStep] = []
    problem = Problem(log_likelihood, truth, weights, Options(time, integrator, loss, descent, rank, tau))
    if checkpoint is not None:
        saved = _load(checkpoint, problem)
        if saved is not None:
            weights, state, history = saved
    began = clock.perf_counter() - (history[-1].seconds if history else 0.0)
    first, reason = len(history), f"All {steps} steps were taken."
    if checkpoint is not None and first > steps:
        raise ValueError(f"{checkpoint.path} has taken {first} steps, not {steps}. Ask for {first} steps or more.")

    from tqdm import tqdm

    from .kernels._numba import compiling

    bar = tqdm(
        total=steps, initial=first, desc="learning", unit="step", disable=None if progress is None else not progress
    )
    with bar, reused(), compiling(lambda: bar.set_description("compiling kernels")):
        run = stepper(problem, weights, state)
        for count in range(first, steps + 1):
            row = run.evaluate(count)._replace(seconds=clock.perf_counter() - began)
            history.append(row)
            bar.set_description("learning", refresh=False)
            bar.set_postfix_str(f"loss {row.loss:.4f}, wrong {row.wrong:.2f} %")
            if callback is not None and callback(row, run.weights):
                reason = f"The callback ended the fit after {count} steps."
                break
            if patience is not None and _stalled(history, patience):
                reason = f"The loss did not fall for {patience} steps."
                break
            if count == steps:
                break
            run.advance(count)
            bar.update()
            if checkpoint is not None and (count + 1) % checkpoint.every == 0:
                _save(checkpoint, problem, run.weights, run.state, history)
    return FitResult(run.weights, history, reason)


def _stalled(history: list[FitStep], patience: int) -> bool:
    best = min(range(len(history)), key=lambda k: history[k].loss)
    return len(history) - 1 - best >= patience


def _check_problem(log_likelihood: Any, truth: Any, steps: int, tau: float, patience: int | None) -> None:
    xp = namespace(log_likelihood)
    if log_likelihood.ndim not in (3, 4) or log_likelihood.shape[0] < 2:
        raise ValueError(
            f"log_likelihood has shape {tuple(log_likelihood.shape)}; accepted is (J, H, W) with J ≥ 2, labels first, "
            "or (J, D, H, W)."
        )
    if log_likelihood.dtype not in (xp.float32, xp.float64):
        raise TypeError(f"log_likelihood has dtype {log_likelihood.dtype}; accepted are float32 and float64.")
    if not bool(xp.all(xp.isfinite(log_likelihood))):  # synchronize
        raise ValueError("log_likelihood holds values that are not finite. Replace NaN and infinite values first.")
    labels = host_array(truth)
    if labels.shape != tuple(log_likelihood.shape[1:]):
        raise ValueError(
            f"truth has shape {labels.shape}; accepted is {tuple(log_likelihood.shape[1:])}, one label per pixel."
        )
    if not np.issubdtype(labels.dtype, np.integer) and labels.dtype != bool:
        raise TypeError(f"truth has dtype {labels.dtype}; accepted are integers, -1 where there is no ground truth.")
    labels = labels.astype(np.int64)
    if labels.min() < -1 or labels.max() >= log_likelihood.shape[0]:
        raise ValueError(
            f"truth holds labels from {labels.min()} to {labels.max()}; "
            f"accepted are 0 to {log_likelihood.shape[0] - 1}, and -1 where there is none. "
            "Map its values to labels first."
        )
    if int(steps) != steps or steps < 0:
        raise ValueError(f"steps is {steps}; accepted are whole numbers from 0.")
    if not tau >= 0:
        raise ValueError(f"tau is {tau}; accepted are numbers from 0.")
    if patience is not None and (int(patience) != patience or patience < 1):
        raise ValueError(f"patience is {patience}; accepted are whole numbers of steps from 1, or None.")


def _save(
    checkpoint: Checkpoint, problem: Problem, weights: Any, state: dict[str, Any], history: list[FitStep]
) -> None:
    arrays = {"weights": weights} | {f"state.{k}": v for k, v in state.items()}
    metadata = {"fingerprint": problem.fingerprint, "history": [list(row) for row in history]}
    write_tensors(checkpoint.path, "checkpoint", arrays, metadata)


def _load(checkpoint: Checkpoint, problem: Problem) -> tuple[Any, dict[str, Any], list[FitStep]] | None:
    if not Path(checkpoint.path).exists():
        return None
    if not checkpoint.resume:
        raise FileExistsError(f"{checkpoint.path} exists. Resume from it, or name another checkpoint.")
    arrays, metadata = read_tensors(checkpoint.path, "checkpoint")
    fingerprint = problem.fingerprint
    different = [name for name, value in fingerprint.items() if metadata["fingerprint"].get(name) != value]
    if different:
        raise ValueError(
            f"{checkpoint.path} belongs to a fit with other {', '.join(different)}. "
            "Resume with the same input and options, or name another checkpoint."
        )
    own = {name: like(array, problem.start) for name, array in arrays.items()}
    state = {name.removeprefix("state."): array for name, array in own.items() if name != "weights"}
    return own["weights"], state, [FitStep(*row) for row in metadata["history"]]
