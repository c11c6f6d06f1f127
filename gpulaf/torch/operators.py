"""The pair of operators that torch sees: v(T) of rows of labels, and its closed-form gradient (Theorem 3.8).

Between them only the operands are kept, and v(T) where time is learned: similarities and the series are made again, on
images of the CPU within the wave that uses them (:mod:`gpulaf.kernels.reverse_horner`).
"""

from __future__ import annotations

from typing import Any

import torch

from ..averaging.grid import Grid
from ..backend.array import reused, total
from ..flows.gradient import weight_gradient
from ..flows.linear import LinearFlow
from ..integrators.base import Solution
from ..integrators.taylor import Taylor
from .arrays import as_array, as_tensor, current_stream
from .patches import check_patches

__all__ = ["flow_gradient", "flow_solution", "solve"]

_OPTIONS = "int degree, int substeps, float tol"


def flow_solution(weights: Any, log_likelihood: Any, time: Any, degree: int, substeps: int, tol: float) -> Any:
    """v(T) of tensors (B, H, J, W) and (B or 1, H, N, W), contiguous, both float32 or float64; T of one number."""
    if weights.device.type == "cpu":  # elsewhere a look at the values would wait for the device
        check_patches(weights)
    with current_stream(weights), reused():
        flow = LinearFlow(Grid(as_array(weights)), as_array(log_likelihood))
        v = _taylor(degree, substeps, tol).value(flow, float(time))  # synchronize, where T is on a GPU
        return as_tensor(v).clone()  # v is one of two fields in one piece of memory


def flow_gradient(
    weights: Any, log_likelihood: Any, time: Any, v: Any, g: Any, data: bool, degree: int, substeps: int, tol: float
) -> tuple[Any, Any, Any]:
    """∂Ω; ∂ℓ if `data`; and ∂T = ⟨g, A v + B⟩ if there is a `v`. What is not asked for is empty."""
    solver, T = _taylor(degree, substeps, tol), float(time)  # synchronize
    with current_stream(weights), reused():
        flow = LinearFlow(Grid(as_array(weights)), as_array(log_likelihood))
        derivative = as_array(g)
        in_time = total(derivative * flow.A(as_array(v), flow.B)) if v is not None else 0.0  # synchronize
        gradient = weight_gradient(flow, Solution(None, 0.0, 0, True, "", T, solver), derivative)
        in_weights = as_tensor(gradient.weights)
        if weights.shape[0] < g.shape[0]:
            in_weights = in_weights.sum(0, keepdim=True)
        in_data = as_tensor(gradient.log_likelihood) if data else g.new_empty(0)
    return in_weights, in_data, torch.full_like(time, in_time)


def _taylor(degree: int, substeps: int, tol: float) -> Taylor:
    return Taylor(degree or None, tol, substeps or None)


_solution = torch.library.custom_op(
    "gpulaf::flow_solution",
    flow_solution,
    mutates_args=(),
    schema=f"(Tensor weights, Tensor log_likelihood, Tensor time, {_OPTIONS}) -> Tensor",
)
_gradient = torch.library.custom_op(
    "gpulaf::flow_gradient",
    flow_gradient,
    mutates_args=(),
    schema=f"(Tensor weights, Tensor log_likelihood, Tensor time, Tensor? v, Tensor g, bool data, {_OPTIONS})"
    " -> (Tensor, Tensor, Tensor)",
)


@_solution.register_fake
def _(weights: Any, log_likelihood: Any, time: Any, degree: int, substeps: int, tol: float) -> Any:
    return torch.empty_like(log_likelihood)


@_gradient.register_fake
def _(weights: Any, log_likelihood: Any, time: Any, v: Any, g: Any, data: bool, *options: Any) -> Any:
    return torch.empty_like(weights), torch.empty_like(g) if data else g.new_empty(0), torch.empty_like(time)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    weights, log_likelihood, time, *ctx.options = inputs
    ctx.save_for_backward(weights, log_likelihood, time, *[output] * ctx.needs_input_grad[2])


def _backward(ctx: Any, g: Any) -> tuple[Any, ...]:
    weights, log_likelihood, time, *v = ctx.saved_tensors
    needed = ctx.needs_input_grad
    found = _gradient(weights, log_likelihood, time, v[0] if v else None, g.contiguous(), bool(needed[1]), *ctx.options)
    return *(x if need else None for x, need in zip(found, needed, strict=False)), None, None, None


_solution.register_autograd(_backward, setup_context=_keep)


def solve(weights: Any, log_likelihood: Any, time: Any, solver: Taylor) -> Any:
    """v(T) as torch differentiates it; see :func:`flow_solution`."""
    return _solution(weights, log_likelihood, time, solver.degree or 0, solver.substeps or 0, solver.tol)
