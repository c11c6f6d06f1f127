"""A learning step as one fixed sequence of kernels that reads nothing back, and its capture into a CUDA graph.

A small image is learned faster than its some twenty kernels can be launched one by one. The step of fixed shape here
is a Taylor solution of one degree, the cosine loss, its gradient by reverse Horner's scheme and the descent; numbers
that change from step to step come in an array. On a GPU it is recorded once and replayed.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple
from warnings import warn

from ..averaging.grid import Grid
from ..backend.array import columns, host_array, is_device_array, like, namespace
from ..backend.dispatch import implementation
from ..flows.linear import LinearFlow
from ..integrators.taylor import Steps, Taylor, coefficients, reverse_horner, series
from .descent import squared_norms
from .loss import cosine_value

__all__ = ["CapturedStep", "FixedStep", "Row", "fixed_degree"]

#: Runs of a step before it is recorded: they compile its kernels and fill the memory pool.
WARM_UP = 2


class Row(NamedTuple):
    """Numbers of a step, on the host."""

    loss: float
    #: Share of the labeled pixels.
    wrong: float
    #: Fisher–Rao norm of the gradient over the whole image.
    gradient_norm: float


def fixed_degree(solver: Any, time: float) -> int | None:
    """The degree of the one series that a flow over `time` takes; None where there is no series, or several."""
    if not isinstance(solver, Taylor):
        return None
    substeps, degree, _ = solver.plan(time)
    return degree if substeps == 1 and degree > 1 else None


class FixedStep:
    """Evaluate weights and take the step from them, without a number on the host.

    Parameters
    ----------
    log_likelihood : (H, J, W) floating array
    truth : (H, W) int32 array
    time : float
    degree : int
        Of the Taylor series, at least 2.
    descent : RiemannianGradient or RiemannianAdam
    """

    def __init__(self, log_likelihood: Any, truth: Any, time: float, degree: int, descent: Any) -> None:
        xp, (*_, labels, width) = namespace(log_likelihood), log_likelihood.shape
        self.log_likelihood, self.descent, self.time, self.degree = log_likelihood, descent, time, degree
        self._truth = xp.reshape(truth, (1, -1, width))
        self._class_weights = xp.ones((labels,), dtype=log_likelihood.dtype)
        self._coefficients = like(coefficients(time, degree)[None, :], log_likelihood)

    def __call__(self, weights: Any, state: dict[str, Any], corrections: Any) -> tuple[Any, dict[str, Any], Any]:
        """Weights and state of the descent to new ones, and an array of numbers that :meth:`row` reads.

        `corrections` are those of the descent, one number each, on the host or in an array.
        """
        xp = namespace(weights)
        flow = LinearFlow(Grid(weights), self.log_likelihood)
        a = series(flow, None, self.degree)
        v = implementation("combination", weights)(self._coefficients, columns(a), None)
        v = xp.reshape(v, (1, -1, *flow.S.shape[-2:]))
        sums = implementation("agreement", v)(v, self._truth, self._class_weights)
        g = xp.reshape(implementation("cosine", v)(v, self._truth, self._class_weights, sums), flow.S.shape)
        mean, left, right, _, image = reverse_horner(flow, Steps(self.time, [None], [a]), g)
        gradient, _ = flow.derivative(mean, left, right, image)
        size = xp.sum(squared_norms(weights, gradient), dtype=xp.float64)
        weights, state = self.descent.step_by(weights, gradient, state, corrections)
        return weights, state, xp.concat([sums[0, :], xp.reshape(size, (1,))])

    def row(self, numbers: Any) -> Row:
        """The numbers of a step, read to the host."""
        *sums, size = (float(x) for x in host_array(numbers))  # synchronize
        return Row(cosine_value(sums, self.log_likelihood.shape[-2]), sums[4] / sums[5], size**0.5)


class CapturedStep:
    """A :class:`FixedStep` on a GPU, recorded as a CUDA graph where that is possible.

    Recorded kernels keep the addresses that they saw: weights, state and numbers stay in arrays of this object, and
    everything in between comes from a memory pool of its own that nothing else uses.

    Parameters
    ----------
    step : FixedStep
    weights : (H, N, W) array, or state : dict of arrays
        Where the descent starts; they are copied.
    """

    def __init__(self, step: FixedStep, weights: Any, state: dict[str, Any]) -> None:
        self.step = step
        self._arrays = {"weights": weights.copy(), **{k: x.copy() for k, x in state.items()}}
        self._corrections = [weights[0, 0, :1].copy() for _ in step.descent.corrections(0)]
        self._new: dict[str, Any] = {}
        self._graph: Any = None
        if is_device_array(weights):
            self._record(sys.modules["cupy"])

    @property
    def weights(self) -> Any:
        """The present weights, a copy."""
        return self._arrays["weights"].copy()

    @property
    def state(self) -> dict[str, Any]:
        """The present state of the descent, copied."""
        return {k: x.copy() for k, x in self._arrays.items() if k != "weights"}

    def evaluate(self, count: int) -> Row:
        """What the present weights give; the `count`-th step from them is made ready."""
        for array, value in zip(self._corrections, self.step.descent.corrections(count), strict=True):
            array[...] = value
        if self._graph is None:
            self._run()
        else:
            present = sys.modules["cupy"].cuda.get_current_stream()  # on which corrections and weights are written
            self._stream.wait_event(present.record())
            self._graph.launch(self._stream)
            with self._stream:  # the numbers are there when the step is
                return self.step.row(self._new["row"])
        return self.step.row(self._new["row"])

    def advance(self) -> None:
        """Take the step."""
        for name, array in self._arrays.items():
            array[...] = self._new[name]

    def _run(self) -> None:
        self._new = {}  # whose memory serves again
        state = {k: x for k, x in self._arrays.items() if k != "weights"}
        weights, state, row = self.step(self._arrays["weights"], state, self._corrections)
        self._new = {"weights": weights, **state, "row": row}

    def _record(self, cupy: Any) -> None:
        """Record one run; where the driver refuses, say so and go on launching kernel by kernel."""
        self._pool = cupy.cuda.MemoryPool()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.get_current_stream().synchronize()
        try:
            with cupy.cuda.using_allocator(self._pool.malloc), self._stream:
                for _ in range(WARM_UP):
                    self._run()
                self._stream.synchronize()
                self._stream.begin_capture()
                try:
                    self._run()
                finally:
                    graph = self._stream.end_capture()
            self._graph = graph
        except (RuntimeError, cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError) as error:
            warn(f"the step is not recorded as a CUDA graph and runs kernel by kernel: {error}", stacklevel=4)
