"""Memory of a run: an estimate before it starts, and an error for what cannot fit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
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

#: Bytes that labeling a block of an image may hold: about what the last cache does, as the system's fresh pages for
#: the fields of a whole image take longer than computing them.
BLOCK = 32e6
#: The least side of a block in halos: at most a third more pixels are then worked on than there are.
HALOS = 12


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
    given: int = 0,
    workspace: int = 0,
    masked: bool = False,
    channels: int = 1,
    soft: bool = False,
    prior: bool = False,
    blocks: int = 1,
    probes: bool = False,
    certified: bool = False,
    wave: bool = True,
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
    given : int
        Arrays of weights of the whole image that are given, one for each layer that has its own.
    workspace : int
        Numbers per pixel that are held while weights are made from the image.
    masked : bool
        Whether pixels lack data.
    channels : int
        C of the image that is labeled, or that weights are made from.
    soft : bool
        Whether the labels are those of predictions, (H, W, J).
    prior : bool
        Whether every pixel has a prior of its own.
    blocks : int
        Blocks of an image that are labeled at the same time.
    probes : bool
        Whether the uncertainty of the labels is found, too.
    certified : bool
        Whether the radius in which they hold is, in float64 and without blocks.
    wave : bool
        Whether the gradient of a Taylor series is computed in one wave, where that is faster.
    device : "cpu" or "gpu"
        A GPU holds the basis of a Taylor series where the CPU computes the gradient in one wave, and labels an image at
        once where the CPU takes blocks.

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
    wave_rows = shape[0] if wave and device == "cpu" and len(shape) == 2 else None
    fields = max(solver.gradient_fields(h, wave_rows) if learn else solver.fields(h) for h in times)
    # learning: ℓ, S, B, what the solver holds; weights before, at and after the step, ∂Ω, two moments, the truth;
    # labeling: ℓ, S, B, what the solver holds, or at the end W and what the softmax needs; weights, image, labels
    stages = (fields, 7 * patch + 3) if learn else (max(fields, 5), 2 * patch + 4)
    # layers: ℓ and S of each and the sum of what they add; their weights, and what learning holds of those
    if more:
        own = 2 if shared else (7 if learn else 1) * more  # the sum of ∂Ω where the weights are shared
        stages = (stages[0] + (2 * more + 5 if learn else 2), stages[1] + own * patch)
    floats, size = max(labels * (3 + stages[0]) + stages[1], workspace), np.dtype(dtype).itemsize
    if masked:  # ℓ with and without a mask; of the weights those given, masked and normalized, and where each looks
        floats = max(floats, (2 if learn else 3) * labels + (6 + more) * patch + 3)
    if probes:  # noise, ℓ with it, sums of margins and of their squares, those of a pair, which entries are labels
        floats += 9 * labels + 3 * channels
    if certified:  # in float64: weights, ℓ, S, a term and the sum of the series, spans of its terms
        floats = max(floats, 3 * labels + 8 // size * (6 * labels + patch + 46))
    image = (1.5 + masked) * channels  # as given, mostly in less than a float; without invalid pixels; as features
    halo = None if learn or certified or device != "cpu" or len(shape) != 2 else block_halo(solver, times, radius)
    parts = [1, 1] if halo is None else block_counts(shape, block_side(floats * size, halo))
    if halo is None or prod(parts) == 1:
        return int(prod(shape) * (floats + max(0, image - 1.5 - masked) + labels * prior) * size)
    block = min(blocks, prod(parts)) * prod(min(n, -(-n // k) + 2 * halo) for n, k in zip(shape, parts, strict=True))
    # beside the blocks: image, labels, valid pixels; predictions and their logarithm; a prior and its; probabilities,
    # or what checks of given weights hold before that
    whole = image + 1 + given * patch + 2 * labels * (soft + prior) + max(labels, 1.8 * patch * (given > 0))
    return int((prod(shape) * whole + block * floats) * size)


def block_halo(solver: Any, times: Sequence[float], radius: float) -> int | None:
    """Pixels around a block that a labeling of the image depends on, besides what weights are made of.

    None where the solver looks at the whole image.
    """
    reaches = [solver.reach(time) for time in times]
    return None if None in reaches else int(sum(reaches) * radius)


def block_side(pixel: float, halo: int) -> int:
    """The side of the blocks that an image is labeled in, by the bytes per pixel that are held."""
    return max(int((BLOCK / pixel) ** 0.5), HALOS * halo, TILE_STEP)


def block_counts(shape: tuple[int, ...], side: int) -> list[int]:
    """Blocks below and beside each other, of about that side."""
    return [max(1, round(n / side)) for n in shape]


def largest_multiple(step: int, fits: Callable[[int], bool]) -> int:
    """The largest multiple of `step`, below 2**31 steps, that fits where all smaller ones do; 0 if none does."""
    count = 1
    while count <= 2**30 and fits(step * count):
        count *= 2
    found = count // 2
    for part in (2**k for k in reversed(range(max(0, found.bit_length() - 1)))):
        found += part if fits(step * (found + part)) else 0
    return step * found


def check_memory(array: Any, shape: tuple[int, ...], labels: int, **options: Any) -> None:
    """Raise MemoryError for a run that does not fit on the device of `array`; for options see :func:`memory_estimate`.

    Raises
    ------
    MemoryError
        With the bytes, what is free, and the largest tile of equal sides that would fit.
    """
    options |= {"dtype": host_dtype(array), "device": "gpu" if is_device_array(array) else "cpu"}
    free, needed = free_bytes(is_device_array(array)), memory_estimate(shape, labels, **options)
    if free is None or needed <= USABLE * free:
        return
    axes, usable = len(shape), USABLE * free
    side = largest_multiple(STEPS[axes], lambda n: memory_estimate((n,) * axes, labels, **options) <= usable)
    part, unit = ("graph", "nodes") if axes == 1 else ("tile", "pixels")
    largest = "×".join([str(side)] * axes)
    fits = f"A {part} of {largest} {unit} would fit." if side else f"Not even a small {part} would fit."
    what, size = "learning" if options.get("learn") else "labeling", "×".join(map(str, shape))
    raise MemoryError(
        f"{what} {size} {unit} takes about {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free. {fits}"
    )


def free_bytes(on_device: bool = False) -> int | None:
    """Free memory of the GPU or of the host in bytes; None where the system does not tell."""
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
