"""Where the time of a learning step goes: stage by stage, beside a copy of as many bytes."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import device_array, is_device_array
from ..backend.dispatch import observed
from ..backend.memory import check_memory
from ..integrators import Taylor
from ..learning.descent import RiemannianAdam
from ..learning.fitting import fit_weights
from .clocks import Clock, DeviceClock, HostClock, arithmetic_peak, copy_bandwidths, machine
from .costs import Cost, cost

__all__ = ["STAGES", "Profile", "Stage", "profile_step"]

#: Integration time and tolerance of the step.
TIME, TOL = 3.0, 1e-3

#: The stages in the order of a step; the loss counts the wrong pixels, too.
STAGES = (
    "similarity", "forward series", "combination", "loss", "reverse Horner", "weight gradient", "norms", "update",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One stage of a step: medians over the steps.

    Attributes
    ----------
    name : str
    kernels : tuple of str
        The kernels that it calls.
    calls : int
        Calls in one step.
    seconds : float
    cost : Cost
        Bytes and operations of one step.
    copy : float
        Bytes per second of a copy that moves as many bytes.
    """

    name: str
    kernels: tuple[str, ...]
    calls: int
    seconds: float
    cost: Cost
    copy: float

    @property
    def bandwidth(self) -> float:
        """Bytes per second."""
        return self.cost.bytes / self.seconds

    @property
    def share(self) -> float:
        """Of the bandwidth of the copy."""
        return self.bandwidth / self.copy

    @property
    def intensity(self) -> float:
        """Operations per byte."""
        return self.cost.operations / self.cost.bytes

    @property
    def rate(self) -> float:
        """Operations per second."""
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
    rest, total : float
        Seconds of a step outside the stages and of all of it: medians.
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
    """Time the stages of learning steps on a synthetic problem: Taylor series, reverse Horner, Riemannian Adam, T = 3.

    Parameters
    ----------
    size : int
        Pixels on a side.
    labels : int
        J.
    device : "auto", "cpu" or "gpu"
    dtype : "float32" or "float64"
    steps : int
        Steps that count, after one that warms up.

    Raises
    ------
    ValueError
        If a number is too small or the dtype is another one.
    RuntimeError, MemoryError
        If there is no such device, or not enough memory on it.
    """
    _check(size, labels, dtype, steps)
    degree = Taylor(tol=TOL).plan(0.5 * TIME)[1]  # ‖A‖ ≤ 1/2
    integrator, descent = Taylor(degree), RiemannianAdam()
    probe = device_array(np.zeros(1, dtype), device)
    check_memory(probe, (size, size), labels, integrator=integrator, time=TIME, learn=True)
    likelihood, truth = _problem(size, labels, dtype)
    on_device = is_device_array(probe)
    recorder = _Recorder(DeviceClock() if on_device else HostClock())
    with observed(recorder.observe):
        fit_weights(
            device_array(likelihood, device), truth, time=TIME, integrator=integrator, descent=descent,
            steps=steps + 1, callback=recorder.end_step, progress=False,
        )  # fmt: skip
    stages, seconds = recorder.stages(), recorder.seconds()
    rest = statistics.median(2 * step["total"] - sum(step.values()) for step in seconds)
    total = statistics.median(step["total"] for step in seconds)
    peak = None if on_device else arithmetic_peak(dtype)
    return Profile(machine(on_device), size, labels, degree, dtype, stages, rest, total, peak, seconds)


class _Call(NamedTuple):
    kernel: str
    stage: str
    first: Any
    last: Any
    cost: Cost


class _Recorder:
    """Every kernel call of a fit, step by step; a step begins and ends where the fit reports one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steps: list[list[_Call]] = [[]]
        self._ends: list[Any] = []

    def observe(self, kernel: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The kernel, between two marks of the clock."""

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
        """Callback of the fit: what comes now belongs to the next step."""
        self._ends.append(self._clock.mark())
        self._steps.append([])

    def seconds(self) -> list[dict[str, float]]:
        """Of the stages of every step that counts, and in total; the first ones compile and warm up."""
        rows = []
        for k in range(2, len(self._ends)):
            row = dict.fromkeys(STAGES, 0.0)
            for call in self._steps[k]:
                row[call.stage] += self._clock.seconds(call.first, call.last)
            rows.append(row | {"total": self._clock.seconds(self._ends[k - 1], self._ends[k])})
        return rows

    def stages(self) -> list[Stage]:
        """Medians of the steps that count, beside copies of as many bytes."""
        calls = {name: [call for call in self._steps[len(self._ends) - 1] if call.stage == name] for name in STAGES}
        costs = [Cost(*map(sum, zip(*(call.cost for call in calls[name]), strict=True))) for name in STAGES]
        copies = copy_bandwidths([cost.bytes for cost in costs], self._clock)
        seconds, stages = self.seconds(), []
        for name, whole, copy in zip(STAGES, costs, copies, strict=True):
            kernels = tuple(dict.fromkeys(call.kernel for call in calls[name]))
            median = statistics.median(row[name] for row in seconds)
            stages.append(Stage(name, kernels, len(calls[name]), median, whole, copy))
        return stages


def _stage(kernel: str, operands: tuple[Any, ...], options: dict[str, Any]) -> str:
    """The stage that a call belongs to."""
    if kernel == "chain":
        return "reverse Horner" if options["transposed"] else "forward series"
    if kernel == "moments":
        return "norms" if operands[2] is None else "update"
    return {"agreement": "loss", "cosine": "loss", "geodesic": "update", "weight_gradient": "weight gradient"}.get(
        kernel, kernel
    )


def _problem(size: int, labels: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood (J, H, W) and truth (H, W): noisy blocks of 16×16 pixels."""
    rng = np.random.default_rng(0)
    count = -(-size // 16)
    truth = rng.integers(0, labels, (count, count)).repeat(16, 0).repeat(16, 1)[:size, :size].astype(np.int32)
    likelihood = rng.standard_normal((labels, size, size), dtype=np.dtype(dtype).type)
    likelihood *= 3
    for j in range(labels):
        likelihood[j] += 4 * (truth == j)
    return likelihood, truth


def _check(size: int, labels: int, dtype: str, steps: int) -> None:
    for name, number, least in (("size", size, 2), ("labels", labels, 2), ("steps", steps, 5)):
        if int(number) != number or number < least:
            raise ValueError(f"{name} is {number}; accepted are whole numbers from {least}.")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}; accepted are float32 and float64.")
