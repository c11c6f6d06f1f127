"""Memory of a run: an estimate before it starts, and an error for what cannot fit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .array import host_dtype, is_device_array

__all__ = ["memory_estimate"]

#: Share of the free memory that a run may plan with; the rest is for what is not counted.
USABLE = 0.9

#: Sides of tiles of images are multiples of this, those of volumes and the nodes of a graph of the others.
TILE_STEP = 64
STEPS = {1: 1024, 2: TILE_STEP, 3: 16}


def memory_estimate(
    shape: tuple[int, ...],
    labels: int,
    *,
    solver: Any,
    times: Sequence[float] = (3.0,),
    learn: bool = False,
    dtype: Any = np.float32,
    radius: float = 1,
    shared: bool = False,
    device: str = "cpu",
) -> int:
    """Estimate the bytes that labeling an image, or learning its weights, holds at once, the arguments included.

    Parameters
    ----------
    shape : (H, W) or (D, H, W)
        Size of the image or volume in pixels.
    labels : int
        J.
    solver : Taylor, Krylov or Euler, or a scheme of the nonlinear flow
        Where it chooses its size by a tolerance, the size for ‖A‖ = 1/2, the largest possible, counts.
    times : sequence of float
        T of each layer.
    learn : bool
        False for :func:`gpulaf.label` and :func:`gpulaf.refine`, True for :func:`gpulaf.fit_weights`.
    dtype : float32 or float64
    radius : int
        Of the weight patches.
    shared : bool
        Whether layers share their weights.
    device : "cpu" or "gpu"
        A GPU holds the basis of a Taylor series where the CPU computes the gradient in one wave.

    Returns
    -------
    int
        An estimate: 0.97 to 1.75 times the peak in the cases of ``tests/backend/test_memory.py``. The interpreter and
        the libraries are not in it.

    Examples
    --------
    >>> from gpulaf import Krylov
    >>> from gpulaf.backend import memory_estimate
    >>> gigabytes = memory_estimate((4096, 4096), 8, solver=Krylov(8), learn=True) / 1e9
    >>> round(gigabytes, 1)
    25.4
    """
    patch, more = (2 * radius + 1) ** len(shape), len(times) - 1
    wave_rows = shape[0] if device == "cpu" and len(shape) == 2 else None
    fields = max(solver.gradient_fields(h, wave_rows) if learn else solver.fields(h) for h in times)
    # learning: ℓ, S, B, what the solver holds; weights before, at and after the step, ∂Ω, two moments, the truth;
    # labeling: ℓ, S, B, what the solver holds, or at the end W and what the softmax needs; weights, image, labels
    stages = (fields, 7 * patch + 3) if learn else (max(fields, 5), 2 * patch + 4)
    # layers: ℓ and S of each and the sum of what they add; their weights, and what learning holds of those
    if more:
        own = 2 if shared else (7 if learn else 1) * more  # the sum of ∂Ω where the weights are shared
        stages = (stages[0] + (2 * more + 5 if learn else 2), stages[1] + own * patch)
    floats = labels * (3 + stages[0]) + stages[1]
    return int(prod(shape) * floats * np.dtype(dtype).itemsize)


def check_memory(array: Any, shape: tuple[int, ...], labels: int, **options: Any) -> None:
    """Refuse a run that cannot fit where `array` lives; `options` are those of :func:`memory_estimate`.

    Raises
    ------
    MemoryError
        With the bytes, what is free, and the largest tile of equal sides that would fit.
    """
    options |= {"dtype": host_dtype(array), "device": "gpu" if is_device_array(array) else "cpu"}
    free, needed = free_bytes(is_device_array(array)), memory_estimate(shape, labels, **options)
    if free is None or needed <= USABLE * free:
        return
    axes, step = len(shape), STEPS[len(shape)]
    side = step * int((USABLE * free / memory_estimate((step,) * axes, labels, **options)) ** (1 / axes))
    part, unit = ("graph", "nodes") if axes == 1 else ("tile", "pixels")
    largest = "×".join([str(side)] * axes)
    fits = f"A {part} of {largest} {unit} would fit." if side else f"Not even a small {part} would fit."
    what, size = "learning" if options.get("learn") else "labeling", "×".join(map(str, shape))
    raise MemoryError(
        f"{what} {size} {unit} takes about {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free. {fits}"
    )


def free_bytes(on_device: bool = False) -> int | None:
    """Memory that can still be had on the GPU or on the host; None where the system does not tell."""
    if on_device:
        cupy = sys.modules["cupy"]
        return int(cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes())
    try:
        rows = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * int(next(row.split()[1] for row in rows if row.startswith("MemAvailable")))
    except (OSError, StopIteration, ValueError):
        return None
    try:  # what a container may take
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):
        return free
    return min(free, max(0, limit - used))
