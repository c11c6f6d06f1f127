"""Learn the weights of one image or graph with ground truth, of one flow or of layers of them."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..averaging.graph import Graph, graph_like
from ..averaging.grid import Grid
from ..averaging.patches import check_weights, uniform_weights
from ..backend.array import contiguous, host_array, host_dtype, like, namespace, reused
from ..backend.memory import check_memory
from ..flows.deep import Layers, as_layers, as_time
from ..integrators import Krylov
from ..integrators.base import Integrator
from ..io.tensors import read_tensors, write_tensors
from ..kernels.stencil import radius_of
from .descent import RiemannianAdam
from .loss import Loss, cosine_loss
from .stepper import FitStep, Options, Problem, stepper

__all__ = ["Checkpoint", "FitResult", "FitStep", "fit_weights"]


@dataclass(frozen=True, eq=False)
class FitResult:
    """Learned weights, how they came about and why the fit ended.

    Attributes
    ----------
    weights : (N, H, W) array or Graph
        As they were given; a list of them where every layer has its own: what :class:`gpulaf.flows.DeepFlow` takes.
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
    time: float | Sequence[float] | Layers = 3.0,
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
    log_likelihood : (J, H, W) floating array; (J, D, H, W) of a volume, (J, n) on a graph
        ℓ = −D/ρ; see :func:`gpulaf.labeling.likelihood.log_likelihood`. Its library, device and dtype are
        those of the work.
    truth : (H, W) integer array; (D, H, W) of a volume, (n,) on a graph
        Labels 0 … J−1; −1 marks pixels without ground truth.
    weights : (N, H, W) or (N, D, H, W) array or Graph, or a list with one for each layer, optional
        Where the descent starts; uniform 3×3 or 3×3×3 patches if None. The neighbors of a graph stay who they are.
    time : float, sequence of float or Layers
        T, dimensionless. Several times are those of the layers of a :class:`gpulaf.flows.DeepFlow`, each with weights of
        its own; ``Layers(times, shared=True)`` learns weights that they share.
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
        Rank of the gradient of each layer; None chooses it by the singular values (Krylov) or takes the exact one
        (Taylor, Euler).
    tau : float
        Strength of the regularizer (3.5) per pixel, τ/(2HW) Σ_i ‖Π₀ log Ω_i‖² in every layer; 0.01 to 0.5 is usual.
        Its derivative is stiff where weights are small: much larger values need much smaller steps.
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
    time = as_time(time)
    _check_problem(log_likelihood, truth, steps, tau, patience, on_graph=_has_graph(weights))
    log_likelihood = contiguous(log_likelihood)
    start = _start(weights, log_likelihood, time, integrator)
    truth = xp.asarray(truth, dtype=xp.int32)
    patches = [x.patches for x in start]
    state: list[dict[str, Any]] = [descent.start(x) for x in patches]
    history: list[FitStep] = []
    problem = Problem(log_likelihood, truth, start, Options(time, integrator, loss, descent, rank, tau))
    if checkpoint is not None:
        saved = _load(checkpoint, problem)
        if saved is not None:
            patches, state, history = saved
    began = clock.perf_counter() - (history[-1].seconds if history else 0.0)
    first, reason = len(history), f"All {steps} steps were taken."
    if checkpoint is not None and first > steps:
        raise ValueError(f"{checkpoint.path} has taken {first} steps, not {steps}. Ask for {first} steps or more.")

    from tqdm import tqdm

    from ..kernels._numba import compiling

    bar = tqdm(
        total=steps, initial=first, desc="learning", unit="step", disable=None if progress is None else not progress
    )
    with bar, reused(), compiling(lambda: bar.set_description("compiling kernels")):
        run = stepper(problem, patches, state)
        for count in range(first, steps + 1):
            row = run.evaluate(count)._replace(seconds=clock.perf_counter() - began)
            history.append(row)
            bar.set_description("learning", refresh=False)
            bar.set_postfix_str(f"loss {row.loss:.4f}, wrong {row.wrong:.2f} %")
            if callback is not None and callback(row, problem.presented(run.weights)):
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
    return FitResult(problem.presented(run.weights), history, reason)


def _stalled(history: list[FitStep], patience: int) -> bool:
    best = min(range(len(history)), key=lambda k: history[k].loss)
    return len(history) - 1 - best >= patience


def _has_graph(weights: Any) -> bool:
    return any(isinstance(x, Graph) for x in (weights if isinstance(weights, (list, tuple)) else [weights]))


def _start(weights: Any, log_likelihood: Any, time: float | Layers, integrator: Integrator) -> list[Any]:
    """The averagings that the descent starts from, one for all layers or one for each, in the dtype of ℓ."""
    layers, listed = as_layers(time), isinstance(weights, (list, tuple))
    count = 1 if layers.shared else len(layers.times)
    if listed and (len(weights) != count or not isinstance(time, Layers) or layers.shared):
        expected = f"{count}, one for each layer" if isinstance(time, Layers) and not layers.shared else "one array"
        raise ValueError(f"weights are a list of {len(weights)}; accepted is {expected}, or None for uniform weights.")
    given, shape = list(weights) if listed else [weights], tuple(log_likelihood.shape[1:])
    radii = [_radius(x) for x in given]
    check_memory(
        log_likelihood, shape, log_likelihood.shape[0], integrator=integrator, time=time, learn=True, radius=max(radii)
    )
    start: list[Any] = []
    for x in given:
        if isinstance(x, Graph):
            start.append(graph_like(x, log_likelihood))
            continue
        x = uniform_weights(shape, dtype=host_dtype(log_likelihood)) if x is None else x
        x = contiguous(like(x, log_likelihood))
        check_weights(x, shape)
        start.append(Grid(x))
    return start if listed else start * count


def _radius(weights: Any) -> float:
    """Of weight patches; of a graph, that of patches on a line which take as much memory with all that it keeps."""
    if isinstance(weights, Graph):  # rows, columns, places and order of the entries beside them
        return (2.5 * weights.sparsity.longest - 1) / 2
    return 1 if weights is None else radius_of(weights)


def _check_problem(
    log_likelihood: Any, truth: Any, steps: int, tau: float, patience: int | None, *, on_graph: bool
) -> None:
    xp = namespace(log_likelihood)
    if log_likelihood.ndim not in ((2,) if on_graph else (3, 4)) or log_likelihood.shape[0] < 2:
        raise ValueError(
            f"log_likelihood has shape {tuple(log_likelihood.shape)}; accepted is "
            f"{'(J, n) for a graph' if on_graph else '(J, H, W) or (J, D, H, W)'} with J ≥ 2, labels first."
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
    checkpoint: Checkpoint, problem: Problem, weights: list[Any], states: list[dict[str, Any]], history: list[FitStep]
) -> None:
    arrays: dict[str, Any] = {}
    for end, patches, state in zip(_ends(problem), weights, states, strict=True):
        arrays |= {f"weights{end}": patches} | {f"state{end}.{k}": v for k, v in state.items()}
    metadata = {"fingerprint": problem.fingerprint, "history": [list(row) for row in history]}
    write_tensors(checkpoint.path, "checkpoint", arrays, metadata)


def _load(checkpoint: Checkpoint, problem: Problem) -> tuple[list[Any], list[dict[str, Any]], list[FitStep]] | None:
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
    own = {name: like(array, problem.log_likelihood) for name, array in arrays.items()}
    starts = [f"state{end}." for end in _ends(problem)]
    states = [{k.removeprefix(start): x for k, x in own.items() if k.startswith(start)} for start in starts]
    return [own[f"weights{end}"] for end in _ends(problem)], states, [FitStep(*row) for row in metadata["history"]]


def _ends(problem: Problem) -> list[str]:
    """What the names of each layer's arrays end in; nothing where there is one."""
    count = len(problem.start)
    return [""] if count == 1 else [f"[{s}]" for s in range(count)]
