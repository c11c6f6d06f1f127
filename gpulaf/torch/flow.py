"""The linearized assignment flow of tensors: v(T), differentiable in weights, data and time."""

from __future__ import annotations

from typing import Any

import torch

from ..integrators.taylor import Taylor
from .operators import solve
from .patches import as_rows, from_rows, masked, neighborhood
from .plain import exporting, plain_flow

__all__ = ["linear_flow"]


def linear_flow(
    weights: Any,
    log_likelihood: Any,
    time: Any,
    *,
    solver: Taylor = Taylor(),
    mask: Any = None,
    layout: str = "planes",
) -> Any:
    """The solution v(T) of the linearized assignment flow (2.22)–(2.24); the labeling is softmax(v, dim=1).

    Parameters
    ----------
    weights : (B, N, H, W) or (B, N, D, H, W) floating tensor
        Weight patches: N = (2r+1)² or, of a volume, (2r+1)³ neighbors, offsets row-major. Those of a patch sum to 1,
        and those that point outside are 0: :func:`weights_from_logits` makes them. (1, N, H, W) serves every image.
    log_likelihood : (B, J, H, W) or (B, J, D, H, W) floating tensor
        ℓ = log W₀ − D/ρ, such as the logits of a network. A constant per pixel changes nothing.
    time : float, or tensor of one number
        T > 0; of a tensor that is learned, the derivative is that of the exact flow, ⟨g, A v + B⟩.
    solver : Taylor
        Its tolerance or its degree; with ``Taylor(tol=1e-4)``, the default, T = 3 takes 7 products.
    mask : (B, H, W) or (B, D, H, W) tensor of bool, optional
        True where a pixel is valid. Invalid ones are as outside the image: v is 0 there, and nothing depends on their
        data, whatever they hold.
    layout : "planes" or "rows"
        "rows" takes and returns rows of labels, weights (B, H, N, W) and (B, H, J, W), which the kernels read as they
        are; "planes" converts once, and returns a view of rows.

    Returns
    -------
    Tensor of the shape and dtype of `log_likelihood`; computed in float32, in float64 where one of the two is.

    Raises
    ------
    ValueError
        If shapes do not fit together, patches do not sum to 1 (on the CPU), or T is not positive.
    TypeError
        If one of the two is no floating tensor, or they are on different devices.
    RuntimeError
        On a GPU without CuPy.

    Notes
    -----
    The backward pass is the closed form, exact for the truncated series. It keeps the operands alone. A second
    derivative is not defined. Exports (``torch.export``, ``torch.onnx.export``) hold :func:`plain_flow` instead.

    Examples
    --------
    >>> import torch
    >>> from gpulaf.torch import linear_flow, weights_from_logits
    >>> logits = torch.zeros(2, 9, 16, 16, requires_grad=True)
    >>> v = linear_flow(weights_from_logits(logits), torch.randn(2, 3, 16, 16), time=3.0)
    >>> v.square().sum().backward()
    >>> v.shape, logits.grad.shape
    (torch.Size([2, 3, 16, 16]), torch.Size([2, 9, 16, 16]))
    """
    check_tensors(weights, log_likelihood, solver)
    wide = torch.promote_types(torch.promote_types(weights.dtype, log_likelihood.dtype), torch.float32)
    omega, l = as_rows(weights.to(wide), layout), as_rows(log_likelihood.to(wide), layout)
    _check_shapes(omega, l, layout)
    if mask is not None:
        omega, l = masked(omega, l, mask)
    if exporting():
        v = plain_flow(omega, l, time, solver=solver, layout="rows")
    else:
        v = solve(omega, l, _time(time), solver)
    return from_rows(v.to(log_likelihood.dtype), layout)


def _time(time: Any) -> Any:
    if not isinstance(time, torch.Tensor):
        return torch.tensor(float(time), dtype=torch.float64)  # which the operator checks
    if time.numel() != 1:
        raise ValueError(
            f"time is a tensor of shape {tuple(time.shape)}; accepted is one number. DeepAssignmentFlow takes those of "
            "layers."
        )
    return time


def check_tensors(weights: Any, log_likelihood: Any, solver: Any) -> None:
    """Raise TypeError for what are no floating tensors of one device, or no Taylor solver."""
    for name, x in (("weights", weights), ("log_likelihood", log_likelihood)):
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            found = x.dtype if isinstance(x, torch.Tensor) else type(x).__name__
            raise TypeError(f"{name} is of {found}; accepted is a floating tensor. Convert it by torch.as_tensor.")
    if weights.device != log_likelihood.device or weights.device.type not in ("cpu", "cuda"):
        raise TypeError(
            f"weights are on {weights.device}, the log-likelihood on {log_likelihood.device}; accepted is cpu or cuda, "
            "the same for both. Move one of them."
        )
    if not isinstance(solver, Taylor):
        raise TypeError(f"solver is {solver!r}; accepted is Taylor, whose gradient is exact. Take Taylor(tol=1e-4).")


def _check_shapes(weights: Any, log_likelihood: Any, layout: str) -> None:
    """Raise ValueError for rows that do not fit together; shapes are told in the user's layout."""
    own, shape = tuple(weights.shape), tuple(log_likelihood.shape)
    fits = neighborhood(weights) and len(own) == len(shape) and own[0] in (1, shape[0])
    if fits and (*own[1:-2], own[-1]) == (*shape[1:-2], shape[-1]):
        return
    accepted = ("(B, N, H, W)", "(B, J, H, W)") if layout == "planes" else ("(B, H, N, W)", "(B, H, J, W)")
    given = [tuple(from_rows(x, layout).shape) for x in (weights, log_likelihood)]
    raise ValueError(
        f"weights have shape {given[0]}, the log-likelihood {given[1]}; accepted are {accepted[0]} and {accepted[1]} "
        f"of the same pixels and images, with D before H of a volume, or weights of one image for all."
    )
