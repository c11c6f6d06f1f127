"""Learn the weights of one image or graph with ground truth, of one flow or of layers of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..averaging.base import Averaging
from ..averaging.graph import Graph
from ..averaging.grid import as_averaging
from ..averaging.patches import uniform_weights
from ..backend.array import contiguous, filled, host_array, host_dtype, is_array, namespace
from ..backend.foreign import adopted, named_axes
from ..backend.memory import check_memory
from ..backend.numbers import check_count, check_number
from ..backend.validation import unmasked, valid_pixels
from ..fields import pixel_shape
from ..integrators.base import Integrator, check_integrator, layer_times
from ..integrators.taylor import Taylor
from .checkpoint import Checkpoint, check_checkpoint
from .descent import RiemannianAdam
from .label_coupling import LabelCoupledFit
from .loop import check_patience, run
from .loss import Loss, cosine_loss
from .problem import ClosedForm, FitProblem
from .stepper import FitStep, start_fit

__all__ = ["FitOptions", "FitResult", "fit_weights"]


@dataclass(frozen=True, eq=False)
class FitResult:
    """Learned weights, how they came about and why the fit ended.

    Attributes
    ----------
    weights : (H, N, W) array or Graph
        As they were given; a list of them where every layer has its own: what :class:`gpulaf.Labeler` takes. Where C
        was learned, too, a :class:`gpulaf.averaging.CoupledLabels` of them.
    history : list of FitStep
        One row per step and a last one for the returned weights.
    reason : str
        Why the fit stopped, in one sentence.
    """

    weights: Any = field(repr=False)
    history: list[FitStep] = field(repr=False)
    reason: str


@dataclass(frozen=True)
class FitOptions:
    """Rarely needed options of a fit.

    Parameters
    ----------
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
    label_coupling : bool
        Learn C of A = R_S(Ω ⊗ C), too: how much label k of the neighbors supports label j, the same at every pixel and
        in every layer; see :class:`gpulaf.averaging.CoupledLabels`.
    """

    rank: int | None = None
    tau: float = 0.0
    patience: int | None = None
    checkpoint: Checkpoint | None = None
    callback: Callable[[FitStep, Any], object] | None = None
    progress: bool | None = None
    label_coupling: bool = False

    def __post_init__(self) -> None:
        check_count(self.rank, "rank", optional=True)
        check_number(self.tau, "tau", 0, usual="0.01 to 0.5 is usual.")
        check_patience(self.patience)
        check_checkpoint(self.checkpoint)
        if not isinstance(self.label_coupling, bool):
            raise TypeError(f"label_coupling is {self.label_coupling!r}; accepted are True and False.")
        if not (self.callback is None or callable(self.callback)):
            raise TypeError(f"callback is {self.callback!r}; accepted are functions of a FitStep and weights, or None.")


def fit_weights(
    log_likelihood: Any,
    truth: Any,
    *,
    mask: Any = None,
    weights: Any = None,
    time: float | Sequence[float] = 3.0,
    solver: Integrator = Taylor(),
    loss: Callable[[Any, Any], Loss] = cosine_loss,
    descent: Any = RiemannianAdam(),
    steps: int = 50,
    options: FitOptions = FitOptions(),
) -> FitResult:
    """Learn weight patches by Riemannian descent with the closed-form gradient (Algorithm of Sect. 3).

    Parameters
    ----------
    log_likelihood : (H, J, W) floating array; (D, H, J, W) of a volume, (J, n) on a graph
        ℓ = −D/ρ; see :func:`gpulaf.labeling.log_likelihood`, or :func:`gpulaf.fields.to_rows` for ℓ of your own. Its
        library, device and dtype are those of the work.
    truth : (H, W) integer array; (D, H, W) of a volume, (n,) on a graph
        Labels 0 … J−1; −1 marks pixels without ground truth, as what is masked in a masked array.
    mask : (H, W) array of bool, optional
        True where a pixel is valid, as in :func:`gpulaf.label`: others count in no loss, no patch looks at them, and
        their ℓ may hold anything.
    weights : (H, N, W) or (D, H, N, W) array or Graph, or a list of them, optional
        Where the descent starts; uniform 3×3 or 3×3×3 patches if None. The neighbors of a graph stay who they are.
        In a list, those of layers: linearized flows in succession, (1.5)–(1.6).
    time : float or sequence of float
        T, dimensionless. A sequence holds that of each layer; the layers have weights of their own where `weights` is
        None or a list, and share those of one array or Graph. A list of weights shares a number in equal parts.
    solver : Taylor, Krylov or Euler
    loss : callable
        ``loss(v, truth)`` gives a value and its derivative in v: :func:`gpulaf.cosine_loss`,
        :func:`gpulaf.cross_entropy_loss` or your own.
    descent : RiemannianGradient, RiemannianAdam, Adam or AdaMax
    steps : int
        The most steps to take.
    options : gpulaf.learning.FitOptions

    Returns
    -------
    FitResult

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match, labels out of range, no labeled pixel, log-likelihoods that are not finite, or
        a checkpoint that belongs to another fit.
    FileExistsError, FileNotFoundError
        If the checkpoint exists and is not to be resumed, or there is no folder for it.
    FloatingPointError
        If a loss is not finite.
    MemoryError
        If the fit takes more memory than is free.

    Examples
    --------
    >>> import gpulaf
    >>> scene = gpulaf.scenes.voronoi_lines(32, noise=0.3)
    >>> distances = gpulaf.labeling.distances(scene.image, scene.prototypes)
    >>> fit = gpulaf.fit_weights(gpulaf.labeling.log_likelihood(distances, rho=0.2), scene.truth, steps=10)
    >>> fit.history[-1].wrong < fit.history[0].wrong
    True
    """
    log_likelihood, (truth, _) = adopted(log_likelihood, "log_likelihood"), named_axes(truth, None, "truth")
    listed = isinstance(weights, (list, tuple))
    layers = list(weights) if listed else [weights]
    times = layer_times(time, weights)
    check_integrator(solver, "Weights are learned by the linearized flow.")
    for x in layers:
        if not (x is None or isinstance(x, Averaging) or is_array(x)):
            raise TypeError(
                f"weights are a {type(x).__name__}; accepted are an array or Graph to start from, a list of those of "
                "layers, or None for uniform ones."
            )
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(
            f"loss is {loss!r}; accepted are cosine_loss, cross_entropy_loss and functions of (v, truth) of your own."
        )
    if isinstance(descent, type) or not (hasattr(descent, "start") and hasattr(descent, "update")):
        raise TypeError(
            f"descent is {descent!r}; accepted are RiemannianAdam(), RiemannianGradient(), Adam() and AdaMax() of "
            "gpulaf.learning."
        )
    if not isinstance(options, FitOptions):
        raise TypeError(f"options is {options!r}; accepted is a gpulaf.learning.FitOptions.")
    if not is_array(log_likelihood):
        raise TypeError(f"log_likelihood is a {type(log_likelihood).__name__}; accepted is an array (H, J, W).")
    _check_log_likelihood(log_likelihood, on_graph=any(isinstance(x, Graph) for x in layers))
    log_likelihood, truth, valid = _masked(log_likelihood, truth, mask)
    _check_finite(log_likelihood)
    _check_truth(truth, log_likelihood)
    check_count(steps, "steps", 0)
    own = listed or (weights is None and np.ndim(time) == 1)
    sizes = {"times": times, "solver": solver, "wave": not options.label_coupling}
    start = _start(layers if listed or not own else [None] * len(times), log_likelihood, sizes)
    if valid is not None:
        start = [x.masked(valid) for x in start]
    xp = namespace(log_likelihood)
    problem = FitProblem(contiguous(log_likelihood), xp.asarray(truth, dtype=xp.int32), start, times, own, valid)
    gradient = ClosedForm(solver, loss, options.rank)
    start_of = LabelCoupledFit if options.label_coupling else start_fit
    fit = start_of(problem, gradient, descent, float(options.tau))
    history, reason = run(
        fit,
        steps=steps,
        patience=options.patience,
        checkpoint=options.checkpoint,
        callback=options.callback,
        progress=options.progress,
    )
    return FitResult(fit.presented(), history, reason)


def _start(weights: list[Any], log_likelihood: Any, sizes: dict[str, Any]) -> list[Averaging]:
    """Check that a fit from these weights, uniform ones for None, can be held in memory; return Ω in the dtype of ℓ."""
    shape, dtype = pixel_shape(log_likelihood), host_dtype(log_likelihood)
    radius = max(1 if x is None else as_averaging(x).radius for x in weights)
    sizes = sizes | {"radius": radius, "shared": len(weights) == 1}
    check_memory(log_likelihood, shape, log_likelihood.shape[-2], learn=True, **sizes)
    uniform = uniform_weights(shape, dtype=dtype) if any(x is None for x in weights) else None
    return [as_averaging(uniform if x is None else x).like(log_likelihood) for x in weights]


def _check_log_likelihood(log_likelihood: Any, *, on_graph: bool) -> None:
    """Raise an error for ℓ that are no floating fields with at least two labels, all of them finite."""
    xp = namespace(log_likelihood)
    if log_likelihood.ndim not in ((2,) if on_graph else (3, 4)) or log_likelihood.shape[-2] < 2:
        raise ValueError(
            f"log_likelihood has shape {tuple(log_likelihood.shape)}; accepted is "
            f"{'(J, n) for a graph' if on_graph else '(H, J, W) or (D, H, J, W)'} with J ≥ 2, labels on axis -2. "
            "Convert other layouts by gpulaf.fields.to_rows."
        )
    if log_likelihood.dtype not in (xp.float32, xp.float64):
        raise TypeError(f"log_likelihood has dtype {log_likelihood.dtype}; accepted are float32 and float64.")


def _check_finite(log_likelihood: Any) -> None:
    xp = namespace(log_likelihood)
    if not bool(xp.all(xp.isfinite(log_likelihood))):  # synchronize
        raise ValueError(
            "log_likelihood holds values that are not finite. Leave those pixels out, with "
            "mask=numpy.isfinite(log_likelihood).all(axis=-2), or replace the values."
        )


def _masked(log_likelihood: Any, truth: Any, mask: Any) -> tuple[Any, Any, Any]:
    """ℓ without what invalid pixels hold, the truth −1 there, and which are valid; None without a mask."""
    (log_likelihood, own), (truth, known) = unmasked(log_likelihood), unmasked(truth)
    if known is not None:
        truth = np.where(known, truth.astype(np.int64), -1) if truth.dtype.kind in "bui" else truth
    own = None if own is None else own.all(axis=-2)
    valid = valid_pixels(mask, pixel_shape(log_likelihood), log_likelihood, own)
    if valid is None:
        return log_likelihood, truth, None
    if tuple(truth.shape) == tuple(valid.shape) and host_array(truth).dtype.kind in "bui":
        truth = np.where(host_array(valid), host_array(truth).astype(np.int64), -1)
    return filled(log_likelihood, valid[..., None, :]), truth, valid


def _check_truth(truth: Any, log_likelihood: Any) -> None:
    """Raise an error for truth that is not one label, or −1, per pixel of ℓ."""
    labels, shape, count = host_array(truth), pixel_shape(log_likelihood), log_likelihood.shape[-2]
    if labels.shape != shape:
        raise ValueError(
            f"truth has shape {labels.shape}; accepted is {shape}, one label per pixel of log_likelihood "
            f"{tuple(log_likelihood.shape)} with its labels on axis -2. Convert other layouts by gpulaf.fields.to_rows."
        )
    if not np.issubdtype(labels.dtype, np.integer) and labels.dtype != bool:
        raise TypeError(f"truth has dtype {labels.dtype}; accepted are integers, -1 where there is no ground truth.")
    labels = labels.astype(np.int64)
    if labels.min() < -1 or labels.max() >= count:
        raise ValueError(
            f"truth holds labels from {labels.min()} to {labels.max()}; accepted are 0 to {count - 1}, and -1 where "
            "there is none. Map its values to labels first."
        )
