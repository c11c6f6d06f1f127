"""The baseline: PyTorch's automatic differentiation of explicit Euler (3.49) and of the Krylov approximation (2.28).

Written without loops over labels; averages are fused multiply-adds of shifted views. The schemes are those of
:class:`gpulaf.Euler` and :class:`gpulaf.Krylov` with a given dimension, the loss is the cosine (3.4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..averaging.base import Averaging
from ..backend.array import is_host_array, namespace
from ..fields import to_rows
from ..integrators import Euler, Krylov
from ..learning.loss import cosine_loss
from ..learning.problem import Evaluation, FitProblem, Gradient

__all__ = ["Derivative", "autodiff", "derivative"]


class Derivative(NamedTuple):
    """What backpropagation gives."""

    #: Loss without regularizer.
    loss: float
    #: v(T), (H, J, W).
    v: Any
    #: ∂Ω, (H, 9, W).
    weights: Any


def autodiff(solver: Euler | Krylov) -> Gradient:
    """The gradient of a solver by backpropagation through it, for :func:`gpulaf.experiments.learning.descend`.

    The loss that it tells is summed in float64, as that of every other gradient: in float32, one near 0 has no digits.
    """

    def gradient(problem: FitProblem, averagings: list[Averaging]) -> Evaluation:
        weights, l, truth = averagings[0].weights, problem.log_likelihood, problem.truth
        _, v, found = derivative(solver, weights, l, truth, problem.times[0])
        return Evaluation(cosine_loss(v, truth).value, v, [found])

    return gradient


def derivative(
    solver: Euler | Krylov, weights: Any, likelihood: Any, truth: Any, time: float, *, compiled: bool = False
) -> Derivative:
    """Loss, v(T) and ∂Ω by backpropagation.

    Parameters
    ----------
    solver : Euler or Krylov
        The Krylov dimension must be given, and the space must not end before it.
    weights : (H, 9, W) array
        NumPy arrays run on the CPU, CuPy arrays on the GPU.
    likelihood : (H, J, W) array
        Of the dtype of `weights`.
    truth : (H, W) integer array
        Labels 0 … J−1.
    time : float
        T.
    compiled : bool
        Let ``torch.compile`` fuse the operations; needs a C++ compiler on the CPU.

    Raises
    ------
    ValueError
        For a Krylov solver that chooses its dimension.
    """
    import torch
    from torch.nn.functional import one_hot

    if isinstance(solver, Krylov) and solver.dimension is None:
        raise ValueError("the Krylov dimension is None; accepted are whole numbers from 1. Take Krylov(10).")
    omega, l = (_tensor(x) for x in (weights, likelihood))
    omega.requires_grad_()
    forward = torch.compile(_forward, dynamic=False) if compiled else _forward
    v = forward(omega, l, solver, time)
    labels = likelihood.shape[-2]
    target = to_rows(one_hot(_tensor(truth).long(), labels)).to(v.dtype) - 1 / labels
    loss = 1 - (target * v).sum() / (torch.linalg.vector_norm(target) * torch.linalg.vector_norm(v))
    (gradient,) = torch.autograd.grad(loss, omega)
    return Derivative(float(loss.detach()), *(namespace(weights).from_dlpack(x) for x in (v.detach(), gradient)))


def _tensor(x: Any) -> Any:
    """An array of the host or of a GPU as a tensor that shares its memory."""
    import torch

    return torch.from_numpy(x) if is_host_array(x) else torch.from_dlpack(x)


def _forward(omega: Any, l: Any, solver: Euler | Krylov, time: float) -> Any:
    """v(T)."""
    import torch

    average = _average(omega)
    S = torch.softmax(average(l), dim=-2)

    def A(v: Any) -> Any:
        x = average(v)
        return S * (x - (S * x).sum(dim=-2, keepdim=True))

    B = S - 1 / l.shape[-2]
    return _euler(A, B, time, solver.steps) if isinstance(solver, Euler) else _krylov(A, B, time, solver)


def _average(omega: Any) -> Callable[[Any], Any]:
    """Ω x with zeros beyond the border, where the weights are 0 anyway."""
    import torch
    from torch.nn.functional import pad

    height, _, width = omega.shape

    def average(x: Any) -> Any:
        padded = pad(x, (1, 1, 0, 0, 1, 1))
        total = omega[:, :1] * padded[:height, :, :width]
        for o in range(1, 9):
            seen = padded[o // 3 : o // 3 + height, :, o % 3 : o % 3 + width]
            total = torch.addcmul(total, omega[:, o : o + 1], seen)
        return total

    return average


def _euler(A: Callable[[Any], Any], B: Any, time: float, steps: int) -> Any:
    v, h = 0 * B, time / steps
    for _ in range(steps):
        v = v + h * (A(v) + B)
    return v


def _krylov(A: Callable[[Any], Any], B: Any, time: float, solver: Krylov) -> Any:
    """‖B‖ Q_m T φ(T H_m) e₁ by one pass of classical Gram–Schmidt, recorded step by step (2.28)–(2.29)."""
    import torch

    m = int(solver.dimension or 0)
    beta = torch.linalg.vector_norm(B)
    basis, columns = [B / beta], []
    for k in range(m):
        w = A(basis[-1])
        stacked = torch.stack(basis).reshape(k + 1, -1)
        h = stacked @ w.reshape(-1)
        w = w - (h @ stacked).reshape(w.shape)
        length = torch.linalg.vector_norm(w)
        columns.append(torch.cat([h, length[None], h.new_zeros(m - k - 1)]))
        basis.append(w / length)
    H = torch.stack(columns, dim=1)[:m]
    first = torch.eye(m, dtype=H.dtype, device=H.device)[:, :1]
    bordered = torch.cat([torch.cat([H, first], dim=1), H.new_zeros(1, m + 1)])
    phi = torch.linalg.matrix_exp(time * bordered)[:m, m]
    return (beta * phi @ torch.stack(basis[:m]).reshape(m, -1)).reshape(B.shape)
