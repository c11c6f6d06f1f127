"""Time of a learning step by stage, each stage beside a copy of as many bytes."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import device_array, is_device_array
from ..backend.dispatch import observed
from ..backend.memory import check_memory
from ..backend.numbers import check_count
from ..integrators import Taylor
from ..learning.descent import RiemannianAdam
from ..learning.fitting import FitOptions, fit_weights
from .clocks import Clock, DeviceClock, HostClock, arithmetic_peak, copy_bandwidths, machine
from .costs import Cost, cost

__all__ = ["STAGES", "Profile", "Stage", "profile_step"]

#: Integration time of the step.
TIME = 3.0

#: The stages of all devices in the order of a step; the loss counts the wrong pixels, too. Where the exact gradient
#: runs in one wave, that takes the place of combination, reverse Horner and weight gradient.
STAGES = (
    "similarity", "forward series", "combination", "loss", "reverse Horner", "weight gradient", "gradient wave",
    "norms", "update",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One stage of a learning step.

    Attributes
    ----------
    name : str
        One of :data:`STAGES`.
    kernels : tuple of str
        The kernels that it calls.
    calls : int
        Kernel calls in one step.
    seconds : float
        Seconds in one step, the mean of the steps that count.
    cost : Cost
        Bytes and operations of one step.
    copy : float
        Bytes per second of a copy that moves as many bytes as the stage.
    """

    name: str
    kernels: tuple[str, ...]
    calls: int
    seconds: float
    cost: Cost
    copy: float

    @property
    def bandwidth(self) -> float:
        """Bytes per second of the stage."""
        return self.cost.bytes / self.seconds

    @property
    def share(self) -> float:
        """Bandwidth as a share of that of the copy."""
        return self.bandwidth / self.copy

    @property
    def intensity(self) -> float:
        """Floating-point operations per byte."""
        return self.cost.operations / self.cost.bytes

    @property
    def rate(self) -> float:
        """Floating-point operations per second."""
        return self.cost.operations / self.seconds


@dataclass(frozen=True)
class Profile:
    """The result of :func:`profile_step`.

    Attributes
    ----------
    machine : str
    size, labels, degree : int
        Pixels on a side, labels, terms of the Taylor series.
    dtype : str
    stages : list of Stage
        Those whose kernels are called on this device.
    rest, total : float
        Seconds of a step outside the stages, and of the whole step: means of the steps that count, as those of the
        stages, so that stages and rest sum to the total.
    peak : float or None
        Multiply-adds in first-level cache, operations per second; None where it is not measured.
    steps : list of dict
        The seconds of every step by stage, with its "total".
    """

    machine: str
    size: int
    labels: int
    degree: int
    dtype: str
    stages: list[Stage]
    rest: float
    total: float
    peak: float | None
    steps: list[dict[str, float]]


def profile_step(
    size: int = 512, labels: int = 10, *, device: str = "auto", dtype: str = "float32", steps: int = 7
) -> Profile:
    """Time the stages of learning steps on a synthetic problem: Taylor(), exact gradient, Riemannian Adam, T = 3.

    Parameters
    ----------
    size : int
        Pixels on a side.
    labels : int
        J.
    device : "auto", "cpu" or "gpu"
    dtype : "float32" or "float64"
    steps : int
        Steps that are timed, after one that warms up. Those of the middle third by duration count.

    Returns
    -------
    Profile

    Raises
    ------
    ValueError
        If a number is too small or the dtype is another one.
    RuntimeError, MemoryError
        If there is no such device, or not enough memory on it.
    """
    check_options(size, labels, dtype, steps)
    solver = Taylor()
    probe = device_array(np.zeros(1, dtype), device)
    check_memory(probe, (size, size), labels, solver=solver, times=(TIME,), learn=True)
    likelihood, truth = problem(size, labels, dtype)
    on_device = is_device_array(probe)
    recorder = _Recorder(DeviceClock() if on_device else HostClock())
    options = FitOptions(callback=recorder.end_step, progress=False)
    with observed(recorder.observe):
        fit_weights(
            device_array(likelihood, device), truth, time=TIME, solver=solver, descent=RiemannianAdam(),
            steps=steps + 1, options=options,
        )  # fmt: skip
    seconds = recorder.seconds()
    stages, rest, total = recorder.summary(seconds)
    peak = None if on_device else arithmetic_peak(dtype)
    degree = solver.plan(TIME)[1]
    return Profile(machine(on_device), size, labels, degree, dtype, stages, rest, total, peak, seconds)


class _Call(NamedTuple):
    """One kernel call between two marks of a clock."""

    kernel: str
    stage: str
    first: Any
    last: Any
    cost: Cost


class _Recorder:
    """Records every kernel call of a fit, step by step; a step begins and ends where the fit reports one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steps: list[list[_Call]] = [[]]
        self._ends: list[Any] = []

    def observe(self, kernel: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the kernel between two marks of the clock."""

        def timed(*operands: Any, **options: Any) -> Any:
            with self._clock.span(kernel):
                first = self._clock.mark()
                result = function(*operands, **options)
                last = self._clock.mark()
            stage = _stage(kernel, operands, options)
            self._steps[-1].append(_Call(kernel, stage, first, last, cost(kernel, *operands, **options)))
            return result

        return timed

    def end_step(self, row: Any, weights: Any) -> None:
        """Begin the next step; the callback of the fit."""
        self._ends.append(self._clock.mark())
        self._steps.append([])

    def seconds(self) -> list[dict[str, float]]:
        """Return the seconds of every step by stage and in total, without the first ones, which compile."""
        called = {call.stage for call in self._steps[-2]}
        rows = []
        for k in range(2, len(self._ends)):
            row = {name: 0.0 for name in STAGES if name in called}
            for call in self._steps[k]:
                row[call.stage] += self._clock.seconds(call.first, call.last)
            rows.append(row | {"total": self._clock.seconds(self._ends[k - 1], self._ends[k])})
        return rows

    def summary(self, seconds: list[dict[str, float]]) -> tuple[list[Stage], float, float]:
        """Stages beside copies of as many bytes, the rest and the total: means of the middle third of the steps.

        Means, other than medians, sum to the total; steps that were disturbed are not among the middle third.
        """
        out = len(seconds) // 3
        middle = sorted(seconds, key=lambda row: row["total"])[out : len(seconds) - out]
        mean = {name: statistics.fmean(row[name] for row in middle) for name in middle[0]}
        total = mean.pop("total")
        calls = {name: [call for call in self._steps[-2] if call.stage == name] for name in mean}
        costs = [Cost(*map(sum, zip(*(call.cost for call in calls[name]), strict=True))) for name in mean]
        copies = copy_bandwidths([cost.bytes for cost in costs], self._clock)
        stages = []
        for name, whole, copy in zip(mean, costs, copies, strict=True):
            kernels = tuple(dict.fromkeys(call.kernel for call in calls[name]))
            stages.append(Stage(name, kernels, len(calls[name]), mean[name], whole, copy))
        return stages, total - sum(mean.values()), total


#: Stages that are not called as their kernel.
_NAMES = {
    "agreement": "loss", "cosine": "loss", "weight_gradient": "weight gradient", "reverse_horner": "gradient wave",
    "geodesic": "update",
}  # fmt: skip


def _stage(kernel: str, operands: tuple[Any, ...], options: dict[str, Any]) -> str:
    """Return the stage that a call belongs to."""
    if kernel == "chain":
        return "reverse Horner" if options["transposed"] else "forward series"
    if kernel == "moments":
        return "update" if len(operands) > 2 and operands[2] is not None else "norms"
    return _NAMES.get(kernel, kernel)


def problem(size: int, labels: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return log-likelihood (H, J, W) and truth (H, W) of noisy blocks of 16×16 pixels."""
    rng = np.random.default_rng(0)
    count = -(-size // 16)
    truth = rng.integers(0, labels, (count, count)).repeat(16, 0).repeat(16, 1)[:size, :size].astype(np.int32)
    likelihood = rng.standard_normal((size, labels, size), dtype=np.dtype(dtype).type)
    likelihood *= 3
    for j in range(labels):
        likelihood[:, j] += 4 * (truth == j)
    return likelihood, truth


def check_options(size: int, labels: int, dtype: str, steps: int) -> None:
    """Raise an error for options that :func:`profile_step` does not take."""
    for name, number, least in (("size", size, 2), ("labels", labels, 2), ("steps", steps, 5)):
        check_count(number, name, least)
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}; accepted are float32 and float64.")
