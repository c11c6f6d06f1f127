"""Whether a machine computes what it should, and how fast: for a report that a user sends in.

Every kernel against its ``reference`` in double precision, steps of a fit against the same with the references, on a
GPU recorded as a CUDA graph and kernel by kernel; bandwidth of a copy, of the operator, time of ∂Ω and of a step.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ..averaging import Grid, uniform_weights
from ..backend.array import device_array, empty, host_array, is_device_array
from ..backend.dispatch import implementation, observed
from ..flows import LinearFlow, weight_gradient
from ..integrators import Taylor
from ..learning import FitOptions, FitResult, cosine_loss, fit_weights
from .cases import KERNELS, Case, cases
from .clocks import LARGEST_COPY, Clock, DeviceClock, HostClock, copy_bandwidths
from .costs import cost
from .profile import TIME, problem

__all__ = ["Finding", "Speed", "check_fit", "check_kernel", "check_kernels", "speeds"]

#: Largest error of an entry, as a share of the largest entry, in units of the rounding of the dtype; steps of a fit
#: build on each other.
KERNEL, FIT = 200, 4000

#: Rows, columns and labels of the image that is learned, and the steps.
FITTED, STEPS = (37, 23, 3), 5

#: Labels, and pixels on a side, of the fields on which speed is measured: they do not stay in cache.
LABELS = 10
SIDE = {"cpu": 512, "gpu": 1024}

DTYPES = ("float32", "float64")

#: Names of the implementations, by function.
HOW = {"cpu": "Numba", "gpu": "CUDA", "reference": "array API"}


class Finding(NamedTuple):
    """What one check found."""

    #: The kernel, or what was done.
    name: str
    #: The implementation.
    how: str
    #: How many results were compared.
    cases: int
    #: Largest error as a share of the tolerance.
    error: float
    #: The first failure, in one line; empty where there is none.
    failure: str = ""


def check_kernels(device: str = "auto") -> Iterator[Finding]:
    """Yield what :func:`check_kernel` finds of every kernel."""
    for kernel in KERNELS:
        yield check_kernel(kernel, device)


def check_kernel(kernel: str, device: str = "auto") -> Finding:
    """Compare a kernel on a device with its ``reference`` on the host in float64, in both dtypes; run it twice.

    Parameters
    ----------
    kernel : str
        One of :data:`gpulaf.profiling.cases.KERNELS`.
    device : "auto", "cpu" or "gpu"

    Returns
    -------
    Finding
        It fails where an entry is off by more than the tolerance, where a second run has other bits, and where the
        kernel raises an error.
    """
    count, worst, failure, where = 0, 0.0, "", ""
    reference = import_module(f"gpulaf.kernels.{kernel}").reference
    function = implementation(kernel, device_array(np.zeros(1), device))
    how = HOW.get(function.__name__, function.__name__)
    try:
        for dtype in DTYPES:
            for case in cases(kernel, dtype):
                where, count = case.where, count + 1
                found = _call(kernel, function, case, lambda x: device_array(x, device))
                again = _call(kernel, function, case, lambda x: device_array(x, device))
                expected = _call(kernel, reference, case, _wide)
                error = max(map(_error, found, expected)) / (KERNEL * float(np.finfo(dtype).eps))
                worst = max(worst, error)
                if not failure and not error <= 1:
                    failure = f"error {error:.3g} × the tolerance at {where}"
                if not failure and any(a.tobytes() != b.tobytes() for a, b in zip(found, again, strict=True)):
                    failure = f"other bits in a second run at {where}"
    except Exception as error:  # whatever a driver, a compiler or a kernel raises is what the report is for
        failure = failure or f"{_one_line(error)} at {where}"
    return Finding(kernel, how, count, worst, failure)


def check_fit(device: str = "auto") -> Iterator[Finding]:
    """Yield how steps of a fit on a device compare with the same steps by the references in float64, for each dtype.

    On a GPU the steps are taken kernel by kernel and as a recorded graph; the recorded ones are also held against the
    others, and fail where the driver does not record.
    """
    with observed(lambda name, _: import_module(f"gpulaf.kernels.{name}").reference):
        expected = _fit("float64", "cpu")
    on_device = is_device_array(device_array(np.zeros(1), device))
    for dtype in DTYPES:
        before: list[FitResult] = []
        for how in ("kernel by kernel", "recorded") if on_device else ("kernel by kernel",):
            name = f"{STEPS} steps, {dtype}"
            try:
                fit = _fit(dtype, device) if how == "recorded" else _kernel_by_kernel(_fit, dtype, device)
                error = max(_distance(fit, other, dtype) for other in (expected, *before))
                failure = "" if error <= 1 else f"error {error:.3g} × the tolerance"
                yield Finding(name, how, 1 + len(before), error, failure)
                before.append(fit)
            except Exception as error:
                yield Finding(name, how, 0, np.inf, _one_line(error))


class Speed(NamedTuple):
    """One measurement."""

    name: str
    #: Of one call; None where only a bandwidth is measured.
    seconds: float | None
    #: Bytes per second, and its share of that of a copy of as many bytes.
    bandwidth: float | None = None
    share: float | None = None


def speeds(device: str = "auto", *, repeats: int = 7) -> Iterator[Speed]:
    """Measure in float32 a copy, a product with A beside a copy of as many bytes, ∂Ω of a Taylor solution and steps.

    Parameters
    ----------
    device : "auto", "cpu" or "gpu"
        Fields have :data:`LABELS` labels and :data:`SIDE` pixels on a side.
    repeats : int
        Measurements of each, the median of which counts, and steps of a fit.
    """
    on_device = is_device_array(device_array(np.zeros(1), device))
    side = SIDE["gpu" if on_device else "cpu"]
    weights = device_array(uniform_weights((side, side), dtype=np.float32), device)
    l, truth = (device_array(x, device) for x in problem(side, LABELS, "float32"))
    clock: Clock = DeviceClock() if on_device else HostClock()
    flow = LinearFlow(Grid(weights), l)
    out, moved = empty(l.shape, l), cost("operator", weights, flow.S, l).bytes
    copies = copy_bandwidths([LARGEST_COPY, moved], clock, repeats=repeats)
    yield Speed("copy", None, copies[0])
    product = _median(clock, lambda: flow.A(l, out=out), repeats)
    yield Speed("operator", product, moved / product, moved / product / copies[1])
    solution = Taylor().solve(flow, TIME)
    g = cosine_loss(solution.v, truth).derivative
    yield Speed("∂Ω", _median(clock, lambda: weight_gradient(flow, solution, g), repeats))
    options = FitOptions(progress=False)

    def step() -> float:
        history = fit_weights(l, truth, time=TIME, steps=repeats + 2, options=options).history
        return (history[-1].seconds - history[2].seconds) / repeats  # the first ones compile, or record

    yield Speed("step, kernel by kernel" if on_device else "step", _kernel_by_kernel(step))
    if on_device:
        yield Speed("step, recorded", step())


def _call(kernel: str, function: Any, case: Case, put: Callable[[Any], Any]) -> list[np.ndarray]:
    """Results on the host; arrays among operands and options go through `put`."""

    def given(x: Any) -> Any:
        return put(x) if isinstance(x, np.ndarray) else x

    options = {key: given(x.copy() if key == "out" else x) for key, x in case.options.items()}
    results = function(*map(given, case.operands), **options)
    if kernel == "similarity":  # the bounds of rows or blocks
        results = results[0], host_array(results[1]).max()
    return [np.asarray(host_array(x)) for x in (results if isinstance(results, tuple) else (results,)) if x is not None]


def _wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def _error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference as a share of the largest entry; infinite where shapes differ or a number is none."""
    if found.shape != expected.shape:
        return np.inf
    largest = max(float(abs(expected).max(initial=0)), float(np.finfo(np.float32).tiny))
    error = float(abs(found.astype(np.float64) - expected).max(initial=0)) / largest
    return error if np.isfinite(error) else np.inf


def _fit(dtype: str, device: str) -> FitResult:
    """Learn a small image of odd size; a refusal to record is an error."""
    height, width, labels = FITTED
    likelihood, truth = problem(max(height, width), labels, "float32")  # the same numbers in either precision
    l = device_array(likelihood[:height, :, :width].astype(dtype, order="C"), device)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the step is not recorded")
        options = FitOptions(progress=False)
        return fit_weights(l, truth[:height, :width], time=TIME, solver=Taylor(), steps=STEPS, options=options)


def _kernel_by_kernel(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call with kernels observed: such steps are not recorded."""
    with observed(lambda _, function: function):
        return call(*arguments)


def _distance(fit: FitResult, other: FitResult, dtype: str) -> float:
    """Largest error of weights, losses and norms of gradients as a share of the tolerance."""
    rows = [np.array([(row.loss, row.gradient_norm) for row in x.history]) for x in (fit, other)]
    weights = [host_array(x.weights).astype(np.float64) for x in (fit, other)]
    errors = (_error(*weights), *(_error(*(numbers[:, k] for numbers in rows)) for k in (0, 1)))
    return max(errors) / (FIT * float(np.finfo(dtype).eps))


def _median(clock: Clock, call: Callable[[], Any], repeats: int) -> float:
    """Median of the seconds of a call, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        first = clock.mark()
        call()
        times.append(clock.seconds(first, clock.mark()))
    return statistics.median(times[1:])


def _one_line(error: BaseException) -> str:
    """Name and text of an error in one line, that of a compiler's first error where there are many."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()] or ["no text"]
    said = next((line for line in lines if "error" in line), lines[0])
    return f"{type(error).__name__}: {said[:160]}"
