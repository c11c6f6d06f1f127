"""Weight patches of tensors in plain torch operations: from logits, under masks, checked; the two layouts.

As :mod:`gpulaf.averaging.patches`: weights that point outside the image, or at invalid pixels, are exactly 0, and those
of a patch sum to 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ..kernels.stencil import offsets

__all__ = ["as_rows", "check_patches", "from_rows", "masked", "neighborhood", "neighbors", "weights_from_logits"]

#: How far from 1 a patch may sum; half precision rounds each weight to 2⁻⁹ of it.
LOOSE = 1e-2


def as_rows(x: Any, layout: str) -> Any:
    """(B, J, H, W) to contiguous rows of labels (B, H, J, W); those of ``layout="rows"`` as they are."""
    if layout not in ("planes", "rows"):
        raise ValueError(
            f"layout is {layout!r}; accepted are 'planes', tensors (B, J, H, W), and 'rows', (B, H, J, W)."
        )
    if x.ndim not in (4, 5):
        accepted = "(B, J, H, W) and (B, J, D, H, W)" if layout == "planes" else "(B, H, J, W) and (B, D, H, J, W)"
        raise ValueError(f"a tensor has shape {tuple(x.shape)}; accepted are {accepted}, images of a batch first.")
    return (x.movedim(1, x.ndim - 2) if layout == "planes" else x).contiguous()


def from_rows(x: Any, layout: str) -> Any:
    """View rows of labels (B, H, J, W) as (B, J, H, W), or leave them."""
    return x.movedim(x.ndim - 2, 1) if layout == "planes" else x


def weights_from_logits(logits: Any, *, mask: Any = None, layout: str = "planes") -> Any:
    """Weight patches ω_i = softmax(z_i) over the neighbors inside the image: what a network's last layer becomes.

    Parameters
    ----------
    logits : (B, N, H, W) or (B, N, D, H, W) floating tensor; ``layout="rows"``: (B, H, N, W)
        Log-weights z_i of the N = 9 (25, 49; 27 of a volume) neighbors, offsets row-major, the pixel itself in the
        middle. A constant added to a patch changes nothing.
    mask : (B, H, W) tensor of bool, optional
        True where a pixel is valid: invalid neighbors get no weight, and an invalid pixel keeps itself.
    layout : "planes" or "rows"

    Returns
    -------
    Tensor of that shape, float64 of float64 logits, else float32: patches in half precision do not sum to 1. In the
    layout "planes" a view of rows, which :func:`linear_flow` takes as it is.

    Raises
    ------
    ValueError
        If N is no neighborhood, or the mask has other pixels.

    Examples
    --------
    >>> import torch
    >>> from gpulaf.torch import weights_from_logits
    >>> weights = weights_from_logits(torch.zeros(1, 9, 4, 5))
    >>> weights[0, 4, 0, 0].item(), round(weights[0, :, 2, 2].sum().item(), 6)  # the corner has 4 neighbors
    (0.25, 1.0)
    """
    z = as_rows(logits.to(torch.promote_types(logits.dtype, torch.float32)), layout)
    valid = torch.ones_like(z[:1, ..., :1, :]) if mask is None else rows_of_mask(mask, z).to(z.dtype)
    return from_rows(torch.softmax(z.masked_fill(~_seen(valid, z), float("-inf")), dim=-2), layout)


def masked(weights: Any, log_likelihood: Any, mask: Any) -> tuple[Any, Any]:
    """Weights and log-likelihood, rows, without their invalid pixels, where v is 0; of :func:`mask_weights`.

    Patches lose what points at invalid pixels and are normalized; an invalid pixel, and one that looks at invalid ones
    alone, keeps itself.
    """
    valid = rows_of_mask(mask, log_likelihood)
    seen = _seen(valid.to(weights.dtype), weights)
    kept = torch.where(seen & valid, weights, torch.zeros_like(weights))
    total = kept.sum(-2, keepdim=True)
    some = total > 0
    alone = _centre(weights).to(weights.dtype).expand_as(weights)
    weights = torch.where(some, kept / torch.where(some, total, torch.ones_like(total)), alone)
    return weights, torch.where(valid, log_likelihood, torch.zeros_like(log_likelihood))


def rows_of_mask(mask: Any, field: Any) -> Any:
    """Valid pixels (B, H, W) as (B, H, 1, W), checked against rows of labels."""
    pixels = (*field.shape[1:-2], field.shape[-1])
    if mask.dtype != torch.bool or mask.ndim != field.ndim - 1 or tuple(mask.shape[1:]) != pixels:
        raise ValueError(
            f"mask is a tensor of {mask.dtype} and shape {tuple(mask.shape)}; accepted is torch.bool, True where a "
            f"pixel is valid, of shape {(field.shape[0], *pixels)}."
        )
    return mask.unsqueeze(-2)


def neighborhood(weights: Any) -> tuple[int, int]:
    """Radius and axes of rows of weights, (B, H, N, W) with N = (2r+1)² or (B, D, H, N, W) with N = (2r+1)³.

    As :func:`gpulaf.kernels.stencil.neighborhood`, in code that torch compiles.
    """
    axes, count = weights.ndim - 2, weights.shape[-2]
    for radius in range(1, 10):
        if (2 * radius + 1) ** axes == count:
            return radius, axes
    raise ValueError(
        f"weights have {count} neighbors; accepted are (2r+1)² of an image (9, 25, 49) and (2r+1)³ of a volume (27, "
        "125)."
    )


def neighbors(x: Any, radius: int, axes: int) -> Iterator[Any]:
    """The rows of neighbors at every offset, row-major, 0 outside: views of one padded copy of x (B, H, J, W)."""
    spatial = (*range(x.ndim - 1 - axes, x.ndim - 2), x.ndim - 1)
    widths = [radius, radius, 0, 0] + [radius, radius] * (axes - 1)  # from the last axis on
    padded = torch.nn.functional.pad(x, widths)
    for offset in offsets(radius, axes):
        view = padded
        for axis, step in zip(spatial, offset, strict=True):
            view = view.narrow(axis, radius + step, x.shape[axis])
        yield view


def check_patches(weights: Any) -> None:
    """Raise ValueError for rows of weights (B, H, N, W) that do not sum to 1, or point outside the image.

    What is not finite passes: it shows in the result.
    """
    radius, axes = neighborhood(weights)
    sums = weights.sum(-2)
    off = (sums - 1).abs()
    worst = sums.flatten()[off.flatten().argmax()].item() if (off > LOOSE).any() else None
    outside = max((edge.abs().max().item() for edge in _outside(weights, radius, axes)), default=0.0)
    if worst is None and not outside > LOOSE:
        return
    found = f"sum to {worst:.4g} in a patch" if worst is not None else f"point outside the image with {outside:.4g}"
    raise ValueError(
        f"weights {found}; accepted are patches that sum to 1, with zeros outside. Pass logits through "
        "gpulaf.torch.weights_from_logits first."
    )


def _outside(weights: Any, radius: int, axes: int) -> Iterator[Any]:
    """Weights at the border that point outside, side by side and depth by depth."""
    spatial = (*range(weights.ndim - 1 - axes, weights.ndim - 2), weights.ndim - 1)
    every = torch.tensor(offsets(radius, axes))
    for a, axis in enumerate(spatial):
        size = weights.shape[axis]
        for depth in range(min(radius, size)):
            for at, beyond in ((depth, every[:, a] < -depth), (size - 1 - depth, every[:, a] > depth)):
                yield weights.narrow(axis, at, 1)[..., beyond, :]


def _seen(valid: Any, weights: Any) -> Any:
    """Neighbors that may get weight, (B, H, N, W): valid ones inside of a valid pixel, and every pixel itself."""
    there = torch.cat(list(neighbors(valid, *neighborhood(weights))), dim=-2) > 0
    return (there & (valid > 0)) | _centre(weights)


def _centre(weights: Any) -> Any:
    """True for the pixel itself: (N, 1)."""
    count = weights.shape[-2]
    return (torch.arange(count, device=weights.device) == count // 2).unsqueeze(-1)
